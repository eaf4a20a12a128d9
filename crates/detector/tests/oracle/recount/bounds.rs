//! What a rule may keep: who has to go when there is too much, and that this is said.

use lapwing_event::Incomplete;

use super::Recount;
use super::key::Key;
use super::loss::{Loss, Lost};
use crate::case::Measure;

impl Recount<'_> {
    /// Makes room for one more key; false if every key has an open alert.
    pub(crate) fn make_room(&mut self, at: Lost) -> bool {
        for has_one_event in [true, false] {
            let head = self.least_recent(has_one_event);
            if let Some(head) = head.filter(|head| self.is_dead(&self.keys[*head])) {
                self.keys.remove(head);
            }
        }
        if self.keys.len() < self.case.bounds.keys {
            return true;
        }
        let evicted = self.least_recent(true).or_else(|| self.least_recent(false));
        let evicted = evicted.map(|index| self.keys.remove(index));
        // Without a key to evict, it is the event that goes.
        let newest = evicted.as_ref().map_or(at.0, |key| key.newest);
        self.evicted_until = self.evicted_until.max(newest);
        self.lose(Incomplete::Evicted, at, self.log_time);
        evicted.is_some()
    }

    /// The least recently touched key without an open alert, of those with one event or others.
    fn least_recent(&self, has_one_event: bool) -> Option<usize> {
        let is_it = |k: &Key| k.alert.is_none() && (k.entries.len() <= 1) == has_one_event;
        self.keys.iter().position(is_it)
    }

    /// Forgets entries that can share a window with nothing that is not late.
    pub(crate) fn trim(&mut self, index: usize) {
        let rule = self.rule;
        let key = &mut self.keys[index];
        // The silence after an entry is decided one microsecond later than its last window.
        let waits = i64::from(rule.measure == Measure::Absence);
        let oldest = key.newest - rule.lateness - rule.timespan - waits;
        key.entries.retain(|e| e.time > oldest);
    }

    pub(crate) fn keep_bounds(&mut self, index: usize, at: Lost) {
        let bounds = self.case.bounds;
        for because in [Incomplete::Entries, Incomplete::Values] {
            let key = &mut self.keys[index];
            let before = key.entries.len();
            while match because {
                Incomplete::Entries => key.entries.len() > bounds.entries,
                _ => key.distinct_values() > bounds.values,
            } {
                let time = key.entries.remove(0).time;
                // The window goes with the last entry at its end.
                if key.entries.iter().all(|e| e.time != time) {
                    key.decided.remove(&time);
                }
            }
            if key.entries.len() < before {
                key.lost.insert(because);
                self.lose(because, at, self.log_time);
            }
        }
    }

    pub(crate) fn lose(&mut self, because: Incomplete, at: Lost, log_time: i64) {
        let due = log_time + self.rule.timespan + self.rule.lateness;
        let loss = self.loss.get_or_insert_with(Loss::new);
        self.outcome.messages.extend(loss.count(because, at, due, log_time));
    }
}

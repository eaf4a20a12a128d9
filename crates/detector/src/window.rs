//! The events of one (rule, key) that can still lie in a window, ordered by time, and which
//! windows hold when one more arrives.
//!
//! The window at event time e is (e − timespan, e]. Events are kept as long as an event that is not
//! late could share a window with them.

use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

/// One selected event, as far as windows need it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Event time, microseconds.
    pub(crate) time: i64,
    /// Offset in the partition.
    pub(crate) offset: i64,
    /// Occurrences it stands for.
    pub(crate) count: u64,
    /// Digest of (product, id); 0 without an id.
    pub(crate) id: u128,
    /// Digest of the value of a `value_count`; 0 without a value.
    pub(crate) value: u128,
    /// Index of its file; [`NO_FILE`] without one.
    pub(crate) file: u32,
    /// Its line; 0 without one.
    pub(crate) line: i64,
    /// Index of its reason code; [`NO_REASON`] without one.
    pub(crate) reason: u16,
    /// Whether it lies in a holding window of the alert that is open now.
    pub(crate) covered: bool,
}

/// An entry without a file.
pub(crate) const NO_FILE: u32 = u32::MAX;
/// An entry without a reason code.
pub(crate) const NO_REASON: u16 = u16::MAX;

/// What is compared with the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// Occurrences.
    Occurrences,
    /// Distinct values.
    Values,
}

/// A window that holds after an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    /// Its end, an event time.
    pub(crate) end: i64,
    /// The index of its first entry.
    pub(crate) from: usize,
    /// The index after its last entry.
    pub(crate) to: usize,
    /// What the condition compared.
    pub(crate) value: u64,
    /// Whether it held before the arrival too.
    pub(crate) held_before: bool,
}

/// The retained entries with running figures for the window that ends at the newest one.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Entries {
    entries: VecDeque<Entry>,
    /// Whether two entries share an id: then windows are counted by sets.
    has_repeats: bool,
    /// The window ending at the newest entry begins at this index.
    tail_from: usize,
    /// Its occurrences.
    tail_count: u64,
    /// Its distinct values with how often each occurs; kept for `Values` only.
    tail_values: HashMap<u128, u32>,
    /// Ids of the entries, once there are too many for a search.
    ids: HashSet<u128>,
}

/// Up to this many entries are searched for an id; beyond, a set is kept.
const SEARCHED_IDS: usize = 16;

/// What became of an arrival.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Taken in at this index.
    Added(usize),
    /// Dropped: an event with the same id, time, count and value is there already.
    Duplicate,
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> &mut Entry {
        &mut self.entries[index]
    }

    /// The largest count of another covered entry with the id of this one; 0 if there is none.
    pub(crate) fn covered_count_of_id(&self, index: usize) -> u64 {
        let id = self.entries[index].id;
        if id == 0 || !self.has_repeats {
            return 0;
        }
        let others = self.entries.iter().enumerate();
        let same = others.filter(|(i, e)| *i != index && e.covered && e.id == id);
        same.map(|(_, e)| e.count).max().unwrap_or(0)
    }

    /// Forgets which entries an alert covered, once it is resolved.
    pub(crate) fn uncover(&mut self) {
        self.entries.iter_mut().for_each(|e| e.covered = false);
    }

    /// Drops entries that no event at or after `oldest − timespan` can share a window with, and the
    /// oldest beyond `limit`. Says whether the limit was the reason.
    pub(crate) fn trim(&mut self, oldest: i64, timespan: i64, limit: usize, count: Count) -> bool {
        let horizon = oldest.saturating_sub(timespan);
        let mut dropped = self.entries.partition_point(|e| e.time <= horizon);
        let is_over = self.entries.len() - dropped > limit;
        if is_over {
            dropped = self.entries.len() - limit;
        }
        while self.tail_from < dropped {
            self.leave_tail(count);
        }
        for entry in self.entries.drain(..dropped) {
            if entry.id != 0 && !self.has_repeats {
                self.ids.remove(&entry.id);
            }
        }
        self.tail_from -= dropped;
        if self.entries.len() <= 1 {
            self.has_repeats = false;
            self.ids.clear();
        } else if self.ids.len() > 2 * self.entries.len() + SEARCHED_IDS {
            self.rebuild_ids();
        }
        is_over
    }

    /// Repeated ids are not removed one by one, since another entry may still have them.
    fn rebuild_ids(&mut self) {
        let with_id = self.entries.iter().map(|e| e.id).filter(|id| *id != 0);
        self.ids = with_id.clone().collect();
        self.has_repeats = with_id.count() > self.ids.len();
    }

    /// Takes an event in.
    pub(crate) fn insert(&mut self, entry: Entry, timespan: i64, count: Count) -> Arrival {
        if entry.id != 0 && self.may_contain(entry.id) {
            let same = |e: &Entry| {
                (e.id, e.time, e.count, e.value) == (entry.id, entry.time, entry.count, entry.value)
            };
            if self.entries.iter().any(same) {
                return Arrival::Duplicate;
            }
            self.has_repeats |= self.entries.iter().any(|e| e.id == entry.id);
        }
        let position = |e: &Entry| (e.time, e.offset) < (entry.time, entry.offset);
        let index = match self.entries.back() {
            Some(last) if !position(last) => self.entries.partition_point(position),
            _ => self.entries.len(),
        };
        self.entries.insert(index, entry);
        self.remember_id(entry.id);
        self.update_tail(index, timespan, count);
        Arrival::Added(index)
    }

    fn may_contain(&self, id: u128) -> bool {
        match self.ids.is_empty() {
            true => self.entries.iter().any(|e| e.id == id),
            false => self.ids.contains(&id),
        }
    }

    fn remember_id(&mut self, id: u128) {
        if !self.ids.is_empty() {
            if id != 0 {
                self.ids.insert(id);
            }
        } else if self.entries.len() > SEARCHED_IDS {
            self.ids.extend(self.entries.iter().map(|e| e.id).filter(|id| *id != 0));
        }
    }

    /// Keeps the figures of the newest window after an insertion.
    fn update_tail(&mut self, index: usize, timespan: i64, count: Count) {
        let newest = self.entries.back().expect("just inserted").time;
        let entry = self.entries[index];
        if index < self.tail_from {
            self.tail_from += 1;
            return;
        }
        self.tail_count = self.tail_count.saturating_add(entry.count);
        if count == Count::Values && entry.value != 0 {
            *self.tail_values.entry(entry.value).or_insert(0) += 1;
        }
        while self.entries[self.tail_from].time <= newest.saturating_sub(timespan) {
            self.leave_tail(count);
        }
    }

    fn leave_tail(&mut self, count: Count) {
        let left = self.entries[self.tail_from];
        self.tail_from += 1;
        self.tail_count -= left.count;
        if count == Count::Values
            && let Some(n) = self.tail_values.get_mut(&left.value)
        {
            *n -= 1;
            if *n == 0 {
                self.tail_values.remove(&left.value);
            }
        }
    }

    /// The windows that hold now among those that contain the entry at `index`, by their ends.
    pub(crate) fn holding(
        &self,
        index: usize,
        timespan: i64,
        threshold: u64,
        count: Count,
        found: &mut Vec<Holding>,
    ) {
        found.clear();
        if index + 1 == self.entries.len() && !self.has_repeats {
            found.extend(self.holding_at_newest(threshold, count));
            return;
        }
        self.sweep(index, timespan, threshold, count, found);
    }

    /// The newest window, from the running figures.
    fn holding_at_newest(&self, threshold: u64, count: Count) -> Option<Holding> {
        let to = self.entries.len();
        let newest = self.entries[to - 1];
        let value = match count {
            Count::Occurrences => self.tail_count,
            Count::Values => self.tail_values.len() as u64,
        };
        if value < threshold {
            return None;
        }
        let has_tie = to >= 2 && self.entries[to - 2].time == newest.time;
        let before = match count {
            Count::Occurrences => value - newest.count,
            Count::Values => value - u64::from(self.tail_values.get(&newest.value) == Some(&1)),
        };
        let held_before = has_tie && before >= threshold;
        Some(Holding { end: newest.time, from: self.tail_from, to, value, held_before })
    }

    /// Every window that contains the entry at `index`, counted as it slides.
    fn sweep(
        &self,
        index: usize,
        timespan: i64,
        threshold: u64,
        count: Count,
        found: &mut Vec<Holding>,
    ) {
        let arrived = self.entries[index];
        let start = arrived.time.saturating_sub(timespan);
        let mut from = self.entries.partition_point(|e| e.time <= start);
        let mut to = from;
        let mut counter = Counter::new(count, self.has_repeats);
        while to < self.entries.len() && self.entries[to].time < arrived.time {
            counter.add(&self.entries[to]);
            to += 1;
        }
        while to < self.entries.len() {
            let end = self.entries[to].time;
            if end >= arrived.time.saturating_add(timespan) {
                break;
            }
            while self.entries[from].time <= end.saturating_sub(timespan) {
                counter.remove(&self.entries[from]);
                from += 1;
            }
            let first_at_end = to;
            while to < self.entries.len() && self.entries[to].time == end {
                counter.add(&self.entries[to]);
                to += 1;
            }
            let value = counter.value();
            if value < threshold {
                continue;
            }
            let others_at_end = to - first_at_end > usize::from(end == arrived.time);
            counter.remove(&arrived);
            let held_before = others_at_end && counter.value() >= threshold;
            counter.add(&arrived);
            found.push(Holding { end, from, to, value, held_before });
        }
    }
}

/// Counts what lies in a sliding window.
enum Counter {
    /// Occurrences, no id twice.
    Sum(u64),
    /// Occurrences, each id once with the largest count among its entries.
    SumById { plain: u64, by_id: HashMap<u128, Vec<u64>> },
    /// Distinct values with how often each occurs.
    Distinct(HashMap<u128, u32>),
}

impl Counter {
    fn new(count: Count, has_repeats: bool) -> Self {
        match count {
            Count::Occurrences if has_repeats => Self::SumById { plain: 0, by_id: HashMap::new() },
            Count::Occurrences => Self::Sum(0),
            Count::Values => Self::Distinct(HashMap::new()),
        }
    }

    fn add(&mut self, entry: &Entry) {
        match self {
            Self::Sum(sum) => *sum = sum.saturating_add(entry.count),
            Self::SumById { by_id, .. } if entry.id != 0 => {
                by_id.entry(entry.id).or_default().push(entry.count);
            }
            Self::SumById { plain, .. } => *plain = plain.saturating_add(entry.count),
            Self::Distinct(values) if entry.value != 0 => {
                *values.entry(entry.value).or_insert(0) += 1;
            }
            Self::Distinct(_) => {}
        }
    }

    fn remove(&mut self, entry: &Entry) {
        match self {
            Self::Sum(sum) => *sum -= entry.count,
            Self::SumById { by_id, .. } if entry.id != 0 => {
                if let Some(counts) = by_id.get_mut(&entry.id) {
                    let at = counts.iter().position(|c| *c == entry.count);
                    at.map(|at| counts.swap_remove(at));
                    if counts.is_empty() {
                        by_id.remove(&entry.id);
                    }
                }
            }
            Self::SumById { plain, .. } => *plain -= entry.count,
            Self::Distinct(values) => {
                if let Some(n) = values.get_mut(&entry.value) {
                    *n -= 1;
                    if *n == 0 {
                        values.remove(&entry.value);
                    }
                }
            }
        }
    }

    fn value(&self) -> u64 {
        match self {
            Self::Sum(sum) => *sum,
            Self::SumById { plain, by_id } => {
                let of_ids = by_id.values().filter_map(|counts| counts.iter().max());
                of_ids.fold(*plain, |sum, count| sum.saturating_add(*count))
            }
            Self::Distinct(values) => values.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: i64 = 60_000;

    fn entry(time: i64, offset: i64) -> Entry {
        Entry {
            time,
            offset,
            count: 1,
            id: 0,
            value: 0,
            file: NO_FILE,
            line: 0,
            reason: NO_REASON,
            covered: false,
        }
    }

    fn ends_after(times: &[i64], threshold: u64) -> Vec<i64> {
        let mut entries = Entries::default();
        let mut found = Vec::new();
        let mut ends = Vec::new();
        for (offset, time) in times.iter().enumerate() {
            let arrival = entries.insert(entry(*time, offset as i64), SPAN, Count::Occurrences);
            let Arrival::Added(index) = arrival else { panic!("no ids here") };
            entries.holding(index, SPAN, threshold, Count::Occurrences, &mut found);
            ends.extend(found.iter().filter(|h| !h.held_before).map(|h| h.end));
        }
        ends.sort_unstable();
        ends
    }

    #[test]
    fn times_a_window_apart_do_not_share_one() {
        assert!(ends_after(&[0, 30_000, 60_000], 3).is_empty());
        assert_eq!(ends_after(&[0, 30_000, 59_999], 3), [59_999]);
        assert!(ends_after(&[10_000_000, 10_001_000, 5_000_000], 3).is_empty());
    }

    #[test]
    fn the_order_of_arrival_does_not_matter() {
        let times = [0, 10_000, 20_000];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert_eq!(ends_after(&order.map(|i| times[i]), 3), [20_000], "{order:?}");
        }
    }

    #[test]
    fn a_repeated_record_counts_once() {
        let mut entries = Entries::default();
        let mut first = entry(5, 0);
        first.id = 7;
        assert_eq!(entries.insert(first, SPAN, Count::Occurrences), Arrival::Added(0));
        first.offset = 1;
        assert_eq!(entries.insert(first, SPAN, Count::Occurrences), Arrival::Duplicate);
        let mut found = Vec::new();
        first.time = 6;
        first.offset = 2;
        assert_eq!(entries.insert(first, SPAN, Count::Occurrences), Arrival::Added(1));
        entries.holding(1, SPAN, 2, Count::Occurrences, &mut found);
        assert_eq!(found, []);
    }
}

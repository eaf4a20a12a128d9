//! The detector of one partition: batches in, alert messages out.
//!
//! It reads no clock and no randomness: its messages are a function of the rules and of the
//! partition's records with their log times, in order, however they were cut into batches.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, StringArray};

use lapwing_event::{Batch, FieldId, Incomplete, Message, Partition};

use crate::episode::{Episode, Place, Subject};
use crate::keys::{Key, Keys};
use crate::loss::Loss;
use crate::row::{Columns, Row};
use crate::rule::{Measure, NullKeys, Rule, RuleSet};
use crate::select::select;
use crate::window::{Arrival, Count, Entry, Holding, NO_FILE, NO_REASON};

/// What a detector may keep, per partition and rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Keys: one hundred thousand distinct attackers, sessions or targets at a time; beyond, the
    /// least recently touched are forgotten, and alerts say so.
    pub keys: usize,
    /// Events in the windows of one key; beyond, the oldest are forgotten, and alerts say so.
    pub entries_per_key: usize,
    /// Alerts that are open at a time; beyond, none is opened, and an alert says so.
    pub open_alerts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { keys: 100_000, entries_per_key: 1_000_000, open_alerts: 10_000 }
    }
}

/// What one rule has seen. Counts of events, not of occurrences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RuleStats {
    /// Events selected.
    pub matched: u64,
    /// Of these, events whose whole group key had values.
    pub keyed: u64,
    /// Of these, events that came too late to count.
    pub late: u64,
    /// Of these, repetitions of an event that was counted already.
    pub duplicates: u64,
    /// Keys that were forgotten for want of room.
    pub evicted: u64,
}

/// The outcome of a batch.
#[derive(Debug, Default)]
pub struct Pushed {
    /// The messages it raised, in order.
    pub messages: Vec<Message>,
    /// The rows that were late for at least one rule, ascending.
    pub late_rows: Vec<u32>,
}

/// The state of all rules on one partition.
#[derive(Debug)]
pub struct Detector {
    pub(crate) rules: Arc<RuleSet>,
    pub(crate) partition: Arc<Partition>,
    pub(crate) limits: Limits,
    pub(crate) log_time: i64,
    pub(crate) states: Vec<RuleState>,
    pub(crate) files: Vec<Arc<str>>,
    due: BinaryHeap<Reverse<Due>>,
    pub(crate) forgotten_alerts: usize,
    stats: Vec<RuleStats>,
    holding: Vec<Holding>,
}

/// The state of one rule.
#[derive(Debug, Default)]
pub(crate) struct RuleState {
    pub(crate) keys: Keys,
    pub(crate) open_alerts: usize,
    /// The newest event time of any key that was forgotten for want of room.
    pub(crate) evicted_until: Option<i64>,
    pub(crate) loss: Option<Loss>,
}

/// Something that falls due at a log time: in the order of time, rule and key.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    log_time: i64,
    rule: u32,
    hash: u64,
    slot: u32,
}

/// The place in [`Due`] that means the rule's own loss, not a key.
const LOSS: u32 = u32::MAX;
/// Distinct file names that evidence can name; beyond, evidence has offsets alone.
const MAX_FILES: usize = 65_536;

impl Detector {
    /// An empty detector.
    pub fn new(rules: Arc<RuleSet>, partition: Arc<Partition>, limits: Limits) -> Self {
        let count = rules.rules.len();
        Self {
            rules,
            partition,
            limits,
            log_time: i64::MIN,
            states: (0..count).map(|_| RuleState::default()).collect(),
            files: Vec::new(),
            due: BinaryHeap::new(),
            forgotten_alerts: 0,
            stats: vec![RuleStats::default(); count],
            holding: Vec::new(),
        }
    }

    /// What each rule has seen, in the order of the rule set.
    pub fn stats(&self) -> &[RuleStats] {
        &self.stats
    }

    /// Keys that are remembered now, over all rules.
    pub fn keys(&self) -> usize {
        self.states.iter().map(|s| s.keys.len()).sum()
    }

    /// Open alerts in the state read back whose rules are gone or have changed.
    pub fn forgotten_alerts(&self) -> usize {
        self.forgotten_alerts
    }

    /// Takes the next batch of the partition.
    pub fn push(&mut self, batch: &Batch) -> Pushed {
        let mut pushed = Pushed::default();
        let selected = self.selected_rows(batch);
        if !selected.is_empty() {
            let columns = Columns::of(batch);
            let files = self.intern_files(batch);
            let rules = self.rules.clone();
            for (row, rule) in selected {
                let row = columns.row(row as usize, &files);
                self.advance_into(row.log_time, &mut pushed.messages);
                self.evaluate(rule as usize, &rules.rules[rule as usize], &row, &mut pushed);
            }
        }
        if let Some(log_time) = batch.log_time() {
            self.advance_into(log_time, &mut pushed.messages);
        }
        pushed.late_rows.dedup();
        pushed
    }

    /// Lets log time pass without a record.
    pub fn advance(&mut self, log_time: i64) -> Vec<Message> {
        let mut messages = Vec::new();
        self.advance_into(log_time, &mut messages);
        messages
    }

    /// Ends a bounded input: open alerts stay open and say so.
    pub fn finish(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        let log_time = self.log_time;
        for (state, rule) in self.states.iter_mut().zip(&self.rules.rules) {
            for slot in state.keys.in_order() {
                let Some(key) = state.keys.get_mut(slot) else { continue };
                let Some(episode) = &mut key.episode else { continue };
                let subject = subject(&self.partition, rule, &key.values, &self.files);
                messages.push(episode.at_end(&subject, log_time));
            }
            if let Some(loss) = &mut state.loss {
                messages.push(loss.at_end(log_time, rule, &self.partition, &self.files));
            }
        }
        messages.sort_by(|a, b| a.alert.id.cmp(&b.alert.id));
        messages
    }

    /// The rows that rules select, by row and then by rule.
    fn selected_rows(&self, batch: &Batch) -> Vec<(u32, u32)> {
        let masks = select(&self.rules, &batch.events);
        let mut selected = Vec::new();
        for (index, rule) in self.rules.rules.iter().enumerate() {
            for detection in &rule.detections {
                masks[*detection].for_each(batch.events.num_rows(), |row| {
                    selected.push((row as u32, index as u32));
                });
            }
        }
        selected.sort_unstable();
        selected.dedup();
        selected
    }

    /// For each distinct file of a batch, its index among the files known.
    fn intern_files(&mut self, batch: &Batch) -> Vec<u32> {
        let column = batch.events.column(FieldId::LogFile.index());
        let names: &StringArray = column.as_dictionary::<Int32Type>().values().as_string();
        let known = &mut self.files;
        let mut intern = |name: &str| {
            // The file of the last batch is the most likely one.
            match known.iter().rposition(|f| &**f == name) {
                Some(at) => at as u32,
                None if known.len() < MAX_FILES => {
                    known.push(name.into());
                    known.len() as u32 - 1
                }
                None => NO_FILE,
            }
        };
        (0..names.len())
            .map(|i| if names.is_valid(i) { intern(names.value(i)) } else { NO_FILE })
            .collect()
    }

    /// Moves log time on and fires what falls due, in the order of (due time, rule, key).
    fn advance_into(&mut self, log_time: i64, messages: &mut Vec<Message>) {
        self.log_time = self.log_time.max(log_time);
        while let Some(Reverse(due)) = self.due.peek()
            && due.log_time <= self.log_time
        {
            let Some(Reverse(due)) = self.due.pop() else { break };
            self.fire(&due, messages);
        }
    }

    fn fire(&mut self, due: &Due, messages: &mut Vec<Message>) {
        let rules = self.rules.clone();
        let rule = &rules.rules[due.rule as usize];
        let state = &mut self.states[due.rule as usize];
        if due.slot == LOSS {
            self.fire_loss(due, rule, messages);
            return;
        }
        let slack = self.partition.log_time_origin.slack();
        let Some(key) = state.keys.get_mut(due.slot) else { return };
        if key.hash != due.hash || key.scheduled != due.log_time {
            return;
        }
        let real = due_time(key, rule, slack);
        if real > self.log_time {
            key.scheduled = real;
            self.due.push(Reverse(Due { log_time: real, ..*due }));
            return;
        }
        match key.episode.take() {
            Some(mut episode) => {
                let at = resolves_at(&episode, rule);
                let subject = subject(&self.partition, rule, &key.values, &self.files);
                messages.push(episode.resolved(&subject, at, real));
                close(state, due.slot);
                self.schedule(due.rule as usize, rule, due.slot);
            }
            None => drop(state.keys.remove(due.slot)),
        }
    }

    fn fire_loss(&mut self, due: &Due, rule: &Rule, messages: &mut Vec<Message>) {
        let state = &mut self.states[due.rule as usize];
        let Some(loss) = &mut state.loss else { return };
        if loss.due > self.log_time {
            let again = Due { log_time: loss.due, ..*due };
            self.due.push(Reverse(again));
            return;
        }
        messages.push(loss.resolved(rule, &self.partition, &self.files));
        state.loss = None;
    }

    /// Puts a key into the queue if it is due earlier than it stands there.
    fn schedule(&mut self, index: usize, rule: &Rule, slot: u32) {
        let slack = self.partition.log_time_origin.slack();
        let Some(key) = self.states[index].keys.get_mut(slot) else { return };
        let log_time = due_time(key, rule, slack);
        if log_time < key.scheduled {
            key.scheduled = log_time;
            self.due.push(Reverse(Due { log_time, rule: index as u32, hash: key.hash, slot }));
        }
    }

    /// Evaluates one selected row for one rule.
    fn evaluate(&mut self, index: usize, rule: &Rule, row: &Row<'_>, pushed: &mut Pushed) {
        let key_values = row.key(&rule.group_by);
        let stats = &mut self.stats[index];
        stats.matched += 1;
        let is_keyed = !key_values.contains(&lapwing_event::KeyValue::Null);
        stats.keyed += u64::from(is_keyed);
        if rule.null_keys == NullKeys::Skip && !is_keyed {
            return;
        }
        let hash = foldhash::quality::FixedState::default().hash_one(&key_values);
        let found = self.states[index].keys.find(hash, &key_values);
        let slot = match found {
            Some(slot) => slot,
            None => match self.make_room(index, rule, row, pushed) {
                true => self.add_key(index, rule, key_values, hash, row),
                false => return,
            },
        };
        if self.is_late(index, rule, slot, row) {
            self.stats[index].late += 1;
            pushed.late_rows.push(row.index as u32);
            return;
        }
        self.resolve_if_due(index, rule, slot, row, pushed);
        self.take_in(index, rule, slot, row, pushed);
        self.states[index].keys.touch(slot);
        self.schedule(index, rule, slot);
    }

    fn is_late(&mut self, index: usize, rule: &Rule, slot: u32, row: &Row<'_>) -> bool {
        let key = self.states[index].keys.get(slot);
        key.is_some_and(|k| row.time < k.newest.saturating_sub(rule.allowed_lateness))
    }

    /// Makes sure there is room for one more key; says so if there is none to be had.
    fn make_room(&mut self, index: usize, rule: &Rule, row: &Row<'_>, pushed: &mut Pushed) -> bool {
        let state = &mut self.states[index];
        if state.keys.len() < self.limits.keys {
            return true;
        }
        let evicted = state.keys.evict();
        if let Some(key) = &evicted {
            state.evicted_until = state.evicted_until.max(Some(key.newest));
            self.stats[index].evicted += 1;
        }
        self.lose(index, rule, Incomplete::Evicted, row, pushed);
        evicted.is_some()
    }

    fn lose(
        &mut self,
        index: usize,
        rule: &Rule,
        because: Incomplete,
        row: &Row<'_>,
        pushed: &mut Pushed,
    ) {
        let loss = &mut self.states[index].loss;
        let was_open = loss.is_some();
        let place = Place { reason: NO_REASON, ..row.place() };
        let message =
            Loss::count(loss, because, place, row.log_time, rule, &self.partition, &self.files);
        pushed.messages.extend(message);
        if let (false, Some(loss)) = (was_open, loss) {
            let due = Due { log_time: loss.due, rule: index as u32, hash: 0, slot: LOSS };
            self.due.push(Reverse(due));
        }
    }

    fn add_key(
        &mut self,
        index: usize,
        rule: &Rule,
        values: Box<[lapwing_event::KeyValue]>,
        hash: u64,
        row: &Row<'_>,
    ) -> u32 {
        let state = &mut self.states[index];
        let slot = state.keys.add(values, hash, row.time, row.log_time.saturating_sub(row.time));
        let horizon = row.time.saturating_sub(rule.timespan);
        if let Some(key) = state.keys.get_mut(slot) {
            key.is_after_eviction = state.evicted_until.is_some_and(|until| horizon < until);
        }
        slot
    }

    /// Moves the key's clock by an arrival, which may end an alert before it is counted.
    fn resolve_if_due(
        &mut self,
        index: usize,
        rule: &Rule,
        slot: u32,
        row: &Row<'_>,
        pushed: &mut Pushed,
    ) {
        let state = &mut self.states[index];
        let Some(key) = state.keys.get_mut(slot) else { return };
        key.newest = key.newest.max(row.time);
        key.least_skew = key.least_skew.min(row.log_time.saturating_sub(row.time));
        let Some(episode) = &mut key.episode else { return };
        let at = resolves_at(episode, rule);
        if key.newest >= at {
            let subject = subject(&self.partition, rule, &key.values, &self.files);
            pushed.messages.push(episode.resolved(&subject, at, row.log_time));
            key.episode = None;
            close(state, slot);
        }
    }

    /// Adds the event to the windows of its key, and opens or updates the alert.
    fn take_in(
        &mut self,
        index: usize,
        rule: &Rule,
        slot: u32,
        row: &Row<'_>,
        pushed: &mut Pushed,
    ) {
        let count = counted(rule);
        let state = &mut self.states[index];
        let Some(key) = state.keys.get_mut(slot) else { return };
        let entry = row.entry(match rule.measure {
            Measure::EventCount => None,
            Measure::ValueCount(field) => Some(field),
        });
        let Arrival::Added(at) = key.entries.insert(entry, rule.timespan, count) else {
            self.stats[index].duplicates += 1;
            return;
        };
        let mut holding = std::mem::take(&mut self.holding);
        key.entries.holding(at, rule.timespan, rule.threshold, count, &mut holding);
        self.change_alert(index, rule, slot, row, &holding, pushed);
        self.holding = holding;
        self.trim(index, rule, slot, row, pushed);
    }

    /// Forgets events that no window can need any more, or that are too many.
    fn trim(&mut self, index: usize, rule: &Rule, slot: u32, row: &Row<'_>, pushed: &mut Pushed) {
        let limit = self.limits.entries_per_key;
        let Some(key) = self.states[index].keys.get_mut(slot) else { return };
        let oldest = key.newest.saturating_sub(rule.allowed_lateness);
        if key.entries.trim(oldest, rule.timespan, limit, counted(rule)) {
            key.has_lost_entries = true;
            self.lose(index, rule, Incomplete::Entries, row, pushed);
        }
    }

    fn change_alert(
        &mut self,
        index: usize,
        rule: &Rule,
        slot: u32,
        row: &Row<'_>,
        holding: &[Holding],
        pushed: &mut Pushed,
    ) {
        let state = &mut self.states[index];
        let is_full = state.open_alerts >= self.limits.open_alerts;
        let Some(key) = state.keys.get_mut(slot) else { return };
        let Key { values, entries, episode, is_after_eviction, has_lost_entries, .. } = key;
        let subject = subject(&self.partition, rule, values, &self.files);
        let because = [
            is_after_eviction.then_some(Incomplete::Evicted),
            has_lost_entries.then_some(Incomplete::Entries),
        ];
        match episode {
            Some(episode) => {
                let level_before = episode.level();
                episode.absorb(&subject, entries, holding);
                if !holding.is_empty() {
                    episode.learn(row.facts(&rule.facts));
                }
                let mut is_news = false;
                because.into_iter().flatten().for_each(|b| is_news |= episode.lose(b));
                let message = episode.updated(&subject, level_before, is_news, row.log_time);
                pushed.messages.extend(message);
            }
            None => {
                let new = holding.iter().filter(|h| !h.held_before).map(|h| h.end).min();
                let Some(opened_at) = new else { return };
                if is_full {
                    self.lose(index, rule, Incomplete::OpenAlerts, row, pushed);
                    return;
                }
                let mut opened = Episode::open(&subject, entries, holding, opened_at);
                opened.learn(row.facts(&rule.facts));
                because.into_iter().flatten().for_each(|b| _ = opened.lose(b));
                pushed.messages.push(opened.opened(&subject, row.log_time));
                *episode = Some(Box::new(opened));
                state.open_alerts += 1;
            }
        }
    }

    /// Fills the queue of due things from the state, after it was read back.
    pub(crate) fn reschedule(&mut self) {
        let rules = self.rules.clone();
        for (index, rule) in rules.rules.iter().enumerate() {
            let slots: Vec<u32> = self.states[index].keys.iter().map(|(slot, _)| slot).collect();
            slots.into_iter().for_each(|slot| self.schedule(index, rule, slot));
            if let Some(loss) = &self.states[index].loss {
                let due = Due { log_time: loss.due, rule: index as u32, hash: 0, slot: LOSS };
                self.due.push(Reverse(due));
            }
        }
    }
}

fn counted(rule: &Rule) -> Count {
    match rule.measure {
        Measure::EventCount => Count::Occurrences,
        Measure::ValueCount(_) => Count::Values,
    }
}

fn subject<'a>(
    partition: &'a Partition,
    rule: &'a Rule,
    key: &'a [lapwing_event::KeyValue],
    files: &'a [Arc<str>],
) -> Subject<'a> {
    Subject { partition, rule, key, files }
}

/// After an alert has ended: its entries may be counted by the next one.
fn close(state: &mut RuleState, slot: u32) {
    state.open_alerts -= 1;
    if let Some(key) = state.keys.get_mut(slot) {
        key.entries.uncover();
        // It stands in the queue for the time of its resolution, or for none.
        key.scheduled = i64::MAX;
    }
    state.keys.touch(slot);
}

/// When an alert resolves, on the clock of its key.
fn resolves_at(episode: &Episode, rule: &Rule) -> i64 {
    episode.last_end.saturating_add(rule.resolve_after).saturating_add(rule.allowed_lateness)
}

/// The log time at which the clock of a key passes what it waits for: the resolution of its alert,
/// or its being forgotten.
fn due_time(key: &Key, rule: &Rule, slack: i64) -> i64 {
    let on_its_clock = match &key.episode {
        Some(episode) => resolves_at(episode, rule),
        None => {
            let window = rule.timespan.saturating_add(rule.allowed_lateness);
            key.newest.saturating_add(window).saturating_add(1)
        }
    };
    on_its_clock.saturating_add(key.least_skew).saturating_add(slack)
}

impl Entry {
    /// The largest number of occurrences that one record may stand for.
    pub(crate) const MAX_COUNT: i64 = u32::MAX as i64;
}

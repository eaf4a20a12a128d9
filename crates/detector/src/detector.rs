//! The detector of one partition: batches in, alert messages out.
//!
//! It reads no clock and no randomness that could matter: its messages are a function of the rules
//! and of the partition's records with their log times, in order, however they were cut into
//! batches.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, StringArray};

use lapwing_event::{Batch, FieldId, Message, Partition};

use crate::entry::NO_FILE;
use crate::gap;
use crate::plan::Plan;
use crate::row::Columns;
use crate::rule::RuleSet;
use crate::select::select;
use crate::watch::{Scene, Watch};

/// What a detector may keep, per partition and rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Keys: one hundred thousand distinct attackers, sessions or targets at a time; beyond, the
    /// least recently touched are forgotten, and alerts say so.
    pub keys: usize,
    /// Events in the windows of one key; beyond, the oldest are forgotten, and alerts say so.
    pub entries_per_key: usize,
    /// Distinct values in the windows of one key of a `value_count`; beyond, the oldest events are
    /// forgotten, and alerts say so.
    pub values_per_key: usize,
    /// Alerts that are open at a time; beyond, none is opened, and an alert says so.
    pub open_alerts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keys: 100_000,
            entries_per_key: 1_000_000,
            values_per_key: 100_000,
            open_alerts: 10_000,
        }
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
    pub(crate) plans: Vec<Plan>,
    pub(crate) partition: Arc<Partition>,
    pub(crate) limits: Limits,
    pub(crate) log_time: i64,
    pub(crate) watches: Vec<Watch>,
    pub(crate) files: Vec<Arc<str>>,
    /// Nothing is due before this log time.
    next_due: i64,
}

/// A row that a rule selects, and by which of its detections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Selected {
    row: u32,
    rule: u32,
    positions: u16,
}

/// Distinct file names that evidence can name; beyond, evidence has offsets alone.
const MAX_FILES: usize = 65_536;

impl Detector {
    /// An empty detector.
    pub fn new(rules: Arc<RuleSet>, partition: Arc<Partition>, limits: Limits) -> Self {
        Self {
            plans: rules.rules.iter().map(Plan::of).collect(),
            watches: rules.rules.iter().map(|_| Watch::default()).collect(),
            rules,
            partition,
            limits,
            log_time: i64::MIN,
            files: Vec::new(),
            next_due: i64::MAX,
        }
    }

    /// What each rule has seen, in the order of the rule set.
    pub fn stats(&self) -> Vec<RuleStats> {
        self.watches.iter().map(|w| w.stats).collect()
    }

    /// Keys that are remembered now, over all rules.
    pub fn keys(&self) -> usize {
        self.watches.iter().map(|w| w.keys.len()).sum()
    }

    /// Alerts that are open now, over all rules.
    pub fn open_alerts(&self) -> usize {
        self.watches.iter().map(Watch::open_alerts).sum()
    }

    /// Takes the next batch of the partition.
    pub fn push(&mut self, batch: &Batch) -> Pushed {
        let mut pushed = Pushed::default();
        let selected = self.selected(batch);
        if !selected.is_empty() {
            let columns = Columns::of(batch);
            let files = self.intern_files(batch);
            for Selected { row: index, rule, positions } in selected {
                let row = columns.row(index as usize, &files, self.log_time);
                self.advance_into(row.log_time, &mut pushed.messages);
                let (watch, scene) = self.watch(rule as usize);
                if watch.arrive(&row, positions, &scene, &mut pushed.messages) {
                    pushed.late_rows.push(index);
                }
                let due = watch.next_due();
                self.next_due = self.next_due.min(due);
            }
        }
        if let Some(log_time) = batch.log_time() {
            self.advance_into(log_time, &mut pushed.messages);
        }
        let gaps = batch.rejected.iter().filter_map(|r| gap::messages(r, &self.partition));
        pushed.messages.extend(gaps.flatten());
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
        for rule in 0..self.watches.len() {
            let (watch, scene) = self.watch(rule);
            watch.finish(&scene, log_time, &mut messages);
        }
        messages.sort_by(|a, b| a.alert.id.cmp(&b.alert.id));
        messages
    }

    /// A rule's state, and where it watches.
    pub(crate) fn watch(&mut self, rule: usize) -> (&mut Watch, Scene<'_>) {
        let scene = Scene {
            rule: &self.rules.rules[rule],
            plan: &self.plans[rule],
            partition: &self.partition,
            files: &self.files,
            limits: &self.limits,
        };
        (&mut self.watches[rule], scene)
    }

    /// The rows that rules select, by row and then by rule.
    fn selected(&self, batch: &Batch) -> Vec<Selected> {
        let masks = select(&self.rules, &batch.events);
        let mut selected = Vec::new();
        for (index, rule) in self.rules.rules.iter().enumerate() {
            for (position, detection) in rule.detections.iter().enumerate() {
                // Only rules with few positions ask which of them it was.
                let positions = 1_u16.checked_shl(position as u32).unwrap_or(0);
                masks[*detection].for_each(batch.events.num_rows(), |row| {
                    selected.push(Selected { row: row as u32, rule: index as u32, positions });
                });
            }
        }
        selected.sort_unstable();
        selected.dedup_by(|next, kept| {
            let is_same = (next.row, next.rule) == (kept.row, kept.rule);
            if is_same {
                kept.positions |= next.positions;
            }
            is_same
        });
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
        if self.next_due > self.log_time {
            return;
        }
        let first = messages.len();
        while let Some(rule) = self.first_due() {
            let (watch, scene) = self.watch(rule);
            watch.fire_first(&scene, messages);
        }
        messages[first..].sort_by_cached_key(|message| {
            let alert = &message.alert;
            (message.log_time, alert.rule.name.clone(), alert.key.to_string())
        });
    }

    /// The rule for which something is due first, if it is due; remembers when it will be if not.
    fn first_due(&mut self) -> Option<usize> {
        let dues = self.watches.iter().map(Watch::next_due).enumerate();
        let (rule, due) = dues.min_by_key(|(rule, due)| (*due, *rule))?;
        self.next_due = due;
        (due <= self.log_time && due < i64::MAX).then_some(rule)
    }

    /// Works out when something is due next, after the state was read back.
    pub(crate) fn reschedule(&mut self) {
        self.next_due = self.watches.iter().map(Watch::next_due).min().unwrap_or(i64::MAX);
    }
}

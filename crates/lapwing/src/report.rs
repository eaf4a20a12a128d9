//! What a run has seen and raised, in numbers. Bounded: ended alerts are folded into counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::DictionaryArray;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use hdrhistogram::Histogram;
use lapwing_detector::RuleStats;
use lapwing_event::{Batch, FieldId, Level, Message, RejectReason, Status};

/// Keys listed per rule.
pub const TOP_KEYS: usize = 5;

/// Numbers of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Events.
    pub events: u64,
    /// Events by kind and outcome; an event without an outcome has an empty one.
    pub kinds: BTreeMap<(Box<str>, Box<str>), u64>,
    /// Rejected records by reason, each with the place of the first one.
    pub rejected: BTreeMap<RejectReason, (u64, String)>,
    /// Events whose time did not move log time, since it was far ahead of its neighbours.
    pub corrected: u64,
    /// Events whose time was ahead of log time.
    pub clamped: u64,
    /// Events that were late for at least one rule.
    pub late: u64,
    /// Alert messages by rule, level and what they say.
    pub messages: BTreeMap<(Arc<str>, Level, Status), u64>,
    /// Alerts by rule.
    pub rules: BTreeMap<Arc<str>, RuleAlerts>,
    /// The highest level of any alert.
    pub highest: Option<Level>,
    /// What each rule has seen, in the order of the rule set, over all partitions.
    pub stats: Vec<RuleStats>,
    /// Time from handing a batch to the detector until its alerts were handed over.
    pub detect_us: Option<Histogram<u64>>,
    open: HashMap<Arc<str>, OpenAlert>,
}

/// Alerts of one rule.
#[derive(Debug, Clone, Default)]
pub struct RuleAlerts {
    /// Alerts by the level they reached.
    pub by_level: BTreeMap<Level, u64>,
    /// Of these, alerts that lack events.
    pub incomplete: u64,
    /// The keys with the highest counts, falling.
    pub top: Vec<(u64, String)>,
}

#[derive(Debug)]
struct OpenAlert {
    rule: Arc<str>,
    level: Level,
    key: String,
    count: u64,
    complete: bool,
}

impl Report {
    /// Counts a batch.
    pub fn count_batch(&mut self, batch: &Batch) {
        let flag = |field: FieldId| {
            batch.events.column(field.index()).as_boolean().values().count_set_bits() as u64
        };
        self.events += batch.events.num_rows() as u64;
        self.corrected += flag(FieldId::TimeCorrected);
        self.clamped += flag(FieldId::TimeClamped);
        self.late += flag(FieldId::Late);
        self.count_kinds(batch);
        for rejected in &batch.rejected {
            let place = || match (&rejected.file, rejected.line) {
                (Some(file), Some(line)) => format!("{file}:{line}: {}", rejected.record.detail),
                _ => {
                    let (partition, offset) = (&batch.partition.name, rejected.offset);
                    format!("{partition}, offset {offset}: {}", rejected.record.detail)
                }
            };
            let (count, _) =
                self.rejected.entry(rejected.record.reason).or_insert_with(|| (0, place()));
            *count += 1;
        }
    }

    /// Counts events by kind and outcome: one sum for each pair of distinct values of the batch.
    fn count_kinds(&mut self, batch: &Batch) {
        let column =
            |field: FieldId| batch.events.column(field.index()).as_dictionary::<Int32Type>();
        let (kinds, outcomes) = (column(FieldId::Kind), column(FieldId::Outcome));
        let words = |column: &DictionaryArray<Int32Type>| -> Vec<Box<str>> {
            let words = column.values().as_string::<i32>().iter();
            // The word of null comes last.
            words.map(|word| word.unwrap_or_default().into()).chain(["".into()]).collect()
        };
        let (kind_words, outcome_words) = (words(kinds), words(outcomes));
        let mut counts = vec![0_u64; kind_words.len() * outcome_words.len()];
        for (kind, outcome) in kinds.keys().iter().zip(outcomes.keys()) {
            let kind = kind.map_or(kind_words.len() - 1, |key| key as usize);
            let outcome = outcome.map_or(outcome_words.len() - 1, |key| key as usize);
            counts[kind * outcome_words.len() + outcome] += 1;
        }
        for (at, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let kind = kind_words[at / outcome_words.len()].clone();
            let outcome = outcome_words[at % outcome_words.len()].clone();
            *self.kinds.entry((kind, outcome)).or_insert(0) += count;
        }
    }

    /// Counts messages.
    pub fn count_messages(&mut self, messages: &[Message]) {
        for Message { alert, .. } in messages {
            self.highest = self.highest.max(Some(alert.level));
            let message = (alert.rule.name.clone(), alert.level, alert.status);
            *self.messages.entry(message).or_insert(0) += 1;
            let open = OpenAlert {
                rule: alert.rule.name.clone(),
                level: alert.level,
                key: alert.key.to_string(),
                count: alert.count,
                complete: alert.complete,
            };
            match alert.status {
                Status::Resolved => {
                    self.open.remove(&alert.id);
                    self.fold(open);
                }
                _ => drop(self.open.insert(alert.id.clone(), open)),
            }
        }
    }

    /// Folds the alerts that are still open, at the end.
    pub fn close(&mut self) {
        for (_, open) in std::mem::take(&mut self.open) {
            self.fold(open);
        }
    }

    fn fold(&mut self, alert: OpenAlert) {
        let rule = self.rules.entry(alert.rule).or_default();
        *rule.by_level.entry(alert.level).or_insert(0) += 1;
        rule.incomplete += u64::from(!alert.complete);
        let at = rule.top.partition_point(|(count, key)| {
            (std::cmp::Reverse(*count), key) < (std::cmp::Reverse(alert.count), &alert.key)
        });
        rule.top.insert(at, (alert.count, alert.key));
        rule.top.truncate(TOP_KEYS);
    }

    /// Adds what the rules of a partition have seen.
    pub fn count_stats(&mut self, stats: &[RuleStats]) {
        self.stats.resize(stats.len(), RuleStats::default());
        for (sum, stats) in self.stats.iter_mut().zip(stats) {
            sum.matched += stats.matched;
            sum.keyed += stats.keyed;
            sum.late += stats.late;
            sum.duplicates += stats.duplicates;
            sum.evicted += stats.evicted;
        }
    }

    /// The numbers without what is known of each alert.
    pub fn counters(&self) -> Self {
        Self {
            events: self.events,
            kinds: self.kinds.clone(),
            rejected: self.rejected.clone(),
            corrected: self.corrected,
            clamped: self.clamped,
            late: self.late,
            messages: self.messages.clone(),
            rules: BTreeMap::new(),
            highest: self.highest,
            stats: self.stats.clone(),
            detect_us: self.detect_us.clone(),
            open: HashMap::new(),
        }
    }

    /// Adds what another partition has seen. Its open alerts are not taken over.
    pub fn absorb(&mut self, other: &Self) {
        self.events += other.events;
        self.corrected += other.corrected;
        self.clamped += other.clamped;
        self.late += other.late;
        for (kind, count) in &other.kinds {
            *self.kinds.entry(kind.clone()).or_insert(0) += count;
        }
        for (reason, (count, place)) in &other.rejected {
            self.rejected.entry(*reason).or_insert_with(|| (0, place.clone())).0 += count;
        }
        for (message, count) in &other.messages {
            *self.messages.entry(message.clone()).or_insert(0) += count;
        }
        self.highest = self.highest.max(other.highest);
        self.count_stats_of(&other.stats);
        match (&mut self.detect_us, &other.detect_us) {
            (Some(mine), Some(others)) => {
                mine.add(others).expect("all histograms have the same bounds");
            }
            (mine @ None, others) => mine.clone_from(others),
            (Some(_), None) => {}
        }
    }

    fn count_stats_of(&mut self, stats: &[RuleStats]) {
        if !stats.is_empty() {
            self.count_stats(stats);
        }
    }

    /// The number of rejected records.
    pub fn rejected_records(&self) -> u64 {
        self.rejected.values().map(|(count, _)| count).sum()
    }

    /// The number of alerts by level, over all rules.
    pub fn alerts_by_level(&self) -> BTreeMap<Level, u64> {
        let mut levels = BTreeMap::new();
        for (level, count) in self.rules.values().flat_map(|r| &r.by_level) {
            *levels.entry(*level).or_insert(0) += count;
        }
        levels
    }
}

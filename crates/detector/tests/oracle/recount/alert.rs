//! An open alert as lists: its windows, every entry it has counted. Only what is counted is kept
//! as numbers, since an id is known for as long as its entries are there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use lapwing_event::{
    Alert, AlertKey, AlertRule, Evidence, EvidenceSet, Fixed, Incomplete, KeyValue, Level, Message,
    ResolvedBecause, Status, Window, alert_id,
};

use super::window::{Entry, value};
use crate::case::{CaseRule, FILE, Measure, PARTITION, REASONS, RULE_ID, RULE_NAME, SOURCE};

/// An open alert.
#[derive(Debug, Clone)]
pub(crate) struct OpenAlert {
    pub(crate) opened_at: i64,
    /// What the clock of the key showed when a window was last found to hold.
    pub(crate) last_told: i64,
    /// The ends of its windows with their values.
    pub(crate) windows: Vec<(i64, Fixed)>,
    /// Every entry it has counted; of one about absence, the entries before the silence.
    pub(crate) counted: Vec<Entry>,
    count: u64,
    by_reason: BTreeMap<u8, u64>,
    pub(crate) level: Level,
    /// The count at which the next update is due.
    pub(crate) mark: u64,
    pub(crate) revision: u32,
    pub(crate) incomplete: BTreeSet<Incomplete>,
}

impl OpenAlert {
    pub(crate) fn new(opened_at: i64) -> Self {
        Self {
            opened_at,
            last_told: i64::MIN / 2,
            windows: Vec::new(),
            counted: Vec::new(),
            count: 0,
            by_reason: BTreeMap::new(),
            level: Level::Low,
            mark: 0,
            revision: 0,
            incomplete: BTreeSet::new(),
        }
    }

    /// Takes in windows that newly hold, and counts what is now covered.
    pub(crate) fn absorb(
        &mut self,
        rule: &CaseRule,
        entries: &[Entry],
        newly: &BTreeMap<i64, Fixed>,
    ) {
        self.windows.extend(newly.iter().map(|(end, value)| (*end, *value)));
        if rule.decides_at_arrival() {
            for (end, most) in &mut self.windows {
                *most = value(rule, entries, *end).unwrap_or_default().max(*most);
            }
        }
        let covers = |time, end| end - rule.timespan < time && time <= end;
        for entry in entries {
            let is_counted = self.counted.iter().any(|c| c.offset == entry.offset);
            if !is_counted && self.windows.iter().any(|(end, _)| covers(entry.time, *end)) {
                self.count(entry, entries);
            }
        }
    }

    /// Counts an entry: with an id, only what it adds to the counted entries of that id that are
    /// still there, and in place of the one that stood for the id.
    fn count(&mut self, entry: &Entry, entries: &[Entry]) {
        let is_there = |c: &&Entry| entries.iter().any(|e| e.offset == c.offset);
        let same_id = self.counted.iter().filter(|c| entry.id.is_some() && c.id == entry.id);
        let rank = |e: &Entry| (Reverse(e.count), e.time, e.offset);
        let carrier = same_id.filter(is_there).min_by_key(|e| rank(e)).copied();
        self.counted.push(*entry);
        self.count += entry.count.saturating_sub(carrier.map_or(0, |c| c.count));
        if carrier.is_some_and(|carrier| rank(&carrier) < rank(entry)) {
            return;
        }
        if let Some((reason, count)) = carrier.and_then(|c| Some((c.reason?, c.count))) {
            let left = self.by_reason.entry(reason).or_insert(0);
            *left = left.saturating_sub(count);
        }
        if let Some(reason) = entry.reason {
            *self.by_reason.entry(reason).or_insert(0) += entry.count;
        }
    }

    /// Whether this is worth a message since the last one; passes the marks.
    pub(crate) fn takes_stock(&mut self, rule: &CaseRule, lost: &BTreeSet<Incomplete>) -> bool {
        let count = self.count;
        let value = self.value(rule);
        let reached = rule.levels.iter().filter(|(_, from)| value >= *from);
        let level = reached.map(|(level, _)| *level).fold(self.level, Level::max);
        if self.revision == 0 {
            let base = match rule.measure {
                Measure::Sum(_) | Measure::Avg(_) => count,
                _ => (value.0 / 1_000_000_000) as u64,
            };
            self.mark = base.max(1) * 2;
        }
        let is_news = self.revision == 0
            || count >= self.mark
            || level > self.level
            || *lost != self.incomplete;
        while self.mark <= count {
            self.mark *= 2;
        }
        self.level = level;
        self.incomplete.clone_from(lost);
        is_news
    }

    /// When it has been quiet for long enough, on the clock of the key.
    pub(crate) fn quiet_at(&self, rule: &CaseRule) -> i64 {
        let quiet = self.last_end() + rule.resolve_after + rule.lateness;
        quiet.max(self.last_told + rule.resolve_after)
    }

    /// The end of its last window.
    pub(crate) fn last_end(&self) -> i64 {
        self.windows.iter().map(|(end, _)| *end).max().expect("an alert has a window")
    }

    fn value(&self, rule: &CaseRule) -> Fixed {
        let values = self.windows.iter().map(|(_, value)| *value);
        let value = if rule.asks_for_less() { values.min() } else { values.max() };
        value.expect("an alert has a window")
    }

    /// Its next message.
    pub(crate) fn message(
        &mut self,
        rule: &CaseRule,
        key: &[KeyValue],
        status: Status,
        resolved: Option<(i64, ResolvedBecause)>,
        log_time: i64,
    ) -> Message {
        self.revision += 1;
        let names = rule.group_by.iter().map(|g| g.field().spec().name.into());
        let key = AlertKey(names.zip(key.iter().cloned()).collect());
        let evidence = self.evidence(rule);
        let first_end = self.windows.iter().map(|(end, _)| *end).min();
        let first_end = first_end.expect("an alert has a window");
        let by_reason = self.by_reason.iter().filter(|(_, count)| **count > 0);
        let alert = Alert {
            id: alert_id(RULE_ID, SOURCE, PARTITION, &key, self.opened_at),
            revision: self.revision,
            status,
            level: self.level,
            rule: AlertRule { id: RULE_ID.into(), name: RULE_NAME.into() },
            source_id: SOURCE.into(),
            partition: PARTITION.into(),
            key,
            title: String::new(),
            description: String::new(),
            next_step: String::new(),
            count: self.count,
            value: self.value(rule),
            by_reason: by_reason
                .map(|(n, count)| (REASONS[usize::from(*n)].into(), *count))
                .collect(),
            window: Window { start: first_end - rule.timespan, end: self.last_end() },
            opened_at: self.opened_at,
            last_at: evidence.latest.time,
            resolved_at: resolved.map(|(at, _)| at),
            resolved_because: resolved.map(|(_, because)| because),
            evidence,
            complete: self.incomplete.is_empty(),
            incomplete_because: self.incomplete.iter().copied().collect(),
            open_at_end: false,
        };
        Message { alert, log_time }
    }

    fn evidence(&self, rule: &CaseRule) -> EvidenceSet {
        let mut counted = self.counted.clone();
        counted.sort_by_key(|e| (e.time, e.offset));
        let evidence: Vec<Evidence> =
            counted.iter().map(|e| evidence(e.time, e.offset, e.reason)).collect();
        let samples = if rule.measure == Measure::Absence { 1 } else { 5 };
        EvidenceSet {
            first: evidence[0].clone(),
            latest: evidence[evidence.len() - 1].clone(),
            samples: evidence.into_iter().take(samples).collect(),
        }
    }
}

/// Where an event stands: all records are lines of one file.
pub(crate) fn evidence(time: i64, offset: i64, reason: Option<u8>) -> Evidence {
    Evidence {
        offset,
        file: Some(FILE.into()),
        line: Some(offset + 1),
        time,
        reason: reason.map(|n| REASONS[usize::from(n)].into()),
    }
}

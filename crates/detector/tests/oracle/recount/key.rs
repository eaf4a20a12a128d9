//! What is known of one group key.

use std::collections::BTreeSet;

use lapwing_event::{Incomplete, KeyValue};

use super::alert::OpenAlert;
use super::loss::Lost;
use super::window::Entry;
use crate::case::{CaseRule, Measure};

/// What is known of a group key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) values: Vec<KeyValue>,
    pub(crate) newest: i64,
    pub(crate) skew: i64,
    pub(crate) entries: Vec<Entry>,
    /// The ends of windows that were decided: once each.
    pub(crate) decided: BTreeSet<i64>,
    pub(crate) alert: Option<OpenAlert>,
    pub(crate) lost: BTreeSet<Incomplete>,
}

impl Key {
    /// The times of entries that wait for a decision on the key's clock.
    pub(crate) fn undecided(&self, rule: &CaseRule) -> impl Iterator<Item = i64> {
        let is_absence = rule.measure == Measure::Absence;
        let waits = !rule.decides_at_arrival();
        let last = self.decided.last().copied().filter(|_| is_absence).unwrap_or(i64::MIN);
        let times = self.entries.iter().map(|e| e.time).filter(move |time| waits && *time > last);
        times.filter(|time| !self.decided.contains(time))
    }

    pub(crate) fn distinct_values(&self) -> usize {
        self.entries.iter().filter_map(|e| e.value).collect::<BTreeSet<u8>>().len()
    }
}

/// Where an entry stands, if something is lost with it.
pub(crate) fn place(entry: &Entry) -> Lost {
    (entry.time, entry.offset, entry.reason)
}

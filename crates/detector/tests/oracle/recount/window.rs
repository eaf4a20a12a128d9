//! What a window holds, from the list of entries, each time anew.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_event::Fixed;

use crate::case::{CaseRule, Measure};

/// An event that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) time: i64,
    pub(crate) offset: i64,
    pub(crate) count: u64,
    pub(crate) id: Option<(u8, u8)>,
    /// The positions of the rule's list that select it, as bits; temporal rules alone ask.
    pub(crate) mask: u8,
    /// What distinct values are counted of.
    pub(crate) value: Option<u8>,
    /// What is added up.
    pub(crate) number: Option<Fixed>,
    pub(crate) reason: Option<u8>,
}

impl Entry {
    /// Whether it is the same record once more.
    pub(crate) fn repeats(&self, other: &Self) -> bool {
        let known = |e: &Self| (e.time, e.count, e.mask, e.value, e.number);
        self.id.is_some() && self.id == other.id && known(self) == known(other)
    }
}

/// The value of the window that ends at `end`; `None` if it cannot hold whatever the condition.
pub(crate) fn value(rule: &CaseRule, entries: &[Entry], end: i64) -> Option<Fixed> {
    let lies = |e: &&Entry| match rule.hold_for {
        0 => end - rule.timespan < e.time && e.time <= end,
        hold_for => end - (rule.timespan - hold_for) <= e.time && e.time <= end,
    };
    let inside: Vec<&Entry> = entries.iter().filter(lies).collect();
    match rule.measure {
        Measure::EventCount => {
            let counts = inside.iter().map(|e| (e.id, e.count));
            Some(whole(once_by_id(counts).into_iter().sum()))
        }
        Measure::ValueCount => {
            let values: BTreeSet<u8> = inside.iter().filter_map(|e| e.value).collect();
            Some(whole(values.len() as u64))
        }
        Measure::Sum(_) => Some(Fixed(numbers(&inside).iter().sum())),
        Measure::Avg(_) => {
            let numbers = numbers(&inside);
            let sum: i128 = numbers.iter().sum();
            (!numbers.is_empty()).then(|| Fixed(sum.div_euclid(numbers.len() as i128)))
        }
        Measure::Temporal => {
            let seen = inside.iter().fold(0, |seen, e| seen | e.mask);
            Some(whole(u64::from(seen.count_ones())))
        }
        Measure::TemporalOrdered => {
            let steps = rule.picks.len();
            let mut taken = Vec::new();
            follows(&inside, steps, &mut taken).then(|| whole(steps as u64))
        }
        Measure::Absence => None,
    }
}

/// Whether the window that ends at `end` holds.
pub(crate) fn holds(rule: &CaseRule, entries: &[Entry], end: i64) -> Option<Fixed> {
    value(rule, entries, end).filter(|value| rule.allows(*value))
}

/// The numbers, each id once with its largest.
fn numbers(entries: &[&Entry]) -> Vec<i128> {
    once_by_id(entries.iter().filter_map(|e| Some((e.id, e.number?.0))))
}

/// What adds up: of each id the largest, and everything without an id.
fn once_by_id<T: Copy + Ord>(all: impl Iterator<Item = (Option<(u8, u8)>, T)>) -> Vec<T> {
    let mut by_id: BTreeMap<(u8, u8), T> = BTreeMap::new();
    let mut once = Vec::new();
    for (id, amount) in all {
        match id {
            None => once.push(amount),
            Some(id) => {
                let most = by_id.entry(id).or_insert(amount);
                *most = amount.max(*most);
            }
        }
    }
    once.extend(by_id.into_values());
    once
}

/// Whether the steps from `taken.len()` on can be done by entries of their own, each no earlier
/// than the one before: tries all.
fn follows(entries: &[&Entry], steps: usize, taken: &mut Vec<usize>) -> bool {
    let step = taken.len();
    if step == steps {
        return true;
    }
    let earliest = taken.last().map_or(i64::MIN, |last| entries[*last].time);
    for (index, entry) in entries.iter().enumerate() {
        let fits = entry.mask & (1 << step) != 0 && entry.time >= earliest;
        if !fits || taken.contains(&index) {
            continue;
        }
        taken.push(index);
        if follows(entries, steps, taken) {
            return true;
        }
        taken.pop();
    }
    false
}

fn whole(number: u64) -> Fixed {
    Fixed(i128::from(number) * 1_000_000_000)
}

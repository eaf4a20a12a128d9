//! The records of one id: in each window the id counts once, with the largest weight of its records
//! there. What a record more or less changes.

use std::collections::{BTreeMap, BTreeSet};

use super::list::{Change, Step};

/// A record of an id: its time and its weight.
pub(super) type Weighed = (i64, i64);

/// What changes when the records of an id change.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Steps, by the time of the record they belong to.
    pub(super) steps: Vec<(i64, Step)>,
    /// Figures: the windows that end in `from..to`, and by how much.
    pub(super) changes: Vec<Change>,
}

/// The difference between two sets of records of one id, windows being `span` long.
///
/// Quadratic in the number of records, which is bounded
/// ([`MAX_RECORDS_PER_ID`](super::MAX_RECORDS_PER_ID)).
pub(super) fn difference(before: &[Weighed], after: &[Weighed], span: i64) -> Difference {
    let mut bounds = BTreeSet::new();
    for (time, _) in before.iter().chain(after) {
        bounds.insert(*time);
        bounds.insert(time.saturating_add(span));
    }
    let mut found = Difference::default();
    let bounds: Vec<i64> = bounds.into_iter().collect();
    for pair in bounds.windows(2) {
        let by = weight(after, pair[0], span) - weight(before, pair[0], span);
        match found.changes.last_mut() {
            Some(last) if last.to == pair[0] && last.by[0] == i128::from(by) => last.to = pair[1],
            _ if by != 0 => {
                let by = [i128::from(by), 0];
                found.changes.push(Change { from: pair[0], to: pair[1], by });
            }
            _ => {}
        }
    }
    let mut steps = steps(after, span);
    for (time, step) in self::steps(before, span) {
        let here = steps.entry(time).or_default();
        here.enter -= step.enter;
        here.leave -= step.leave;
    }
    found.steps = steps.into_iter().filter(|(_, step)| *step != Step::default()).collect();
    found
}

/// The weight of the id in the window at `end`.
fn weight(records: &[Weighed], end: i64, span: i64) -> i64 {
    let lies = |time: i64| time <= end && end < time.saturating_add(span);
    records.iter().filter(|(time, _)| lies(*time)).map(|(_, w)| *w).max().unwrap_or(0)
}

/// How much the weight rises at the time of each record, and falls when the record leaves.
fn steps(records: &[Weighed], span: i64) -> BTreeMap<i64, Step> {
    let mut steps: BTreeMap<i64, Step> = BTreeMap::new();
    for time in records.iter().map(|(time, _)| *time).collect::<BTreeSet<i64>>() {
        let leaves = time.saturating_add(span);
        // What has left before anything enters at the same moment: the weight without the records
        // of this very time that enter, and without those that leave.
        let without = |at: i64| -> i64 {
            let stays = |t: i64| t < at && at < t.saturating_add(span);
            records.iter().filter(|(t, _)| stays(*t)).map(|(_, w)| *w).max().unwrap_or(0)
        };
        let step = steps.entry(time).or_default();
        step.enter = weight(records, time, span) - without(time);
        step.leave = weight(records, leaves - 1, span) - without(leaves);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figure as the list works it out: what entered less what left.
    fn by_steps(records: &[Weighed], end: i64, span: i64) -> i64 {
        let steps = steps(records, span);
        let entered: i64 = steps.iter().filter(|(t, _)| **t <= end).map(|(_, s)| s.enter).sum();
        let left: i64 = steps.iter().filter(|(t, _)| **t <= end - span).map(|(_, s)| s.leave).sum();
        entered - left
    }

    #[test]
    fn steps_add_up_to_the_weight_and_changes_to_its_difference() {
        let records = [(0, 3), (5, 1), (5, 2), (10, 7), (12, 2), (19, 5), (20, 5), (40, 1)];
        for n in 0..records.len() {
            let (before, after) = (&records[..n], &records[..=n]);
            let found = difference(before, after, 10);
            for end in -5..60 {
                assert_eq!(by_steps(after, end, 10), weight(after, end, 10), "{after:?} at {end}");
                let lies = |c: &&Change| c.from <= end && end < c.to;
                let by = found.changes.iter().find(lies).map_or(0, |c| c.by[0]);
                let wanted = weight(after, end, 10) - weight(before, end, 10);
                assert_eq!(by, i128::from(wanted), "{after:?} at {end}");
            }
        }
    }
}

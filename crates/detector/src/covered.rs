//! The stretch of time that the windows of an alert cover: a few intervals, start < t ≤ end.

use serde::{Deserialize, Serialize};

/// Intervals in order, none touching another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Covered {
    intervals: Vec<(i64, i64)>,
}

impl Covered {
    /// Whether a time lies in it.
    pub(crate) fn contains(&self, time: i64) -> bool {
        let at = self.intervals.partition_point(|(_, end)| *end < time);
        self.intervals.get(at).is_some_and(|(start, _)| *start < time)
    }

    /// Adds the interval start < t ≤ end; gives what of it was not covered.
    pub(crate) fn add(&mut self, start: i64, end: i64) -> Vec<(i64, i64)> {
        let first = self.intervals.partition_point(|(_, e)| *e < start);
        let after = self.intervals.partition_point(|(s, _)| *s <= end);
        let mut gaps = Vec::new();
        let mut from = start;
        for (s, e) in &self.intervals[first..after] {
            if from < *s {
                gaps.push((from, *s));
            }
            from = from.max(*e);
        }
        if from < end {
            gaps.push((from, end));
        }
        let touched = &self.intervals[first..after];
        let joined_start = touched.first().map_or(start, |(s, _)| start.min(*s));
        let joined_end = touched.last().map_or(end, |(_, e)| end.max(*e));
        self.intervals.splice(first..after, [(joined_start, joined_end)]);
        gaps
    }

    /// Forgets what lies at or before a time.
    pub(crate) fn trim(&mut self, horizon: i64) {
        let gone = self.intervals.partition_point(|(_, end)| *end <= horizon);
        self.intervals.drain(..gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_covered_is_given() {
        let mut covered = Covered::default();
        assert_eq!(covered.add(10, 20), [(10, 20)]);
        assert_eq!(covered.add(15, 25), [(20, 25)]);
        assert_eq!(covered.add(40, 50), [(40, 50)]);
        assert_eq!(covered.add(0, 60), [(0, 10), (25, 40), (50, 60)]);
        assert_eq!(covered.add(5, 60), []);
        assert_eq!(covered.intervals, [(0, 60)]);
        assert!(!covered.contains(0) && covered.contains(1) && covered.contains(60));
        assert!(!covered.contains(61));
        covered.trim(60);
        assert!(!covered.contains(60));
    }
}

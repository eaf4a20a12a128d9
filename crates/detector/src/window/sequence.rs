//! Events in a given order (`temporal_ordered`): each position of a rule has an event of its own, at
//! times that do not fall. Equal times satisfy either order.
//!
//! Between two times the earliest (or latest) event that can serve always serves best; at one and
//! the same time as many positions as possible are served, by a matching.

use super::times::Times;

/// The times of the entries, by the positions that their events can take.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    groups: Vec<(u16, Times)>,
}

impl Sequence {
    pub(super) fn add(&mut self, positions: u16, time: i64) {
        match self.groups.iter_mut().find(|(p, _)| *p == positions) {
            Some((_, times)) => times.add(time),
            None => {
                let mut times = Times::default();
                times.add(time);
                self.groups.push((positions, times));
            }
        }
    }

    pub(super) fn remove(&mut self, positions: u16, time: i64) {
        if let Some((_, times)) = self.groups.iter_mut().find(|(p, _)| *p == positions) {
            times.remove(time);
        }
        self.groups.retain(|(_, times)| !times.is_empty());
    }

    /// The windows that hold because of the events at `time`: ends in `from..to`.
    pub(super) fn holding(&self, time: i64, positions: usize, span: i64) -> Vec<(i64, i64)> {
        let mut found = Vec::new();
        for first in 0..positions {
            let Some(start) = self.latest_start(first, time) else { continue };
            for last in first..positions {
                if !self.fit(first, last, time) {
                    break;
                }
                let Some(end) = self.earliest_end(last + 1, positions, time) else { continue };
                if end < start.saturating_add(span) {
                    found.push((end, start.saturating_add(span)));
                }
            }
        }
        found
    }

    /// Whether the window at `end` holds.
    pub(super) fn holds(&self, end: i64, positions: usize, span: i64) -> bool {
        let start = self.latest_start(positions, end.saturating_add(1));
        start.is_some_and(|start| start > end.saturating_sub(span))
    }

    /// The latest time at which the first `count` positions can begin so that all of them are served
    /// before `time`; for none of them, `time` itself.
    fn latest_start(&self, count: usize, time: i64) -> Option<i64> {
        let (mut rest, mut time) = (count, time);
        while rest > 0 {
            time = self.times_of(rest - 1).filter_map(|t| t.before(time)).max()?;
            let mut first = rest - 1;
            while first > 0 && self.fit(first - 1, rest - 1, time) {
                first -= 1;
            }
            rest = first;
        }
        Some(time)
    }

    /// The earliest time at which the positions from `next` on can all be served after `time`; for
    /// none of them, `time` itself.
    fn earliest_end(&self, next: usize, positions: usize, time: i64) -> Option<i64> {
        let (mut next, mut time) = (next, time);
        while next < positions {
            time = self.times_of(next).filter_map(|t| t.after(time)).min()?;
            let mut last = next;
            while last + 1 < positions && self.fit(next, last + 1, time) {
                last += 1;
            }
            next = last + 1;
        }
        Some(time)
    }

    fn times_of(&self, position: usize) -> impl Iterator<Item = &Times> {
        let serves = move |(positions, _): &&(u16, Times)| positions & (1 << position) != 0;
        self.groups.iter().filter(serves).map(|(_, times)| times)
    }

    /// Whether the events at one time serve the positions from `first` to `last`, each one of them
    /// by an event of its own.
    fn fit(&self, first: usize, last: usize, time: i64) -> bool {
        let mut supply: Vec<(u16, Vec<usize>, usize)> = Vec::new();
        for (positions, times) in &self.groups {
            let count = times.count(time) as usize;
            if count > 0 {
                supply.push((*positions, Vec::new(), count));
            }
        }
        (first..=last).all(|position| {
            let mut tried = vec![false; supply.len()];
            assign(position, &mut supply, &mut tried)
        })
    }
}

/// Finds an event for a position, moving others to other events if need be.
fn assign(position: usize, supply: &mut [(u16, Vec<usize>, usize)], tried: &mut [bool]) -> bool {
    for group in 0..supply.len() {
        if tried[group] || supply[group].0 & (1 << position) == 0 {
            continue;
        }
        tried[group] = true;
        if supply[group].1.len() < supply[group].2 {
            supply[group].1.push(position);
            return true;
        }
        for taken in 0..supply[group].1.len() {
            if assign(supply[group].1[taken], supply, tried) {
                supply[group].1[taken] = position;
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(events: &[(u16, i64)]) -> Sequence {
        let mut sequence = Sequence::default();
        events.iter().for_each(|(positions, time)| sequence.add(*positions, *time));
        sequence
    }

    #[test]
    fn equal_times_satisfy_either_order_and_one_event_serves_once() {
        assert!(sequence(&[(0b10, 5), (0b01, 5)]).holds(5, 2, 10));
        assert!(!sequence(&[(0b11, 5)]).holds(5, 2, 10));
        assert!(sequence(&[(0b11, 5), (0b11, 5)]).holds(5, 2, 10));
        assert!(!sequence(&[(0b10, 4), (0b01, 5)]).holds(5, 2, 10));
        assert!(sequence(&[(0b01, 4), (0b10, 5)]).holds(5, 2, 10));
        // Only a matching that moves the first event to the second position serves both.
        assert!(sequence(&[(0b11, 5), (0b01, 5)]).holds(5, 2, 10));
    }

    #[test]
    fn an_event_between_completes_the_windows_that_contain_all() {
        let events = sequence(&[(0b001, 0), (0b010, 4), (0b100, 6)]);
        assert_eq!(events.holding(4, 3, 10), [(6, 10)]);
        assert_eq!(events.holding(4, 3, 6), []);
    }
}

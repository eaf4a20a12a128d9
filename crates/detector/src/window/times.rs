//! The times at which something is present, each with how often; and what one time more or less
//! changes: something counts once in a window however often it is there.

use std::collections::BTreeMap;

use super::list::{Change, Step};

/// Times up to this many are searched one after another.
const FEW: usize = 16;

/// A multiset of times.
#[derive(Debug)]
pub(super) enum Times {
    /// In order.
    Few(Vec<(i64, u32)>),
    Many(BTreeMap<i64, u32>),
}

impl Default for Times {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Times {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(times) => times.is_empty(),
            Self::Many(times) => times.is_empty(),
        }
    }

    /// How often a time is there.
    pub(super) fn count(&self, time: i64) -> u32 {
        match self {
            Self::Few(times) => times.iter().find(|(t, _)| *t == time).map_or(0, |(_, n)| *n),
            Self::Many(times) => times.get(&time).copied().unwrap_or(0),
        }
    }

    /// The latest time before one.
    pub(super) fn before(&self, time: i64) -> Option<i64> {
        match self {
            Self::Few(times) => times.iter().rev().map(|(t, _)| *t).find(|t| *t < time),
            Self::Many(times) => times.range(..time).next_back().map(|(t, _)| *t),
        }
    }

    /// The earliest time after one.
    pub(super) fn after(&self, time: i64) -> Option<i64> {
        match self {
            Self::Few(times) => times.iter().map(|(t, _)| *t).find(|t| *t > time),
            Self::Many(times) => times.range(time.saturating_add(1)..).next().map(|(t, _)| *t),
        }
    }

    pub(super) fn add(&mut self, time: i64) {
        if let Self::Few(times) = self
            && times.len() == FEW
        {
            *self = Self::Many(times.drain(..).collect());
        }
        match self {
            Self::Few(times) => {
                let at = times.partition_point(|(t, _)| *t < time);
                match times.get_mut(at).filter(|(t, _)| *t == time) {
                    Some((_, n)) => *n += 1,
                    None => times.insert(at, (time, 1)),
                }
            }
            Self::Many(times) => *times.entry(time).or_insert(0) += 1,
        }
    }

    pub(super) fn remove(&mut self, time: i64) {
        match self {
            Self::Few(times) => {
                let at = times.partition_point(|(t, _)| *t < time);
                if let Some((_, n)) = times.get_mut(at).filter(|(t, _)| *t == time) {
                    *n -= 1;
                    if *n == 0 {
                        times.remove(at);
                    }
                }
            }
            Self::Many(times) => {
                if let Some(n) = times.get_mut(&time) {
                    *n -= 1;
                    if *n == 0 {
                        times.remove(&time);
                    }
                }
            }
        }
    }
}

/// What it changes that something is present at one time more.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// In the steps at that time.
    pub(super) own: Step,
    /// In the steps at the times before and after it.
    pub(super) others: [(i64, Step); 2],
    /// In the windows that did not contain it, by one.
    pub(super) gained: Option<(i64, i64)>,
}

impl Presence {
    /// At `time`, with the nearest times before and after it.
    pub(super) fn new(time: i64, before: Option<i64>, after: Option<i64>, span: i64) -> Self {
        let is_near = |from: i64, to: i64| to < from.saturating_add(span);
        let one_if = |far: bool| i64::from(far);
        let own = Step {
            enter: one_if(before.is_none_or(|before| !is_near(before, time))),
            leave: one_if(after.is_none_or(|after| !is_near(time, after))),
        };
        let mut others = [(time, Step::default()); 2];
        if let Some(before) = before {
            let left_before = one_if(after.is_none_or(|after| !is_near(before, after)));
            let leave = one_if(!is_near(before, time)) - left_before;
            others[0] = (before, Step { enter: 0, leave });
        }
        if let Some(after) = after {
            let entered_before = one_if(before.is_none_or(|before| !is_near(before, after)));
            let enter = one_if(!is_near(time, after)) - entered_before;
            others[1] = (after, Step { enter, leave: 0 });
        }
        let from = before.map_or(time, |before| time.max(before.saturating_add(span)));
        let to = time.saturating_add(span).min(after.unwrap_or(i64::MAX));
        Self { own, others, gained: (from < to).then_some((from, to)) }
    }

    /// The changes of figures, each by `by`.
    pub(super) fn change(&self, by: i128) -> Option<Change> {
        self.gained.map(|(from, to)| Change { from, to, by: [by, 0] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_times_are_found_as_few_are() {
        let mut times = Times::default();
        for n in 0..40 {
            times.add(n * 10);
            times.add(n * 10);
            assert_eq!(times.count(n * 10), 2);
            assert_eq!(times.before(n * 10), (n > 0).then(|| (n - 1) * 10));
            assert_eq!(times.after(n * 10 - 1), Some(n * 10));
        }
        (0..40).for_each(|n| times.remove(n * 10));
        assert_eq!(times.after(0), Some(10));
        (0..40).for_each(|n| times.remove(n * 10));
        assert!(times.is_empty());
    }

    #[test]
    fn something_counts_once_where_its_windows_overlap() {
        let alone = Presence::new(100, None, None, 60);
        assert_eq!((alone.own.enter, alone.own.leave, alone.gained), (1, 1, Some((100, 160))));
        let between = Presence::new(100, Some(50), Some(120), 60);
        assert_eq!((between.own.enter, between.own.leave), (0, 0));
        assert_eq!(between.gained, Some((110, 120)));
        assert_eq!(
            between.others,
            [(50, Step { enter: 0, leave: -1 }), (120, Step { enter: -1, leave: 0 })]
        );
    }
}

//! The log time of the records of a Kafka partition: the running maximum of their timestamps. What the
//! clock of this machine had a part in is written down as steps, so that reading the same records
//! again gives the same log times.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::reader::ReadBefore;
use crate::decode::{RawRecord, Timestamp};

/// From an offset on, log time is at least `floor`, and no timestamp counts for more than `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTimeStep {
    /// The first offset.
    pub offset: i64,
    /// Microseconds; `i64::MIN` for none.
    pub floor: i64,
    /// Microseconds; `i64::MAX` for none.
    pub cap: i64,
}

/// Gives the records of a partition, in order, their log times.
#[derive(Debug)]
pub(super) struct RunningLogTime {
    /// The log time reached; `i64::MIN` before the first record.
    now: i64,
    /// A log time that a tick has reached and no record yet.
    ticked: i64,
    /// What a timestamp counts for at most, as of the last step.
    cap: i64,
    /// Steps of an earlier reading that lie ahead.
    known: VecDeque<LogTimeStep>,
    /// From here on nothing was read before.
    known_until: i64,
    /// Steps made since they were last taken.
    made: Vec<LogTimeStep>,
}

impl RunningLogTime {
    /// Goes on from a log time, after an earlier reading of the same records.
    pub(super) fn new(now: i64, before: ReadBefore) -> Self {
        Self {
            now,
            ticked: if before.until > 0 { before.reached } else { i64::MIN },
            cap: i64::MAX,
            known: before.steps.into(),
            known_until: before.until,
            made: Vec::new(),
        }
    }

    /// The log time reached by records.
    pub(super) fn now(&self) -> i64 {
        self.now
    }

    /// The log time reached by records and ticks: no later record has a smaller one.
    pub(super) fn reached(&self) -> i64 {
        self.now.max(self.ticked)
    }

    /// A tick has moved log time on; a record with a smaller one is raised to it.
    pub(super) fn tick(&mut self, log_time: i64) {
        self.ticked = self.ticked.max(log_time);
    }

    /// The steps made since the last call.
    pub(super) fn take_steps(&mut self) -> Vec<LogTimeStep> {
        std::mem::take(&mut self.made)
    }

    /// The log time of the next record, which is read when the clock shows `clock`.
    pub(super) fn of(&mut self, record: &RawRecord, clock: i64) -> i64 {
        let mut floor = i64::MIN;
        if record.offset < self.known_until {
            while let Some(step) = self.known.front().filter(|step| step.offset <= record.offset) {
                (floor, self.cap) = (floor.max(step.floor), step.cap);
                self.known.pop_front();
            }
        } else {
            floor = self.live(record, clock);
        }
        let timestamp = match record.timestamp {
            Timestamp::Appended(time) | Timestamp::Created(time) => time.min(self.cap),
            Timestamp::Unknown => i64::MIN,
        };
        self.now = self.now.max(floor).max(timestamp);
        self.now
    }

    /// What holds for a record that was never read before: the time of a producer counts up to the time
    /// of reading, and log time does not fall behind a tick. What makes a difference becomes a step.
    fn live(&mut self, record: &RawRecord, clock: i64) -> i64 {
        let floor = match self.known.drain(..).map(|step| step.floor).max() {
            Some(floor) => floor.max(self.ticked),
            None => self.ticked,
        };
        let (cap, time, floor) = match record.timestamp {
            Timestamp::Appended(time) => (i64::MAX, time, floor),
            Timestamp::Created(time) if time > clock => (clock, time, floor),
            Timestamp::Created(time) => (i64::MAX, time, floor),
            Timestamp::Unknown => (i64::MAX, i64::MIN, floor.max(clock)),
        };
        self.ticked = i64::MIN;
        // A cap in force that changes nothing for this record stays, which keeps steps few.
        let is_capped_anew = time.min(self.cap) != time.min(cap);
        if is_capped_anew {
            self.cap = cap;
        }
        let is_raised = floor > self.now.max(time.min(self.cap));
        if is_raised || is_capped_anew {
            let floor = if is_raised { floor } else { i64::MIN };
            self.made.push(LogTimeStep { offset: record.offset, floor, cap: self.cap });
        }
        floor
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(offset: i64, timestamp: Timestamp) -> RawRecord {
        RawRecord { offset, timestamp, value: None }
    }

    #[test]
    fn log_time_is_the_running_maximum_and_a_producer_s_time_counts_up_to_the_clock() {
        let mut time = RunningLogTime::new(i64::MIN, ReadBefore::default());
        let appended = |time: &mut RunningLogTime, offset, at| {
            time.of(&record(offset, Timestamp::Appended(at)), 0)
        };
        assert_eq!(appended(&mut time, 0, 50), 50, "a broker's clock is not capped by ours");
        assert_eq!(appended(&mut time, 1, 40), 50);
        assert_eq!(time.of(&record(2, Timestamp::Created(500)), 100), 100);
        assert_eq!(time.of(&record(3, Timestamp::Created(90)), 100), 100);
        assert_eq!(time.of(&record(4, Timestamp::Unknown), 120), 120);
        time.tick(200);
        assert_eq!(time.of(&record(5, Timestamp::Created(150)), 210), 200);
        assert_eq!(time.now(), 200);
    }

    #[test]
    fn what_the_clock_had_no_part_in_makes_no_step() {
        let mut time = RunningLogTime::new(i64::MIN, ReadBefore::default());
        for offset in 0..100 {
            time.of(&record(offset, Timestamp::Appended(offset * 10)), 0);
            time.tick(offset * 10 + 5);
        }
        assert_eq!(time.take_steps(), []);
    }

    fn timestamps() -> impl Strategy<Value = Timestamp> {
        prop_oneof![
            (0_i64..200).prop_map(Timestamp::Appended),
            (0_i64..200).prop_map(Timestamp::Created),
            Just(Timestamp::Unknown),
        ]
    }

    proptest! {
        #[test]
        fn the_steps_give_the_same_log_times_again(
            read in proptest::collection::vec((timestamps(), 0_i64..200, proptest::option::of(0_i64..200)), 1..60),
            again_at in 0_i64..400,
        ) {
            let mut first = RunningLogTime::new(i64::MIN, ReadBefore::default());
            let mut once = Vec::new();
            for (offset, (timestamp, clock, tick)) in read.iter().enumerate() {
                tick.iter().for_each(|tick| first.tick(*tick));
                once.push(first.of(&record(offset as i64, *timestamp), *clock));
            }
            let steps = first.take_steps();
            let mut second = RunningLogTime::new(
                i64::MIN,
                ReadBefore { steps, until: read.len() as i64, reached: i64::MIN },
            );
            let again = read.iter().enumerate();
            let again: Vec<i64> = again
                .map(|(offset, (timestamp, ..))| second.of(&record(offset as i64, *timestamp), again_at))
                .collect();
            prop_assert_eq!(once, again);
            prop_assert_eq!(second.take_steps(), []);
        }
    }
}

//! The world of a test: a partition to which records come as time goes by, and a source that reads it.
//! Processes come and go; the world goes on where it stands.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapwing_detector::Limits;
use lapwing_detector::rule::RuleSet;
use lapwing_event::{Batch, LogTimeOrigin, Message, Partition, Split};
use lapwing_ingest::decode::{RawBatch, Timestamp};
use lapwing_ingest::{
    DecodeOptions, Decoders, LogTimeStep, Next, ReadBefore, SourceError, SourceStats, TopicCursor,
    TopicReader,
};
use lapwing_sink::{Sink, SinkError};

use super::super::keep::Rest;
use super::fate::{Fate, Life};
use crate::checkpoint::{Claimed, Cursor};
use crate::lane::PartitionSource;
use crate::pipeline::Pipeline;

/// 2026-11-22T16:00:00Z.
const BEGIN: i64 = 1_795_363_200_000_000;
const SECOND: i64 = 1_000_000;
/// How far a time may be ahead of log time: a minute, as by default.
const SKEW: i64 = 60 * SECOND;

/// What happens in the world.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Records come, with the seconds of their timestamps.
    Records(Vec<(Stamp, String)>),
    /// The clock shows this second, while nothing is unread.
    Clock(i64),
    /// Everything raised so far is handed over before the next act.
    Settle,
}

/// The timestamp of a record, seconds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stamp {
    Appended(i64),
    Created(i64),
    Unknown,
}

/// The acts, and what comes of them.
pub(super) struct World {
    acts: Vec<Act>,
    expected: Expected,
    now: Mutex<Now>,
    pub(super) partition: Arc<Partition>,
    pub(super) received: Arc<Mutex<Vec<Message>>>,
}

#[derive(Default)]
struct Now {
    act: usize,
    /// Nobody waits for what is expected any more, since it is not.
    is_unsettled: bool,
    clock: i64,
    log: Vec<(Timestamp, String)>,
}

/// What an undisturbed process makes of the world.
#[derive(Debug, Default, Clone)]
pub(super) struct Expected {
    /// By id and revision.
    pub(super) messages: Vec<Message>,
    /// Offsets and log times of all records.
    pub(super) rows: Vec<(i64, i64)>,
    /// How many messages there are before each act.
    before_act: Vec<usize>,
}

/// A refused login, which raises an alert by itself.
pub(super) fn refused(id: &str, ip: &str, at: i64) -> String {
    let time = lapwing_event::time::format_time(BEGIN + at * SECOND);
    format!(
        "{{\"time\":\"{time}\",\"kind\":\"auth\",\"outcome\":\"denied\",\"id\":\"{id}\",\
         \"reason\":{{\"code\":\"rate_limited\"}},\"source\":{{\"ip\":\"{ip}\"}}}}"
    )
}

/// An event that raises nothing.
pub(super) fn quiet(id: &str, at: i64) -> String {
    let time = lapwing_event::time::format_time(BEGIN + at * SECOND);
    format!("{{\"time\":\"{time}\",\"kind\":\"message\",\"id\":\"{id}\"}}")
}

impl World {
    pub(super) fn new(acts: Vec<Act>, rules: &Arc<RuleSet>) -> Self {
        let partition = Arc::new(Partition {
            source_id: "agents".into(),
            name: "audit-0".into(),
            log_time_origin: LogTimeOrigin::Observed,
            split: Split::Whole,
        });
        let mut world = Self {
            acts,
            expected: Expected::default(),
            now: Mutex::new(Now { clock: BEGIN, ..Now::default() }),
            partition,
            received: Arc::default(),
        };
        world.expected = world.foresee(rules);
        world.now = Mutex::new(Now { clock: BEGIN, ..Now::default() });
        world
    }

    pub(super) fn expected(&self) -> &Expected {
        &self.expected
    }

    pub(super) fn is_over(&self) -> bool {
        self.now.lock().expect("no panic").act == self.acts.len()
    }

    /// From now on nothing is waited for: the rules are others.
    pub(super) fn stop_settling(&self) {
        self.now.lock().expect("no panic").is_unsettled = true;
    }

    /// Plays the world to a bare pipeline: no epochs, no manifests, no restarts.
    fn foresee(&self, rules: &Arc<RuleSet>) -> Expected {
        let mut pipeline = Pipeline::new(rules.clone(), Limits::default(), Seen::default());
        let mut reader = self.reader(None, Vec::new(), 0, i64::MIN);
        let mut before_act = Vec::new();
        loop {
            let at = self.at();
            before_act.resize(at + 1, 0);
            before_act[at] = pipeline.sink_mut().messages.len();
            match self.turn(&mut reader, usize::MAX, |_| true) {
                Next::Batch(batch) => pipeline.take(batch).expect("nothing fails"),
                Next::Idle { log_time } => {
                    pipeline.tick(&self.partition, log_time).expect("nothing fails");
                }
                Next::End => break,
            }
        }
        let Seen { mut messages, rows } = std::mem::take(pipeline.sink_mut());
        messages.sort_by_key(|m| (m.alert.id.clone(), m.alert.revision));
        Expected { messages, rows, before_act }
    }

    fn at(&self) -> usize {
        self.now.lock().expect("no panic").act
    }

    fn reader(
        &self,
        cursor: Option<&TopicCursor>,
        steps: Vec<LogTimeStep>,
        until: i64,
        reached: i64,
    ) -> TopicReader {
        let first = TopicCursor { next_offset: 0, log_time: None, format: None };
        TopicReader::new(
            self.partition.clone(),
            cursor.unwrap_or(&first),
            None,
            SKEW,
            ReadBefore { steps, until, reached },
        )
    }

    /// What a reader finds: records, or the next act.
    fn turn(
        &self,
        reader: &mut TopicReader,
        batch: usize,
        is_settled: impl Fn(usize) -> bool,
    ) -> Next {
        const NOTHING: Next = Next::Idle { log_time: i64::MIN };
        let mut now = self.now.lock().expect("no panic");
        let next = reader.next_offset() as usize;
        if next < now.log.len() {
            let mut raw = RawBatch::default();
            for (offset, (timestamp, value)) in now.log.iter().enumerate().skip(next).take(batch) {
                raw.push(offset as i64, *timestamp, Some(value.as_bytes()));
            }
            let decoders = Decoders::new(1, DecodeOptions::default());
            let batch = reader.read(raw, now.clock, &mut decoders.lend());
            return batch.map_or(NOTHING, Next::Batch);
        }
        let (at, end) = (now.act, now.log.len() as i64);
        let ticked = match self.acts.get(at) {
            None => return Next::End,
            // As a consumer does, which says again and again where the partition ends.
            Some(Act::Settle) if !now.is_unsettled && !is_settled(at) => {
                let ticked = reader.tick(end, now.clock);
                return ticked.map_or(NOTHING, |log_time| Next::Idle { log_time });
            }
            Some(Act::Settle) => None,
            Some(Act::Clock(second)) => {
                now.clock = BEGIN + second * SECOND;
                reader.tick(end, now.clock)
            }
            Some(Act::Records(records)) => {
                now.log.extend(records.iter().map(|(stamp, value)| (stamp.time(), value.clone())));
                None
            }
        };
        now.act += 1;
        ticked.map_or(NOTHING, |log_time| Next::Idle { log_time })
    }

    /// Whether everything raised before an act was received.
    fn is_settled(&self, act: usize) -> bool {
        let received = self.received.lock().expect("no panic");
        let ids: BTreeSet<_> =
            received.iter().map(|m| (m.alert.id.clone(), m.alert.revision)).collect();
        ids.len() >= self.expected.before_act[act]
    }
}

impl Stamp {
    fn time(self) -> Timestamp {
        match self {
            Self::Appended(second) => Timestamp::Appended(BEGIN + second * SECOND),
            Self::Created(second) => Timestamp::Created(BEGIN + second * SECOND),
            Self::Unknown => Timestamp::Unknown,
        }
    }
}

#[derive(Default)]
struct Seen {
    messages: Vec<Message>,
    rows: Vec<(i64, i64)>,
}

impl Sink for Seen {
    fn write_batch(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.rows.extend(rows_of(batch));
        Ok(())
    }

    fn write_messages(&mut self, messages: &[Message]) -> Result<(), SinkError> {
        self.messages.extend_from_slice(messages);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// The offsets and log times of a batch.
pub(super) fn rows_of(batch: &Batch) -> Vec<(i64, i64)> {
    let events = batch.event_offsets().iter().copied().zip(batch.event_log_times().iter().copied());
    let mut rows: Vec<_> = events.collect();
    rows.extend(batch.rejected.iter().map(|rejected| (rejected.offset, rejected.log_time)));
    rows.sort_unstable();
    rows
}

/// A source that reads the world, as a topic is read.
pub(super) struct WorldSource {
    pub(super) world: Arc<World>,
    reader: TopicReader,
    fate: Arc<Fate>,
    rest: Arc<Rest>,
    batch: usize,
}

impl WorldSource {
    /// Reads on where the checkpoint says, a few records at a time.
    pub(super) fn open(
        world: &Arc<World>,
        claimed: &Claimed,
        fate: &Arc<Fate>,
        rest: &Arc<Rest>,
        batch: usize,
    ) -> Self {
        let resume = &claimed.resume;
        let cursor = match &resume.cursor {
            Some(Cursor::Topic(cursor)) => Some(cursor),
            Some(Cursor::Files(_)) => panic!("there are no files"),
            None => None,
        };
        let steps = resume.steps.clone();
        let reader = world.reader(cursor, steps, resume.known_until, resume.reached);
        Self { world: world.clone(), reader, fate: fate.clone(), rest: rest.clone(), batch }
    }
}

impl PartitionSource for WorldSource {
    fn next(&mut self) -> Result<Next, SourceError> {
        if self.fate.life() != Life::Goes {
            std::thread::sleep(Duration::from_millis(1));
            return Ok(Next::Idle { log_time: i64::MIN });
        }
        let world = self.world.clone();
        let next = world.turn(&mut self.reader, self.batch, |act| world.is_settled(act));
        Ok(match next {
            Next::End => {
                self.rest.must_rest.store(true, Ordering::Relaxed);
                Next::Idle { log_time: i64::MIN }
            }
            Next::Idle { log_time: i64::MIN } => {
                std::thread::sleep(Duration::from_micros(200));
                next
            }
            next => next,
        })
    }

    fn done(&mut self) {}

    fn cursor(&self) -> Cursor {
        Cursor::Topic(self.reader.cursor())
    }

    fn next_offset(&self) -> i64 {
        self.reader.next_offset()
    }

    fn log_time(&self) -> Option<i64> {
        self.reader.cursor().log_time
    }

    fn take_steps(&mut self) -> Vec<LogTimeStep> {
        self.reader.take_steps()
    }

    fn stats(&self) -> SourceStats {
        self.reader.stats().clone()
    }

    fn lag(&self) -> Option<u64> {
        None
    }
}

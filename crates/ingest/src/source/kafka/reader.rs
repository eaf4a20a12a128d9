//! One Kafka partition: records come in as the broker hands them out, batches go out with their
//! offsets, log times and what each value says. It talks to no broker.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use lapwing_event::{Batch, Partition, Reject, RejectReason, RejectedAt, RejectedRecord};
use serde::{Deserialize, Serialize};

use super::super::SourceStats;
use super::super::assemble::{BatchBuilder, Stamp};
use super::super::log_time::TimedChunk;
use super::super::merge::Piece;
use super::log_time::{LogTimeStep, RunningLogTime};
use crate::decode::{DecodeOptions, Decoder, RawBatch};
use crate::format::{Format, format_by_name};

/// How far a partition of a topic was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicCursor {
    /// The offset of the next record.
    pub next_offset: i64,
    /// The log time reached by records and ticks, microseconds; `None` before the first.
    pub log_time: Option<i64>,
    /// The format of the records, once it is known.
    pub format: Option<String>,
}

/// The decoders that the partitions of a process share: whoever has one may decode, detect and encode, so
/// that as few batches as there are decoders are in memory at a time.
pub struct Decoders {
    idle: (Sender<Decoder>, Receiver<Decoder>),
}

/// A decoder that is lent out; it goes back when this is dropped.
pub struct LentDecoder {
    decoder: Option<Decoder>,
    back: Sender<Decoder>,
}

impl Decoders {
    /// Makes decoders.
    pub fn new(count: usize, options: DecodeOptions) -> Arc<Self> {
        let idle = bounded(count.max(1));
        for _ in 0..count.max(1) {
            idle.0.send(Decoder::new(options)).expect("there is room for each");
        }
        Arc::new(Self { idle })
    }

    /// Lends a decoder out, as soon as there is one.
    pub fn lend(&self) -> LentDecoder {
        let decoder = self.idle.1.recv().expect("the other end is held too");
        LentDecoder { decoder: Some(decoder), back: self.idle.0.clone() }
    }
}

impl LentDecoder {
    fn decoder(&mut self) -> &mut Decoder {
        self.decoder.as_mut().expect("it is there until it goes back")
    }
}

impl Drop for LentDecoder {
    fn drop(&mut self) {
        if let Some(decoder) = self.decoder.take() {
            // If everybody has gone, nobody needs it.
            drop(self.back.try_send(decoder));
        }
    }
}

/// What an earlier reading of the records from the cursor on has left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadBefore {
    /// Where the clock had a part in their log times.
    pub steps: Vec<LogTimeStep>,
    /// The offset up to which they were read.
    pub until: i64,
    /// The log time reached there, microseconds.
    pub reached: i64,
}

/// Reads one partition.
pub struct TopicReader {
    partition: Arc<Partition>,
    builder: BatchBuilder,
    format: Option<&'static dyn Format>,
    next_offset: i64,
    log_time: RunningLogTime,
    known_until: i64,
    max_future_skew: i64,
    stats: SourceStats,
}

impl TopicReader {
    /// Reads on from a cursor.
    pub fn new(
        partition: Arc<Partition>,
        cursor: &TopicCursor,
        format: Option<&'static dyn Format>,
        max_future_skew: i64,
        before: ReadBefore,
    ) -> Self {
        let found = cursor.format.as_deref().and_then(format_by_name);
        let now = cursor.log_time.unwrap_or(i64::MIN);
        Self {
            partition,
            builder: BatchBuilder::default(),
            format: format.or(found),
            next_offset: cursor.next_offset,
            known_until: before.until,
            log_time: RunningLogTime::new(now, before),
            max_future_skew,
            stats: SourceStats::default(),
        }
    }

    /// The partition of everything it hands out.
    pub fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// The offset of the next record.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// What is needed to go on after the batches and the ticks handed out so far: what a tick has
    /// resolved stays resolved for the records that come next.
    pub fn cursor(&self) -> TopicCursor {
        let reached = self.log_time.reached();
        TopicCursor {
            next_offset: self.next_offset,
            log_time: (reached != i64::MIN).then_some(reached),
            format: self.format.map(|format| format.info().name.to_owned()),
        }
    }

    /// What the clock had a part in since the last call.
    pub fn take_steps(&mut self) -> Vec<LogTimeStep> {
        self.log_time.take_steps()
    }

    /// What was read so far.
    pub fn stats(&self) -> &SourceStats {
        &self.stats
    }

    /// The next records, read when the clock shows `clock` (microseconds); `None` if they were all read
    /// before.
    pub fn read(
        &mut self,
        mut raw: RawBatch,
        clock: i64,
        decoder: &mut LentDecoder,
    ) -> Option<Batch> {
        raw.records.retain(|record| record.offset >= self.next_offset);
        let last = raw.records.last()?.offset;
        let log_times = raw.records.iter().map(|r| self.log_time.of(r, clock)).collect();
        let chunk = decoder.decoder().decode_batch(&raw, &mut self.format);
        let records = chunk.records();
        self.stats.bytes_read += raw.bytes.len() as u64;
        self.stats.records += records as u64;
        self.stats.rejected += chunk.rejected.len() as u64;
        self.stats.count_format(chunk.format, records as u64);
        self.next_offset = last + 1;
        let chunk = Arc::new(TimedChunk { chunk, log_times, corrected: None });
        self.builder.push(Piece { chunk, records: 0..records });
        let stamp = Stamp {
            partition: &self.partition,
            first_offset: 0,
            first_log_time: i64::MIN,
            max_future_skew: self.max_future_skew,
        };
        Some(self.builder.finish(&stamp))
    }

    /// Records that are gone before they were read, up to an offset: one rejected record, at the
    /// last of them, stands for all.
    pub fn lose(&mut self, before: i64, clock: i64) -> Option<Batch> {
        let (first, last) = (self.next_offset, before - 1);
        if last < first {
            return None;
        }
        let detail = format!(
            "the records at the offsets {first} to {last} were deleted before they were read"
        );
        let now = self.log_time.now();
        let log_time = if now == i64::MIN { clock } else { now };
        // What comes next is no earlier.
        self.log_time.tick(log_time);
        let record = RejectedRecord::new(Reject::new(RejectReason::Lost, detail), b"", 0);
        self.stats.records += 1;
        self.stats.rejected += 1;
        self.next_offset = before;
        let stamp = Stamp {
            partition: &self.partition,
            first_offset: 0,
            first_log_time: i64::MIN,
            max_future_skew: self.max_future_skew,
        };
        let mut batch = self.builder.finish(&stamp);
        batch.digests.push(last as u64);
        batch.rejected.push(RejectedAt { offset: last, log_time, file: None, line: None, record });
        Some(batch)
    }

    /// Says that before `end`, the end of the partition when the clock showed `clock`, nothing is unread;
    /// gives the log time that is thereby reached.
    pub fn tick(&mut self, end: i64, clock: i64) -> Option<i64> {
        let is_at_end = self.next_offset >= end && self.next_offset >= self.known_until;
        let log_time = clock.saturating_sub(TICK_MARGIN);
        if !is_at_end || self.log_time.now() >= log_time {
            return None;
        }
        self.log_time.tick(log_time);
        Some(log_time)
    }
}

/// How far a tick stays behind the clock, microseconds: one second, for brokers whose clocks are behind
/// ours by as much, so that the records that come next are not raised.
const TICK_MARGIN: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use lapwing_event::{LogTimeOrigin, Split};

    use super::*;
    use crate::decode::Timestamp;

    fn reader(format: Option<&'static dyn Format>) -> TopicReader {
        let partition = Arc::new(Partition {
            source_id: "agents".into(),
            name: "audit-3".into(),
            log_time_origin: LogTimeOrigin::Observed,
            split: Split::Whole,
        });
        let cursor = TopicCursor { next_offset: 10, log_time: None, format: None };
        TopicReader::new(partition, &cursor, format, 0, ReadBefore::default())
    }

    const EVENT: &[u8] = br#"{"time":"2026-11-22T16:01:13Z","kind":"tool"}"#;

    #[test]
    fn offsets_keep_their_gaps_and_everything_ends_as_event_or_rejected() {
        let mut reader = reader(None);
        let mut raw = RawBatch::default();
        raw.push(9, Timestamp::Appended(1), Some(EVENT));
        raw.push(10, Timestamp::Appended(2), Some(b"not json"));
        raw.push(12, Timestamp::Appended(5), Some(EVENT));
        raw.push(15, Timestamp::Appended(4), None);
        raw.push(16, Timestamp::Appended(6), Some(b""));
        let decoders = Decoders::new(1, DecodeOptions::default());
        let batch = reader.read(raw, 100, &mut decoders.lend()).expect("records");
        assert_eq!(batch.event_offsets(), [12], "9 was read before");
        assert_eq!(batch.event_log_times(), [5]);
        let rejected: Vec<_> =
            batch.rejected.iter().map(|r| (r.offset, r.log_time, r.record.reason)).collect();
        use RejectReason::{NoValue, NotJson, WrongFormat};
        assert_eq!(rejected, [(10, 2, WrongFormat), (15, 5, NoValue), (16, 6, NotJson)]);
        assert_eq!(batch.digests.len(), 4);
        let cursor = reader.cursor();
        assert_eq!((cursor.next_offset, cursor.log_time), (17, Some(6)));
        assert_eq!(cursor.format.as_deref(), Some("native"));
    }

    #[test]
    fn what_is_lost_is_one_rejected_record() {
        let mut reader = reader(None);
        let batch = reader.lose(40, 7).expect("a hole");
        assert_eq!(batch.offsets(), Some((39, 39)));
        assert_eq!(batch.rejected[0].record.reason, RejectReason::Lost);
        assert!(batch.rejected[0].record.detail.contains("10 to 39"));
        assert!(reader.lose(40, 8).is_none());
    }

    #[test]
    fn a_tick_waits_until_everything_was_read() {
        let mut reader = reader(None);
        assert_eq!(reader.tick(11, 5_000_000), None);
        assert_eq!(reader.tick(10, 5_000_000), Some(4_000_000));
        assert_eq!(reader.cursor().log_time, Some(4_000_000), "whoever goes on here knows of it");
    }
}

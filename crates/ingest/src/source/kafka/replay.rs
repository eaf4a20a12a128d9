//! Replays a topic: the records that are there when it begins, once, without a group and without
//! committing anything. A partition ends where it ended then, whatever is written meanwhile. Partitions
//! are fetched side by side and handed out in an order that depends on their records alone.

mod plan;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_event::time::MINUTE;
use lapwing_event::{Batch, FieldId, LogTimeOrigin, Partition, Split};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use tracing::{debug, warn};

use self::plan::{Span, plan};
use super::address::{OffsetRange, TopicAddress};
use super::client::{ANSWER_WITHIN, Alone, KafkaSettings, Talk, describe};
use super::consumer::{add, timestamp};
use super::error::{KafkaSourceError, is_denied, way_out};
use super::reader::{Decoders, ReadBefore, TopicCursor, TopicReader};
use crate::decode::{DecodeOptions, RawBatch, Timestamp};
use crate::format::Format;
use crate::source::{Next, Source, SourceError, SourceStats, clock_us};

/// librdkafka wants a group for partitions that are assigned, though nothing is asked of it here.
const GROUP: &str = "lapwing-replay";
/// Partitions that are read side by side: enough to keep several brokers busy, few enough for memory.
/// The others wait for one of them to end.
const SIDE_BY_SIDE: usize = 16;
/// What librdkafka may hold of each of these, bytes: twice what it fetches at a time.
const QUEUE_BYTES: usize = 2 << 20;
/// Bytes of a batch at most, but one record: 8192 records of 512 bytes.
const BATCH_BYTES: usize = 4 << 20;
/// How long a poll waits before errors of the whole connection are looked at.
const POLL: Duration = Duration::from_millis(100);
/// For how long a partition may give neither records nor its end. An idle one says at once that it
/// has ended, so this is for brokers that are being restarted.
const SILENT_AT_MOST: Duration = Duration::from_secs(120);

/// How a topic is replayed.
#[derive(Debug, Clone)]
pub struct KafkaReplayOptions {
    /// The id of the source.
    pub source_id: Arc<str>,
    /// Properties of librdkafka.
    pub properties: Vec<(String, String)>,
    /// The fields that decide the partition of a record; empty if nobody knows.
    pub partitioned_by: Arc<[FieldId]>,
    /// The format of all records; `None` to recognise that of each partition.
    pub format: Option<&'static dyn Format>,
    /// How records are decoded.
    pub decode: DecodeOptions,
    /// The most records of a batch, at least 1.
    pub batch_rows: usize,
    /// How far a time may be ahead of log time without being flagged, microseconds.
    pub max_future_skew: i64,
    /// Records with a smaller log time are passed over. Microseconds.
    pub since: Option<i64>,
    /// A partition ends before its first record with this log time or a greater one. Microseconds.
    pub until: Option<i64>,
    /// What is read; everything if empty.
    pub ranges: Vec<OffsetRange>,
}

impl KafkaReplayOptions {
    /// The defaults: everything, formats are recognised, batches of 8192 records.
    pub fn new(source_id: impl Into<Arc<str>>) -> Self {
        Self {
            source_id: source_id.into(),
            properties: Vec::new(),
            partitioned_by: Arc::default(),
            format: None,
            decode: DecodeOptions::default(),
            batch_rows: 8192,
            max_future_skew: MINUTE,
            since: None,
            until: None,
            ranges: Vec::new(),
        }
    }
}

type ReplayConsumer = BaseConsumer<Alone>;

/// A topic that is replayed.
pub struct KafkaReplaySource {
    /// Before the consumer, so that their queues are dropped before it.
    readings: Vec<Reading>,
    consumer: Arc<ReplayConsumer>,
    waiting: VecDeque<Span>,
    settings: KafkaSettings,
    options: KafkaReplayOptions,
    decoders: Arc<Decoders>,
    /// When this began: the time of a producer counts up to it.
    clock: i64,
    stats: SourceStats,
}

impl KafkaReplaySource {
    /// Asks the brokers what there is to read.
    ///
    /// # Errors
    /// Brokers that do not answer, a topic that is not there or may not be read, or ranges that it does
    /// not have.
    pub fn open(
        address: &TopicAddress,
        options: KafkaReplayOptions,
    ) -> Result<Self, KafkaSourceError> {
        let settings = KafkaSettings {
            source_id: options.source_id.to_string(),
            brokers: address.brokers.clone(),
            group: GROUP.to_owned(),
            topics: vec![address.topic.clone()],
            properties: options.properties.clone(),
            queue_bytes: QUEUE_BYTES,
        };
        if let Some(name) = settings.fixed_property() {
            return Err(KafkaSourceError::Settings {
                source_id: settings.source_id.clone(),
                reason: format!("the property {name} is Lapwing's own and cannot be set"),
            });
        }
        let context = Alone { talk: Talk::new(&settings.source_id) };
        let ends_are_told = [("enable.partition.eof", "true")];
        let consumer = Arc::new(settings.consumer_with(context, &ends_are_told)?);
        let spans = plan(&consumer, &settings, address, &options)?;
        let stats = SourceStats { partitions: spans.len() as u64, ..SourceStats::default() };
        Ok(Self {
            readings: Vec::new(),
            consumer,
            waiting: spans.into_iter().filter(|span| span.start < span.end).collect(),
            settings,
            decoders: Decoders::new(1, options.decode),
            options,
            clock: clock_us(),
            stats,
        })
    }

    /// Leaves partitions that have ended and begins others.
    fn turn_over(&mut self) -> Result<(), KafkaSourceError> {
        for ended in self.readings.extract_if(.., |reading| reading.is_done()) {
            let mut list = TopicPartitionList::new();
            list.add_partition(&ended.span.of.topic, ended.span.of.number);
            if let Err(error) = self.consumer.incremental_unassign(&list) {
                debug!(%error, partition = ended.span.of.name(), "cannot be left");
            }
        }
        while self.readings.len() < SIDE_BY_SIDE
            && let Some(span) = self.waiting.pop_front()
        {
            let reading = self.begin(span)?;
            self.readings.push(reading);
        }
        Ok(())
    }

    fn begin(&self, span: Span) -> Result<Reading, KafkaSourceError> {
        let (topic, number) = (&*span.of.topic, span.of.number);
        // Before the partition is assigned, so that none of its records goes elsewhere.
        let queue = self.consumer.split_partition_queue(topic, number);
        let queue = queue.ok_or_else(|| self.fatal(&format!("no queue for {}", span.of.name())))?;
        let mut list = TopicPartitionList::new();
        add(&mut list, &span.of, span.start)?;
        self.consumer
            .incremental_assign(&list)
            .map_err(|error| self.fatal(&format!("{}: {error}", span.of.name())))?;
        let reader = self.reader(&span);
        let next_offset = span.start;
        let pending = RawBatch::default();
        Ok(Reading {
            queue,
            span,
            reader,
            pending,
            next_offset,
            lost_before: None,
            has_ended: false,
        })
    }

    fn reader(&self, span: &Span) -> TopicReader {
        let partition = Partition {
            source_id: self.options.source_id.clone(),
            name: span.of.name().into(),
            log_time_origin: LogTimeOrigin::Observed,
            split: Split::By(self.options.partitioned_by.clone()),
        };
        let cursor = TopicCursor { next_offset: span.start, log_time: None, format: None };
        TopicReader::new(
            Arc::new(partition),
            &cursor,
            self.options.format,
            self.options.max_future_skew,
            ReadBefore::default(),
        )
    }

    /// Waits until a partition has a whole batch, or has ended.
    fn fill(&mut self, at: usize) -> Result<(), KafkaSourceError> {
        let rows = self.options.batch_rows.max(1);
        let mut silent_since: Option<Instant> = None;
        while !self.readings[at].is_ready(rows) {
            let reading = &mut self.readings[at];
            let error = match reading.queue.poll(POLL) {
                Some(Ok(message)) => {
                    let (offset, value) = (message.offset(), message.payload());
                    take(&mut reading.pending, &reading.span, offset, timestamp(&message), value);
                    reading.next_offset = offset + 1;
                    reading.has_ended = offset + 1 >= reading.span.end;
                    silent_since = None;
                    continue;
                }
                Some(Err(error)) => Some(error),
                None => None,
            };
            match error {
                Some(KafkaError::PartitionEOF(_)) => reading.has_ended = true,
                Some(error) => self.hear(at, &error)?,
                None => self.serve()?,
            }
            if silent_since.get_or_insert_with(Instant::now).elapsed() > SILENT_AT_MOST {
                return Err(self.silent(at));
            }
        }
        Ok(())
    }

    /// Deals with what concerns no partition.
    fn serve(&self) -> Result<(), KafkaSourceError> {
        while let Some(told) = self.consumer.poll(Duration::ZERO) {
            match told {
                Ok(message) => {
                    let (number, offset) = (message.partition(), message.offset());
                    let what = format!("partition {number}, offset {offset}: came out of turn");
                    return Err(self.fatal(&what));
                }
                Err(KafkaError::MessageConsumptionFatal(code)) => {
                    return Err(self.fatal(&code.to_string()));
                }
                // Of the group, which is not used, or of a connection, which is made again.
                Err(error) => debug!(error = describe(&error), "kafka"),
            }
        }
        Ok(())
    }

    /// Deals with an error that came in place of a record.
    fn hear(&mut self, at: usize, error: &KafkaError) -> Result<(), KafkaSourceError> {
        use RDKafkaErrorCode as Code;
        if let KafkaError::MessageConsumptionFatal(code) = error {
            return Err(self.fatal(&code.to_string()));
        }
        let (source_id, brokers) = (self.settings.source_id.clone(), self.settings.brokers.clone());
        let topic = self.readings[at].span.of.topic.to_string();
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset) => self.find_lost(at),
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
                Err(KafkaSourceError::NoTopic { source_id, brokers, topic })
            }
            _ if is_denied(error) => {
                let reason = describe(error);
                Err(KafkaSourceError::NotAllowed { source_id, brokers, topic, reason })
            }
            _ => {
                let source = source_id;
                warn!(source, topic, error = describe(error), "kafka: librdkafka tries again");
                Ok(())
            }
        }
    }

    /// The broker does not have the records at a position any more.
    fn find_lost(&mut self, at: usize) -> Result<(), KafkaSourceError> {
        let Reading { span, next_offset, .. } = &self.readings[at];
        let (next_offset, of) = (*next_offset, span.of.clone());
        let (start, end) = self
            .consumer
            .fetch_watermarks(&of.topic, of.number, ANSWER_WITHIN)
            .map_err(|error| self.settings.unreachable(&error, &self.consumer.context().talk))?;
        if next_offset > end {
            let (source_id, topic) = (self.settings.source_id.clone(), of.topic.to_string());
            let (partition, read) = (of.number, next_offset);
            return Err(KafkaSourceError::Truncated { source_id, topic, partition, end, read });
        }
        let from = start.max(next_offset);
        let mut list = TopicPartitionList::new();
        add(&mut list, &of, from)?;
        // Also where librdkafka has given up fetching.
        self.consumer
            .incremental_unassign(&list)
            .and_then(|()| self.consumer.incremental_assign(&list))
            .map_err(|error| self.fatal(&format!("{}: {error}", of.name())))?;
        if from > next_offset {
            self.lose(at, from);
        }
        Ok(())
    }

    /// Records were deleted before they were read.
    fn lose(&mut self, at: usize, before: i64) {
        let reading = &mut self.readings[at];
        let (partition, first, last) = (reading.span.of.name(), reading.next_offset, before - 1);
        warn!(partition, first, last, "records were deleted before they were read");
        reading.next_offset = before;
        reading.has_ended = before >= reading.span.end;
        reading.lost_before = Some(before.min(reading.span.end));
        let is_begun = reading.reader.cursor().log_time.is_some();
        if !is_begun && reading.pending.records.is_empty() {
            // As if they had been gone from the start.
            reading.lost_before = None;
            reading.span.start = before;
            let reader = self.reader(&self.readings[at].span);
            self.readings[at].reader = reader;
        }
    }

    /// The partition whose next record is the oldest.
    fn oldest(&self) -> Option<usize> {
        let next = |reading: &Reading| Some((reading.next_time()?, reading.span.of.number));
        let all = self.readings.iter().enumerate();
        all.filter_map(|(at, reading)| Some((next(reading)?, at))).min().map(|(_, at)| at)
    }

    /// The next batch of a partition; `None` if none of its records is within `since` and `until`.
    fn hand_out(&mut self, at: usize) -> Option<Batch> {
        let reading = &mut self.readings[at];
        if reading.pending.records.is_empty() {
            let lost = reading.reader.lose(reading.lost_before.take()?, self.clock)?;
            return self.within(at, lost);
        }
        let raw = std::mem::take(&mut reading.pending);
        self.stats.bytes_read += raw.bytes.len() as u64;
        let batch = reading.reader.read(raw, self.clock, &mut self.decoders.lend())?;
        self.within(at, batch)
    }

    /// The records within `since` and `until`.
    fn within(&mut self, at: usize, batch: Batch) -> Option<Batch> {
        let records = batch.records();
        let (first, end) = (
            self.options.since.map_or(0, |since| records_before(&batch, since)),
            self.options.until.map_or(records, |until| records_before(&batch, until)),
        );
        if end < records {
            self.readings[at].end_here();
        }
        self.stats.outside += first.min(end) as u64;
        let batch = cut(batch, first, end)?;
        self.stats.records += batch.records() as u64;
        self.stats.rejected += batch.rejected.len() as u64;
        self.stats.count_format(batch.format, batch.records() as u64);
        Some(batch)
    }

    fn fatal(&self, reason: &str) -> KafkaSourceError {
        let source_id = self.settings.source_id.clone();
        KafkaSourceError::Fatal { source_id, reason: reason.to_owned() }
    }

    fn silent(&self, at: usize) -> KafkaSourceError {
        let Reading { span, next_offset, .. } = &self.readings[at];
        KafkaSourceError::Unreachable {
            source_id: self.settings.source_id.clone(),
            brokers: self.settings.brokers.clone(),
            reason: format!(
                "nothing came of {} from offset {next_offset} on for {} s",
                span.of.name(),
                SILENT_AT_MOST.as_secs()
            ),
            way_out: way_out(None),
        }
    }
}

impl Source for KafkaReplaySource {
    fn next_batch(&mut self) -> Result<Next, SourceError> {
        loop {
            self.turn_over()?;
            if self.readings.is_empty() {
                return Ok(Next::End);
            }
            self.serve()?;
            for at in 0..self.readings.len() {
                self.fill(at)?;
            }
            if let Some(at) = self.oldest()
                && let Some(batch) = self.hand_out(at)
            {
                return Ok(Next::Batch(batch));
            }
        }
    }

    fn stats(&self) -> SourceStats {
        self.stats.clone()
    }

    fn total_bytes(&self) -> Option<u64> {
        None
    }
}

/// A partition that is being read.
struct Reading {
    queue: PartitionQueue<Alone>,
    span: Span,
    reader: TopicReader,
    /// Records that become the next batch.
    pending: RawBatch,
    /// The offset after the last record that came.
    next_offset: i64,
    /// After the pending records, those before this offset are gone.
    lost_before: Option<i64>,
    /// Nothing more is taken of it.
    has_ended: bool,
}

impl Reading {
    fn is_ready(&self, rows: usize) -> bool {
        let is_full = self.pending.records.len() >= rows || self.pending.bytes.len() >= BATCH_BYTES;
        is_full || self.has_ended || self.lost_before.is_some()
    }

    fn is_done(&self) -> bool {
        self.has_ended && self.next_time().is_none()
    }

    /// The log time at which it goes on, as far as its records say; `None` if nothing is left.
    fn next_time(&self) -> Option<i64> {
        let now = self.reader.cursor().log_time.unwrap_or(i64::MIN);
        match self.pending.records.first().map(|record| record.timestamp) {
            Some(Timestamp::Appended(time) | Timestamp::Created(time)) => Some(time.max(now)),
            Some(Timestamp::Unknown) => Some(now),
            None => self.lost_before.map(|_| now),
        }
    }

    /// Passes over what is left.
    fn end_here(&mut self) {
        self.has_ended = true;
        self.lost_before = None;
        self.pending = RawBatch::default();
    }
}

/// Puts a record to those that wait, unless it lies beyond the end.
fn take(
    pending: &mut RawBatch,
    span: &Span,
    offset: i64,
    timestamp: Timestamp,
    value: Option<&[u8]>,
) {
    if offset < span.end {
        pending.push(offset, timestamp, value);
    }
}

/// How many records have a smaller log time, which never falls.
fn records_before(batch: &Batch, limit: i64) -> usize {
    let events = batch.event_log_times().partition_point(|time| *time < limit);
    events + batch.rejected.partition_point(|rejected| rejected.log_time < limit)
}

/// The records of a batch from one to before another; `None` if there are none.
fn cut(mut batch: Batch, first: usize, end: usize) -> Option<Batch> {
    if first >= end {
        return None;
    }
    if first > 0 || end < batch.records() {
        let events = |records: usize| {
            let offsets = batch.event_offsets();
            let rejected =
                |event: usize| batch.rejected.partition_point(|r| r.offset < offsets[event]);
            // Event n is record n + the rejected ones before it.
            let of_events: Vec<usize> = (0..offsets.len()).map(|at| at + rejected(at)).collect();
            of_events.partition_point(|record| *record < records)
        };
        let (from, to) = (events(first), events(end));
        batch.rejected = batch.rejected[first - from..end - to].to_vec();
        batch.digests = batch.digests[first..end].to_vec();
        batch.events = batch.events.slice(from, to - from);
    }
    Some(batch)
}

//! The consumer of a group: one thread polls, and whoever is assigned gets the records of each partition
//! as they are. It commits offsets for lag tools alone; where reading begins, the assignee says.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use lapwing_event::archive::is_partition_name;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message, Timestamp as BrokerTimestamp};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tracing::{debug, info, warn};

use super::client::{ANSWER_WITHIN, HasTalk, KafkaSettings, Talk, describe};
use super::error::{KafkaSourceError, is_denied};
use crate::decode::{RawBatch, Timestamp};
use crate::source::clock_us;

/// How long a poll waits for records: the most that a stop or a rebalance is delayed by.
const POLL: Duration = Duration::from_millis(50);
/// How long records wait for others to make a batch with: small beside the time of an alert.
const LINGER: Duration = Duration::from_millis(5);
/// Records of a batch at most.
const BATCH_RECORDS: usize = 8192;
/// Bytes of a batch at most, but one record.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes that a partition may always have waiting, however many partitions there are.
const MIN_INBOX_BYTES: usize = 256 << 10;
/// Arrivals that may wait for a reader before it is told no more ends: it is behind in any case.
const MAX_WAITING: usize = 1024;
/// How long nothing may become free before partitions are paused: a batch takes some milliseconds.
const STUCK_AFTER: Duration = Duration::from_millis(200);
/// How often it is looked whether there is room.
const ROOM_EVERY: Duration = Duration::from_millis(1);
/// How often the ends of partitions are asked for, and offsets are committed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the broker may take to say where a partition ends.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The number of the partition, from 0.
    pub number: i32,
}

impl TopicPartition {
    /// Its name as a partition of its source.
    pub fn name(&self) -> String {
        format!("{}-{}", self.topic, self.number)
    }
}

/// What comes for a partition.
#[derive(Debug)]
pub enum Arrival {
    /// Records.
    Records(RawBatch),
    /// The offset at which the partition ended when the clock showed this, microseconds.
    End {
        /// The offset after the last record.
        end: i64,
        /// The time before it was asked for.
        clock: i64,
    },
    /// The records before this offset that have not come are gone.
    Lost {
        /// The first offset that is there.
        before: i64,
    },
}

/// Where the consumer puts what comes for a partition.
#[derive(Debug, Clone)]
pub struct Inbox {
    arrivals: Sender<Arrival>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// Where the reader of a partition finds it.
#[derive(Debug)]
pub struct Outlet {
    arrivals: Receiver<Arrival>,
    waiting_bytes: Arc<AtomicUsize>,
    /// What came after records that were joined, and is none of them.
    held: Option<Arrival>,
}

impl Inbox {
    /// An inbox with its outlet. Its bound is kept by pausing the partition.
    pub fn new() -> (Self, Outlet) {
        let (sender, receiver) = unbounded();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let outlet =
            Outlet { arrivals: receiver, waiting_bytes: waiting_bytes.clone(), held: None };
        (Self { arrivals: sender, waiting_bytes }, outlet)
    }

    fn put(&self, arrival: Arrival) {
        if let Arrival::Records(raw) = &arrival {
            self.waiting_bytes.fetch_add(raw.bytes.len(), Ordering::Relaxed);
        }
        // A reader that is gone has lost the partition; the consumer will hear of it.
        drop(self.arrivals.send(arrival));
    }
}

impl Outlet {
    /// What comes next; `None` if nothing does for some time. Records that wait are joined.
    pub fn next(&mut self, within: Duration) -> Option<Arrival> {
        let first = match self.held.take() {
            Some(held) => held,
            None => match self.arrivals.recv_timeout(within) {
                Ok(arrival) => arrival,
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => {
                    // Whoever revokes the partition says so; until then there is nothing to do.
                    thread::sleep(within);
                    return None;
                }
            },
        };
        let Arrival::Records(mut raw) = first else { return Some(first) };
        while raw.records.len() < BATCH_RECORDS && raw.bytes.len() < BATCH_BYTES {
            match self.arrivals.try_recv() {
                Ok(Arrival::Records(more)) => raw.append(&more),
                Ok(other) => {
                    self.held = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.waiting_bytes.fetch_sub(raw.bytes.len(), Ordering::Relaxed);
        Some(Arrival::Records(raw))
    }

    /// Bytes that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }
}

/// A partition that was assigned, with the offsets that the broker has of it.
#[derive(Debug, Clone)]
pub struct Assigned {
    /// Which.
    pub partition: TopicPartition,
    /// Its first offset.
    pub start: i64,
    /// The offset after its last record.
    pub end: i64,
}

/// Where reading a partition begins, and where to.
#[derive(Debug)]
pub struct AssignedAt {
    /// Which.
    pub partition: TopicPartition,
    /// The offset.
    pub offset: i64,
    /// Where to.
    pub inbox: Inbox,
}

/// Who reads the partitions. Called by the thread that polls, and it polls on only afterwards.
pub trait Assignee: Send {
    /// Takes partitions over.
    ///
    /// # Errors
    /// What makes reading them impossible; the consumer ends.
    fn assign(&mut self, partitions: Vec<Assigned>) -> Result<Vec<AssignedAt>, KafkaSourceError>;

    /// Gives partitions back; after it another process may have them. If they are lost, another has them
    /// already.
    fn revoke(&mut self, partitions: &[TopicPartition], is_lost: bool);

    /// The offsets committed since the last call.
    fn committed(&mut self) -> Vec<(TopicPartition, i64)>;

    /// Partitions that have to be read again from somewhere, since their readers have failed.
    fn reopened(&mut self) -> Vec<AssignedAt>;
}

/// A topic's name is too long for the archive.
pub(super) fn checked(
    source_id: &str,
    topic: &str,
    number: i32,
) -> Result<TopicPartition, KafkaSourceError> {
    let partition = TopicPartition { topic: topic.into(), number };
    match is_partition_name(&partition.name()) {
        true => Ok(partition),
        false => Err(KafkaSourceError::TopicName {
            source_id: source_id.to_owned(),
            topic: topic.to_owned(),
        }),
    }
}

/// Consumes until told to rest; then everything is revoked.
///
/// # Errors
/// Brokers, topics or credentials that are wrong at the start; later what librdkafka cannot recover from,
/// and what the assignee says.
pub fn consume(
    settings: &KafkaSettings,
    assignee: Box<dyn Assignee>,
    must_rest: &AtomicBool,
) -> Result<(), KafkaSourceError> {
    let context = GroupContext {
        talk: Talk::new(&settings.source_id),
        settings: settings.clone(),
        assignee: Mutex::new(assignee),
        slots: Mutex::default(),
        failed: Mutex::default(),
        must_find_lost: AtomicBool::new(false),
    };
    let consumer = settings.consumer(context)?;
    settings.check(&consumer)?;
    let topics: Vec<&str> = settings.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(|error| KafkaSourceError::Settings {
        source_id: settings.source_id.clone(),
        reason: format!("topics {}: {error}", settings.topics.join(", ")),
    })?;
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| look_for_ends(&consumer, &has_ended));
        poll_until(&consumer, must_rest);
        has_ended.store(true, Ordering::Relaxed);
    });
    let context = consumer.context().clone();
    // Leaving the group revokes what is still assigned.
    drop(consumer);
    let failed = context.lock_failed().take();
    failed.map_or(Ok(()), Err)
}

/// A partition that is assigned.
struct Slot {
    partition: TopicPartition,
    inbox: Inbox,
    /// Records that wait to become a batch.
    pending: RawBatch,
    /// The offset after the last record that came.
    next_offset: i64,
    is_paused: bool,
}

impl Slot {
    fn flush(&mut self) {
        if !self.pending.records.is_empty() {
            self.inbox.put(Arrival::Records(std::mem::take(&mut self.pending)));
        }
    }

    fn is_full(&self) -> bool {
        self.pending.records.len() >= BATCH_RECORDS || self.pending.bytes.len() >= BATCH_BYTES
    }
}

/// The context of the consumer, which librdkafka calls back through.
struct GroupContext {
    talk: Talk,
    settings: KafkaSettings,
    assignee: Mutex<Box<dyn Assignee>>,
    slots: Mutex<Vec<Slot>>,
    failed: Mutex<Option<KafkaSourceError>>,
    /// A position was refused, and not all partitions have been looked at since.
    must_find_lost: AtomicBool,
}

type GroupConsumer = BaseConsumer<GroupContext>;

impl GroupContext {
    fn lock_slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_failed(&self) -> MutexGuard<'_, Option<KafkaSourceError>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: KafkaSourceError) {
        self.lock_failed().get_or_insert(error);
    }

    fn assign(&self, consumer: &GroupConsumer, list: &TopicPartitionList) {
        if let Err(error) = self.try_assign(consumer, list) {
            self.fail(error);
            // The group waits for an answer in any case.
            let answered = consumer.incremental_assign(&TopicPartitionList::new());
            debug!(?answered, "nothing was assigned");
        }
    }

    fn try_assign(
        &self,
        consumer: &GroupConsumer,
        list: &TopicPartitionList,
    ) -> Result<(), KafkaSourceError> {
        let mut assigned = Vec::new();
        for element in list.elements() {
            let source_id = &self.settings.source_id;
            let partition = checked(source_id, element.topic(), element.partition())?;
            let (topic, number) = (&partition.topic, partition.number);
            let (start, end) = consumer
                .fetch_watermarks(topic, number, ANSWER_WITHIN)
                .map_err(|error| self.settings.unreachable(&error, &self.talk))?;
            assigned.push(Assigned { partition, start, end });
        }
        let ends: Vec<_> = assigned.iter().map(|a| (a.start, a.end)).collect();
        let placed = lock(&self.assignee).assign(assigned)?;
        let mut begin = TopicPartitionList::new();
        let mut slots = self.lock_slots();
        for (AssignedAt { partition, offset, inbox }, (start, end)) in placed.into_iter().zip(ends)
        {
            // The end is older than the claim: the owner before may have read on meanwhile.
            if offset > end && offset > self.end_now(consumer, &partition)? {
                return Err(self.truncated(&partition, end, offset));
            }
            if offset < start {
                inbox.put(Arrival::Lost { before: start });
            }
            let next_offset = offset.max(start);
            add(&mut begin, &partition, next_offset)?;
            let (source, topic, number) =
                (&self.settings.source_id, &*partition.topic, partition.number);
            info!(source, topic, partition = number, offset = next_offset, "assigned");
            let pending = RawBatch::default();
            slots.push(Slot { partition, inbox, pending, next_offset, is_paused: false });
        }
        drop(slots);
        let assigned = consumer.incremental_assign(&begin);
        // librdkafka keeps a pause from an earlier assignment.
        assigned.and_then(|()| consumer.resume(&begin)).map_err(|error| self.fatal(&error))
    }

    fn end_now(
        &self,
        consumer: &GroupConsumer,
        partition: &TopicPartition,
    ) -> Result<i64, KafkaSourceError> {
        let found = consumer.fetch_watermarks(&partition.topic, partition.number, ANSWER_WITHIN);
        let (_, end) = found.map_err(|error| self.settings.unreachable(&error, &self.talk))?;
        Ok(end)
    }

    fn revoke(&self, consumer: &GroupConsumer, list: &TopicPartitionList) {
        let is_lost = consumer.assignment_lost();
        let elements = list.elements();
        let is_named = |slot: &Slot| {
            let partition = &slot.partition;
            elements
                .iter()
                .any(|e| e.topic() == &*partition.topic && e.partition() == partition.number)
        };
        let revoked: Vec<Slot> = self.lock_slots().extract_if(.., |slot| is_named(slot)).collect();
        let partitions: Vec<_> = revoked.into_iter().map(|slot| slot.partition).collect();
        for TopicPartition { topic, number } in &partitions {
            let source = &self.settings.source_id;
            info!(source, topic = &**topic, partition = number, is_lost, "revoked");
        }
        lock(&self.assignee).revoke(&partitions, is_lost);
        if !is_lost {
            self.commit(consumer);
        }
        if let Err(error) = consumer.incremental_unassign(list) {
            self.fail(self.fatal(&error));
        }
    }

    /// Tells the group what is committed; nothing here depends on it.
    fn commit(&self, consumer: &GroupConsumer) {
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in lock(&self.assignee).committed() {
            if let Err(error) = add(&mut offsets, &partition, offset) {
                debug!(%error, "an offset is not committed to the group");
            }
        }
        if offsets.count() > 0
            && let Err(error) = consumer.commit(&offsets, CommitMode::Async)
        {
            debug!(%error, "offsets are not committed to the group");
        }
    }

    fn truncated(&self, partition: &TopicPartition, end: i64, read: i64) -> KafkaSourceError {
        KafkaSourceError::Truncated {
            source_id: self.settings.source_id.clone(),
            topic: partition.topic.to_string(),
            partition: partition.number,
            end,
            read,
        }
    }

    fn fatal(&self, error: &KafkaError) -> KafkaSourceError {
        let source_id = self.settings.source_id.clone();
        KafkaSourceError::Fatal { source_id, reason: error.to_string() }
    }
}

impl HasTalk for GroupContext {
    fn talk(&self) -> &Talk {
        &self.talk
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.talk.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.talk.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &GroupConsumer,
        answer: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        match answer {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            _ => self.revoke(consumer, list),
        }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a partition with the offset at which reading it begins.
pub(super) fn add(
    list: &mut TopicPartitionList,
    partition: &TopicPartition,
    offset: i64,
) -> Result<(), KafkaSourceError> {
    let added =
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(offset));
    added.map_err(|error| KafkaSourceError::Fatal {
        source_id: partition.name(),
        reason: format!("offset {offset}: {error}"),
    })
}

/// Polls until told to rest, or until something has failed.
fn poll_until(consumer: &GroupConsumer, must_rest: &AtomicBool) {
    let context = consumer.context();
    let mut last_look = Instant::now();
    let mut oldest_pending: Option<Instant> = None;
    // The slot of the record before: records of a partition come together.
    let mut last_slot = 0;
    while !must_rest.load(Ordering::Relaxed) && context.lock_failed().is_none() {
        let within = if oldest_pending.is_some() { Duration::ZERO } else { POLL };
        let is_idle = match consumer.poll(within) {
            Some(Ok(message)) => {
                take(&mut context.lock_slots(), &mut last_slot, &message);
                oldest_pending.get_or_insert_with(Instant::now);
                false
            }
            Some(Err(error)) => {
                hear(consumer, &error);
                true
            }
            None => true,
        };
        if is_idle || oldest_pending.is_some_and(|since| since.elapsed() >= LINGER) {
            context.lock_slots().iter_mut().for_each(Slot::flush);
            oldest_pending = None;
            wait_for_readers(context);
            hold_back(consumer);
        }
        if last_look.elapsed() >= LOOK_EVERY {
            last_look = Instant::now();
            context.commit(consumer);
            let lost = match context.must_find_lost.load(Ordering::Relaxed) {
                true => find_lost(consumer),
                false => Ok(()),
            };
            if let Err(error) = lost.and_then(|()| reopen(consumer)) {
                context.fail(error);
            }
        }
    }
}

/// Reads partitions again whose readers have failed.
fn reopen(consumer: &GroupConsumer) -> Result<(), KafkaSourceError> {
    let context = consumer.context();
    for AssignedAt { partition, offset, inbox } in lock(&context.assignee).reopened() {
        let mut slots = context.lock_slots();
        // It may have been revoked meanwhile.
        let Some(slot) = slots.iter_mut().find(|slot| slot.partition == partition) else {
            continue;
        };
        slot.inbox = inbox;
        slot.pending = RawBatch::default();
        slot.is_paused = false;
        slot.next_offset = offset;
        read_from(consumer, &partition, offset)?;
    }
    Ok(())
}

/// Moves the position of a partition, also where librdkafka has given up fetching.
fn read_from(
    consumer: &GroupConsumer,
    partition: &TopicPartition,
    offset: i64,
) -> Result<(), KafkaSourceError> {
    let mut list = TopicPartitionList::new();
    add(&mut list, partition, offset)?;
    // librdkafka keeps a pause from before.
    let again = consumer
        .incremental_unassign(&list)
        .and_then(|()| consumer.incremental_assign(&list))
        .and_then(|()| consumer.resume(&list));
    again.map_err(|error| consumer.context().fatal(&error))
}

/// Puts a record to those of its partition.
fn take(slots: &mut [Slot], last_slot: &mut usize, message: &BorrowedMessage<'_>) {
    let (topic, number) = (message.topic(), message.partition());
    let is_of = |slot: &Slot| slot.partition.number == number && *slot.partition.topic == *topic;
    let at = match slots.get(*last_slot).is_some_and(is_of) {
        true => *last_slot,
        false => match slots.iter().position(is_of) {
            Some(at) => at,
            // It was revoked while the record was on its way.
            None => return,
        },
    };
    *last_slot = at;
    let slot = &mut slots[at];
    slot.pending.push(message.offset(), timestamp(message), message.payload());
    slot.next_offset = message.offset() + 1;
    if slot.is_full() {
        slot.flush();
    }
}

/// When a record was written.
pub(super) fn timestamp(message: &BorrowedMessage<'_>) -> Timestamp {
    let micros = |ms: i64| ms.checked_mul(1000).filter(|_| ms >= 0);
    let timestamp = match message.timestamp() {
        BrokerTimestamp::LogAppendTime(ms) => micros(ms).map(Timestamp::Appended),
        BrokerTimestamp::CreateTime(ms) => micros(ms).map(Timestamp::Created),
        BrokerTimestamp::NotAvailable => None,
    };
    timestamp.unwrap_or(Timestamp::Unknown)
}

/// Waits until there is room in the inboxes, or for so long that some reader must be stuck. Meanwhile
/// librdkafka's own queue fills, and it fetches no more.
fn wait_for_readers(context: &GroupContext) {
    let began = Instant::now();
    loop {
        let waiting: usize = context
            .lock_slots()
            .iter()
            .filter(|slot| !slot.is_paused)
            .map(|slot| slot.inbox.waiting_bytes.load(Ordering::Relaxed))
            .sum();
        if waiting <= context.settings.queue_bytes || began.elapsed() > STUCK_AFTER {
            return;
        }
        thread::sleep(ROOM_EVERY);
    }
}

/// Pauses partitions whose readers are behind while others may go on, and resumes those whose readers have
/// caught up. A pause costs: librdkafka drops what it has fetched and fetches it again.
fn hold_back(consumer: &GroupConsumer) {
    let context = consumer.context();
    let mut slots = context.lock_slots();
    let total = context.settings.queue_bytes;
    let share = (total / slots.len().max(1)).max(MIN_INBOX_BYTES);
    let waiting_of = |slot: &Slot| slot.inbox.waiting_bytes.load(Ordering::Relaxed);
    let running = slots.iter().filter(|slot| !slot.is_paused).map(waiting_of).sum::<usize>();
    for slot in slots.iter_mut() {
        let waiting = waiting_of(slot);
        let must_pause = match slot.is_paused {
            true => waiting > share / 2,
            false => running > total && waiting > share,
        };
        if must_pause == slot.is_paused {
            continue;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&slot.partition.topic, slot.partition.number);
        let done = if must_pause { consumer.pause(&list) } else { consumer.resume(&list) };
        match done {
            Ok(()) => slot.is_paused = must_pause,
            Err(error) => warn!(topic = &*slot.partition.topic, %error, "cannot pause or resume"),
        }
    }
}

/// Deals with an error that came in place of a record.
fn hear(consumer: &GroupConsumer, error: &KafkaError) {
    let context = consumer.context();
    let source = &context.settings.source_id;
    match error {
        KafkaError::MessageConsumptionFatal(_) => context.fail(context.fatal(error)),
        _ if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
            if let Err(error) = find_lost(consumer) {
                context.fail(error);
            }
        }
        _ if is_denied(error) => {
            let text = "not allowed any more; reading goes on as soon as the right is given back";
            warn!(source, error = describe(error), "{text}");
        }
        _ => warn!(source, error = describe(error), "kafka: librdkafka tries again"),
    }
}

/// The broker does not have the records at a position any more: says which are gone, and goes on with the
/// first that is there.
fn find_lost(consumer: &GroupConsumer) -> Result<(), KafkaSourceError> {
    let context = consumer.context();
    context.must_find_lost.store(false, Ordering::Relaxed);
    let source = &context.settings.source_id;
    warn!(source, "a broker does not have a position that was asked for; looking for what is lost");
    for slot in context.lock_slots().iter_mut() {
        let (topic, number) = (slot.partition.topic.clone(), slot.partition.number);
        let Ok((start, end)) = consumer.fetch_watermarks(&topic, number, END_WITHIN) else {
            // The broker does not say; it is asked again.
            context.must_find_lost.store(true, Ordering::Relaxed);
            continue;
        };
        if slot.next_offset > end {
            return Err(context.truncated(&slot.partition, end, slot.next_offset));
        }
        let source = &context.settings.source_id;
        if slot.next_offset >= start {
            // Whichever partition it was, librdkafka fetches it no more by itself.
            slot.flush();
            slot.is_paused = false;
            read_from(consumer, &slot.partition, slot.next_offset)?;
            continue;
        }
        let (first, last) = (slot.next_offset, start - 1);
        warn!(
            source,
            topic = &*topic,
            partition = number,
            first,
            last,
            "records were deleted unread"
        );
        slot.flush();
        slot.inbox.put(Arrival::Lost { before: start });
        slot.next_offset = start;
        slot.is_paused = false;
        read_from(consumer, &slot.partition, start)?;
    }
    Ok(())
}

/// Asks the brokers again and again where partitions end, so that log time goes on where nothing comes.
fn look_for_ends(consumer: &GroupConsumer, has_ended: &AtomicBool) {
    let mut last_look = Instant::now();
    while !has_ended.load(Ordering::Relaxed) {
        thread::sleep(POLL);
        if last_look.elapsed() < LOOK_EVERY {
            continue;
        }
        last_look = Instant::now();
        let slots: Vec<(TopicPartition, Inbox)> = {
            let slots = consumer.context().lock_slots();
            slots.iter().map(|slot| (slot.partition.clone(), slot.inbox.clone())).collect()
        };
        for (partition, inbox) in slots {
            if has_ended.load(Ordering::Relaxed) {
                return;
            }
            let clock = clock_us();
            match consumer.fetch_watermarks(&partition.topic, partition.number, END_WITHIN) {
                Ok(_) if inbox.arrivals.len() > MAX_WAITING => {}
                Ok((_, end)) => inbox.put(Arrival::End { end, clock }),
                Err(error) => debug!(%error, topic = &*partition.topic, "no end is known"),
            }
        }
    }
}

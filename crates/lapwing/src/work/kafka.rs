//! Kafka topics as the source of lanes: partitions are taken over as they are assigned, and given back when
//! they are revoked.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::bail;
use futures_util::future::join_all;
use lapwing_event::{LogTimeOrigin, Partition, Split};
use lapwing_ingest::source::kafka::{
    Arrival, Assigned, AssignedAt, Assignee, Inbox, KafkaSettings, KafkaSourceError, Outlet,
    TopicPartition, consume,
};
use lapwing_ingest::{
    Decoders, LentDecoder, LogTimeStep, Next, ReadBefore, SourceError, SourceStats, TopicCursor,
    TopicReader, clock_us,
};
use tracing::{info, warn};

use super::Shared;
use super::keep::{Rest, keep, take_over};
use crate::checkpoint::{Claimed, Cursor};
use crate::committer::Progress;
use crate::config::{Input, KafkaConfig};
use crate::lane::PartitionSource;

/// How long a partition that is revoked may take to commit what was read: the group waits for it.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);
/// How long a partition may be claimed by another process and be assigned to this one before it is taken back:
/// far longer than a rebalance.
const FORSAKEN_AFTER: Duration = Duration::from_secs(30);
/// How long a lane waits for records before it looks at other things.
const WAIT: Duration = Duration::from_millis(50);
/// How often it is looked whether a lane has come to rest.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Starts the thread that consumes the topics of a source.
pub(super) fn start(shared: &Arc<Shared>, index: usize) -> anyhow::Result<JoinHandle<()>> {
    let source = &shared.config.sources[index];
    let Input::Kafka(kafka) = &source.input else { bail!("{} reads no topics", source.id) };
    let settings = KafkaSettings {
        source_id: source.id.clone(),
        brokers: kafka.brokers.clone(),
        group: kafka.group.clone(),
        topics: kafka.topics.iter().map(|topic| topic.name.clone()).collect(),
        properties: kafka.properties.clone(),
        queue_bytes: shared.config.queue_bytes,
    };
    if let Some(name) = settings.fixed_property() {
        bail!("source {}: the property {name} is Lapwing's own; leave it out", source.id);
    }
    let shared = shared.clone();
    Ok(thread::spawn(move || {
        let lanes = KafkaLanes {
            shared: shared.clone(),
            index,
            lanes: BTreeMap::new(),
            reopened: Arc::default(),
        };
        if let Err(error) = consume(&settings, Box::new(lanes), &shared.must_rest) {
            shared.fail(error.into());
        }
    }))
}

/// The partitions that are assigned.
struct KafkaLanes {
    shared: Arc<Shared>,
    /// The source, among those of the configuration.
    index: usize,
    lanes: BTreeMap<TopicPartition, KafkaLane>,
    reopened: Arc<Mutex<Vec<AssignedAt>>>,
}

struct KafkaLane {
    assigned: Assigned,
    /// Since when another process has its chain.
    lost_since: Option<Instant>,
    rest: Arc<Rest>,
    progress: Arc<Progress>,
    thread: JoinHandle<()>,
    /// The offset that the group knows.
    told_offset: i64,
}

impl KafkaLanes {
    fn kafka(&self) -> &KafkaConfig {
        match &self.shared.config.sources[self.index].input {
            Input::Kafka(kafka) => kafka,
            Input::Files(_) => unreachable!("only Kafka sources are started here"),
        }
    }

    fn partition(&self, of: &TopicPartition) -> Arc<Partition> {
        let topics = &self.kafka().topics;
        let is_of = |name: &str| match name.strip_prefix('^') {
            Some(_) => regex::Regex::new(name).is_ok_and(|pattern| pattern.is_match(&of.topic)),
            None => *name == *of.topic,
        };
        let fields = topics.iter().find(|topic| is_of(&topic.name)).map(|t| &t.partitioned_by[..]);
        Arc::new(Partition {
            source_id: self.shared.config.sources[self.index].id.as_str().into(),
            name: of.name().into(),
            log_time_origin: LogTimeOrigin::Observed,
            split: Split::By(fields.unwrap_or_default().into()),
        })
    }

    fn open(
        &mut self,
        assigned: &Assigned,
        partition: Arc<Partition>,
        claimed: Claimed,
    ) -> Result<AssignedAt, KafkaSourceError> {
        let from_beginning = self.shared.config.sources[self.index].from_beginning;
        let first = if from_beginning { assigned.start } else { assigned.end };
        let offset = claimed.resume.next_offset.unwrap_or(first);
        let (rest, progress) = (Arc::new(Rest::default()), Arc::new(Progress::default()));
        let (inbox, outlet) = Inbox::new();
        let lane = LaneOpener {
            shared: self.shared.clone(),
            index: self.index,
            of: assigned.partition.clone(),
            partition,
            first,
            outlet: Some(outlet),
            reopened: self.reopened.clone(),
        };
        let thread = {
            let (rest, progress) = (rest.clone(), progress.clone());
            thread::spawn(move || lane.keep(claimed, &rest, &progress))
        };
        let (assigned_to, assigned) = (assigned.partition.clone(), assigned.clone());
        let lane =
            KafkaLane { assigned, rest, progress, thread, told_offset: -1, lost_since: None };
        self.lanes.insert(assigned_to.clone(), lane);
        Ok(AssignedAt { partition: assigned_to, offset, inbox })
    }

    /// Partitions that another process has claimed and the group has left here for long: nobody reads them.
    fn forsaken(&mut self) -> Vec<TopicPartition> {
        let mut forsaken = Vec::new();
        for (partition, lane) in &mut self.lanes {
            if lane.thread.is_finished() && lane.progress.is_lost.load(Ordering::Relaxed) {
                let since = *lane.lost_since.get_or_insert_with(Instant::now);
                forsaken.extend((since.elapsed() > FORSAKEN_AFTER).then(|| partition.clone()));
            }
        }
        forsaken
    }

    fn take_back(&mut self, of: &TopicPartition) -> Result<AssignedAt, KafkaSourceError> {
        let partition = self.partition(of);
        let claimed = self.shared.runtime.block_on(take_over(&self.shared, partition.clone()));
        let claimed = claimed.map_err(|error| self.failed(error.to_string()))?;
        let lane = self.lanes.remove(of).ok_or_else(|| self.failed("it was revoked".to_owned()))?;
        self.open(&lane.assigned, partition, claimed)
    }

    fn failed(&self, reason: String) -> KafkaSourceError {
        let source_id = self.shared.config.sources[self.index].id.clone();
        KafkaSourceError::Fatal { source_id, reason }
    }
}

impl Assignee for KafkaLanes {
    fn assign(&mut self, assigned: Vec<Assigned>) -> Result<Vec<AssignedAt>, KafkaSourceError> {
        let partitions: Vec<_> = assigned.iter().map(|a| self.partition(&a.partition)).collect();
        let claims = partitions.iter().map(|p| take_over(&self.shared, p.clone()));
        let claims = self.shared.runtime.block_on(join_all(claims));
        let mut placed = Vec::new();
        for ((assigned, partition), claimed) in assigned.iter().zip(partitions).zip(claims) {
            let claimed = claimed.map_err(|error| self.failed(error.to_string()))?;
            placed.push(self.open(assigned, partition, claimed)?);
        }
        Ok(placed)
    }

    fn revoke(&mut self, partitions: &[TopicPartition], is_lost: bool) {
        let mut reopened = self.reopened.lock().unwrap_or_else(PoisonError::into_inner);
        reopened.retain(|placed| !partitions.contains(&placed.partition));
        drop(reopened);
        let revoked: Vec<KafkaLane> =
            partitions.iter().filter_map(|partition| self.lanes.remove(partition)).collect();
        for lane in &revoked {
            lane.rest.must_discard.store(is_lost, Ordering::Relaxed);
            lane.rest.must_rest.store(true, Ordering::Relaxed);
        }
        let within = match self.shared.must_rest.load(Ordering::Relaxed) {
            true => self.shared.config.stop_timeout,
            false => REVOKED_WITHIN,
        };
        let began = Instant::now();
        while revoked.iter().any(|lane| !lane.thread.is_finished()) {
            if began.elapsed() > within {
                revoked.iter().for_each(|l| l.rest.must_discard.store(true, Ordering::Relaxed));
            }
            if began.elapsed() > within + REVOKED_WITHIN {
                warn!("a lane has not come to rest; its partition is left to its next owner");
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn committed(&mut self) -> Vec<(TopicPartition, i64)> {
        let mut committed = Vec::new();
        for (partition, lane) in &mut self.lanes {
            let offset = lane.progress.committed_offset.load(Ordering::Relaxed);
            if offset > lane.told_offset {
                lane.told_offset = offset;
                committed.push((partition.clone(), offset));
            }
        }
        committed
    }

    fn reopened(&mut self) -> Vec<AssignedAt> {
        let mut again = {
            let mut reopened = self.reopened.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *reopened)
        };
        for of in self.forsaken() {
            match self.take_back(&of) {
                Ok(placed) => again.push(placed),
                Err(error) => warn!(partition = of.name(), %error, "not taken over again yet"),
            }
        }
        again
    }
}

/// Opens the source of a lane, again after each failure.
struct LaneOpener {
    shared: Arc<Shared>,
    index: usize,
    of: TopicPartition,
    partition: Arc<Partition>,
    /// The offset at which a partition without a checkpoint begins.
    first: i64,
    outlet: Option<Outlet>,
    reopened: Arc<Mutex<Vec<AssignedAt>>>,
}

impl LaneOpener {
    fn keep(mut self, claimed: Claimed, rest: &Rest, progress: &Arc<Progress>) {
        let (shared, partition) = (self.shared.clone(), self.partition.clone());
        keep(&shared, &partition, claimed, rest, progress, |claimed| self.open(claimed));
    }

    fn open(&mut self, claimed: &Claimed) -> anyhow::Result<Box<dyn PartitionSource>> {
        let resume = &claimed.resume;
        let source = &self.shared.config.sources[self.index];
        let cursor = match &resume.cursor {
            Some(Cursor::Topic(cursor)) => cursor.clone(),
            Some(Cursor::Files(_)) => bail!(
                "source {}: its checkpoint is that of followed files; give the source another id",
                source.id
            ),
            None => TopicCursor { next_offset: self.first, log_time: None, format: None },
        };
        let outlet = match self.outlet.take() {
            Some(outlet) => outlet,
            None => {
                let (inbox, outlet) = Inbox::new();
                let (partition, offset) = (self.of.clone(), cursor.next_offset);
                let again = AssignedAt { partition, offset, inbox };
                self.reopened.lock().unwrap_or_else(PoisonError::into_inner).push(again);
                outlet
            }
        };
        let (steps, until) = (resume.steps.clone(), resume.known_until);
        let before = ReadBefore { steps, until, reached: resume.reached };
        let (source, partition) = (&*source.id, &*self.partition.name);
        info!(source, partition, next_offset = cursor.next_offset, "reading");
        let reader = TopicReader::new(
            self.partition.clone(),
            &cursor,
            self.shared.config.sources[self.index].format,
            self.shared.config.max_future_skew,
            before,
        );
        let decoders = self.shared.decoders.clone();
        Ok(Box::new(TopicLane { outlet, reader, decoders, lent: None, end: None }))
    }
}

/// A partition of a topic.
struct TopicLane {
    outlet: Outlet,
    reader: TopicReader,
    decoders: Arc<Decoders>,
    /// The decoder of the batch that is being worked on.
    lent: Option<LentDecoder>,
    /// Where the partition ended when it was last asked for.
    end: Option<i64>,
}

/// Nothing has come, and log time has not moved.
const NOTHING: Next = Next::Idle { log_time: i64::MIN };

impl PartitionSource for TopicLane {
    fn next(&mut self) -> Result<Next, SourceError> {
        Ok(match self.outlet.next(WAIT) {
            Some(Arrival::Records(raw)) => {
                let decoder = self.lent.insert(self.decoders.lend());
                match self.reader.read(raw, clock_us(), decoder) {
                    Some(batch) => Next::Batch(batch),
                    None => {
                        self.lent = None;
                        NOTHING
                    }
                }
            }
            Some(Arrival::Lost { before }) => {
                self.reader.lose(before, clock_us()).map_or(NOTHING, Next::Batch)
            }
            Some(Arrival::End { end, clock }) => {
                self.end = Some(end);
                let log_time = self.reader.tick(end, clock);
                log_time.map_or(NOTHING, |log_time| Next::Idle { log_time })
            }
            None => NOTHING,
        })
    }

    fn done(&mut self) {
        self.lent = None;
    }

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
        let end = self.end?;
        Some(u64::try_from(end - self.reader.next_offset()).unwrap_or(0))
    }
}

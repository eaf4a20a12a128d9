//! A lane: one partition from its source to its committer, in a thread of its own. It reads, detects and
//! encodes, and holds still as long as the committer is behind.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lapwing_detector::rule::RuleSet;
use lapwing_detector::{Detector, Limits};
use lapwing_event::{Alert, Batch, Message, Partition, Status};
use lapwing_ingest::{LogTimeStep, Next, SourceError, SourceStats, clock_us};
use lapwing_sink::{
    ArchiveOptions, ArchiveReport, EncoderMemory, Sink, SinkError, StagedFile, Staging,
};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::checkpoint::{AlertsEntry, Cursor, Resume, random_id};
use crate::committer::{EpochJob, Job, Progress};
use crate::pipeline::Pipeline;
use crate::report::Report;

/// How long a lane waits for a committer that is behind before it looks whether it must stop.
const WAIT_FOR_ROOM: Duration = Duration::from_millis(20);
/// How often a lane shows its numbers.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// A source of one partition that can go on where it was left.
pub(crate) trait PartitionSource: Send {
    /// What comes next; it waits a moment for it.
    fn next(&mut self) -> Result<Next, SourceError>;

    /// What was handed out last is done with; it may have held others up.
    fn done(&mut self) {}

    /// What is needed to go on after what was handed out.
    fn cursor(&self) -> Cursor;

    /// The offset of the next record.
    fn next_offset(&self) -> i64;

    /// The log time reached by records, microseconds.
    fn log_time(&self) -> Option<i64>;

    /// Where the clock had a part in log time since the last call.
    fn take_steps(&mut self) -> Vec<LogTimeStep>;

    /// What was read so far.
    fn stats(&self) -> SourceStats;

    /// Records of the partition that were not read yet, as of the last look; `None` if nobody knows.
    fn lag(&self) -> Option<u64>;
}

/// When an epoch ends: whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochLimits {
    /// Time since its first record.
    pub age: Duration,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Records.
    pub records: u64,
}

/// What lanes of a process have in common.
pub(crate) struct LaneOptions {
    pub(crate) rules: Arc<RuleSet>,
    pub(crate) limits: Limits,
    pub(crate) epoch: EpochLimits,
    pub(crate) memory: Arc<EncoderMemory>,
}

/// What a lane shows of itself.
#[derive(Debug, Default)]
pub(crate) struct LaneNumbers {
    pub(crate) report: Report,
    pub(crate) source: SourceStats,
    pub(crate) archived: ArchiveReport,
    pub(crate) keys: usize,
    pub(crate) open_alerts: usize,
    pub(crate) lag: Option<u64>,
    pub(crate) queue: usize,
}

/// A partition on its way.
pub(crate) struct Lane<'a> {
    options: &'a LaneOptions,
    partition: Arc<Partition>,
    source: Box<dyn PartitionSource + 'a>,
    pipeline: Pipeline<Recorder>,
    jobs: Sender<Job>,
    progress: Arc<Progress>,
    known_until: i64,
    /// The log time reached there, before anything that comes next.
    reached: i64,
    /// Nothing says yet where reading began.
    is_first: bool,
    epoch_began: Option<Instant>,
    archived: ArchiveReport,
    numbers: Arc<Mutex<LaneNumbers>>,
    last_shown: Option<Instant>,
}

/// Why a lane came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rested {
    /// It was told to.
    Told,
    /// Its committer takes no more.
    Abandoned,
}

impl<'a> Lane<'a> {
    /// A lane that goes on where the checkpoint says.
    ///
    /// # Errors
    /// A state that cannot be read.
    pub(crate) fn new(
        options: &'a LaneOptions,
        partition: Arc<Partition>,
        source: Box<dyn PartitionSource + 'a>,
        resume: Resume,
        staging: Option<StagingPlace>,
        (jobs, progress): (Sender<Job>, Arc<Progress>),
        numbers: Arc<Mutex<LaneNumbers>>,
    ) -> anyhow::Result<Self> {
        let (known_until, is_first) = (resume.known_until, resume.cursor.is_none());
        let reached = resume.reached;
        let recorder = Recorder {
            partition: partition.clone(),
            memory: options.memory.clone(),
            span: None,
            records: 0,
            committed: resume
                .committed
                .iter()
                .map(|message| (message.alert.id.clone(), message.alert.revision))
                .collect(),
            unarchived: match &staging {
                Some(_) => resume.unarchived,
                None => Vec::new(),
            },
            place: staging,
            staging: None,
            raised: Vec::new(),
        };
        let committed = resume.committed;
        let mut pipeline = Pipeline::new(options.rules.clone(), options.limits, recorder);
        if let Some(state) = resume.state.filter(|state| !state.is_empty()) {
            let rules = options.rules.clone();
            let (detector, closed) =
                Detector::restore(rules, partition.clone(), options.limits, &state).with_context(
                    || format!("source {}, partition {}", partition.source_id, partition.name),
                )?;
            pipeline.adopt(&partition, detector, &behind(closed, &committed))?;
        }
        Ok(Self {
            options,
            partition,
            source,
            pipeline,
            jobs,
            progress,
            known_until,
            reached,
            is_first,
            epoch_began: None,
            archived: ArchiveReport::default(),
            numbers,
            last_shown: None,
        })
    }

    /// Reads until told to rest. Then what was read is committed, unless it has to be discarded.
    ///
    /// # Errors
    /// What makes going on impossible; what was not committed is read again.
    pub(crate) fn run(&mut self, must_rest: impl Fn() -> bool) -> anyhow::Result<Rested> {
        if self.is_first {
            // A crash in the first epoch must not begin at another place.
            self.end_epoch()?;
            let is_waiting =
                |jobs: &Sender<Job>| jobs.capacity() < jobs.max_capacity() && !jobs.is_closed();
            while is_waiting(&self.jobs) && !must_rest() {
                std::thread::sleep(WAIT_FOR_ROOM);
            }
        }
        // Alerts of rules that are gone are closed by the state that was read.
        self.send_raised()?;
        while !must_rest() {
            if self.progress.is_lost.load(Ordering::Relaxed) || self.jobs.is_closed() {
                return Ok(Rested::Abandoned);
            }
            // An alert and an epoch may come of one batch.
            if self.jobs.capacity() < 2 {
                std::thread::sleep(WAIT_FOR_ROOM);
                self.show();
                continue;
            }
            match self.source.next()? {
                Next::Batch(batch) => {
                    self.epoch_began.get_or_insert_with(Instant::now);
                    let taken = self.pipeline.take(batch);
                    self.source.done();
                    taken?;
                    self.reach()?;
                }
                Next::Idle { log_time } => self.pipeline.tick(&self.partition, log_time)?,
                Next::End => return Ok(Rested::Told),
            }
            self.send_raised()?;
            if self.is_epoch_over() {
                self.end_epoch()?;
            }
            self.show();
        }
        if self.may_end_epoch() {
            self.end_epoch()?;
        }
        self.last_shown = None;
        self.show();
        Ok(Rested::Told)
    }

    /// What a tick has raised and a manifest has committed belongs to the state at that offset: an epoch
    /// that ended there without it would raise it once more.
    fn reach(&mut self) -> anyhow::Result<()> {
        if self.source.next_offset() == self.known_until {
            self.pipeline.tick(&self.partition, self.reached)?;
        }
        Ok(())
    }

    /// Messages raised since the last call, with what is needed to raise them again at the same place.
    fn send_raised(&mut self) -> anyhow::Result<()> {
        let messages = std::mem::take(&mut self.pipeline.sink_mut().raised);
        if messages.is_empty() {
            return Ok(());
        }
        let last = messages.iter().map(|message| message.log_time).max().unwrap_or(i64::MIN);
        let log_time = self.source.log_time().unwrap_or(i64::MIN).max(last);
        let alerts = AlertsEntry {
            next_offset: self.source.next_offset(),
            log_time,
            steps: self.source.take_steps(),
            messages,
        };
        self.send(Job::Alerts(alerts))
    }

    fn is_epoch_over(&mut self) -> bool {
        let limits = self.options.epoch;
        let age = self.epoch_began.map_or(Duration::ZERO, |began| began.elapsed());
        let recorder = self.pipeline.sink_mut();
        let is_over = age >= limits.age
            || recorder.records >= limits.records
            || recorder.size_bytes() >= limits.size_bytes;
        is_over && self.may_end_epoch()
    }

    /// An epoch ends neither without records nor before alerts that are committed: whoever came next would
    /// not know of them.
    fn may_end_epoch(&self) -> bool {
        self.epoch_began.is_some() && self.source.next_offset() >= self.known_until
    }

    fn end_epoch(&mut self) -> anyhow::Result<()> {
        self.epoch_began = None;
        let recorder = self.pipeline.sink_mut();
        let first_offset = recorder.span.map_or(self.source.next_offset(), |span| span.0);
        let records = recorder.records;
        let (files, unarchived) = recorder.end_epoch()?;
        // They are in the archive now.
        drop(self.source.take_steps());
        self.count_files(&files);
        let job = EpochJob {
            first_offset,
            next_offset: self.source.next_offset(),
            log_time: self.source.log_time(),
            records,
            cursor: self.source.cursor(),
            files,
            state: self.pipeline.snapshot(&self.partition).unwrap_or_default(),
            open_alerts: self.pipeline.open_alerts() as u64,
            unarchived,
        };
        self.send(Job::Epoch(Box::new(job)))
    }

    fn count_files(&mut self, files: &[StagedFile]) {
        use lapwing_event::archive::Table;
        for file in files {
            self.archived.files_written += 1;
            self.archived.bytes_written += file.size_bytes;
            match file.table {
                Table::Events => self.archived.events_written += file.rows,
                Table::Rejected => self.archived.rejected_written += file.rows,
                Table::Alerts => self.archived.alerts_written += file.rows,
            }
        }
    }

    /// There was room when the last batch was read. A committer that has ended says why by itself.
    fn send(&self, job: Job) -> anyhow::Result<()> {
        match self.jobs.try_send(job) {
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(_)) => {
                bail!("more was to be committed than one batch can raise")
            }
        }
    }

    /// Shows the numbers, a few times a second.
    fn show(&mut self) {
        if self.last_shown.is_some_and(|at| at.elapsed() < SHOW_EVERY) {
            return;
        }
        self.last_shown = Some(Instant::now());
        if self.epoch_began.is_none() && self.jobs.capacity() == self.jobs.max_capacity() {
            // Nothing was read since the last epoch: what there is, is at rest.
            self.progress.committed_at.store(clock_us(), Ordering::Relaxed);
        }
        let numbers = LaneNumbers {
            report: self.pipeline.report().counters(),
            source: self.source.stats(),
            archived: self.archived,
            keys: self.pipeline.keys(),
            open_alerts: self.pipeline.open_alerts(),
            lag: self.source.lag(),
            queue: self.jobs.max_capacity() - self.jobs.capacity(),
        };
        *self.numbers.lock().unwrap_or_else(PoisonError::into_inner) = numbers;
    }
}

/// The last messages of alerts whose rules have changed since a state was written, as messages that come
/// after those committed since: whoever receives them takes only a greater revision. What has been resolved
/// since, by silence or by an earlier start with the same rules, is not resolved again.
fn behind(closed: Vec<Message>, committed: &[Message]) -> Vec<Message> {
    let mut messages = Vec::new();
    for message in closed {
        let of_alert = committed.iter().filter(|known| known.alert.id == message.alert.id);
        let is_resolved = of_alert.clone().any(|known| known.alert.status == Status::Resolved);
        match of_alert.max_by_key(|known| known.alert.revision) {
            None => messages.push(message),
            Some(_) if is_resolved => {}
            Some(last) => {
                let Message { alert: closing, log_time } = message;
                let alert = Alert {
                    revision: last.alert.revision + 1,
                    status: closing.status,
                    description: closing.description,
                    next_step: closing.next_step,
                    resolved_at: closing.resolved_at.max(Some(last.alert.last_at)),
                    resolved_because: closing.resolved_because,
                    ..last.alert.clone()
                };
                messages.push(Message { alert, log_time: log_time.max(last.log_time) });
            }
        }
    }
    messages
}

/// Where an epoch's files are written.
#[derive(Debug, Clone)]
pub(crate) struct StagingPlace {
    pub(crate) folder: PathBuf,
    /// The number of the owner's claim, which begins their names.
    pub(crate) claim: u64,
}

/// The sink of a lane: keeps the records of an epoch and the messages that nobody has committed.
pub(crate) struct Recorder {
    partition: Arc<Partition>,
    memory: Arc<EncoderMemory>,
    /// `None` without an archive.
    place: Option<StagingPlace>,
    staging: Option<Staging>,
    span: Option<(i64, i64)>,
    records: u64,
    /// Messages committed before: reading again raises them again.
    committed: HashSet<(Arc<str>, u32)>,
    /// Messages for the epoch's file of alerts.
    unarchived: Vec<Message>,
    /// Messages to be committed.
    raised: Vec<Message>,
}

impl Recorder {
    fn size_bytes(&mut self) -> u64 {
        self.staging.as_mut().map_or(0, Staging::size_bytes)
    }

    fn end_epoch(&mut self) -> Result<(Vec<StagedFile>, Vec<Message>), SinkError> {
        (self.span, self.records) = (None, 0);
        let messages = std::mem::take(&mut self.unarchived);
        let (files, left) = match self.staging.take() {
            Some(staging) => staging.finish(messages)?,
            // Without records there is no file to name messages by.
            None => (Vec::new(), messages),
        };
        self.unarchived.clone_from(&left);
        Ok((files, left))
    }
}

impl Sink for Recorder {
    fn write_batch(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let Some((first, last)) = batch.offsets() else { return Ok(()) };
        self.span = Some((self.span.map_or(first, |span| span.0), last));
        self.records += batch.records() as u64;
        let Some(place) = &self.place else { return Ok(()) };
        if self.staging.is_none() {
            let attempt = format!("{:020}-{}", place.claim, random_id());
            let (partition, memory) = (self.partition.clone(), self.memory.clone());
            let options = ArchiveOptions::default();
            let staging = Staging::new(place.folder.clone(), attempt, partition, options, memory);
            self.staging = Some(staging);
        }
        if let Some(staging) = &mut self.staging {
            staging.write(batch)?;
        }
        Ok(())
    }

    fn write_messages(&mut self, messages: &[Message]) -> Result<(), SinkError> {
        for message in messages {
            let id = (message.alert.id.clone(), message.alert.revision);
            if self.committed.remove(&id) {
                continue;
            }
            self.raised.push(message.clone());
            if self.place.is_some() {
                self.unarchived.push(message.clone());
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

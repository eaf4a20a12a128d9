//! The one who commits for a partition: jobs come in from the lane that reads it, manifests go out in their
//! order, and only what is committed is published, handed over and told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use lapwing_event::Message;
use lapwing_ingest::{LogTimeStep, clock_us};
use lapwing_sink::StagedFile;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::checkpoint::{
    AlertsEntry, Appended, ArchivePlace, Chain, ChainStore, CheckpointError, Cursor, Entry,
    EpochEntry, StateEntry, random_id, sha256,
};
use crate::outbox::Outbox;

/// How long a store that did not do what it was asked is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a lane wants committed.
#[derive(Debug)]
pub(crate) enum Job {
    /// Messages, soon.
    Alerts(AlertsEntry),
    /// Records and everything that follows from them.
    Epoch(Box<EpochJob>),
}

/// An epoch that is ready.
#[derive(Debug)]
pub(crate) struct EpochJob {
    pub(crate) first_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) log_time: Option<i64>,
    pub(crate) records: u64,
    pub(crate) cursor: Cursor,
    pub(crate) files: Vec<StagedFile>,
    pub(crate) state: Vec<u8>,
    pub(crate) open_alerts: u64,
    pub(crate) unarchived: Vec<Message>,
}

/// What the lane and others see of it.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Another process has the partition.
    pub(crate) is_lost: AtomicBool,
    /// The offset after the last record of the last epoch; -1 for none.
    pub(crate) committed_offset: AtomicI64,
    /// When everything read was last committed, microseconds.
    pub(crate) committed_at: AtomicI64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            is_lost: AtomicBool::new(false),
            committed_offset: AtomicI64::new(-1),
            committed_at: AtomicI64::new(clock_us()),
        }
    }
}

/// Commits for one partition.
pub(crate) struct Committer {
    pub(crate) chain: Chain,
    pub(crate) archive: Option<ArchivePlace>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) progress: Arc<Progress>,
    /// The shortest time between two manifests of alerts.
    pub(crate) alerts_every: Duration,
    /// The state of the last epoch: the one before it is removed.
    pub(crate) last_state: Option<String>,
}

/// Why a committer ended before its time.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Another process has the partition.
    Lost,
    /// What is there is damaged.
    Failed(CheckpointError),
}

impl From<CheckpointError> for Stopped {
    fn from(error: CheckpointError) -> Self {
        Self::Failed(error)
    }
}

impl Committer {
    /// Commits until there are no more jobs, and gives the chain back. What may not have been handed over
    /// is handed over first.
    pub(crate) async fn run(
        mut self,
        repeat: Vec<Message>,
        mut jobs: Receiver<Job>,
    ) -> Result<Chain, Stopped> {
        self.outbox.hand_over(&repeat).await;
        self.note().await;
        match self.commit_all(&mut jobs).await {
            Ok(()) => {
                self.note().await;
                Ok(self.chain)
            }
            // Its new owner notes what is handed over.
            Err(Stopped::Lost) => {
                self.progress.is_lost.store(true, Ordering::Relaxed);
                Err(Stopped::Lost)
            }
            // A new owner on this machine removes what this one has staged.
            Err(Stopped::Failed(_)) if self.chain.is_lost().await => {
                self.progress.is_lost.store(true, Ordering::Relaxed);
                Err(Stopped::Lost)
            }
            Err(failed) => Err(failed),
        }
    }

    async fn commit_all(&mut self, jobs: &mut Receiver<Job>) -> Result<(), Stopped> {
        let mut pending: Option<AlertsEntry> = None;
        let mut next_alerts = Instant::now();
        loop {
            let is_due = pending.is_some();
            tokio::select! {
                job = jobs.recv() => match job {
                    Some(Job::Alerts(alerts)) => join(&mut pending, alerts),
                    Some(Job::Epoch(epoch)) => {
                        let alerts = pending.take();
                        self.commit_epoch(*epoch, alerts).await?;
                    }
                    None => {
                        if let Some(alerts) = pending.take() {
                            self.commit_alerts(alerts).await?;
                        }
                        return Ok(());
                    }
                },
                () = sleep_until(next_alerts), if is_due => {
                    if let Some(alerts) = pending.take() {
                        self.commit_alerts(alerts).await?;
                        next_alerts = Instant::now() + self.alerts_every;
                    }
                }
            }
        }
    }

    async fn commit_alerts(&mut self, alerts: AlertsEntry) -> Result<(), Stopped> {
        let entry = Entry::Alerts(alerts);
        self.append(&entry).await?;
        self.outbox.hand_over(entry.messages()).await;
        self.outbox.count_latency(entry.messages());
        Ok(())
    }

    async fn append(&mut self, entry: &Entry) -> Result<(), Stopped> {
        match self.chain.append(entry).await? {
            Appended::Yes => Ok(()),
            Appended::Lost => Err(Stopped::Lost),
        }
    }

    async fn commit_epoch(
        &mut self,
        job: EpochJob,
        alerts: Option<AlertsEntry>,
    ) -> Result<(), Stopped> {
        let mut files = Vec::new();
        if let Some(archive) = &self.archive {
            for file in &job.files {
                let partition = self.chain.partition().clone();
                files.push(persist("a file", || archive.stage(&partition, file)).await?);
            }
        }
        let state = StateEntry {
            name: ChainStore::state_name(self.chain.claim(), &random_id()),
            size_bytes: job.state.len() as u64,
            sha256: sha256(&job.state),
        };
        let store = self.chain.store().clone();
        persist("a state", || store.put(&state.name, job.state.clone())).await?;
        let (records, next_offset) = (job.records, job.next_offset);
        let entry = Entry::Epoch(Box::new(EpochEntry {
            first_offset: job.first_offset,
            next_offset,
            log_time: job.log_time,
            records,
            cursor: job.cursor,
            files,
            state: Some(state.clone()),
            open_alerts: job.open_alerts,
            messages: alerts.map(|alerts| alerts.messages).unwrap_or_default(),
            unarchived: job.unarchived,
        }));
        self.append(&entry).await?;
        self.after_epoch(&entry, state.name).await?;
        self.progress.committed_offset.store(next_offset, Ordering::Relaxed);
        self.progress.committed_at.store(clock_us(), Ordering::Relaxed);
        let partition = self.chain.partition();
        let (source, partition) = (&*partition.source_id, &*partition.name);
        info!(source, partition, records, next_offset, manifest = self.chain.number(), "epoch");
        Ok(())
    }

    /// What follows from a committed epoch; each step may be repeated.
    async fn after_epoch(&mut self, entry: &Entry, state: String) -> Result<(), Stopped> {
        let Entry::Epoch(epoch) = entry else { return Ok(()) };
        if let Some(archive) = &self.archive {
            for file in &epoch.files {
                if !persist("a file's final name", || archive.publish(file)).await? {
                    // Whoever has claimed the partition meanwhile has published it, and others have
                    // merged it since.
                    debug!(path = file.path, "published by another process");
                }
            }
        }
        self.outbox.hand_over(&epoch.messages).await;
        self.outbox.count_latency(&epoch.messages);
        self.note().await;
        if let Some(old) = self.last_state.replace(state)
            && let Err(error) = self.chain.store().delete(&old).await
        {
            debug!(%error, "an old state is left to the next claim");
        }
        Ok(())
    }

    /// Notes what was handed over; without the note it is handed over again.
    async fn note(&self) {
        if let Err(error) = self.chain.store().note_handed_over(self.chain.number()).await {
            warn!(%error, "not noted: alerts may be handed over again after a restart");
        }
    }
}

/// Takes messages to those that wait; they are committed together.
fn join(pending: &mut Option<AlertsEntry>, alerts: AlertsEntry) {
    match pending {
        None => *pending = Some(alerts),
        Some(pending) => {
            (pending.next_offset, pending.log_time) = (alerts.next_offset, alerts.log_time);
            pending.steps.extend::<Vec<LogTimeStep>>(alerts.steps);
            pending.messages.extend(alerts.messages);
        }
    }
}

/// Does something until the store does it.
async fn persist<T, F>(what: &str, attempt: impl Fn() -> F) -> Result<T, CheckpointError>
where
    F: Future<Output = Result<T, CheckpointError>>,
{
    loop {
        match attempt().await {
            Err(error) if error.may_pass() => {
                warn!(%error, "{what} is not written yet; trying again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            done => return done,
        }
    }
}

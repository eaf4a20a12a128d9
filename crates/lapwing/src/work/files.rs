//! Followed files as the source of a lane: all logs of a source are one partition.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lapwing_ingest::source::Start;
use lapwing_ingest::{
    FollowCursor, FollowOptions, FollowSource, LogTimeStep, Next, Source, SourceError, SourceStats,
};
use lapwing_sink::next_offset;
use tracing::info;

use super::Shared;
use super::keep::{Rest, keep, take_over};
use crate::checkpoint::{Claimed, Cursor};
use crate::committer::Progress;
use crate::config::{Input, SourceConfig};
use crate::lane::PartitionSource;

/// How often a source that has nothing new is looked at.
const POLL: Duration = Duration::from_millis(250);
/// How often it is looked whether the process comes to rest.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Starts the thread of a source. Its logs and its checkpoint are opened first, so that what is wrong with
/// them stops the start.
pub(super) fn start(shared: &Arc<Shared>, index: usize) -> anyhow::Result<JoinHandle<()>> {
    let source = &shared.config.sources[index];
    let lock = shared.state.folder.as_deref().map(|state| lock(state, &source.id)).transpose()?;
    let partition = Arc::new(FollowSource::partition_of(&source.id));
    let claimed = shared.runtime.block_on(take_over(shared, partition.clone()))?;
    let mut first = Some(open(shared, source, &claimed)?);
    let shared = shared.clone();
    Ok(thread::spawn(move || {
        let _lock = lock;
        let rest = Arc::new(Rest::default());
        let watcher = tell_when_it_is_time(&shared, &rest);
        let progress = Arc::new(Progress::default());
        let source = &shared.config.sources[index];
        keep(&shared, &partition, claimed, &rest, &progress, |claimed| match first.take() {
            Some(opened) => Ok(opened),
            None => open(&shared, source, claimed),
        });
        rest.has_rested.store(true, Ordering::Relaxed);
        drop(watcher.join());
        if progress.is_lost.load(Ordering::Relaxed) {
            shared.fail(anyhow::anyhow!(
                "source {}: another process follows the same files with this state; give each its own",
                source.id
            ));
        }
    }))
}

/// Tells a lane when the process comes to rest, and when its time is over.
fn tell_when_it_is_time(shared: &Arc<Shared>, rest: &Arc<Rest>) -> JoinHandle<()> {
    let (shared, rest) = (shared.clone(), rest.clone());
    thread::spawn(move || {
        while !shared.must_rest.load(Ordering::Relaxed) {
            if rest.has_rested.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
        rest.must_rest.store(true, Ordering::Relaxed);
        let told = Instant::now();
        while told.elapsed() < shared.config.stop_timeout {
            if rest.has_rested.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
        rest.must_discard.store(true, Ordering::Relaxed);
    })
}

/// Takes the lock of a source in a state folder: two processes would take its files from each other again
/// and again. It is given back when the file is dropped.
fn lock(state: &Path, source_id: &str) -> anyhow::Result<File> {
    let path = state.join(format!(".lock-{source_id}"));
    let opened =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.with_context(|| format!("{}: cannot be written", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{}: another process runs on this state; give each its own", state.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{}: cannot be locked", path.display()))
        }
    }
}

fn open(
    shared: &Shared,
    source: &SourceConfig,
    claimed: &Claimed,
) -> anyhow::Result<Box<dyn PartitionSource>> {
    let config = &shared.config;
    let Input::Files(include) = &source.input else { bail!("{} reads no files", source.id) };
    let mut options = FollowOptions::new(source.id.as_str());
    options.format = source.format;
    options.decode.keep_raw = config.keep_raw;
    options.decode.max_record_bytes = config.max_record_bytes;
    options.max_future_skew = config.max_future_skew;
    options.start = if source.from_beginning { Start::Beginning } else { Start::End };
    options.poll = POLL;
    let cursor: Option<&FollowCursor> = match &claimed.resume.cursor {
        Some(Cursor::Files(cursor)) => Some(cursor),
        Some(Cursor::Topic(_)) => bail!(
            "source {}: its checkpoint is that of a Kafka topic; give the source another id",
            source.id
        ),
        None => None,
    };
    if let (Some(cursor), source) = (cursor, &source.id) {
        info!(source, next_offset = cursor.next_offset, "resumed");
    }
    // An archive may hold records of a source whose checkpoint was moved away.
    let folder = shared.archive.as_ref().and_then(|archive| archive.folder());
    if let (None, Some(folder)) = (cursor, folder) {
        options.first_offset = next_offset(folder, &FollowSource::partition_of(&source.id))?;
    }
    let opened = FollowSource::open(include, options, cursor)?;
    Ok(Box::new(FileLane(opened)))
}

/// Files that are followed.
struct FileLane(FollowSource);

impl PartitionSource for FileLane {
    fn next(&mut self) -> Result<Next, SourceError> {
        self.0.next_batch()
    }

    fn cursor(&self) -> Cursor {
        Cursor::Files(self.0.cursor())
    }

    fn next_offset(&self) -> i64 {
        self.0.next_offset()
    }

    fn log_time(&self) -> Option<i64> {
        self.0.log_time()
    }

    fn take_steps(&mut self) -> Vec<LogTimeStep> {
        Vec::new()
    }

    fn stats(&self) -> SourceStats {
        self.0.stats()
    }

    fn lag(&self) -> Option<u64> {
        None
    }
}

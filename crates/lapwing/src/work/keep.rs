//! Keeps one partition going: claims it, runs its lane and its committer, and begins again from the last
//! commit when writing has failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapwing_event::Partition;
use lapwing_sink::SinkError;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::Shared;
use crate::checkpoint::{Chain, ChainStore, CheckpointError, Claimed, Resume, claim, go_on};
use crate::committer::{Committer, Progress, Stopped};
use crate::lane::{Lane, LaneNumbers, PartitionSource, Rested, StagingPlace};

/// Jobs that wait for a committer; each may hold the state of a partition.
const JOBS: usize = 4;
/// How long a lane that failed is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long a claim may still take when the process comes to rest; a store that answers needs less.
const CLAIM_AT_REST: Duration = Duration::from_secs(2);
/// How often a lane that comes to rest looks whether it may still wait for its committer.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a lane is told to come to rest.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Finish what was read.
    pub(super) must_rest: AtomicBool,
    /// Finish nothing any more.
    pub(super) must_discard: AtomicBool,
    /// It has come to rest.
    pub(super) has_rested: AtomicBool,
}

/// Takes a partition over, and tries until the store answers.
pub(super) async fn take_over(
    shared: &Shared,
    partition: Arc<Partition>,
) -> Result<Claimed, CheckpointError> {
    let rules = &shared.options.rules;
    let store = ChainStore::new(&shared.state, &partition.source_id, &partition.name);
    let mut chain = loop {
        let claimed = tokio::select! {
            claimed = claim(store.clone(), partition.clone(), rules) => claimed,
            () = told_to_rest(shared) => Err(CheckpointError::Place {
                place: store.path_of(""),
                reason: "stopped before the partition was taken over".to_owned(),
            }),
        };
        match claimed {
            Ok(chain) => break chain,
            Err(error) => retry(shared, &partition, error).await?,
        }
    };
    // If it was claimed again meanwhile, the first thing to be committed says so.
    let resume = resume(shared, &mut chain).await?.unwrap_or_default();
    Ok(Claimed { chain, resume })
}

/// Waits until the process comes to rest, and as long as a store that answers needs for a claim.
async fn told_to_rest(shared: &Shared) {
    while !shared.must_rest.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    tokio::time::sleep(CLAIM_AT_REST).await;
}

/// Where to go on, tried until the store answers; `None` if the partition is lost.
async fn resume(shared: &Shared, chain: &mut Chain) -> Result<Option<Resume>, CheckpointError> {
    loop {
        match go_on(chain, shared.archive.as_ref()).await {
            Ok(resume) => return Ok(resume),
            Err(error) => retry(shared, chain.partition(), error).await?,
        }
    }
}

/// Waits, if trying again may help and the process goes on.
async fn retry(
    shared: &Shared,
    partition: &Partition,
    error: CheckpointError,
) -> Result<(), CheckpointError> {
    if !error.may_pass() || shared.must_rest.load(Ordering::Relaxed) {
        return Err(error);
    }
    let (source, partition) = (&*partition.source_id, &*partition.name);
    warn!(source, partition, %error, "not taken over yet; trying again");
    tokio::time::sleep(RETRY_AFTER).await;
    Ok(())
}

/// Runs a partition that was taken over until it is told to rest, or has lost it.
pub(super) fn keep(
    shared: &Shared,
    partition: &Arc<Partition>,
    claimed: Claimed,
    rest: &Rest,
    progress: &Arc<Progress>,
    mut open: impl FnMut(&Claimed) -> anyhow::Result<Box<dyn PartitionSource>>,
) {
    let (source, name) = (&*partition.source_id, &*partition.name);
    let given_up = || {
        info!(
            source,
            partition = name,
            "given up: what was not committed is read by its new owner"
        );
    };
    let mut claimed = claimed;
    loop {
        let Ended { why, chain } =
            match run_once(shared, partition, claimed, rest, progress, &mut open) {
                Ok(Rested::Told) => return,
                Ok(Rested::Abandoned) => return given_up(),
                Err(ended) => ended,
            };
        let (true, Some(mut chain)) = (why.is::<SinkError>(), chain) else {
            return shared.fail(why);
        };
        error!(source, partition = name, "{why:#}; reading again from the last commit");
        if !wait(rest) {
            return;
        }
        // It is still its own claim: claiming again would take the partition from whoever has it now.
        claimed = match shared.runtime.block_on(resume(shared, &mut chain)) {
            Ok(Some(resume)) => Claimed { chain: *chain, resume },
            Ok(None) => {
                progress.is_lost.store(true, Ordering::Relaxed);
                return given_up();
            }
            Err(error) if error.may_pass() => return,
            Err(error) => return shared.fail(error.into()),
        };
    }
}

/// Why a lane ended before its time, with its chain if that can go on.
struct Ended {
    why: anyhow::Error,
    chain: Option<Box<Chain>>,
}

impl<E: Into<anyhow::Error>> From<E> for Ended {
    fn from(why: E) -> Self {
        Self { why: why.into(), chain: None }
    }
}

/// Waits a moment; false if it is time to rest.
fn wait(rest: &Rest) -> bool {
    let mut left = RETRY_AFTER;
    while !left.is_zero() {
        if rest.must_rest.load(Ordering::Relaxed) {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
        left = left.saturating_sub(LOOK_EVERY);
    }
    true
}

fn run_once(
    shared: &Shared,
    partition: &Arc<Partition>,
    mut claimed: Claimed,
    rest: &Rest,
    progress: &Arc<Progress>,
    open: &mut impl FnMut(&Claimed) -> anyhow::Result<Box<dyn PartitionSource>>,
) -> Result<Rested, Ended> {
    let source = open(&claimed)?;
    let numbers = Arc::new(Mutex::new(LaneNumbers::default()));
    let _registered =
        shared.registry.register(&partition.source_id, numbers.clone(), progress.clone());
    let staging = shared.archive.as_ref().map(|archive| StagingPlace {
        folder: archive.staging_folder(partition),
        claim: claimed.chain.claim(),
    });
    let (jobs, queue) = mpsc::channel(JOBS);
    let committer = Committer {
        archive: shared.archive.clone(),
        outbox: shared.outbox.clone(),
        progress: progress.clone(),
        alerts_every: shared.alerts_every,
        last_state: claimed.resume.state_name.take(),
        chain: claimed.chain,
    };
    let repeat = std::mem::take(&mut claimed.resume.repeat);
    let mut committing = shared.runtime.spawn(committer.run(repeat, queue));
    let lane = Lane::new(
        &shared.options,
        partition.clone(),
        source,
        claimed.resume,
        staging,
        (jobs, progress.clone()),
        numbers,
    );
    let rested = lane.and_then(|mut lane| lane.run(|| rest.must_rest.load(Ordering::Relaxed)));
    // The lane is gone, and its jobs have an end.
    let committed = loop {
        let look = async { tokio::time::timeout(LOOK_EVERY, &mut committing).await };
        match shared.runtime.block_on(look) {
            Ok(done) => break done,
            Err(_) if rest.must_discard.load(Ordering::Relaxed) => {
                committing.abort();
                warn!(
                    source = &*partition.source_id,
                    partition = &*partition.name,
                    "not committed in time: what is left is read again"
                );
                return Ok(Rested::Abandoned);
            }
            Err(_) => {}
        }
    };
    match committed {
        Ok(Ok(chain)) => rested.map_err(|why| Ended { why, chain: Some(Box::new(chain)) }),
        Ok(Err(Stopped::Lost)) => Ok(Rested::Abandoned),
        Ok(Err(Stopped::Failed(error))) => Err(error.into()),
        Err(panicked) => Err(panicked.into()),
    }
}

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
use crate::checkpoint::{ChainStore, CheckpointError, Claimed, claim};
use crate::committer::{Committer, Progress, Stopped};
use crate::lane::{Lane, LaneNumbers, PartitionSource, Rested, StagingPlace};

/// Jobs that wait for a committer; each may hold the state of a partition.
const JOBS: usize = 4;
/// How long a lane that failed is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(5);
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
    loop {
        let store = ChainStore::new(&shared.state, &partition.source_id, &partition.name);
        let rules = &shared.options.rules;
        match claim(store, partition.clone(), shared.archive.as_ref(), rules).await {
            Err(error) if error.may_pass() && !shared.must_rest.load(Ordering::Relaxed) => {
                let (source, partition) = (&*partition.source_id, &*partition.name);
                warn!(source, partition, %error, "not taken over yet; trying again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            done => return done,
        }
    }
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
    let mut claimed = claimed;
    loop {
        let why = match run_once(shared, partition, claimed, rest, progress, &mut open) {
            Ok(Rested::Told) => return,
            Ok(Rested::Abandoned) => {
                let (source, partition) = (&*partition.source_id, &*partition.name);
                info!(
                    source,
                    partition, "given up: what was not committed is read by its new owner"
                );
                return;
            }
            Err(why) if why.downcast_ref::<SinkError>().is_none() => return shared.fail(why),
            Err(why) => why,
        };
        let (source, name) = (&*partition.source_id, &*partition.name);
        error!(source, partition = name, "{why:#}; reading again from the last commit");
        if !wait(rest) {
            return;
        }
        claimed = match shared.runtime.block_on(take_over(shared, partition.clone())) {
            Ok(claimed) => claimed,
            Err(error) => return shared.fail(error.into()),
        };
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
) -> anyhow::Result<Rested> {
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
        Ok(Ok(())) => rested,
        Ok(Err(Stopped::Lost)) => Ok(Rested::Abandoned),
        Ok(Err(Stopped::Failed(error))) => Err(error.into()),
        Err(panicked) => Err(panicked.into()),
    }
}

//! Shortens a chain: a summary says what the manifests before it say, then the old ones are deleted. What
//! the owner of the partition still has in hand is never deleted: it would take a number that has become
//! free for its own.

use tracing::info;

use super::error::CheckpointError;
use super::maintain::{MAX_TRIES, Tended, Upkeep};
use super::manifest::{Entry, SummaryEntry};
use super::store::ChainStore;

/// Deletes manifests written before a time, microseconds, of all chains; how many.
///
/// # Errors
/// A chain that is broken; a store that does not answer.
pub(crate) async fn prune(upkeep: &Upkeep, before: i64) -> Result<u64, CheckpointError> {
    let mut done = 0;
    for (source, partition) in upkeep.chains().await? {
        let mut tended = upkeep.tend(&source, &partition).await?;
        let deleted = prune_chain(upkeep, &mut tended, before).await?;
        if deleted > 0 {
            info!(source, partition, manifests = deleted, "pruned");
        }
        done += deleted;
    }
    Ok(done)
}

async fn prune_chain(
    upkeep: &Upkeep,
    tended: &mut Tended,
    before: i64,
) -> Result<u64, CheckpointError> {
    for _ in 0..MAX_TRIES {
        let first_kept = first_kept(tended, before);
        let ledger = &tended.ledger;
        if ledger.numbers.first().is_none_or(|first| *first >= first_kept) {
            return Ok(0);
        }
        // A summary that is kept stands for all that go.
        let is_summed = ledger.summary.is_some_and(|summary| summary >= first_kept);
        if is_summed || upkeep.append(tended, &summary(tended)).await? {
            return delete(tended, first_kept).await;
        }
        upkeep.catch_up(tended).await?;
    }
    Err(CheckpointError::Place {
        place: tended.ledger.store.path_of(""),
        reason: format!(
            "{MAX_TRIES} times a worker was faster; run the same command again when it has less to do"
        ),
    })
}

/// The first number that stays: the newest that an owner has written, or the first that is too young.
fn first_kept(tended: &Tended, before: i64) -> u64 {
    let young = tended.ledger.written.iter().filter(|(_, written)| *written >= before);
    let young = young.map(|(number, _)| *number).min();
    young.unwrap_or(u64::MAX).min(tended.ledger.owner)
}

fn summary(tended: &Tended) -> Entry {
    let ledger = &tended.ledger;
    let epoch = ledger.epoch.as_ref().map(|(_, epoch)| {
        let mut epoch = epoch.clone();
        epoch.messages.clone_from(&ledger.unhanded);
        epoch
    });
    Entry::Summary(Box::new(SummaryEntry {
        first: ledger.first,
        first_offset: ledger.first_offset,
        files: ledger.files.values().map(|named| named.file.clone()).collect(),
        epoch,
        alerts: ledger.alerts.clone(),
    }))
}

/// Deletes from the beginning, so that what is left after a crash has no hole.
async fn delete(tended: &mut Tended, first_kept: u64) -> Result<u64, CheckpointError> {
    let numbers = tended.ledger.numbers.iter().copied();
    let old: Vec<u64> = numbers.filter(|number| *number < first_kept).collect();
    for number in &old {
        tended.ledger.store.delete(&ChainStore::manifest_name(*number)).await?;
    }
    Ok(old.len() as u64)
}

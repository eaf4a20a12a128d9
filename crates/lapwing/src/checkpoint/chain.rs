//! The head of a chain in the hands of its owner: manifests are appended one after the other, and
//! whoever finds that another process has claimed the partition writes nothing any more.

use lapwing_ingest::clock_us;
use std::sync::Arc;
use std::time::Duration;

use lapwing_event::Partition;
use lapwing_event::time::format_time;
use tracing::{info, warn};

use super::error::CheckpointError;
use super::manifest::{Entry, MANIFEST_VERSION, Manifest, sha256};
use super::store::{ChainStore, Created};

/// The first wait after a store did not do what it was asked; it doubles.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest wait.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// The end of a chain.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(super) store: ChainStore,
    pub(super) partition: Arc<Partition>,
    /// The number of the last manifest, 0 for none.
    pub(super) number: u64,
    /// Its hash.
    pub(super) hash: Option<String>,
    /// The number of the owner's claim: it begins the names of what the owner writes, so that a later owner
    /// can tell what is left over from what is being written.
    pub(super) claim: u64,
}

/// What appending came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The manifest is the head now.
    Yes,
    /// Another process has claimed the partition.
    Lost,
}

impl Chain {
    /// The number of the last manifest.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The number of the owner's claim.
    pub(crate) fn claim(&self) -> u64 {
        self.claim
    }

    /// The partition.
    pub(crate) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// Where its objects are.
    pub(crate) fn store(&self) -> &ChainStore {
        &self.store
    }

    /// Appends a manifest; tries until the store answers.
    ///
    /// # Errors
    /// A manifest that is there and damaged.
    pub(crate) async fn append(&mut self, entry: &Entry) -> Result<Appended, CheckpointError> {
        self.append_after(entry, Before::Maintenance).await
    }

    /// Appends a manifest, unless anybody else has appended one: what it says may not hold after that.
    ///
    /// # Errors
    /// A manifest that is there and damaged.
    pub(crate) async fn append_here(&mut self, entry: &Entry) -> Result<Appended, CheckpointError> {
        self.append_after(entry, Before::Nothing).await
    }

    async fn append_after(
        &mut self,
        entry: &Entry,
        before: Before,
    ) -> Result<Appended, CheckpointError> {
        let mut wait = FIRST_RETRY;
        // It stays the same while the same number is tried, since a reply may have been lost.
        let mut attempt = random_id();
        loop {
            match self.try_append(entry, &attempt).await {
                Ok(Tried::Appended) => return Ok(Appended::Yes),
                Ok(Tried::Lost) => return Ok(Appended::Lost),
                Ok(Tried::Moved) if before == Before::Nothing => return Ok(Appended::Lost),
                Ok(Tried::Moved) => attempt = random_id(),
                Err(error) if error.may_pass() => {
                    let (source, partition) = (&*self.partition.source_id, &*self.partition.name);
                    warn!(source, partition, %error, "a manifest is not written yet; trying again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LAST_RETRY);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether another process has claimed the partition, as far as the store answers.
    pub(crate) async fn is_lost(&self) -> bool {
        let Ok(numbers) = self.store.numbers().await else { return false };
        for number in numbers.into_iter().filter(|number| *number > self.number) {
            match self.store.manifest(number).await {
                Ok((manifest, _)) if !manifest.entry.is_maintenance() => return true,
                _ => {}
            }
        }
        false
    }

    async fn try_append(&mut self, entry: &Entry, attempt: &str) -> Result<Tried, CheckpointError> {
        let manifest = self.next(entry, attempt);
        let bytes = manifest.encode();
        let hash = sha256(&bytes);
        if let Created::Yes = self.store.create(manifest.number, bytes).await? {
            return self.check_newest(manifest.number, hash).await;
        }
        let (found, found_hash) = self.store.manifest(manifest.number).await?;
        if found.attempt == attempt {
            // It was written before, and the reply was lost.
            return self.check_newest(found.number, found_hash).await;
        }
        if !found.entry.is_maintenance() || matches!(entry, Entry::Claim(_)) {
            let (source, partition) = (&*self.partition.source_id, &*self.partition.name);
            info!(source, partition, by = found.worker, "another process has the partition");
            return Ok(Tried::Lost);
        }
        (self.number, self.hash) = (found.number, Some(found_hash));
        Ok(Tried::Moved)
    }

    /// A number may be free because its manifest was pruned: what was created counts if it is the newest,
    /// or if the next one is linked to it.
    async fn check_newest(&mut self, number: u64, hash: String) -> Result<Tried, CheckpointError> {
        let numbers = self.store.numbers().await?;
        let newest = numbers.last().copied().unwrap_or(number);
        if newest > number {
            let is_linked = numbers.contains(&(number + 1))
                && self.store.manifest(number + 1).await?.0.previous.as_ref() == Some(&hash);
            if !is_linked {
                return Ok(Tried::Lost);
            }
        }
        (self.number, self.hash) = (number, Some(hash));
        Ok(Tried::Appended)
    }

    fn next(&self, entry: &Entry, attempt: &str) -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            number: self.number + 1,
            previous: self.hash.clone(),
            attempt: attempt.to_owned(),
            worker: worker(),
            written_at: format_time(clock_us()),
            source_id: self.partition.source_id.clone(),
            partition: self.partition.name.clone(),
            entry: entry.clone(),
        }
    }
}

/// What may have been appended by others before a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Maintenance,
    Nothing,
}

enum Tried {
    Appended,
    Lost,
    /// Somebody compacted or pruned: the next number is tried.
    Moved,
}

/// 96 random bits, as hexadecimal digits.
pub(crate) fn random_id() -> String {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    lapwing_event::hex(&bytes)
}

/// This process, for people.
fn worker() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

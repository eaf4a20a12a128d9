//! Maintenance beside the owner of a partition: what the chain leaves unpublished is published first, then
//! one manifest is appended right after the one that was read, then what it says is carried out.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use futures_util::TryStreamExt;
use lapwing_event::{LogTimeOrigin, Partition, Split};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};

use super::archive::{ArchivePlace, STAGED, claim_of};
use super::chain::{Appended, Chain};
use super::error::CheckpointError;
use super::ledger::Ledger;
use super::manifest::{CompactEntry, Entry};
use super::store::{ChainStore, Place, chains};
use super::swap;

/// Begins the second part of the names of merged files that wait for their manifest.
pub(super) const MERGED: &str = "merge";
/// How often a manifest is tried whose number somebody else has taken each time: an owner appends up to
/// ten in a second.
pub(super) const MAX_TRIES: usize = 200;

/// The chains of a place that are looked at: all, those of a source, or one.
///
/// # Errors
/// The store.
pub(crate) async fn chains_of(
    place: &Place,
    source: Option<&str>,
    partition: Option<&str>,
) -> Result<Vec<(String, String)>, CheckpointError> {
    let mut found = chains(place).await?;
    found.retain(|(s, p)| {
        source.is_none_or(|source| source == s) && partition.is_none_or(|partition| partition == p)
    });
    Ok(found)
}

/// Maintenance of the partitions of a place.
pub(crate) struct Upkeep {
    pub(super) state: Place,
    pub(super) archive: Option<ArchivePlace>,
    /// Held as long as this works: the lock of maintenance, and that of those who write.
    _locks: Option<(File, File)>,
}

/// A partition that is maintained.
pub(super) struct Tended {
    pub(super) partition: Arc<Partition>,
    pub(super) ledger: Ledger,
}

impl Upkeep {
    /// Begins; only one process maintains an archive at a time.
    ///
    /// # Errors
    /// Another one does.
    pub(crate) fn begin(
        state: Place,
        archive: Option<ArchivePlace>,
    ) -> Result<Self, CheckpointError> {
        let folder = archive.as_ref().and_then(ArchivePlace::folder);
        let locks = match folder {
            Some(folder) => {
                let locks = (swap::lock_maintenance(folder)?, lapwing_sink::share(folder)?);
                swap::recover_exchange(folder)?;
                Some(locks)
            }
            None => None,
        };
        Ok(Self { state, archive, _locks: locks })
    }

    /// The chains: source and partition.
    ///
    /// # Errors
    /// The store.
    pub(crate) async fn chains(&self) -> Result<Vec<(String, String)>, CheckpointError> {
        chains_of(&self.state, None, None).await
    }

    /// Reads a chain and finishes what it leaves unpublished.
    pub(super) async fn tend(
        &self,
        source: &str,
        partition: &str,
    ) -> Result<Tended, CheckpointError> {
        let ledger = Ledger::read(&ChainStore::new(&self.state, source, partition)).await?;
        let partition = Arc::new(Partition {
            source_id: source.into(),
            name: partition.into(),
            // Neither is looked at here.
            log_time_origin: LogTimeOrigin::Observed,
            split: Split::Whole,
        });
        let mut tended = Tended { partition, ledger };
        self.finish(&mut tended).await?;
        Ok(tended)
    }

    /// Reads what was appended since, and finishes what that leaves unpublished.
    pub(super) async fn catch_up(&self, tended: &mut Tended) -> Result<(), CheckpointError> {
        tended.ledger.catch_up().await?;
        self.finish(tended).await
    }

    async fn finish(&self, tended: &mut Tended) -> Result<(), CheckpointError> {
        let Tended { partition, ledger } = tended;
        if let Some(broken) = ledger.breaks.first() {
            return Err(CheckpointError::Place {
                place: broken.path.clone(),
                reason: format!(
                    "{}; nothing is maintained before that is put right: see `lapwing checkpoint verify`",
                    broken.what
                ),
            });
        }
        let Some(archive) = &self.archive else {
            return match ledger.files.is_empty() {
                true => Ok(()),
                false => Err(CheckpointError::Place {
                    place: ledger.store.path_of(""),
                    reason: "the chain names files of an archive; set archive.path".to_owned(),
                }),
            };
        };
        match &ledger.maintenance {
            Some((_, Entry::Compact(compact))) => carry_out(archive, compact).await?,
            Some((number, Entry::Retain(_))) => {
                self.remove_files(partition, ledger, *number).await?;
            }
            _ => {}
        }
        publish_newest(archive, ledger).await
    }

    /// Appends a manifest right after the one that was read last; false if somebody else was first.
    pub(super) async fn append(
        &self,
        tended: &mut Tended,
        entry: &Entry,
    ) -> Result<bool, CheckpointError> {
        let mut chain = tended.ledger.chain(tended.partition.clone());
        match chain.append_here(entry).await? {
            Appended::Yes => tended.ledger.catch_up().await.map(|()| true),
            Appended::Lost => Ok(false),
        }
    }

    /// Removes the files of a manifest that says so.
    pub(super) async fn remove_files(
        &self,
        partition: &Partition,
        ledger: &Ledger,
        number: u64,
    ) -> Result<u64, CheckpointError> {
        let Some(archive) = &self.archive else { return Ok(0) };
        let visible = visible_files(archive.place(), Some(&partition.source_id)).await?;
        let visible: BTreeSet<&str> = visible.iter().map(|(path, _)| path.as_ref()).collect();
        let gone = ledger.gone.iter().filter(|(path, by)| {
            **by == number && visible.contains(path.as_str()) && !ledger.files.contains_key(*path)
        });
        let mut removed = 0;
        for (path, _) in gone {
            match archive.place().store.delete(&Path::from(path.as_str())).await {
                Ok(()) => removed += 1,
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(CheckpointError::store(path, error)),
            }
        }
        Ok(removed)
    }
}

/// Publishes what the newest epoch has staged.
async fn publish_newest(archive: &ArchivePlace, ledger: &Ledger) -> Result<(), CheckpointError> {
    let Some((number, epoch)) = &ledger.epoch else { return Ok(()) };
    for file in epoch.files.iter().filter(|file| ledger.files.contains_key(&file.path)) {
        if !archive.publish(file).await? {
            return Err(CheckpointError::File {
                path: file.path.clone(),
                reason: "it is gone".to_owned(),
                manifest: *number,
            });
        }
    }
    Ok(())
}

/// The files of an archive that are in sight, with their length: all, or those of a source.
pub(super) async fn visible_files(
    place: &Place,
    source: Option<&str>,
) -> Result<Vec<(Path, u64)>, CheckpointError> {
    let folder = source.map(|source| format!("source_id={source}"));
    let mut files = Vec::new();
    for table in lapwing_event::archive::Table::ALL {
        let prefix = Path::from(table.folder());
        let mut listed = place.store.list(Some(&prefix));
        let failed = |error| CheckpointError::store(prefix.to_string(), error);
        while let Some(object) = listed.try_next().await.map_err(failed)? {
            let is_of_source = folder.as_deref().is_none_or(|folder| {
                object.location.parts().nth(2).is_some_and(|part| part.as_ref() == folder)
            });
            if is_of_source {
                files.push((object.location, object.size));
            }
        }
    }
    Ok(files)
}

/// Puts merged files in their place, as far as that is not done.
pub(super) async fn carry_out(
    archive: &ArchivePlace,
    entry: &CompactEntry,
) -> Result<(), CheckpointError> {
    let Some(folder) = archive.folder() else { return Ok(()) };
    let (folder, entry) = (folder.to_owned(), entry.clone());
    let swapping = tokio::task::spawn_blocking(move || swap::swap(&folder, &entry));
    swapping.await.expect("exchanging folders does not panic")
}

/// Finishes a merge that was committed and not carried out. Whoever claims a partition calls this before
/// anything is published or removed; it costs the listing of a folder if there is none.
pub(super) async fn finish_swap(
    archive: &ArchivePlace,
    chain: &Chain,
) -> Result<(), CheckpointError> {
    let Some(folder) = archive.folder() else { return Ok(()) };
    let root = folder.to_owned();
    let recovering = tokio::task::spawn_blocking(move || swap::recover_exchange(&root));
    recovering.await.expect("exchanging folders does not panic")?;
    let staged = staged_merges(archive, &chain.partition).await?;
    let Some(floor) = staged.iter().map(number_of).min() else { return Ok(()) };
    let staged: BTreeSet<&str> = staged.iter().map(Path::as_ref).collect();
    // No manifest before names them.
    for number in (floor..=chain.number).rev() {
        let manifest = match chain.store.manifest(number).await {
            Ok((manifest, _)) => manifest,
            // Maintenance carries merges out before it prunes.
            Err(CheckpointError::Store { source: Error::NotFound { .. }, .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Entry::Compact(compact) = &manifest.entry
            && compact.files.iter().any(|file| staged.contains(file.staged.as_str()))
        {
            carry_out(archive, compact).await?;
        }
    }
    Ok(())
}

/// The number that begins the name of a merged file: the one its manifest was to have.
fn number_of(staged: &Path) -> u64 {
    claim_of(staged.filename().unwrap_or_default())
}

/// Merged files of a partition that wait for their manifest, or to be put in their place.
pub(super) async fn staged_merges(
    archive: &ArchivePlace,
    partition: &Partition,
) -> Result<Vec<Path>, CheckpointError> {
    let folder = Path::from_iter([STAGED, &*partition.source_id, &*partition.name]);
    let failed = |error| CheckpointError::store(folder.to_string(), error);
    let found: Vec<_> =
        archive.place().store.list(Some(&folder)).try_collect().await.map_err(failed)?;
    let is_merged = |path: &Path| {
        path.filename().and_then(|name| name.split('-').nth(1)).is_some_and(|part| part == MERGED)
    };
    Ok(found.into_iter().map(|object| object.location).filter(is_merged).collect())
}

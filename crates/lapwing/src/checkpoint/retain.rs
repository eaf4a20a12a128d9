//! Removes days of the archive that are older than they are kept: a manifest names the files, then they
//! are deleted. Doing it again finishes what was begun.

use std::collections::BTreeMap;
use std::path::Path as FsPath;

use lapwing_event::archive::{ArchiveFile, RETAINED, Table};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};
use tracing::info;

use super::archive::ArchivePlace;
use super::error::CheckpointError;
use super::maintain::{MAX_TRIES, Tended, Upkeep};
use super::manifest::{Entry, FileEntry, RetainEntry};

/// The first day that is kept of each table; tables that are not named are kept for ever.
pub(crate) type KeepDays = BTreeMap<Table, String>;

/// Files that were removed, and their bytes.
pub(crate) type Removed = (u64, u64);

/// Removes the days before those that are kept, of all partitions.
///
/// # Errors
/// A chain that is broken; a store that does not answer. What was removed before stays so.
pub(crate) async fn retain(upkeep: &Upkeep, keep: &KeepDays) -> Result<Removed, CheckpointError> {
    let Some(archive) = &upkeep.archive else { return Ok((0, 0)) };
    let mut done = (0, 0);
    for (source, partition) in upkeep.chains().await? {
        let mut tended = upkeep.tend(&source, &partition).await?;
        let removed = commit(upkeep, archive, &mut tended, keep).await?;
        if removed.is_empty() {
            continue;
        }
        let number = tended.ledger.maintenance.as_ref().map_or(0, |(number, _)| *number);
        upkeep.remove_files(&tended.partition, &tended.ledger, number).await?;
        if let Some(root) = archive.folder() {
            remove_empty(root, &removed);
        }
        let bytes: u64 = removed.iter().map(|file| file.size_bytes).sum();
        info!(source, partition, files = removed.len(), bytes, "removed");
        done = (done.0 + removed.len() as u64, done.1 + bytes);
    }
    Ok(done)
}

/// Appends the manifest; the files that it names.
async fn commit(
    upkeep: &Upkeep,
    archive: &ArchivePlace,
    tended: &mut Tended,
    keep: &KeepDays,
) -> Result<Vec<FileEntry>, CheckpointError> {
    for _ in 0..MAX_TRIES {
        let removed = old_files(tended, keep);
        if removed.is_empty() {
            return Ok(removed);
        }
        note(archive, &tended.partition.source_id, keep).await?;
        let entry = Entry::Retain(RetainEntry { removed: removed.clone() });
        if upkeep.append(tended, &entry).await? {
            return Ok(removed);
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

fn old_files(tended: &Tended, keep: &KeepDays) -> Vec<FileEntry> {
    let files = tended.ledger.files.values().map(|named| &named.file);
    let is_old = |file: &&FileEntry| {
        let Some(table) = file.table() else { return false };
        let below = FsPath::new(&file.path).strip_prefix(table.folder()).ok();
        let date = below.and_then(ArchiveFile::parse).map(|file| file.date);
        keep.get(&table).zip(date).is_some_and(|(first_kept, date)| date < *first_kept)
    };
    files.filter(is_old).cloned().collect()
}

/// Notes which files may be missing: a replay of the archive finds a range without its rejected records.
async fn note(
    archive: &ArchivePlace,
    source: &str,
    keep: &KeepDays,
) -> Result<(), CheckpointError> {
    let store = &archive.place().store;
    for (table, first_kept) in keep {
        let at = Path::from_iter([RETAINED, source, table.folder()]);
        let failed = |error| CheckpointError::store(at.to_string(), error);
        let noted = match store.get(&at).await {
            Ok(noted) => noted.bytes().await.map_err(failed)?,
            Err(Error::NotFound { .. }) => bytes::Bytes::new(),
            Err(error) => return Err(failed(error)),
        };
        let noted = String::from_utf8_lossy(&noted);
        // What was removed stays removed when days are kept for longer.
        if *noted.trim() < **first_kept {
            let bytes = format!("{first_kept}\n").into_bytes();
            store.put(&at, bytes.into()).await.map_err(failed)?;
        }
    }
    Ok(())
}

/// Removes the folders of days and sources that have become empty.
fn remove_empty(root: &FsPath, removed: &[FileEntry]) {
    for file in removed {
        let path = root.join(&file.path);
        // One that is not empty stays.
        for folder in path.ancestors().skip(1).take(2) {
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}

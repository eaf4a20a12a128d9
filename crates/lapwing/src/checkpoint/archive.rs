//! The archive as a place: files are staged where no query sees them, and published under their final names
//! once a manifest names them. Publishing twice is publishing once.

use std::path::PathBuf;

use futures_util::TryStreamExt;
use lapwing_event::{Partition, hex};
use lapwing_sink::StagedFile;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutPayload, WriteMultipart};

use super::error::CheckpointError;
use super::manifest::{FileEntry, sha256};
use super::store::Place;
use super::swap::hold_still;

/// The folder of files that wait for their manifest; query engines pass over names with a dot.
pub(crate) const STAGED: &str = ".staged";

/// Digits of the hash of an archive's name that tell its files in a spool from those of others.
const SPOOL_DIGITS: usize = 16;

/// Bytes of a part of an upload; S3 takes 10,000 parts.
const PART_BYTES: usize = 8 << 20;

/// Where an archive lies.
#[derive(Debug, Clone)]
pub(crate) struct ArchivePlace {
    place: Place,
    /// Where files are written before they are uploaded, if the archive is not a folder.
    spool: PathBuf,
}

impl ArchivePlace {
    pub(crate) fn new(place: Place, spool: PathBuf) -> Self {
        Self { place, spool }
    }

    /// The archive's folder, if it is one.
    pub(crate) fn folder(&self) -> Option<&std::path::Path> {
        self.place.folder.as_deref()
    }

    /// The folder in which the files of a partition are written. Programs on one machine may share a
    /// spool, if their archives are others: each finds its own files there.
    pub(crate) fn staging_folder(&self, partition: &Partition) -> PathBuf {
        let root = match &self.place.folder {
            Some(folder) => folder.join(STAGED),
            None => self.spool.join(&sha256(self.place.name.as_bytes())[..SPOOL_DIGITS]),
        };
        root.join(&*partition.source_id).join(&*partition.name)
    }

    /// Brings a file that was written to where it waits for its manifest.
    pub(crate) async fn stage(
        &self,
        partition: &Partition,
        file: &StagedFile,
    ) -> Result<FileEntry, CheckpointError> {
        let name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let staged = Path::from_iter([STAGED, &*partition.source_id, &*partition.name, name]);
        if self.place.folder.is_none() {
            self.upload(&staged, file).await?;
            // What is left over in the spool is removed by the next owner on this machine.
            drop(std::fs::remove_file(&file.path));
        }
        Ok(FileEntry {
            table: file.table.folder().to_owned(),
            path: file.file.path(file.table).display().to_string(),
            staged: staged.to_string(),
            rows: file.rows,
            size_bytes: file.size_bytes,
            sha256: hex(&file.sha256),
        })
    }

    async fn upload(&self, to: &Path, file: &StagedFile) -> Result<(), CheckpointError> {
        let unreadable = |error: std::io::Error| CheckpointError::Place {
            place: file.path.display().to_string(),
            reason: format!("cannot be read for its upload: {error}"),
        };
        let failed = |error| CheckpointError::store(to.to_string(), error);
        let bytes = std::fs::read(&file.path).map_err(unreadable)?;
        if bytes.len() <= PART_BYTES {
            let put = self.place.store.put(to, PutPayload::from(bytes)).await;
            return put.map(drop).map_err(failed);
        }
        let upload = self.place.store.put_multipart(to).await.map_err(failed)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        upload.write(&bytes);
        upload.finish().await.map(drop).map_err(failed)
    }

    /// Gives a file its final name, if it does not have it yet; false if it is at neither place.
    pub(crate) async fn publish(&self, file: &FileEntry) -> Result<bool, CheckpointError> {
        let _still = match self.folder() {
            Some(folder) => hold_still(folder).await?,
            None => None,
        };
        let (from, to) = (Path::from(file.staged.as_str()), Path::from(file.path.as_str()));
        match self.place.store.rename(&from, &to).await {
            Ok(()) => Ok(true),
            Err(Error::NotFound { .. }) => match self.place.store.head(&to).await {
                Ok(_) => Ok(true),
                Err(Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(CheckpointError::store(to.to_string(), error)),
            },
            Err(error) => Err(CheckpointError::store(to.to_string(), error)),
        }
    }

    /// Removes what owners up to a claim have staged for a partition and do not write any more; whatever
    /// a manifest names was published before. What a later owner is writing stays.
    pub(crate) async fn clean(
        &self,
        partition: &Partition,
        claim: u64,
    ) -> Result<u64, CheckpointError> {
        let folder = Path::from_iter([STAGED, &*partition.source_id, &*partition.name]);
        let failed = |error| CheckpointError::store(folder.to_string(), error);
        let found: Vec<_> =
            self.place.store.list(Some(&folder)).try_collect().await.map_err(failed)?;
        let mut removed = 0;
        let is_left = |name: Option<&str>| claim_of(name.unwrap_or_default()) <= claim;
        for object in found.into_iter().filter(|o| is_left(o.location.filename())) {
            match self.place.store.delete(&object.location).await {
                Ok(()) => removed += 1,
                Err(Error::NotFound { .. }) => {}
                Err(error) => {
                    return Err(CheckpointError::store(object.location.to_string(), error));
                }
            }
        }
        if self.place.folder.is_none() {
            removed += clean_spool(&self.staging_folder(partition), is_left)?;
        }
        Ok(removed)
    }

    /// Where it lies.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

/// Removes files of a spool; gives how many.
fn clean_spool(
    folder: &std::path::Path,
    is_left: impl Fn(Option<&str>) -> bool,
) -> Result<u64, CheckpointError> {
    let failed = |error: std::io::Error| CheckpointError::Place {
        place: folder.display().to_string(),
        reason: format!("the spool cannot be cleaned: {error}; make it writable for this user"),
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed(error)),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if is_left(entry.file_name().to_str()) {
            std::fs::remove_file(entry.path()).map_err(failed)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The number of the claim that begins the name of a staged file.
pub(super) fn claim_of(name: &str) -> u64 {
    name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

//! Folders 0700 and files 0600, written under a temporary name and renamed when they are whole:
//! a process killed at any moment leaves only whole files under final names.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use lapwing_event::archive::{ArchiveFile, Table};

use super::error::{ArchiveError, cannot_read, cannot_write};

const TEMPORARY_PREFIX: &str = ".tmp-";
/// The file whose lock says that somebody writes.
const LOCK: &str = ".lock";

/// Creates a folder and its missing parents.
pub(super) fn create(folder: &Path) -> Result<(), ArchiveError> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = parent(folder) {
        create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => parent(folder).map_or(Ok(()), sync),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match folder.is_dir() {
            true => Ok(()),
            false => Err(cannot_write(folder)(io::ErrorKind::NotADirectory.into())),
        },
        Err(e) => Err(cannot_write(folder)(e)),
    }
}

/// Takes the lock of an archive; it is given back when the file is dropped, or the process ends.
pub(super) fn lock(root: &Path) -> Result<File, ArchiveError> {
    locked(root, File::try_lock)
}

/// Takes a lock that others may hold too.
pub(super) fn lock_shared(root: &Path) -> Result<File, ArchiveError> {
    locked(root, File::try_lock_shared)
}

fn locked(
    root: &Path,
    take: impl FnOnce(&File) -> Result<(), TryLockError>,
) -> Result<File, ArchiveError> {
    let path = root.join(LOCK);
    let opened =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.map_err(cannot_write(&path))?;
    match take(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ArchiveError::Locked { path: root.to_owned() }),
        Err(TryLockError::Error(error)) => Err(cannot_write(&path)(error)),
    }
}

fn parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|p| !p.as_os_str().is_empty())
}

/// Makes created, renamed and removed names of a folder last.
pub(super) fn sync(folder: &Path) -> Result<(), ArchiveError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(cannot_write(folder))
}

/// Removes a file, and makes that last.
pub(super) fn remove(path: &Path) -> Result<(), ArchiveError> {
    fs::remove_file(path).map_err(cannot_write(path))?;
    parent(path).map_or(Ok(()), sync)
}

/// The entries of a folder, sorted by path; none if there is no such folder.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(cannot_read(folder)(e)),
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|e| Ok(e?.path())).collect();
    let mut paths = paths.map_err(cannot_read(folder))?;
    paths.sort_unstable();
    Ok(paths)
}

/// A folder of files that are not visible yet.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) folder: PathBuf,
    /// Begins the names of its files, so that those of two attempts never meet.
    pub(super) attempt: String,
}

/// A file that is being written. It is removed when dropped before it was kept.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Temporary {
    /// Creates the temporary of a partition's file that begins at an offset.
    pub(super) fn create(
        folder: &Path,
        partition: &str,
        first: i64,
    ) -> Result<(Self, File), ArchiveError> {
        create(folder)?;
        let path = folder.join(format!("{TEMPORARY_PREFIX}{partition}-{first:020}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(cannot_write(&path))?;
        Ok((Self { path, kept: false }, file))
    }

    /// Creates a file that waits for its manifest.
    pub(super) fn staged(
        stage: &Stage,
        table: Table,
        file: &ArchiveFile,
    ) -> Result<(Self, File), ArchiveError> {
        create(&stage.folder)?;
        let (attempt, table) = (&stage.attempt, table.folder());
        let name = format!("{attempt}-{table}-{}-{:020}.parquet", file.date, file.first);
        let path = stage.folder.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(cannot_write(&path))?;
        Ok((Self { path, kept: false }, file))
    }

    /// Leaves it where it is, whole and synced; its path.
    pub(super) fn leave(mut self) -> Result<PathBuf, ArchiveError> {
        self.kept = true;
        parent(&self.path).map_or(Ok(()), sync)?;
        Ok(self.path.clone())
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its final name, in the same folder. Its bytes must have been synced.
    pub(super) fn keep(mut self, path: &Path) -> Result<(), ArchiveError> {
        debug_assert_eq!(self.path.parent(), path.parent());
        fs::rename(&self.path, path).map_err(cannot_write(path))?;
        self.kept = true;
        parent(path).map_or(Ok(()), sync)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "temporary file not removed");
        }
    }
}

/// Whether a path is a temporary of this partition, left by a process that was killed.
pub(super) fn is_temporary(path: &Path, partition: &str) -> bool {
    let first = path
        .file_name()
        .and_then(|n| n.to_str())
        .and_then(|n| n.strip_prefix(TEMPORARY_PREFIX))
        .and_then(|n| n.strip_prefix(partition))
        .and_then(|n| n.strip_prefix('-'));
    first.is_some_and(|f| f.len() == 20 && f.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_temporaries_are_recognised() {
        let is = |name: &str| is_temporary(Path::new(name), "topic-7");
        assert!(is("x/.tmp-topic-7-00000000000000000012"));
        for other in [
            "x/.tmp-topic-7-12",
            "x/.tmp-topic-70-00000000000000000012",
            "x/.tmp-topic-7-00000000000000000012.bak",
            "x/topic-7-00000000000000000012",
            "x/.tmp-7-00000000000000000012",
        ] {
            assert!(!is(other), "{other}");
        }
    }

    #[test]
    fn a_temporary_that_is_not_kept_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (temporary, _) = Temporary::create(folder.path(), "0", 5).expect("created");
        let path = temporary.path().to_owned();
        assert!(path.exists());
        drop(temporary);
        assert!(!path.exists());
    }
}

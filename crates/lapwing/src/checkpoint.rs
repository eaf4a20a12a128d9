//! What `run` keeps of a source between two starts: the cursor of its files and the state of its
//! detector, written together after the archive's files are at rest.
//!
//! Layout of `STATE/<source id>.checkpoint`: a line with the magic, a line with the cursor as
//! JSON, then the detector's state as it is. Written under a temporary name, synced, renamed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lapwing_ingest::FollowCursor;

const MAGIC: &str = "lapwing checkpoint 1";

/// The checkpoint of one source.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    /// Where to read on.
    pub(crate) cursor: FollowCursor,
    /// The detector's state; empty before the first record.
    pub(crate) state: Vec<u8>,
}

impl Checkpoint {
    /// Reads the checkpoint of a source, if there is one.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    pub(crate) fn read(folder: &Path, source_id: &str) -> anyhow::Result<Option<Self>> {
        let path = path(folder, source_id);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("{}: cannot be read", path.display()));
            }
        };
        let mut parts = bytes.splitn(3, |b| *b == b'\n');
        let (Some(magic), Some(cursor), Some(state)) = (parts.next(), parts.next(), parts.next())
        else {
            bail!("{}: is cut; {}", path.display(), way_out());
        };
        if magic != MAGIC.as_bytes() {
            bail!("{}: is not a checkpoint of this version; {}", path.display(), way_out());
        }
        let cursor = serde_json::from_slice(cursor)
            .with_context(|| format!("{}: is damaged; {}", path.display(), way_out()))?;
        Ok(Some(Self { cursor, state: state.to_vec() }))
    }

    /// Writes the checkpoint of a source.
    ///
    /// # Errors
    /// A folder or file that cannot be written.
    pub(crate) fn write(&self, folder: &Path, source_id: &str) -> anyhow::Result<()> {
        let path = path(folder, source_id);
        self.try_write(folder, &path).with_context(|| {
            format!("{}: cannot be written; the last one still holds", path.display())
        })
    }

    fn try_write(&self, folder: &Path, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let temporary = path.with_extension("checkpoint.tmp");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        writeln!(file, "{MAGIC}")?;
        serde_json::to_writer(&mut file, &self.cursor)?;
        file.write_all(b"\n")?;
        file.write_all(&self.state)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    }
}

/// Takes the lock of a state folder; it is given back when the file is dropped.
///
/// # Errors
/// Another process runs on it, or it cannot be written.
pub(crate) fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join(".lock");
    let open = || -> io::Result<File> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)
    };
    let file = open().with_context(|| format!("{}: cannot be written", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{}: another process runs on this state; give each its own", folder.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{}: cannot be locked", path.display()))
        }
    }
}

fn path(folder: &Path, source_id: &str) -> PathBuf {
    folder.join(format!("{source_id}.checkpoint"))
}

fn way_out() -> &'static str {
    "move it away to begin anew: its logs are then read as at a first start, and archived after what is there"
}

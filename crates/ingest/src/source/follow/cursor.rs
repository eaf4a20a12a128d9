//! What a follower needs to go on after a restart, and how it knows its files again.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// The first bytes of a file that tell it from others: the first record carries a time.
const HEAD_BYTES: usize = 256;

/// What a follower of files needs to resume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowCursor {
    /// Every file that was read and can still be found.
    pub files: Vec<FileCursor>,
    /// The offset of the next record.
    pub next_offset: i64,
    /// The log time reached, microseconds.
    pub log_time: i64,
}

/// How far one file was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCursor {
    /// Where it was last seen.
    pub path: String,
    /// Its name in records.
    pub name: String,
    /// Its device and inode.
    pub id: FileId,
    /// How many first bytes the fingerprint covers, at most 256.
    pub head_bytes: u64,
    /// xxh3 of those bytes.
    pub head_hash: u64,
    /// Bytes of whole lines read.
    pub offset_bytes: u64,
    /// The number of the next line, from 1.
    pub next_line: i64,
}

/// What a file is to the file system, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// The device.
    pub device: u64,
    /// The inode.
    pub inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &std::fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// The first bytes of a file; they change only if it is overwritten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head(Vec<u8>);

impl Head {
    /// Reads it; short if the file is.
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let mut bytes = vec![0; HEAD_BYTES];
        let mut filled = 0;
        while filled < HEAD_BYTES {
            match file.read_at(&mut bytes[filled..], filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(Self(bytes))
    }

    /// Whether a file that once began with `earlier` may begin with this now.
    pub(super) fn continues(&self, earlier: &Self) -> bool {
        self.0.starts_with(&earlier.0)
    }

    /// Whether one is the beginning of the other, and there is enough to tell.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        let shared = self.0.len().min(other.0.len());
        shared > 0 && self.0[..shared] == other.0[..shared]
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub(super) fn hash(&self) -> u64 {
        xxh3_64(&self.0)
    }

    /// Whether this is the file that a cursor was at.
    pub(super) fn fits(&self, cursor: &FileCursor) -> bool {
        let len = cursor.head_bytes as usize;
        self.0.get(..len).is_some_and(|head| xxh3_64(head) == cursor.head_hash)
    }
}

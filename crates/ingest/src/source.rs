//! Sources: where records come from. Files replayed as a whole, files followed as they grow, and
//! archives all hand out the same batches.

mod archive;
mod assemble;
mod clock;
mod discover;
mod follow;
pub mod kafka;
mod lines;
mod log_stream;
mod log_time;
mod looks_like;
mod merge;
mod reader;
mod recognise;
mod replay;
mod rotation;
mod terms;
mod workers;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use lapwing_event::Batch;

use crate::format::FORMATS;

pub use archive::{ArchiveOptions, ArchiveSource, is_archive};
pub use clock::clock_us;
pub use discover::{Log, LogFile, STDIN, default_source_id, discover};
pub use follow::{FileCursor, FileId, FollowCursor, FollowOptions, FollowSource, Start};
pub use replay::{ReplayOptions, ReplaySource};

/// A source of records.
pub trait Source {
    /// What comes next. After `End`, always `End`.
    ///
    /// # Errors
    /// What makes reading on impossible. Records that cannot be read are no errors: they are
    /// rejected records of a batch.
    fn next_batch(&mut self) -> Result<Next, SourceError>;

    /// What was read so far.
    fn stats(&self) -> SourceStats;

    /// The size of everything there is to read, as [`SourceStats::bytes_read`] counts it; `None` if
    /// it has no end.
    fn total_bytes(&self) -> Option<u64>;
}

/// What a source hands out.
#[derive(Debug)]
pub enum Next {
    /// Records.
    Batch(Batch),
    /// There are none at the moment.
    Idle {
        /// The log time that has been reached without a record, microseconds.
        log_time: i64,
    },
    /// There are no more.
    End,
}

/// What a source has read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// Bytes read of the files, before decompression.
    pub bytes_read: u64,
    /// Bytes of followed logs that were there when they were last looked at and have not become
    /// records yet, an unfinished line among them; 0 in a replay.
    pub unread_bytes: u64,
    /// Records handed out, events and rejected ones.
    pub records: u64,
    /// Of these, rejected ones.
    pub rejected: u64,
    /// Records passed over because of `since` and `until`.
    pub outside: u64,
    /// Lines of white space alone.
    pub blank_lines: u64,
    /// Logs; a follower counts those refused too.
    pub logs: u64,
    /// Files of these logs.
    pub files: u64,
    /// Partitions of a topic that is replayed.
    pub partitions: u64,
    /// Files that were cut short or overwritten while they were followed.
    pub truncations: u64,
    /// Logs in a format that is not known.
    pub refused: Vec<RefusedLog>,
    /// The formats with the number of records handed out in each, by name.
    pub formats: Vec<(&'static str, u64)>,
}

impl SourceStats {
    /// Adds what another source has read.
    pub fn add(&mut self, other: &Self) {
        self.bytes_read += other.bytes_read;
        self.unread_bytes += other.unread_bytes;
        self.records += other.records;
        self.rejected += other.rejected;
        self.outside += other.outside;
        self.blank_lines += other.blank_lines;
        self.logs += other.logs;
        self.files += other.files;
        self.partitions += other.partitions;
        self.truncations += other.truncations;
        self.refused.extend(other.refused.iter().cloned());
        for (format, records) in &other.formats {
            self.count_format(format, *records);
        }
    }

    /// Counts records of a format.
    fn count_format(&mut self, format: &'static str, records: u64) {
        match self.formats.iter_mut().find(|(name, _)| *name == format) {
            Some((_, count)) => *count += records,
            None => {
                self.formats.push((format, records));
                self.formats.sort_unstable();
            }
        }
    }
}

/// A log that is not read, since no format recognises it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedLog {
    /// The log's name.
    pub name: String,
    /// What it seems to be.
    pub looks_like: String,
}

impl fmt::Display for RefusedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not in a supported format; it looks like {}", self.name, self.looks_like)
    }
}

/// Logs named in the error when all were refused; a folder may hold thousands.
const MAX_REFUSED_SHOWN: usize = 5;

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A path that is not there.
    #[error(
        "{input}: no such file or folder; check the path, or quote a pattern such as \"logs/*.log\""
    )]
    NotFound {
        /// The input.
        input: String,
    },
    /// A folder or a pattern without files.
    #[error("{input}: {why}")]
    Nothing {
        /// The input.
        input: String,
        /// Why there is nothing.
        why: &'static str,
    },
    /// A pattern that is none.
    #[error("{input}: not a valid pattern: {error}")]
    Pattern {
        /// The input.
        input: String,
        /// What is wrong with it.
        error: String,
    },
    /// No input at all.
    #[error("no input was given; name files, folders, patterns or - for standard input")]
    NoInput,
    /// A folder that cannot be listed.
    #[error("{}: cannot be listed: {error}; check the path and who may read it", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file that cannot be opened.
    #[error("{}: cannot be opened: {error}{}", path.display(), way_out(error))]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file that cannot be read on.
    #[error("{}: cannot be read on: {error}; what was read before stands", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A log that begins differently than a moment ago.
    #[error("{log}: changed while it was being read; start again, or follow it")]
    Changed {
        /// The log.
        log: String,
    },
    /// No log is in a format that is known.
    #[error("nothing can be read{}\nsupported formats: {}", list(refused), supported_formats())]
    AllRefused {
        /// The logs.
        refused: Vec<RefusedLog>,
    },
    /// An archive that is not as it should be.
    #[error("{}: {what}", path.display())]
    Archive {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, and the way out.
        what: String,
    },
    /// A topic that cannot be read.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] kafka::KafkaSourceError),
}

impl SourceError {
    fn open(path: &Path, error: io::Error) -> Self {
        Self::Open { path: path.into(), error }
    }

    fn read(path: &Path, error: io::Error) -> Self {
        Self::Read { path: path.into(), error }
    }

    fn archive(path: &Path, what: impl Into<String>) -> Self {
        Self::Archive { path: path.into(), what: what.into() }
    }
}

/// EMFILE, "too many open files" of one process, on Linux and the BSDs.
const EMFILE: i32 = 24;

fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; it may have been rotated away meanwhile: start again",
        io::ErrorKind::PermissionDenied => "; run as a user who may read it",
        _ if error.raw_os_error() == Some(EMFILE) => "; raise the limit with ulimit -n",
        _ => "",
    }
}

fn list(refused: &[RefusedLog]) -> String {
    let mut text = String::new();
    for log in refused.iter().take(MAX_REFUSED_SHOWN) {
        text.push_str(&format!("\n  {log}"));
    }
    if refused.len() > MAX_REFUSED_SHOWN {
        text.push_str(&format!("\n  and {} more", refused.len() - MAX_REFUSED_SHOWN));
    }
    text
}

/// The names of all formats with their titles, for messages.
pub fn supported_formats() -> String {
    let formats: Vec<String> =
        FORMATS.iter().map(|f| format!("{} ({})", f.info().name, f.info().title)).collect();
    formats.join(", ")
}

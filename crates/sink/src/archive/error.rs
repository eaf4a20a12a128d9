//! What can go wrong with an archive, and the way out.

use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

/// Why an archive cannot be written. Files that are complete stay; nothing half-written is left
/// under a final name.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The operating system refused.
    #[error("cannot write {}: {source}; {}", path.display(), way_out(source))]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process writes into the archive.
    #[error("another process writes into {}; wait for it, or use another --archive", path.display())]
    Locked {
        /// The archive.
        path: PathBuf,
    },
    /// A file or folder of the archive cannot be read.
    #[error(
        "cannot read {}: {reason}; remove the file to have it written again, or use another \
         --archive", path.display()
    )]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Values could not be encoded.
    #[error("cannot encode {}: {reason}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Files cannot be merged into one.
    #[error("cannot merge into {}: {reason}; nothing was changed", path.display())]
    Merge {
        /// The merged file, where it was written.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The archive holds other records at the same offsets.
    #[error(
        "{} holds other records at the offsets {first}..={last} of partition {partition} of source \
         {source_id}: the input was changed or is another one; give it another --source id, or use \
         another --archive", file.display()
    )]
    Changed {
        /// A file of the range.
        file: PathBuf,
        /// The source.
        source_id: String,
        /// The partition.
        partition: String,
        /// The first offset of the range.
        first: i64,
        /// The last offset of the range, inclusive.
        last: i64,
    },
    /// The input ends within a range that the archive holds, so that they cannot be compared.
    #[error(
        "{} holds the offsets {first}..={last} of partition {partition} of source {source_id}, but \
         the input ends at {end}: it was shortened or is another one; give it another --source id, \
         or use another --archive", file.display()
    )]
    EndsWithin {
        /// A file of the range.
        file: PathBuf,
        /// The source.
        source_id: String,
        /// The partition.
        partition: String,
        /// The first offset of the range.
        first: i64,
        /// The last offset of the range, inclusive.
        last: i64,
        /// The last offset of the input.
        end: i64,
    },
    /// The input begins within a range that the archive holds, so that they cannot be compared.
    #[error(
        "{} holds the offsets {first}..={last} of partition {partition} of source {source_id}, but \
         the input begins at {start}; begin at {first}, give it another --source id, or use another \
         --archive", file.display()
    )]
    BeginsWithin {
        /// A file of the range.
        file: PathBuf,
        /// The source.
        source_id: String,
        /// The partition.
        partition: String,
        /// The first offset of the range.
        first: i64,
        /// The last offset of the range, inclusive.
        last: i64,
        /// The first offset of the input in the range.
        start: i64,
    },
    /// Two files of the archive cover the same offsets.
    #[error(
        "{} and {} cover the same offsets; remove one of them, or use another --archive",
        a.display(), b.display()
    )]
    Overlap {
        /// One.
        a: PathBuf,
        /// The other.
        b: PathBuf,
    },
    /// The records come without digests, as records read from an archive do.
    #[error(
        "records of partition {partition} of source {source_id} were read from an archive; they \
         are not archived again, so leave --archive out"
    )]
    NoDigests {
        /// The source.
        source_id: String,
        /// The partition.
        partition: String,
    },
}

/// Says that a path cannot be written.
pub(super) fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError + '_ {
    move |source| ArchiveError::Write { path: path.to_owned(), source }
}

/// Says that a path cannot be read.
pub(super) fn cannot_read<E: ToString>(path: &Path) -> impl FnOnce(E) -> ArchiveError + '_ {
    move |reason| ArchiveError::Read { path: path.to_owned(), reason: reason.to_string() }
}

/// Says that a file cannot be written, telling the operating system's refusals from others.
pub(super) fn cannot_encode(path: &Path) -> impl FnOnce(ParquetError) -> ArchiveError + '_ {
    move |error| match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => cannot_write(path)(*source),
            Err(other) => encode_error(path, other.to_string()),
        },
        other => encode_error(path, other.to_string()),
    }
}

fn encode_error(path: &Path, reason: String) -> ArchiveError {
    ArchiveError::Encode { path: path.to_owned(), reason }
}

fn way_out(error: &io::Error) -> &'static str {
    use io::ErrorKind::{
        AlreadyExists, NotADirectory, PermissionDenied, ReadOnlyFilesystem, StorageFull,
    };
    match error.kind() {
        StorageFull => {
            "free some space and run the same command again; what is complete is not written twice"
        }
        PermissionDenied | ReadOnlyFilesystem => {
            "make it writable for this user, or use another --archive"
        }
        NotADirectory => "use a folder as --archive",
        AlreadyExists => "check that no other process writes this partition to the same archive",
        _ => "check the disk, or use another --archive",
    }
}

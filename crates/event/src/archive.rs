//! Where the files of an archive lie: what the archive sink writes and the archive source reads.
//!
//! `ARCHIVE/{events,rejected,alerts}/date=2026-11-22/source_id=gw1/<partition>-<first>-<last>.parquet`

use std::path::{Path, PathBuf};

use crate::batch::Partition;

/// The three tables of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Events.
    Events,
    /// Records that are not events.
    Rejected,
    /// Alert messages.
    Alerts,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 3] = [Self::Events, Self::Rejected, Self::Alerts];

    /// The name of its folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Rejected => "rejected",
            Self::Alerts => "alerts",
        }
    }
}

/// Key of the file metadata that holds the digest of the records of a file.
pub const META_DIGEST: &str = "lapwing.records_digest";
/// Key of the file metadata that holds the number of records of the range, events and rejected.
pub const META_RECORDS: &str = "lapwing.records";
/// Key of the file metadata that names the ranges a range was merged of, as `records:digest` joined by
/// commas; it is missing where the range was written as it is. The digest of a merged range is that of
/// this text.
pub const META_MERGED_OF: &str = "lapwing.merged_of";
/// Key of the file metadata that says where log time comes from.
pub const META_LOG_TIME: &str = "lapwing.log_time_origin";
/// Key of the file metadata that names the fields by which the records of the source are spread over
/// partitions, joined by commas; it is missing where one partition has all records.
pub const META_PARTITIONED_BY: &str = "lapwing.partitioned_by";
/// Key of the file metadata that holds the version of this layout.
pub const META_VERSION: &str = "lapwing.archive_version";
/// The version of this layout.
pub const ARCHIVE_VERSION: &str = "1";

/// A file of an archive, as its path names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveFile {
    /// The UTC day of log time, `2026-11-22`.
    pub date: String,
    /// The source.
    pub source_id: String,
    /// The partition.
    pub partition: String,
    /// The first offset of the range.
    pub first: i64,
    /// The last offset of the range, inclusive.
    pub last: i64,
}

impl ArchiveFile {
    /// The file of a day of a partition, over the offsets `first..=last`.
    pub fn new(partition: &Partition, date: String, (first, last): (i64, i64)) -> Self {
        Self {
            date,
            source_id: partition.source_id.to_string(),
            partition: partition.name.to_string(),
            first,
            last,
        }
    }

    /// Its path below the archive's folder.
    pub fn path(&self, table: Table) -> PathBuf {
        PathBuf::from(table.folder())
            .join(format!("date={}", self.date))
            .join(format!("source_id={}", self.source_id))
            .join(format!("{}-{:020}-{:020}.parquet", self.partition, self.first, self.last))
    }

    /// Reads a path below a table's folder; `None` if it is not one of an archive's files.
    pub fn parse(below_table: &Path) -> Option<Self> {
        let mut parts = below_table.iter().map(|p| p.to_str());
        let date = parts.next()??.strip_prefix("date=")?.to_owned();
        let source_id = parts.next()??.strip_prefix("source_id=")?.to_owned();
        let name = parts.next()??.strip_suffix(".parquet")?;
        if parts.next().is_some() {
            return None;
        }
        let (rest, last) = name.rsplit_once('-')?;
        let (partition, first) = rest.rsplit_once('-')?;
        Some(Self {
            date,
            source_id,
            partition: partition.to_owned(),
            first: first.parse().ok()?,
            last: last.parse().ok()?,
        })
    }
}

/// The folder below an archive that says which files may be missing since they were older than they are
/// kept: `.retained/<source>/<table>` holds the first UTC day of log time that is kept.
pub const RETAINED: &str = ".retained";

/// The longest source id, bytes.
pub const MAX_SOURCE_ID_BYTES: usize = 64;
/// The longest name of a partition, bytes: with two offsets and the endings that files get on their
/// way, 255 bytes of a file name are not exceeded.
pub const MAX_PARTITION_NAME_BYTES: usize = 150;

/// Whether a text can be a source id: it becomes part of a path that query engines read, so only
/// letters, digits, `.`, `_` and `-`, not first a dot, at most [`MAX_SOURCE_ID_BYTES`].
pub fn is_path_name(text: &str) -> bool {
    is_plain(text, MAX_SOURCE_ID_BYTES)
}

/// Whether a text can be the name of a partition: as a source id, but of
/// [`MAX_PARTITION_NAME_BYTES`].
pub fn is_partition_name(text: &str) -> bool {
    is_plain(text, MAX_PARTITION_NAME_BYTES)
}

fn is_plain(text: &str, max_bytes: usize) -> bool {
    !text.is_empty()
        && text.len() <= max_bytes
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_as_what_it_was_made_of() {
        let file = ArchiveFile {
            date: "2026-11-22".into(),
            source_id: "gw-1".into(),
            partition: "topic-7".into(),
            first: 0,
            last: 4_000_000_000,
        };
        let path = file.path(Table::Events);
        assert!(path.starts_with("events/date=2026-11-22/source_id=gw-1"));
        let below = path.strip_prefix("events").expect("prefix");
        assert_eq!(ArchiveFile::parse(below), Some(file));
        assert_eq!(ArchiveFile::parse(Path::new("date=x/source_id=y/z.parquet.tmp")), None);
    }

    #[test]
    fn names_in_paths_are_plain() {
        assert!(is_path_name("gateway-log"));
        for bad in ["", "..", ".x", "a/b", "a b", "ü", &"x".repeat(65)] {
            assert!(!is_path_name(bad), "{bad}");
        }
    }
}

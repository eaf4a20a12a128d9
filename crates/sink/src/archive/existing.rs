//! What an archive already holds of a partition: its files by their names, and what a file says
//! about its records. Removes what a killed process left behind under temporary names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use lapwing_event::Partition;
use lapwing_event::archive::{ArchiveFile, META_DIGEST, META_MERGED_OF, META_RECORDS, Table};
use parquet::file::metadata::ParquetMetaDataReader;

use super::digest::Parts;
use super::error::{ArchiveError, cannot_read, cannot_write};
use super::folder;

/// The files of a partition in a table, sorted by path. Its stale temporaries are removed.
pub(super) fn files(
    root: &Path,
    table: Table,
    partition: &Partition,
) -> Result<Vec<ArchiveFile>, ArchiveError> {
    let table_folder = root.join(table.folder());
    let source_folder = format!("source_id={}", partition.source_id);
    let mut files = Vec::new();
    for date_folder in folder::list(&table_folder)? {
        for path in folder::list(&date_folder.join(&source_folder))? {
            if folder::is_temporary(&path, &partition.name) {
                tracing::info!(path = %path.display(), "removing what a killed process left");
                fs::remove_file(&path).map_err(cannot_write(&path))?;
                continue;
            }
            let below = path.strip_prefix(&table_folder).ok();
            let file = below.and_then(ArchiveFile::parse);
            files.extend(file.filter(|f| *f.partition == *partition.name));
        }
    }
    Ok(files)
}

/// An offset range that the archive holds: a file of events, one of rejected records, or both.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) file: ArchiveFile,
    tables: Vec<Table>,
}

/// What the files of a range say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldRecords {
    /// The digest of its records.
    pub(super) digest: String,
    /// The number of its records.
    pub(super) records: u64,
    /// The number of rows in its files: fewer than records if one of two files is missing.
    pub(super) rows: u64,
    /// What it was merged of, if it was.
    pub(super) parts: Option<Parts>,
}

impl Held {
    /// One of its files, for messages.
    pub(super) fn path(&self, root: &Path) -> PathBuf {
        root.join(self.file.path(self.tables[0]))
    }

    /// Reads what its files say.
    pub(super) fn read(&self, root: &Path) -> Result<HeldRecords, ArchiveError> {
        let path = self.path(root);
        let mut records = read_file(&path)?;
        for table in &self.tables[1..] {
            let other = read_file(&root.join(self.file.path(*table)))?;
            if (&other.digest, other.records) != (&records.digest, records.records) {
                let other = root.join(self.file.path(*table));
                return Err(cannot_read(&path)(format!("it contradicts {}", other.display())));
            }
            records.rows += other.rows;
        }
        Ok(records)
    }
}

fn read_file(path: &Path) -> Result<HeldRecords, ArchiveError> {
    let file = File::open(path).map_err(cannot_read(path))?;
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file);
    let metadata = metadata.map_err(cannot_read(path))?;
    let metadata = metadata.file_metadata();
    let find = |key: &str| {
        let pairs = metadata.key_value_metadata().into_iter().flatten();
        pairs.filter(|p| p.key == key).find_map(|p| p.value.clone())
    };
    let value =
        |key: &str| find(key).ok_or_else(|| cannot_read(path)(format!("its metadata lacks {key}")));
    let parts = find(META_MERGED_OF).map(|text| {
        Parts::parse(&text)
            .ok_or_else(|| cannot_read(path)(format!("{META_MERGED_OF} is not valid")))
    });
    Ok(HeldRecords {
        parts: parts.transpose()?,
        digest: value(META_DIGEST)?,
        records: value(META_RECORDS)?.parse().map_err(cannot_read(path))?,
        rows: metadata.num_rows().max(0) as u64,
    })
}

/// The ranges that the archive holds of a partition, by their first offset.
pub(super) fn held(
    root: &Path,
    partition: &Partition,
) -> Result<BTreeMap<i64, Held>, ArchiveError> {
    let mut ranges: BTreeMap<i64, Held> = BTreeMap::new();
    for table in [Table::Events, Table::Rejected] {
        for file in files(root, table, partition)? {
            let path = root.join(file.path(table));
            let range = ranges
                .entry(file.first)
                .or_insert_with(|| Held { file: file.clone(), tables: Vec::new() });
            if range.file != file || range.tables.contains(&table) {
                return Err(ArchiveError::Overlap { a: range.path(root), b: path });
            }
            range.tables.push(table);
        }
    }
    let mut before: Option<&Held> = None;
    for range in ranges.values() {
        if let Some(before) = before.filter(|b| b.file.last >= range.file.first) {
            return Err(ArchiveError::Overlap { a: before.path(root), b: range.path(root) });
        }
        before = Some(range);
    }
    Ok(ranges)
}

//! Files of neighbouring ranges become one file with the same rows in the same order, which is read back
//! and compared. Which files are merged, and how the new one takes their place, is the caller's.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use lapwing_event::archive::{
    ARCHIVE_VERSION, ArchiveFile, META_DIGEST, META_LOG_TIME, META_MERGED_OF, META_PARTITIONED_BY,
    META_RECORDS, META_VERSION, Table,
};
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{FooterTail, ParquetMetaDataReader};

use super::ArchiveOptions;
use super::alerts;
use super::digest::{Part, Parts};
use super::error::{ArchiveError, cannot_read};
use super::folder::{Stage, Temporary};
use super::layout::ROWS_PER_PAGE;
use super::partition::layouts;
use super::staging::StagedFile;
use super::table::{TableFile, TableLayout};

/// The last bytes of a Parquet file: the length of its metadata and a magic word.
const FOOTER_TAIL: usize = 8;

/// What the metadata of a file says about its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeFacts {
    origin: String,
    partitioned_by: Option<String>,
    /// Records and their digests; none for alerts, which are no records.
    parts: Parts,
}

impl RangeFacts {
    /// Reads them from a file of the range.
    ///
    /// # Errors
    /// A file that cannot be read, or was written in another version of the layout.
    pub fn read(path: &Path, table: Table) -> Result<Self, ArchiveError> {
        let file = File::open(path).map_err(cannot_read(path))?;
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file);
        let metadata = metadata.map_err(cannot_read(path))?;
        let find = |key: &str| {
            let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
            pairs.filter(|pair| pair.key == key).find_map(|pair| pair.value.clone())
        };
        let wrong = |key: &str| cannot_read(path)(format!("{key} is missing or not valid"));
        if find(META_VERSION).as_deref() != Some(ARCHIVE_VERSION) {
            return Err(wrong(META_VERSION));
        }
        let parts = match (table, find(META_MERGED_OF)) {
            (Table::Alerts, _) => Parts::default(),
            (_, Some(text)) => Parts::parse(&text).ok_or_else(|| wrong(META_MERGED_OF))?,
            (_, None) => {
                let records = find(META_RECORDS).and_then(|text| text.parse().ok());
                Parts(vec![Part {
                    records: records.ok_or_else(|| wrong(META_RECORDS))?,
                    digest: find(META_DIGEST).ok_or_else(|| wrong(META_DIGEST))?,
                }])
            }
        };
        Ok(Self {
            origin: find(META_LOG_TIME).ok_or_else(|| wrong(META_LOG_TIME))?,
            partitioned_by: find(META_PARTITIONED_BY),
            parts,
        })
    }

    /// Whether a file can hold both ranges: it says one thing about all its records.
    pub fn joins(&self, other: &Self) -> bool {
        (&self.origin, &self.partitioned_by) == (&other.origin, &other.partitioned_by)
    }

    /// The ranges that it was merged of; 1 if it was not.
    pub fn parts(&self) -> usize {
        self.parts.0.len().max(1)
    }

    /// What a file of all these ranges says.
    fn metadata(ranges: &[Self]) -> Vec<(&'static str, String)> {
        let Some(first) = ranges.first() else { return Vec::new() };
        let parts: Vec<Part> = ranges.iter().flat_map(|range| range.parts.0.clone()).collect();
        let parts = Parts(parts);
        let mut metadata =
            vec![(META_VERSION, ARCHIVE_VERSION.to_owned()), (META_LOG_TIME, first.origin.clone())];
        if !parts.0.is_empty() {
            let records: u64 = parts.0.iter().map(|part| part.records).sum();
            metadata.push((META_RECORDS, records.to_string()));
            metadata.push((META_DIGEST, parts.digest()));
            metadata.push((META_MERGED_OF, parts.to_string()));
        }
        metadata.extend(first.partitioned_by.clone().map(|text| (META_PARTITIONED_BY, text)));
        metadata
    }
}

/// Files that become one.
#[derive(Debug)]
pub struct Merge<'a> {
    /// Their table.
    pub table: Table,
    /// Where they lie, in the order of their offsets.
    pub inputs: Vec<PathBuf>,
    /// What the file will be.
    pub file: ArchiveFile,
    /// All its ranges, also those that have no file in this table.
    pub ranges: &'a [RangeFacts],
}

/// Writes the merged file into a folder, under a name that begins with an attempt, reads it back and
/// compares it with its inputs row by row.
///
/// # Errors
/// A file that cannot be read or written; rows that are not the same. Nothing is left behind then.
pub fn merge(folder: &Path, attempt: &str, merge: &Merge) -> Result<StagedFile, ArchiveError> {
    let stage = Stage { folder: folder.to_owned(), attempt: attempt.to_owned() };
    let layout = layout(merge.table);
    let temporary = Temporary::staged(&stage, merge.table, &merge.file)?;
    let mut table = TableFile::new(temporary, &layout)?;
    for input in &merge.inputs {
        for rows in reader(input, Some(&layout.schema))? {
            let rows = rows.and_then(|rows| rows.with_schema(layout.schema.clone()));
            table.write(&rows.map_err(cannot_read(input))?)?;
        }
    }
    let whole = table.complete(&RangeFacts::metadata(merge.ranges))?;
    compare(&merge.inputs, whole.temporary.path())?;
    Ok(StagedFile {
        table: merge.table,
        file: merge.file.clone(),
        path: whole.temporary.leave()?,
        rows: whole.rows,
        size_bytes: whole.size_bytes,
        sha256: whole.sha256,
    })
}

fn layout(table: Table) -> TableLayout {
    let (events, rejected) = layouts(ArchiveOptions::default().rows_per_row_group);
    match table {
        Table::Events => events,
        Table::Rejected => rejected,
        Table::Alerts => alerts::layout(),
    }
}

/// Reads a file; without a schema as any reader sees it.
fn reader(
    path: &Path,
    schema: Option<&SchemaRef>,
) -> Result<ParquetRecordBatchReader, ArchiveError> {
    let file = File::open(path).map_err(cannot_read(path))?;
    let options = match schema {
        Some(schema) => ArrowReaderOptions::new().with_schema(schema.clone()),
        None => ArrowReaderOptions::new(),
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options);
    let builder = builder.map_err(cannot_read(path))?.with_batch_size(ROWS_PER_PAGE);
    builder.build().map_err(cannot_read(path))
}

/// Compares the rows of files with those of the file they were merged into.
fn compare(inputs: &[PathBuf], merged: &Path) -> Result<(), ArchiveError> {
    let differs = |reason: String| ArchiveError::Merge { path: merged.to_owned(), reason };
    let mut found = Rows { reader: reader(merged, None)?, rows: None };
    let mut row = 0;
    for input in inputs {
        for expected in reader(input, None)? {
            let mut expected = expected.map_err(cannot_read(input))?;
            while expected.num_rows() > 0 {
                let Some(rows) = found.next(expected.num_rows()).map_err(cannot_read(merged))?
                else {
                    return Err(differs(format!("it ends after {row} rows")));
                };
                let count = rows.num_rows();
                if rows.columns() != expected.slice(0, count).columns() {
                    let what = format!(
                        "rows {row}..{} differ from those of {}",
                        row + count,
                        input.display()
                    );
                    return Err(differs(what));
                }
                expected = expected.slice(count, expected.num_rows() - count);
                row += count;
            }
        }
    }
    match found.next(1).map_err(cannot_read(merged))? {
        None => Ok(()),
        Some(_) => Err(differs(format!("it has more than the {row} rows of its inputs"))),
    }
}

/// The rows of a file, in any cutting.
struct Rows {
    reader: ParquetRecordBatchReader,
    rows: Option<RecordBatch>,
}

impl Rows {
    /// The next rows, at least one and at most so many; `None` at the end.
    fn next(&mut self, most: usize) -> Result<Option<RecordBatch>, arrow_schema::ArrowError> {
        let rows = match self.rows.take() {
            Some(rows) => rows,
            None => match self.reader.next().transpose()? {
                Some(rows) => rows,
                None => return Ok(None),
            },
        };
        let count = rows.num_rows().min(most);
        if count < rows.num_rows() {
            self.rows = Some(rows.slice(count, rows.num_rows() - count));
        }
        Ok(Some(rows.slice(0, count)))
    }
}

/// The rows of a Parquet file, from its last bytes: the metadata, its length and the magic word.
///
/// # Errors
/// Bytes that are not that.
pub fn footer_rows(end: &[u8]) -> Result<u64, String> {
    let wrong = |error: &dyn ToString| error.to_string();
    let (rest, tail) = end.split_last_chunk::<FOOTER_TAIL>().ok_or("it is too short")?;
    let tail = FooterTail::try_new(tail).map_err(|error| wrong(&error))?;
    let start = rest.len().checked_sub(tail.metadata_length()).ok_or("it is too short")?;
    let metadata = ParquetMetaDataReader::decode_metadata(&rest[start..]);
    let rows = metadata.map_err(|error| wrong(&error))?.file_metadata().num_rows();
    u64::try_from(rows).map_err(|error| wrong(&error))
}

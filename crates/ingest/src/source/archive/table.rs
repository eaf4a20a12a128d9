//! Reads the Parquet files of an archive: events as batches of the event schema, rejected records
//! as rows.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use lapwing_event::archive::{
    ARCHIVE_VERSION, META_LOG_TIME, META_PARTITIONED_BY, META_RECORDS, META_VERSION,
};
use lapwing_event::{LogTimeOrigin, RejectReason, RejectedAt, RejectedRecord, Split, event_schema};
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::ParquetMetaData;

use super::super::SourceError;

/// What the metadata of a file says.
#[derive(Debug, Clone)]
pub(super) struct About {
    /// Rows of the file.
    pub(super) rows: u64,
    /// Records of its range, events and rejected ones.
    pub(super) records: u64,
    /// Where its log time comes from.
    pub(super) origin: LogTimeOrigin,
    /// How the records of its source are spread over partitions.
    pub(super) split: Split,
}

/// A file of events.
pub(super) struct EventTable {
    pub(super) about: About,
    path: PathBuf,
    reader: ParquetRecordBatchReader,
}

/// A file of rejected records.
pub(super) struct RejectedTable {
    pub(super) about: About,
    path: PathBuf,
    reader: ParquetRecordBatchReader,
}

impl EventTable {
    pub(super) fn open(path: &Path, batch_rows: usize) -> Result<Self, SourceError> {
        let plain = builder(path, ArrowReaderOptions::new())?;
        let about = about(path, plain.metadata())?;
        check_columns(path, &plain)?;
        let options = ArrowReaderOptions::new().with_schema(event_schema());
        let builder = builder(path, options)?.with_batch_size(batch_rows);
        let reader = builder.build().map_err(|error| unreadable(path, error))?;
        Ok(Self { about, path: path.into(), reader })
    }

    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let rows = self.reader.next().transpose().map_err(|e| unreadable(&self.path, e))?;
        rows.map(|rows| rows.with_schema(event_schema()))
            .transpose()
            .map_err(|error| unreadable(&self.path, error))
    }
}

impl RejectedTable {
    pub(super) fn open(path: &Path, batch_rows: usize) -> Result<Self, SourceError> {
        let builder = builder(path, ArrowReaderOptions::new())?;
        let about = about(path, builder.metadata())?;
        let reader = builder.with_batch_size(batch_rows).build();
        let reader = reader.map_err(|error| unreadable(path, error))?;
        Ok(Self { about, path: path.into(), reader })
    }

    pub(super) fn next(&mut self) -> Result<Option<Vec<RejectedAt>>, SourceError> {
        match self.reader.next().transpose().map_err(|e| unreadable(&self.path, e))? {
            Some(rows) => rejected_rows(&rows, &self.path).map(Some),
            None => Ok(None),
        }
    }
}

fn builder(
    path: &Path,
    options: ArrowReaderOptions,
) -> Result<ParquetRecordBatchReaderBuilder<File>, SourceError> {
    let file = File::open(path).map_err(|error| SourceError::open(path, error))?;
    ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> SourceError {
    SourceError::archive(path, format!("cannot be read as a file of an archive: {error}"))
}

fn about(path: &Path, metadata: &Arc<ParquetMetaData>) -> Result<About, SourceError> {
    let file = metadata.file_metadata();
    let value = |key: &str| -> Option<&str> {
        let pairs = file.key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    };
    match value(META_VERSION) {
        Some(ARCHIVE_VERSION) => {}
        Some(version) => {
            let what = format!(
                "written in version {version} of the layout, this program reads version \
                 {ARCHIVE_VERSION}; use the program that wrote it"
            );
            return Err(SourceError::archive(path, what));
        }
        None => {
            let what = format!("not written by lapwing: {META_VERSION} is missing");
            return Err(SourceError::archive(path, what));
        }
    }
    let bad = |key: &str| SourceError::archive(path, format!("{key} is missing or not valid"));
    let origins = [LogTimeOrigin::Observed, LogTimeOrigin::Replayed];
    let origin = origins.into_iter().find(|o| value(META_LOG_TIME) == Some(o.word()));
    let records = value(META_RECORDS).and_then(|text| text.parse().ok());
    Ok(About {
        rows: u64::try_from(file.num_rows()).unwrap_or_default(),
        records: records.ok_or_else(|| bad(META_RECORDS))?,
        origin: origin.ok_or_else(|| bad(META_LOG_TIME))?,
        split: Split::from_text(value(META_PARTITIONED_BY))
            .ok_or_else(|| bad(META_PARTITIONED_BY))?,
    })
}

fn check_columns(
    path: &Path,
    builder: &ParquetRecordBatchReaderBuilder<File>,
) -> Result<(), SourceError> {
    let (found, wanted) = (builder.schema(), event_schema());
    let names = |schema: &arrow_schema::Schema| -> Vec<String> {
        schema.fields().iter().map(|field| field.name().clone()).collect()
    };
    let (found, wanted) = (names(found), names(&wanted));
    let missing = wanted.iter().find(|name| !found.contains(name));
    let unknown = found.iter().find(|name| !wanted.contains(name));
    let what = match (missing, unknown) {
        _ if found == wanted => return Ok(()),
        (Some(name), _) => format!("the column {name} is missing"),
        (None, Some(name)) => format!("the column {name} is not known"),
        (None, None) => "its columns are in another order".into(),
    };
    Err(SourceError::archive(path, format!("{what}; use the program that wrote it")))
}

fn rejected_rows(rows: &RecordBatch, path: &Path) -> Result<Vec<RejectedAt>, SourceError> {
    let column = |name: &str| -> Result<&ArrayRef, SourceError> {
        rows.column_by_name(name)
            .ok_or_else(|| SourceError::archive(path, format!("the column {name} is missing")))
    };
    let wrong =
        |name: &str| SourceError::archive(path, format!("{name} has a value it cannot have"));
    let (offsets, lines) = (column("log_offset")?, column("log_line")?);
    let (log_times, sizes) = (column("log_time")?, column("size_bytes")?);
    let (files, reasons) = (column("log_file")?, column("reason")?);
    let (details, digests, prefixes) = (column("detail")?, column("sha256")?, column("prefix")?);
    let mut out = Vec::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        let reason = text(reasons, row).and_then(RejectReason::by_name);
        out.push(RejectedAt {
            offset: number(offsets, row).ok_or_else(|| wrong("log_offset"))?,
            log_time: number(log_times, row).ok_or_else(|| wrong("log_time"))?,
            file: text(files, row).map(Arc::from),
            line: number(lines, row),
            record: RejectedRecord {
                reason: reason.ok_or_else(|| wrong("reason"))?,
                detail: text(details, row).unwrap_or_default().to_owned(),
                size_bytes: number(sizes, row).unwrap_or_default() as u64,
                sha256: text(digests, row).and_then(unhex).ok_or_else(|| wrong("sha256"))?,
                prefix: text(prefixes, row).unwrap_or_default().to_owned(),
            },
        });
    }
    Ok(out)
}

/// Text, coded as a dictionary or not.
fn text(column: &ArrayRef, row: usize) -> Option<&str> {
    match column.data_type() {
        _ if column.is_null(row) => None,
        DataType::Utf8 => Some(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Some(column.as_string::<i64>().value(row)),
        DataType::Dictionary(key, _) if **key == DataType::Int32 => {
            let dictionary = column.as_dictionary::<Int32Type>();
            text(dictionary.values(), dictionary.key(row)?)
        }
        _ => None,
    }
}

fn number(column: &ArrayRef, row: usize) -> Option<i64> {
    match column.data_type() {
        _ if column.is_null(row) => None,
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Some(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        _ => None,
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

//! The table of rejected records: its columns and its rows.

use arrow_array::RecordBatch;
use lapwing_event::{RejectedAt, hex};

use super::layout::{ArchiveColumn, schema};
use super::rows::{Rows, columns};

static COLUMNS: &[ArchiveColumn] = columns! {
    "log_partition" Term Dictionary set "the partition the record came from";
    "log_offset" Count Delta set "its offset there, from 0";
    "log_time" Time Delta set "log time: never goes back within a partition";
    "log_file" Term Dictionary null "the file it came from";
    "log_line" Count Delta null "its line there, from 1";
    "reason" Term Dictionary set "why it is not an event";
    "detail" Text DeltaLength set "what exactly was wrong";
    "size_bytes" Count Delta set "its length, bytes, without the line end";
    "sha256" Text DeltaLength set "SHA-256 of its bytes, 64 hexadecimal digits; of the part that was read, if it was too long";
    "prefix" Text DeltaLength set "its first 256 bytes; what is not printable as \\xNN; untrusted text";
};

/// The columns of the table of rejected records.
pub fn rejected_columns() -> &'static [ArchiveColumn] {
    COLUMNS
}

/// Rejected records as rows.
pub(super) fn rejected_rows(partition: &str, records: &[RejectedAt]) -> RecordBatch {
    let rows = Rows(records);
    let columns = vec![
        rows.text(|_| Some(partition)),
        rows.number(|r| Some(r.offset)),
        rows.time(|r| Some(r.log_time)),
        rows.text(|r| r.file.as_deref()),
        rows.number(|r| r.line),
        rows.text(|r| Some(r.record.reason.name())),
        rows.text(|r| Some(r.record.detail.as_str())),
        rows.number(|r| Some(r.record.size_bytes as i64)),
        rows.text(|r| Some(hex(&r.record.sha256))),
        rows.text(|r| Some(r.record.prefix.as_str())),
    ];
    RecordBatch::try_new(schema(COLUMNS), columns).expect("the rows are made for the columns")
}

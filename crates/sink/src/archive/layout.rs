//! How the tables are encoded: from a table of columns to the properties of a Parquet writer.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use lapwing_event::{Encoding, FIELDS, FieldType, event_schema};
use parquet::basic::{Compression, Encoding as ParquetEncoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

/// A column of an archive's table, for the writer and for the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveColumn {
    /// Its name.
    pub name: &'static str,
    /// The type of its values.
    pub field_type: FieldType,
    /// Its encoding before zstd.
    pub encoding: Encoding,
    /// Whether it may hold nulls.
    pub nullable: bool,
    /// What it means, with its unit.
    pub meaning: &'static str,
}

impl ArchiveColumn {
    /// The Arrow type that a reader sees.
    pub fn arrow(&self) -> DataType {
        match self.field_type {
            FieldType::Term => DataType::Utf8,
            other => other.arrow(),
        }
    }
}

/// The columns of the table of events.
pub fn event_columns() -> Vec<ArchiveColumn> {
    let schema = event_schema();
    let nullable = schema.fields().iter().map(|f| f.is_nullable());
    FIELDS
        .iter()
        .zip(nullable)
        .map(|(f, nullable)| ArchiveColumn {
            name: f.column,
            field_type: f.field_type,
            encoding: f.encoding,
            nullable,
            meaning: f.meaning,
        })
        .collect()
}

/// The schema of a table whose arrays are what a reader sees.
pub(super) fn schema(columns: &[ArchiveColumn]) -> SchemaRef {
    let field = |c: &ArchiveColumn| Field::new(c.name, c.arrow(), c.nullable);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// Rows per page. A page is what a reader can skip: 16 pages in a row group of 131,072 rows.
pub(super) const ROWS_PER_PAGE: usize = 8192;

/// Bytes of text per row group, so that a page and a dictionary of long texts stay within memory;
/// see [`row_bytes`](super::table::row_bytes).
pub(super) const TEXT_BYTES_PER_ROW_GROUP: u64 = 32 << 20;

/// Pages and dictionaries end where [`ROWS_PER_PAGE`] and the row group say and never where their
/// size says, since Parquet's writer looks at sizes only between calls, so that the bytes of a
/// file would depend on how batches were cut. 1 GiB is out of reach of both.
const NO_SIZE_LIMIT: usize = 1 << 30;

/// Columns by which queries select: their pages carry a smallest and a largest value.
const SELECTED_BY: [&str; 6] =
    ["time", "log_time", "log_offset", "agent_id", "session_id", "source_ip"];

/// The properties of the writer of a table.
pub(super) fn properties(columns: &[ArchiveColumn]) -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("1 is a level of zstd");
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(None)
        .set_write_batch_size(ROWS_PER_PAGE)
        .set_data_page_row_count_limit(ROWS_PER_PAGE)
        .set_data_page_size_limit(NO_SIZE_LIMIT)
        .set_dictionary_page_size_limit(NO_SIZE_LIMIT);
    for column in columns {
        let path = ColumnPath::from(column.name);
        builder = match column.encoding {
            Encoding::Dictionary => builder.set_column_dictionary_enabled(path.clone(), true),
            Encoding::Delta => {
                builder.set_column_encoding(path.clone(), ParquetEncoding::DELTA_BINARY_PACKED)
            }
            Encoding::DeltaLength => {
                builder.set_column_encoding(path.clone(), ParquetEncoding::DELTA_LENGTH_BYTE_ARRAY)
            }
            Encoding::Plain => builder.set_column_encoding(path.clone(), ParquetEncoding::PLAIN),
        };
        builder = builder.set_column_statistics_enabled(path, statistics(column));
    }
    builder.build()
}

/// The smallest and largest of arbitrary texts tell a reader nothing.
fn statistics(column: &ArchiveColumn) -> EnabledStatistics {
    match column.field_type {
        _ if SELECTED_BY.contains(&column.name) => EnabledStatistics::Page,
        FieldType::Text => EnabledStatistics::None,
        _ => EnabledStatistics::Chunk,
    }
}

//! One Parquet file while it is written: rows come in any cutting, and pages and row groups end
//! at places that depend on the rows alone, so that the same rows make the same bytes.

use std::fs::File;
use std::io::{self, Write};

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use sha2::{Digest, Sha256};

use super::error::{ArchiveError, cannot_encode, cannot_write};
use super::folder::Temporary;
use super::layout::{ROWS_PER_PAGE, TEXT_BYTES_PER_ROW_GROUP};

/// What the rows of a file look like and where its row groups end.
#[derive(Debug, Clone)]
pub(super) struct TableLayout {
    pub(super) schema: SchemaRef,
    pub(super) properties: WriterProperties,
    pub(super) rows_per_row_group: usize,
}

/// A file under its temporary name.
#[derive(Debug)]
pub(super) struct TableFile {
    temporary: Temporary,
    writer: ArrowWriter<HashedFile>,
    rows_per_row_group: usize,
    rows: u64,
    group_rows: usize,
    group_bytes: u64,
    row_bytes: Vec<u32>,
}

/// A file that is complete and synced, still under its temporary name.
#[derive(Debug)]
pub(super) struct WholeFile {
    pub(super) temporary: Temporary,
    pub(super) rows: u64,
    pub(super) size_bytes: u64,
    /// SHA-256 of its bytes.
    pub(super) sha256: [u8; 32],
}

/// A file whose bytes are hashed as they are written.
#[derive(Debug)]
struct HashedFile {
    file: File,
    hash: Sha256,
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl TableFile {
    /// Begins to write a file that was created.
    pub(super) fn new(
        (temporary, file): (Temporary, File),
        layout: &TableLayout,
    ) -> Result<Self, ArchiveError> {
        let file = HashedFile { file, hash: Sha256::new() };
        let options = ArrowWriterOptions::new()
            .with_properties(layout.properties.clone())
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, layout.schema.clone(), options)
            .map_err(cannot_encode(temporary.path()))?;
        Ok(Self {
            temporary,
            writer,
            rows_per_row_group: layout.rows_per_row_group,
            rows: 0,
            group_rows: 0,
            group_bytes: 0,
            row_bytes: Vec::new(),
        })
    }

    /// Appends rows.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<(), ArchiveError> {
        let mut row_bytes = std::mem::take(&mut self.row_bytes);
        fill_row_bytes(rows, &mut row_bytes);
        let mut start = 0;
        while start < rows.num_rows() {
            let len = self.rows_until_cut(&row_bytes[start..]);
            self.writer
                .write(&rows.slice(start, len))
                .map_err(cannot_encode(self.temporary.path()))?;
            start += len;
            if self.group_rows == self.rows_per_row_group
                || self.group_bytes >= TEXT_BYTES_PER_ROW_GROUP
            {
                self.end_row_group()?;
            }
        }
        self.row_bytes = row_bytes;
        Ok(())
    }

    /// Counts the leading rows that belong to the page and the row group at hand.
    fn rows_until_cut(&mut self, row_bytes: &[u32]) -> usize {
        let to_page_end = ROWS_PER_PAGE - self.group_rows % ROWS_PER_PAGE;
        let to_group_end = self.rows_per_row_group - self.group_rows;
        let limit = to_page_end.min(to_group_end).min(row_bytes.len());
        let mut len = 0;
        while len < limit && self.group_bytes < TEXT_BYTES_PER_ROW_GROUP {
            self.group_bytes += u64::from(row_bytes[len]);
            len += 1;
        }
        self.group_rows += len;
        self.rows += len as u64;
        len
    }

    /// What the encoder holds of the row group at hand, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.writer.memory_size()
    }

    /// The bytes written and those at hand, about.
    pub(super) fn size_bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Ends the row group at hand, which gives its memory back.
    pub(super) fn end_row_group(&mut self) -> Result<(), ArchiveError> {
        self.group_rows = 0;
        self.group_bytes = 0;
        self.writer.flush().map_err(cannot_encode(self.temporary.path()))
    }

    /// Completes the file with its metadata and syncs it.
    pub(super) fn complete(self, metadata: &[(&str, String)]) -> Result<WholeFile, ArchiveError> {
        let Self { temporary, mut writer, rows, .. } = self;
        for (key, value) in metadata {
            writer.append_key_value_metadata(KeyValue::new((*key).to_owned(), value.clone()));
        }
        let HashedFile { file, hash } =
            writer.into_inner().map_err(cannot_encode(temporary.path()))?;
        file.sync_all().map_err(cannot_write(temporary.path()))?;
        let size_bytes = file.metadata().map_err(cannot_write(temporary.path()))?.len();
        Ok(WholeFile { temporary, rows, size_bytes, sha256: hash.finalize().into() })
    }
}

/// Longer values of dictionary columns count towards the text of a row group, by what they exceed
/// this; up to here a dictionary of a whole row group is small.
const FREE_TERM_BYTES: usize = 64;

/// The bytes of text of each row: all of plain text, and what is long of dictionary text. It is a
/// property of the row alone, whatever batch the row came in.
fn fill_row_bytes(rows: &RecordBatch, row_bytes: &mut Vec<u32>) {
    row_bytes.clear();
    row_bytes.resize(rows.num_rows(), 0);
    for column in rows.columns().iter().filter(|c| c.null_count() < c.len()) {
        match column.data_type() {
            DataType::Utf8 => add_text_bytes(column.as_string(), row_bytes),
            DataType::Dictionary(..) => add_long_term_bytes(column, row_bytes),
            _ => {}
        }
    }
}

fn add_text_bytes(column: &StringArray, row_bytes: &mut [u32]) {
    for (bytes, ends) in row_bytes.iter_mut().zip(column.value_offsets().windows(2)) {
        *bytes = bytes.saturating_add((ends[1] - ends[0]) as u32);
    }
}

fn add_long_term_bytes(column: &ArrayRef, row_bytes: &mut [u32]) {
    let column = column.as_dictionary::<Int32Type>();
    let values = column.values().as_string::<i32>();
    let is_long = |ends: &[i32]| (ends[1] - ends[0]) as usize > FREE_TERM_BYTES;
    if !values.value_offsets().windows(2).any(is_long) {
        return;
    }
    for (bytes, key) in row_bytes.iter_mut().zip(column.keys()) {
        let len = key.map_or(0, |k| values.value_length(k as usize) as usize);
        *bytes = bytes.saturating_add(len.saturating_sub(FREE_TERM_BYTES) as u32);
    }
}

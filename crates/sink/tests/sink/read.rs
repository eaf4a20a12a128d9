//! Reading back what was written: the files below a folder, and rows as readers see them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use arrow_array::RecordBatch;
use lapwing_event::Batch;
use lapwing_sink::{Archive, ArchiveOptions, ArchiveReport, Sink, SinkError};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

/// Small files, so that few records make several.
pub(crate) const SMALL: ArchiveOptions =
    ArchiveOptions { records_per_file: 100, rows_per_row_group: 30 };

pub(crate) fn write(
    root: &Path,
    options: ArchiveOptions,
    batches: &[Batch],
) -> Result<ArchiveReport, SinkError> {
    let mut archive = Archive::open(root, options)?;
    for batch in batches {
        archive.write_batch(batch)?;
    }
    archive.finish()?;
    Ok(*archive.report())
}

/// The bytes of each file below a folder but the archive's lock, by its path there.
pub(crate) fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root).expect("below").display().to_string();
            if name != ".lock" {
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

pub(crate) fn names(root: &Path) -> Vec<String> {
    files(root).into_keys().collect()
}

/// The permissions of a path, without the type of file.
pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

/// All rows of a file.
pub(crate) fn rows(path: &Path) -> RecordBatch {
    let file = fs::File::open(path).expect("a file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let schema = reader.schema().clone();
    let batches: Result<Vec<_>, _> = reader.build().expect("a reader").collect();
    arrow_select::concat::concat_batches(&schema, &batches.expect("rows")).expect("one schema")
}

/// The footer of a file, with its page index.
pub(crate) fn metadata(path: &Path) -> ParquetMetaData {
    let file = fs::File::open(path).expect("a file");
    ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .parse_and_finish(&file)
        .expect("Parquet")
}

//! An archive is read back as what was written into it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use lapwing_event::archive::{ArchiveFile, META_LOG_TIME, META_RECORDS, META_VERSION, Table};
use lapwing_event::time::{HOUR, MINUTE, format_time};
use lapwing_event::{Batch, FieldId, LogTimeOrigin, RejectedAt, event_schema, hex};
use lapwing_ingest::{
    ArchiveOptions, ArchiveSource, Next, ReplayOptions, ReplaySource, Source, is_archive,
};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use tempfile::TempDir;

/// Offset, log time, and what it is.
type Seen = (i64, i64, String);

fn seen(batch: &Batch) -> Vec<Seen> {
    let ids = batch.events.column(FieldId::Id.index()).as_string::<i32>();
    let (offsets, times) = (batch.event_offsets(), batch.event_log_times());
    let mut seen: Vec<Seen> = (0..batch.events.num_rows())
        .map(|i| (offsets[i], times[i], ids.value(i).to_owned()))
        .collect();
    seen.extend(batch.rejected.iter().map(|r| (r.offset, r.log_time, format!("{r:?}"))));
    seen.sort();
    seen
}

fn all(source: &mut dyn Source) -> Vec<Batch> {
    let mut batches = Vec::new();
    while let Next::Batch(batch) = source.next_batch().unwrap() {
        batches.push(batch);
    }
    batches
}

/// 500 records a minute apart, of which some are broken, mostly in a row.
fn replayed(batch_rows: usize) -> Vec<Batch> {
    let folder = TempDir::new().unwrap();
    let line = |i: i64| match i {
        _ if i % 5 == 0 || (100..200).contains(&i) => format!("broken {i}\n"),
        _ => format!(
            "{{\"time\":\"{}\",\"kind\":\"tool\",\"id\":\"{i}\"}}\n",
            format_time(i * MINUTE)
        ),
    };
    fs::write(folder.path().join("x.log"), (1..=500).map(line).collect::<String>()).unwrap();
    let options = ReplayOptions { batch_rows, chunk_bytes: 100, ..ReplayOptions::new("x") };
    let inputs = [folder.path().to_str().unwrap().to_owned()];
    all(&mut ReplaySource::open(&inputs, options).unwrap())
}

fn rejected_rows(records: &[RejectedAt]) -> RecordBatch {
    let texts = |of: fn(&RejectedAt) -> String| -> ArrayRef {
        Arc::new(records.iter().map(|r| Some(of(r))).collect::<StringArray>())
    };
    let mut files = StringDictionaryBuilder::<Int32Type>::new();
    records.iter().for_each(|r| drop(files.append(r.file.as_deref().unwrap())));
    let numbers = |of: fn(&RejectedAt) -> i64| -> ArrayRef {
        Arc::new(records.iter().map(of).collect::<Int64Array>())
    };
    let times = records.iter().map(|r| Some(r.log_time)).collect::<TimestampMicrosecondArray>();
    RecordBatch::try_from_iter([
        ("log_partition", texts(|_| "0".into())),
        ("log_offset", numbers(|r| r.offset)),
        ("log_time", Arc::new(times.with_timezone("UTC")) as ArrayRef),
        ("log_file", Arc::new(files.finish()) as ArrayRef),
        ("log_line", numbers(|r| r.line.unwrap())),
        ("reason", texts(|r| r.record.reason.name().into())),
        ("detail", texts(|r| r.record.detail.clone())),
        ("size_bytes", numbers(|r| r.record.size_bytes as i64)),
        ("sha256", texts(|r| hex(&r.record.sha256))),
        ("prefix", texts(|r| r.record.prefix.clone())),
    ])
    .unwrap()
}

fn write_table(
    root: &Path,
    table: Table,
    file: &ArchiveFile,
    rows: &RecordBatch,
    meta: &[(&str, String)],
) {
    let path = root.join(file.path(table));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    for (key, value) in meta {
        writer.append_key_value_metadata(KeyValue::new((*key).to_owned(), value.clone()));
    }
    writer.close().unwrap();
}

/// Writes each batch as a range of its own.
fn write(root: &Path, batches: &[Batch], version: &str) {
    for batch in batches {
        let (first, last) = batch.offsets().unwrap();
        let file = ArchiveFile {
            date: "1970-01-01".into(),
            source_id: "gw1".into(),
            partition: "topic-7".into(),
            first,
            last,
        };
        let meta = [
            (META_VERSION, version.to_owned()),
            (META_LOG_TIME, "replayed".to_owned()),
            (META_RECORDS, batch.records().to_string()),
        ];
        if batch.events.num_rows() > 0 {
            write_table(root, Table::Events, &file, &batch.events, &meta);
        }
        if !batch.rejected.is_empty() {
            write_table(root, Table::Rejected, &file, &rejected_rows(&batch.rejected), &meta);
        }
    }
}

fn open(root: &Path, options: ArchiveOptions) -> ArchiveSource {
    ArchiveSource::open(root, options).unwrap()
}

#[test]
fn an_archive_reads_back_equal_however_it_is_cut() {
    for range_rows in [64, 150, 1000] {
        let batches = replayed(range_rows);
        let expected: Vec<Seen> = batches.iter().flat_map(seen).collect();
        assert_eq!(expected.len(), 500);
        let folder = TempDir::new().unwrap();
        assert!(!is_archive(folder.path()));
        write(folder.path(), &batches, "1");
        assert!(is_archive(folder.path()));
        for batch_rows in [1, 7, 8192] {
            let options = ArchiveOptions { batch_rows, ..ArchiveOptions::default() };
            let mut source = open(folder.path(), options);
            let read = all(&mut source);
            assert_eq!(read.iter().flat_map(seen).collect::<Vec<_>>(), expected);
            for batch in &read {
                assert_eq!(batch.events.schema(), event_schema());
                assert_eq!(batch.partition.log_time_origin, LogTimeOrigin::Replayed);
                assert_eq!(
                    (&*batch.partition.source_id, &*batch.partition.name),
                    ("gw1", "topic-7")
                );
                assert!(
                    batch.events.num_rows() <= batch_rows && batch.rejected.len() <= batch_rows
                );
            }
            let stats = source.stats();
            assert_eq!((stats.records, Some(stats.bytes_read)), (500, source.total_bytes()));
        }
    }
}

#[test]
fn since_and_until_cut_by_log_time() {
    let batches = replayed(150);
    let folder = TempDir::new().unwrap();
    write(folder.path(), &batches, "1");
    let (since, until) = (HOUR, 5 * HOUR + 17 * MINUTE);
    let mut expected: Vec<Seen> = batches.iter().flat_map(seen).collect();
    expected.retain(|(_, time, _)| *time >= since && *time < until);
    let options = ArchiveOptions { batch_rows: 40, since: Some(since), until: Some(until) };
    let read = all(&mut open(folder.path(), options));
    assert_eq!(read.iter().flat_map(seen).collect::<Vec<_>>(), expected);
}

fn error(root: &Path) -> String {
    match ArchiveSource::open(root, ArchiveOptions::default()) {
        Err(error) => error.to_string(),
        Ok(mut source) => source.next_batch().unwrap_err().to_string(),
    }
}

#[test]
fn what_is_wrong_with_an_archive_is_said() {
    let batches = replayed(1000);
    let folder = TempDir::new().unwrap();
    assert!(error(folder.path()).contains("not an archive"));
    write(folder.path(), &batches, "2");
    assert!(error(folder.path()).contains("version 2"));

    let folder = TempDir::new().unwrap();
    write(folder.path(), &batches, "1");
    fs::remove_dir_all(folder.path().join("rejected")).unwrap();
    assert!(error(folder.path()).contains("of 500 records"));

    let folder = TempDir::new().unwrap();
    write(folder.path(), &batches, "1");
    write(folder.path(), &replayed(64)[..1], "1");
    assert!(error(folder.path()).contains("overlap"));

    let folder = TempDir::new().unwrap();
    let columns: Vec<usize> = (0..event_schema().fields().len() - 1).collect();
    let mut batch = replayed(1000).remove(0);
    batch.rejected.clear();
    let file = ArchiveFile {
        date: "1970-01-01".into(),
        source_id: "gw1".into(),
        partition: "0".into(),
        first: 0,
        last: 499,
    };
    let meta = [
        (META_VERSION, "1".to_owned()),
        (META_LOG_TIME, "replayed".to_owned()),
        (META_RECORDS, batch.records().to_string()),
    ];
    let part = batch.events.project(&columns).unwrap();
    write_table(folder.path(), Table::Events, &file, &part, &meta);
    assert!(error(folder.path()).contains("the column late is missing"));
}

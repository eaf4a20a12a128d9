//! What the archive writes: places, permissions, types, values, and the same bytes whatever the
//! batches.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use arrow_select::take::take;
use lapwing_event::{FieldId, RejectReason};
use lapwing_sink::{ArchiveOptions, event_columns, rejected_columns};

use crate::read::{SMALL, files, metadata, mode, names, rows, write};
use crate::records::{MIDNIGHT, SECOND, batch, batches, records};

const EVENTS: &str = "events/date=2026-11-22/source_id=gw1";
const REJECTED: &str = "rejected/date=2026-11-22/source_id=gw1";

fn range(folder: &str, first: i64, last: i64) -> String {
    format!("{folder}/0-{first:020}-{last:020}.parquet")
}

#[test]
fn files_do_not_depend_on_how_batches_were_cut() {
    let options = ArchiveOptions { records_per_file: 12_000, rows_per_row_group: 9_000 };
    let records = records(20_000, MIDNIGHT + 70_000 * SECOND);
    let written = |size| {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), options, &batches(&records, size)).expect("written");
        files(folder.path())
    };
    let expected = written(8192);
    assert_eq!(expected.len(), 6, "two days and a limit on records make three ranges");
    for size in [1, 7, 1000, 20_000] {
        let other = written(size);
        assert_eq!(other.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(other == expected, "batches of {size} make other bytes");
    }
}

#[test]
fn long_texts_end_row_groups_at_the_same_rows_whatever_the_batches() {
    let options = ArchiveOptions::default();
    let mut records = records(120, MIDNIGHT);
    records.iter_mut().for_each(|r| r.rejected = false);
    let written = |size: usize| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut batches = batches(&records, size);
        for batch in &mut batches {
            let mut columns = batch.events.columns().to_vec();
            let texts = batch.event_offsets().iter().map(|o| o.to_string().repeat(300_000));
            let texts: arrow_array::StringArray = texts.map(Some).collect();
            columns[FieldId::Raw.index()] = std::sync::Arc::new(texts);
            batch.events = arrow_array::RecordBatch::try_new(batch.events.schema(), columns)
                .expect("the same columns");
        }
        write(folder.path(), options, &batches).expect("written");
        files(folder.path())
    };
    let expected = written(50);
    assert!(written(1) == expected);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("copy");
    std::fs::write(&path, expected.values().next().expect("one file")).expect("written");
    assert!(metadata(&path).num_row_groups() > 1);
}

#[test]
fn a_file_ends_with_the_day_of_log_time_and_after_a_number_of_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(250, MIDNIGHT - 120 * SECOND);
    let report = write(folder.path(), SMALL, &batches(&records, 64)).expect("written");
    let before = "events/date=2026-11-21/source_id=gw1";
    let expected = [
        range(before, 0, 99),
        range(before, 100, 119),
        range(EVENTS, 120, 219),
        range(EVENTS, 220, 249),
    ];
    let names = names(folder.path());
    assert_eq!(names[..4], expected);
    assert_eq!(names.len(), 8, "and as many of rejected records");
    assert_eq!(
        (report.files_written, report.events_written, report.rejected_written),
        (8, 225, 25)
    );
    let size: usize = files(folder.path()).values().map(Vec::len).sum();
    assert_eq!(report.bytes_written, size as u64);
}

#[test]
fn a_range_of_events_only_or_of_rejected_records_only_has_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut records = records(200, MIDNIGHT);
    records.iter_mut().for_each(|r| r.rejected = r.offset >= 100);
    write(folder.path(), SMALL, &batches(&records, 64)).expect("written");
    assert_eq!(names(folder.path()), [range(EVENTS, 0, 99), range(REJECTED, 100, 199)]);
    let again = write(folder.path(), SMALL, &batches(&records, 9)).expect("unchanged");
    assert_eq!((again.files_written, again.ranges_unchanged), (0, 2));
}

#[test]
fn files_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("new/archive");
    write(&root, SMALL, &batches(&records(20, MIDNIGHT), 5)).expect("written");
    for name in names(&root) {
        let mut path = root.join(name);
        assert_eq!(mode(&path), 0o600);
        while path != root {
            path.pop();
            assert_eq!(mode(&path), 0o700, "{}", path.display());
        }
    }
}

/// A column as readers of Parquet see it: dictionaries as plain text.
fn plain(column: &ArrayRef) -> ArrayRef {
    match column.as_dictionary_opt::<Int32Type>() {
        Some(terms) => take(terms.values(), terms.keys(), None).expect("keys of its values"),
        None => column.clone(),
    }
}

#[test]
fn every_value_reads_back_equal_with_plain_types() {
    let folder = tempfile::tempdir().expect("a folder");
    let batch = batch(&records(95, MIDNIGHT));
    write(folder.path(), SMALL, std::slice::from_ref(&batch)).expect("written");
    let read = rows(&folder.path().join(range(EVENTS, 0, 94)));
    let columns = event_columns();
    assert_eq!(read.num_columns(), columns.len());
    for (i, column) in columns.iter().enumerate() {
        let schema = read.schema();
        let field = schema.field(i);
        assert_eq!((field.name().as_str(), field.data_type()), (column.name, &column.arrow()));
        assert_eq!(field.is_nullable(), column.nullable, "{}", column.name);
        assert_eq!(read.column(i), &plain(batch.events.column(i)), "{}", column.name);
    }
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(read.schema().field_with_name("time").expect("there").data_type(), &time);
    let kind = read.schema().field_with_name("kind").expect("there").clone();
    assert_eq!(kind.data_type(), &DataType::Utf8);
}

#[test]
fn rejected_records_read_back_equal() {
    let folder = tempfile::tempdir().expect("a folder");
    let batch = batch(&records(95, MIDNIGHT));
    write(folder.path(), SMALL, std::slice::from_ref(&batch)).expect("written");
    let read = rows(&folder.path().join(range(REJECTED, 0, 94)));
    for (field, column) in read.schema().fields().iter().zip(rejected_columns()) {
        assert_eq!((field.name().as_str(), field.data_type()), (column.name, &column.arrow()));
        assert_eq!(field.is_nullable(), column.nullable);
    }
    assert_eq!(read.num_rows(), batch.rejected.len());
    let text = |name: &str, row| {
        let column = read.column_by_name(name).expect("there").as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let offsets = read.column_by_name("log_offset").expect("there").as_primitive::<Int64Type>();
    let times = read.column_by_name("log_time").expect("there");
    let times = times.as_primitive::<TimestampMicrosecondType>();
    for (row, rejected) in batch.rejected.iter().enumerate() {
        assert_eq!(offsets.value(row), rejected.offset);
        assert_eq!(times.value(row), rejected.log_time);
        assert_eq!(text("log_file", row).as_deref(), rejected.file.as_deref());
        assert_eq!(text("reason", row).as_deref(), Some(RejectReason::NotJson.name()));
        assert_eq!(text("prefix", row).as_ref(), Some(&rejected.record.prefix));
        assert_eq!(text("sha256", row), Some(lapwing_event::hex(&rejected.record.sha256)));
    }
}

#[test]
fn pages_carry_the_smallest_and_largest_of_what_queries_select_by() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(20_000, MIDNIGHT);
    write(folder.path(), ArchiveOptions::default(), &batches(&records, 4096)).expect("written");
    let path = folder.path().join(range(EVENTS, 0, 19_999));
    let pages = metadata(&path).page_index_for_row_group(0);
    for field in [FieldId::Time, FieldId::AgentId, FieldId::SourceIp, FieldId::LogOffset] {
        assert_eq!(pages.num_data_pages(field.index()), Some(3), "{field:?}");
        let index = pages.column_index(field.index());
        assert!(index.is_some_and(|i| i.get_boundary_order().is_some()), "{field:?}");
    }
    for (i, column) in event_columns().iter().enumerate() {
        let locations = pages.page_locations(i).expect("an offset index");
        assert!(locations.iter().all(|p| p.first_row_index % 8192 == 0), "{}", column.name);
    }
}

#[test]
fn an_archive_that_cannot_be_written_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").expect("written");
    let batches = batches(&records(5, MIDNIGHT), 5);
    let error = write(&file.join("archive"), SMALL, &batches).expect_err("not a folder");
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot write {}", file.display())), "{text}");
    assert!(text.ends_with("use a folder as --archive"), "{text}");
    let text = write(&file, SMALL, &batches).expect_err("not a folder").to_string();
    assert!(text.contains("use a folder as --archive"), "{text}");
}

#[test]
fn a_folder_without_permission_is_named_and_stays_empty() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o500)).expect("set");
    if std::fs::write(folder.path().join("probe"), "").is_ok() {
        eprintln!("SKIPPED: this user may write everywhere, so no folder is read-only");
        return;
    }
    let error = write(folder.path(), SMALL, &batches(&records(5, MIDNIGHT), 5));
    let text = error.expect_err("read-only").to_string();
    assert!(text.contains("make it writable for this user"), "{text}");
    assert!(names(folder.path()).is_empty());
}

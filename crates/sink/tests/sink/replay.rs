//! Repeating a replay changes nothing and says so; a different input is refused by name.

use lapwing_sink::{ArchiveOptions, SinkError};

use crate::read::{SMALL, files, names, write};
use crate::records::{MIDNIGHT, batches, records};

#[test]
fn the_same_records_again_are_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(250, MIDNIGHT);
    write(folder.path(), SMALL, &batches(&records, 64)).expect("written");
    let before = files(folder.path());
    let large = ArchiveOptions { records_per_file: 7, rows_per_row_group: 3 };
    for options in [SMALL, large] {
        let report = write(folder.path(), options, &batches(&records, 33)).expect("unchanged");
        assert_eq!((report.ranges_unchanged, report.records_unchanged), (3, 250));
        assert_eq!((report.files_written, report.events_written), (0, 0));
        assert!(files(folder.path()) == before);
    }
}

#[test]
fn a_grown_input_adds_files_and_touches_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let grown = records(250, MIDNIGHT);
    write(folder.path(), SMALL, &batches(&grown[..150], 64)).expect("written");
    let before = files(folder.path());
    let report = write(folder.path(), SMALL, &batches(&grown, 64)).expect("grown");
    assert_eq!((report.records_unchanged, report.events_written), (150, 90));
    let after = files(folder.path());
    assert_eq!(after.len(), before.len() + 2);
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)));
}

#[test]
fn a_hole_is_filled_and_ends_before_the_next_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(250, MIDNIGHT);
    write(folder.path(), SMALL, &batches(&records, 64)).expect("written");
    let before = files(folder.path());
    for name in names(folder.path()).iter().filter(|n| n.contains("0-00000000000000000100-")) {
        std::fs::remove_file(folder.path().join(name)).expect("removed");
    }
    let large = ArchiveOptions { records_per_file: 1000, ..SMALL };
    let report = write(folder.path(), large, &batches(&records, 64)).expect("filled");
    assert_eq!((report.ranges_unchanged, report.files_written), (2, 2));
    assert!(files(folder.path()) == before);
}

fn refusal(result: Result<impl std::fmt::Debug, SinkError>) -> String {
    let text = result.expect_err("refused").to_string();
    assert!(text.contains("--source id") && text.contains("--archive"), "{text}");
    text
}

#[test]
fn a_changed_record_is_refused_by_the_name_of_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut records = records(250, MIDNIGHT);
    write(folder.path(), SMALL, &batches(&records, 64)).expect("written");
    let before = files(folder.path());
    records[120].seed += 1;
    let text = refusal(write(folder.path(), SMALL, &batches(&records, 64)));
    assert!(text.contains("0-00000000000000000100-00000000000000000199.parquet"), "{text}");
    assert!(text.contains("holds other records at the offsets 100..=199"), "{text}");
    assert!(files(folder.path()) == before);
}

#[test]
fn an_input_that_ends_or_begins_within_a_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(250, MIDNIGHT);
    write(folder.path(), SMALL, &batches(&records, 64)).expect("written");
    let text = refusal(write(folder.path(), SMALL, &batches(&records[..150], 64)));
    assert!(text.contains("holds the offsets 100..=199"), "{text}");
    assert!(text.contains("the input ends at 149"), "{text}");
    let text = refusal(write(folder.path(), SMALL, &batches(&records[150..], 64)));
    assert!(text.contains("the input begins at 150; begin at 100"), "{text}");
}

#[test]
fn another_source_of_the_same_archive_is_on_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(50, MIDNIGHT);
    let mut both = batches(&records, 10);
    for batch in batches(&records, 20) {
        let mut partition = (*batch.partition).clone();
        partition.source_id = "gw2".into();
        both.push(lapwing_event::Batch { partition: partition.into(), ..batch });
    }
    let report = write(folder.path(), SMALL, &both).expect("written");
    assert_eq!((report.files_written, report.events_written), (4, 90));
    let report = write(folder.path(), SMALL, &both).expect("unchanged");
    assert_eq!((report.files_written, report.ranges_unchanged), (0, 2));
}

#[test]
fn records_without_digests_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut batches = batches(&records(5, MIDNIGHT), 5);
    batches[0].digests.clear();
    let text = write(folder.path(), SMALL, &batches).expect_err("refused").to_string();
    assert!(text.contains("leave --archive out"), "{text}");
}

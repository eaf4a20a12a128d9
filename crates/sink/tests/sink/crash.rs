//! A process killed at any moment leaves whole files only, and the next run completes the rest.

use std::fs;

use lapwing_sink::{Archive, Sink};

use crate::read::{SMALL, files, names, write};
use crate::records::{MIDNIGHT, batches, records};

#[test]
fn a_file_lost_between_two_renames_is_written_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(150, MIDNIGHT);
    write(folder.path(), SMALL, &batches(&records, 64)).expect("written");
    let whole = files(folder.path());
    for lost in names(folder.path()) {
        fs::remove_file(folder.path().join(&lost)).expect("removed");
        let report = write(folder.path(), SMALL, &batches(&records, 64)).expect("mended");
        assert_eq!((report.files_written, report.ranges_unchanged), (2, 1), "{lost}");
        assert!(files(folder.path()) == whole, "{lost}");
    }
}

#[test]
fn a_lost_file_is_not_mended_with_other_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut records = records(150, MIDNIGHT);
    write(folder.path(), SMALL, &batches(&records, 64)).expect("written");
    fs::remove_file(folder.path().join(&names(folder.path())[0])).expect("removed");
    let before = files(folder.path());
    records[20].seed += 1;
    write(folder.path(), SMALL, &batches(&records, 64)).expect_err("changed");
    write(folder.path(), SMALL, &batches(&records[..50], 64)).expect_err("ends within");
    assert!(files(folder.path()) == before, "nothing half-written is left");
}

#[test]
fn an_abandoned_writer_leaves_nothing_and_stale_temporaries_are_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(150, MIDNIGHT);
    let mut archive = Archive::open(folder.path(), SMALL).expect("opened");
    for batch in batches(&records, 50) {
        archive.write_batch(&batch).expect("taken");
    }
    assert!(names(folder.path()).iter().any(|n| n.contains("/.tmp-")));
    drop(archive);
    assert_eq!(names(folder.path()).len(), 2, "one whole range");

    let place = folder.path().join("events/date=2026-11-22/source_id=gw1");
    let stale = place.join(".tmp-0-00000000000000000100");
    let others = [".tmp-1-00000000000000000100", "notes.txt", ".tmp-0-x"];
    fs::write(&stale, "half").expect("written");
    others.iter().for_each(|o| fs::write(place.join(o), "kept").expect("written"));
    let report = write(folder.path(), SMALL, &batches(&records, 50)).expect("completed");
    assert_eq!((report.ranges_unchanged, report.files_written), (1, 2));
    assert!(!stale.exists());
    assert!(others.iter().all(|o| place.join(o).exists()), "other people's files stay");
}

#[test]
fn a_file_that_is_no_parquet_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(50, MIDNIGHT);
    write(folder.path(), SMALL, &batches(&records, 64)).expect("written");
    let broken = folder.path().join(&names(folder.path())[0]);
    fs::write(&broken, "broken").expect("written");
    let text = write(folder.path(), SMALL, &batches(&records, 64)).expect_err("broken").to_string();
    assert!(text.starts_with(&format!("cannot read {}", broken.display())), "{text}");
    assert!(text.contains("remove the file to have it written again"), "{text}");
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Archive::open(folder.path(), SMALL).expect("opened");
    let text = Archive::open(folder.path(), SMALL).expect_err("locked").to_string();
    assert!(text.starts_with("another process writes into"), "{text}");
    drop(first);
    Archive::open(folder.path(), SMALL).expect("opened");
}

#[test]
fn those_who_add_files_keep_a_replay_out_and_not_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = lapwing_sink::share(folder.path()).expect("shared");
    let second = lapwing_sink::share(folder.path()).expect("shared");
    Archive::open(folder.path(), SMALL).expect_err("others add files");
    drop((first, second));
    Archive::open(folder.path(), SMALL).expect("opened");
}

#[test]
fn the_next_offset_follows_the_last_that_is_held() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = records(150, MIDNIGHT);
    write(folder.path(), SMALL, &batches(&records, 64)).expect("written");
    let partition = batches(&records, 64)[0].partition.clone();
    let next = lapwing_sink::next_offset(folder.path(), &partition).expect("listed");
    assert_eq!(next, 150);
}

//! `run` on files that grow, rotate, are cut short and continue the next day: nothing is lost and
//! nothing is read twice, also across a restart; a signal leaves whole files only.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use parquet_rows::{ids_in_archive, statuses_in_archive};

use crate::running::{Running, append, line, prepare, said, wait, wait_for};

pub(crate) mod parquet_rows {
    //! Reads an archive the way the program does.

    use super::*;
    use lapwing_event::FieldId;
    use lapwing_ingest::{ArchiveSource, Next, Source};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    /// The statuses of all archived alert messages.
    pub(crate) fn statuses_in_archive(archive: &Path) -> Vec<String> {
        let mut statuses = Vec::new();
        for (name, bytes) in crate::program::files(&archive.join("alerts")) {
            assert!(name.extension().is_some_and(|e| e == "parquet"), "{}", name.display());
            let bytes = bytes::Bytes::from(bytes);
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
            for batch in reader.build().expect("readable") {
                let batch = batch.expect("readable");
                let column = batch.column_by_name("status").expect("a column").as_string::<i32>();
                statuses.extend(column.iter().flatten().map(str::to_owned));
            }
        }
        statuses
    }

    /// The ids of all archived events, in the order of their offsets.
    pub(crate) fn ids_in_archive(archive: &Path) -> Vec<String> {
        let mut ids = Vec::new();
        let mut offsets: Vec<i64> = Vec::new();
        let options = lapwing_ingest::ArchiveOptions::default();
        let mut source = ArchiveSource::open(archive, options).expect("an archive");
        while let Next::Batch(batch) = source.next_batch().expect("readable") {
            let column = batch.events.column(FieldId::Id.index()).as_string::<i32>().clone();
            ids.extend(column.iter().flatten().map(str::to_owned));
            offsets.extend(batch.event_offsets());
        }
        assert!(offsets.windows(2).all(|w| w[0] < w[1]), "offsets ascend");
        ids
    }
}

#[test]
fn rotation_the_next_day_and_restarts_lose_nothing_and_repeat_nothing() {
    let folder = prepare("1s");
    let path = folder.path();
    let log = path.join("logs/gw-2026-11-22.log");
    append(&log, &line("a1"));
    let running = Running::start(path);
    wait_for(path, "a1");
    append(&log, &line("a2"));
    append(&log, &line("a3")[..30]);
    wait_for(path, "a2");
    append(&log, &line("a3")[30..]);
    wait_for(path, "a3");
    fs::rename(&log, path.join("logs/gw-2026-11-22.1.log")).expect("renamed");
    append(&path.join("logs/gw-2026-11-22.1.log"), &line("a4"));
    append(&log, &line("b1"));
    wait_for(path, "a4");
    wait_for(path, "b1");
    append(&path.join("logs/gw-2026-11-23.log"), &line("c1"));
    wait_for(path, "c1");
    running.stop(path);

    // While nobody looks: another rotation, and more lines.
    append(&log, &line("b2"));
    fs::rename(path.join("logs/gw-2026-11-22.1.log"), path.join("logs/gw-2026-11-22.2.log"))
        .expect("renamed");
    fs::rename(&log, path.join("logs/gw-2026-11-22.1.log")).expect("renamed");
    append(&path.join("logs/gw-2026-11-23.log"), &line("c2"));
    let running = Running::start(path);
    wait_for(path, "b2");
    wait_for(path, "c2");
    running.stop(path);

    let mut ids = ids_in_archive(&path.join("archive"));
    ids.sort();
    assert_eq!(ids, ["a1", "a2", "a3", "a4", "b1", "b2", "c1", "c2"], "{}", said(path));
}

#[test]
fn truncation_is_said_and_nothing_is_read_twice() {
    let folder = prepare("1h");
    let path = folder.path();
    let log = path.join("logs/gw.log");
    append(&log, &[line("a1"), line("a2")].concat());
    let running = Running::start(path);
    wait_for(path, "a2");
    fs::write(&log, "").expect("cut");
    wait(path, "the truncation is said", || said(path).contains("cut short"));
    append(&log, &line("a3"));
    wait_for(path, "a3");
    running.stop(path);
    let mut ids = ids_in_archive(&path.join("archive"));
    ids.sort();
    assert_eq!(ids, ["a1", "a2", "a3"]);
}

#[test]
fn a_signal_while_writing_leaves_whole_files_only() {
    let folder = prepare("1s");
    let path = folder.path();
    let log = path.join("logs/gw.log");
    append(&log, &line("first"));
    let running = Running::start(path);
    wait_for(path, "first");
    for burst in 0..20 {
        let lines: Vec<String> = (0..400).map(|i| line(&format!("{burst}-{i}"))).collect();
        append(&log, &lines.concat());
    }
    running.stop(path);
    let first = ids_in_archive(&path.join("archive"));
    let files = crate::program::files(&path.join("archive"));
    assert!(!files.is_empty());
    for (name, bytes) in files.into_iter().filter(|(name, _)| !name.ends_with(".lock")) {
        assert!(name.extension().is_some_and(|e| e == "parquet"), "{}", name.display());
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{}", name.display());
    }
    // What had not been read when the signal came is read after the next start.
    let running = Running::start(path);
    wait_for(path, "19-399");
    running.stop(path);
    let ids = ids_in_archive(&path.join("archive"));
    assert!(ids.len() >= first.len());
    assert_eq!(ids.len(), 1 + 20 * 400);
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
}

#[test]
fn kills_lose_nothing_and_archive_nothing_twice() {
    let folder = prepare("1s");
    let path = folder.path();
    let mut expected = Vec::new();
    for round in 0..6 {
        let running = Running::start(path);
        for log in ["a", "b"] {
            let ids: Vec<String> = (0..50).map(|i| format!("{log}-{round}-{i}")).collect();
            let lines: Vec<String> = ids.iter().map(|id| line(id)).collect();
            append(&path.join(format!("logs/{log}.log")), &lines.concat());
            expected.extend(ids);
        }
        wait_for(path, &format!("b-{round}-49"));
        if round == 5 {
            running.stop(path);
        } else {
            // At other moments of the epoch each time.
            std::thread::sleep(Duration::from_millis(250 * round));
            running.kill();
        }
    }
    let mut ids = ids_in_archive(&path.join("archive"));
    ids.sort();
    expected.sort();
    assert!(ids == expected, "{} of {} ids\n{}", ids.len(), expected.len(), said(path));
}

#[test]
fn a_crash_in_the_first_epoch_loses_nothing_that_came_after_the_start() {
    let folder = prepare("1h");
    let path = folder.path();
    let config = fs::read_to_string(path.join("lapwing.yml")).expect("the configuration");
    let config = config.replace("include:", "start: end, include:");
    fs::write(path.join("lapwing.yml"), config).expect("a file");
    let log = path.join("logs/gw.log");
    append(&log, &line("old"));
    let running = Running::start(path);
    append(&log, &line("a1"));
    wait_for(path, "a1");
    running.kill();
    append(&log, &line("a2"));
    let running = Running::start(path);
    wait_for(path, "a2");
    running.stop(path);
    assert_eq!(ids_in_archive(&path.join("archive")), ["a1", "a2"], "{}", said(path));
}

#[test]
fn an_alert_that_silence_resolves_is_archived_too() {
    let folder = prepare("1s");
    let path = folder.path();
    let rule = "title: t\nid: 33333333-3333-3333-3333-333333333333\nname: quick\n\
        logsource: {category: agent_audit}\n\
        detection: {any: {kind: auth}, condition: any}\nlevel: low\n\
        lapwing: {group-by: [source.ip], timespan: 1s, allowed_lateness: 1s}\n";
    fs::write(path.join("quick.yml"), rule).expect("a file");
    append(&path.join("lapwing.yml"), "rules: {builtin: false, paths: [quick.yml]}\n");
    let log = path.join("logs/gw.log");
    append(&log, &line("a1"));
    let running = Running::start(path);
    let resolved = || {
        let alerts = fs::read_to_string(path.join("alerts.jsonl")).unwrap_or_default();
        alerts.contains("\"status\":\"resolved\"")
    };
    wait(path, "the alert is resolved", resolved);
    // Some epochs without records pass before the next one comes.
    let epochs = Instant::now();
    wait(path, "three epochs have passed", || epochs.elapsed() > Duration::from_secs(3));
    append(&log, &line("a2"));
    wait_for(path, "a2");
    running.stop(path);
    let mut statuses = statuses_in_archive(&path.join("archive"));
    statuses.sort();
    assert_eq!(statuses, ["opened", "opened", "resolved"], "{}", said(path));
}

#[test]
fn a_second_process_on_the_same_state_is_refused() {
    let folder = prepare("1h");
    let path = folder.path();
    let running = Running::start(path);
    let second = crate::program::lapwing(path, &["run", "--config", "lapwing.yml"]).exits(2);
    assert!(second.stderr.contains("another process"), "{}", second.stderr);
    running.stop(path);
}

//! Laws that only the whole program can show: alerts do not depend on batches, threads or on
//! whether records come from logs or from their archive.

use std::fs;
use std::path::Path;

use crate::program::{files, lapwing};

/// Logs with incidents, disorder, a forged time, broken lines, rotation and compression.
fn write_logs(folder: &Path) {
    let logs = folder.join("logs");
    fs::create_dir(&logs).expect("a folder");
    let simulated = |seed: &str, events: &str| {
        lapwing(folder, &["simulate", "--events", events, "--seed", seed]).exits(0).stdout
    };
    let a = simulated("1", "4000");
    let lines: Vec<&str> = a.lines().collect();
    let forged = r#"{"time":"2099-01-01T00:00:00Z","kind":"tool","outcome":"denied"}"#;
    let broken = ["{\"time\":", "not json", "", "[1,2]", forged];
    let first = [&lines[..1500], &broken[..]].concat().join("\n");
    fs::write(logs.join("a.2.log"), first + "\n").expect("a file");
    fs::write(logs.join("a.1.log"), lines[1500..3000].join("\n") + "\n").expect("a file");
    fs::write(logs.join("a.log"), lines[3000..].join("\n") + "\n").expect("a file");
    fs::write(logs.join("b.log"), simulated("2", "3000")).expect("a file");
}

#[test]
fn batches_threads_and_the_archive_give_the_same_alerts_to_the_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    write_logs(folder.path());
    let replay = |extra: &[&str]| {
        let args = [&["replay", "logs", "-o", "json", "--source", "s"], extra].concat();
        lapwing(folder.path(), &args).exits(0)
    };
    let whole = replay(&["--archive", "archive"]).sorted();
    assert!(whole.len() > 30, "{} messages", whole.len());
    for rows in ["1", "7", "8192"] {
        for threads in ["1", "2"] {
            let again = replay(&["--batch-rows", rows, "--threads", threads]).sorted();
            assert!(whole == again, "batches of {rows}, {threads} threads");
        }
        let args = ["replay", "archive", "-o", "json", "--batch-rows", rows];
        let archived = lapwing(folder.path(), &args).exits(0).sorted();
        assert!(whole == archived, "the archive in batches of {rows}");
    }
}

#[test]
fn archives_are_the_same_to_the_byte_however_the_records_were_read() {
    let folder = tempfile::tempdir().expect("a folder");
    write_logs(folder.path());
    let archive = |name: &str, rows: &str, threads: &str| {
        let args = [
            "replay",
            "logs",
            "-q",
            "--source",
            "s",
            "--archive",
            name,
            "--batch-rows",
            rows,
            "--threads",
            threads,
        ];
        lapwing(folder.path(), &args).exits(0);
        files(&folder.path().join(name))
    };
    let whole = archive("x", "8192", "2");
    assert!(whole.len() >= 3, "{} files", whole.len());
    assert!(whole == archive("y", "7", "1"), "batches of 7");
    assert!(whole == archive("z", "1", "2"), "batches of 1");
}

#[test]
fn a_repeated_replay_changes_nothing_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    write_logs(folder.path());
    let args = ["replay", "logs", "--source", "s", "--archive", "archive"];
    lapwing(folder.path(), &args).exits(0);
    let before = files(&folder.path().join("archive"));
    let again = lapwing(folder.path(), &args).exits(0);
    assert!(again.stderr.contains("archive    unchanged"), "{}", again.stderr);
    assert!(before == files(&folder.path().join("archive")), "the archive has changed");

    fs::write(folder.path().join("logs/a.log"), "{}\n").expect("a file");
    let changed = lapwing(folder.path(), &args).exits(2);
    assert!(changed.stderr.contains("--source"), "{}", changed.stderr);
    assert!(before == files(&folder.path().join("archive")), "the archive has changed");
}

#[test]
fn every_record_is_an_event_or_rejected_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    write_logs(folder.path());
    let ran = lapwing(folder.path(), &["replay", "logs", "--max-rejected", "2"]).exits(3);
    assert!(ran.stderr.contains("rejected   3"), "{}", ran.stderr);
    assert!(ran.stderr.contains("blank      1 line"), "{}", ran.stderr);
    // The first one of each reason is named: two are no JSON, one is no object.
    for (reason, place) in [("not_json", "a.2.log:1501: "), ("not_an_object", "a.2.log:1504: ")] {
        let line = ran.stderr.lines().find(|l| l.contains(&format!("  {reason}  ")));
        let line = line.unwrap_or_else(|| panic!("{reason} in\n{}", ran.stderr));
        assert!(line.contains(&format!("first: {place}")), "{line}");
    }
}

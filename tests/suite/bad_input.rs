//! Bad input: each gives a rejected record with its place, or an error that names thing, place and
//! way out; one bad line costs that line alone.

use std::fs;
use std::io::Write;

use crate::program::lapwing;

const GOOD: &str = r#"{"time":"2026-11-22T16:00:00Z","kind":"tool","outcome":"success"}"#;

/// Replays a log of a good line, these bytes and a good line.
fn replay_between(bad: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = fs::File::create(folder.path().join("x.log")).expect("a file");
    for part in [GOOD.as_bytes(), b"\n", bad, b"\n", GOOD.as_bytes(), b"\n"] {
        file.write_all(part).expect("written");
    }
    lapwing(folder.path(), &["replay", "x.log"]).exits(0).stderr
}

#[test]
fn one_bad_line_costs_that_line_alone_and_is_named() {
    let long = format!("{{\"time\":\"{}\"}}", "x".repeat(1 << 20));
    let deep = format!("{{\"time\":{}1{}}}", "[".repeat(70), "]".repeat(70));
    for (bad, reason) in [
        (b"not json".as_slice(), "not_json"),
        (b"{\"time\":\"2026-11-22T16:00:0", "not_json"),
        (long.as_bytes(), "too_long"),
        (deep.as_bytes(), "too_deep"),
        (b"{\"kind\":\"\xff\"}", "not_utf8"),
        (b"[]", "not_an_object"),
        (b"{\"time\":\"2026-11-22T16:00:00Z\",\"kind\":5}", "wrong_type"),
        (b"{\"time\":\"2026-11-22T16:00:00Z\",\"kind\":\"tol\"}", "unknown_value"),
        (b"{\"kind\":\"tool\"}", "no_time"),
        (b"{\"time\":\"2026-11-22T16:00:00Z\"}", "no_kind"),
        (b"{\"time\":\"soon\",\"kind\":\"tool\"}", "bad_time"),
    ] {
        let told = replay_between(bad);
        assert!(told.contains("events     2"), "{reason}: {told}");
        assert!(told.contains("rejected   1\n"), "{reason}: {told}");
        let line = told.lines().find(|l| l.contains("first: x.log:2: "));
        assert!(line.is_some_and(|l| l.contains(reason)), "{reason}: {told}");
    }
}

#[test]
fn a_last_line_that_is_cut_is_said_to_be() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("x.log"), format!("{GOOD}\n{}", &GOOD[..40])).expect("a file");
    let told = lapwing(folder.path(), &["replay", "x.log"]).exits(0).stderr;
    assert!(told.contains("cut"), "{told}");
    assert!(told.contains("first: x.log:2: "), "{told}");
}

#[test]
fn what_cannot_be_read_is_an_error_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("plain.txt"), "Nov 22 16:00 something happened\n")
        .expect("a file");
    fs::write(folder.path().join("rules.yml"), "title: x\nname: x\ndetection: {}\n")
        .expect("a file");
    for (args, parts) in [
        (vec!["replay", "missing.log"], vec!["missing.log", "no such file"]),
        (vec!["replay", "*.nothing"], vec!["*.nothing"]),
        (vec!["replay", "plain.txt"], vec!["plain.txt", "supported", "native"]),
        (vec!["replay", "plain.txt", "--input-format", "nativ"], vec!["nativ", "supported"]),
        (vec!["replay", "plain.txt", "--rules", "rules.yml"], vec!["rules.yml:", "logsource"]),
        (vec!["replay", "plain.txt", "--rules", "nowhere"], vec!["nowhere", "no such file"]),
        (
            vec!["replay", "plain.txt", "--disable", "auth_failure"],
            vec!["did you mean auth_failures?"],
        ),
        (vec!["run", "--config", "none.yml"], vec!["none.yml"]),
    ] {
        let ran = lapwing(folder.path(), &args).exits(2);
        for part in parts {
            assert!(ran.stderr.contains(part), "{args:?}: {part} not in {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

#[test]
fn an_archive_that_cannot_be_written_is_an_error_and_leaves_no_half_file() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("x.log"), format!("{GOOD}\n")).expect("a file");
    fs::write(folder.path().join("taken"), "a file").expect("a file");
    let ran = lapwing(folder.path(), &["replay", "x.log", "--archive", "taken/archive"]).exits(2);
    assert!(ran.stderr.contains("taken"), "{}", ran.stderr);
}

#[test]
fn the_exit_code_tells_what_was_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let attack = r#"{"time":"2026-11-22T16:00:00Z","kind":"auth","outcome":"failure","source":{"ip":"203.0.113.9"},"count":4}"#;
    fs::write(folder.path().join("x.log"), format!("{attack}\n")).expect("a file");
    lapwing(folder.path(), &["replay", "x.log", "--fail-on", "high"]).exits(1);
    lapwing(folder.path(), &["replay", "x.log", "--fail-on", "critical"]).exits(0);
    fs::write(folder.path().join("y.log"), format!("{attack}\nx\n")).expect("a file");
    let args = ["replay", "y.log", "--fail-on", "high", "--max-rejected", "0"];
    lapwing(folder.path(), &args).exits(3);
}

//! Maintenance of checkpoints and archives: verify, compact, retain and prune, alone, beside `run`, and
//! killed at any moment. No row and no alert is lost or doubled, and what is damaged is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use lapwing::checkpoint::{Entry, Manifest};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};

use crate::follow::parquet_rows::ids_in_archive;
use crate::program::{Ran, command, files, lapwing};
use crate::running::{Running, append, line, said, wait, wait_for};

const CONFIG: &str = "lapwing.yml";

/// A folder in which each batch that is read is an epoch, so that there are many small files.
fn prepare(extra: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "sources:\n  - {{id: gw, type: file, include: ['logs/*.log']}}\nstate: state\n\
         archive: {{path: archive, epoch_records: 1}}\nalerts: {{file: alerts.jsonl, stdout: none}}\n{extra}"
    );
    fs::write(folder.path().join(CONFIG), config).expect("a file");
    fs::create_dir(folder.path().join("logs")).expect("a folder");
    folder
}

/// Writes lines one after the other, some of them no events, each in an epoch of its own.
fn feed(folder: &Path, name: &str, count: usize) {
    for i in 0..count {
        let broken = if i % 3 == 1 { "not an event\n" } else { "" };
        let id = format!("{name}-{i}");
        append(&folder.join("logs/gw.log"), &format!("{broken}{}", line(&id)));
        wait_for(folder, &id);
    }
}

/// A folder with the files of some epochs.
fn with_epochs(count: usize, extra: &str) -> tempfile::TempDir {
    let folder = prepare(extra);
    let running = Running::start(folder.path());
    feed(folder.path(), "a", count);
    running.stop(folder.path());
    folder
}

/// Starts it where it has run before, and waits until it has started.
fn start_again(folder: &Path) -> Running {
    let starts = || said(folder).matches("started").count();
    let before = starts();
    let running = Running::start(folder);
    wait(folder, "it has started again", || starts() > before);
    running
}

fn verify(folder: &Path) -> Ran {
    lapwing(folder, &["checkpoint", "verify", "--config", CONFIG])
}

fn compact(folder: &Path) -> Ran {
    lapwing(folder, &["compact", "--config", CONFIG, "--date", &today()]).exits(0)
}

/// The UTC day.
fn today() -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_micros();
    lapwing_event::time::format_date(i64::try_from(now).expect("before 294,000"))
}

/// The Parquet files of a table, by path below the archive.
fn table(folder: &Path, table: &str) -> Vec<PathBuf> {
    let below = folder.join("archive").join(table);
    if !below.is_dir() {
        return Vec::new();
    }
    files(&below).into_iter().map(|(path, _)| below.join(path)).collect()
}

/// A query: lists the folder, then reads every file; `None` if one of them is gone.
fn query(archive: &Path, table: &str, column: &str) -> Option<Vec<i64>> {
    let mut values = Vec::new();
    for date in fs::read_dir(archive.join(table)).ok()? {
        for source in fs::read_dir(date.ok()?.path()).ok()? {
            for file in fs::read_dir(source.ok()?.path()).ok()? {
                let file = fs::File::open(file.ok()?.path()).ok()?;
                let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
                for rows in reader.build().expect("readable") {
                    let rows = rows.expect("readable");
                    let column = rows.column_by_name(column).expect("a column");
                    values.extend(column.as_primitive::<Int64Type>().values());
                }
            }
        }
    }
    values.sort_unstable();
    Some(values)
}

/// The offsets of all rows of the three tables, sorted.
fn rows(folder: &Path) -> [Vec<i64>; 3] {
    [("events", "log_offset"), ("rejected", "log_offset"), ("alerts", "first_offset")]
        .map(|(table, column)| query(&folder.join("archive"), table, column).unwrap_or_default())
}

fn replayed(folder: &Path) -> Vec<String> {
    lapwing(folder, &["replay", "archive", "-o", "json"]).exits(0).sorted()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for (path, bytes) in files(from) {
        let to = to.join(path);
        fs::create_dir_all(to.parent().expect("a parent")).expect("a folder");
        fs::write(to, bytes).expect("a file");
    }
}

/// The manifests of the chain, by number.
fn manifests(folder: &Path) -> Vec<(PathBuf, Manifest)> {
    let chain = files(&folder.join("state/gw/0"));
    let chain = chain.into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "json"));
    let read = |(path, bytes): (PathBuf, Vec<u8>)| {
        (folder.join("state/gw/0").join(path), Manifest::decode(&bytes).expect("a manifest"))
    };
    chain.map(read).collect()
}

#[test]
fn a_merge_keeps_every_row_and_every_alert() {
    let folder = with_epochs(7, "");
    let path = folder.path();
    verify(path).exits(0);
    let (before, alerts) = (rows(path), replayed(path));
    assert!(table(path, "events").len() >= 7 && !table(path, "rejected").is_empty());
    copy(&path.join("archive"), &path.join("copy"));

    let told = compact(path).stdout;
    assert!(told.starts_with("merged "), "{told}");
    for name in ["events", "rejected", "alerts"] {
        assert_eq!(table(path, name).len(), 1, "{name}");
    }
    let verified = verify(path).exits(0).stdout;
    assert!(verified.contains(": 0 breaks") && !verified.contains("note"), "{verified}");
    assert_eq!(rows(path), before);
    assert_eq!(replayed(path), alerts);
    assert!(compact(path).stdout.starts_with("merged 0 files"), "nothing is left to merge");
    let list = lapwing(path, &["checkpoint", "list", "--state", "state"]).exits(0).stdout;
    assert!(list.lines().count() == 2 && list.contains("gw "), "{list}");
    let show = lapwing(path, &["checkpoint", "show", "--state", "state", "gw", "0"]).exits(0);
    assert!(show.stdout.contains(" compact "), "{}", show.stdout);
    let args = ["checkpoint", "show", "--state", "state", "gw", "0", "1"];
    assert!(lapwing(path, &args).exits(0).stdout.contains("\"kind\": \"claim\""));

    // A merge of a merged file and later ones.
    let running = Running::start(path);
    feed(path, "b", 3);
    running.stop(path);
    let (before, alerts) = (rows(path), replayed(path));
    compact(path);
    verify(path).exits(0);
    assert_eq!(rows(path), before);
    assert_eq!(replayed(path), alerts);
    assert_eq!(table(path, "events").len(), 1);

    // The logs are recognised in the merged archive as in the one before.
    let again = |archive: &str| {
        let args = ["replay", "logs", "-q", "--source", "gw", "--archive", archive];
        lapwing(path, &args).exits(0)
    };
    again("copy");
    again("archive");
    assert_eq!(rows(path)[..2], before[..2]);
    assert_eq!(table(path, "events").len(), 1);
    let log = path.join("logs/gw.log");
    let text = fs::read_to_string(&log).expect("a log");
    fs::write(&log, text.replacen("rate_limited", "rate_limitee", 1)).expect("changed");
    let args = ["replay", "logs", "-q", "--source", "gw", "--archive", "archive"];
    assert!(lapwing(path, &args).exits(2).stderr.contains("holds other records"));
}

#[test]
fn a_query_sees_every_row_once_while_files_are_merged_beside_run() {
    let folder = prepare("");
    let path = folder.path();
    let running = Running::start(path);
    feed(path, "first", 2);
    let is_over = AtomicBool::new(false);
    let merges = std::thread::scope(|scope| {
        let queries = scope.spawn(|| {
            let (mut seen, mut queries) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                let Some(offsets) = query(&path.join("archive"), "alerts", "first_offset") else {
                    continue;
                };
                assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]), "twice: {offsets:?}");
                assert!(offsets.len() >= seen, "{} rows after {seen}", offsets.len());
                (seen, queries) = (offsets.len(), queries + 1);
            }
            queries
        });
        let feeding = scope.spawn(|| feed(path, "more", 24));
        let mut merges = 0;
        while !feeding.is_finished() {
            merges += u64::from(!compact(path).stdout.starts_with("merged 0 files"));
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(queries.join().expect("no row was missing") > 10);
        merges
    });
    assert!(merges >= 2, "{merges} merges");
    running.stop(path);
    verify(path).exits(0);
    assert_eq!(ids_in_archive(&path.join("archive")).len(), 26, "{}", said(path));
    assert_eq!(rows(path)[2].len(), 26);
}

/// The steps of a merge that can be seen from outside.
const STEPS: usize = 7;

/// Whether a merge has come to a step.
fn has_come_to(folder: &Path, step: usize, merges: usize) -> bool {
    let archive = folder.join("archive");
    let entries = |path: PathBuf| fs::read_dir(path).map_or(0, Iterator::count);
    match step {
        // One of the merged files is being written, then another.
        0..=2 => entries(archive.join(".staged/gw/0")) > step,
        3 => merges_of(folder) > merges,
        4 => archive.join(".swap/new").exists(),
        5 => archive.join(".swap/journal.json").exists(),
        _ => entries(archive.join(".swap/old")) > 0,
    }
}

fn merges_of(folder: &Path) -> usize {
    let names = fs::read_dir(folder.join("state/gw/0")).expect("a chain").flatten();
    let bytes = names.filter_map(|entry| fs::read(entry.path()).ok());
    bytes.filter(|bytes| String::from_utf8_lossy(bytes).contains("\"kind\":\"compact\"")).count()
}

#[test]
fn a_merge_that_is_killed_at_any_step_is_finished_by_the_next() {
    let folder = prepare("");
    let path = folder.path();
    let mut running = Running::start(path);
    for round in 0..2 * STEPS {
        feed(path, &round.to_string(), 2);
        let merges = merges_of(path);
        let mut merging = command(path)
            .args(["compact", "--config", CONFIG, "--date", &today()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        while !has_come_to(path, round / 2, merges) {
            if merging.try_wait().expect("a child").is_some() {
                break;
            }
        }
        merging.kill().expect("killed");
        merging.wait().expect("a child");
        verify(path).exits(0);
        if round % 2 == 1 {
            running.stop(path);
            running = start_again(path);
            verify(path).exits(0);
        }
    }
    running.stop(path);
    let expected = rows(path);
    assert_eq!(expected[0].len(), 4 * STEPS);
    compact(path);
    let verified = verify(path).exits(0).stdout;
    assert!(!verified.contains("note"), "{verified}");
    assert_eq!(rows(path), expected);
    assert_eq!(table(path, "events").len(), 1);
    let left = files(&path.join("archive/.staged"));
    assert!(left.is_empty(), "{:?}", left.iter().map(|(path, _)| path).collect::<Vec<_>>());
}

#[test]
fn a_merge_that_was_committed_and_not_carried_out_is_finished_by_the_next_start() {
    for finished_by_run in [true, false] {
        let folder = with_epochs(4, "");
        let path = folder.path();
        let before = rows(path);
        copy(&path.join("archive"), &path.join("copy"));
        compact(path);
        // As it was when the manifest was created.
        let merged = manifests(path).into_iter().find_map(|(_, manifest)| match manifest.entry {
            Entry::Compact(compact) => Some(compact.files),
            _ => None,
        });
        for file in merged.expect("a merge") {
            let bytes = fs::read(path.join("archive").join(&file.path)).expect("a merged file");
            let staged = path.join("copy").join(&file.staged);
            fs::create_dir_all(staged.parent().expect("a parent")).expect("a folder");
            fs::write(staged, bytes).expect("a file");
        }
        fs::remove_dir_all(path.join("archive")).expect("removed");
        fs::rename(path.join("copy"), path.join("archive")).expect("renamed");
        let verified = verify(path).exits(0).stdout;
        assert!(verified.contains("merged files wait to take their place"), "{verified}");
        assert_eq!(rows(path), before);
        match finished_by_run {
            true => {
                start_again(path).stop(path);
            }
            false => drop(compact(path)),
        }
        assert!(!verify(path).exits(0).stdout.contains("note"));
        assert_eq!(rows(path), before);
        assert_eq!(table(path, "events").len(), 1);
    }
}

/// Asserts that verify names a path, and what is wrong with it.
fn breaks(folder: &Path, path: &Path, what: &str) {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    let told = verify(folder).exits(1).stdout;
    let said = told.lines().any(|line| line.contains(name) && line.contains(what));
    assert!(said, "{name}: {what} is not in\n{told}");
}

#[test]
fn every_damage_is_named_with_its_path() {
    let folder = with_epochs(4, "");
    let path = folder.path();
    let flip = |at: &Path, byte: usize, what: &str| {
        let bytes = fs::read(at).expect("a file");
        let mut damaged = bytes.clone();
        let byte = byte.min(bytes.len() - 1);
        damaged[byte] ^= 1;
        fs::write(at, damaged).expect("written");
        breaks(path, at, what);
        fs::write(at, bytes).expect("restored");
    };
    let chain = manifests(path);
    for at in [&chain[1].0, &chain[chain.len() - 1].0] {
        for byte in [0, 3, 200, usize::MAX] {
            flip(at, byte, "damaged");
        }
    }
    let state = files(&path.join("state/gw/0")).into_iter();
    let state = state.map(|(name, _)| name).find(|name| !is_manifest(name));
    let state = state.expect("a state");
    flip(&path.join("state/gw/0").join(state), 40, "SHA-256");
    let file = table(path, "events")[1].clone();
    for byte in [0, 100, 1000, usize::MAX] {
        flip(&file, byte, "SHA-256");
    }

    let bytes = fs::read(&file).expect("a file");
    fs::remove_file(&file).expect("removed");
    breaks(path, &file, "missing");
    fs::write(&file, &bytes[..bytes.len() - 1]).expect("cut");
    breaks(path, &file, "bytes");
    fs::write(&file, &bytes).expect("restored");
    let stranger = file.with_file_name("0-00000000000000000001-00000000000000000009.parquet");
    fs::write(&stranger, &bytes).expect("a file");
    breaks(path, &stranger, "no manifest names it");
    fs::remove_file(&stranger).expect("removed");
    let manifest = fs::read(&chain[1].0).expect("a manifest");
    fs::remove_file(&chain[1].0).expect("removed");
    breaks(path, &chain[1].0, "missing");
    // Nothing is maintained on top of that.
    let told = lapwing(path, &["compact", "--config", CONFIG, "--date", &today()]).exits(2).stderr;
    assert!(told.contains("checkpoint verify"), "{told}");
    fs::write(&chain[1].0, manifest).expect("restored");
    verify(path).exits(0);
    let args = ["checkpoint", "verify", "--state", "elsewhere"];
    assert!(lapwing(path, &args).exits(2).stderr.contains("there is no such folder"));
}

fn is_manifest(name: &Path) -> bool {
    !name.to_str().is_some_and(|name| name.starts_with("state-"))
}

/// Makes the first epochs of a chain old: their files are of another day, all hashes fit.
fn age(folder: &Path, epochs: usize, date: &str) {
    let (mut left, mut previous) = (epochs, None);
    for (path, mut manifest) in manifests(folder) {
        if let Entry::Epoch(epoch) = &mut manifest.entry
            && left > 0
        {
            left -= 1;
            for file in &mut epoch.files {
                let old = file.path.replace(&format!("date={}", today()), &format!("date={date}"));
                let (from, to) = (folder.join("archive").join(&file.path), folder.join("archive"));
                let to = to.join(&old);
                fs::create_dir_all(to.parent().expect("a parent")).expect("a folder");
                fs::rename(from, to).expect("moved");
                file.path = old;
            }
        }
        manifest.previous = previous;
        let bytes = manifest.encode();
        previous = Some(lapwing_event::hex(&Sha256::digest(&bytes)));
        fs::write(path, bytes).expect("a manifest");
    }
}

#[test]
fn retention_removes_old_days_and_nothing_else() {
    let extra = "retention: {rejected: 30d, alerts: 365d}\n";
    let folder = with_epochs(6, extra);
    let path = folder.path();
    age(path, 3, "2026-01-05");
    verify(path).exits(0);
    let (before, alerts) = (rows(path), replayed(path));
    let retain = || lapwing(path, &["retain", "--config", CONFIG]).exits(0).stdout;
    let told = retain();
    assert!(told.contains("rejected  kept from") && told.contains("removed 1 files"), "{told}");
    let after = rows(path);
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
    assert_eq!(after[1].len(), before[1].len() - 1);
    assert!(!path.join("archive/rejected/date=2026-01-05").exists());
    verify(path).exits(0);
    assert_eq!(replayed(path), alerts, "rejected records only move the clock");
    assert!(retain().contains("removed 0 files"));
    // Files of a range that lost its rejected records are merged as well.
    lapwing(path, &["compact", "--config", CONFIG]).exits(0);
    verify(path).exits(0);
    assert_eq!(rows(path), after);
    assert_eq!(replayed(path), alerts);

    let config = fs::read_to_string(path.join(CONFIG)).expect("a file");
    let config = config.replace("rejected: 30d", "events: 90d, rejected: 30d");
    fs::write(path.join(CONFIG), config).expect("a file");
    // What a crash has left is finished.
    let old =
        table(path, "events").into_iter().find(|file| file.to_string_lossy().contains("01-05"));
    let old = old.expect("an old file");
    let bytes = fs::read(&old).expect("a file");
    retain();
    assert!(!old.exists());
    fs::create_dir_all(old.parent().expect("a parent")).expect("a folder");
    fs::write(&old, bytes).expect("a file");
    breaks(path, &old, "still there");
    assert!(retain().contains("removed 0 files"));
    verify(path).exits(0);
    // Three epochs were made old; the first of a start has no records.
    assert_eq!(rows(path)[0].len(), before[0].len() - 2);
    let running = start_again(path);
    feed(path, "b", 1);
    running.stop(path);
    verify(path).exits(0);
}

#[test]
fn a_pruned_chain_is_verified_and_goes_on() {
    let folder = with_epochs(3, "");
    let path = folder.path();
    let prune = |keep: &str| {
        let args = ["checkpoint", "prune", "--config", CONFIG, "--keep", keep];
        lapwing(path, &args).exits(0).stdout
    };
    let running = Running::start(path);
    feed(path, "b", 3);
    assert_eq!(prune("1d"), "removed 0 manifests\n");
    let told = prune("0s");
    assert_ne!(told, "removed 0 manifests\n");
    verify(path).exits(0);
    let first = manifests(path)[0].1.number;
    assert!(first > 5, "begins at {first}");
    // The owner goes on after the summary, and does not lose the partition.
    feed(path, "c", 3);
    verify(path).exits(0);
    compact(path);
    prune("0s");
    verify(path).exits(0);
    assert_eq!(said(path).matches("given up").count(), 0, "{}", said(path));
    running.kill();
    prune("0s");
    verify(path).exits(0);
    let running = Running::start(path);
    feed(path, "d", 2);
    running.stop(path);
    verify(path).exits(0);
    assert_eq!(ids_in_archive(&path.join("archive")).len(), 11);
    let handed_over = fs::read_to_string(path.join("alerts.jsonl")).expect("alerts");
    let opened = |line: &&str| line.contains("\"status\":\"opened\"");
    let mut ids: Vec<&str> = handed_over.lines().filter(opened).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 11);
    // Left over below the summary: allowed, and named.
    let (at, manifest) = &manifests(path)[0];
    let stray = at.with_file_name(format!("{:020}.json", manifest.number - 3));
    fs::write(&stray, "{}").expect("a file");
    assert!(verify(path).exits(0).stdout.contains("left over below a summary"));
}

#[test]
fn files_in_s3_are_not_merged() {
    let folder = prepare("");
    let path = folder.path();
    let config = fs::read_to_string(path.join(CONFIG)).expect("a file");
    let config = config.replace("path: archive", "path: 's3://bucket/prefix'");
    fs::write(path.join(CONFIG), config).expect("a file");
    fs::create_dir(path.join("state")).expect("a folder");
    let told = lapwing(path, &["compact", "--config", CONFIG]).exits(2).stderr;
    assert!(told.contains("are not merged"), "{told}");
}

#[test]
fn two_processes_do_not_maintain_one_archive() {
    let folder = with_epochs(1, "");
    let path = folder.path();
    compact(path);
    let lock = fs::OpenOptions::new().write(true).open(path.join("archive/.swap/maintenance"));
    let lock = lock.expect("a lock");
    lock.lock().expect("locked");
    let told = lapwing(path, &["compact", "--config", CONFIG]).exits(2).stderr;
    assert!(told.contains("another process maintains this archive"), "{told}");
}

//! Replay against a naive reference, and the odd files of the field.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::Write;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{RecordBatch, StringArray};
use lapwing_event::time::{DAY, HOUR, MINUTE, format_time};
use lapwing_event::{Batch, FieldId, RejectReason};
use lapwing_ingest::{Next, ReplayOptions, ReplaySource, Source, SourceError, SourceStats};
use proptest::prelude::*;
use tempfile::TempDir;

/// A record as it was handed out.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    offset: i64,
    log_time: i64,
    file: String,
    line: i64,
    /// The id of an event, the reason of a rejected record.
    what: String,
    corrected: bool,
    clamped: bool,
}

fn read_all(inputs: &[String], options: ReplayOptions) -> (Vec<Seen>, SourceStats) {
    let mut source = ReplaySource::open(inputs, options).unwrap();
    let mut seen = Vec::new();
    loop {
        match source.next_batch().unwrap() {
            Next::Batch(batch) => append(&batch, &mut seen),
            Next::End => break,
            Next::Idle { .. } => unreachable!("a replay is never idle"),
        }
    }
    assert!(matches!(source.next_batch(), Ok(Next::End)));
    (seen, source.stats())
}

fn append(batch: &Batch, seen: &mut Vec<Seen>) {
    assert!(batch.records() > 0);
    assert_eq!(batch.digests.len(), batch.records());
    let from = seen.len();
    let events = &batch.events;
    let ids = events.column(FieldId::Id.index()).as_string::<i32>();
    let lines = events.column(FieldId::LogLine.index()).as_primitive::<Int64Type>();
    let files = terms(events, FieldId::LogFile);
    let flag = |field: FieldId, row| events.column(field.index()).as_boolean().value(row);
    for (row, file) in files.into_iter().enumerate() {
        seen.push(Seen {
            offset: batch.event_offsets()[row],
            log_time: batch.event_log_times()[row],
            file,
            line: lines.value(row),
            what: ids.value(row).to_owned(),
            corrected: flag(FieldId::TimeCorrected, row),
            clamped: flag(FieldId::TimeClamped, row),
        });
    }
    seen.extend(batch.rejected.iter().map(|r| Seen {
        offset: r.offset,
        log_time: r.log_time,
        file: r.file.as_deref().unwrap().to_owned(),
        line: r.line.unwrap(),
        what: r.record.reason.name().to_owned(),
        corrected: false,
        clamped: false,
    }));
    seen[from..].sort_by_key(|s| s.offset);
}

fn terms(events: &RecordBatch, field: FieldId) -> Vec<String> {
    let column = events.column(field.index()).as_dictionary::<Int32Type>();
    let texts = column.downcast_dict::<StringArray>().unwrap();
    texts.into_iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}

fn event(time: i64, id: &str) -> String {
    format!(
        r#"{{"time":"{}","kind":"tool","id":"{id}","tool":{{"name":"t{}"}}}}"#,
        format_time(time),
        id.len()
    )
}

#[derive(Debug, Clone)]
enum Line {
    Event(i64),
    Broken,
    Blank,
}

fn line() -> impl Strategy<Value = Line> {
    let time = prop_oneof![
        8 => 0..2 * HOUR,
        2 => 0..5 * DAY,
        1 => Just(400 * DAY),
        1 => Just(-40 * DAY),
    ];
    prop_oneof![
        8 => time.prop_map(Line::Event),
        2 => Just(Line::Broken),
        1 => Just(Line::Blank),
    ]
}

/// Logs of files of lines.
fn logs() -> impl Strategy<Value = Vec<Vec<Vec<Line>>>> {
    let file = || prop::collection::vec(line(), 0..90);
    let log = prop::collection::vec(file(), 1..4);
    let short_file = prop::collection::vec(line(), 0..8);
    let short = prop::collection::vec(short_file, 1..2);
    prop_oneof![
        4 => prop::collection::vec(log, 1..4),
        1 => prop::collection::vec(short, 17..22),
    ]
}

/// Writes the logs, and says what must be read.
fn write(logs: &[Vec<Vec<Line>>], folder: &Path) -> Vec<Seen> {
    let mut expected = Vec::new();
    for (l, files) in logs.iter().enumerate() {
        let mut records: Vec<(Seen, Option<i64>)> = Vec::new();
        for (f, lines) in files.iter().enumerate() {
            let name = match files.len() - 1 - f {
                0 => format!("log{l:02}.log"),
                n => format!("log{l:02}.{n}.log"),
            };
            let mut text = String::new();
            for (n, line) in lines.iter().enumerate() {
                let id = format!("{l}-{f}-{n}");
                let (what, time) = match line {
                    Line::Event(time) => (id.clone(), Some(*time)),
                    Line::Broken => ("not_json".to_owned(), None),
                    Line::Blank => (String::new(), None),
                };
                match line {
                    Line::Event(time) => text.push_str(&event(*time, &id)),
                    Line::Broken => text.push_str("{broken"),
                    Line::Blank => text.push(' '),
                }
                text.push('\n');
                if !what.is_empty() {
                    let seen = Seen {
                        offset: 0,
                        log_time: 0,
                        file: name.clone(),
                        line: n as i64 + 1,
                        what,
                        corrected: false,
                        clamped: false,
                    };
                    records.push((seen, time));
                }
            }
            fs::write(folder.join(&name), text).unwrap();
        }
        expected.push(with_log_times(records));
    }
    let known = expected.iter().flatten().filter_map(|(_, log_time)| *log_time).min().unwrap_or(0);
    let mut all: Vec<(i64, usize, Seen)> = Vec::new();
    for (l, records) in expected.into_iter().enumerate() {
        for (mut seen, log_time) in records {
            seen.log_time = log_time.unwrap_or(known);
            all.push((seen.log_time, l, seen));
        }
    }
    all.sort_by_key(|(log_time, l, _)| (*log_time, *l));
    let numbered = all.into_iter().enumerate();
    numbered.map(|(i, (_, _, seen))| Seen { offset: i as i64, ..seen }).collect()
}

/// The rule as the design says it, without any cleverness.
fn with_log_times(records: Vec<(Seen, Option<i64>)>) -> Vec<(Seen, Option<i64>)> {
    let times: Vec<i64> = records.iter().filter_map(|(_, time)| *time).collect();
    let corrected: Vec<i64> = (0..times.len())
        .map(|i| {
            let least = *times[i..times.len().min(i + 64)].iter().min().unwrap();
            if times[i] - least > DAY { least } else { times[i] }
        })
        .collect();
    let mut now = corrected.first().copied();
    let mut next = 0;
    let mut out = Vec::new();
    for (mut seen, time) in records {
        if let Some(time) = time {
            now = now.max(Some(corrected[next]));
            seen.corrected = corrected[next] != time;
            seen.clamped = time - now.unwrap() > MINUTE;
            next += 1;
        }
        out.push((seen, now));
    }
    out
}

fn options() -> impl Strategy<Value = ReplayOptions> {
    let rows = prop::sample::select(vec![1usize, 7, 64, 8192]);
    (0usize..3, 1usize..3000, rows).prop_map(|(threads, chunk_bytes, batch_rows)| ReplayOptions {
        threads,
        chunk_bytes,
        batch_rows,
        ..native()
    })
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![3 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b'{')]
}

fn native() -> ReplayOptions {
    ReplayOptions {
        format: lapwing_ingest::format::format_by_name("native"),
        ..ReplayOptions::new("test")
    }
}

fn input(path: impl AsRef<Path>) -> Vec<String> {
    vec![path.as_ref().to_str().unwrap().to_owned()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn however_it_is_cut_the_order_is_that_of_the_reference(logs in logs(), options in options()) {
        let folder = TempDir::new().unwrap();
        let expected = write(&logs, folder.path());
        let batch_rows = options.batch_rows as u64;
        let (seen, stats) = read_all(&input(folder.path()), options);
        prop_assert_eq!(&seen, &expected);
        prop_assert_eq!(stats.records, expected.len() as u64);
        prop_assert!(batch_rows > 0);
        let blanks = logs.iter().flatten().flatten().filter(|l| matches!(l, Line::Blank)).count();
        prop_assert_eq!(stats.blank_lines, blanks as u64);
    }

    #[test]
    fn since_and_until_cut_by_log_time_and_keep_offsets(
        logs in logs(), options in options(), since in 0..3 * HOUR, until in 0..3 * HOUR,
    ) {
        let folder = TempDir::new().unwrap();
        let mut expected = write(&logs, folder.path());
        expected.retain(|s| s.log_time >= since && s.log_time < until);
        let options = ReplayOptions { since: Some(since), until: Some(until), ..options };
        let (seen, _) = read_all(&input(folder.path()), options);
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn arbitrary_bytes_are_all_accounted_for(
        bytes in prop::collection::vec(byte(), 0..2000),
        chunk_bytes in 1usize..300,
    ) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("x.log");
        fs::write(&path, &bytes).unwrap();
        let mut options = ReplayOptions { chunk_bytes, ..native() };
        options.decode.max_record_bytes = 50;
        let (seen, _) = read_all(&input(&path), options);
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let lines = text.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty()).count();
        prop_assert_eq!(seen.len(), lines);
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn lines(ids: std::ops::Range<i64>) -> String {
    ids.map(|i| event(i * MINUTE, &format!("id{i}")) + "\n").collect()
}

fn ids(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|s| s.what.as_str()).collect()
}

#[test]
fn rotated_and_compressed_files_are_one_log() {
    let folder = TempDir::new().unwrap();
    let mut members = gzip(&lines(0..2));
    members.extend(gzip(&lines(2..4)));
    fs::write(folder.path().join("x.log.3.gz"), members).unwrap();
    let mut frames = zstd::encode_all(lines(4..5).as_bytes(), 1).unwrap();
    frames.extend(zstd::encode_all(lines(5..6).as_bytes(), 1).unwrap());
    fs::write(folder.path().join("x.log.2.zst"), frames).unwrap();
    fs::write(folder.path().join("x.log.1"), "").unwrap();
    fs::write(folder.path().join("x.log"), lines(6..7)).unwrap();
    let (seen, stats) = read_all(&input(folder.path()), ReplayOptions::new("x"));
    assert_eq!(ids(&seen), ["id0", "id1", "id2", "id3", "id4", "id5", "id6"]);
    assert_eq!(seen[6].file, "x.log");
    assert_eq!((stats.logs, stats.files), (1, 4));
    let source = ReplaySource::open(&input(folder.path()), ReplayOptions::new("x")).unwrap();
    assert_eq!(source.total_bytes(), Some(stats.bytes_read));
}

#[test]
fn a_cut_gzip_gives_its_lines_and_one_record_for_the_rest() {
    let folder = TempDir::new().unwrap();
    let text: String = lines(0..2000);
    let packed = gzip(&text);
    fs::write(folder.path().join("x.log.gz"), &packed[..packed.len() / 2]).unwrap();
    let (seen, _) = read_all(&input(folder.path()), ReplayOptions::new("x"));
    assert!(seen.len() > 100);
    let (last, events) = seen.split_last().unwrap();
    assert_eq!(last.what, RejectReason::Undecodable.name());
    assert!(events.iter().enumerate().all(|(i, e)| e.what == format!("id{i}")));
    assert_eq!(last.line, seen.len() as i64);
}

#[test]
fn a_file_given_twice_is_read_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.log");
    fs::write(&path, lines(0..3)).unwrap();
    std::os::unix::fs::symlink(&path, folder.path().join("link.log")).unwrap();
    let text = path.to_str().unwrap();
    let inputs = [text.to_owned(), format!("{}/*.log", folder.path().display()), text.to_owned()];
    let (seen, _) = read_all(&inputs, ReplayOptions::new("x"));
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_file_named_alone_does_not_pull_in_its_predecessors() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("x.1.log"), lines(0..1)).unwrap();
    fs::write(folder.path().join("x.log"), lines(1..2)).unwrap();
    let (seen, _) = read_all(&input(folder.path().join("x.log")), ReplayOptions::new("x"));
    assert_eq!(ids(&seen), ["id1"]);
}

#[test]
fn names_in_records_are_below_the_common_folder() {
    let folder = TempDir::new().unwrap();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    fs::write(folder.path().join("a/b/x.log"), lines(0..1)).unwrap();
    fs::write(folder.path().join("a/y.log"), lines(1..2)).unwrap();
    fs::write(folder.path().join("a/.hidden.log"), lines(2..3)).unwrap();
    let names = |inputs: &[String]| -> Vec<String> {
        read_all(inputs, ReplayOptions::new("x")).0.into_iter().map(|s| s.file).collect()
    };
    let at = |below: &str| folder.path().join(below).to_str().unwrap().to_owned();
    assert_eq!(names(&[at("a")]), ["b/x.log", "y.log"]);
    assert_eq!(names(&[at("a/**/*.log")]), ["b/x.log", "y.log"]);
    assert_eq!(names(&[at("a/*.log")]), ["y.log"]);
    assert_eq!(names(&[at("a/b/x.log"), at("a/y.log")]), ["b/x.log", "y.log"]);
}

#[test]
fn a_log_in_an_unknown_format_is_refused_by_name_and_the_others_are_read() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("x.log"), lines(0..3)).unwrap();
    fs::write(folder.path().join("y.jsonl"), "{\"resourceLogs\":[]}\n").unwrap();
    fs::write(folder.path().join("empty.log"), "").unwrap();
    let (seen, stats) = read_all(&input(folder.path()), ReplayOptions::new("x"));
    assert_eq!(seen.len(), 3);
    assert_eq!(stats.formats, [("native", 3)]);
    assert_eq!(stats.refused[0].name, "y.jsonl");
    assert_eq!(stats.refused[0].looks_like, "OTLP/JSON logs");
    let only = ReplaySource::open(&input(folder.path().join("y.jsonl")), ReplayOptions::new("x"));
    let error = only.err().unwrap();
    assert!(matches!(error, SourceError::AllRefused { .. }));
    let text = error.to_string();
    assert!(text.contains("y.jsonl") && text.contains("native ("), "{text}");
}

#[test]
fn inputs_that_are_not_there_are_named() {
    let folder = TempDir::new().unwrap();
    for (below, part) in [("x.log", "no such file"), ("*.log", "matches no file"), ("", "no files")]
    {
        let inputs = input(folder.path().join(below));
        let error = ReplaySource::open(&inputs, ReplayOptions::new("x")).err().unwrap();
        let text = error.to_string();
        assert!(text.contains(&inputs[0]) && text.contains(part), "{text}");
    }
}

#[test]
fn a_long_run_of_broken_lines_is_not_held_back() {
    let folder = TempDir::new().unwrap();
    let text = format!("{}{}", "{broken\n".repeat(10_000), lines(5..7));
    fs::write(folder.path().join("x.log"), text).unwrap();
    let options = ReplayOptions { chunk_bytes: 1000, ..native() };
    let (seen, _) = read_all(&input(folder.path()), options);
    assert_eq!(seen.len(), 10_002);
    assert_eq!(seen[0].log_time, 0);
    assert_eq!(seen[10_001].log_time, 6 * MINUTE);
}

#[test]
fn a_single_log_shares_the_memory_of_its_chunks() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("x.log"), lines(0..20_000)).unwrap();
    let mut source = ReplaySource::open(&input(folder.path()), ReplayOptions::new("x")).unwrap();
    let mut sizes = Vec::new();
    while let Next::Batch(batch) = source.next_batch().unwrap() {
        sizes.push(batch.records());
    }
    assert_eq!(sizes.iter().sum::<usize>(), 20_000);
    assert!(sizes.len() > 2, "batches end with their chunks: {sizes:?}");
}

/// Run with `cargo test --release -p lapwing-ingest --test source_replay -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
#[expect(clippy::print_stdout, reason = "a measurement")]
fn speed_of_replaying_a_million_events() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.log");
    let filler = "x".repeat(40);
    let mut text = String::new();
    for i in 0..1_000_000_i64 {
        let (time, agent) = (format_time(i * 10_000), i % 50);
        text.push_str(&format!(
            r#"{{"time":"{time}","id":"evt-{i:012}","product":"openclaw","product_version":"2026.11.1","instance":{{"id":"gw{}"}},"kind":"tool","action":"tool.execute","outcome":"success","agent":{{"id":"agent-{agent}"}},"session":{{"id":"s-{}","key":"agent:main"}},"run":{{"id":"run-{}"}},"source":{{"ip":"203.0.113.{}"}},"tool":{{"name":"exec","target":"/home/claw/{filler}/{}","call_id":"call-{i}"}},"usage":{{"input_tokens":{i},"output_tokens":12}},"duration_ms":{agent},"sequence":{i}}}"#,
            i % 3, i / 1000, i / 100, i % 200, i % 1000,
        ));
        text.push('\n');
    }
    println!("{} bytes an event", text.len() / 1_000_000);
    fs::write(&path, text).unwrap();
    for threads in [0, 1, 2] {
        let start = std::time::Instant::now();
        let options = ReplayOptions { threads, ..ReplayOptions::new("x") };
        let mut source = ReplaySource::open(&input(&path), options).unwrap();
        let mut records = 0;
        while let Next::Batch(batch) = source.next_batch().unwrap() {
            records += batch.records();
        }
        println!("{threads} threads: {records} records in {:?}", start.elapsed());
    }
}

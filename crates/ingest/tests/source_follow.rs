//! Following files: nothing is lost and nothing is read twice, whatever happens to the files.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use lapwing_event::time::format_time;
use lapwing_event::{FieldId, LogTimeOrigin};
use lapwing_ingest::{FollowCursor, FollowOptions, FollowSource, Next, Source, Start};
use tempfile::TempDir;

/// A folder with logs, and what a follower has read of them.
struct Bench {
    folder: TempDir,
    pattern: String,
    follower: Option<FollowSource>,
    cursor: Option<FollowCursor>,
    options: FollowOptions,
    log_time: i64,
}

impl Bench {
    fn new(pattern: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let pattern = format!("{}/{pattern}", folder.path().display());
        let options = FollowOptions {
            start: Start::Beginning,
            poll: Duration::ZERO,
            retire_after: Duration::from_secs(3600),
            ..FollowOptions::new("test")
        };
        Self { folder, pattern, follower: None, cursor: None, options, log_time: 0 }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.at(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    /// What is new: the id of each event, the reason of each rejected record.
    fn read(&mut self) -> Vec<String> {
        self.read_with_lines().into_iter().map(|(what, _)| what).collect()
    }

    fn read_with_lines(&mut self) -> Vec<(String, i64)> {
        if self.follower.is_none() {
            let inputs = [self.pattern.clone()];
            let open = FollowSource::open(&inputs, self.options.clone(), self.cursor.as_ref());
            self.follower = Some(open.unwrap());
        }
        let follower = self.follower.as_mut().unwrap();
        let mut seen = Vec::new();
        loop {
            match follower.next_batch().unwrap() {
                Next::Batch(batch) => {
                    assert_eq!(batch.partition.log_time_origin, LogTimeOrigin::Observed);
                    assert!(batch.event_log_times().iter().all(|t| *t >= self.log_time));
                    self.log_time = batch.log_time().unwrap();
                    let ids = batch.events.column(FieldId::Id.index()).as_string::<i32>();
                    let lines = batch.events.column(FieldId::LogLine.index());
                    let lines = lines.as_primitive::<Int64Type>();
                    let mut records: Vec<(i64, String, i64)> = (0..ids.len())
                        .map(|i| {
                            (batch.event_offsets()[i], ids.value(i).to_owned(), lines.value(i))
                        })
                        .collect();
                    records.extend(
                        batch.rejected.iter().map(|r| {
                            (r.offset, r.record.reason.name().to_owned(), r.line.unwrap())
                        }),
                    );
                    records.sort_by_key(|(offset, ..)| *offset);
                    seen.extend(records.into_iter().map(|(_, what, line)| (what, line)));
                }
                Next::Idle { log_time } => {
                    assert!(log_time >= self.log_time);
                    self.log_time = log_time;
                    return seen;
                }
                Next::End => unreachable!("following never ends"),
            }
        }
    }

    /// Stops and starts again from the cursor, as written to disk and read back.
    fn restart(&mut self) {
        let cursor = self.follower.take().unwrap().cursor();
        let text = serde_json::to_string(&cursor).unwrap();
        self.cursor = Some(serde_json::from_str(&text).unwrap());
    }

    fn truncations(&self) -> u64 {
        self.follower.as_ref().unwrap().stats().truncations
    }
}

fn event(id: &str) -> String {
    format!("{{\"time\":\"{}\",\"kind\":\"tool\",\"id\":\"{id}\"}}\n", format_time(1))
}

fn events(ids: &[&str]) -> String {
    ids.iter().map(|id| event(id)).collect()
}

#[test]
fn appended_lines_are_read_once_they_are_whole() {
    let mut bench = Bench::new("x.log");
    bench.append("x.log", &events(&["a", "b"]));
    assert_eq!(bench.read_with_lines(), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    let line = event("c");
    bench.append("x.log", &line[..20]);
    assert!(bench.read().is_empty());
    bench.restart();
    assert!(bench.read().is_empty());
    bench.append("x.log", &line[20..]);
    assert_eq!(bench.read_with_lines(), [("c".to_owned(), 3)]);
    let cursor = bench.follower.as_ref().unwrap().cursor();
    assert_eq!(cursor.next_offset, 3);
}

#[test]
fn from_the_end_only_what_is_added_is_read_with_its_true_line() {
    let mut bench = Bench::new("*.log");
    bench.options.start = Start::End;
    bench.append("x.log", &format!("{}{}", events(&["a", "b"]), &event("c")[..10]));
    assert!(bench.read().is_empty());
    bench.append("x.log", &event("c")[10..]);
    bench.append("new.log", &event("d"));
    let mut seen = bench.read_with_lines();
    seen.sort();
    assert_eq!(seen, [("c".to_owned(), 3), ("d".to_owned(), 1)]);
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
    for pattern in ["*.log", "x.log"] {
        let mut bench = Bench::new(pattern);
        bench.append("x.log", &event("a"));
        assert_eq!(bench.read(), ["a"]);
        bench.append("x.log", &event("b"));
        bench.rename("x.log", "x.1.log");
        bench.append("x.log", &event("c"));
        assert_eq!(bench.read(), ["b", "c"], "{pattern}");
        bench.append("x.1.log", &event("late"));
        assert_eq!(bench.read(), ["late"], "{pattern}");
        bench.options.retire_after = Duration::ZERO;
        bench.restart();
        bench.append("x.log", &event("d"));
        assert_eq!(bench.read(), ["d"], "{pattern}");
        bench.rename("x.1.log", "x.2.log");
        bench.rename("x.log", "x.1.log");
        bench.append("x.log", &event("e"));
        assert_eq!(bench.read(), ["e"], "{pattern}");
        bench.restart();
        assert!(bench.read().is_empty(), "{pattern}");
    }
}

#[test]
fn after_a_restart_a_file_renamed_meanwhile_is_found_again() {
    for pattern in ["*.log", "x.log"] {
        let mut bench = Bench::new(pattern);
        bench.append("x.log", &events(&["a", "b"]));
        assert_eq!(bench.read(), ["a", "b"]);
        bench.restart();
        bench.append("x.log", &event("c"));
        bench.rename("x.log", "x.1.log");
        bench.append("x.log", &event("d"));
        assert_eq!(bench.read(), ["c", "d"], "{pattern}");
    }
}

#[test]
fn the_unfinished_line_of_a_file_rotated_away_is_not_lost() {
    let mut bench = Bench::new("*.log");
    bench.options.retire_after = Duration::ZERO;
    bench.append("x.log", &format!("{}{}", event("a"), &event("b")[..20]));
    assert_eq!(bench.read(), ["a"]);
    bench.rename("x.log", "x.1.log");
    bench.append("x.log", &event("c"));
    assert_eq!(bench.read(), ["cut", "c"]);
    assert!(bench.read().is_empty());
}

#[test]
fn the_file_of_the_next_day_is_followed() {
    let mut bench = Bench::new("openclaw-*.log");
    bench.append("openclaw-2026-11-22.log", &event("a"));
    assert_eq!(bench.read(), ["a"]);
    bench.append("openclaw-2026-11-23.log", &event("b"));
    assert_eq!(bench.read(), ["b"]);
    bench.append("openclaw-2026-11-22.log", &event("late"));
    assert_eq!(bench.read(), ["late"]);
}

#[test]
fn rotated_files_are_read_first_and_compressed_ones_not_at_all() {
    let mut bench = Bench::new("x.log*");
    bench.append("x.log", &event("c"));
    bench.append("x.log.1", &event("b"));
    bench.append("x.log.2", &event("a"));
    assert_eq!(bench.read(), ["a", "b", "c"]);
    let packed = zstd::encode_all(event("a").as_bytes(), 1).unwrap();
    fs::write(bench.at("x.log.3.zst"), packed).unwrap();
    assert!(bench.read().is_empty());
}

#[test]
fn a_file_cut_short_is_read_from_its_beginning() {
    let mut bench = Bench::new("x.log");
    bench.append("x.log", &events(&["a", "b"]));
    assert_eq!(bench.read(), ["a", "b"]);
    fs::write(bench.at("x.log"), event("c")).unwrap();
    assert_eq!(bench.read_with_lines(), [("c".to_owned(), 1)]);
    assert_eq!(bench.truncations(), 1);
    fs::write(bench.at("x.log"), events(&["d", "e", "f"])).unwrap();
    assert_eq!(bench.read(), ["d", "e", "f"], "longer than before, but another beginning");
    assert_eq!(bench.truncations(), 2);
    bench.restart();
    fs::write(bench.at("x.log"), event("g")).unwrap();
    assert_eq!(bench.read(), ["g"], "cut short while nobody looked");
    assert_eq!(bench.truncations(), 1);
}

#[test]
fn a_file_copied_and_cut_short_is_read_once_and_whole() {
    for looks_between in [false, true] {
        let mut bench = Bench::new("*.log");
        bench.append("x.log", &events(&["a", "b"]));
        assert_eq!(bench.read(), ["a", "b"]);
        bench.append("x.log", &event("c"));
        fs::copy(bench.at("x.log"), bench.at("x.1.log")).unwrap();
        let mut seen = Vec::new();
        if looks_between {
            seen.extend(bench.read());
        }
        fs::write(bench.at("x.log"), event("d")).unwrap();
        for _ in 0..3 {
            seen.extend(bench.read());
        }
        seen.sort();
        assert_eq!(seen, ["c", "d"], "{looks_between}");
        bench.restart();
        assert!(bench.read().is_empty());
    }
}

#[test]
fn a_long_line_is_rejected_once_its_end_has_come() {
    let mut bench = Bench::new("x.log");
    bench.options.decode.max_record_bytes = 100;
    bench.options.chunk_bytes = 64;
    bench.append("x.log", &event("a"));
    assert_eq!(bench.read(), ["a"]);
    bench.append("x.log", &"x".repeat(100_000));
    assert!(bench.read().is_empty());
    bench.append("x.log", &"x".repeat(100_000));
    assert!(bench.read().is_empty());
    bench.append("x.log", &format!("\n{}", event("b")));
    assert_eq!(bench.read_with_lines(), [("too_long".to_owned(), 2), ("b".to_owned(), 3)]);
}

#[test]
fn a_log_in_an_unknown_format_is_read_once_it_is_known() {
    let mut bench = Bench::new("*");
    bench.append("x.log", "starting\n");
    assert!(bench.read().is_empty());
    let refused = bench.follower.as_ref().unwrap().stats().refused;
    assert_eq!((refused.len(), refused[0].name.as_str()), (1, "x.log"));
    bench.append("x.log", &event("a"));
    assert_eq!(bench.read(), ["not_json", "a"]);
    assert!(bench.follower.as_ref().unwrap().stats().refused.is_empty());
}

#[test]
fn a_file_that_does_not_exist_yet_is_awaited() {
    let mut bench = Bench::new("x.log");
    assert!(bench.read().is_empty());
    bench.append("x.log", &event("a"));
    assert_eq!(bench.read(), ["a"]);
    assert!(FollowSource::open(&["/no/such/x.log".into()], FollowOptions::new("x"), None).is_err());
}

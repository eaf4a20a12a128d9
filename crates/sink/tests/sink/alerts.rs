//! Alerts as Parquet and as JSON Lines.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use lapwing_event::{Message, Status};
use lapwing_sink::{Archive, ArchiveReport, JsonAlerts, Sink, alert_columns};

use crate::messages::{message, next};
use crate::read::{SMALL, files, mode, names, rows};
use crate::records::{MIDNIGHT, batches, records};

const ALERTS: &str = "alerts/date=2026-11-22/source_id=gw1";

fn run(root: &Path, count: i64, messages: &[Message]) -> ArchiveReport {
    let mut archive = Archive::open(root, SMALL).expect("opened");
    for batch in batches(&records(count, MIDNIGHT), 40) {
        archive.write_batch(&batch).expect("taken");
    }
    archive.write_messages(messages).expect("taken");
    archive.finish().expect("finished");
    *archive.report()
}

fn alert_files(root: &Path) -> Vec<String> {
    names(root).into_iter().filter(|n| n.starts_with("alerts/")).collect()
}

#[test]
fn messages_become_rows_sorted_by_id_and_revision() {
    let folder = tempfile::tempdir().expect("a folder");
    let (b, a) = (message("b"), message("a"));
    let b2 = next(&b, Status::Resolved, |alert| alert.resolved_at = Some(MIDNIGHT));
    run(folder.path(), 50, &[b, b2.clone(), a]);
    let name = format!("{ALERTS}/0-{:020}-{:020}.parquet", 0, 49);
    assert_eq!(alert_files(folder.path()), std::slice::from_ref(&name));
    let read = rows(&folder.path().join(name));
    for (field, column) in read.schema().fields().iter().zip(alert_columns()) {
        assert_eq!((field.name().as_str(), field.data_type()), (column.name, &column.arrow()));
        assert_eq!(field.is_nullable(), column.nullable, "{}", column.name);
    }
    let text = |name: &str| -> Vec<_> {
        read.column_by_name(name).expect("there").as_string::<i32>().iter().flatten().collect()
    };
    assert_eq!(text("id"), ["a", "b", "b"]);
    let revisions = read.column_by_name("revision").expect("there").as_primitive::<Int64Type>();
    assert_eq!(revisions.values().as_ref(), [1, 1, 2]);
    assert_eq!(read.column_by_name("resolved_at").expect("there").null_count(), 2);
    let key = r#"{"product":"openclaw","source.ip":"203.0.113.50","tenant":null}"#;
    assert_eq!(text("key")[0], key);
    assert_eq!(text("by_reason")[0], r#"{"token_mismatch":4}"#);
    assert_eq!(text("alert")[2], serde_json::to_string(&b2.alert).expect("JSON"));
}

#[test]
fn the_same_alerts_again_are_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (message("a"), message("b"));
    let report = run(folder.path(), 50, &[a.clone(), b.clone()]);
    assert_eq!((report.alerts_written, report.alerts_unchanged), (2, 0));
    let before = files(folder.path());
    let report = run(folder.path(), 50, &[b, a]);
    assert_eq!((report.alerts_written, report.alerts_unchanged), (0, 2));
    assert_eq!((report.files_written, report.alert_files_replaced), (0, 0));
    assert!(files(folder.path()) == before);
}

#[test]
fn alerts_of_a_longer_run_replace_those_within() {
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path(), 50, &[message("a")]);
    let report = run(folder.path(), 90, &[message("a"), message("b")]);
    assert_eq!((report.alerts_written, report.alert_files_replaced), (2, 1));
    assert_eq!(alert_files(folder.path()), [format!("{ALERTS}/0-{:020}-{:020}.parquet", 0, 89)]);
    let report = run(folder.path(), 90, &[]);
    assert_eq!(report.alert_files_replaced, 1);
    assert!(alert_files(folder.path()).is_empty(), "the rules no longer raise any");
}

#[test]
fn alerts_are_split_by_the_day_they_were_raised_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut early = message("a");
    early.log_time = MIDNIGHT - 1;
    run(folder.path(), 50, &[early, message("a")]);
    let names = alert_files(folder.path());
    assert!(names[0].contains("date=2026-11-21") && names[1].contains("date=2026-11-22"));
}

#[test]
fn json_lines_are_one_object_each_for_their_owner_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("alerts.jsonl");
    let mut sink = JsonAlerts::create(&path).expect("created");
    let (a, b) = (message("a"), message("b"));
    sink.write_messages(&[a.clone(), b]).expect("written");
    assert_eq!(mode(&path), 0o600);
    let text = std::fs::read_to_string(&path).expect("there before the sink is finished");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], serde_json::to_string(&a.alert).expect("JSON"));
    let error = JsonAlerts::create(&path.join("x")).expect_err("not a folder").to_string();
    assert!(error.starts_with("cannot write alerts to "), "{error}");
}

/// Takes so many bytes at a time and then says that it is full.
#[derive(Default)]
struct Full {
    written: Vec<u8>,
    room: usize,
    left: usize,
}

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = bytes.len().min(self.left);
        if count == 0 {
            self.left = self.room;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.left -= count;
        self.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_a_full_disk_has_cut_are_completed() {
    let messages = [message("a"), message("b")];
    let lines: Vec<String> =
        messages.iter().map(|m| serde_json::to_string(&m.alert).expect("JSON")).collect();
    // With room for one line and a half, all is written when the second one is tried again.
    for room in [lines[0].len() * 3 / 2, lines[0].len() * 2, lines[0].len() * 3] {
        let mut sink = JsonAlerts::new(Full { room, ..Full::default() }, "a full disk");
        let failed = (0..9).take_while(|_| sink.write_messages(&messages[..1]).is_err()).count();
        assert!(failed < 9);
        while sink.write_messages(&messages[1..]).is_err() {}
        let written = String::from_utf8(sink.into_inner().written).expect("UTF-8");
        assert!(written.ends_with('\n'));
        assert!(written.lines().all(|line| lines.iter().any(|whole| whole == line)), "{written}");
        assert!(lines.iter().all(|whole| written.lines().any(|line| line == whole)), "{written}");
    }
}

//! `run` on topics of a real broker: every record once in the archive, every alert under one id, whatever
//! is killed, frozen or restarted meanwhile.
//!
//! `LAPWING_SOAK_MINUTES=10 cargo test -p lapwing --test suite -- --ignored --nocapture soak` goes on for longer, with
//! `LAPWING_PROGRAM=$PWD/target/release/lapwing` as it is released.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lapwing_ingest::{ArchiveSource, Next, Source};
use serde_json::Value;

use crate::broker::{Broker, Record};
use crate::program::{command, lapwing};

/// Records of the disturbed run; a quarter of an hour of a busy fleet.
const EVENTS: usize = 200_000;
const PARTITIONS: i32 = 4;
/// How long everything may take to be archived at the end, on a machine that is busy with other tests.
const ARCHIVED_WITHIN: Duration = Duration::from_secs(240);

/// A folder with the configuration of one consumer group.
struct Group {
    folder: PathBuf,
    topic: String,
}

impl Group {
    fn new(root: &Path, name: &str, brokers: &str, topic: &str, source: &str) -> Self {
        let folder = root.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let group = Self { folder, topic: topic.to_owned() };
        group.configure(brokers, name, source);
        group
    }

    fn configure(&self, brokers: &str, name: &str, source: &str) {
        for worker in ["a", "b", "c", "d"] {
            let config = format!(
                "sources:\n  - id: agents\n    type: kafka\n    brokers: '{brokers}'\n    \
                 group: {name}-{topic}\n    topics: [{{name: {topic}}}]\n{source}\
                 state: state\narchive: {{path: archive, epoch: 1s}}\n\
                 alerts: {{file: alerts-{worker}.jsonl, stdout: none}}\n",
                topic = self.topic,
            );
            fs::write(self.folder.join(format!("{worker}.yml")), config).expect("a file");
        }
    }

    fn start(&self, worker: &str) -> Worker {
        let log = self.folder.join(format!("{worker}.log"));
        let log = OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let child = command(&self.folder)
            .args(["run", "--config", &format!("{worker}.yml")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Worker { child: child.expect("the program starts"), name: worker.to_owned() }
    }

    /// What all workers have said.
    fn said(&self) -> String {
        let logs = ["a", "b", "c", "d"].map(|worker| {
            let text = fs::read_to_string(self.folder.join(format!("{worker}.log")));
            format!("--- {worker}\n{}", text.unwrap_or_default())
        });
        logs.concat()
    }

    /// The offsets of every partition in the archive, ascending as they are read.
    fn offsets(&self) -> BTreeMap<String, Vec<i64>> {
        let mut offsets: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let options = lapwing_ingest::ArchiveOptions::default();
        let Ok(mut source) = ArchiveSource::open(&self.folder.join("archive"), options) else {
            return offsets;
        };
        while let Next::Batch(batch) = source.next_batch().expect("a readable archive") {
            let of = offsets.entry(batch.partition.name.to_string()).or_default();
            let mut both: Vec<i64> = batch.event_offsets().to_vec();
            both.extend(batch.rejected.iter().map(|rejected| rejected.offset));
            both.sort_unstable();
            of.extend(both);
        }
        offsets
    }

    /// The rows of all visible files, as their footers say; files come and go meanwhile.
    fn rows(&self) -> u64 {
        let mut rows = 0;
        for table in ["events", "rejected"] {
            let mut folders = vec![self.folder.join("archive").join(table)];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    match entry.path() {
                        path if path.is_dir() => folders.push(path),
                        path => rows += rows_of(&path),
                    }
                }
            }
        }
        rows
    }

    fn wait_for_rows(&self, rows: u64) {
        let deadline = Instant::now() + ARCHIVED_WITHIN;
        while self.rows() < rows {
            let (now, said) = (self.rows(), self.said());
            assert!(Instant::now() < deadline, "{now} of {rows} rows:\n{said}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until something was said.
    fn wait_for(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.said().contains(what) {
            assert!(Instant::now() < deadline, "waited in vain for {what:?}:\n{}", self.said());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// All messages handed over, by id and revision. One that came more than once was the same.
    fn messages(&self) -> BTreeMap<(String, u64), String> {
        let mut messages = BTreeMap::new();
        for worker in ["a", "b", "c", "d"] {
            let path = self.folder.join(format!("alerts-{worker}.jsonl"));
            for line in fs::read_to_string(path).unwrap_or_default().lines() {
                add_message(&mut messages, line);
            }
        }
        messages
    }
}

fn add_message(messages: &mut BTreeMap<(String, u64), String>, line: &str) {
    let value: Value = serde_json::from_str(line).expect("a JSON line");
    let id = value["id"].as_str().expect("an id").to_owned();
    let revision = value["revision"].as_u64().expect("a revision");
    let before = messages.insert((id, revision), line.to_owned());
    assert!(before.as_ref().is_none_or(|b| b == line), "one id, two messages:\n{before:?}\n{line}");
}

fn rows_of(path: &Path) -> u64 {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let Ok(file) = fs::File::open(path) else { return 0 };
    let reader = SerializedFileReader::new(file).expect("a whole Parquet file");
    reader.metadata().file_metadata().num_rows().unsigned_abs()
}

/// A process of a group; killed if the test forgets it.
struct Worker {
    child: Child,
    name: String,
}

impl Worker {
    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = std::process::Command::new("kill").args([name, &id]).status();
        assert!(status.expect("kill").success());
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("a child");
    }

    fn stop(mut self, group: &Group) {
        self.signal("-TERM");
        let code = self.wait(group);
        assert_eq!(code, Some(0), "{}", group.said());
    }

    fn wait(&mut self, group: &Group) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => return status.code(),
                None => assert!(Instant::now() < deadline, "did not stop:\n{}", group.said()),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Records of a simulated fleet, each in the partition of its agent.
fn simulated(folder: &Path, events: usize) -> Vec<Record> {
    let log = folder.join("simulated.jsonl");
    let (path, count) = (log.to_str().expect("a path"), events.to_string());
    let arguments = ["simulate", "--events", &count, "--incidents", "6", "--out", path];
    lapwing(folder, &[&arguments[..], &["--start", "2026-01-01T00:00:00Z"]].concat()).exits(0);
    let text = fs::read_to_string(log).expect("a log");
    let record = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("an event");
        let agent = value["agent"]["id"].as_str().unwrap_or_default();
        let sum: usize = agent.bytes().map(usize::from).sum();
        let partition = Some(i32::try_from(sum).expect("small") % PARTITIONS);
        Record { partition, value: Some(line.as_bytes().to_vec()), ..Record::default() }
    };
    text.lines().map(record).collect()
}

/// The archive holds every offset of every partition once.
fn assert_archived(group: &Group, broker: &Broker) {
    let offsets = group.offsets();
    for (number, (start, end)) in broker.watermarks(&group.topic).into_iter().enumerate() {
        let expected: Vec<i64> = (start..end).collect();
        let found = offsets.get(&format!("{}-{number}", group.topic)).cloned().unwrap_or_default();
        assert_eq!(found.len(), expected.len(), "partition {number}");
        assert_eq!(found, expected, "partition {number}");
    }
}

/// The messages of two runs are the same, but for resolutions that silence brings: how many of them come
/// depends on how long a run goes on after the last record.
fn assert_same_messages(a: &BTreeMap<(String, u64), String>, b: &BTreeMap<(String, u64), String>) {
    for (these, others) in [(a, b), (b, a)] {
        for (key, line) in these {
            match others.get(key) {
                Some(other) => assert_eq!(line, other),
                None => assert!(line.contains("\"status\":\"resolved\""), "only in one: {line}"),
            }
        }
    }
}

/// A small generator, so that every run of a test does the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

const PARTIAL: &str = "    partial: accept\n    format: native\n    \
                       properties: {session.timeout.ms: 6000, heartbeat.interval.ms: 1500}\n";

#[test]
fn kills_freezes_and_a_broker_s_restart_lose_nothing_and_repeat_nothing() {
    let Some(mut broker) = Broker::get_alone() else { return };
    let root = tempfile::tempdir().expect("a folder");
    let topic = "disturbed";
    broker.create_topic(topic, PARTITIONS, &[("message.timestamp.type", "LogAppendTime")]);
    let records = simulated(root.path(), EVENTS);
    let group = Group::new(root.path(), "disturbed", &broker.bootstrap(), topic, PARTIAL);
    let mut workers = vec![group.start("a"), group.start("b")];
    let mut dice = Dice(7);
    let slices: Vec<&[Record]> = records.chunks(EVENTS / 8).collect();
    for (round, slice) in slices.iter().enumerate() {
        broker.produce(topic, slice.iter().cloned());
        thread::sleep(Duration::from_millis(500 + dice.below(2000)));
        match round {
            0 => group.wait_for("assigned"),
            3 => {
                workers[0].signal("-STOP");
                thread::sleep(Duration::from_secs(9));
                workers[0].signal("-CONT");
            }
            5 => broker.kill_and_restart(),
            _ => {
                let victim = workers.remove(dice.below(2) as usize);
                let name = victim.name.clone();
                victim.kill();
                workers.push(group.start(&name));
            }
        }
    }
    group.wait_for_rows(EVENTS as u64);
    workers.into_iter().for_each(|worker| worker.stop(&group));
    assert_archived(&group, &broker);

    let alone = Group::new(root.path(), "undisturbed", &broker.bootstrap(), topic, PARTIAL);
    let worker = alone.start("a");
    alone.wait_for_rows(EVENTS as u64);
    worker.stop(&alone);
    assert_archived(&alone, &broker);
    let (disturbed, undisturbed) = (group.messages(), alone.messages());
    assert!(undisturbed.len() > 50, "{} messages", undisturbed.len());
    assert_same_messages(&disturbed, &undisturbed);
    assert_replays_agree(&group, &disturbed);
}

/// A replay of the archive raises what was handed over live, and says of what is open that the input ended.
fn assert_replays_agree(group: &Group, live: &BTreeMap<(String, u64), String>) {
    let replayed = lapwing(&group.folder, &["replay", "--quiet", "archive"]).exits(0);
    let mut messages = BTreeMap::new();
    let is_at_end = |line: &&str| line.contains("\"open_at_end\":true");
    replayed.stdout.lines().filter(|l| !is_at_end(l)).for_each(|l| add_message(&mut messages, l));
    for (key, line) in &messages {
        assert_eq!(live.get(key), Some(line), "in the replay of the archive");
    }
    for (key, line) in live {
        let is_known = messages.contains_key(key) || line.contains("\"status\":\"resolved\"");
        assert!(is_known, "not in the replay of the archive: {line}");
    }
}

#[test]
#[ignore = "takes minutes; LAPWING_SOAK_MINUTES says how many"]
fn soak() {
    let Some(mut broker) = Broker::get_alone() else { return };
    let minutes = std::env::var("LAPWING_SOAK_MINUTES").ok().and_then(|m| m.parse().ok());
    let until = Instant::now() + Duration::from_secs(60 * minutes.unwrap_or(10));
    let root = tempfile::tempdir().expect("a folder");
    let topic = "soak";
    broker.create_topic(topic, PARTITIONS, &[("message.timestamp.type", "LogAppendTime")]);
    let records = simulated(root.path(), 1_000_000);
    let group = Group::new(root.path(), "soak", &broker.bootstrap(), topic, PARTIAL);
    let mut workers = vec![group.start("a"), group.start("b")];
    let (mut dice, mut produced) = (Dice(11), 0);
    let (mut kills, mut freezes, mut restarts, mut rounds) = (0, 0, 0, 0);
    while Instant::now() < until {
        let slice = &records[produced..(produced + 6_000).min(records.len())];
        broker.produce(topic, slice.iter().cloned());
        produced += slice.len();
        thread::sleep(Duration::from_millis(dice.below(4000)));
        rounds += 1;
        match rounds % 40 {
            17 => {
                workers[0].signal("-STOP");
                thread::sleep(Duration::from_secs(8));
                workers[0].signal("-CONT");
                freezes += 1;
            }
            33 => {
                broker.kill_and_restart();
                restarts += 1;
            }
            _ => {
                let victim = workers.remove(dice.below(2) as usize);
                let name = victim.name.clone();
                victim.kill();
                workers.push(group.start(&name));
                kills += 1;
            }
        }
    }
    group.wait_for_rows(produced as u64);
    workers.into_iter().for_each(|worker| worker.stop(&group));
    assert_archived(&group, &broker);
    let alone = Group::new(root.path(), "calm", &broker.bootstrap(), topic, PARTIAL);
    let worker = alone.start("a");
    alone.wait_for_rows(produced as u64);
    worker.stop(&alone);
    let (disturbed, undisturbed) = (group.messages(), alone.messages());
    assert_same_messages(&disturbed, &undisturbed);
    assert_replays_agree(&group, &disturbed);
    eprintln!(
        "soak: {produced} records, {kills} kills, {freezes} freezes, {restarts} restarts of the broker; \
         {} alert messages",
        disturbed.len()
    );
}

/// A failed login from an address.
fn failure(ip: &str, id: usize) -> Vec<u8> {
    format!(
        "{{\"time\":\"2026-11-22T16:00:{:02}Z\",\"kind\":\"auth\",\"outcome\":\"failure\",\"id\":\"{ip}-{id}\",\
         \"product\":\"openclaw\",\"reason\":{{\"code\":\"token_mismatch\"}},\"source\":{{\"ip\":\"{ip}\"}}}}",
        id % 60
    )
    .into_bytes()
}

#[test]
fn failures_scattered_over_partitions_refuse_the_start_or_say_so_in_their_alerts() {
    let Some(broker) = Broker::get() else { return };
    let root = tempfile::tempdir().expect("a folder");
    broker.create_topic("scattered", 8, &[]);
    let scattered = |n: usize| Record {
        partition: Some(n as i32 % 8),
        value: Some(failure("203.0.113.9", n)),
        ..Record::default()
    };
    broker.produce("scattered", (0..40).map(scattered));
    let group = Group::new(root.path(), "scattered", &broker.bootstrap(), "scattered", "");
    let refused = lapwing(&group.folder, &["run", "--config", "a.yml"]).exits(2);
    assert!(
        refused.stderr.contains("does not say what it is partitioned_by"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("auth_failures"), "{}", refused.stderr);
    lapwing(&group.folder, &["check", "--config", "a.yml"]).exits(2);

    group.configure(&broker.bootstrap(), "scattered", "    partial: accept\n");
    let worker = group.start("a");
    group.wait_for_rows(40);
    worker.stop(&group);
    let messages = group.messages();
    assert_eq!(messages.len(), 8, "five failures in each of eight partitions");
    for line in messages.values() {
        assert!(line.contains("\"incomplete_because\":[\"partition\"]"), "{line}");
    }
}

#[test]
fn poison_tombstones_and_gaps_are_kept_and_the_partition_goes_on() {
    let Some(broker) = Broker::get() else { return };
    let root = tempfile::tempdir().expect("a folder");
    broker.create_topic("poison", 1, &[]);
    let value =
        |value: Option<&[u8]>| Record { value: value.map(<[u8]>::to_vec), ..Record::default() };
    broker.produce(
        "poison",
        [value(Some(&failure("203.0.113.1", 1))), value(None), value(Some(b""))],
    );
    broker.produce("poison", [value(Some(b"{\"time\":")), value(Some(b"\xff\xfe"))]);
    let kept = broker.transaction("poison-kept");
    kept.produce("poison", [value(Some(&failure("203.0.113.1", 2)))]);
    kept.commit();
    let dropped = broker.transaction("poison-dropped");
    dropped.produce("poison", [value(Some(&failure("203.0.113.1", 3)))]);
    dropped.abort();
    broker.produce("poison", [value(Some(&failure("203.0.113.1", 4)))]);
    let group = Group::new(root.path(), "poison", &broker.bootstrap(), "poison", PARTIAL);
    let worker = group.start("a");
    group.wait_for_rows(7);
    worker.stop(&group);
    let offsets = group.offsets();
    // A committed and an aborted transaction leave markers, and the aborted one its record.
    assert_eq!(offsets["poison-0"], [0, 1, 2, 3, 4, 5, 9]);
    let rejected = lapwing(&group.folder, &["replay", "archive"]).exits(0);
    assert!(rejected.stderr.contains("no_value"), "{}", rejected.stderr);
}

#[test]
fn records_that_were_deleted_unread_raise_an_alert_and_are_never_skipped_silently() {
    let Some(broker) = Broker::get() else { return };
    let root = tempfile::tempdir().expect("a folder");
    broker.create_topic("deleted", 1, &[]);
    let records = |range: std::ops::Range<usize>| {
        range.map(|n| Record {
            value: Some(failure(&format!("203.0.113.{n}"), n)),
            ..Record::default()
        })
    };
    broker.produce("deleted", records(0..10));
    let group = Group::new(root.path(), "deleted", &broker.bootstrap(), "deleted", PARTIAL);
    let worker = group.start("a");
    group.wait_for_rows(10);
    worker.stop(&group);
    broker.produce("deleted", records(10..30));
    broker.delete_records("deleted", 0, 25);
    let worker = group.start("a");
    group.wait_for_rows(16);
    worker.stop(&group);
    let offsets = group.offsets();
    let expected: Vec<i64> = (0..10).chain([24]).chain(25..30).collect();
    assert_eq!(offsets["deleted-0"], expected, "one record stands for those that are gone");
    let messages = group.messages();
    let gap = messages.values().find(|line| line.contains("lapwing.gap")).expect("an alert");
    assert!(gap.contains("10 to 24"), "{gap}");
    assert_replays_agree(&group, &messages);
}

#[test]
fn a_topic_that_is_not_there_and_credentials_that_are_wrong_stop_the_start() {
    let Some(broker) = Broker::get() else { return };
    let root = tempfile::tempdir().expect("a folder");
    let group = Group::new(root.path(), "nothing", &broker.bootstrap(), "nothing-here", PARTIAL);
    let refused = lapwing(&group.folder, &["run", "--config", "a.yml"]).exits(2);
    assert!(refused.stderr.contains("has no topic nothing-here"), "{}", refused.stderr);
    group.configure("127.0.0.1:1", "nothing", PARTIAL);
    let refused = lapwing(&group.folder, &["run", "--config", "a.yml"]).exits(2);
    assert!(refused.stderr.contains("no answer from 127.0.0.1:1"), "{}", refused.stderr);
    let sasl = |password: &str| {
        format!(
            "    partial: accept\n    properties:\n      security.protocol: SASL_PLAINTEXT\n      \
             sasl.mechanism: PLAIN\n      sasl.username: {}\n      sasl.password: {password}\n",
            crate::broker::SASL_USER
        )
    };
    group.configure(&broker.sasl_bootstrap(), "nothing", &sasl("wrong"));
    let refused = lapwing(&group.folder, &["run", "--config", "a.yml"]).exits(2);
    assert!(refused.stderr.contains("check sasl"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("wrong;"), "the password is not shown: {}", refused.stderr);
    group.configure(&broker.sasl_bootstrap(), "nothing", &sasl(crate::broker::PLAIN_PASSWORD));
    let refused = lapwing(&group.folder, &["run", "--config", "a.yml"]).exits(2);
    assert!(refused.stderr.contains("has no topic nothing-here"), "{}", refused.stderr);
}

/// Partitions and topics that come later are found within a second.
const WATCHFUL: &str = "    partial: accept\n    \
                        properties: {topic.metadata.refresh.interval.ms: 1000}\n";

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let Some(broker) = Broker::get() else { return };
    let root = tempfile::tempdir().expect("a folder");
    broker.create_topic("grown", 1, &[]);
    let record = |partition: i32, n: usize| Record {
        partition: Some(partition),
        value: Some(failure("203.0.113.5", n)),
        ..Record::default()
    };
    broker.produce("grown", (0..3).map(|n| record(0, n)));
    let group = Group::new(root.path(), "grown", &broker.bootstrap(), "grown", WATCHFUL);
    let worker = group.start("a");
    group.wait_for_rows(3);
    broker.add_partitions("grown", 3);
    broker.produce("grown", (0..4).map(|n| record(2, n)));
    group.wait_for_rows(7);
    worker.stop(&group);
    assert_archived(&group, &broker);
}

#[test]
fn a_topic_that_was_recreated_stops_the_process_and_nothing_is_guessed() {
    let Some(broker) = Broker::get() else { return };
    let root = tempfile::tempdir().expect("a folder");
    let records = |count: usize| {
        (0..count).map(|n| Record { value: Some(failure("203.0.113.6", n)), ..Record::default() })
    };
    broker.create_topic("recreated", 1, &[]);
    broker.produce("recreated", records(5));
    let group = Group::new(root.path(), "recreated", &broker.bootstrap(), "recreated", PARTIAL);
    let worker = group.start("a");
    group.wait_for_rows(5);
    worker.stop(&group);
    broker.delete_topic("recreated");
    broker.create_topic("recreated", 1, &[]);
    broker.produce("recreated", records(2));
    let mut worker = group.start("a");
    assert_eq!(worker.wait(&group), Some(2), "{}", group.said());
    let said = group.said();
    assert!(said.contains("recreated partition 0 ends at offset 2, but was read to 5"), "{said}");
}

#[test]
fn a_frozen_broker_holds_reading_up_and_loses_nothing() {
    let Some(broker) = Broker::get_alone() else { return };
    let root = tempfile::tempdir().expect("a folder");
    broker.create_topic("frozen", 2, &[]);
    let records = |count: usize| {
        (0..count).map(|n| Record { value: Some(failure("203.0.113.7", n)), ..Record::default() })
    };
    broker.produce("frozen", records(500));
    let group = Group::new(root.path(), "frozen", &broker.bootstrap(), "frozen", PARTIAL);
    let worker = group.start("a");
    group.wait_for("assigned");
    broker.pause();
    thread::sleep(Duration::from_secs(8));
    broker.resume();
    broker.produce("frozen", records(500));
    group.wait_for_rows(1000);
    worker.stop(&group);
    assert_archived(&group, &broker);
}

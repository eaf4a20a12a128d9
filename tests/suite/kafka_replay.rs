//! `replay` of topics of a real broker.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::broker::{Broker, PLAIN_PASSWORD, Record, SASL_USER};
use crate::program::{Ran, command, files, lapwing, ran};
use crate::raw_record::{RawRecord, produce_raw};
use crate::running::{Running, wait};

/// Records whose log time is the broker's, which the program cannot know better.
const BY_BROKER: [(&str, &str); 1] = [("message.timestamp.type", "LogAppendTime")];

/// A topic with a folder for what is made of it.
struct Topic<'a> {
    broker: &'a Broker,
    name: &'a str,
    folder: tempfile::TempDir,
}

impl<'a> Topic<'a> {
    fn create(broker: &'a Broker, name: &'a str, partitions: i32) -> Self {
        broker.create_topic(name, partitions, &BY_BROKER);
        Self { broker, name, folder: tempfile::tempdir().expect("a folder") }
    }

    fn address(&self) -> String {
        format!("kafka://{}/{}", self.broker.bootstrap(), self.name)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Simulated events, keyed by agent.
    fn events(&self, seed: &str, events: usize) -> Vec<Record> {
        let count = events.to_string();
        let args = ["simulate", "--events", &count, "--seed", seed, "--agents", "20"];
        let lines = lapwing(self.path(), &args).exits(0).stdout;
        let record = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            Record::new(event["agent"]["id"].as_str().unwrap_or_default(), line)
        };
        // Of a few events the incidents alone would be more.
        lines.lines().take(events).map(record).collect()
    }

    fn replay(&self, extra: &[&str]) -> Ran {
        let address = self.address();
        let args = [&["replay", &address, "-o", "json"], extra].concat();
        lapwing(self.path(), &args)
    }
}

fn event(time: &str, agent: &str) -> String {
    format!(
        r#"{{"time":"{time}","kind":"tool","outcome":"denied","agent":{{"id":"{agent}"}},"tool":{{"name":"exec"}}}}"#
    )
}

/// Events, tombstones, no JSON, transactions of both ends, and a gap at the end of a partition.
fn fill(topic: &Topic<'_>) {
    let Topic { broker, name, .. } = *topic;
    broker.produce(name, topic.events("1", 3000));
    broker.produce(name, [Record { key: Some(b"agent".to_vec()), ..Record::default() }]);
    broker.produce(name, [Record::new("k", "not json").on(1)]);
    let void = broker.transaction(&format!("{name}-void"));
    void.produce(name, topic.events("2", 500));
    void.abort();
    let valid = broker.transaction(&format!("{name}-valid"));
    valid.produce(name, topic.events("3", 500));
    valid.commit();
    broker.produce(name, topic.events("4", 1000));
    // The last records of partition 2 never come, nor do the marks that end transactions.
    let void = broker.transaction(&format!("{name}-end"));
    void.produce(name, topic.events("5", 300).into_iter().map(|record| record.on(2)));
    void.abort();
}

#[test]
fn a_replay_of_a_topic_gives_the_same_bytes_again_and_so_does_its_archive() {
    let Some(broker) = Broker::get() else { return };
    let topic = Topic::create(&broker, "replay-whole", 3);
    fill(&topic);
    let by = ["--partitioned-by", "agent.id"];
    let once = topic.replay(&[&by[..], &["--archive", "a"]].concat()).exits(0);
    let messages = once.messages();
    assert!(messages.len() > 20, "{} messages", messages.len());
    assert!(once.stderr.contains("read       4,502 records"), "{}", once.stderr);
    assert!(once.stderr.contains("3 partitions; formats: native"), "{}", once.stderr);
    assert!(once.stderr.contains("no_value"), "{}", once.stderr);

    let again =
        topic.replay(&[&by[..], &["--archive", "b", "--batch-rows", "7"]].concat()).exits(0);
    assert!(once.sorted() == again.sorted(), "in other batches");
    assert!(files(&topic.path().join("a")) == files(&topic.path().join("b")), "archives");
    let again = topic.replay(&[&by[..], &["--archive", "a"]].concat()).exits(0);
    assert!(once.stdout == again.stdout, "to the byte and in the same order");
    assert!(again.stderr.contains("archive    unchanged"), "{}", again.stderr);

    let archived = lapwing(topic.path(), &["replay", "a", "-o", "json"]).exits(0);
    assert!(once.sorted() == archived.sorted(), "from the archive");
}

#[test]
fn a_replay_of_a_topic_raises_what_run_raised() {
    let Some(broker) = Broker::get() else { return };
    let topic = Topic::create(&broker, "replay-run", 3);
    fill(&topic);
    let config = format!(
        "sources:\n  - id: agents\n    type: kafka\n    brokers: '{}'\n    partial: accept\n    \
         group: replay-run\n    topics: [{{name: replay-run, partitioned_by: [agent.id]}}]\n\
         state: state\narchive: {{path: archive, epoch: 1s}}\n\
         alerts: {{file: alerts.jsonl, stdout: none}}\n",
        broker.bootstrap()
    );
    fs::write(topic.path().join("lapwing.yml"), config).expect("a file");
    let running = Running::start(topic.path());
    wait(topic.path(), "everything is archived", || {
        let archived = lapwing(topic.path(), &["replay", "archive"]);
        archived.stderr.contains("read       4,502 records")
    });
    running.stop(topic.path());
    let archived = lapwing(topic.path(), &["replay", "archive", "-o", "json"]).exits(0);
    let replayed = topic.replay(&["--source", "agents", "--partitioned-by", "agent.id"]).exits(0);
    assert!(archived.sorted() == replayed.sorted(), "the archive of run and the topic");
    let live = fs::read_to_string(topic.path().join("alerts.jsonl")).expect("alerts");
    let live: HashSet<&str> = live.lines().collect();
    let is_at_end = |line: &&str| line.contains("\"open_at_end\":true");
    for line in replayed.stdout.lines().filter(|line| !is_at_end(line)) {
        assert!(live.contains(line), "not raised by run: {line}");
    }
}

#[test]
fn more_partitions_than_are_read_side_by_side_are_read_in_turn() {
    let Some(broker) = Broker::get() else { return };
    let topic = Topic::create(&broker, "replay-many", 40);
    broker.produce(topic.name, topic.events("1", 4000));
    let once = topic.replay(&["--batch-rows", "10"]).exits(0);
    assert!(once.stderr.contains("read       4,000 records"), "{}", once.stderr);
    assert!(once.stderr.contains("40 partitions"), "{}", once.stderr);
    assert!(once.stdout == topic.replay(&["--batch-rows", "10"]).exits(0).stdout, "again");
}

/// A replay that waits, since nobody reads what it says: it has read partition 0 and fetched the
/// beginning of partition 1, of which 40 MB are there in 80 records.
struct Held(Child);

impl Held {
    fn start(topic: &Topic<'_>) -> Self {
        let denied = |n: usize| {
            let target = format!("http://169.254.169.254/latest/meta-data/iam/role-{n}");
            format!(
                r#"{{"time":"2026-11-22T00:00:00Z","product":"openclaw","kind":"tool","outcome":"denied","tool":{{"name":"fetch","target":"{target}"}}}}"#
            )
        };
        // Alerts enough to fill a pipe.
        topic.broker.produce(topic.name, (0..500).map(|n| Record::new("k", denied(n)).on(0)));
        let pad = "x".repeat(500_000);
        let long = |n: usize| {
            format!(r#"{{"time":"2026-11-22T00:00:00Z","kind":"tool","id":"{n}","pad":"{pad}"}}"#)
        };
        topic.broker.produce(topic.name, (0..80).map(|n| Record::new("k", long(n)).on(1)));
        let mut child = command(topic.path())
            .args(["replay", &topic.address(), "-o", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut first = [0];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("an alert");
        assert_eq!(first, *b"{");
        Self(child)
    }

    /// Reads what it says, all but the first byte.
    fn go_on(self) -> Ran {
        ran(self.0.wait_with_output().expect("it ends"))
    }
}

#[test]
fn records_that_are_deleted_while_a_replay_is_on_its_way_are_said_to_be_lost() {
    let Some(broker) = Broker::get() else { return };
    let topic = Topic::create(&broker, "replay-deleted", 2);
    let held = Held::start(&topic);
    broker.delete_records(topic.name, 1, 70);
    let ran = held.go_on().exits(0);
    assert!(ran.stderr.contains("records were deleted before they were read"), "{}", ran.stderr);
    assert!(ran.stderr.contains("lost                  1"), "{}", ran.stderr);
    assert!(ran.stdout.contains("lapwing.gap"), "an alert of its own");
}

#[test]
fn a_replay_outlives_a_restart_of_the_broker() {
    let Some(mut broker) = Broker::get_alone() else { return };
    let (ran, again) = {
        let topic = Topic::create(&broker, "replay-restart", 2);
        let held = Held::start(&topic);
        let folder = topic.folder;
        broker.kill_and_restart();
        let ran = held.go_on().exits(0);
        let topic = Topic { broker: &broker, name: "replay-restart", folder };
        (ran, topic.replay(&[]).exits(0))
    };
    assert!(ran.stderr.contains("read       580 records"), "{}", ran.stderr);
    assert!(ran.stdout == again.stdout[1..], "to the byte");
}

#[test]
fn a_group_that_is_spread_over_partitions_is_said_to_be_incomplete() {
    let Some(broker) = Broker::get() else { return };
    let topic = Topic::create(&broker, "replay-spread", 2);
    broker.produce(topic.name, topic.events("1", 2000));
    let alerts = |extra: &[&str]| topic.replay(extra).exits(0).messages();
    let is_partial = |alert: &serde_json::Value| {
        alert["incomplete_because"]
            .as_array()
            .is_some_and(|all| all.iter().any(|w| w == "partition"))
    };
    let unknown = alerts(&[]);
    assert!(!unknown.is_empty() && unknown.iter().all(is_partial));
    let known = alerts(&["--partitioned-by", "agent.id"]);
    let by_agent = |alert: &&serde_json::Value| alert["key"].get("agent.id").is_some();
    assert!(known.iter().filter(by_agent).count() > 0);
    assert!(known.iter().filter(by_agent).all(|alert| !is_partial(alert)));
}

#[test]
fn a_part_of_a_topic_is_replayed_by_offsets() {
    let Some(broker) = Broker::get() else { return };
    let topic = Topic::create(&broker, "replay-offsets", 2);
    let on = |partition: i32, records: Vec<Record>| {
        records.into_iter().map(move |record| record.on(partition))
    };
    broker.produce(topic.name, on(0, topic.events("1", 300)));
    broker.produce(topic.name, on(1, topic.events("2", 200)));
    let read = |extra: &[&str], records: &str| {
        let ran = topic.replay(extra).exits(0);
        assert!(ran.stderr.contains(&format!("read       {records} records")), "{}", ran.stderr);
    };
    read(&["--offsets", "0:100..250"], "150");
    read(&["--offsets", "1:150.."], "50");
    read(&["--offsets", "1:..20", "--offsets", "0:290..", "--archive", "part"], "30");
    let archived = lapwing(topic.path(), &["replay", "part", "-o", "json"]).exits(0);
    assert!(archived.stderr.contains("read       30 records"), "{}", archived.stderr);

    for (range, why) in [
        ("10..20", "the topic has 2 partitions; write for instance 0:10..20"),
        ("2:10..20", "there is no partition 2; the last one is 1"),
        ("1:10..201", "partition 1 ends at offset 200 now"),
        ("1:201..", "partition 1 ends at offset 200 now"),
        ("20..10", "the end 10 is not read and has to be after 20"),
    ] {
        let ran = topic.replay(&["--offsets", range]).exits(2);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    }
    let twice = topic.replay(&["--offsets", "1:1..2", "--offsets", "1:5..6"]).exits(2);
    assert!(twice.stderr.contains("partition 1 is named twice"), "{}", twice.stderr);

    // What retention has taken is where the partition begins.
    broker.delete_records(topic.name, 0, 280);
    read(&["--offsets", "0:..290"], "10");
    read(&[], "220");
    let asked = topic.replay(&["--offsets", "0:100..290"]).exits(0);
    assert!(asked.stderr.contains("the first records asked for are deleted"), "{}", asked.stderr);
}

#[test]
fn since_and_until_go_by_log_time() {
    let Some(broker) = Broker::get() else { return };
    broker.create_topic("replay-times", 1, &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let topic = Topic { broker: &broker, name: "replay-times", folder };
    let minute = |n: i64| 1_763_800_000_000 + n * 60_000;
    let at = |n: i64| Record {
        timestamp_ms: Some(minute(n)),
        ..Record::new("a", event("2025-11-22T08:26:40Z", "a"))
    };
    // Log time is the running maximum: what is written for minute 3 has that of minute 5.
    let minutes = [0, 1, 2, 5, 3, 6, 4, 9];
    broker.produce(topic.name, minutes.map(at));
    let time = |n: i64| lapwing_event::time::format_time(minute(n) * 1000);
    for (since, until, records) in [
        (None, Some(5), "3 records"),
        (Some(5), None, "5 records"),
        (Some(5), Some(6), "2 records"),
        (Some(3), Some(9), "4 records"),
        (Some(7), None, "1 record"),
        (Some(10), None, "0 records"),
    ] {
        let (since, until) = (since.map(time), until.map(time));
        let since = since.iter().flat_map(|time| ["--since", time]);
        let args: Vec<&str> = since.chain(until.iter().flat_map(|t| ["--until", t])).collect();
        let ran = topic.replay(&args).exits(0);
        assert!(ran.stderr.contains(&format!("read       {records},")), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn what_no_client_writes_and_what_is_no_event_does_no_harm() {
    let Some(broker) = Broker::get() else { return };
    let topic = Topic::create(&broker, "replay-odd", 1);
    broker.produce(topic.name, [Record::new("a", event("2026-11-22T00:00:00Z", "a"))]);
    let value = event("2026-11-22T00:00:01Z", "a");
    let odd = RawRecord {
        key: Some(b"\xff\xfe"),
        value: Some(value.as_bytes()),
        timestamp_ms: 1,
        headers: &[(b"\xff\x00key", Some(b"\xfe")), (b"", None)],
    };
    produce_raw(&broker.bootstrap(), topic.name, 0, &odd);
    broker.produce(topic.name, [Record::new("a", "{\"time\":")]);
    let ran = topic.replay(&["--max-rejected", "0"]).exits(3);
    assert!(ran.stderr.contains("events     2"), "{}", ran.stderr);
    assert!(ran.stderr.contains("first: replay-odd-0, offset 2: "), "{}", ran.stderr);
}

#[test]
fn an_open_transaction_ends_a_partition_and_an_empty_topic_is_no_error() {
    let Some(broker) = Broker::get() else { return };
    let topic = Topic::create(&broker, "replay-open", 2);
    let empty = topic.replay(&[]).exits(0);
    assert!(empty.stderr.contains("read       0 records"), "{}", empty.stderr);
    broker.produce(topic.name, topic.events("1", 50).into_iter().map(|record| record.on(0)));
    let open = broker.transaction("replay-open");
    open.produce(topic.name, topic.events("2", 50).into_iter().map(|record| record.on(0)));
    broker.produce(topic.name, topic.events("3", 50).into_iter().map(|record| record.on(0)));
    let ran = topic.replay(&[]).exits(0);
    assert!(ran.stderr.contains("read       50 records"), "{}", ran.stderr);
    open.commit();
    let ran = topic.replay(&[]).exits(0);
    assert!(ran.stderr.contains("read       150 records"), "{}", ran.stderr);
}

#[test]
fn properties_of_librdkafka_log_in_and_a_wrong_password_is_said_at_once() {
    let Some(broker) = Broker::get() else { return };
    let topic = Topic::create(&broker, "replay-sasl", 1);
    broker.produce(topic.name, topic.events("1", 10));
    let address = format!("kafka://{}/{}", broker.sasl_bootstrap(), topic.name);
    let user = format!("sasl.username={SASL_USER}");
    let args = [
        "replay",
        &address,
        "--kafka-property",
        "security.protocol=SASL_PLAINTEXT",
        "--kafka-property",
        "sasl.mechanism=PLAIN",
        "--kafka-property",
        &user,
        "--kafka-property",
        "sasl.password=${env:LAPWING_TEST_PASSWORD}",
    ];
    let replay = |password: &str| {
        let mut command = command(topic.path());
        command.args(args).env("LAPWING_TEST_PASSWORD", password);
        ran(command.output().expect("the program starts"))
    };
    let right = replay(PLAIN_PASSWORD).exits(0);
    assert!(right.stderr.contains("read       10 records"), "{}", right.stderr);
    let wrong = replay("wrong").exits(2);
    assert!(wrong.stderr.contains("check sasl.mechanism"), "{}", wrong.stderr);
}

#[test]
fn what_cannot_be_replayed_is_said_with_the_way_out() {
    let Some(broker) = Broker::get() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.log"), "{}\n").expect("a file");
    let fails = |args: &[&str], why: &str| {
        let ran = lapwing(folder.path(), &[&["replay"], args].concat()).exits(2);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    };
    let address = format!("kafka://{}/not-there", broker.bootstrap());
    fails(&[&address], "has no topic not-there");
    fails(&["kafka://127.0.0.1:1/t"], "no answer from 127.0.0.1:1: ");
    fails(&["kafka://127.0.0.1:1"], "names no topic");
    fails(&[&address, "a.log"], "a topic is replayed by itself");
    fails(&["a.log", "--offsets", "1..2"], "--offsets is for topics");
    fails(&[&address, "--partitioned-by", "agent.idd"], "agent.idd is no field");
    fails(&[&address, "--kafka-property", "group.id"], "write NAME=VALUE");
    fails(&[&address, "--kafka-property", "isolation.level=x"], "isolation.level is Lapwing's own");
    fails(&[&address, "--kafka-property", "no.such=x"], "no.such");
    let part = ["--since", "2026-11-22", "--archive", "x"];
    fails(&[&[&*address], &part[..]].concat(), "--archive takes the whole input");
}

//! The attacker with many keys: one address that fails once every 50 seconds, among many others
//! that fail once each to push it out of a bounded memory. What he can hide, and what is said then.
//!
//! `LAPWING_ATTACKERS` is the number of other addresses (200,000 if it is not set); one in a
//! hundred of them is what the rule may keep. The full run:
//! `LAPWING_ATTACKERS=10000000 cargo test --release -p lapwing-detector --test attacker -- --nocapture`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lapwing_detector::rule::{RuleSource, load_rules};
use lapwing_detector::{Detector, Limits};
use lapwing_event::time::{MINUTE, SECOND, format_time, parse_time};
use lapwing_event::{
    Alert, Batch, Event, EventColumns, FieldId, Incomplete, LogTimeOrigin, Message, Partition,
    Split, Status,
};

const RULE: &str = "
title: A login failed
name: failed
logsource: {category: agent_audit}
detection:
  failed: {kind: auth, outcome: failure}
  condition: failed
level: low
---
title: Repeated failed logins from one address
id: 11111111-1111-4111-8111-111111111111
name: failed_logins
correlation:
  type: event_count
  rules: [failed]
  group-by: [source.ip]
  timespan: 5m
  condition: {gte: 4}
level: high
";
const TIMESPAN: i64 = 5 * MINUTE;
const INCOMPLETE: &str = "lapwing.window_incomplete";
/// The slow address fails once in this time.
const PAUSE: i64 = 50 * SECOND;
const SLOW: &str = "203.0.113.7";
/// Another slow address, which begins when keys are being forgotten already.
const SECOND_SLOW: &str = "203.0.113.8";
/// Records of a batch: few enough that the test itself needs little memory.
const BATCH: usize = 1024;

/// One flood at a time, since the memory is that of the process.
static MEMORY: Mutex<()> = Mutex::new(());

/// How many addresses there are, and how many the rule may keep.
fn size() -> (usize, usize) {
    let addresses = match std::env::var("LAPWING_ATTACKERS") {
        Ok(number) => number.parse().expect("LAPWING_ATTACKERS is a number"),
        Err(_) => 200_000,
    };
    assert!(addresses <= 1 << 24, "there are no more addresses in 10.0.0.0/8");
    (addresses, addresses / 100)
}

fn start() -> i64 {
    parse_time("2026-11-22T12:00:00Z").expect("a time")
}

/// A log of failed logins that is read as it is written, and what the detector says about it.
struct Flood {
    detector: Detector,
    partition: Arc<Partition>,
    most_keys: usize,
    columns: EventColumns,
    event: Event,
    times: Vec<i64>,
    offset: i64,
    messages: Vec<Message>,
}

impl Flood {
    fn of(rules: &str, most_keys: usize) -> Self {
        let source = RuleSource { name: "t.yml".into(), text: rules.into(), is_builtin: false };
        let rules = Arc::new(load_rules(&[source]).expect("a valid rule"));
        let partition = Arc::new(Partition {
            source_id: "gw1".into(),
            name: "0".into(),
            log_time_origin: LogTimeOrigin::Observed,
            split: Split::Whole,
        });
        let limits = Limits { keys: most_keys, ..Limits::default() };
        Self {
            detector: Detector::new(rules, partition.clone(), limits),
            partition,
            most_keys,
            columns: EventColumns::default(),
            event: Event::default(),
            times: Vec::new(),
            offset: 0,
            messages: Vec::new(),
        }
    }

    fn fail(&mut self, address: &str, time: i64) {
        self.event.clear();
        self.event.set_int(FieldId::Time, time);
        self.event.set_text(FieldId::Kind, "auth");
        self.event.set_text(FieldId::Outcome, "failure");
        self.event.set_text(FieldId::SourceIp, address);
        self.columns.push(&self.event).expect("a valid event");
        self.times.push(time);
        if self.times.len() >= BATCH {
            self.push();
        }
    }

    /// Hands over what has come together.
    fn push(&mut self) {
        let times = std::mem::take(&mut self.times);
        let records = times.len() as i64;
        let events = self.columns.finish();
        let batch = Batch::of_made_events(&self.partition, events, self.offset, times, "gw.log");
        self.offset += records;
        self.messages.extend(self.detector.push(&batch).messages);
        let most = self.most_keys * self.detector.stats().len();
        assert!(self.detector.keys() <= most, "{} keys", self.detector.keys());
    }

    fn alerts_of(&self, rule: &str) -> Vec<&Alert> {
        self.messages.iter().map(|m| &m.alert).filter(|a| &*a.rule.name == rule).collect()
    }

    /// The alert that says something was forgotten: open since `opened_at`, because keys were.
    fn assert_tells_of_forgotten_keys_since(&self, opened_at: i64) {
        let told = self.alerts_of(INCOMPLETE);
        let (first, last) = (told[0], told[told.len() - 1]);
        assert_eq!((first.status, first.opened_at), (Status::Opened, opened_at));
        assert!(told.iter().all(|a| a.id == first.id && a.status != Status::Resolved));
        assert_eq!(
            (last.complete, &last.incomplete_because[..]),
            (false, &[Incomplete::Evicted][..])
        );
        assert_eq!(last.count, self.detector.stats()[0].evicted);
        assert!(last.description.contains(&format_time(opened_at)), "{}", last.description);
        eprintln!("  {} messages: {}", told.len(), last.description);
    }
}

/// The address of another attacker.
fn address(n: usize) -> String {
    format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255)
}

/// Lets `addresses` others fail once each, `rate` of them in each pause of the slow ones, the first
/// of which begins with the flood and the second after four pauses. Watches keys and memory.
fn flood(name: &str, addresses: usize, most_keys: usize, rate: usize) -> Flood {
    let began = Instant::now();
    eprintln!("{name}: {addresses} addresses, {most_keys} keys, {rate} new addresses in 50 s");
    let mut flood = Flood::of(RULE, most_keys);
    let mut resident = Vec::new();
    for n in 0..addresses {
        let time = start() + (n as i64 * PAUSE) / rate as i64;
        if n % rate == 0 {
            flood.fail(SLOW, time);
            if n / rate >= 4 {
                flood.fail(SECOND_SLOW, time);
            }
        }
        flood.fail(&address(n), time);
        if (n + 1) % (addresses / 10) == 0 {
            flood.push();
            resident.push(resident_bytes());
        }
    }
    let of_tenths = resident.iter().map(|bytes| match bytes {
        Some(bytes) => format!("{:.1}", *bytes as f64 / 1_048_576.0),
        None => "?".into(),
    });
    let of_tenths = of_tenths.collect::<Vec<_>>().join(" ");
    eprintln!(
        "  {:.1} s; resident MiB after each tenth: {of_tenths}",
        began.elapsed().as_secs_f64()
    );
    assert_memory_is_flat(&resident);
    flood
}

/// Memory grows in the last half by 10 % and 8 MiB at most: what allocators do, not what a key a
/// record would do.
fn assert_memory_is_flat(resident: &[Option<u64>]) {
    let (Some(Some(half)), Some(Some(end))) = (resident.get(4), resident.last()) else {
        eprintln!("  skipped: there is no /proc/self/status, so memory is not looked at");
        return;
    };
    assert!(*end <= half + half / 10 + (8 << 20), "from {half} to {end} bytes");
}

/// The memory of this process, where Linux says it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[test]
fn more_new_keys_than_fit_between_two_events_hide_a_slow_key_and_that_is_told() {
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let (addresses, most_keys) = size();
    let rate = 3 * most_keys;
    let mut flood = flood("a fast flood", addresses, most_keys, rate);
    flood.messages.extend(flood.detector.finish());
    assert!(flood.alerts_of("failed_logins").is_empty());
    // Each event of the slow keys was the first of a new key: they were forgotten every time.
    let pauses = addresses.div_ceil(rate);
    let new_keys = addresses + pauses + (pauses - 4);
    assert_eq!(flood.detector.stats()[0].evicted, (new_keys - most_keys) as u64);
    // The slow key and all but one of the first addresses fit.
    let first_lost = start() + ((most_keys - 1) as i64 * PAUSE) / rate as i64;
    flood.assert_tells_of_forgotten_keys_since(first_lost);
}

#[test]
fn fewer_new_keys_than_fit_between_two_events_hide_nothing() {
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let (addresses, most_keys) = size();
    let rate = most_keys / 2;
    let mut flood = flood("a slow flood", addresses, most_keys, rate);
    flood.messages.extend(flood.detector.finish());
    let alerts = flood.alerts_of("failed_logins");
    let of = |address: &str| -> Vec<&Alert> {
        let key = format!("source.ip={address}");
        alerts.iter().copied().filter(|a| a.key.to_string() == key).collect()
    };
    let (slow, second) = (of(SLOW), of(SECOND_SLOW));
    assert_eq!(alerts.len(), slow.len() + second.len(), "the others failed once each");
    assert_eq!(flood.detector.stats()[0].evicted, (addresses + 2 - most_keys) as u64);
    // Four failures in 150 seconds. Keys with one event are forgotten first: the second event of a
    // slow key protects it.
    assert_eq!((slow[0].status, slow[0].opened_at), (Status::Opened, start() + 3 * PAUSE));
    let opened_at = start() + 7 * PAUSE;
    assert_eq!((second[0].status, second[0].opened_at), (Status::Opened, opened_at));
    // The first was there before anything was forgotten. When the second began, keys with events
    // of the last five minutes had been: one of them may have been its own.
    let began = start() + 4 * PAUSE;
    let forgotten_until = start() + 2 * PAUSE;
    assert!(began - TIMESPAN < forgotten_until);
    assert_eq!((slow[0].complete, second[0].complete), (true, false));
    assert_eq!(second[0].incomplete_because, [Incomplete::Evicted]);
    // Both alerts are open to the end and have lost no event of theirs.
    let pauses = addresses.div_ceil(rate) as u64;
    let (slow, second) = (slow[slow.len() - 1], second[second.len() - 1]);
    assert_eq!((slow.count, second.count), (pauses, pauses - 4));
    assert!(slow.open_at_end && slow.complete && second.open_at_end);
    let first_lost = start() + ((most_keys - 1) as i64 * PAUSE) / rate as i64;
    flood.assert_tells_of_forgotten_keys_since(first_lost);
}

#[test]
fn keys_with_two_events_hide_a_slow_key_for_a_quarter_of_an_hour_and_that_is_told() {
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let most_keys = 1000;
    let mut flood = Flood::of(RULE, most_keys);
    // Two events of each key within half a minute; they stay until 15 minutes after the second.
    for n in 0..2 * most_keys {
        flood.fail(&address(n % most_keys), start() + n as i64 * 15_000);
    }
    // From then on one new key after each event of the slow one.
    let first = start() + MINUTE;
    for n in 0..22 {
        flood.fail(SLOW, first + n * PAUSE);
        flood.fail(&address(most_keys + n as usize), first + n * PAUSE + SECOND);
    }
    flood.push();
    flood.messages.extend(flood.detector.finish());
    flood.assert_tells_of_forgotten_keys_since(first);
    // Eighteen failures in fifteen minutes are hidden, each of two new keys pushing out the other.
    assert_eq!(flood.detector.stats()[0].evicted, 36);
    // At 12:15:30 the keys with two events are forgotten as any others are, and there is room: the
    // fourth failure after that raises the alert.
    let alerts = flood.alerts_of("failed_logins");
    assert_eq!(alerts[0].opened_at, first + 21 * PAUSE);
    assert_eq!((alerts[0].count, alerts[0].complete), (4, false));
}

#[test]
fn a_rule_by_another_key_sees_the_flood_as_one() {
    let of_all = "---
title: Failed logins from everywhere
id: 22222222-2222-4222-8222-222222222222
name: failed_logins_anywhere
correlation:
  type: event_count
  rules: [failed]
  timespan: 5m
  condition: {gte: 1000}
level: high
";
    let mut flood = Flood::of(&format!("{RULE}{of_all}"), 100);
    for n in 0..3000 {
        flood.fail(&address(n), start() + n as i64 * 10_000);
    }
    flood.push();
    let alerts = flood.alerts_of("failed_logins_anywhere");
    assert_eq!((alerts[0].opened_at, alerts[0].count), (start() + 999 * 10_000, 1000));
    assert!(alerts.iter().all(|alert| alert.complete));
}

//! The simulator keeps its promises: same bytes, silent background, incidents that fire.

use std::collections::{BTreeMap, BTreeSet};
use std::str;

use lapwing_event::time::{MINUTE, SECOND, parse_time};
use lapwing_event::{FIELDS, KeyValue, Origin, vocabulary};
use lapwing_simulator::recount::{Recount, recount};
use lapwing_simulator::{
    Disorder, Incident, IncidentKind, Scenario, Stats, demo_scenario, write, write_truth,
};
use serde_json::Value;

struct Log {
    bytes: Vec<u8>,
    truth: Vec<Incident>,
    stats: Stats,
}

impl Log {
    fn new(scenario: &Scenario) -> Self {
        let (mut bytes, mut truth) = (Vec::new(), Vec::new());
        let stats = write(scenario, &mut bytes, &mut truth).expect("memory takes all");
        Self { bytes, truth, stats }
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        str::from_utf8(&self.bytes).expect("text").lines()
    }

    fn recount(&self) -> BTreeMap<(String, String), Recount> {
        recount(self.lines().map(str::to_owned))
    }

    fn times(&self) -> Vec<i64> {
        let time = |line: &str| parse_time(&line[9..33]).expect("a time in milliseconds");
        self.lines().map(time).collect()
    }
}

fn key_of(incident: &Incident) -> (String, String) {
    let values = incident.key.0.iter().map(|(_, value)| match value {
        KeyValue::Text(text) => Value::from(&**text),
        KeyValue::Int(n) => Value::from(*n),
        KeyValue::Null => Value::Null,
    });
    (incident.rule.to_owned(), Value::Array(values.collect()).to_string())
}

/// Every incident holds, counts what its truth says, and raised the level that it should.
fn assert_truth_holds(log: &Log) -> BTreeSet<(String, String)> {
    let found = log.recount();
    for incident in &log.truth {
        let holds = found.get(&key_of(incident)).unwrap_or_else(|| panic!("{incident:?}"));
        assert_eq!(holds.events_in_holding, incident.occurrences, "{incident:?}");
        let value = incident.distinct.unwrap_or(incident.occurrences);
        assert_eq!(holds.max_value, value, "{incident:?}");
        assert_eq!(holds.holding_ends.last(), Some(&incident.last_time_us), "{incident:?}");
    }
    found.into_keys().collect()
}

#[test]
fn equal_scenarios_give_equal_bytes_and_other_seeds_others() {
    let scenario = Scenario::new(7, 5_000, 24);
    let (once, again) = (Log::new(&scenario), Log::new(&scenario));
    assert!(once.bytes == again.bytes && once.truth == again.truth);
    assert!(once.bytes != Log::new(&Scenario { seed: 8, ..scenario }).bytes);
}

/// FNV-1a of a small log. It fails where a platform or a dependency changes the bytes; a change
/// of the generator itself writes down the new number.
#[test]
fn the_bytes_are_the_same_on_every_platform() {
    let log = Log::new(&Scenario::new(7, 5_000, 24));
    let hash = log.bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    assert_eq!(hash, 0x538A_477F_F064_6219, "{hash:#x}");
}

#[test]
fn lines_average_460_bytes_and_are_as_many_as_asked_for() {
    let log = Log::new(&Scenario::new(1, 100_000, 60));
    assert_eq!(log.stats.events, 100_000);
    assert_eq!(log.stats.bytes, log.bytes.len() as u64);
    assert_eq!(log.lines().count(), 100_000);
    let average = log.stats.bytes / log.stats.events;
    assert!((430..=490).contains(&average), "{average}");
}

#[test]
fn a_background_alone_fires_nothing() {
    for (events, agents, span_us, at_least_failed) in [
        (150_000, 200, Scenario::default().span_us, 300),
        // One gateway: its failures as dense as they get.
        (30_000, 5, Scenario::default().span_us, 50),
        // Each agent ten times as busy as one of 200 with ten million events in a day.
        (60_000, 3, 60 * MINUTE, 3),
        (30_000, 2_000, 20 * MINUTE, 30),
    ] {
        let log = Log::new(&Scenario { events, agents, span_us, ..Scenario::new(3, events, 0) });
        assert!(log.truth.is_empty());
        assert_eq!(log.recount(), BTreeMap::new(), "{events} events of {agents} agents");
        let denied = log.lines().filter(|l| l.contains(r#""outcome":"denied""#)).count();
        let failed = log.lines().filter(|l| l.contains(r#""status":401"#)).count();
        // Failed logins are as rare as their gap allows: an hour at one gateway has few.
        assert!(denied > 100 && failed >= at_least_failed, "{agents} agents: {denied}, {failed}");
    }
}

#[test]
fn every_incident_holds_and_counts_what_the_truth_says() {
    for seed in 0..4 {
        let log = Log::new(&Scenario::new(seed, 30_000, 12 * 9));
        assert_eq!(log.truth.len(), 12 * 9);
        let found = assert_truth_holds(&log);
        // Neighbours that an incident fires on the way have an incident's session.
        let keys: BTreeSet<_> = log.truth.iter().map(key_of).collect();
        for (rule, key) in found.difference(&keys) {
            let value: Vec<String> = serde_json::from_str(key).expect("texts");
            assert!(keys.iter().any(|(_, known)| value.iter().any(|v| known.contains(v))));
            assert!(rule.starts_with("tool_denied"), "{rule} {key}");
        }
    }
}

#[test]
fn incidents_reach_every_level_of_their_rules() {
    let log = Log::new(&Scenario::new(5, 30_000, 12 * 8));
    let reached: BTreeSet<_> = log.truth.iter().map(|i| (i.kind, i.expected_level)).collect();
    // Two rules have one level, ten have two.
    assert_eq!(reached.len(), 2 + 2 * 10);
    let summed_up = log.lines().filter(|line| line.contains(r#""count":3"#)).count();
    assert!(summed_up > 10, "{summed_up}");
}

#[test]
fn the_demo_tells_twelve_incidents_and_fires_nothing_else() {
    let log = Log::new(&demo_scenario(1));
    assert_eq!(log.stats.events, 20_000);
    assert_eq!(log.truth.len(), IncidentKind::ALL.len());
    let found = assert_truth_holds(&log);
    assert_eq!(found, log.truth.iter().map(key_of).collect());
}

#[test]
fn disorder_moves_lines_but_not_times() {
    let scenario = Scenario::new(9, 20_000, 24);
    let disordered = Log::new(&scenario);
    let none = Disorder { share: 0.0, max_delay_us: 0 };
    let ordered = Log::new(&Scenario { disorder: none, ..scenario.clone() });
    assert!(ordered.times().is_sorted());
    assert!(!disordered.times().is_sorted());
    assert!((200..600).contains(&disordered.stats.delayed), "{}", disordered.stats.delayed);
    let sorted = |log: &Log| log.lines().map(str::to_owned).collect::<BTreeSet<String>>();
    assert_eq!(sorted(&ordered), sorted(&disordered));
    let mut newest = i64::MIN;
    for time in disordered.times() {
        newest = newest.max(time);
        assert!(newest - time <= scenario.disorder.max_delay_us);
    }
}

#[test]
fn times_cover_the_span() {
    let log = Log::new(&Scenario::new(2, 50_000, 12));
    let (times, scenario) = (log.times(), Scenario::default());
    let first = times.iter().min().expect("some") - scenario.start_us;
    let last = times.iter().max().expect("some") - scenario.start_us;
    assert!((0..10 * SECOND).contains(&first) && last < scenario.span_us);
    assert!(last > scenario.span_us - 10 * SECOND);
}

#[test]
fn lines_are_the_native_format_with_values_of_the_closed_lists() {
    let known: BTreeSet<&str> =
        FIELDS.iter().filter(|f| f.origin == Origin::Record).map(|f| f.name).collect();
    let listed = |list: &[vocabulary::Term], event: &Value, path: &str| {
        let value = event.pointer(path);
        assert!(value.is_none_or(|v| list.iter().any(|t| v == t.value)), "{path} {event}");
    };
    let log = Log::new(&Scenario::new(4, 20_000, 48));
    let (mut ids, mut tools, mut sessions) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        for (name, value) in event.as_object().expect("an object") {
            let inner = value.as_object().into_iter().flatten();
            let mut names: Vec<String> = inner.map(|(key, _)| format!("{name}.{key}")).collect();
            if names.is_empty() {
                names.push(name.clone());
            }
            assert!(names.iter().all(|n| known.contains(n.as_str())), "{names:?}");
        }
        listed(vocabulary::KINDS, &event, "/kind");
        listed(vocabulary::ACTIONS, &event, "/action");
        listed(vocabulary::OUTCOMES, &event, "/outcome");
        listed(vocabulary::REASON_CODES, &event, "/reason/code");
        assert!(ids.insert(event["id"].to_string()), "{line}");
        tools.extend(event["tool"]["name"].as_str().map(str::to_owned));
        sessions.extend(event["session"]["id"].as_str().map(str::to_owned));
    }
    assert_eq!(tools.len(), 40);
    assert!(sessions.len() > 200);
}

#[test]
fn the_truth_is_json_lines() {
    let log = Log::new(&demo_scenario(1));
    let mut out = Vec::new();
    write_truth(&log.truth, &mut out).expect("memory takes all");
    let first = str::from_utf8(&out).expect("text").lines().next().expect("a line");
    let expected = concat!(
        r#"{"kind":"auth_spray","rule":"auth_spray","#,
        r#""key":{"product":"openclaw","instance.id":"edge-01"},"#,
    );
    assert!(first.starts_with(expected), "{first}");
    assert!(first.contains(r#""expected_level":"critical","distinct":23}"#), "{first}");
    assert!(first.contains(r#""first_time":"2026-11-22T02:40:00.000Z""#), "{first}");
}

#[test]
fn degenerate_scenarios_do_not_panic() {
    let none = Log::new(&Scenario { agents: 0, ..Scenario::new(1, 0, 0) });
    assert!(none.bytes.is_empty());
    let crowded = Log::new(&Scenario { span_us: 0, ..Scenario::new(1, 10, 24) });
    assert!(crowded.stats.events > 10);
    assert_truth_holds(&crowded);
}

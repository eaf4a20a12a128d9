//! Simulated fleets: the alerts equal a naive recount of the same data, every incident is among
//! them, and shuffling within the allowed lateness changes no window that holds.
//!
//! `LAPWING_EVENTS=1000000` runs it at full size.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lapwing_simulator::recount::{Recount, recount};
use serde_json::Value;

use crate::program::{final_alerts, lapwing};

fn number_of_events() -> String {
    std::env::var("LAPWING_EVENTS").unwrap_or_else(|_| "30000".into())
}

/// The alerts by rule and key, as the recount names them.
fn by_rule_and_key(alerts: &[Value]) -> BTreeMap<(String, String), Vec<&Value>> {
    let mut by_key: BTreeMap<(String, String), Vec<&Value>> = BTreeMap::new();
    for alert in alerts {
        let rule = alert["rule"]["name"].as_str().expect("a name").to_owned();
        let fields = rule_fields(&rule);
        let key: Vec<&Value> = fields.iter().map(|f| &alert["key"][*f]).collect();
        let key = serde_json::to_string(&key).expect("JSON");
        by_key.entry((rule, key)).or_default().push(alert);
    }
    by_key
}

/// The group-by fields of a rule, in its order.
fn rule_fields(rule: &str) -> &'static [&'static str] {
    match rule {
        "auth_failures" | "auth_lockout" => &["product", "source.ip"],
        "auth_failures_local" => &["product", "instance.id", "actor.id"],
        "auth_spray" => &["product", "instance.id"],
        "tool_denied_burst" => &["agent.id", "session.id"],
        "tool_denied_repeat" => &["session.id", "tool.name"],
        "sensitive_target_denied" => &["product", "tool.target"],
        _ => &["session.id"],
    }
}

fn microseconds(time: &Value) -> i64 {
    lapwing_event::time::parse_time(time.as_str().expect("a time")).expect("a valid time")
}

/// Holding windows lie in alerts, alerts begin and end with holding windows, figures agree.
fn compare(recounted: &BTreeMap<(String, String), Recount>, alerts: &[Value]) {
    let by_key = by_rule_and_key(alerts);
    let holds: Vec<_> = recounted.iter().filter(|(_, r)| !r.holding_ends.is_empty()).collect();
    assert_eq!(
        by_key.keys().collect::<Vec<_>>(),
        holds.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
        "the keys that fire"
    );
    for (key, expected) in holds {
        let alerts = &by_key[key];
        for end in &expected.holding_ends {
            let lies = alerts.iter().any(|a| {
                microseconds(&a["window"]["start"]) < *end
                    && *end <= microseconds(&a["window"]["end"])
            });
            assert!(lies, "{key:?}: the window at {end} is in no alert");
        }
        for alert in alerts {
            for time in [&alert["opened_at"], &alert["window"]["end"]] {
                let end = microseconds(time);
                assert!(expected.holding_ends.contains(&end), "{key:?}: {end} does not hold");
            }
        }
        let count: u64 = alerts.iter().filter_map(|a| a["count"].as_u64()).sum();
        assert_eq!(count, expected.events_in_holding, "{key:?}: occurrences");
        let value = alerts.iter().filter_map(|a| a["value"].as_u64()).max();
        assert_eq!(value, Some(expected.max_value), "{key:?}: the largest value");
    }
}

fn replay(folder: &Path, log: &str) -> Vec<Value> {
    let ran = lapwing(folder, &["replay", log, "-o", "json", "--source", "s"]).exits(0);
    final_alerts(&ran.messages())
}

#[test]
fn alerts_equal_a_naive_recount_and_every_incident_is_among_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let events = number_of_events();
    let args = [
        "simulate",
        "--events",
        &events,
        "--seed",
        "12",
        "--incidents",
        "12",
        "--out",
        "log.jsonl",
        "--truth",
        "truth.jsonl",
    ];
    lapwing(path, &args).exits(0);
    let text = fs::read_to_string(path.join("log.jsonl")).expect("the log");
    let recounted = recount(text.lines().map(str::to_owned));
    let alerts = replay(path, "log.jsonl");
    compare(&recounted, &alerts);

    let by_key = by_rule_and_key(&alerts);
    let truth = fs::read_to_string(path.join("truth.jsonl")).expect("the truth");
    let mut incidents = 0;
    for line in truth.lines() {
        let incident: Value = serde_json::from_str(line).expect("JSON");
        let rule = incident["rule"].as_str().expect("a rule").to_owned();
        let key: Vec<&Value> = rule_fields(&rule).iter().map(|f| &incident["key"][*f]).collect();
        let key = serde_json::to_string(&key).expect("JSON");
        let alerts = by_key.get(&(rule, key)).unwrap_or_else(|| panic!("no alert for {line}"));
        let first = microseconds(&incident["first_time"]);
        let last = microseconds(&incident["last_time"]);
        let overlaps = |a: &&&Value| {
            microseconds(&a["window"]["start"]) <= last
                && first <= microseconds(&a["window"]["end"])
        };
        assert!(alerts.iter().any(|a| overlaps(&a)), "no alert at the time of {line}");
        incidents += 1;
    }
    assert_eq!(incidents, 12 * 12);
}

#[test]
fn shuffling_within_the_allowed_lateness_changes_no_window_that_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let events = number_of_events();
    let args = [
        "simulate",
        "--events",
        &events,
        "--seed",
        "13",
        "--incidents",
        "12",
        "--out",
        "log.jsonl",
    ];
    lapwing(path, &args).exits(0);
    let text = fs::read_to_string(path.join("log.jsonl")).expect("the log");
    let recounted = recount(text.lines().map(str::to_owned));
    // Each event is moved by up to five minutes: half of the lateness to either side.
    let mut lines: Vec<(i64, &str)> = text
        .lines()
        .enumerate()
        .map(|(i, line)| {
            let value: Value = serde_json::from_str(line).expect("JSON");
            let shift = (i as i64).wrapping_mul(2_654_435_761).rem_euclid(300_000_000);
            (microseconds(&value["time"]) + shift, line)
        })
        .collect();
    lines.sort_by_key(|(time, _)| *time);
    let shuffled: Vec<&str> = lines.into_iter().map(|(_, line)| line).collect();
    fs::write(path.join("shuffled.jsonl"), shuffled.join("\n") + "\n").expect("a file");
    compare(&recounted, &replay(path, "shuffled.jsonl"));
}

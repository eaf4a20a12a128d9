//! A naive recount for tests: parse lines with serde_json, list, recount everything.
//!
//! It says what the built-in rules have to find, from their wording alone, and shares no code
//! with the detector or with the generators of incidents. Lateness is ignored: every event
//! counts. Slow and plain on purpose; grouping first keeps it usable for a million lines.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_event::time::{HOUR, MINUTE, parse_time};
use serde_json::Value;

/// What holds for one rule and key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recount {
    /// The times of matching events whose window (e − timespan, e] holds, rising, each once;
    /// never empty.
    pub holding_ends: Vec<i64>,
    /// Occurrences in the union of the holding windows.
    pub events_in_holding: u64,
    /// The largest value that the rule compared in a holding window.
    pub max_value: u64,
}

/// Recounts the built-in rules over JSON Lines in the native format. The result has one entry
/// for each rule and key of which some window holds: (rule name, the key as a JSON array of its
/// values in the order of the rule's group-by fields).
///
/// # Panics
/// On a line that is not an event with a time.
pub fn recount(lines: impl Iterator<Item = String>) -> BTreeMap<(String, String), Recount> {
    let mut groups: BTreeMap<(usize, String), Vec<Entry>> = BTreeMap::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line).expect("every line is JSON");
        for (n, rule) in RULES.iter().enumerate().filter(|(_, r)| (r.selects)(&event)) {
            let key = rule.group_by.iter().map(|field| get(&event, field).clone()).collect();
            let key = Value::Array(key).to_string();
            groups.entry((n, key)).or_default().push(Entry::new(&event, rule));
        }
    }
    let recounted = groups.into_iter().filter_map(|((n, key), entries)| {
        let found = recount_key(&RULES[n], entries);
        (!found.holding_ends.is_empty()).then(|| ((RULES[n].name.to_owned(), key), found))
    });
    recounted.collect()
}

/// A built-in rule, as its description words it.
struct Rule {
    name: &'static str,
    selects: fn(&Value) -> bool,
    group_by: &'static [&'static str],
    /// The field whose distinct values count; without it occurrences count.
    values_of: Option<&'static str>,
    at_least: u64,
    timespan_us: i64,
}

const SESSION: &[&str] = &["session.id"];
const ADDRESS: &[&str] = &["product", "source.ip"];

#[rustfmt::skip]
static RULES: [Rule; 12] = [
    Rule { name: "auth_failures", selects: auth_remote, group_by: ADDRESS, values_of: None, at_least: 4, timespan_us: 5 * MINUTE },
    Rule { name: "auth_failures_local", selects: auth_local, group_by: &["product", "instance.id", "actor.id"], values_of: None, at_least: 4, timespan_us: 5 * MINUTE },
    Rule { name: "auth_spray", selects: auth_remote, group_by: &["product", "instance.id"], values_of: Some("source.ip"), at_least: 5, timespan_us: 15 * MINUTE },
    Rule { name: "auth_lockout", selects: auth_lockout, group_by: ADDRESS, values_of: None, at_least: 1, timespan_us: 15 * MINUTE },
    Rule { name: "tool_denied_burst", selects: tool_denied, group_by: &["agent.id", "session.id"], values_of: None, at_least: 10, timespan_us: 5 * MINUTE },
    Rule { name: "tool_denied_repeat", selects: tool_denied, group_by: &["session.id", "tool.name"], values_of: None, at_least: 5, timespan_us: 10 * MINUTE },
    Rule { name: "tool_denied_probing", selects: tool_denied, group_by: SESSION, values_of: Some("tool.target"), at_least: 5, timespan_us: 10 * MINUTE },
    Rule { name: "sensitive_target_denied", selects: sensitive_denied, group_by: &["product", "tool.target"], values_of: None, at_least: 1, timespan_us: HOUR },
    Rule { name: "context_overflow", selects: |e| get(e, "action") == "context.overflow", group_by: SESSION, values_of: None, at_least: 1, timespan_us: HOUR },
    Rule { name: "context_unrecovered", selects: |e| get(e, "action") == "context.recovery" && get(e, "outcome") == "failure", group_by: SESSION, values_of: None, at_least: 1, timespan_us: HOUR },
    Rule { name: "context_pressure", selects: context_pressure, group_by: SESSION, values_of: None, at_least: 5, timespan_us: 15 * MINUTE },
    Rule { name: "tool_loop", selects: |e| get(e, "action") == "tool.loop" && get(e, "outcome") == "denied", group_by: SESSION, values_of: None, at_least: 1, timespan_us: HOUR },
];

fn auth_failed(event: &Value) -> bool {
    get(event, "kind") == "auth"
        && ["failure", "denied"].iter().any(|o| get(event, "outcome") == *o)
        && get(event, "reason.code") != "rate_limited"
}

fn auth_remote(event: &Value) -> bool {
    auth_failed(event) && get(event, "source.ip").as_str().is_some_and(|ip| !is_loopback(ip))
}

fn auth_local(event: &Value) -> bool {
    auth_failed(event) && get(event, "source.ip").as_str().is_none_or(is_loopback)
}

fn auth_lockout(event: &Value) -> bool {
    get(event, "kind") == "auth"
        && get(event, "outcome") == "denied"
        && get(event, "reason.code") == "rate_limited"
}

fn tool_denied(event: &Value) -> bool {
    get(event, "kind") == "tool"
        && get(event, "outcome") == "denied"
        && !["user_rejected", "user_abort", "plan_mode"]
            .iter()
            .any(|reason| get(event, "reason.code") == *reason)
}

fn sensitive_denied(event: &Value) -> bool {
    let target = get(event, "tool.target").as_str().unwrap_or_default();
    tool_denied(event)
        && ["/etc/shadow", "/.ssh/", "/.aws/", "169.254.169.254"].iter().any(|s| target.contains(s))
}

fn context_pressure(event: &Value) -> bool {
    let number = |field| get(event, field).as_f64();
    number("context.tokens")
        .zip(number("context.limit"))
        .is_some_and(|(tokens, limit)| limit > 0.0 && tokens / limit >= 0.95)
}

fn is_loopback(ip: &str) -> bool {
    ip.starts_with("127.") || ip == "::1"
}

/// What counts of a matching event.
struct Entry {
    time_us: i64,
    /// Equal (product, id) counts once per window; an event without id is equal to no other.
    identity: Option<(String, String)>,
    occurrences: u64,
    value: Option<String>,
}

impl Entry {
    fn new(event: &Value, rule: &Rule) -> Self {
        let id = get(event, "id").as_str();
        Self {
            time_us: time_us(event).expect("every event has a time"),
            identity: id.map(|id| (get(event, "product").to_string(), id.to_owned())),
            occurrences: get(event, "count").as_u64().unwrap_or(1),
            value: rule.values_of.and_then(|f| get(event, f).as_str()).map(str::to_owned),
        }
    }
}

fn recount_key(rule: &Rule, mut entries: Vec<Entry>) -> Recount {
    entries.sort_by_key(|e| e.time_us);
    let mut found = Recount::default();
    let mut in_holding = vec![false; entries.len()];
    for last in 0..entries.len() {
        let end_us = entries[last].time_us;
        if entries.get(last + 1).is_some_and(|next| next.time_us == end_us) {
            continue;
        }
        let first = entries.partition_point(|e| e.time_us <= end_us - rule.timespan_us);
        let window = &entries[first..=last];
        let value = match rule.values_of {
            None => occurrences(window.iter()),
            Some(_) => {
                window.iter().filter_map(|e| e.value.as_ref()).collect::<BTreeSet<_>>().len() as u64
            }
        };
        if value >= rule.at_least {
            found.holding_ends.push(end_us);
            found.max_value = found.max_value.max(value);
            in_holding[first..=last].fill(true);
        }
    }
    let held = entries.iter().zip(in_holding).filter_map(|(e, holds)| holds.then_some(e));
    found.events_in_holding = occurrences(held);
    found
}

fn occurrences<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    let mut seen = BTreeSet::new();
    let counted = entries.filter(|e| e.identity.as_ref().is_none_or(|id| seen.insert(id)));
    counted.map(|e| e.occurrences).sum()
}

/// The value of a dotted field, null if there is none.
fn get<'a>(event: &'a Value, dotted: &str) -> &'a Value {
    dotted.split('.').fold(event, |at, name| &at[name])
}

fn time_us(event: &Value) -> Option<i64> {
    match &event["time"] {
        Value::String(text) => parse_time(text),
        Value::Number(ms) => ms.as_i64()?.checked_mul(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(minute: u64, second: u64, rest: &str) -> String {
        format!(
            r#"{{"time":"2026-11-22T10:{minute:02}:{second:02}Z","product":"p","kind":"auth","outcome":"failure","source":{{"ip":"203.0.113.1"}}{rest}}}"#
        )
    }

    fn ends(lines: Vec<String>) -> Vec<i64> {
        let found = recount(lines.into_iter());
        let key = ("auth_failures".to_owned(), r#"["p","203.0.113.1"]"#.to_owned());
        let first = parse_time("2026-11-22T10:00:00Z").expect("a time");
        found
            .get(&key)
            .map_or(vec![], |f| f.holding_ends.iter().map(|e| (e - first) / 1_000_000).collect())
    }

    #[test]
    fn the_start_of_a_window_is_outside_it() {
        let at = |m, s| (0..3).map(|_| failure(0, 0, "")).chain([failure(m, s, "")]).collect();
        assert_eq!(ends(at(4, 59)), [299]);
        assert_eq!(ends(at(5, 0)), [0_i64; 0]);
    }

    #[test]
    fn a_record_counts_as_often_as_it_says_and_its_repetition_not_at_all() {
        let once = failure(0, 0, r#","id":"1","count":3"#);
        let again = vec![once.clone(), once.clone(), failure(1, 0, r#","id":"2""#)];
        assert_eq!(ends(vec![once.clone(), once]), [0_i64; 0]);
        let found = recount(again.into_iter());
        let found: Vec<&Recount> = found.values().collect();
        assert_eq!((found[0].events_in_holding, found[0].max_value), (4, 4));
    }

    #[test]
    fn the_order_of_lines_does_not_matter() {
        let mut lines: Vec<String> = (0..6).map(|n| failure(n, 0, "")).collect();
        let in_order = ends(lines.clone());
        lines.reverse();
        assert_eq!(ends(lines), in_order);
        assert_eq!(in_order, [180, 240, 300]);
    }
}

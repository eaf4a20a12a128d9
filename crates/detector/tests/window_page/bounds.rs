//! What is bounded, and what is said when a bound is reached.

use lapwing_detector::Limits;
use lapwing_event::{Incomplete, Message, Status};

use crate::log::{Log, at, call, failure, failures, numbers, told};
use crate::rule::{self, correlation};

const INCOMPLETE: &str = "lapwing.window_incomplete";
const RULE: &str = "failed_logins";

fn keys(keys: usize) -> Limits {
    Limits { keys, ..Limits::default() }
}

fn of_rule(messages: &[Message], rule: &str) -> Vec<(Status, u64)> {
    let of_rule = messages.iter().filter(|m| &*m.alert.rule.name == rule);
    told(&of_rule.cloned().collect::<Vec<_>>())
}

#[test]
fn the_limits_are_those_that_the_page_names() {
    let named = Limits {
        keys: 100_000,
        entries_per_key: 1_000_000,
        values_per_key: 100_000,
        open_alerts: 10_000,
    };
    assert_eq!(Limits::default(), named);
}

#[test]
fn of_a_long_value_a_key_keeps_the_beginning_and_a_digest() {
    let mut log = Log::of(&rule::of_the_page());
    let [one, other] = ["x", "y"].map(|end| "a".repeat(100_000) + end);
    for time in ["12:00:00", "12:00:10", "12:00:20", "12:00:30"] {
        log.read(failure(time).by(&one));
        log.read(failure(time).by(&other));
    }
    let alerts = log.alerts();
    assert_eq!(alerts.iter().map(|a| a.count).collect::<Vec<_>>(), [4, 4]);
    let keys: Vec<String> = alerts.iter().map(|a| a.key.to_string()).collect();
    assert_ne!(keys[0], keys[1]);
    assert!(keys.iter().all(|key| key.len() < 1024 && key.contains("aaa… sha256:")), "{keys:?}");
    assert!(log.detector.snapshot().len() < 8192);
}

#[test]
fn every_rule_has_its_own_limits() {
    let rules = rule::correlations(&[
        ("type: event_count, rules: [failed], condition: {gte: 4}", ""),
        ("type: event_count, rules: [failed], condition: {gte: 9}", ""),
    ]);
    let mut log = Log::bounded(&rules, keys(1));
    log.read_all(failures(["12:00:00", "12:00:10"]));
    assert_eq!((log.messages.len(), log.detector.keys()), (0, 2));
}

#[test]
fn keys_with_one_event_are_forgotten_first_and_of_these_the_least_recently_touched() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|key| move |time: &str| failure(time).by(key));
    let mut log = Log::bounded(&rule::of_the_page(), keys(3));
    assert_eq!(log.read_all([a("12:00:00"), a("12:00:10"), b("12:00:20"), c("12:00:30")]), []);
    // The oldest key is `a`, the oldest with one event `b`.
    log.read(d("12:00:40"));
    assert_eq!((log.detector.keys(), log.stats().evicted), (3, 1));
    assert_eq!(of_rule(&log.messages, INCOMPLETE), [(Status::Opened, 1)]);
    log.read_all([a("12:01:00"), a("12:01:10")]);
    assert_eq!(log.alerts_of(RULE)[0].count, 4, "it was kept");
    log.read_all([b("12:01:20"), b("12:01:30"), b("12:01:40")]);
    assert_eq!(log.alerts_of(RULE).len(), 1, "its first event is forgotten");
}

#[test]
fn a_key_with_an_open_alert_is_never_forgotten_for_want_of_room() {
    let mut log = Log::bounded(&rule::of_the_page(), keys(1));
    log.read_all(failures(["12:00:00"; 4]));
    // There is no room for another key: its event is lost, and that is said.
    log.read(failure("12:00:10").by("b"));
    assert_eq!(of_rule(&log.messages, INCOMPLETE), [(Status::Opened, 1)]);
    log.read(failure("12:00:20"));
    log.end();
    let alert = &log.alerts_of(RULE)[0];
    assert_eq!((alert.count, alert.complete), (5, true));
}

#[test]
fn a_key_that_begins_within_a_timespan_of_a_forgotten_event_is_incomplete() {
    for (time, is_complete) in [("12:04:59.999999", false), ("12:05:00", true)] {
        let mut log = Log::bounded(&rule::of_the_page(), keys(1));
        log.read(failure("12:00:00"));
        log.read(failure(time).by("b").count(4));
        let alert = &log.alerts_of(RULE)[0];
        assert_eq!(alert.complete, is_complete, "{time}");
        let because = if is_complete { vec![] } else { vec![Incomplete::Evicted] };
        assert_eq!(alert.incomplete_because, because);
    }
}

#[test]
fn an_event_that_found_no_room_makes_keys_incomplete_as_a_forgotten_one_does() {
    let mut log = Log::bounded(&rule::of_the_page(), keys(1));
    log.read_all(failures(["12:00:00"; 4]));
    log.read(failure("12:00:10").by("b"));
    log.tick("12:15:00");
    // There is room again, and the window of this event reaches back over the lost one.
    log.read(failure("12:05:09").by("b").count(4).read_at("12:16:00"));
    let alerts = log.alerts_of(RULE);
    assert_eq!(alerts[1].incomplete_because, [Incomplete::Evicted]);
}

#[test]
fn beyond_the_bound_of_events_the_oldest_are_forgotten_and_the_alert_says_so() {
    let limits = Limits { entries_per_key: 5, ..Limits::default() };
    let mut log = Log::bounded(&rule::of_the_page(), limits);
    let seconds = |n: usize| failure(&format!("12:00:{n:02}"));
    log.read_all((0..5).map(seconds));
    assert!(log.alert().complete);
    // An event is counted before the oldest is dropped.
    let sixth = log.read(seconds(5));
    assert_eq!(of_rule(&sixth, RULE), [(Status::Updated, 6)]);
    assert_eq!(of_rule(&sixth, INCOMPLETE), [(Status::Opened, 1)]);
    log.read(seconds(6));
    log.end();
    let alert = &log.alerts_of(RULE)[0];
    assert_eq!((alert.complete, alert.value, alert.count), (false, 6.into(), 7));
    assert_eq!(alert.incomplete_because, [Incomplete::Entries]);
}

#[test]
fn beyond_the_bound_of_values_the_oldest_events_are_forgotten_and_the_alert_says_so() {
    let rule = "type: value_count, rules: [failed], condition: {field: tool.target, gte: 3}";
    let limits = Limits { values_per_key: 3, ..Limits::default() };
    let mut log = Log::bounded(&correlation(rule, ""), limits);
    let target = |n: usize| {
        let target = lapwing_event::FieldId::ToolTarget;
        failure(&format!("12:00:{n:02}")).text(target, &format!("/{n}"))
    };
    log.read_all((0..6).map(target));
    log.end();
    let alert = &log.alerts_of("correlated_0")[0];
    assert_eq!((alert.complete, alert.value, alert.count), (false, 4.into(), 6));
    assert_eq!(alert.incomplete_because, [Incomplete::Values]);
}

#[test]
fn beyond_the_bound_of_open_alerts_none_is_opened_and_that_is_said() {
    let limits = Limits { open_alerts: 1, ..Limits::default() };
    let b = |time: &str| failure(time).by("b");
    let mut log = Log::bounded(&rule::of_the_page(), limits);
    log.read_all(failures(["12:00:00"; 4]));
    log.read_all(["12:00:10"; 4].map(b));
    assert_eq!(log.alerts_of(RULE).len(), 1);
    let incomplete = &log.alerts_of(INCOMPLETE)[0];
    assert_eq!(incomplete.incomplete_because, [Incomplete::OpenAlerts]);
    assert_eq!(incomplete.opened_at, at("12:00:10"));
    // The first alert ends. The window of the other key has held all the same; a new one opens.
    log.tick("12:15:00");
    log.read(b("12:00:10").read_at("12:15:05"));
    assert_eq!(log.alerts_of(RULE).len(), 1);
    log.read(b("12:00:12"));
    assert_eq!(log.alerts_of(RULE)[1].opened_at, at("12:00:12"));
}

#[test]
fn the_sixty_fifth_record_of_one_id_is_dropped_and_the_alert_says_so() {
    let record = |n: usize| failure(&format!("12:{:02}:{:02}", n / 60, n % 60)).id("a").count(4);
    let mut log = Log::of(&rule::of_the_page());
    log.read_all((0..64).map(record));
    assert_eq!((log.alert().complete, log.alert().count), (true, 4));
    log.read(record(64));
    let alert = &log.alerts_of(RULE)[0];
    assert_eq!((alert.complete, alert.last_at), (false, at("12:01:03")));
    assert_eq!(alert.incomplete_because, [Incomplete::Entries]);
}

#[test]
fn window_incomplete_is_one_alert_of_a_rule_from_its_first_loss_on() {
    let mut log = Log::bounded(&rule::of_the_page(), keys(1));
    let new_key = |n: usize| failure(&format!("12:00:{n:02}")).by(&format!("k{n}"));
    log.read_all((0..6).map(new_key));
    let (opened, updated) = (Status::Opened, Status::Updated);
    assert_eq!(told(&log.messages), [(opened, 1), (updated, 2), (updated, 4)]);
    log.end();
    let alert = log.alert();
    assert_eq!(&*alert.rule.name, INCOMPLETE);
    assert_eq!(alert.key.to_string(), "rule=failed_logins");
    assert_eq!((alert.opened_at, alert.last_at), (at("12:00:01"), at("12:00:05")));
    assert_eq!(alert.incomplete_because, [Incomplete::Evicted]);
    assert_eq!((alert.count, alert.open_at_end), (5, true));
}

#[test]
fn window_incomplete_ends_a_timespan_and_the_lateness_after_the_last_loss() {
    let mut log = Log::bounded(&rule::of_the_page(), keys(1));
    log.read_all([failure("12:00:00"), failure("12:00:10").by("b")]);
    assert_eq!(log.tick("12:15:09.999999"), []);
    assert_eq!(told(&log.tick("12:15:10")), [(Status::Resolved, 1)]);
    assert_eq!(log.alert().resolved_at, Some(at("12:15:10")));
}

/// Times within twenty minutes, in microseconds, rising but for the allowed lateness.
fn times(seed: u64) -> Vec<i64> {
    let mut below = numbers(seed);
    (0..40).map(|n| (n * 20 + below(240)) * 1_000_000).collect()
}

#[test]
fn with_a_condition_that_asks_for_much_the_value_of_an_incomplete_alert_is_never_too_large() {
    let mut incomplete = 0;
    for seed in 0..40 {
        let limits = Limits { entries_per_key: 6, ..Limits::default() };
        let mut log = Log::bounded(&rule::of_the_page(), limits);
        let times: Vec<i64> = times(seed).into_iter().map(|t| at("12:00:00") + t).collect();
        log.read_all(times.iter().map(|time| failure("12:00:00").moved(*time, *time)));
        log.end();
        for alert in log.alerts_of(RULE) {
            let in_window = |end: i64| {
                let start = end - 300_000_000;
                times.iter().filter(|t| start < **t && **t <= end).count() as i64
            };
            let largest = times.iter().map(|end| in_window(*end)).max().unwrap_or(0);
            assert!(alert.value <= largest.into(), "{} of {largest}", alert.value);
            incomplete += usize::from(!alert.complete);
        }
    }
    assert!(incomplete > 30, "{incomplete} alerts were incomplete");
}

#[test]
fn with_a_condition_that_asks_for_little_missing_events_can_make_a_window_hold() {
    let rule = "type: event_count, rules: [called], condition: {lte: 3}";
    let limits = Limits { entries_per_key: 3, ..Limits::default() };
    let mut log = Log::bounded(&correlation(rule, ""), limits);
    log.read_all(["12:00:00"; 5].map(call));
    log.tick("12:11:00");
    let alert = &log.alerts_of("correlated_0")[0];
    assert_eq!((alert.value, alert.complete), (3.into(), false));
}

//! The kinds of rules, and when their windows are decided.

use lapwing_event::{FieldId, Fixed, Message};

use crate::log::{Log, Record, at, call, failure, failures, success, window};
use crate::rule::correlation;

fn target(time: &str, target: &str) -> Record {
    call(time).text(FieldId::ToolTarget, target)
}

#[test]
fn value_count_counts_distinct_values_and_null_is_none() {
    let rule = "type: value_count, rules: [called], condition: {field: tool.target, gte: 3}";
    let mut log = Log::of(&correlation(rule, ""));
    log.read_all([target("12:00:00", "/a"), target("12:00:10", "/a")]);
    assert_eq!(log.read_all([call("12:00:20"), target("12:00:30", "/b")]), []);
    log.read(target("12:00:40", "/c"));
    assert_eq!((log.alert().value, log.alert().count), (3.into(), 5));
}

#[test]
fn value_sum_adds_a_number_and_null_adds_nothing() {
    let rule = "type: value_sum, rules: [called], condition: {field: usage.input_tokens, gte: 100}";
    let mut log = Log::of(&correlation(rule, ""));
    let tokens = |time, tokens| call(time).number(FieldId::UsageInputTokens, tokens);
    assert_eq!(log.read_all([tokens("12:00:00", 60), call("12:00:10")]), []);
    log.read(tokens("12:00:20", 40));
    assert_eq!((log.alert().value, log.alert().count), (100.into(), 3));
}

#[test]
fn sums_are_exact_to_nine_digits() {
    let rule = "type: value_sum, rules: [called], condition: {field: usage.cost_usd, gte: 1.0}";
    let mut log = Log::of(&correlation(rule, ""));
    let cents = |n: i64| call(&format!("12:00:{n:02}")).cost(0.1);
    assert_eq!(log.read_all((1..10).map(cents)), []);
    log.read(cents(10));
    assert_eq!(log.alert().value, Fixed(1_000_000_000), "ten tenths are one");
}

#[test]
fn a_sum_counts_an_id_once_with_its_largest_number() {
    let rule = "type: value_sum, rules: [called], condition: {field: usage.cost_usd, gte: 1.0}";
    let mut log = Log::of(&correlation(rule, ""));
    log.read_all([call("12:00:00").id("a").cost(0.4), call("12:00:10").id("a").cost(0.7)]);
    assert_eq!(log.read(call("12:00:20").id("b").cost(0.2)), []);
    log.read(call("12:00:30").id("c").cost(0.1));
    assert_eq!(log.alert().value, 1);
}

#[test]
fn a_mean_is_rounded_down_at_the_ninth_digit() {
    for (condition, holds) in [("gte: 1.333333333", true), ("gt: 1.333333333", false)] {
        let rule = "type: value_avg, rules: [called], condition: {field: duration_ms";
        let mut log = Log::of(&correlation(&format!("{rule}, {condition}}}"), ""));
        let took = |ms| call("12:00:00").number(FieldId::DurationMs, ms);
        log.read_all([took(1), took(1), took(2)]);
        log.tick("12:30:00");
        assert_eq!(!log.messages.is_empty(), holds, "{condition}");
        if holds {
            assert_eq!(log.alert().value, Fixed(1_333_333_333));
        }
    }
}

#[test]
fn a_mean_of_no_number_holds_in_no_window() {
    let rule = "type: value_avg, rules: [called], condition: {field: duration_ms, lt: 5}";
    let mut log = Log::of(&correlation(rule, ""));
    log.read(call("12:00:00"));
    log.tick("13:00:00");
    assert_eq!(log.messages, []);
}

#[test]
fn temporal_counts_the_detections_that_have_an_event() {
    let all = "type: temporal, rules: [failed, succeeded, called]";
    let two = "type: temporal, rules: [failed, succeeded, called], condition: {gte: 2}";
    for (rule, least) in [(all, 3), (two, 2)] {
        let mut log = Log::of(&correlation(rule, ""));
        let records =
            [success("12:00:00"), success("12:01:00"), failure("12:02:00"), call("12:03:00")];
        log.read_all(records);
        let opened = &log.messages[0].alert;
        assert_eq!(opened.value, least);
        assert_eq!(opened.opened_at, at(if least == 2 { "12:02:00" } else { "12:03:00" }));
    }
}

#[test]
fn one_record_may_serve_two_detections_of_temporal() {
    let mut log = Log::of(&correlation("type: temporal, rules: [failed, tried]", ""));
    log.read(failure("12:00:00"));
    assert_eq!((log.alert().value, log.alert().count), (2.into(), 1));
}

const ORDERED: &str = "type: temporal_ordered, rules: [failed, failed, succeeded]";

#[test]
fn temporal_ordered_goes_by_event_time() {
    let mut log = Log::of(&correlation(ORDERED, ""));
    log.read_all([success("12:00:00"), failure("12:01:00"), failure("12:02:00")]);
    log.end();
    assert_eq!(log.messages, [], "the success came first");
    let mut log = Log::of(&correlation(ORDERED, ""));
    log.read(success("12:03:00"));
    log.read_all(failures(["12:01:00", "12:02:00"]).map(|r| r.read_at("12:04:00")));
    assert_eq!((log.alert().opened_at, log.alert().count), (at("12:03:00"), 3));
}

#[test]
fn events_of_one_time_satisfy_either_order() {
    let mut log = Log::of(&correlation(ORDERED, ""));
    log.read_all([success("12:00:00"), failure("12:00:00"), failure("12:00:00")]);
    assert_eq!((log.alert().value, log.alert().count), (3.into(), 3));
}

#[test]
fn temporal_ordered_takes_a_record_for_each_place_even_of_one_id() {
    let mut log = Log::of(&correlation(ORDERED, ""));
    let messages = log.read_all([failure("12:00:00"), success("12:01:00")]);
    assert_eq!(messages, [], "one failure does not serve twice");
    let mut log = Log::of(&correlation(ORDERED, ""));
    log.read_all(failures(["12:00:00", "12:01:00"]).map(|record| record.id("a")));
    log.read(success("12:02:00"));
    assert_eq!((log.alert().value, log.alert().count), (3.into(), 2));
}

#[test]
fn a_detection_alone_asks_for_one_event_in_five_minutes_of_an_agent() {
    let rule = "
title: A tool was called
id: 44444444-4444-4444-8444-444444444444
name: called
logsource: {category: agent_audit}
detection:
  called: {kind: tool}
  condition: called
level: low
";
    let mut log = Log::of(rule);
    log.read(call("12:00:00"));
    let alert = log.alert();
    assert_eq!((alert.key.to_string().as_str(), alert.count), ("agent.id=main", 1));
    assert_eq!(alert.window, window("11:55:00", "12:00:00"));
}

/// Three events and the detection that selects them, for each kind of rule whose windows may be
/// decided at once; the third makes the window hold.
fn rising() -> Vec<(&'static str, [Record; 3])> {
    let tokens = |time, tokens| call(time).number(FieldId::UsageInputTokens, tokens);
    let three = || failures(["12:00:00", "12:01:00", "12:02:00"]);
    vec![
        ("type: event_count, rules: [failed], condition: {gte: 3}", three()),
        ("type: event_count, rules: [failed], condition: {gt: 2}", three()),
        (
            "type: value_count, rules: [called], condition: {field: tool.target, gt: 2}",
            [target("12:00:00", "/a"), target("12:01:00", "/b"), target("12:02:00", "/c")],
        ),
        (
            "type: value_sum, rules: [called], condition: {field: usage.input_tokens, gt: 29}",
            [tokens("12:00:00", 10), tokens("12:01:00", 10), tokens("12:02:00", 10)],
        ),
        (
            "type: temporal, rules: [failed, succeeded, called]",
            [failure("12:00:00"), success("12:01:00"), call("12:02:00")],
        ),
        (
            "type: temporal_ordered, rules: [failed, succeeded, called]",
            [failure("12:00:00"), success("12:01:00"), call("12:02:00")],
        ),
    ]
}

#[test]
fn conditions_that_more_events_only_make_truer_are_decided_at_the_event() {
    for (rule, [first, second, third]) in rising() {
        let mut log = Log::of(&correlation(rule, ""));
        assert_eq!(log.read_all([first, second]), [], "{rule}");
        let messages: Vec<Message> = log.read(third.read_at("12:02:30"));
        assert_eq!(messages.len(), 1, "{rule}");
        assert_eq!(messages[0].alert.opened_at, at("12:02:00"), "{rule}");
        assert_eq!(messages[0].log_time, at("12:02:30"), "{rule}");
    }
}

/// Rules whose windows wait, each of which holds for one event that took a millisecond.
const WAITING: [&str; 7] = [
    "type: event_count, rules: [called], condition: {lt: 3}",
    "type: event_count, rules: [called], condition: {lte: 1}",
    "type: event_count, rules: [called], condition: {eq: 1}",
    "type: event_count, rules: [called], condition: {gte: 1, lte: 2}",
    "type: value_count, rules: [called], condition: {field: duration_ms, lt: 2}",
    "type: value_sum, rules: [called], condition: {field: duration_ms, lte: 1}",
    "type: value_avg, rules: [called], condition: {field: duration_ms, gte: 1}",
];

#[test]
fn conditions_that_more_events_could_undo_wait_for_the_allowed_lateness() {
    for rule in WAITING {
        let mut log = Log::of(&correlation(rule, ""));
        log.read(call("12:00:00").number(FieldId::DurationMs, 1));
        assert_eq!(log.tick("12:10:00"), [], "{rule}");
        let messages = log.tick("12:11:00");
        assert_eq!(messages.len(), 1, "{rule}");
        assert_eq!(messages[0].alert.opened_at, at("12:00:00"), "{rule}");
        assert_eq!(messages[0].log_time, at("12:10:00.000001"), "{rule}");
    }
}

#[test]
fn an_event_that_comes_in_time_changes_what_a_waiting_window_holds() {
    let rule = "type: event_count, rules: [failed], condition: {eq: 1}";
    let mut log = Log::of(&correlation(rule, ""));
    log.read_all([failure("12:00:00"), failure("12:00:00").read_at("12:10:00")]);
    log.tick("13:00:00");
    assert_eq!(log.messages, []);
}

#[test]
fn a_window_that_waits_is_decided_once() {
    let rule = "type: event_count, rules: [failed], condition: {eq: 2}";
    let mut log = Log::of(&correlation(rule, ""));
    log.read(failure("12:00:00"));
    log.tick("12:10:00.000001");
    // It comes in time to be counted, but after the window at 12:00:00 was decided.
    let pushed = log.push(&[failure("12:00:00").read_at("12:10:01")]);
    assert!(pushed.late_rows.is_empty());
    log.tick("13:00:00");
    assert_eq!(log.messages, []);
}

#[test]
fn a_condition_that_asks_for_little_says_nothing_of_silence() {
    let rule = "type: event_count, rules: [failed], condition: {lt: 3}";
    let mut log = Log::of(&correlation(rule, ""));
    log.read_all(failures(["12:00:00"; 3]));
    log.tick("20:00:00");
    log.end();
    assert_eq!(log.messages, [], "no window ends where there is no event");
}

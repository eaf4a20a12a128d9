//! The alert: what it counts, when it is told of, when it ends.

use std::sync::Arc;

use lapwing_event::{FieldId, Level, ResolvedBecause, Status, alert_id};

use crate::log::{Log, Record, at, call, failure, failures, told, window};
use crate::rule;

const PICTURE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/what-a-window-means.svg"));

const FOUR: [&str; 4] = ["12:00:30", "12:02:00", "12:03:10", "12:05:00"];

/// So many failures in the minute after 12:00:00.
fn burst(failures: usize) -> impl Iterator<Item = Record> {
    (0..failures).map(|n| failure(&format!("12:00:{:02}", n % 60)))
}

#[test]
fn the_detector_says_what_the_picture_shows() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(["12:00:00", "12:02:00", "12:03:30"]));
    assert_eq!(log.read(failure("12:05:00")), []);
    assert_eq!(told(&log.read(failure("12:06:30"))), [(Status::Opened, 4)]);
    assert_eq!(log.read(failure("12:08:00")), []);
    assert_eq!(log.push(&[failure("11:56:30")]).late_rows, [0]);
    assert_eq!(log.tick("12:22:59.999999"), []);
    log.tick("12:23:00");
    let alert = log.alert();
    assert_eq!((alert.opened_at, alert.window.end), (at("12:06:30"), at("12:08:00")));
    assert_eq!((alert.count, alert.resolved_at), (5, Some(at("12:23:00"))));
    let labels = ["opened_at 12:06:30", "window.end 12:08:00", "resolved_at 12:23:00"];
    assert!(labels.iter().all(|label| PICTURE.contains(&format!(">{label}<"))));
}

#[test]
fn while_an_alert_is_open_every_window_that_holds_goes_into_it() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all((0..60).map(|minute| failure(&format!("12:{minute:02}:00"))));
    log.end();
    let alert = log.alert();
    assert_eq!((alert.opened_at, alert.count), (at("12:03:00"), 60));
    assert_eq!(alert.window, window("11:58:00", "12:59:00"));
}

#[test]
fn count_is_what_lies_in_a_window_that_holds() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(["12:01:00", "12:02:00", "12:03:00", "12:04:00"]));
    // In no window that holds: neither in that at 12:04:00 nor in that at 12:18:00.
    log.read(failure("12:10:00"));
    log.read_all(failures(["12:15:00", "12:16:00", "12:17:00", "12:18:00"]));
    let alert = log.alert();
    assert_eq!((alert.count, alert.value), (8, 4.into()));
    assert_eq!(alert.window, window("11:59:00", "12:18:00"));
}

#[test]
fn value_is_the_largest_of_any_window_or_the_smallest_where_the_condition_asks_for_little() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(burst(6));
    log.read_all(failures(["12:06:00", "12:06:10", "12:06:20", "12:06:30"]));
    log.end();
    assert_eq!((log.alert().value, log.alert().count), (6.into(), 10));
    let rule = "type: event_count, rules: [failed], condition: {lte: 3}";
    let mut log = Log::of(&rule::correlation(rule, "resolve_after: 15m"));
    log.read_all(failures(["12:00:00", "12:00:00", "12:06:00", "12:07:00", "12:08:00"]));
    log.tick("12:20:00");
    log.end();
    // Two, one, two, three.
    assert_eq!((log.alert().value, log.alert().count), (1.into(), 5));
}

#[test]
fn an_alert_is_updated_at_twice_four_times_and_eight_times_its_opening_value() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(burst(40));
    let (opened, updated) = (Status::Opened, Status::Updated);
    let expected = [(opened, 4), (updated, 8), (updated, 16), (updated, 32)];
    assert_eq!(told(&log.messages), expected);
    // Of a sum it is the count at the opening that is doubled.
    let rule = "type: value_sum, rules: [called], condition: {field: usage.cost_usd, gte: 1.5}";
    let mut log = Log::of(&rule::correlation(rule, ""));
    log.read_all((0..15).map(|n| call(&format!("12:00:{n:02}")).cost(0.5)));
    assert_eq!(told(&log.messages), [(opened, 3), (updated, 6), (updated, 12)]);
}

#[test]
fn a_level_rises_with_the_value_and_never_falls() {
    let mut log = Log::of(&rule::of_the_page_with("levels: {critical: 6}"));
    log.read_all(burst(6));
    assert_eq!(told(&log.messages), [(Status::Opened, 4), (Status::Updated, 6)]);
    assert_eq!(log.messages[0].alert.level, Level::High);
    assert_eq!(log.messages[1].alert.level, Level::Critical);
    // Windows of four, and their alert stays critical.
    log.read_all(failures(["12:06:00", "12:06:10", "12:06:20", "12:06:30"]));
    log.tick("13:00:00");
    assert_eq!((log.alert().status, log.alert().level), (Status::Resolved, Level::Critical));
}

#[test]
fn one_event_gives_one_update_at_most() {
    let mut log = Log::of(&rule::of_the_page_with("levels: {critical: 8}"));
    log.read_all(burst(7));
    let eighth = log.read(failure("12:00:07"));
    assert_eq!(told(&eighth), [(Status::Updated, 8)], "twice the opening value, and critical");
}

#[test]
fn an_alert_is_resolved_when_its_key_has_been_quiet() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(FOUR));
    assert_eq!(log.tick("12:19:59.999999"), []);
    log.tick("12:40:00");
    let alert = log.alert();
    assert_eq!(alert.resolved_at, Some(at("12:20:00")));
    assert_eq!(alert.resolved_because, Some(ResolvedBecause::Quiet));
    assert_eq!(log.messages[1].log_time, at("12:20:00"));
}

#[test]
fn resolve_after_keeps_an_alert_open_for_longer() {
    let mut log = Log::of(&rule::of_the_page_with("resolve_after: 1h"));
    log.read_all(failures(FOUR));
    assert_eq!(log.tick("13:14:59.999999"), []);
    log.tick("13:15:00");
    assert_eq!(log.alert().resolved_at, Some(at("13:15:00")));
}

#[test]
fn events_that_come_after_their_alert_would_be_over_are_one_alert_too() {
    let mut log = Log::of(&rule::of_the_page());
    log.read(failure("12:10:00"));
    // The window at 12:04:00 would be over at 12:19:00.
    for time in FOUR.into_iter().chain(["12:05:10", "12:05:20"]) {
        log.read(failure(time).read_at("12:22:00"));
    }
    assert_eq!(told(&log.tick("12:26:59.999999")), []);
    assert_eq!(told(&log.tick("12:27:00")), [(Status::Resolved, 6)]);
    assert_eq!(told(&log.messages), [(Status::Opened, 4), (Status::Resolved, 6)]);
}

#[test]
fn events_in_no_window_that_holds_do_not_keep_an_alert_open() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(FOUR));
    log.read(failure("12:19:00"));
    assert_eq!(told(&log.tick("12:20:00")), [(Status::Resolved, 4)]);
}

#[test]
fn the_next_window_that_holds_after_the_resolution_opens_another_alert() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(FOUR));
    log.read_all(failures(["12:30:00", "12:30:10", "12:30:20", "12:30:30"]));
    let alerts = log.alerts();
    assert_eq!(alerts.len(), 2);
    assert_eq!((alerts[0].status, alerts[1].status), (Status::Resolved, Status::Opened));
    assert_eq!((alerts[1].opened_at, alerts[1].count), (at("12:30:30"), 4));
}

#[test]
fn a_window_belongs_to_the_alert_that_was_open_when_it_first_held() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(FOUR));
    log.read(failure("12:12:00"));
    assert_eq!(told(&log.tick("12:20:00")), [(Status::Resolved, 4)]);
    // One more in the window at 12:05:00, which held before.
    let pushed = log.push(&[failure("12:05:00").read_at("12:21:00")]);
    assert!(pushed.messages.is_empty() && pushed.late_rows.is_empty());
    // The window at 12:06:00 has not held yet. It reaches back over events of the first alert.
    log.read(failure("12:06:00").read_at("12:22:00"));
    let second = &log.alerts()[1];
    assert_eq!((second.opened_at, second.count), (at("12:06:00"), 5));
}

#[test]
fn the_same_history_gives_the_same_id() {
    let run = || {
        let mut log = Log::of(&rule::of_the_page());
        log.read_all(failures(FOUR));
        log.alert()
    };
    let alert = run();
    assert_eq!(alert, run());
    let id = alert_id(&alert.rule.id, "gw1", "0", &alert.key, alert.opened_at);
    assert_eq!(alert.id, id);
}

#[test]
fn at_the_end_of_a_bounded_input_an_open_alert_stays_open_and_says_so() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(FOUR));
    assert_eq!(told(&log.end()), [(Status::Updated, 4)]);
    let alert = log.alert();
    assert_eq!((alert.open_at_end, alert.resolved_at), (true, None));
}

#[test]
fn a_rule_that_was_changed_closes_its_alerts_and_begins_anew() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(FOUR));
    log.tick("12:08:00");
    let changed = rule::of_the_page().replace("gte: 4", "gte: 3");
    let resolved = log.restart(&changed);
    assert_eq!(told(&resolved), [(Status::Resolved, 4)]);
    let alert = &resolved[0].alert;
    assert_eq!(alert.resolved_because, Some(ResolvedBecause::RuleChanged));
    assert_eq!(alert.resolved_at, Some(at("12:08:00")));
    // What was counted is gone.
    assert_eq!(log.read_all(failures(["12:08:10", "12:08:20"])), []);
    assert_eq!(told(&log.read(failure("12:08:30"))), [(Status::Opened, 3)]);
}

#[test]
fn a_rule_of_which_only_the_texts_were_changed_goes_on() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(["12:00:30", "12:02:00", "12:03:10"]));
    let changed = rule::of_the_page_with("message: Another text.");
    assert_eq!(log.restart(&changed), []);
    log.read(failure("12:05:00"));
    assert_eq!((log.alert().count, log.alert().description.as_str()), (4, "Another text."));
}

#[test]
fn an_alert_names_its_first_and_latest_event_and_the_five_earliest() {
    let mut log = Log::of(&rule::of_the_page());
    let times =
        ["12:00:07", "12:00:06", "12:00:05", "12:00:04", "12:00:03", "12:00:02", "12:00:01"];
    log.read_all(failures(times).map(|record| record.read_at("12:01:00")));
    log.end();
    let evidence = log.alert().evidence;
    let samples: Vec<i64> = evidence.samples.iter().map(|s| s.time).collect();
    let earliest = ["12:00:01", "12:00:02", "12:00:03", "12:00:04", "12:00:05"];
    assert_eq!(samples, earliest.map(at));
    assert_eq!((evidence.first.line, evidence.latest.line), (Some(7), Some(1)));
    assert_eq!(evidence.first.file.as_deref(), Some("gw.log"));
}

#[test]
fn an_alert_counts_its_occurrences_by_reason() {
    let reasons = ["token_mismatch", "token_mismatch", "token_missing", "token_mismatch"];
    let mut log = Log::of(&rule::of_the_page());
    for (time, reason) in FOUR.into_iter().zip(reasons) {
        log.read(failure(time).text(FieldId::ReasonCode, reason));
    }
    let by_reason = log.alert().by_reason;
    let by_reason: Vec<(Arc<str>, u64)> = by_reason.into_iter().collect();
    assert_eq!(by_reason, [("token_mismatch".into(), 3), ("token_missing".into(), 1)]);
}

//! Absence: an event that is expected every so often and does not come.

use lapwing_event::time::DAY;
use lapwing_event::{Fixed, ResolvedBecause, Status};

use crate::log::{Log, at, call, told, window};
use crate::rule::expected;

#[test]
fn silence_opens_at_the_last_event_plus_the_time_in_which_the_next_was_expected() {
    let mut log = Log::of(&expected("15m", ""));
    log.read_all(["11:50:00", "12:00:00"].map(call));
    log.tick("12:30:00");
    let alert = log.alert();
    assert_eq!((alert.status, alert.opened_at), (Status::Opened, at("12:15:00")));
    assert_eq!(alert.window, window("12:00:00", "12:15:00"));
    assert_eq!((alert.count, alert.value), (0, Fixed::from(0)));
    assert_eq!((alert.last_at, alert.evidence.samples.len()), (at("12:00:00"), 1));
}

#[test]
fn silence_is_told_when_no_event_can_come_into_it_any_more() {
    let mut log = Log::of(&expected("15m", ""));
    log.read(call("12:00:00"));
    assert_eq!(log.tick("12:25:00"), []);
    let messages = log.tick("12:26:00");
    assert_eq!(messages[0].log_time, at("12:25:00.000001"));
}

#[test]
fn an_event_at_the_last_moment_is_in_time() {
    for (next, is_in_time) in [("12:15:00", true), ("12:15:00.000001", false)] {
        let mut log = Log::of(&expected("15m", ""));
        log.read_all(["12:00:00", next].map(call));
        log.tick("12:30:00");
        assert_eq!(log.messages.is_empty(), is_in_time, "{next}");
    }
}

#[test]
fn an_event_out_of_order_fills_a_silence() {
    let mut log = Log::of(&expected("15m", ""));
    log.read_all(["12:00:00", "12:20:00", "12:10:00"].map(call));
    assert_eq!(log.tick("12:45:00"), []);
    // The next silence, after 12:20:00, is told.
    assert_eq!(told(&log.tick("12:45:00.000001")), [(Status::Opened, 0)]);
}

#[test]
fn the_next_event_ends_the_silence() {
    let mut log = Log::of(&expected("15m", ""));
    log.read(call("12:00:00"));
    log.tick("12:30:00");
    let resolved = log.read(call("12:40:00"));
    let alert = &resolved[0].alert;
    assert_eq!(alert.resolved_because, Some(ResolvedBecause::Seen));
    assert_eq!((alert.opened_at, alert.resolved_at), (at("12:15:00"), Some(at("12:40:00"))));
}

#[test]
fn a_silence_that_is_over_when_it_is_told_is_opened_and_resolved_at_once() {
    let mut log = Log::of(&expected("15m", ""));
    log.read_all(["12:00:00", "12:20:00"].map(call));
    let messages = log.tick("12:25:00.000001");
    assert_eq!(told(&messages), [(Status::Opened, 0), (Status::Resolved, 0)]);
    assert_eq!(log.alert().opened_at, at("12:15:00"));
    assert_eq!(log.alert().resolved_at, Some(at("12:20:00")));
}

#[test]
fn an_event_from_within_the_silence_ends_it_at_its_opening() {
    let mut log = Log::of(&expected("15m", ""));
    log.read(call("12:00:00"));
    log.tick("12:30:00");
    log.read(call("12:10:00").read_at("12:31:00"));
    let alert = log.alert();
    assert_eq!((alert.opened_at, alert.resolved_at), (at("12:15:00"), Some(at("12:15:00"))));
}

#[test]
fn silences_are_decided_in_the_order_of_their_beginnings() {
    let mut log = Log::of(&expected("1m", ""));
    log.read(call("12:00:00"));
    assert_eq!(told(&log.tick("12:11:00.000001")), [(Status::Opened, 0)]);
    // Nothing followed 11:55:00 within a minute either, but the turn of that silence is over.
    let pushed = log.push(&[call("11:55:00").read_at("12:12:00")]);
    assert!(pushed.late_rows.is_empty());
    log.tick("13:00:00");
    assert_eq!(log.messages.len(), 1);
    assert_eq!(log.alert().opened_at, at("12:01:00"));
}

#[test]
fn after_a_day_of_silence_the_event_is_expected_no_more() {
    let mut log = Log::of(&expected("15m", ""));
    log.read(call("12:00:00"));
    log.tick("12:30:00");
    assert_eq!(log.tick_at(at("12:15:00") + DAY - 1), []);
    let expired = log.tick_at(at("12:15:00") + DAY);
    let alert = &expired[0].alert;
    assert_eq!(alert.resolved_because, Some(ResolvedBecause::Expired));
    assert_eq!(alert.resolved_at, Some(at("12:15:00") + DAY));
    assert_eq!(log.detector.keys(), 0, "the agent is forgotten");
    assert_eq!(log.read(call("2026-11-25T12:00:00")), []);
    // Until it is heard of again.
    let messages = log.tick("2026-11-25T13:00:00");
    assert_eq!(messages[0].alert.opened_at, at("2026-11-25T12:15:00"));
}

#[test]
fn an_agent_that_was_never_heard_of_is_not_missed() {
    let mut log = Log::of(&expected("15m", ""));
    log.tick("12:00:00");
    log.tick("2026-11-25T12:00:00");
    log.end();
    assert_eq!(log.messages, []);
}

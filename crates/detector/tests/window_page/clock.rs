//! Whose clock: event time, log time, and the clock of a key.

use lapwing_event::time::DAY;
use lapwing_event::{FieldId, ResolvedBecause, Status};

use crate::log::{Log, Record, at, failure, failures, success, told, window};
use crate::rule;

const FOUR: [&str; 4] = ["12:00:30", "12:02:00", "12:03:10", "12:05:00"];

#[test]
fn log_time_never_goes_back() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(["12:00:30", "12:02:00", "12:03:10"]));
    log.detector.advance(at("12:06:00"));
    // A record whose log time is behind counts as read when log time stood at 12:06:00.
    let messages = log.read(failure("12:05:00").read_at("12:05:30"));
    assert_eq!(messages[0].log_time, at("12:06:00"));
}

#[test]
fn an_event_cannot_lie_in_the_future_of_its_log_time() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(["12:00:30", "12:02:00", "12:03:10"]));
    log.read(failure("2099-01-01T00:00:00").read_at("12:05:00"));
    let alert = log.alert();
    assert_eq!((alert.opened_at, alert.last_at), (at("12:05:00"), at("12:05:00")));
}

#[test]
fn a_forged_time_of_one_key_changes_nothing_for_another() {
    let attacker = |time: &str, read_at: &str| failure(time).by("203.0.113.9").read_at(read_at);
    let alerts = |forged: &[Record]| {
        let mut log = Log::of(&rule::of_the_page());
        log.push(&failures(["12:00:30", "12:02:00"]));
        log.push(forged);
        log.push(&failures(["12:03:10", "12:05:00"]));
        log.tick("12:30:00");
        log.messages.into_iter().map(|m| (m.log_time, m.alert)).collect::<Vec<_>>()
    };
    let offsets_aside = |mut alerts: Vec<(i64, lapwing_event::Alert)>| {
        for evidence in alerts.iter_mut().flat_map(|(_, a)| {
            let set = &mut a.evidence;
            set.samples.iter_mut().chain([&mut set.first, &mut set.latest])
        }) {
            (evidence.offset, evidence.line) = (0, None);
        }
        alerts
    };
    let alone = offsets_aside(alerts(&[]));
    assert_eq!(alone.len(), 2, "opened and resolved");
    let forged =
        [attacker("2099-01-01T00:00:00", "12:02:30"), attacker("1999-01-01T00:00:00", "12:02:30")];
    assert_eq!(offsets_aside(alerts(&forged)), alone);
}

#[test]
fn windows_go_by_event_time_and_not_by_the_time_of_reading() {
    let mut log = Log::of(&rule::of_the_page());
    // Read within a second, six minutes apart as their records say.
    let apart = failures(["11:42:00", "11:48:00", "11:54:00", "12:00:00"]);
    log.read_all(apart.map(|record| record.read_at("12:00:00")));
    log.end();
    assert_eq!(log.messages, []);
    // Read over fourteen minutes, within five as their records say.
    let mut log = Log::of(&rule::of_the_page());
    log.read_all([
        failure("12:00:30"),
        failure("12:02:00").read_at("12:10:00"),
        failure("12:03:10").read_at("12:12:00"),
        failure("12:05:00").read_at("12:14:30"),
    ]);
    assert_eq!(log.alert().window, window("12:00:00", "12:05:00"));
}

#[test]
fn a_slow_clock_counts_like_any_other_and_its_alerts_end_on_its_own_time() {
    let mut log = Log::of(&rule::of_the_page());
    // An hour behind.
    let slow = [("11:00:30", "12:00:30"), ("11:02:00", "12:02:00"), ("11:03:10", "12:03:10")];
    log.read_all(slow.map(|(time, read_at)| failure(time).read_at(read_at)));
    log.read(failure("11:05:00").read_at("12:05:00"));
    assert_eq!(log.alert().window, window("11:00:00", "11:05:00"));
    assert_eq!(log.tick("12:19:59.999999"), []);
    let resolved = log.tick("12:20:00");
    assert_eq!(told(&resolved), [(Status::Resolved, 4)]);
    assert_eq!(log.alert().resolved_at, Some(at("11:20:00")));
}

#[test]
fn agents_that_share_a_key_share_its_newest_event() {
    let mut log = Log::of(&rule::of_the_page());
    log.read(failure("12:00:00").text(FieldId::AgentId, "a"));
    // Another agent behind the same address, whose clock is an hour slow.
    let slow = failure("11:00:10").text(FieldId::AgentId, "b").read_at("12:00:10");
    assert_eq!(log.push(&[slow]).late_rows, [0]);
}

#[test]
fn log_time_alone_moves_the_clock_of_a_silent_key() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(FOUR));
    assert_eq!(log.tick("12:19:59.999999"), []);
    assert_eq!(told(&log.tick("12:20:00")), [(Status::Resolved, 4)]);
}

#[test]
fn a_record_of_anybody_moves_the_clocks_of_all_keys() {
    for record in [failure("12:20:00").by("203.0.113.9"), success("12:20:00")] {
        let mut log = Log::of(&rule::of_the_page());
        log.read_all(failures(FOUR));
        assert_eq!(told(&log.read(record)), [(Status::Resolved, 4)]);
    }
}

#[test]
fn the_clock_of_a_key_lags_by_the_smallest_delay_that_it_has_shown() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all([
        failure("12:00:30").read_at("12:05:30"),
        failure("12:02:00").read_at("12:05:40"),
        failure("12:03:10").read_at("12:05:50"),
        failure("12:05:00").read_at("12:06:00"),
    ]);
    // The smallest delay was one minute.
    assert_eq!(log.tick("12:20:59.999999"), []);
    let resolved = log.tick("12:21:00");
    assert_eq!(resolved[0].alert.resolved_at, Some(at("12:20:00")));
}

#[test]
fn in_a_replayed_file_silence_is_believed_a_day_later() {
    let mut log = Log::replayed(&rule::of_the_page());
    log.read_all(failures(FOUR));
    assert_eq!(log.tick_at(at("12:20:00") + DAY - 1), []);
    let resolved = log.tick_at(at("12:20:00") + DAY);
    let alert = &resolved[0].alert;
    assert_eq!(alert.resolved_at, Some(at("12:20:00")));
    assert_eq!(alert.resolved_because, Some(ResolvedBecause::Quiet));
}

#[test]
fn an_event_of_the_key_itself_moves_its_clock_at_once() {
    let mut log = Log::replayed(&rule::of_the_page());
    log.read_all(failures(FOUR));
    assert_eq!(log.read(failure("12:19:59.999999")), []);
    let resolved = log.read(failure("12:20:00"));
    assert_eq!(resolved[0].alert.resolved_at, Some(at("12:20:00")));
    assert_eq!(resolved[0].log_time, at("12:20:00"));
}

#[test]
fn the_clock_of_a_key_never_makes_an_event_late() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(["12:03:10", "12:05:00"]));
    log.tick("12:19:00");
    // The clock of the key shows 12:19:00; its newest event is of 12:05:00.
    let late = failures(["12:00:30", "12:02:00"]).map(|record| record.read_at("12:19:00"));
    assert!(log.push(&late).late_rows.is_empty());
    assert_eq!(log.alert().window, window("12:00:00", "12:05:00"));
}

#[test]
fn a_key_without_alert_is_forgotten_when_its_clock_has_passed_timespan_and_lateness() {
    for (read_at, is_forgotten) in [("12:15:00", false), ("12:15:00.000001", true)] {
        let mut log = Log::of(&rule::of_the_page());
        log.read(failure("12:00:00"));
        // Late for a key that is remembered, the first event of one that was forgotten.
        let pushed = log.push(&[failure("11:40:00").read_at(read_at)]);
        assert_eq!(pushed.late_rows.is_empty(), is_forgotten, "{read_at}");
    }
    // With an open alert it is remembered until that is resolved.
    let mut log = Log::of(&rule::of_the_page_with("resolve_after: 1h"));
    log.read_all(failures(FOUR));
    let pushed = log.push(&[failure("11:40:00").read_at("12:50:00")]);
    assert_eq!(pushed.late_rows, [0]);
}

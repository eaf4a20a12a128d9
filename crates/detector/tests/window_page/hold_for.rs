//! `for`: the condition must stay true for so long without another event.

use crate::log::{Log, at, failure, failures, window};
use crate::rule;

const FOR_A_MINUTE: &str = "for: 1m";

#[test]
fn for_asks_that_enough_events_stay_in_the_window_for_so_long_without_another() {
    // The first leaves the window five minutes after it came: one minute after the fourth, or earlier.
    for (first, holds) in [("12:00:00", true), ("11:59:59.999999", false)] {
        let mut log = Log::of(&rule::of_the_page_with(FOR_A_MINUTE));
        log.read_all(failures([first, "12:01:00", "12:02:00", "12:04:00"]));
        assert_eq!(!log.messages.is_empty(), holds, "{first}");
    }
}

#[test]
fn for_is_decided_at_the_event_and_waits_for_nothing() {
    let mut log = Log::of(&rule::of_the_page_with(FOR_A_MINUTE));
    log.read_all(failures(["12:00:30", "12:01:00", "12:02:00"]));
    let messages = log.read(failure("12:04:00"));
    assert_eq!(messages[0].log_time, at("12:04:00"));
    assert_eq!(messages[0].alert.opened_at, at("12:04:00"));
}

#[test]
fn for_does_not_chain_through_later_events() {
    let times = ["11:55:50", "11:56:10", "11:59:50", "12:00:00", "12:00:20"];
    // At every second of this minute there are four events of the last five minutes.
    for second in 0..60 {
        let now = at("12:00:00") + second * 1_000_000;
        let seen = times.iter().filter(|t| (now - 299_999_999..=now).contains(&at(t))).count();
        assert!(seen >= 4, "{second}");
    }
    let mut log = Log::of(&rule::of_the_page_with(FOR_A_MINUTE));
    log.read_all(failures(times));
    log.end();
    assert_eq!(log.messages, [], "but no four of them would stay for a minute by themselves");
}

#[test]
fn an_alert_with_for_covers_the_whole_timespan() {
    let mut log = Log::of(&rule::of_the_page_with(FOR_A_MINUTE));
    log.read_all(failures(["12:00:10", "12:01:10", "12:02:00", "12:04:50", "12:05:00"]));
    log.end();
    let alert = log.alert();
    assert_eq!(alert.window, window("12:00:00", "12:05:00"));
    // Four of the five would stay for a minute: they are what the condition compared.
    assert_eq!((alert.value, alert.count), (4.into(), 5));
}

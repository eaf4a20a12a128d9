//! Events out of order, and late ones.

use std::collections::BTreeSet;

use crate::log::{Log, Record, at, failure, failures, window};
use crate::rule;

/// Every order of some records.
fn orders(records: &[Record]) -> Vec<Vec<Record>> {
    if records.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in 0..records.len() {
        let mut rest = records.to_vec();
        let head = rest.remove(first);
        for mut tail in orders(&rest) {
            tail.insert(0, head.clone());
            all.push(tail);
        }
    }
    all
}

/// Five failures whose windows hold at 12:04:30 and at 12:06:30, read at the same time.
fn five() -> [Record; 5] {
    failures(["12:01:00", "12:02:00", "12:03:00", "12:04:30", "12:06:30"])
        .map(|record| record.read_at("12:06:30"))
}

#[test]
fn the_order_of_arrival_never_changes_which_windows_hold() {
    let orders = orders(&five());
    assert_eq!(orders.len(), 120);
    for order in orders {
        let mut log = Log::of(&rule::of_the_page());
        log.read_all(order);
        log.end();
        let alert = log.alert();
        assert_eq!(alert.window, window("11:59:30", "12:06:30"));
        assert_eq!((alert.count, alert.value), (5, 4.into()));
        assert_eq!((alert.evidence.first.time, alert.last_at), (at("12:01:00"), at("12:06:30")));
    }
}

#[test]
fn opened_at_is_the_earliest_window_that_held_when_the_alert_opened() {
    let mut opened_at = BTreeSet::new();
    for order in orders(&five()) {
        let mut log = Log::of(&rule::of_the_page());
        log.read_all(order);
        opened_at.insert(log.alert().opened_at);
    }
    assert_eq!(opened_at, BTreeSet::from([at("12:04:30"), at("12:06:30")]));
    // One arrival lets both windows hold.
    let mut log = Log::of(&rule::of_the_page());
    let [a, b, c, d, e] = five();
    assert_eq!(log.read_all([a, b, d, e]), []);
    log.read(c);
    assert_eq!(log.alert().opened_at, at("12:04:30"));
}

#[test]
fn an_event_out_of_order_makes_a_window_in_the_past_hold() {
    let mut log = Log::of(&rule::of_the_page());
    assert_eq!(log.read_all(failures(["12:00:30", "12:02:00", "12:05:00", "12:09:00"])), []);
    let messages = log.read(failure("12:03:10").read_at("12:09:30"));
    let alert = log.alert();
    assert_eq!((alert.opened_at, alert.window), (at("12:05:00"), window("12:00:00", "12:05:00")));
    assert_eq!((alert.count, messages[0].log_time), (4, at("12:09:30")));
}

#[test]
fn an_event_is_late_when_it_is_older_than_the_newest_of_its_key_by_more_than_the_allowed_lateness()
{
    for (extension, time, is_late) in [
        ("", "12:05:00", false),
        ("", "12:04:59.999999", true),
        ("allowed_lateness: 1m", "12:14:00", false),
        ("allowed_lateness: 1m", "12:13:59.999999", true),
        ("allowed_lateness: 0s", "12:15:00", false),
        ("allowed_lateness: 0s", "12:14:59.999999", true),
    ] {
        let mut log = Log::of(&rule::of_the_page_with(extension));
        log.read(failure("12:15:00"));
        let pushed = log.push(&[failure(time)]);
        assert_eq!(!pushed.late_rows.is_empty(), is_late, "{extension} {time}");
    }
}

#[test]
fn a_late_event_is_counted_in_no_window_and_as_late() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(["12:02:00", "12:03:10", "12:04:00", "12:14:30"]));
    // The window at 12:04:30 would have four events, and the one at 12:05:00 five.
    let pushed = log.push(&failures(["12:04:29", "12:04:30"]));
    assert_eq!(pushed.late_rows, [0], "the first was late, the second came in time");
    assert_eq!((log.stats().matched, log.stats().late), (6, 1));
    assert_eq!((log.alert().opened_at, log.alert().count), (at("12:04:30"), 4));
}

#[test]
fn lateness_is_judged_by_the_newest_event_of_the_same_key() {
    let mut log = Log::of(&rule::of_the_page());
    log.read(failure("14:00:00").by("203.0.113.9"));
    // Two hours behind the other key, and not late.
    log.read_all(failures(["12:00:30", "12:02:00", "12:03:10", "12:05:00"]));
    assert_eq!((log.alert().opened_at, log.stats().late), (at("12:05:00"), 0));
}

//! What lies in a window, and whose window it is.

use lapwing_event::{FieldId, Status};

use crate::log::{Log, Record, at, failure, failures, success, told, window};
use crate::rule;

#[test]
fn four_failures_within_five_minutes_hold_at_the_fourth() {
    let mut log = Log::of(&rule::of_the_page());
    assert_eq!(log.read_all(failures(["12:00:30", "12:02:00", "12:03:10"])), []);
    assert_eq!(told(&log.read(failure("12:05:00"))), [(Status::Opened, 4)]);
    let alert = log.alert();
    assert_eq!(alert.window, window("12:00:00", "12:05:00"));
    assert_eq!((alert.opened_at, alert.value), (at("12:05:00"), 4.into()));
}

#[test]
fn an_event_on_the_start_of_a_window_is_outside() {
    for (first, is_inside) in [("12:00:00", false), ("12:00:00.000001", true)] {
        let mut log = Log::of(&rule::of_the_page());
        log.read_all(failures([first, "12:02:00", "12:03:10", "12:05:00"]));
        assert_eq!(!log.messages.is_empty(), is_inside, "{first}");
    }
}

#[test]
fn an_event_on_the_end_of_a_window_is_inside() {
    let mut log = Log::of(&rule::of_the_page());
    assert_eq!(log.read_all(failures(["12:02:00", "12:05:00", "12:05:00"])), []);
    log.read(failure("12:05:00"));
    assert_eq!((log.alert().opened_at, log.alert().count), (at("12:05:00"), 4));
}

#[test]
fn a_burst_across_the_full_hour_is_one_window() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(["11:59:58", "11:59:59", "12:00:00", "12:00:01"]));
    assert_eq!(log.alert().window, window("11:55:01", "12:00:01"));
}

#[test]
fn only_events_that_the_rule_selects_count() {
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(failures(["12:01:00", "12:02:00", "12:03:00"]));
    assert_eq!(log.read(success("12:03:30")), []);
    // Nor does the success begin the count anew.
    log.read(failure("12:04:00"));
    assert_eq!((log.alert().opened_at, log.alert().count), (at("12:04:00"), 4));
}

#[test]
fn every_key_has_windows_of_its_own() {
    let addresses = ["198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"];
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(addresses.map(|address| failure("12:00:00").by(address)));
    assert_eq!(log.messages, []);
    for address in addresses {
        log.read_all([failure("12:01:00").by(address), failure("12:02:00").by(address)]);
    }
    assert_eq!(log.messages, [], "twelve failures, but three of each address");
    log.read(failure("12:03:00").by(addresses[2]));
    assert_eq!(log.alert().key.to_string(), "source.ip=198.51.100.3");
    assert_eq!(log.alert().count, 4);
}

#[test]
fn events_without_the_field_are_a_key_of_their_own_unless_the_rule_skips_them() {
    let nameless: [Record; 4] = failures(["12:01:00", "12:02:00", "12:03:00", "12:04:00"])
        .map(|record| record.without(FieldId::SourceIp));
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(nameless.clone());
    assert_eq!(log.alert().key.to_string(), "source.ip=(none)");
    let mut log = Log::of(&rule::of_the_page_with("null_keys: skip"));
    log.read_all(nameless);
    log.end();
    assert_eq!(log.messages, []);
}

//! Records that stand for several events, and events of which there are several records.

use lapwing_event::FieldId;

use crate::log::{Log, Record, at, failure, failures};
use crate::rule;

#[test]
fn a_record_may_stand_for_several_occurrences() {
    let mut log = Log::of(&rule::of_the_page());
    log.read(failure("12:00:00").count(4));
    assert_eq!((log.alert().count, log.alert().value), (4, 4.into()));
    assert_eq!(log.alert().evidence.samples.len(), 1);
}

#[test]
fn a_record_that_is_repeated_counts_once() {
    let mut log = Log::of(&rule::of_the_page());
    let record = || failure("12:00:00").id("a");
    log.read_all([record(), record(), record(), record()]);
    log.end();
    assert_eq!((log.messages.len(), log.stats().duplicates), (0, 3));
}

#[test]
fn records_of_one_id_count_once_in_a_window_with_the_largest_count() {
    let records = || [failure("12:01:00").id("a").count(3), failure("12:02:00").id("a").count(2)];
    let reversed = || {
        let [first, second] = records();
        [second, first.read_at("12:02:00")]
    };
    for records in [records(), reversed()] {
        let mut log = Log::of(&rule::of_the_page());
        assert_eq!(log.read_all(records), []);
        log.read(failure("12:03:00"));
        assert_eq!((log.alert().count, log.alert().value), (4, 4.into()));
        // The record with three lies on the start of the window at 12:06:00: two, and two others.
        log.read(failure("12:06:00"));
        log.end();
        assert_eq!((log.alert().window.end, log.alert().value), (at("12:06:00"), 4.into()));
        assert_eq!(log.alert().count, 5);
    }
}

#[test]
fn an_id_belongs_to_its_product() {
    let of = |product: &str| failure("12:00:00").id("a").text(FieldId::Product, product);
    let mut log = Log::of(&rule::of_the_page());
    log.read_all(["p", "q", "r", "s", "s"].map(of));
    assert_eq!((log.alert().count, log.stats().duplicates), (4, 1));
}

#[test]
fn records_without_an_id_are_never_taken_for_repetitions() {
    let mut log = Log::of(&rule::of_the_page());
    let records: [Record; 4] = failures(["12:00:00"; 4]);
    log.read_all(records);
    assert_eq!((log.alert().count, log.stats().duplicates), (4, 0));
}

//! What changes nothing: batches, restarts, ticks.

use lapwing_detector::Limits;
use lapwing_event::{FieldId, Message};

use crate::log::{Log, Record, at, call, failure, numbers, success};
use crate::rule::{correlations, expected};

/// A rule of each kind.
fn rules() -> String {
    let of_all_kinds = correlations(&[
        ("type: event_count, rules: [failed], condition: {gte: 3}", "levels: {high: 6}"),
        ("type: event_count, rules: [failed], condition: {gte: 3}", "for: 1m"),
        ("type: event_count, rules: [failed], condition: {lte: 2}", "allowed_lateness: 2m"),
        ("type: value_count, rules: [called], condition: {field: tool.target, gte: 3}", ""),
        ("type: value_sum, rules: [called], condition: {field: usage.cost_usd, gte: 0.7}", ""),
        ("type: value_avg, rules: [called], condition: {field: usage.cost_usd, gt: 0.3}", ""),
        ("type: temporal, rules: [failed, succeeded, called]", ""),
        ("type: temporal_ordered, rules: [failed, failed, succeeded]", "resolve_after: 7m"),
    ]);
    format!("{of_all_kinds}---\n{}", expected("3m", ""))
}

/// Records of a few keys out of order, some repeated, some late; the same for a seed.
fn records(seed: u64) -> Vec<Record> {
    let mut next = numbers(seed);
    let mut log_time = at("12:00:00");
    (0..120)
        .map(|_| {
            log_time += next(60) * 1_000_000 * if next(10) == 0 { 20 } else { 1 };
            let behind = next(300) * 1_000_000 * if next(10) == 0 { 3 } else { 1 };
            let kind = [failure, success, call][next(3) as usize];
            let target = format!("/{}", next(4));
            let record = kind("12:00:00").by(["a", "b", "c"][next(3) as usize]);
            let record = record.text(FieldId::ToolTarget, &target).count(1 + next(2));
            let record = record.cost(next(6) as f64 / 10.0);
            let record = match next(3) {
                0 => record.id(&format!("id{}", next(20))),
                _ => record,
            };
            record.moved(log_time - behind, log_time)
        })
        .collect()
}

/// Room for everything, and room for little.
fn all_limits() -> [Limits; 2] {
    let few = Limits { keys: 2, entries_per_key: 6, values_per_key: 3, open_alerts: 1 };
    [Limits::default(), few]
}

/// The messages in an order that does not depend on when they came.
fn sorted(mut log: Log) -> Vec<Message> {
    log.end();
    log.messages.sort_by(|a, b| {
        let order = |m: &Message| (m.alert.id.clone(), m.alert.revision);
        order(a).cmp(&order(b))
    });
    log.messages
}

fn in_one_batch(records: &[Record], limits: Limits) -> Vec<Message> {
    let mut log = Log::bounded(&rules(), limits);
    log.push(records);
    sorted(log)
}

const SEEDS: std::ops::Range<u64> = 0..6;

#[test]
fn batches_change_nothing() {
    for (seed, limits) in SEEDS.flat_map(|seed| all_limits().map(|limits| (seed, limits))) {
        let records = records(seed);
        let whole = in_one_batch(&records, limits);
        assert!(whole.len() > 20, "{} messages", whole.len());
        for rows in [1, 7, 50] {
            let mut log = Log::bounded(&rules(), limits);
            records.chunks(rows).for_each(|part| _ = log.push(part));
            assert!(sorted(log) == whole, "seed {seed}, {limits:?}, batches of {rows}");
        }
    }
}

#[test]
fn restarts_change_nothing() {
    for (seed, limits) in SEEDS.flat_map(|seed| all_limits().map(|limits| (seed, limits))) {
        let records = records(seed);
        let mut log = Log::bounded(&rules(), limits);
        for record in &records {
            log.read(record.clone());
            assert_eq!(log.restart(&rules()), []);
        }
        assert!(sorted(log) == in_one_batch(&records, limits), "seed {seed}, {limits:?}");
    }
}

#[test]
fn ticks_change_nothing() {
    for (seed, limits) in SEEDS.flat_map(|seed| all_limits().map(|limits| (seed, limits))) {
        let records = records(seed);
        let mut log = Log::bounded(&rules(), limits);
        let mut before = at("11:00:00");
        for record in &records {
            let log_time = record.log_time();
            for part in 1..=4 {
                log.tick_at(before + (log_time - before) * part / 4);
            }
            before = log_time;
            log.read(record.clone());
        }
        assert!(sorted(log) == in_one_batch(&records, limits), "seed {seed}, {limits:?}");
    }
}

#[test]
fn what_falls_due_at_the_same_time_is_done_in_the_order_of_the_keys() {
    let rule = correlations(&[("type: event_count, rules: [failed], condition: {lte: 1}", "")]);
    // Whichever came first, whichever was touched last, restarted or not.
    for (order, restarts) in
        [["a", "b"], ["b", "a"]].map(|order| [(order, false), (order, true)]).concat()
    {
        let mut log = Log::bounded(&rule, Limits { open_alerts: 1, ..Limits::default() });
        log.read_all(order.map(|key| failure("12:00:00").by(key).id("x")));
        log.read(failure("12:00:00").by(order[0]).id("x"));
        if restarts {
            log.restart(&rule);
        }
        // Both windows are decided; there is room for one alert.
        log.tick("12:10:00.000001");
        let keys: Vec<String> = log.alerts().iter().map(|a| a.key.to_string()).collect();
        assert_eq!(keys, ["source.ip=a", "rule=correlated_0"], "{order:?} {restarts}");
    }
}

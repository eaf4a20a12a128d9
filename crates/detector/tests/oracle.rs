//! The detector against a naive recount: lists, recount everything. It shares no code with the
//! engine but the types at the seam.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::Int32Type;
use arrow_array::{BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use lapwing_detector::rule::{RuleSet, RuleSource, load_rules};
use lapwing_detector::{Detector, Limits};
use lapwing_event::{
    Alert, Batch, Event, EventColumns, FieldId, LogTimeOrigin, Message, Partition, Status,
    event_schema,
};
use proptest::prelude::*;

const SECOND: i64 = 1_000_000;
const TIMESPAN: i64 = 60 * SECOND;
const LATENESS: i64 = 600 * SECOND;
const THRESHOLD: u64 = 3;

/// An event of the test: whole seconds make ties and boundaries likely.
#[derive(Debug, Clone)]
struct TestEvent {
    second: i64,
    key: u8,
    count: u64,
    id: Option<u8>,
    target: Option<u8>,
}

fn events(seconds: i64, most: usize) -> impl Strategy<Value = Vec<TestEvent>> {
    let event = (
        0..seconds,
        0..3_u8,
        prop_oneof![4 => Just(1_u64), 1 => 2..4_u64],
        prop::option::weighted(0.3, 0..20_u8),
        prop::option::weighted(0.8, 0..5_u8),
    )
        .prop_map(|(second, key, count, id, target)| TestEvent {
            second,
            key,
            count,
            id,
            target,
        });
    prop::collection::vec(event, 0..most)
}

fn rules() -> Arc<RuleSet> {
    let text = r"
title: A tool was denied
name: denied
logsource: {category: agent_audit}
detection:
  denied: {kind: tool}
  condition: denied
level: low
---
title: Counts
id: 11111111-1111-1111-1111-111111111111
name: counts
correlation:
  type: event_count
  rules: [denied]
  group-by: [session.id]
  timespan: 60s
  condition: {gte: 3}
level: low
lapwing:
  levels: {medium: 5, high: 8}
---
title: Distinct
id: 22222222-2222-2222-2222-222222222222
name: distinct
correlation:
  type: value_count
  rules: [denied]
  group-by: [session.id]
  timespan: 60s
  condition: {field: tool.target, gte: 3}
level: low
";
    let source = RuleSource { name: "t.yml".into(), text: text.into(), is_builtin: false };
    Arc::new(load_rules(&[source]).expect("valid"))
}

fn partition() -> Arc<Partition> {
    Arc::new(Partition {
        source_id: "s".into(),
        name: "0".into(),
        log_time_origin: LogTimeOrigin::Replayed,
    })
}

/// A batch of events in the order given; log time is the running maximum, from `log_time` on.
fn batch(events: &[TestEvent], first_offset: i64, log_time: &mut i64) -> Batch {
    let mut columns = EventColumns::default();
    let mut log_times = Vec::new();
    for e in events {
        let mut event = Event::default();
        event.set_int(FieldId::Time, e.second * SECOND);
        event.set_text(FieldId::Kind, "tool");
        event.set_text(FieldId::SessionId, &format!("s{}", e.key));
        event.set_int(FieldId::Count, e.count as i64);
        event.set_text_if(FieldId::Id, e.id.map(|id| format!("id{id}")).as_deref());
        event.set_text_if(FieldId::ToolTarget, e.target.map(|t| format!("/t{t}")).as_deref());
        columns.push(&event).expect("valid");
        *log_time = (*log_time).max(e.second * SECOND);
        log_times.push(*log_time);
    }
    let arrays = columns.finish();
    let rows = arrays.rows;
    let mut all = arrays.arrays;
    let terms = |text: &str| {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        (0..rows).for_each(|_| builder.append_value(text));
        Arc::new(builder.finish())
    };
    let last = first_offset + rows as i64;
    all.push(terms("0"));
    all.push(Arc::new(Int64Array::from_iter_values(first_offset..last)));
    all.push(Arc::new(TimestampMicrosecondArray::from(log_times).with_timezone("UTC")));
    all.push(terms("f.log"));
    all.push(Arc::new(Int64Array::from_iter_values(first_offset + 1..=last)));
    let flag = || Arc::new(BooleanArray::from(vec![false; rows]));
    all.extend([flag() as _, flag() as _, flag() as _]);
    Batch {
        partition: partition(),
        events: RecordBatch::try_new(event_schema(), all).expect("the schema"),
        rejected: Vec::new(),
        digests: Vec::new(),
        format: "native",
    }
}

/// All messages, with the detector cut into batches and its state written and read between some.
fn run(events: &[TestEvent], cut: usize, restart_every: Option<usize>) -> Vec<Message> {
    let rules = rules();
    let mut detector = Detector::new(rules.clone(), partition(), Limits::default());
    let mut messages = Vec::new();
    let mut log_time = i64::MIN;
    for (n, part) in events.chunks(cut).enumerate() {
        let batch = batch(part, (n * cut) as i64, &mut log_time);
        messages.extend(detector.push(&batch).messages);
        if restart_every.is_some_and(|every| n % every == 0) {
            let state = detector.snapshot();
            detector = Detector::restore(rules.clone(), partition(), Limits::default(), &state)
                .expect("its own state");
        }
    }
    messages.extend(detector.finish());
    messages
}

fn sorted(mut messages: Vec<Message>) -> Vec<String> {
    messages.sort_by(|a, b| (&a.alert.id, a.alert.revision).cmp(&(&b.alert.id, b.alert.revision)));
    messages.iter().map(|m| serde_json::to_string(&m.alert).expect("json")).collect()
}

/// The events of a key that count: those that are not late, in order of arrival.
fn counted(events: &[TestEvent], key: u8) -> Vec<TestEvent> {
    let mut newest = i64::MIN;
    let mut kept = Vec::new();
    for e in events.iter().filter(|e| e.key == key) {
        let late = newest != i64::MIN && e.second * SECOND < newest - LATENESS;
        newest = newest.max(e.second * SECOND);
        if !late {
            kept.push(e.clone());
        }
    }
    kept
}

fn in_window(events: &[TestEvent], end: i64) -> Vec<&TestEvent> {
    let lies = |e: &&TestEvent| (end - TIMESPAN + 1..=end).contains(&(e.second * SECOND));
    events.iter().filter(lies).collect()
}

/// Occurrences, each id once with its largest count.
fn occurrences(window: &[&TestEvent]) -> u64 {
    let mut by_id: BTreeMap<u8, u64> = BTreeMap::new();
    let mut sum = 0;
    for e in window {
        match e.id {
            None => sum += e.count,
            Some(id) => {
                let most = by_id.entry(id).or_insert(0);
                *most = (*most).max(e.count);
            }
        }
    }
    sum + by_id.values().sum::<u64>()
}

fn value(rule: &str, window: &[&TestEvent]) -> u64 {
    match rule {
        "counts" => occurrences(window),
        _ => window.iter().filter_map(|e| e.target).collect::<BTreeSet<_>>().len() as u64,
    }
}

/// The ends of the windows that hold, with their values.
fn holding(rule: &str, events: &[TestEvent]) -> BTreeMap<i64, u64> {
    let ends: BTreeSet<i64> = events.iter().map(|e| e.second * SECOND).collect();
    let valued = ends.into_iter().map(|end| (end, value(rule, &in_window(events, end))));
    valued.filter(|(_, value)| *value >= THRESHOLD).collect()
}

/// The last message of each alert.
fn alerts(messages: &[Message]) -> Vec<&Alert> {
    let mut last: BTreeMap<&str, &Alert> = BTreeMap::new();
    for m in messages {
        last.insert(&m.alert.id, &m.alert);
    }
    last.into_values().collect()
}

fn is_about(alert: &Alert, rule: &str, key: u8) -> bool {
    &*alert.rule.name == rule && alert.key.to_string() == format!("session.id=s{key}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Law 2: the same records, cut into other batches and restarted anywhere, give the same bytes.
    #[test]
    fn cuts_and_restarts_never_matter(
        events in events(3000, 120), cut in 1..9_usize, every in 1..4_usize,
    ) {
        let whole = sorted(run(&events, 1000, None));
        prop_assert_eq!(&whole, &sorted(run(&events, 1, None)));
        prop_assert_eq!(&whole, &sorted(run(&events, cut, Some(every))));
    }

    /// Law 5: the windows that hold are those of a recount, whatever the order of arrival; each lies
    /// in an alert of its key, and no alert covers less than it says.
    #[test]
    fn every_window_that_holds_lies_in_an_alert_and_no_other(events in events(3000, 120)) {
        let messages = run(&events, 50, None);
        let alerts = alerts(&messages);
        for rule in ["counts", "distinct"] {
            for key in 0..3 {
                let counted = counted(&events, key);
                let holding = holding(rule, &counted);
                let about: Vec<_> = alerts.iter().filter(|a| is_about(a, rule, key)).collect();
                for end in holding.keys() {
                    let lies = |a: &&&&Alert| a.window.start <= end - TIMESPAN && *end <= a.window.end;
                    prop_assert!(about.iter().find(lies).is_some(), "{rule} s{key}: {end} in no alert");
                }
                for alert in about {
                    for end in [alert.window.start + TIMESPAN, alert.window.end, alert.opened_at] {
                        prop_assert!(holding.contains_key(&end), "{rule} s{key}: {end} does not hold");
                    }
                }
            }
        }
    }

    /// While nothing is resolved there is one alert per key, and its figures are those of a recount.
    #[test]
    fn figures_are_those_of_a_recount(events in events(400, 60)) {
        // A repeated id is counted once per window; over the union of windows the recount below
        // would need the order of arrival, so ids are left out here.
        let events: Vec<_> = events.into_iter().map(|e| TestEvent { id: None, ..e }).collect();
        let messages = run(&events, 7, None);
        let alerts = alerts(&messages);
        for rule in ["counts", "distinct"] {
            for key in 0..3 {
                let counted = counted(&events, key);
                let holding = holding(rule, &counted);
                let about: Vec<_> = alerts.iter().filter(|a| is_about(a, rule, key)).collect();
                prop_assert_eq!(about.len(), usize::from(!holding.is_empty()));
                let Some(alert) = about.first() else { continue };
                let covered = |e: &&TestEvent| {
                    let t = e.second * SECOND;
                    holding.keys().any(|end| end - TIMESPAN < t && t <= *end)
                };
                let covered: Vec<_> = counted.iter().filter(covered).collect();
                prop_assert_eq!(alert.count, covered.iter().map(|e| e.count).sum::<u64>());
                prop_assert_eq!(Some(&alert.value), holding.values().max());
                prop_assert_eq!(alert.window.start + TIMESPAN, *holding.keys().next().expect("one"));
                prop_assert_eq!(Some(&alert.window.end), holding.keys().last());
                let times = || covered.iter().map(|e| e.second * SECOND);
                prop_assert_eq!(Some(alert.evidence.first.time), times().min());
                prop_assert_eq!(Some(alert.last_at), times().max());
            }
        }
    }

    /// Each alert is opened once, its revisions are consecutive, its level never falls, and the
    /// updates are few: one per doubling, one per level, one at the end.
    #[test]
    fn an_alert_is_one_thing(events in events(3000, 200)) {
        let mut last: BTreeMap<Arc<str>, Alert> = BTreeMap::new();
        for Message { alert, .. } in run(&events, 50, None) {
            match last.get(&alert.id) {
                None => prop_assert_eq!((alert.revision, alert.status), (1, Status::Opened)),
                Some(before) => {
                    prop_assert_eq!(alert.revision, before.revision + 1);
                    prop_assert!(alert.status != Status::Opened);
                    prop_assert!(before.status != Status::Resolved);
                    prop_assert!(alert.level >= before.level && alert.count >= before.count);
                }
            }
            let most = 3 + 2 + (alert.count / THRESHOLD).max(1).ilog2();
            prop_assert!(alert.revision <= most, "{} revisions of {}", alert.revision, alert.count);
            last.insert(alert.id.clone(), alert);
        }
    }
}

fn burst(times: impl IntoIterator<Item = i64>) -> Vec<TestEvent> {
    let event = |second| TestEvent { second, key: 0, count: 1, id: None, target: None };
    times.into_iter().map(event).collect()
}

#[test]
fn a_thousand_failures_are_one_alert_with_few_updates() {
    let messages = run(&burst((0..1000).map(|i| i / 100)), 64, None);
    let alerts = alerts(&messages);
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].count, alerts[0].value), (1000, 1000));
    // One opening, one update per doubling (6, 12, … 768), one per level, one at the end.
    assert_eq!(messages.len(), 1 + 8 + 2 + 1);
}

#[test]
fn an_alert_resolves_once_its_key_has_been_quiet_and_the_next_one_is_another() {
    let quiet = (TIMESPAN + TIMESPAN + LATENESS) / SECOND;
    let messages = run(&burst([0, 1, 2, 3 + quiet, 4 + quiet, 5 + quiet]), 2, None);
    let statuses: Vec<_> = messages.iter().map(|m| m.alert.status).collect();
    assert_eq!(statuses, [Status::Opened, Status::Resolved, Status::Opened, Status::Updated]);
    assert_ne!(messages[0].alert.id, messages[2].alert.id);
    let resolved = &messages[1].alert;
    assert_eq!(resolved.resolved_at, Some(2 * SECOND + TIMESPAN + LATENESS));
}

#[test]
fn more_keys_than_fit_are_forgotten_aloud() {
    let limits = Limits { keys: 2, ..Limits::default() };
    let mut detector = Detector::new(rules(), partition(), limits);
    let mut events = burst([0, 1, 2, 3, 4, 5]);
    for (i, event) in events.iter_mut().enumerate() {
        event.key = i as u8;
    }
    let mut log_time = i64::MIN;
    let messages = detector.push(&batch(&events, 0, &mut log_time)).messages;
    assert!(detector.keys() <= 2 * 2, "two rules keep two keys each");
    let names: BTreeSet<&str> = messages.iter().map(|m| &*m.alert.rule.name).collect();
    assert_eq!(names, BTreeSet::from(["lapwing.window_incomplete"]));
    // The key of the first event comes back: what it counts may be too little, and it says so.
    let again = burst([6, 7, 8]);
    let messages = detector.push(&batch(&again, 6, &mut log_time)).messages;
    let alert = &messages.iter().find(|m| &*m.alert.rule.name == "counts").expect("fires").alert;
    assert!(!alert.complete);
}

#[test]
fn a_damaged_or_foreign_state_is_refused() {
    let mut detector = Detector::new(rules(), partition(), Limits::default());
    let mut log_time = i64::MIN;
    detector.push(&batch(&burst([0, 1, 2]), 0, &mut log_time));
    let state = detector.snapshot();
    let restore =
        |bytes: &[u8]| Detector::restore(rules(), partition(), Limits::default(), bytes).map(drop);
    assert!(restore(&state).is_ok());
    for at in 0..state.len() {
        let mut damaged = state.clone();
        damaged[at] ^= 1;
        assert!(restore(&damaged).is_err(), "byte {at}");
    }
    assert!(restore(&state[..state.len() - 1]).is_err());
    assert!(restore(b"").is_err());
}

#[test]
fn a_repeated_record_counts_once_with_its_largest_count_in_any_order() {
    let event = |count| TestEvent { second: 7, key: 0, count, id: Some(1), target: None };
    for order in [[1, 5], [5, 1], [5, 5]] {
        let messages = run(&order.map(event), 10, None);
        let alerts = alerts(&messages);
        assert_eq!(alerts.len(), 1, "{order:?}");
        assert_eq!((alerts[0].count, alerts[0].value), (5, 5), "{order:?}");
    }
}

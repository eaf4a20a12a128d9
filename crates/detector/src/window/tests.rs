//! Figures and holding windows against a recount, with chunks so short that every case has many.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::entry::{NO_FILE, NO_REASON};
use crate::rule::{RuleSource, load_rules};

/// What happens to the windows.
#[derive(Debug, Clone)]
enum Step {
    /// An event: time, count, id, value or number or positions.
    Insert(i64, u32, u8, u8),
    /// Entries at or before the newest time less this are trimmed.
    Trim(i64),
    /// The oldest entry is dropped by a bound.
    Drop,
    /// The alert ends.
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        30 => (0..120_i64, 1..4_u32, 0..12_u8, 0..8_u8)
            .prop_map(|(t, c, id, fact)| Step::Insert(t, c, id, fact)),
        2 => (40..90_i64).prop_map(Step::Trim),
        1 => Just(Step::Drop),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 0..90)
}

const SPAN: i64 = 20;

fn plan(kind: &str) -> Plan {
    let (referred, rest) = match kind {
        "event_count" => ("[a]", "condition: {gte: 5}"),
        "value_count" => ("[a]", "condition: {field: tool.target, gte: 3}"),
        "value_sum" => ("[a]", "condition: {field: usage.input_tokens, gte: 9}"),
        "value_avg" => ("[a]", "condition: {field: usage.input_tokens, gte: 9}"),
        _ => ("[a, b, c]", ""),
    };
    let detection = |name: &str, kind: &str| {
        format!(
            "title: T\nname: {name}\nlogsource: {{category: agent_audit}}\ndetection:\n  s: {{kind: {kind}}}\n  condition: s\nlevel: low\n---\n"
        )
    };
    let others = detection("b", "auth") + &detection("c", "model");
    let text = format!(
        "{}{}title: T\nid: 11111111-1111-1111-1111-111111111111\nname: t\ncorrelation:\n  type: {kind}\n  rules: {referred}\n  group-by: [session.id]\n  timespan: 1m\n  {rest}\nlevel: low\n",
        detection("a", "tool"),
        if referred == "[a]" { String::new() } else { others },
    );
    let source = RuleSource { name: "t.yml".into(), text, is_builtin: false };
    let set = load_rules(&[source]).expect("a valid rule");
    let rule = set.by_name("t").expect("the correlation");
    Plan { span: SPAN, timespan: SPAN, ..Plan::of(rule) }
}

/// The entries that count in the window at `end`.
fn window(entries: &[(Entry, u8)], end: i64) -> Vec<(Entry, u8)> {
    entries.iter().filter(|(e, _)| end - SPAN < e.time && e.time <= end).copied().collect()
}

/// The largest weight of each id, and every weight without an id.
fn weights(window: &[(Entry, u8)], weight: impl Fn(&Entry, u8) -> i128) -> Vec<i128> {
    let mut by_id: BTreeMap<u64, i128> = BTreeMap::new();
    let mut all = Vec::new();
    for (entry, fact) in window {
        let weight = weight(entry, *fact);
        if entry.id == 0 {
            all.push(weight);
        } else {
            let most = by_id.entry(entry.id).or_insert(weight);
            *most = (*most).max(weight);
        }
    }
    all.extend(by_id.values());
    all
}

/// The figure of a window, from its entries alone.
fn recount(kind: &str, window: &[(Entry, u8)]) -> Figure {
    match kind {
        "event_count" => [weights(window, |e, _| i128::from(e.count)).iter().sum(), 0],
        "value_count" => [window.iter().map(|(_, f)| f).collect::<BTreeSet<_>>().len() as i128, 0],
        "value_sum" => [weights(window, |_, f| i128::from(f)).iter().sum(), 0],
        "value_avg" => {
            let all = weights(window, |_, f| i128::from(f));
            [all.iter().sum(), all.len() as i128]
        }
        "temporal" => {
            let bits = window.iter().fold(0, |bits, (_, fact)| bits | fact);
            [i128::from((bits & 7).count_ones()), 0]
        }
        _ => [0, 0],
    }
}

/// Whether three different entries serve three positions at times that do not fall.
fn is_sequence(window: &[(Entry, u8)]) -> bool {
    let serves = |n: usize, position: u8| window[n].1 & (1 << position) != 0;
    let all = 0..window.len();
    all.clone().filter(|a| serves(*a, 0)).any(|a| {
        all.clone().filter(|b| *b != a && serves(*b, 1)).any(|b| {
            let in_order = |c: &usize| {
                window[a].0.time <= window[b].0.time && window[b].0.time <= window[*c].0.time
            };
            all.clone().filter(|c| *c != a && *c != b && serves(*c, 2)).any(|c| in_order(&c))
        })
    })
}

fn check(kind: &str, steps: &[Step]) -> Result<(), TestCaseError> {
    let plan = plan(kind);
    let mut windows = Windows::new(&plan);
    let mut entries: Vec<(Entry, u8)> = Vec::new();
    let mut held: BTreeMap<i64, bool> = BTreeMap::new();
    let mut largest = (None, None);
    let (mut newest, mut trimmed) = (i64::MIN, i64::MIN);
    for (offset, step) in steps.iter().enumerate() {
        match step {
            Step::Insert(time, ..) if *time <= trimmed.saturating_add(SPAN) => continue,
            Step::Insert(time, count, id, fact) => {
                let arrival = arrival(kind, *time, offset as i64, *count, *id, *fact);
                let mut found = Found::default();
                newest = newest.max(*time);
                match windows.insert(&arrival, &plan, &mut found) {
                    Taken::Added(entry) => entries.push((entry, *fact)),
                    Taken::Repeated => {
                        let measured = |f: u8| if kind == "event_count" { 0 } else { f };
                        let told = (arrival.entry.id, *time, *count, measured(*fact));
                        let same =
                            |(e, f): &(Entry, u8)| (e.id, e.time, e.count, measured(*f)) == told;
                        prop_assert!(entries.iter().any(same), "not repeated: {arrival:?}");
                        continue;
                    }
                    Taken::TooManyRecords => prop_assert!(false, "a dozen ids, few records"),
                }
                entries.sort_by_key(|(e, _)| e.order());
                largest.0 = largest.0.max(found.largest);
                let wanted = check_found(kind, &plan, &entries, *time, &found, &mut held)?;
                largest.1 = largest.1.max(wanted);
                prop_assert_eq!(largest.0, largest.1, "{} at {}", kind, time);
            }
            Step::Trim(back) => {
                trimmed = trimmed.max(newest.saturating_sub(*back));
                windows.trim(trimmed, &plan);
                entries.retain(|(e, _)| e.time > trimmed);
            }
            Step::Drop if entries.is_empty() => {}
            Step::Drop => {
                windows.drop_first(&plan);
                let (dropped, _) = entries.remove(0);
                if entries.first().is_none_or(|(e, _)| e.time > dropped.time) {
                    held.remove(&dropped.time);
                }
            }
            Step::Close => {
                windows.list.close();
                held.values_mut().for_each(|is_open| *is_open = false);
                largest = (None, None);
            }
        }
        let listed: Vec<Entry> = windows.list.iter().map(|(e, _)| *e).collect();
        prop_assert_eq!(listed, entries.iter().map(|(e, _)| *e).collect::<Vec<_>>());
        // Windows that reach back to trimmed entries are past changing, and not kept up.
        for (entry, _) in entries.iter().filter(|(e, _)| e.time > trimmed.saturating_add(SPAN)) {
            let wanted = recount(kind, &window(&entries, entry.time));
            if plan.tracks() > 0 {
                prop_assert_eq!(windows.figure(entry.time), wanted, "{} at {}", kind, entry.time);
            }
        }
    }
    Ok(())
}

/// The windows found by an arrival at `time` are those that hold now and did not before. Gives the
/// largest figure among the windows of the alert that contain the arrival.
fn check_found(
    kind: &str,
    plan: &Plan,
    entries: &[(Entry, u8)],
    time: i64,
    found: &Found,
    held: &mut BTreeMap<i64, bool>,
) -> Result<Option<i128>, TestCaseError> {
    if !plan.at_arrival {
        prop_assert!(found.ends.is_empty());
        return Ok(found.largest);
    }
    let ends: BTreeSet<i64> = entries.iter().map(|(e, _)| e.time).collect();
    let changed: Vec<i64> = ends.into_iter().filter(|e| time <= *e && *e < time + SPAN).collect();
    let figure = |end: i64| {
        let window = window(entries, end);
        match kind {
            "temporal_ordered" => {
                if is_sequence(&window) {
                    3
                } else {
                    0
                }
            }
            _ => recount(kind, &window)[0],
        }
    };
    let threshold = if kind == "temporal_ordered" { 3 } else { plan.threshold };
    let new = changed.iter().copied().filter(|e| figure(*e) >= threshold);
    let new: Vec<i64> = new.filter(|e| !held.contains_key(e)).collect();
    prop_assert_eq!(&found.ends, &new, "{} at {}", kind, time);
    held.extend(new.iter().map(|end| (*end, true)));
    let of_alert = changed.iter().filter(|end| held.get(*end) == Some(&true));
    Ok(of_alert.map(|end| figure(*end)).max())
}

fn arrival(kind: &str, time: i64, offset: i64, count: u32, id: u8, fact: u8) -> Arrival {
    let (value, fact) = match kind {
        "value_count" => (Some(u128::from(fact)), Fact::NONE),
        "value_sum" | "value_avg" => (None, Fact::number(i64::from(fact))),
        "temporal" | "temporal_ordered" => (None, Fact::positions(u16::from(fact))),
        _ => (None, Fact::NONE),
    };
    // Two thirds of the events have no id.
    let id = if id < 8 { 0 } else { u64::from(id) };
    let entry = Entry { time, offset, id, fact, line: 0, file: NO_FILE, count, reason: NO_REASON };
    Arrival { entry, value }
}

macro_rules! against_a_recount {
    ($($kind:ident)+) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(300))]
            $(
                #[test]
                fn $kind(steps in steps()) {
                    check(stringify!($kind), &steps)?;
                }
            )+
        }
    };
}

against_a_recount! { event_count value_count value_sum value_avg temporal temporal_ordered }

//! The laws, on random cases: the detector says what the recount says, and nothing that the
//! specification leaves out can change it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapwing_event::{Alert, Message, Status};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestCaseError, TestCaseResult, TestRunner};

use crate::case::{Case, HOUR, ROOMY, Record, START, Step, What};
use crate::engine::{Engine, rules, run, yaml, yaml_as};
use crate::generate::{Family, cases, crowded_cases};
use crate::recount::{Outcome, recount};
use crate::short::difference;

/// Random cases in all, unless `LAPWING_CASES` says otherwise: a minute and a half of an
/// unoptimised build on two cores.
const CASES: u32 = 10_000;

/// Tries a law on a share of the cases, and keeps the seeds of those that break it.
fn try_law<S: Strategy>(one_in: u32, strategy: &S, law: impl Fn(S::Value) -> TestCaseResult) {
    let cases = std::env::var("LAPWING_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    let seeds = FileFailurePersistence::Direct("tests/oracle/failing-seeds.txt");
    let mut runner = TestRunner::new(ProptestConfig {
        cases: (cases / one_in).max(1),
        failure_persistence: Some(Box::new(seeds)),
        ..ProptestConfig::default()
    });
    if let Err(broken) = runner.run(strategy, law) {
        panic!("{broken}");
    }
}

fn says_what_the_recount_says(case: &Case) -> TestCaseResult {
    let expected = recount(case).sorted();
    let actual = run(case).without_texts().sorted();
    same(&actual, &expected)
}

fn same(actual: &Outcome, expected: &Outcome) -> TestCaseResult {
    match difference(actual, expected) {
        None => Ok(()),
        Some(difference) => Err(TestCaseError::fail(difference)),
    }
}

#[test]
fn what_is_decided_at_arrival_is_what_a_recount_says() {
    try_law(3, &cases(Family::Counting), |case| says_what_the_recount_says(&case));
}

#[test]
fn temporal_rules_find_what_a_recount_finds() {
    try_law(4, &cases(Family::Temporal), |case| says_what_the_recount_says(&case));
}

#[test]
fn what_is_decided_late_is_what_a_recount_says() {
    try_law(4, &cases(Family::Late), |case| says_what_the_recount_says(&case));
}

#[test]
fn silence_is_found_where_a_recount_finds_it() {
    try_law(6, &cases(Family::Absence), |case| says_what_the_recount_says(&case));
}

#[test]
fn many_events_in_the_windows_of_a_key_are_counted_like_few() {
    let crowded = prop_oneof![
        3 => crowded_cases(Family::Counting),
        2 => crowded_cases(Family::Late),
        1 => crowded_cases(Family::Temporal),
        1 => crowded_cases(Family::Absence),
    ];
    try_law(50, &crowded, |case| says_what_the_recount_says(&case));
}

fn any_family() -> impl Strategy<Value = Case> {
    prop_oneof![
        cases(Family::Counting),
        cases(Family::Temporal),
        cases(Family::Late),
        cases(Family::Absence),
    ]
}

#[test]
fn cuts_and_restarts_never_matter() {
    try_law(10, &any_family(), |case| {
        let whole = run(&with(&case, false, false)).sorted();
        same(&run(&with(&case, true, false)).sorted(), &whole)?;
        same(&run(&with(&case, true, true)).sorted(), &whole)?;
        same(&run(&case).sorted(), &whole)
    });
}

#[test]
fn ticks_that_are_no_later_than_the_next_record_never_matter() {
    try_law(10, &any_family(), |case| {
        let without = run(&without_ticks(&case)).sorted();
        same(&run(&case).sorted(), &without)?;
        same(&run(&with_more_ticks(&case)).sorted(), &without)
    });
}

/// The same records, all cut and restarted alike.
fn with(case: &Case, cut: bool, restart: bool) -> Case {
    let mut case = case.clone();
    for step in &mut case.steps {
        (step.cut, step.restart) = (cut, restart);
    }
    case
}

/// Without the ticks that a record follows.
fn without_ticks(case: &Case) -> Case {
    let is_record = |step: &Step| matches!(step.what, What::Record(_));
    let last = case.steps.iter().rposition(is_record).unwrap_or(0);
    let kept = case.steps.iter().enumerate().filter(|(i, step)| *i > last || is_record(step));
    Case { steps: kept.map(|(_, step)| step.clone()).collect(), ..case.clone() }
}

/// With a tick half way to each record and one at its log time.
fn with_more_ticks(case: &Case) -> Case {
    let mut steps = Vec::new();
    let mut before = START;
    let tick = |log_time| Step { what: What::Tick(log_time), cut: false, restart: false };
    for step in &case.steps {
        let (What::Tick(log_time) | What::Record(Record { log_time, .. })) = step.what;
        steps.extend([tick(before + (log_time - before) / 2), tick(log_time), step.clone()]);
        before = log_time;
    }
    Case { steps, ..case.clone() }
}

/// Within the allowed lateness, with all records read at the same log time, nothing resolves and
/// nothing is forgotten: each key has one alert, which covers the same windows in any order.
#[test]
fn the_order_of_arrival_never_changes_which_windows_hold() {
    let orders = prop::collection::vec(any::<u32>(), 60);
    let early = prop_oneof![cases(Family::Counting), cases(Family::Temporal)];
    try_law(10, &(early, orders), |(case, order)| {
        let case = all_at_once(case);
        let mut other = case.clone();
        let mut order = order.iter();
        other.steps.sort_by_cached_key(|_| order.next());
        prop_assert_eq!(covered(&run(&case)), covered(&run(&other)));
        Ok(())
    });
}

/// The same events with log times and event times within the allowed lateness of each other.
fn all_at_once(mut case: Case) -> Case {
    case.steps.retain(|step| matches!(step.what, What::Record(_)));
    for step in &mut case.steps {
        let What::Record(record) = &mut step.what else { continue };
        record.time = START - (START - record.time).rem_euclid(case.rule.lateness + 1);
        record.log_time = START + HOUR;
    }
    Case { bounds: ROOMY, is_replayed: false, ..case }
}

/// What the alerts at the end cover, and everything that follows from it alone.
fn covered(outcome: &Outcome) -> BTreeMap<String, String> {
    let at_end = outcome.messages.iter().map(|m| &m.alert).filter(|a| a.open_at_end);
    let figures = at_end.map(|a| {
        let samples: Vec<i64> = a.evidence.samples.iter().map(|e| e.time).collect();
        let times = (a.evidence.first.time, a.last_at, samples);
        (a.key.to_string(), format!("{:?} {} {} {} {times:?}", a.window, a.count, a.value, a.level))
    });
    figures.collect()
}

#[test]
fn rules_are_independent_of_each_other() {
    try_law(20, &(any_family(), any_family()), |(case, other)| {
        let other_id = "22222222-2222-2222-2222-222222222222";
        let one = yaml(&case.rule);
        let two = yaml_as(&other.rule, "second", other_id);
        let [mut alone, second, both] =
            [one.clone(), two.clone(), one + &two].map(|yaml| run_rules(&yaml, &case));
        alone.messages.extend(second.messages);
        prop_assert_eq!(alone.sorted().messages, both.sorted().messages);
        Ok(())
    });
}

/// The records of a case for any rules.
fn run_rules(yaml: &str, case: &Case) -> Outcome {
    let mut engine = Engine::new(rules(yaml), case.is_replayed, case.bounds);
    case.records().for_each(|record| engine.record(*record));
    engine.finish()
}

/// Each alert is opened once, its revisions are consecutive, its level never falls, and its
/// updates are few: one per doubling, per level, per reason why it is incomplete, one at the end.
#[test]
fn an_alert_is_one_thing() {
    try_law(10, &any_family(), |case| {
        let mut last: BTreeMap<Arc<str>, Alert> = BTreeMap::new();
        for Message { alert, .. } in run(&case).messages {
            prop_assert_eq!(alert.complete, alert.incomplete_because.is_empty());
            prop_assert_eq!(alert.resolved_at.is_some(), alert.status == Status::Resolved);
            prop_assert!(alert.window.start <= alert.opened_at);
            match last.get(&alert.id) {
                Some(before) if before.status != Status::Resolved => {
                    prop_assert_eq!(alert.revision, before.revision + 1);
                    prop_assert!(alert.status != Status::Opened && !before.open_at_end);
                    prop_assert!(alert.level >= before.level && alert.count >= before.count);
                }
                _ => prop_assert_eq!((alert.revision, alert.status), (1, Status::Opened)),
            }
            let most = 1 + 2 + 3 + alert.count.max(1).ilog2() + 1;
            prop_assert!(alert.revision <= most, "{} revisions of {}", alert.revision, alert.count);
            last.insert(alert.id.clone(), alert);
        }
        Ok(())
    });
}

/// The clock of a replayed file waits a day longer, which decides when silence ends an alert, and
/// nothing else of rules that are decided at arrival.
#[test]
fn a_replay_opens_the_alerts_of_a_live_run() {
    try_law(20, &cases(Family::Counting), |case| {
        let mut case = Case { bounds: ROOMY, ..without_ticks(&case) };
        for step in &mut case.steps {
            let What::Record(record) = &mut step.what else { continue };
            record.time = record.log_time;
        }
        let opened = |is_replayed| {
            let outcome = run(&Case { is_replayed, ..case.clone() });
            let alerts = outcome.messages.into_iter().map(|m| m.alert);
            let opened = alerts.filter(|a| a.status == Status::Opened);
            opened.map(|a| (a.id, a.opened_at, a.count)).collect::<Vec<_>>()
        };
        prop_assert_eq!(opened(true), opened(false));
        Ok(())
    });
}

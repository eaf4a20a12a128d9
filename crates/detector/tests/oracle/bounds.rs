//! Named traps of bounds and of the state: what is forgotten is said, and what is read back is
//! what was written.

use std::sync::Arc;

use lapwing_detector::rule::RuleSet;
use lapwing_event::{Alert, Fixed, Incomplete, ResolvedBecause, Status};

use crate::case::{
    Bounds, Case, CaseRule, MINUTE, Measure, Number, Pick, ROOMY, Record, SECOND, START, What,
};
use crate::engine::{Engine, rules, run, yaml, yaml_as};
use crate::traps::{alerts, case, said};

fn at(seconds: i64) -> i64 {
    START + seconds * SECOND
}

fn event(seconds: i64, session: u16) -> What {
    What::Record(Record::at(at(seconds), session))
}

fn bounded(bounds: Bounds, rule: &CaseRule, whats: impl IntoIterator<Item = What>) -> Case {
    Case { bounds, ..case(rule, whats) }
}

/// The alerts about losses, or all others.
fn about_losses(alerts: &[Alert], is_loss: bool) -> Vec<&Alert> {
    let name = "lapwing.window_incomplete";
    alerts.iter().filter(|a| (&*a.rule.name == name) == is_loss).collect()
}

#[test]
fn more_keys_than_fit_are_forgotten_aloud() {
    let rule = CaseRule::counting(3, MINUTE);
    let whats = (0..6).map(|i| event(i, i as u16)).chain((6..9).map(|i| event(i, 0)));
    let alerts = alerts(&bounded(Bounds { keys: 2, ..ROOMY }, &rule, whats));
    let losses = about_losses(&alerts, true);
    let losses: Vec<_> = losses.iter().map(|a| (a.status, a.count, a.open_at_end)).collect();
    // Four keys make room for the third to the sixth, one more for the first when it is back.
    assert_eq!(
        losses,
        [
            (Status::Opened, 1, false),
            (Status::Updated, 2, false),
            (Status::Updated, 4, false),
            (Status::Updated, 5, true),
        ]
    );
    let own = about_losses(&alerts, false);
    assert_eq!((own[0].complete, own[0].count), (false, 3));
    assert_eq!(own[0].incomplete_because, [Incomplete::Evicted]);
}

#[test]
fn a_flood_of_a_thousand_keys_does_not_push_out_those_that_matter() {
    let rule = CaseRule::counting(3, MINUTE);
    let open = (0..3).map(|i| event(i, 0));
    let growing = (3..5).map(|i| event(i, 1));
    let flood = (0..1000).map(|i| event(5 + i / 50, 2 + i as u16));
    let whats = open.chain(growing).chain(flood).chain([event(26, 1), event(27, 0)]);
    let case = bounded(Bounds { keys: 10, ..ROOMY }, &rule, whats.collect::<Vec<_>>());
    let alerts = alerts(&case);
    let own = about_losses(&alerts, false);
    let opened = own.iter().filter(|a| a.status == Status::Opened);
    let keys: Vec<String> = opened.map(|a| a.key.to_string()).collect();
    assert_eq!(keys, ["session.id=s0", "session.id=s1"]);
    assert!(own.iter().all(|a| a.complete));
    let losses = about_losses(&alerts, true);
    assert_eq!(losses.last().map(|a| a.count), Some(1000 - 8));
    assert_eq!(losses.len(), 10 + 1, "one for each doubling up to 512, one at the end");

    let mut engine = Engine::new(rules(&yaml(&rule)), false, case.bounds);
    case.records().for_each(|record| engine.record(*record));
    engine.flush();
    assert_eq!(engine.detector.keys(), 10);
}

#[test]
fn an_alert_that_ends_as_it_opens_touches_its_key() {
    let rule = CaseRule { lateness: MINUTE, ..CaseRule::expecting(MINUTE) };
    let early = [event(0, 0), event(0, 0), event(70, 0), event(80, 1), event(80, 1)];
    // At 120.000001 s the silence after 0 is told; at 130 s somebody has to go.
    let whats = early.into_iter().chain([event(130, 2), What::Tick(at(200))]);
    let alerts = alerts(&bounded(Bounds { keys: 2, ..ROOMY }, &rule, whats));
    let own = about_losses(&alerts, false);
    let opened = own.iter().filter(|a| a.status == Status::Opened);
    let opened: Vec<_> = opened.map(|a| (a.key.to_string(), a.opened_at)).collect();
    assert_eq!(opened, [60, 130].map(|s| ("session.id=s0".to_owned(), at(s))));
}

#[test]
fn an_episode_of_losses_ends_when_nothing_more_is_lost() {
    let rule = CaseRule::counting(3, MINUTE);
    let flood = (0..3).map(|i| event(i, i as u16));
    let whats = flood.chain([What::Tick(at(5000)), event(5000, 8)]);
    let messages = said(&bounded(Bounds { keys: 2, ..ROOMY }, &rule, whats));
    let seen: Vec<_> = messages.iter().map(|m| (m.alert.status, m.alert.resolved_at)).collect();
    let due = at(2) + MINUTE + rule.lateness;
    assert_eq!(seen, [(Status::Opened, None), (Status::Resolved, Some(due))]);
    assert_eq!(messages[1].log_time, due);
}

#[test]
fn where_every_key_has_an_open_alert_a_new_one_is_not_taken() {
    let rule = CaseRule::counting(1, MINUTE);
    let whats = [event(0, 0), event(1, 1), event(2, 2), event(3, 0)];
    let alerts = alerts(&bounded(Bounds { keys: 2, ..ROOMY }, &rule, whats));
    let own = about_losses(&alerts, false);
    assert_eq!(own.iter().filter(|a| a.status == Status::Opened).count(), 2);
    assert_eq!(about_losses(&alerts, true)[0].incomplete_because, [Incomplete::Evicted]);
}

#[test]
fn the_oldest_entries_of_a_key_are_dropped_aloud() {
    let rule = CaseRule::counting(3, MINUTE);
    let whats = [0, 50, 10, 20, 51, 52]
        .map(|s| What::Record(Record { log_time: at(60), ..Record::at(at(s), 0) }));
    let alerts = alerts(&bounded(Bounds { entries: 3, ..ROOMY }, &rule, whats));
    let own = about_losses(&alerts, false);
    // At the fourth event the window at 50 has four; then the one at 0 is dropped.
    assert_eq!((own[0].opened_at, own[0].count, own[0].complete), (at(50), 3, true));
    let updated: Vec<_> = own.iter().map(|a| (a.count, a.complete, a.open_at_end)).collect();
    assert_eq!(updated[1], (4, false, false));
    assert_eq!(own[1].incomplete_because, [Incomplete::Entries]);
    assert_eq!(own[1].value, Fixed::from(4));
    let losses = about_losses(&alerts, true);
    assert_eq!(losses.last().map(|a| a.count), Some(3));
}

#[test]
fn a_window_whose_entries_a_bound_has_dropped_may_hold_again() {
    let rule = CaseRule::counting(2, MINUTE);
    let two =
        |read| What::Record(Record { log_time: at(read), count: Some(2), ..Record::at(at(0), 0) });
    // At 65 s the first is dropped; its alert is over at 660 s, the key is remembered until 725 s.
    let whats = [two(0), event(65, 0), two(700)];
    let alerts = alerts(&bounded(Bounds { entries: 1, ..ROOMY }, &rule, whats));
    let own: Vec<_> =
        about_losses(&alerts, false).iter().map(|a| (a.status, a.opened_at, a.complete)).collect();
    let expected = [
        (Status::Opened, at(0), true),
        (Status::Updated, at(0), false),
        (Status::Resolved, at(0), false),
        (Status::Opened, at(0), false),
        (Status::Updated, at(0), false),
    ];
    assert_eq!(own, expected);
}

#[test]
fn entries_whose_distinct_values_are_too_many_are_dropped_aloud() {
    let rule = CaseRule { measure: Measure::ValueCount, ..CaseRule::counting(3, MINUTE) };
    let touching =
        |s, target| What::Record(Record { target: Some(target), ..Record::at(at(s), 0) });
    let whats = [touching(0, 0), touching(1, 0), touching(2, 1), touching(3, 2), touching(4, 1)];
    let alerts = alerts(&bounded(Bounds { values: 2, ..ROOMY }, &rule, whats));
    let own = about_losses(&alerts, false);
    assert_eq!((own[0].value, own[0].count), (Fixed::from(3), 4));
    assert_eq!(own[0].incomplete_because, [Incomplete::Values]);
    let losses = about_losses(&alerts, true);
    assert_eq!(losses.last().map(|a| a.count), Some(1), "one, though two entries went");
}

#[test]
fn an_id_has_sixty_four_different_entries_at_most() {
    let rule = CaseRule::counting(1, MINUTE);
    let whats = (0..70).map(|i| {
        let record = Record { id: Some((0, 1)), count: Some(i + 1), ..Record::at(at(0), 0) };
        What::Record(record)
    });
    let alerts = alerts(&case(&rule, whats));
    let own = about_losses(&alerts, false);
    assert_eq!(own.last().map(|a| (a.count, a.complete)), Some((64, false)));
    assert_eq!(about_losses(&alerts, true).last().map(|a| a.count), Some(6));
}

#[test]
fn no_more_alerts_are_open_than_may_be_and_the_window_has_held_all_the_same() {
    let rule = CaseRule::counting(1, MINUTE);
    // The first alert is over at 660 s; the key of the second is remembered until 661 s.
    let again = |s| What::Record(Record { log_time: at(661), ..Record::at(at(s), 1) });
    let whats = [event(0, 0), event(1, 1), again(1), again(2)];
    let alerts = alerts(&bounded(Bounds { open_alerts: 1, ..ROOMY }, &rule, whats));
    let own = about_losses(&alerts, false);
    let opened = own.iter().filter(|a| a.status == Status::Opened);
    assert_eq!(
        opened.map(|a| (a.opened_at, a.count)).collect::<Vec<_>>(),
        [(at(0), 1), (at(2), 3)]
    );
    let losses = about_losses(&alerts, true);
    assert_eq!(losses[0].incomplete_because, [Incomplete::OpenAlerts]);
    assert_eq!(losses.last().map(|a| a.count), Some(1));
}

/// Two rules, the second with a bound that may change, and two events of one session.
fn pair(least: i64) -> Arc<RuleSet> {
    let second_id = "22222222-2222-2222-2222-222222222222";
    let first = yaml(&CaseRule::counting(2, MINUTE));
    rules(&(first + &yaml_as(&CaseRule::counting(least, MINUTE), "second", second_id)))
}

#[test]
fn a_changed_rule_resolves_its_alerts_and_the_others_keep_theirs() {
    let gone = rules(&yaml(&CaseRule::counting(2, MINUTE)));
    for changed in [pair(3), gone] {
        let mut engine = Engine::new(pair(2), false, ROOMY);
        for (s, session) in [(0, 0), (1, 0), (50, 1)] {
            engine.record(Record::at(at(s), session));
        }
        let closed = engine.restart_with(changed);
        assert_eq!(closed.len(), 1);
        let (alert, log_time) = (&closed[0].alert, closed[0].log_time);
        assert_eq!((&*alert.rule.name, alert.status), ("second", Status::Resolved));
        assert_eq!(alert.resolved_because, Some(ResolvedBecause::RuleChanged));
        assert_eq!((alert.revision, alert.resolved_at, log_time), (2, Some(at(50)), at(50)));
        let messages = engine.finish().messages;
        let names: Vec<&str> = messages.iter().map(|m| &*m.alert.rule.name).collect();
        assert_eq!(names, ["rule", "second", "rule"], "two opened, one is open at the end");
        assert_eq!(messages[2].alert.revision, 2);
    }
}

#[test]
fn a_changed_rule_starts_anew() {
    let mut engine = Engine::new(pair(5), false, ROOMY);
    (0..4).for_each(|s| engine.record(Record::at(at(s), 0)));
    let _ = engine.restart_with(pair(4));
    engine.record(Record::at(at(4), 0));
    let messages = engine.finish().messages;
    assert!(messages.iter().all(|m| &*m.alert.rule.name == "rule"), "what it had seen is gone");
}

#[test]
fn a_changed_rule_ends_its_episode_of_losses() {
    let mut engine = Engine::new(pair(3), false, Bounds { keys: 1, ..ROOMY });
    engine.record(Record::at(at(0), 0));
    engine.record(Record::at(at(1), 1));
    let closed = engine.restart_with(pair(4));
    assert_eq!(closed.len(), 1);
    let alert = &closed[0].alert;
    assert_eq!(alert.key.to_string(), "rule=second");
    assert_eq!(alert.resolved_because, Some(ResolvedBecause::RuleChanged));
    assert_eq!((alert.resolved_at, closed[0].log_time), (Some(at(1)), at(1)));
}

#[test]
fn a_damaged_or_foreign_state_is_refused() {
    let mut engine = Engine::new(rules(&yaml(&CaseRule::counting(2, MINUTE))), false, ROOMY);
    (0..3).for_each(|s| engine.record(Record::at(at(s), 0)));
    let state = engine.snapshot();
    assert!(engine.restored(&state).is_ok());
    for at in 0..state.len() {
        for bit in [1, 0x80] {
            let mut damaged = state.clone();
            damaged[at] ^= bit;
            assert!(engine.restored(&damaged).is_err(), "byte {at}");
        }
    }
    for len in 0..state.len() {
        assert!(engine.restored(&state[..len]).is_err(), "the first {len} bytes");
    }
    let longer = [&state[..], &[0]].concat();
    assert!(engine.restored(&longer).is_err());
}

#[test]
fn a_state_of_an_unknown_version_is_refused_by_its_version() {
    let mut engine = Engine::new(rules(&yaml(&CaseRule::counting(2, MINUTE))), false, ROOMY);
    let mut state = engine.snapshot();
    for version in [0, 999, u16::MAX] {
        state[8..10].copy_from_slice(&version.to_le_bytes());
        let error = engine.restored(&state).map(drop).expect_err("another version").to_string();
        assert!(error.contains("version"), "{error}");
    }
}

#[test]
fn the_state_of_a_key_is_small() {
    let counting = CaseRule::counting(2, MINUTE);
    let of = |measure| CaseRule { measure, ..counting.clone() };
    let temporal =
        |measure| CaseRule { picks: vec![Pick::Any, Pick::Exec], parts: Vec::new(), ..of(measure) };
    let kinds = [
        ("event_count", counting.clone()),
        ("value_count", of(Measure::ValueCount)),
        ("value_sum", of(Measure::Sum(Number::Cost))),
        ("value_avg", of(Measure::Avg(Number::Tokens))),
        ("temporal", temporal(Measure::Temporal)),
        ("temporal_ordered", temporal(Measure::TemporalOrdered)),
        ("absence", CaseRule::expecting(MINUTE)),
    ];
    for (name, rule) in kinds {
        let one = bytes_per_key(&rule, None);
        let with_id = bytes_per_key(&rule, Some((0, 1)));
        eprintln!("{name}: {one} bytes for a key with one event, {with_id} if it has an id");
        let most = if name == "event_count" { 100 } else { 150 };
        assert!(one <= most && with_id <= most + 50, "{name}: {one}, {with_id}");
    }
}

fn bytes_per_key(rule: &CaseRule, id: Option<(u8, u8)>) -> usize {
    const KEYS: u16 = 1000;
    let mut engine = Engine::new(rules(&yaml(rule)), false, ROOMY);
    let empty = engine.snapshot().len();
    for n in 0..KEYS {
        let event = Record::at(START + i64::from(n), n);
        engine.record(Record { id, target: Some(1), cost: Some(1), tokens: Some(1), ..event });
    }
    let size = engine.snapshot().len();
    assert_eq!(engine.detector.keys(), usize::from(KEYS));
    (size - empty) / usize::from(KEYS)
}

#[test]
fn a_case_run_twice_says_the_same() {
    let case = case(&CaseRule::counting(2, MINUTE), (0..9).map(|i| event(i, i as u16 % 2)));
    assert_eq!(run(&case), run(&case));
}

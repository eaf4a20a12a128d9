//! Named traps of windows and clocks: small cases with their exact alerts. Each also has to agree
//! with the recount.

use lapwing_event::{Alert, Fixed, Level, Message, ResolvedBecause, Status};

use crate::case::{
    Ask, Case, CaseRule, DAY, HOUR, Kind, MINUTE, Measure, Number, Pick, ROOMY, Record, SECOND,
    START, Step, What,
};
use crate::engine::{Engine, rules, run, yaml};
use crate::recount::recount;
use crate::short::difference;

/// A case on an observed partition, uncut.
pub(crate) fn case(rule: &CaseRule, whats: impl IntoIterator<Item = What>) -> Case {
    let step = |what| Step { what, cut: false, restart: false };
    let steps = whats.into_iter().map(step).collect();
    Case { rule: rule.clone(), bounds: ROOMY, is_replayed: false, steps }
}

/// What the detector says to a case, sorted; the recount has to say the same.
pub(crate) fn said(case: &Case) -> Vec<Message> {
    let said = run(case).without_texts().sorted();
    if let Some(difference) = difference(&said, &recount(case).sorted()) {
        panic!("{difference}{case:?}");
    }
    said.messages
}

/// The same, in the order in which it was said, without the log times.
pub(crate) fn alerts(case: &Case) -> Vec<Alert> {
    let _ = said(case);
    run(case).messages.into_iter().map(|m| m.alert).collect()
}

fn statuses(alerts: &[Alert]) -> Vec<Status> {
    alerts.iter().map(|a| a.status).collect()
}

/// Seconds after the start.
fn at(seconds: i64) -> i64 {
    START + seconds * SECOND
}

/// An event of the session s0 that comes when it happens.
fn event(seconds: i64) -> What {
    What::Record(Record::at(at(seconds), 0))
}

/// Events of the session s0 in this order; log time is the newest time so far.
fn arriving(times: &[i64]) -> Vec<What> {
    let mut log_time = i64::MIN;
    let mut record = |time: &i64| {
        log_time = log_time.max(START + time);
        What::Record(Record { log_time, ..Record::at(START + time, 0) })
    };
    times.iter().map(&mut record).collect()
}

fn seconds(times: &[i64]) -> Vec<What> {
    arriving(&times.iter().map(|s| s * SECOND).collect::<Vec<_>>())
}

#[test]
fn a_late_event_does_not_complete_a_window_it_does_not_lie_in() {
    for lateness in [10 * MINUTE, 2 * HOUR] {
        let rule = CaseRule { lateness, ..CaseRule::counting(3, MINUTE) };
        assert_eq!(alerts(&case(&rule, seconds(&[10_000, 10_001, 5_000]))), []);
    }
}

#[test]
fn a_window_is_open_at_its_start_and_closed_at_its_end() {
    let rule = CaseRule::counting(3, MINUTE);
    assert_eq!(alerts(&case(&rule, seconds(&[0, 30, 60]))), []);
    let within = [0, 30 * SECOND, MINUTE - 1000];
    let alerts = alerts(&case(&rule, arriving(&within)));
    assert_eq!(statuses(&alerts), [Status::Opened, Status::Updated]);
    assert_eq!(alerts[0].opened_at, START + MINUTE - 1000);
    assert_eq!(alerts[0].window.start, START - 1000);
}

#[test]
fn three_events_fire_in_every_order() {
    let rule = CaseRule::counting(3, MINUTE);
    for order in [[0, 20, 59], [0, 59, 20], [20, 0, 59], [20, 59, 0], [59, 0, 20], [59, 20, 0]] {
        let alerts = alerts(&case(&rule, seconds(&order)));
        assert_eq!(statuses(&alerts), [Status::Opened, Status::Updated], "{order:?}");
        let opened = &alerts[0];
        assert_eq!((opened.opened_at, opened.count, opened.last_at), (at(59), 3, at(59)));
        assert_eq!((opened.window.start, opened.window.end), (at(-1), at(59)));
        assert!(alerts[1].open_at_end);
    }
}

#[test]
fn an_event_in_2099_changes_nobodys_alerts() {
    let rule = CaseRule::counting(3, MINUTE);
    let forged = |session, kind| {
        let record = Record { kind, time: 4_070_908_800 * SECOND, ..Record::at(at(2), session) };
        let events = [0, 1].map(event).into_iter().chain([What::Record(record)]);
        case(&rule, events.chain([2, 3, 4, 90].map(event)).collect::<Vec<_>>())
    };
    let without = said(&forged(1, Kind::Other));
    assert_eq!(without.len(), 2, "opened, open at the end");
    assert_eq!(said(&forged(1, Kind::Tool)), without);
    // Of its own key it is an event at the time it was read; nothing after it is late.
    let own = forged(0, Kind::Tool);
    assert_eq!(run(&own).late, [] as [i64; 0]);
    assert_eq!(alerts(&own)[0].opened_at, at(2));
}

#[test]
fn thirty_failures_of_an_agent_one_hour_slow_are_one_alert() {
    let rule = CaseRule::counting(3, MINUTE);
    let mut whats = Vec::new();
    for i in 0..30 {
        let now = at(10 * i);
        whats.push(What::Record(Record { time: now - HOUR, ..Record::at(now, 0) }));
        // Somebody whose clock is right keeps the partition going.
        whats.push(What::Record(Record::at(now + 5 * SECOND, if i % 8 == 0 { 1 } else { 2 })));
    }
    let alerts = alerts(&case(&rule, whats));
    let slow: Vec<&Alert> =
        alerts.iter().filter(|a| a.key.to_string() == "session.id=s0").collect();
    assert_eq!(slow.iter().filter(|a| a.status == Status::Opened).count(), 1);
    let end = slow.last().expect("an alert");
    assert_eq!((end.count, end.open_at_end), (30, true));
    assert_eq!((end.evidence.first.time, end.last_at), (at(0) - HOUR, at(290) - HOUR));
}

#[test]
fn a_thousand_failures_in_ten_seconds_are_one_alert_with_few_updates() {
    let rule = CaseRule::counting(3, MINUTE);
    let times: Vec<i64> = (0..1000).map(|i| i * SECOND / 100).collect();
    // A recount of this takes minutes.
    let alerts: Vec<Alert> =
        run(&case(&rule, arriving(&times))).messages.into_iter().map(|m| m.alert).collect();
    let updates = alerts.iter().filter(|a| a.status == Status::Updated && !a.open_at_end);
    let counts: Vec<u64> = updates.map(|a| a.count).collect();
    assert_eq!(counts, [6, 12, 24, 48, 96, 192, 384, 768]);
    assert_eq!(alerts.len(), 1 + counts.len() + 1);
    let end = alerts.last().expect("an alert");
    assert_eq!((end.count, end.value), (1000, Fixed::from(1000)));
    assert_eq!(end.evidence.samples.len(), 5);
}

#[test]
fn late_events_join_the_stretches_of_an_alert() {
    let rule = CaseRule::counting(3, MINUTE);
    let apart = [0, 1, 2, 100, 101, 102];
    let alerts_apart = alerts(&case(&rule, seconds(&apart)));
    assert_eq!(statuses(&alerts_apart), [Status::Opened, Status::Updated, Status::Updated]);
    assert_eq!((alerts_apart[1].count, alerts_apart[1].open_at_end), (6, false));
    let joined = alerts(&case(&rule, seconds(&[&apart[..], &[59, 60, 61]].concat())));
    let end = joined.last().expect("an alert");
    assert_eq!((end.count, end.value), (9, Fixed::from(6)));
    assert_eq!((end.window.start, end.window.end), (at(2) - MINUTE, at(102)));
    assert_eq!(joined.iter().filter(|a| a.status == Status::Opened).count(), 1);
}

#[test]
fn events_that_come_later_than_they_may_are_one_alert_too() {
    // One event moves the clock of the key; log time moves it on, past the resolution of any window
    // that the thousand events behind it can still fill.
    let rule = CaseRule::counting(4, 5 * MINUTE);
    let behind = |n: i64| {
        let read = 800_000 + n * 90;
        let record = Record::at(START + read * 1_000, 0);
        What::Record(Record { time: START + n * 50_000 - 5 * MINUTE, ..record })
    };
    let alerts = alerts(&case(&rule, [event(0)].into_iter().chain((0..1000).map(behind))));
    let opened = alerts.iter().filter(|a| a.status == Status::Opened).count();
    assert_eq!((opened, alerts.last().map(|a| a.count)), (1, Some(1001)));
    assert!(alerts.len() <= 12, "{} messages", alerts.len());
}

#[test]
fn a_late_event_after_the_resolution_is_a_new_alert_with_windows_of_its_own() {
    let rule = CaseRule::counting(3, MINUTE);
    let late = Record { time: at(3), ..Record::at(at(700), 0) };
    let whats = seconds(&[0, 1, 2, 65]).into_iter().chain([What::Record(late)]);
    let messages = run(&case(&rule, whats.clone())).messages;
    let _ = said(&case(&rule, whats));
    let seen: Vec<_> = messages
        .iter()
        .map(|m| (m.alert.status, m.alert.count, m.alert.opened_at, m.log_time))
        .collect();
    // The first is over at 2 + 60 + 600 s. The second would have been over before it was found: it
    // stays open for another minute, so that what else comes as late joins it.
    assert_eq!(
        seen,
        [
            (Status::Opened, 3, at(2), at(2)),
            (Status::Resolved, 3, at(2), at(662)),
            (Status::Opened, 4, at(3), at(700)),
            (Status::Updated, 4, at(3), at(700)),
        ]
    );
}

#[test]
fn an_idle_keys_alert_is_resolved_by_log_time_whoever_moves_it() {
    let rule = CaseRule { lateness: MINUTE, ..CaseRule::counting(1, MINUTE) };
    let due = MINUTE + MINUTE;
    let ticked = |after| case(&rule, [event(0), What::Tick(START + after)]);
    assert_eq!(statuses(&alerts(&ticked(due - 1))), [Status::Opened, Status::Updated]);
    let by_tick = said(&ticked(due));
    assert_eq!(by_tick[1].alert.status, Status::Resolved);
    assert_eq!(by_tick[1].alert.resolved_at, Some(START + due));
    assert_eq!(by_tick[1].alert.resolved_because, Some(ResolvedBecause::Quiet));
    assert_eq!(by_tick[1].log_time, START + due);
    assert_eq!(said(&ticked(HOUR)), by_tick, "a tick after long says when it was due");
    for kind in [Kind::Tool, Kind::Other, Kind::Rejected] {
        let other = Record { kind, ..Record::at(START + HOUR, 1) };
        let whats = [event(0), What::Record(other)];
        let by_record = said(&case(&rule, whats));
        let own = by_record.iter().filter(|m| m.alert.id == by_tick[0].alert.id);
        assert!(own.eq(&by_tick), "{kind:?}");
    }
}

#[test]
fn an_alert_of_a_replayed_file_waits_a_day_longer_for_silence() {
    let rule = CaseRule { lateness: MINUTE, ..CaseRule::counting(1, MINUTE) };
    let due = 2 * MINUTE + DAY;
    for (after, last) in [(due - 1, Status::Updated), (due, Status::Resolved)] {
        let mut case = case(&rule, [event(0), What::Tick(START + after)]);
        case.is_replayed = true;
        let alerts = alerts(&case);
        assert_eq!(statuses(&alerts), [Status::Opened, last]);
        let at = (last == Status::Resolved).then_some(START + 2 * MINUTE);
        assert_eq!(alerts[1].resolved_at, at, "on the clock of the key");
    }
}

#[test]
fn live_with_ticks_and_replay_without_give_the_same_messages() {
    let rule = CaseRule { lateness: MINUTE, ..CaseRule::counting(2, MINUTE) };
    let times = [0, 10, 300, 310, 320, 1000, 1010, 4000];
    let live = times.into_iter().flat_map(|s| [event(s), What::Tick(at(s + 7))]);
    let whats: Vec<What> = live.chain([What::Tick(at(9000))]).collect();
    let replayed = times.map(event).into_iter().chain([What::Tick(at(9000))]);
    assert_eq!(said(&case(&rule, whats)), said(&case(&rule, replayed)));
}

#[test]
fn a_record_whose_log_time_is_behind_a_tick_is_raised_to_it() {
    let rule = CaseRule { lateness: 0, ..CaseRule::counting(1, MINUTE) };
    let behind = Record { log_time: at(100), ..Record::at(at(500), 0) };
    let whats = [What::Tick(at(1000)), What::Record(behind)];
    let messages = said(&case(&rule, whats));
    assert_eq!(messages[0].log_time, at(1000));
    assert_eq!(messages[0].alert.opened_at, at(500));
}

fn temporal(measure: Measure, picks: &[Pick]) -> CaseRule {
    let parts = Vec::new();
    CaseRule { measure, picks: picks.to_vec(), parts, ..CaseRule::counting(1, MINUTE) }
}

/// A denied call of a tool.
fn call(seconds: i64, tool: u8) -> What {
    What::Record(Record { tool: Some(tool), outcome: Some(0), ..Record::at(at(seconds), 0) })
}

#[test]
fn a_tie_satisfies_either_order() {
    let rule = temporal(Measure::TemporalOrdered, &[Pick::Exec, Pick::Write]);
    for tools in [[0, 2], [2, 0]] {
        let alerts = alerts(&case(&rule, tools.map(|tool| call(0, tool))));
        assert_eq!(statuses(&alerts), [Status::Opened, Status::Updated], "{tools:?}");
    }
    let wrong = [call(0, 2), call(1, 0)];
    assert_eq!(alerts(&case(&rule, wrong)), []);
}

#[test]
fn one_event_does_not_take_two_steps() {
    let both = [Pick::Exec, Pick::Denied];
    let ordered = temporal(Measure::TemporalOrdered, &both);
    assert_eq!(alerts(&case(&ordered, [call(0, 0)])), []);
    assert_eq!(alerts(&case(&ordered, [call(0, 0), call(0, 0)])).len(), 2);
    let unordered = temporal(Measure::Temporal, &both);
    assert_eq!(alerts(&case(&unordered, [call(0, 0)])).len(), 2, "it meets both detections");
}

#[test]
fn an_upper_bound_is_decided_once_the_keys_clock_has_passed() {
    let parts = vec![(Ask::Lt, Fixed::from(3))];
    let rule = CaseRule { parts, lateness: MINUTE, ..CaseRule::counting(1, MINUTE) };
    let until = |end| case(&rule, [event(0), event(10), What::Tick(end)]);
    assert_eq!(alerts(&until(START + MINUTE)), []);
    let messages = said(&until(START + MINUTE + 1));
    assert_eq!(messages[0].alert.opened_at, START);
    assert_eq!(messages[0].alert.value, Fixed::from(1));
    assert_eq!(messages[0].log_time, START + MINUTE + 1);
    let messages = said(&until(START + HOUR));
    let statuses: Vec<Status> = messages.iter().map(|m| m.alert.status).collect();
    assert_eq!(statuses, [Status::Opened, Status::Updated, Status::Resolved]);
    assert_eq!((messages[1].alert.count, messages[1].log_time), (2, at(10) + MINUTE + 1));
    assert_eq!(messages[2].alert.resolved_at, Some(at(10) + 2 * MINUTE));
    assert_eq!(messages[2].alert.value, Fixed::from(1), "the smallest where little is asked for");
}

#[test]
fn an_exact_value_is_what_it_was_when_nothing_more_could_come() {
    let parts = vec![(Ask::Eq, Fixed::from(2))];
    let rule = CaseRule { parts, lateness: MINUTE, ..CaseRule::counting(1, MINUTE) };
    let [two, three] = [&[0, 10][..], &[0, 10, 5]]
        .map(|times| alerts(&case(&rule, seconds(times).into_iter().chain([What::Tick(at(71))]))));
    assert_eq!(two[0].opened_at, at(10));
    assert_eq!(three[0].opened_at, at(5), "the window at 10 has three, the one at 5 two");
}

#[test]
fn an_average_is_decided_late_and_leaves_nulls_out() {
    let parts = vec![(Ask::Gt, Fixed::from(10))];
    let measure = Measure::Avg(Number::Tokens);
    let rule = CaseRule { measure, parts, lateness: MINUTE, ..CaseRule::counting(1, MINUTE) };
    let tokens = |s, tokens| What::Record(Record { tokens, ..Record::at(at(s), 0) });
    let records = [tokens(0, Some(10)), tokens(1, None), tokens(2, Some(11)), tokens(3, Some(11))];
    assert_eq!(alerts(&case(&rule, records.clone())), []);
    let whats = records.into_iter().chain([What::Tick(at(64))]);
    let alerts = alerts(&case(&rule, whats));
    assert_eq!((alerts[0].opened_at, alerts[0].value), (at(2), Fixed(10_500_000_000)));
    let end = alerts.last().expect("open at the end");
    assert_eq!((end.count, end.value), (4, Fixed(10_666_666_666)), "32 / 3, rounded down");
}

#[test]
fn for_asks_that_the_condition_stays_true() {
    let hold_for = 30 * SECOND;
    let rule = CaseRule { hold_for, ..CaseRule::counting(3, MINUTE) };
    assert_eq!(alerts(&case(&rule, seconds(&[0, 10, 31]))), []);
    for times in [[0, 10, 20], [0, 15, 30]] {
        let alerts = alerts(&case(&rule, seconds(&times)));
        assert_eq!(alerts[0].opened_at, at(times[2]), "{times:?}");
        assert_eq!(alerts[0].window.start, at(times[2]) - MINUTE, "{times:?}");
    }
}

fn expecting() -> CaseRule {
    CaseRule { lateness: MINUTE, ..CaseRule::expecting(5 * MINUTE) }
}

#[test]
fn silence_is_told_once_when_it_can_no_longer_be_broken_and_ends_with_the_next_event() {
    let due = 6 * MINUTE + 1;
    let quiet = |end| case(&expecting(), [event(0), What::Tick(START + end)]);
    assert_eq!(alerts(&quiet(due - 1)), []);
    let messages = said(&quiet(due));
    assert_eq!(messages.len(), 2, "opened, open at the end");
    let alert = &messages[0].alert;
    assert_eq!((alert.opened_at, alert.count, alert.value), (at(300), 0, Fixed::default()));
    assert_eq!((alert.window.start, alert.window.end, alert.last_at), (at(0), at(300), at(0)));
    assert_eq!(messages[0].log_time, START + due);
    assert_eq!(said(&quiet(DAY)).len(), 2, "once");

    let whats = [event(0), What::Tick(at(1000)), event(2000)];
    let messages = said(&case(&expecting(), whats));
    assert_eq!(messages.len(), 2);
    let ended = &messages[1].alert;
    assert_eq!((ended.status, ended.resolved_at), (Status::Resolved, Some(at(2000))));
    assert_eq!(ended.resolved_because, Some(ResolvedBecause::Seen));
}

#[test]
fn an_event_in_time_leaves_nothing_to_tell() {
    let regular = (0..20).map(|i| event(300 * i));
    assert_eq!(alerts(&case(&expecting(), regular)), []);
    let apart = alerts(&case(&expecting(), [event(0), event(301), event(601)]));
    assert_eq!(apart.len(), 2, "the silence before 301 is found when the clock has passed it");
    assert_eq!(statuses(&apart), [Status::Opened, Status::Resolved]);
    assert_eq!(apart[1].resolved_at, Some(at(301)));
}

#[test]
fn silence_that_lasts_a_day_is_given_up_and_the_key_forgotten() {
    let over = at(300) + DAY;
    let whats = [event(0), What::Tick(over), event(2 * 86_400), What::Tick(at(2 * 86_400 + 361))];
    let messages = said(&case(&expecting(), whats));
    let alerts = alerts(&case(&expecting(), [event(0), What::Tick(over + HOUR)]));
    assert_eq!(statuses(&alerts), [Status::Opened, Status::Resolved]);
    assert_eq!(alerts[1].resolved_at, Some(over));
    assert_eq!(alerts[1].resolved_because, Some(ResolvedBecause::Expired));
    assert_eq!(messages.len(), 4, "a key that comes back is expected again");
}

#[test]
fn a_repeated_record_counts_once_with_its_largest_count_in_any_order() {
    let rule = CaseRule::counting(1, MINUTE);
    let record = |count| {
        let record = Record { id: Some((0, 1)), count: Some(count), ..Record::at(at(0), 0) };
        What::Record(record)
    };
    for order in [[1, 5], [5, 1], [5, 5]] {
        let alerts = alerts(&case(&rule, order.map(record)));
        let end = alerts.last().expect("an alert");
        assert_eq!((end.count, end.value), (5, Fixed::from(5)), "{order:?}");
    }
    // The same id of another product is another event.
    let other = Record { id: Some((1, 1)), ..Record::at(at(0), 0) };
    let alerts = alerts(&case(&rule, [record(1), What::Record(other)]));
    assert_eq!(alerts.last().map(|a| a.count), Some(2));
}

#[test]
fn levels_rise_with_the_value_and_never_fall() {
    let levels = vec![(Level::Medium, Fixed::from(4)), (Level::Critical, Fixed::from(5))];
    let rule = CaseRule { levels, ..CaseRule::counting(3, MINUTE) };
    let alerts = alerts(&case(&rule, seconds(&[0, 1, 2, 3, 4, 100, 101, 102])));
    let levels: Vec<Level> = alerts.iter().map(|a| a.level).collect();
    assert_eq!(levels[..3], [Level::Low, Level::Medium, Level::Critical]);
    assert!(levels[3..].iter().all(|level| *level == Level::Critical));
}

#[test]
fn distinct_numbers_are_distinct_values() {
    let rule = CaseRule { measure: Measure::ValueCount, ..CaseRule::counting(3, MINUTE) };
    let yaml = yaml(&rule).replace("tool.target", "usage.input_tokens");
    let mut engine = Engine::new(rules(&yaml), false, ROOMY);
    for tokens in [1, 1, 2, 12] {
        engine.record(Record { tokens: Some(tokens), ..Record::at(at(0), 0) });
    }
    let messages = engine.finish().messages;
    assert_eq!(messages.first().map(|m| m.alert.value), Some(Fixed::from(3)));
}

#[test]
fn a_plain_detection_is_one_event_in_five_minutes_by_agent() {
    let denied = "title: Denied\nid: 11111111-1111-1111-1111-111111111111\nname: denied\n\
                logsource: {category: agent_audit}\nlevel: low\n\
                detection: {it: {outcome: denied}, condition: it}\n";
    let mut engine = Engine::new(rules(denied), false, ROOMY);
    for s in [0, 100] {
        engine.record(Record { outcome: Some(0), ..Record::at(at(s), 0) });
    }
    let messages = engine.finish().messages;
    let alert = &messages[0].alert;
    assert_eq!(alert.key.to_string(), "agent.id=(none)");
    assert_eq!((alert.window.start, alert.window.end), (at(-300), at(0)));
    assert_eq!(messages.last().map(|m| m.alert.count), Some(2));
}

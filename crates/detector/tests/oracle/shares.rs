//! Whether the random cases try anything: a generator that never fires tests nothing.

use std::collections::BTreeMap;

use lapwing_event::{Incomplete, Level, ResolvedBecause, Status};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::case::{Case, RULE_NAME};
use crate::generate::{Family, PIECE, cases, crowded_cases};
use crate::recount::{Outcome, recount};

/// Cases per family; always the same ones.
const CASES: usize = 1_000;

/// Of a thousand cases of a family, how many at least show something.
const FLOORS: [(Family, &[(&str, usize)]); 4] = [
    (
        Family::Counting,
        &[
            ("alert", 600),
            ("several alerts", 400),
            ("resolved quiet", 500),
            ("update", 300),
            ("level risen", 150),
            ("late event", 200),
            ("loss", 80),
            ("loss resolved", 50),
            ("incomplete alert", 40),
            ("lost evicted", 30),
            ("lost entries", 30),
            ("lost values", 3),
            ("lost open_alerts", 10),
            ("alert of EventCount", 200),
            ("alert of ValueCount", 80),
            ("alert of Sum(Tokens)", 80),
            ("alert of Sum(Cost)", 80),
            ("alert with for", 100),
        ],
    ),
    (
        Family::Temporal,
        &[
            ("alert", 450),
            ("resolved quiet", 350),
            ("update", 200),
            ("late event", 200),
            ("loss", 60),
            ("alert of Temporal", 200),
            ("alert of TemporalOrdered", 150),
        ],
    ),
    (
        Family::Late,
        &[
            ("alert", 500),
            ("resolved quiet", 400),
            ("update", 150),
            ("late event", 200),
            ("loss", 60),
            ("lost open_alerts", 10),
            ("alert of EventCount", 50),
            ("alert of ValueCount", 40),
            ("alert of Sum(Tokens)", 30),
            ("alert of Sum(Cost)", 40),
            ("alert of Avg(Tokens)", 80),
            ("alert of Avg(Cost)", 40),
            ("alert of Temporal", 50),
        ],
    ),
    (
        Family::Absence,
        &[
            ("alert", 700),
            ("resolved seen", 500),
            ("resolved expired", 250),
            ("late event", 200),
            ("loss", 60),
            ("lost open_alerts", 20),
        ],
    ),
];

#[test]
fn crowded_cases_fill_more_than_one_piece() {
    let mut runner = TestRunner::deterministic();
    let strategy = crowded_cases(Family::Counting);
    let mut case = || strategy.new_tree(&mut runner).expect("nothing is filtered").current();
    let crowded = (0..100).filter(|_| most_at_once(&case()) > PIECE).count();
    eprintln!(
        "of 100 crowded cases {crowded} have more than {PIECE} events in reach of each other"
    );
    assert!(crowded >= 40, "{crowded}");
}

/// The most events that lie within reach of one event: what a key may have to keep.
fn most_at_once(case: &Case) -> usize {
    let reach = case.rule.timespan + case.rule.lateness;
    let times: Vec<i64> = case.records().map(|r| r.time.min(r.log_time)).collect();
    let within = |last: &i64| times.iter().filter(|t| last - reach < **t && *t <= last).count();
    times.iter().map(within).max().unwrap_or(0)
}

#[test]
fn the_random_cases_try_everything_often_enough() {
    let mut missing = Vec::new();
    for (family, floors) in FLOORS {
        let shown = shares(family);
        eprintln!("{family:?}, of {CASES} cases: {shown:?}");
        for (what, floor) in floors {
            let cases = shown.get(*what).copied().unwrap_or(0);
            if cases < *floor {
                missing.push(format!("{family:?}: {what} in {cases} cases, not {floor}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

fn shares(family: Family) -> BTreeMap<String, usize> {
    let mut runner = TestRunner::deterministic();
    let strategy = cases(family);
    let mut shown = BTreeMap::new();
    for _ in 0..CASES {
        let case = strategy.new_tree(&mut runner).expect("nothing is filtered").current();
        for what in what_it_shows(&case, &recount(&case)) {
            *shown.entry(what).or_insert(0) += 1;
        }
    }
    shown
}

fn what_it_shows(case: &Case, outcome: &Outcome) -> Vec<String> {
    let all = || outcome.messages.iter().map(|m| &m.alert);
    let alerts = || all().filter(|a| &*a.rule.name == RULE_NAME);
    let losses = || all().filter(|a| &*a.rule.name != RULE_NAME);
    let opened = alerts().filter(|a| a.status == Status::Opened).count();
    let mut ids: Vec<_> = all().map(|a| (&a.id, a.revision)).collect();
    ids.sort_unstable();
    let mut shown = vec![
        ("alert", opened > 0),
        ("several alerts", opened > 1),
        ("update", alerts().any(|a| a.status == Status::Updated && !a.open_at_end)),
        ("level risen", alerts().any(|a| a.level > Level::Low)),
        ("open at the end", alerts().any(|a| a.open_at_end)),
        ("late event", !outcome.late.is_empty()),
        ("loss", losses().next().is_some()),
        ("loss resolved", losses().any(|a| a.status == Status::Resolved)),
        ("incomplete alert", alerts().any(|a| !a.complete)),
        ("alert with for", opened > 0 && case.rule.hold_for > 0),
        ("an id twice", ids.windows(2).any(|pair| pair[0] == pair[1])),
    ];
    shown.retain(|(_, is_shown)| *is_shown);
    let mut shown: Vec<String> = shown.into_iter().map(|(what, _)| what.to_owned()).collect();
    let ended = |because| alerts().any(|a| a.resolved_because == Some(because));
    let ends = ResolvedBecause::ALL.into_iter().filter(|because| ended(*because));
    shown.extend(ends.map(|because| format!("resolved {}", because.word())));
    let lost = |because| losses().any(|a| a.incomplete_because.contains(&because));
    let losses = Incomplete::ALL.into_iter().filter(|because| lost(*because));
    shown.extend(losses.map(|because| format!("lost {}", because.word())));
    shown.extend((opened > 0).then(|| format!("alert of {:?}", case.rule.measure)));
    shown
}

//! Random cases. Everything is decided by rolls of a byte: a failing case shrinks towards fewer
//! records and rolls of 0, and the first choice of every list here is the plainest.

use std::ops::Range;

use lapwing_event::{Fixed, Level};
use proptest::prelude::*;

use crate::case::{
    Ask, Bounds, Case, CaseRule, DAY, Group, HOUR, Kind, Measure, Number, Pick, ROOMY, Record,
    SECOND, START, Step, What,
};

/// Times are multiples of this, so that ties and boundaries are common.
const GRID: i64 = 10 * SECOND;
/// 2099-01-01T00:00:00Z and 1971-01-01T00:00:00Z.
const FORGED: [i64; 2] = [4_070_908_800 * SECOND, 31_536_000 * SECOND];

/// Which rules a case may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Counts, distinct values and sums, decided at arrival.
    Counting,
    /// Temporal rules, in order or not.
    Temporal,
    /// What waits until no event can come any more: upper bounds, exact values, averages.
    Late,
    /// Silence.
    Absence,
}

/// Cases of one family, with bounds that bite in a fifth of them.
pub(crate) fn cases(family: Family) -> impl Strategy<Value = Case> {
    cases_of(family, 0..60, World::of)
}

/// Entries of a key that the engine keeps in one piece; more of them take other ways.
pub(crate) const PIECE: usize = 128;

/// Cases of one family with hundreds of events in the windows of one key.
pub(crate) fn crowded_cases(family: Family) -> impl Strategy<Value = Case> {
    cases_of(family, 200..350, World::crowded)
}

fn cases_of(
    family: Family,
    records: Range<usize>,
    world_of: fn(&CaseRule, &mut Dice<'_>) -> World,
) -> impl Strategy<Value = Case> {
    let rolls = || any::<u8>();
    let records = prop::collection::vec(prop::array::uniform32(rolls()), records);
    (prop::array::uniform24(rolls()), prop::array::uniform16(rolls()), records).prop_map(
        move |(rule, world, records)| {
            let rule = rule_of(family, &mut Dice::new(&rule));
            let world = world_of(&rule, &mut Dice::new(&world));
            world.case(rule, &records)
        },
    )
}

/// Rolls, read one after the other; after the last one every roll is 0.
struct Dice<'a> {
    rolls: std::slice::Iter<'a, u8>,
}

impl<'a> Dice<'a> {
    fn new(rolls: &'a [u8]) -> Self {
        Self { rolls: rolls.iter() }
    }

    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        let roll = self.rolls.next().copied().unwrap_or(0);
        usize::from(roll) * limit / 256
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Yes in so many of a hundred.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) >= 100 - percent
    }

    /// A list index, or none in so many of a hundred.
    fn index(&mut self, len: usize, none_percent: usize) -> Option<u8> {
        let is_none = self.chance(none_percent);
        let index = self.below(len) as u8;
        (!is_none).then_some(index)
    }
}

fn rule_of(family: Family, dice: &mut Dice<'_>) -> CaseRule {
    use Measure::{Absence, Avg, EventCount, Sum, Temporal, TemporalOrdered, ValueCount};
    use Number::{Cost, Tokens};
    let measure = match family {
        Family::Counting => {
            dice.pick(&[EventCount, EventCount, ValueCount, Sum(Tokens), Sum(Cost)])
        }
        Family::Temporal => dice.pick(&[Temporal, TemporalOrdered]),
        Family::Late => dice.pick(&[
            EventCount,
            ValueCount,
            Sum(Tokens),
            Sum(Cost),
            Temporal,
            Avg(Tokens),
            Avg(Cost),
            Avg(Tokens),
        ]),
        Family::Absence => Absence,
    };
    let timespan = SECOND * dice.pick(&[60, 60, 30, 20, 10, 120, 300]);
    let picks = picks_of(measure, dice);
    let parts = parts_of(family, measure, picks.len() as i64, dice);
    let hold_for = SECOND * dice.pick(&[0, 0, 1, 10, 20, 50]);
    let may_hold = matches!(measure, EventCount | ValueCount) && family == Family::Counting;
    let mut rule = CaseRule {
        measure,
        picks,
        parts,
        timespan,
        hold_for: if may_hold && hold_for < timespan { hold_for } else { 0 },
        lateness: SECOND * dice.pick(&[60, 0, 10, 30, 120, 600]),
        resolve_after: timespan + SECOND * dice.pick(&[0, 0, 0, 10, 60, 600]),
        group_by: group_of(family, dice),
        skips_null_keys: dice.chance(30),
        levels: Vec::new(),
    };
    rule.levels = levels_of(&rule, dice);
    rule
}

fn group_of(family: Family, dice: &mut Dice<'_>) -> Vec<Group> {
    use Group::{Address, Session, Tool};
    let lists: &[&[Group]] = match family {
        // What tells the detections apart is left out of the key, or few would ever meet.
        Family::Temporal => &[&[Session], &[Session], &[], &[Session], &[Address, Session]],
        _ => &[&[Session], &[Session], &[], &[Tool, Session], &[Session, Tool, Address]],
    };
    dice.pick(lists).to_vec()
}

fn picks_of(measure: Measure, dice: &mut Dice<'_>) -> Vec<Pick> {
    use Pick::{Any, Denied, Exec, Write};
    let lists: &[&[Pick]] = match measure {
        Measure::Temporal => &[
            &[Denied, Exec],
            &[Exec, Write],
            &[Any, Denied],
            &[Exec, Write, Denied],
            &[Exec, Denied, Any],
        ],
        Measure::TemporalOrdered => &[
            &[Denied, Exec],
            &[Exec, Write],
            &[Any, Any],
            &[Exec, Denied, Exec],
            &[Write, Any, Denied],
            &[Exec, Exec, Any, Write],
        ],
        Measure::Absence => &[&[Any], &[Any], &[Denied]],
        _ => &[&[Any], &[Any], &[Any], &[Denied], &[Denied, Exec]],
    };
    dice.pick(lists).to_vec()
}

fn parts_of(
    family: Family,
    measure: Measure,
    picks: i64,
    dice: &mut Dice<'_>,
) -> Vec<(Ask, Fixed)> {
    use Ask::{Eq, Gt, Gte, Lt, Lte};
    // What one event gives, and how many of that a threshold asks for.
    let (unit, most) = match measure {
        Measure::Sum(Number::Tokens) => (Fixed::from(10), 5),
        Measure::Sum(Number::Cost) => (Fixed(100_000_000), 5),
        Measure::Avg(Number::Tokens) => (Fixed::from(5), 4),
        Measure::Avg(Number::Cost) => (Fixed(50_000_000), 4),
        Measure::ValueCount => (Fixed::from(1), 3),
        _ => (Fixed::from(1), 5),
    };
    let times = |n: i64| Fixed(unit.0 * i128::from(n));
    let least = 1 + dice.below(most) as i64;
    let shape = dice.below(8);
    match (family, measure) {
        (_, Measure::Absence | Measure::TemporalOrdered) => Vec::new(),
        (Family::Temporal, _) if shape < 6 => Vec::new(),
        (Family::Temporal, _) => vec![(Gte, times(2))],
        // Only what some windows fulfil and others do not is a condition.
        (_, Measure::Temporal) => match shape {
            0..=2 => vec![(Lt, times(picks))],
            3 => vec![(Lte, times(picks - 1))],
            6 | 7 if picks > 2 => vec![(Gte, times(2)), (Lt, times(3))],
            _ => vec![(Eq, times(least.min(picks)))],
        },
        (Family::Late, Measure::Avg(_)) if shape < 3 => vec![(Gte, times(least))],
        (Family::Late, _) => match shape {
            0 | 1 => vec![(Lt, times(least + 1))],
            2 => vec![(Lte, times(least))],
            3 | 4 => vec![(Eq, times(least))],
            5 => vec![(Gt, times(least)), (Lte, times(least + 2))],
            _ => vec![(Gte, times(least)), (Lt, times(least + 2))],
        },
        _ => match shape {
            0..=4 => vec![(Gte, times(least))],
            _ => vec![(Gt, times(least))],
        },
    }
}

fn levels_of(rule: &CaseRule, dice: &mut Dice<'_>) -> Vec<(Level, Fixed)> {
    let (has_levels, step, both) = (dice.chance(50), dice.pick(&[1, 2, 3]), dice.chance(50));
    let threshold = match rule.parts[..] {
        [(Ask::Gte, bound)] => bound,
        // The least value above it, where values are whole numbers.
        [(Ask::Gt, bound)] => Fixed(bound.0 + Fixed::from(1).0),
        _ => return Vec::new(),
    };
    let from = |n: i128| Fixed(threshold.0 * (1 + n * step));
    let mut levels = vec![(Level::Medium, from(1)), (Level::High, from(2))];
    levels.truncate(if both { 2 } else { 1 });
    if rule.measure == Measure::Temporal {
        levels.clear();
        levels.extend((rule.picks.len() > 2).then_some((Level::High, Fixed::from(3))));
    }
    levels.retain(|_| has_levels);
    levels
}

/// What the records of a case have in common.
struct World {
    bounds: Bounds,
    is_replayed: bool,
    /// How far the clock of each session is behind.
    lags: Vec<i64>,
    /// How log time moves on between records.
    paces: Vec<i64>,
    null_percent: usize,
    id_percent: usize,
    restart_percent: usize,
    /// How long log time passes at the end without a record.
    rest: i64,
}

impl World {
    fn of(rule: &CaseRule, dice: &mut Dice<'_>) -> Self {
        let is_tiny = dice.chance(25);
        let mut bound = |from: &[usize], roomy: usize| {
            let tiny = dice.pick(from);
            if is_tiny { tiny } else { roomy }
        };
        let bounds = Bounds {
            keys: bound(&[ROOMY.keys, 2, 3, 4], ROOMY.keys),
            entries: bound(&[ROOMY.entries, 3, 4, 6], ROOMY.entries),
            values: bound(&[2, 1, 3, ROOMY.values], ROOMY.values),
            open_alerts: bound(&[ROOMY.open_alerts, ROOMY.open_alerts, 1], ROOMY.open_alerts),
        };
        let sessions = dice.pick(&[1, 2, 3, 6]);
        let lag = |dice: &mut Dice<'_>| dice.pick(&[0, 0, 0, HOUR, 5 * HOUR, -2 * HOUR]);
        let quiet = rule.timespan + rule.resolve_after + rule.lateness;
        Self {
            bounds,
            lags: (0..sessions).map(|_| lag(dice)).collect(),
            paces: paces_of(dice.below(3), rule.timespan, quiet),
            is_replayed: dice.chance(25),
            null_percent: dice.pick(&[0, 10, 30]),
            id_percent: dice.pick(&[10, 40, 90]),
            restart_percent: dice.pick(&[0, 0, 5, 20]),
            rest: dice.pick(&[0, 0, quiet, quiet + HOUR, DAY + quiet, 3 * DAY]),
        }
    }

    /// One session whose events come thick and fast.
    fn crowded(rule: &CaseRule, dice: &mut Dice<'_>) -> Self {
        let mut world = Self::of(rule, dice);
        world.bounds = Bounds { entries: dice.pick(&[ROOMY.entries, 100, 140, 200]), ..ROOMY };
        world.lags.truncate(1);
        world.paces = [vec![0; 90], vec![GRID; 6], vec![SECOND, rule.timespan]].concat();
        world
    }

    fn case(&self, rule: CaseRule, records: &[[u8; 32]]) -> Case {
        let mut steps = Vec::new();
        let mut log_time = START;
        let mut before: Vec<Record> = Vec::new();
        for rolls in records {
            let dice = &mut Dice::new(rolls);
            let cut = dice.chance(20);
            let restart = dice.chance(self.restart_percent);
            let (pauses, pause) = (dice.chance(10), dice.pick(&self.paces));
            if pauses && pause > 0 {
                log_time += pause;
                steps.push(Step { what: What::Tick(log_time), cut, restart });
            }
            log_time += dice.pick(&self.paces);
            let (repeats, back) = (dice.chance(15), 1 + dice.below(6));
            let record = match before.len().checked_sub(back).filter(|_| repeats) {
                Some(at) => repeated(before[at], log_time, dice),
                None => self.record(&rule, log_time, dice),
            };
            before.push(record);
            steps.push(Step { what: What::Record(record), cut, restart });
        }
        if self.rest > 0 {
            let what = What::Tick(log_time + self.rest);
            steps.push(Step { what, cut: false, restart: false });
        }
        Case { rule, bounds: self.bounds, is_replayed: self.is_replayed, steps }
    }

    fn record(&self, rule: &CaseRule, log_time: i64, dice: &mut Dice<'_>) -> Record {
        let session = dice.index(self.lags.len(), self.null_percent / 2);
        let lag = session.map_or(0, |n| self.lags[usize::from(n)]);
        let (disorder, grids) = (dice.below(10), dice.below(21) as i64);
        let disorder = match disorder {
            0..6 => 0,
            6..8 => GRID * (grids / 3),
            8 => rule.lateness,
            _ => rule.lateness + GRID * grids,
        };
        let nudge = dice.pick(&[0, 0, 0, 0, 0, 0, 0, 0, 1, -1]);
        let time = log_time - lag - disorder + nudge;
        let forged = dice.below(100);
        let (has_id, id) = (dice.chance(self.id_percent), dice.below(24) as u8);
        Record {
            log_time,
            time: if forged >= 98 { FORGED[forged - 98] } else { time },
            kind: match dice.below(16) {
                14 => Kind::Other,
                15 => Kind::Rejected,
                _ => Kind::Tool,
            },
            session: session.map(u16::from),
            tool: dice.index(3, self.null_percent),
            address: dice.index(2, self.null_percent),
            outcome: dice.index(2, 10),
            id: has_id.then_some((id % 2, id)),
            count: dice.pick(&[None, None, None, Some(1), Some(2), Some(5), Some(1 << 40)]),
            target: dice.index(5, 15),
            tokens: dice.pick(&[Some(10), Some(0), Some(7), Some(20), Some(31), None]),
            cost: dice.pick(&[Some(250), Some(1), Some(100), Some(333), Some(-500), None]),
            reason: dice.index(3, 30),
        }
    }
}

/// How log time moves on: with many ties, at a walk, or in leaps.
fn paces_of(which: usize, timespan: i64, quiet: i64) -> Vec<i64> {
    let mut paces = vec![0, 0, 0, GRID, GRID, 2 * GRID, 3 * GRID];
    match which {
        0 => paces.extend([0, 0, 0, 0, GRID, GRID, GRID, SECOND]),
        1 => paces.extend([5 * GRID, timespan, timespan + GRID, quiet]),
        _ => paces.extend([timespan, quiet, quiet + GRID, HOUR, 7 * HOUR, DAY + HOUR]),
    }
    // A leap is rare even where there are leaps.
    paces.extend([0; 8]);
    paces.extend([GRID; 4]);
    paces
}

/// An earlier event again: as it was, or with something changed.
fn repeated(earlier: Record, log_time: i64, dice: &mut Dice<'_>) -> Record {
    let mut record = Record { log_time, ..earlier };
    match dice.below(8) {
        4 => record.time += GRID,
        5 => record.count = Some(record.count.unwrap_or(1).saturating_add(1)),
        6 => {
            record.target = dice.index(5, 0);
            record.tokens = Some(12);
            record.cost = Some(400);
        }
        7 => {
            record.tool = dice.index(3, 0);
            record.outcome = dice.index(2, 0);
            record.reason = dice.index(3, 0);
        }
        _ => {}
    }
    record
}

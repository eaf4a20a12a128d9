//! The events of one (rule, key) that can still lie in a window, and which windows hold.
//!
//! The window at event time e is (e − timespan, e]. The figure of each window (how many, how
//! much) is kept up to date as events come and go, in whatever order they come: every event adds
//! to the windows that contain it, unless what it stands for is counted there already.

mod chunk;
mod envelope;
mod list;
mod sequence;
#[cfg(test)]
mod tests;
mod times;

use hashbrown::HashMap;

use crate::entry::{Arrival, Entry, Fact};
use crate::plan::{Figure, Plan};
use crate::rule::Measure;

use envelope::{Weighed, difference};
use list::{Change, List, New, Step, Steps};
pub(crate) use list::{Found, Mark};
use sequence::Sequence;
use times::{Presence, Times};

/// Different records of one id that a key keeps: shippers repeat a record, they do not rewrite it
/// time and again.
pub(crate) const MAX_RECORDS_PER_ID: usize = 64;
/// Up to this many entries are searched for an id; beyond, ids are kept in a table.
const SEARCHED_IDS: usize = if cfg!(test) { 3 } else { 16 };

/// What became of an arrival.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Taken in.
    Added(Entry),
    /// Dropped: the same event is there already.
    Repeated,
    /// Dropped: its id has too many different records.
    TooManyRecords,
}

/// Entries and figures of a key.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(crate) list: List,
    measured: Measured,
    /// The records of each id; kept once there are many entries.
    ids: Option<HashMap<u64, Records>>,
    /// Whether two entries may have the same id.
    has_repeats: bool,
    /// What has entered at all, and what has left up to `edge`, the start of the newest window.
    entered: Figure,
    left: Figure,
    edge: i64,
}

/// What is kept of the facts of entries, by the kind of rule.
#[derive(Debug)]
enum Measured {
    /// Nothing beyond the entries.
    Weights,
    Values(Values),
    Positions(Vec<Times>),
    Sequence(Sequence),
}

/// The records of one id, by (time, offset).
#[derive(Debug)]
enum Records {
    One((i64, i64)),
    Several(Vec<(i64, i64)>),
}

/// The distinct values of a key and when they occurred.
#[derive(Debug, Default)]
struct Values {
    slots: HashMap<u128, u32>,
    table: Vec<(u128, Times)>,
    free: Vec<u32>,
}

/// What an entry changes of the figures.
#[derive(Debug, Default)]
struct Effect {
    /// Whether no other window can be changed, since none ends later.
    is_newest: bool,
    own: Steps,
    /// Steps of other entries, by the order of an entry, or before that of any at a time.
    others: Vec<((i64, i64), Steps)>,
    changes: Vec<Change>,
}

impl Windows {
    pub(crate) fn new(plan: &Plan) -> Self {
        let measured = match plan.measure {
            Measure::ValueCount(_) => Measured::Values(Values::default()),
            Measure::Temporal => {
                Measured::Positions((0..plan.positions).map(|_| Times::default()).collect())
            }
            Measure::TemporalOrdered => Measured::Sequence(Sequence::default()),
            _ => Measured::Weights,
        };
        Self {
            list: List::new(plan.tracks(), plan.threshold),
            measured,
            ids: None,
            has_repeats: false,
            entered: Figure::default(),
            left: Figure::default(),
            edge: i64::MIN,
        }
    }

    /// Distinct values that are kept.
    pub(crate) fn values(&self) -> usize {
        match &self.measured {
            Measured::Values(values) => values.slots.len(),
            _ => 0,
        }
    }

    /// The digests of distinct values, by the places that entries name.
    pub(crate) fn value_table(&self) -> Vec<u128> {
        match &self.measured {
            Measured::Values(values) => values.table.iter().map(|(digest, _)| *digest).collect(),
            _ => Vec::new(),
        }
    }

    /// Windows of entries that were kept, with the marks they had.
    pub(crate) fn restore(plan: &Plan, kept: impl Iterator<Item = (Arrival, Mark)>) -> Self {
        // Nothing is decided anew.
        let quiet = plan.undecided();
        let mut windows = Self::new(&quiet);
        let mut marks = Vec::new();
        for (arrival, mark) in kept {
            windows.insert(&arrival, &quiet, &mut Found::default());
            marks.push(mark);
        }
        windows.list.restore(plan.threshold, &marks);
        windows
    }

    /// Whether two entries may have the same id.
    pub(crate) fn has_repeats(&self) -> bool {
        self.has_repeats
    }

    /// The figure of the window at a time at which an entry lies.
    pub(crate) fn figure(&self, end: i64) -> Figure {
        self.list.window(end).map(|(_, figure)| figure).unwrap_or_default()
    }

    /// Takes an event in; finds the windows that begin to hold, if they are decided at arrival.
    pub(crate) fn insert(&mut self, arrival: &Arrival, plan: &Plan, found: &mut Found) -> Taken {
        let mut entry = arrival.entry;
        if let (Measured::Values(values), Some(digest)) = (&mut self.measured, arrival.value) {
            entry.fact = Fact::value(values.slot(digest));
        }
        let records = self.records_of(entry.id);
        let refused = match &records[..] {
            records if records.iter().any(|r| entry.is_repeated_by(r)) => Some(Taken::Repeated),
            records if records.len() >= MAX_RECORDS_PER_ID => Some(Taken::TooManyRecords),
            _ => None,
        };
        if let Some(refused) = refused {
            self.forget_unused(entry.fact);
            return refused;
        }
        self.put(entry, &records, plan, found);
        Taken::Added(entry)
    }

    /// Puts an entry in its place and changes the figures accordingly.
    fn put(&mut self, entry: Entry, records: &[Entry], plan: &Plan, found: &mut Found) {
        self.has_repeats |= !records.is_empty();
        let effect = self.effect(&entry, records, plan);
        self.apply(&effect, 1, found);
        self.remember(&entry);
        let tie = if effect.is_newest { None } else { self.list.window(entry.time) };
        let (mut mark, figure) = match tie {
            Some(window) => window,
            None => {
                let mut figure = match effect.is_newest {
                    true => self.newest_figure(entry.time, plan.span),
                    false => self.figure_at(entry.time, plan.span),
                };
                for (figure, own) in figure.iter_mut().zip(effect.own) {
                    *figure += i128::from(own.enter);
                }
                (Mark::Open, figure)
            }
        };
        self.count_step(entry.time, effect.own);
        if mark == Mark::Open && plan.at_arrival && self.holds(entry.time, figure, plan) {
            mark = Mark::Held;
            if tie.is_some() {
                self.list.mark(entry.time, mark);
            }
            found.ends.push(entry.time);
            found.largest = found.largest.max(Some(figure[0]));
        }
        self.list.insert(&New { entry, mark, figure, steps: effect.own });
        if let (Measured::Sequence(sequence), true) = (&self.measured, plan.at_arrival) {
            for (from, to) in sequence.holding(entry.time, plan.positions, plan.span) {
                self.list.hold(from, to, found);
            }
            if !found.ends.is_empty() {
                found.largest = Some(plan.positions as i128);
            }
        }
        if found.ends.len() > 1 {
            found.ends.sort_unstable();
            found.ends.dedup();
        }
    }

    /// Whether the window that an entry opens holds.
    fn holds(&self, end: i64, figure: Figure, plan: &Plan) -> bool {
        match &self.measured {
            Measured::Sequence(sequence) => sequence.holds(end, plan.positions, plan.span),
            _ => figure[0] >= plan.threshold,
        }
    }

    /// Counts steps at a time in the sums that give the figure of the newest window.
    fn count_step(&mut self, time: i64, steps: Steps) {
        for (n, step) in steps.iter().enumerate() {
            self.entered[n] += i128::from(step.enter);
            if time <= self.edge {
                self.left[n] += i128::from(step.leave);
            }
        }
    }

    /// The figure of the window at a time after all entries, without what enters there.
    fn newest_figure(&mut self, time: i64, span: i64) -> Figure {
        let edge = time.saturating_sub(span);
        let left = self.list.leaves_until(self.edge, edge);
        self.edge = edge;
        let mut figure = Figure::default();
        for (n, figure) in figure.iter_mut().enumerate() {
            self.left[n] += left[n];
            *figure = self.entered[n] - self.left[n];
        }
        figure
    }

    /// The figure of the window at a time before the newest entry, without what enters there.
    ///
    /// It is worked out from the newest window, since events that come late come a little late.
    fn figure_at(&self, time: i64, span: i64) -> Figure {
        let from = time.saturating_sub(span);
        let enters = self.list.enters_after(time);
        let leaves = match from <= self.edge {
            true => self.list.leaves_between(from, self.edge).map(|left| -left),
            false => self.list.leaves_between(self.edge, from),
        };
        let mut figure = Figure::default();
        for (n, figure) in figure.iter_mut().enumerate() {
            *figure = self.entered[n] - enters[n] - self.left[n] - leaves[n];
        }
        figure
    }

    /// What an entry changes, given the other records of its id.
    fn effect(&self, entry: &Entry, records: &[Entry], plan: &Plan) -> Effect {
        let is_newest = self.list.last_time().is_none_or(|last| entry.time > last);
        let mut effect = Effect { is_newest, ..Effect::default() };
        match &self.measured {
            Measured::Weights => {
                for track in 0..plan.tracks() {
                    effect.weigh(entry, records, plan, track);
                }
            }
            Measured::Values(values) => {
                if let Some(slot) = entry.fact.as_value() {
                    effect.add(&values.table[slot as usize].1, entry.time, plan.span);
                }
            }
            Measured::Positions(positions) => {
                for times in of_positions(positions, entry.fact) {
                    effect.add(times, entry.time, plan.span);
                }
            }
            Measured::Sequence(_) => {}
        }
        effect
    }

    /// Applies an effect to the entries that are there, or takes it back.
    fn apply(&mut self, effect: &Effect, sign: i64, found: &mut Found) {
        for (order, steps) in &effect.others {
            let steps = steps.map(|s| Step { enter: sign * s.enter, leave: sign * s.leave });
            self.list.change_steps(*order, steps);
            self.count_step(order.0, steps);
        }
        for change in &effect.changes {
            let by = change.by.map(|by| by * i128::from(sign));
            self.list.change(Change { by, ..*change }, found);
        }
    }

    /// Forgets the entries that lie at or before a time: no window that can still change has them.
    pub(crate) fn trim(&mut self, horizon: i64, plan: &Plan) {
        while self.list.first_time().is_some_and(|first| first <= horizon) {
            self.remove_first(plan, false);
        }
        self.shrink();
    }

    /// Forgets the oldest entry; windows do not count it any more.
    pub(crate) fn drop_first(&mut self, plan: &Plan) {
        self.remove_first(plan, true);
        self.shrink();
    }

    fn shrink(&mut self) {
        if self.list.len() <= SEARCHED_IDS / 2 {
            self.ids = None;
        }
        self.has_repeats &= self.list.len() > 1;
    }

    fn remove_first(&mut self, plan: &Plan, changes_figures: bool) {
        let Some((entry, stored)) = self.list.pop_first() else { return };
        self.forget(&entry);
        let records = self.records_of(entry.id);
        let mut effect = self.effect(&entry, &records, plan);
        if !changes_figures {
            effect.changes.clear();
        }
        let minus = |s: Step| Step { enter: -s.enter, leave: -s.leave };
        self.count_step(entry.time, stored.map(minus));
        self.apply(&effect, -1, &mut Found::default());
        // Steps of other entries at the same time may have stood with this one.
        let heir = records.iter().find(|r| r.time == entry.time).map(Entry::order);
        let mut rest = stored;
        for (rest, own) in rest.iter_mut().zip(effect.own) {
            rest.enter -= own.enter;
            rest.leave -= own.leave;
        }
        if rest != Steps::default() {
            self.list.change_steps(heir.unwrap_or(first_at(entry.time)), rest);
            self.count_step(entry.time, rest);
        }
        self.forget_unused(entry.fact);
    }

    /// The other records of an id, in order.
    pub(crate) fn records_of(&self, id: u64) -> Vec<Entry> {
        if id == 0 {
            return Vec::new();
        }
        let Some(ids) = &self.ids else {
            return self.list.iter().map(|(e, _)| *e).filter(|e| e.id == id).collect();
        };
        let at = |order: &(i64, i64)| self.list.find(*order).copied();
        match ids.get(&id) {
            None => Vec::new(),
            Some(Records::One(order)) => at(order).into_iter().collect(),
            Some(Records::Several(orders)) => orders.iter().filter_map(at).collect(),
        }
    }

    /// Keeps the id and the fact of an entry that is about to be in the list.
    fn remember(&mut self, entry: &Entry) {
        match &mut self.measured {
            Measured::Weights => {}
            Measured::Values(values) => {
                if let Some(slot) = entry.fact.as_value() {
                    values.table[slot as usize].1.add(entry.time);
                }
            }
            Measured::Positions(positions) => {
                of_positions_mut(positions, entry.fact).for_each(|times| times.add(entry.time));
            }
            Measured::Sequence(sequence) => sequence.add(entry.fact.as_positions(), entry.time),
        }
        if self.ids.is_none() && self.list.len() >= SEARCHED_IDS {
            let mut ids = HashMap::new();
            self.list.iter().for_each(|(e, _)| remember_id(&mut ids, e));
            self.ids = Some(ids);
        }
        if let Some(ids) = &mut self.ids {
            remember_id(ids, entry);
        }
    }

    fn forget(&mut self, entry: &Entry) {
        match &mut self.measured {
            Measured::Weights => {}
            Measured::Values(values) => {
                if let Some(slot) = entry.fact.as_value() {
                    values.table[slot as usize].1.remove(entry.time);
                }
            }
            Measured::Positions(positions) => {
                of_positions_mut(positions, entry.fact).for_each(|times| times.remove(entry.time));
            }
            Measured::Sequence(sequence) => sequence.remove(entry.fact.as_positions(), entry.time),
        }
        if let Some(ids) = &mut self.ids {
            forget_id(ids, entry);
        }
    }

    /// Forgets the value of an entry if no entry has it.
    fn forget_unused(&mut self, fact: Fact) {
        if let (Measured::Values(values), Some(slot)) = (&mut self.measured, fact.as_value()) {
            values.free_if_unused(slot);
        }
    }
}

impl Effect {
    /// Something is present at one time more.
    fn add(&mut self, times: &Times, time: i64, span: i64) {
        if times.count(time) > 0 {
            return;
        }
        let presence = Presence::new(time, times.before(time), times.after(time), span);
        self.own[0].enter += presence.own.enter;
        self.own[0].leave += presence.own.leave;
        for (time, step) in presence.others {
            if step != Step::default() {
                self.others.push((first_at(time), [step, Step::default()]));
            }
        }
        self.changes.extend(presence.change(1).filter(|_| !self.is_newest));
    }

    /// A record weighs in, beside the other records of its id.
    fn weigh(&mut self, entry: &Entry, records: &[Entry], plan: &Plan, track: usize) {
        let Some(weight) = weight(entry, plan.measure, track) else { return };
        let weighed = |e: &Entry| Some((e.time, self::weight(e, plan.measure, track)?));
        let mut all: Vec<Weighed> = records.iter().filter_map(weighed).collect();
        if all.is_empty() {
            self.own[track] = Step { enter: weight, leave: weight };
            let to = entry.time.saturating_add(plan.span);
            if !self.is_newest {
                self.change(track, Change { from: entry.time, to, by: [i128::from(weight), 0] });
            }
            return;
        }
        let before = all.clone();
        all.push((entry.time, weight));
        let found = difference(&before, &all, plan.span);
        // Steps stand with a record of this id, so that none outgrows what a record weighs.
        for (time, step) in found.steps {
            match records.iter().find(|r| r.time == time) {
                None => self.own[track] = step,
                Some(record) => {
                    let mut steps = Steps::default();
                    steps[track] = step;
                    self.others.push((record.order(), steps));
                }
            }
        }
        found.changes.into_iter().for_each(|c| self.change(track, c));
    }

    fn change(&mut self, track: usize, mut change: Change) {
        if track == 1 {
            change.by.swap(0, 1);
        }
        self.changes.push(change);
    }
}

/// Before the order of any entry at a time.
fn first_at(time: i64) -> (i64, i64) {
    (time, i64::MIN)
}

/// What an entry weighs in a number of the figure; `None` if it has nothing to add.
fn weight(entry: &Entry, measure: Measure, track: usize) -> Option<i64> {
    match measure {
        Measure::EventCount => Some(i64::from(entry.count)),
        Measure::ValueSum(_) => entry.fact.as_number(),
        Measure::ValueAvg(_) => {
            entry.fact.as_number().map(|number| if track == 0 { number } else { 1 })
        }
        _ => None,
    }
}

fn of_positions(positions: &[Times], fact: Fact) -> impl Iterator<Item = &Times> {
    let bits = fact.as_positions();
    positions.iter().enumerate().filter(move |(n, _)| bits & (1 << n) != 0).map(|(_, t)| t)
}

fn of_positions_mut(positions: &mut [Times], fact: Fact) -> impl Iterator<Item = &mut Times> {
    let bits = fact.as_positions();
    positions.iter_mut().enumerate().filter(move |(n, _)| bits & (1 << n) != 0).map(|(_, t)| t)
}

fn remember_id(ids: &mut HashMap<u64, Records>, entry: &Entry) {
    if entry.id == 0 {
        return;
    }
    let order = entry.order();
    ids.entry(entry.id)
        .and_modify(|records| match records {
            Records::One(first) => {
                let mut orders = vec![*first, order];
                orders.sort_unstable();
                *records = Records::Several(orders);
            }
            Records::Several(orders) => {
                let at = orders.partition_point(|o| *o < order);
                orders.insert(at, order);
            }
        })
        .or_insert(Records::One(order));
}

fn forget_id(ids: &mut HashMap<u64, Records>, entry: &Entry) {
    match ids.get_mut(&entry.id) {
        Some(Records::Several(orders)) if orders.len() > 1 => {
            orders.retain(|o| *o != entry.order());
        }
        Some(_) => drop(ids.remove(&entry.id)),
        None => {}
    }
}

impl Values {
    /// The place of a value, new or not.
    fn slot(&mut self, digest: u128) -> u32 {
        if let Some(slot) = self.slots.get(&digest) {
            return *slot;
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                self.table[slot as usize] = (digest, Times::default());
                slot
            }
            None => {
                self.table.push((digest, Times::default()));
                self.table.len() as u32 - 1
            }
        };
        self.slots.insert(digest, slot);
        slot
    }

    fn free_if_unused(&mut self, slot: u32) {
        let (digest, times) = &self.table[slot as usize];
        if times.is_empty() && self.slots.get(digest) == Some(&slot) {
            self.slots.remove(digest);
            self.free.push(slot);
        }
    }
}

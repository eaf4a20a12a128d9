//! The plain recount: what a case must raise by the specification of windows. Lists, everything
//! worked out anew after each record; no state but what the specification calls state, no code
//! of the engine.

mod alert;
mod bounds;
mod key;
mod loss;
mod window;

use std::collections::{BTreeMap, BTreeSet};

use lapwing_event::{Fixed, Incomplete, KeyValue, Message, ResolvedBecause, Status};

use self::alert::OpenAlert;
use self::key::{Key, place};
use self::loss::{Loss, Lost};
use self::window::{Entry, holds};
use crate::case::{Case, CaseRule, DAY, Kind, Measure, Record, What};

/// Different entries that may share an id.
const ENTRIES_PER_ID: usize = 64;
/// An alert about absence is given up after this long.
const EXPECTED_AT_MOST: i64 = DAY;

/// What a case must raise: the messages without their texts, in order, and the offsets of the
/// events that came too late.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) messages: Vec<Message>,
    pub(crate) late: Vec<i64>,
}

impl Outcome {
    /// The messages as they are compared: by id and revision, as far as these tell them apart.
    pub(crate) fn sorted(mut self) -> Self {
        let id = |m: &Message| (m.alert.id.clone(), m.alert.revision);
        self.messages.sort_by_key(id);
        self
    }

    /// What a recount can know of it.
    pub(crate) fn without_texts(mut self) -> Self {
        for Message { alert, .. } in &mut self.messages {
            for text in [&mut alert.title, &mut alert.description, &mut alert.next_step] {
                text.clear();
            }
        }
        self
    }
}

/// Recounts a case.
pub(crate) fn recount(case: &Case) -> Outcome {
    let mut recount = Recount {
        case,
        rule: &case.rule,
        keys: Vec::new(),
        log_time: i64::MIN,
        evicted_until: i64::MIN,
        loss: None,
        outcome: Outcome::default(),
    };
    let mut offset = 0;
    for step in &case.steps {
        match &step.what {
            What::Tick(log_time) => recount.advance(*log_time),
            What::Record(record) => {
                recount.advance(record.log_time);
                recount.arrive(record, offset);
                offset += 1;
            }
        }
    }
    recount.finish();
    recount.outcome
}

struct Recount<'a> {
    case: &'a Case,
    rule: &'a CaseRule,
    /// The least recently touched first.
    keys: Vec<Key>,
    log_time: i64,
    /// The newest event time of any key that was evicted.
    evicted_until: i64,
    loss: Option<Loss>,
    outcome: Outcome,
}

/// Something that waits for a key's clock; of two at the same time, the first here is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The window that ends here is decided, or the silence after it.
    Decision(i64),
    /// The alert is over.
    Resolution,
}

impl Recount<'_> {
    /// Lets log time pass: what falls due on the way happens in the order of log time, then of
    /// the key.
    fn advance(&mut self, log_time: i64) {
        self.log_time = self.log_time.max(log_time);
        loop {
            let keys = self.keys.iter().filter_map(|key| {
                let (clock, due) = self.next_due(key)?;
                Some((self.reached(key, clock), Some((key.values.clone(), due))))
            });
            let loss = self.loss.iter().map(|loss| (loss.due, None));
            let next = keys.chain(loss).min().filter(|(at, _)| *at <= self.log_time);
            match next {
                None => return,
                Some((at, Some((values, due)))) => self.fire(&values, due, at),
                Some((_, None)) => {
                    let message = self.loss.take().map(|mut loss| loss.resolved());
                    self.outcome.messages.extend(message);
                }
            }
        }
    }

    /// Lets happen what the clock of a key has reached at an arrival of its own.
    fn settle(&mut self, values: &[KeyValue]) {
        while let Some(index) = self.find(values)
            && let Some((at, due)) = self.next_due(&self.keys[index])
            && at <= self.clock(&self.keys[index])
        {
            self.fire(values, due, self.log_time);
        }
    }

    /// The log time at which the clock of a key reached something.
    fn reached(&self, key: &Key, at: i64) -> i64 {
        at + key.skew + self.case.slack()
    }

    fn find(&self, values: &[KeyValue]) -> Option<usize> {
        self.keys.iter().position(|k| k.values == values)
    }

    fn clock(&self, key: &Key) -> i64 {
        key.newest.max(self.log_time - key.skew - self.case.slack())
    }

    fn is_dead(&self, key: &Key) -> bool {
        let last = key.newest + self.rule.timespan + self.rule.lateness;
        key.alert.is_none() && self.clock(key) > last
    }

    /// What happens next on the clock of a key, and when.
    fn next_due(&self, key: &Key) -> Option<(i64, Due)> {
        let rule = self.rule;
        let is_absence = rule.measure == Measure::Absence;
        let wait = rule.lateness + 1 + if is_absence { rule.timespan } else { 0 };
        let decisions = key.undecided(rule).map(|end| (end + wait, Due::Decision(end)));
        let resolution = key.alert.as_ref().map(|alert| {
            let at = match is_absence {
                true => alert.opened_at + EXPECTED_AT_MOST,
                false => alert.quiet_at(rule),
            };
            (at, Due::Resolution)
        });
        decisions.chain(resolution).min()
    }

    fn fire(&mut self, values: &[KeyValue], due: Due, log_time: i64) {
        let index = self.find(values).expect("the key that is due");
        match (due, self.rule.measure) {
            (Due::Decision(after), Measure::Absence) => self.judge(index, after, log_time),
            (Due::Decision(end), _) => {
                let newly = self.decide(index, end);
                let at = self.place_of(index, end);
                self.absorb(index, &newly, end, at, log_time);
                self.speak(index, log_time);
            }
            (Due::Resolution, Measure::Absence) => {
                let at = self.keys[index].alert.as_ref().map(|a| a.opened_at + EXPECTED_AT_MOST);
                let at = at.expect("an alert is due");
                self.resolve(index, at, ResolvedBecause::Expired, log_time);
                self.keys.retain(|key| key.values != values);
            }
            (Due::Resolution, _) => {
                let at = self.keys[index].alert.as_ref().map(|a| a.quiet_at(self.rule));
                let at = at.expect("an alert is due");
                self.resolve(index, at, ResolvedBecause::Quiet, log_time);
            }
        }
    }

    /// Decides one window.
    fn decide(&mut self, index: usize, end: i64) -> BTreeMap<i64, Fixed> {
        let key = &mut self.keys[index];
        key.decided.insert(end);
        let value = holds(self.rule, &key.entries, end);
        value.into_iter().map(|value| (end, value)).collect()
    }

    /// The first entry at a time, which stands for a decision that no record brought about.
    fn place_of(&self, index: usize, time: i64) -> Lost {
        let at = self.keys[index].entries.iter().filter(|e| e.time == time);
        at.map(place).min().expect("an entry at each time that is decided")
    }

    /// Decides whether a key was silent after a time.
    fn judge(&mut self, index: usize, after: i64, log_time: i64) {
        let rule = self.rule;
        let key = &mut self.keys[index];
        key.decided.insert(after);
        let until = after + rule.timespan;
        if key.entries.iter().any(|e| after < e.time && e.time <= until) {
            return;
        }
        if self.is_full() {
            let at = self.place_of(index, after);
            self.lose(Incomplete::OpenAlerts, at, log_time);
            if self.keys[index].undecided(rule).next().is_none() {
                self.keys.remove(index);
            }
            return;
        }
        let key = &mut self.keys[index];
        let mut alert = OpenAlert::new(until);
        alert.windows.push((until, Fixed::default()));
        alert.counted = key.entries.iter().filter(|e| e.time == after).copied().collect();
        key.alert = Some(alert);
        let seen = key.entries.iter().map(|e| e.time).filter(|time| *time > after).min();
        self.speak(index, log_time);
        if let Some(seen) = seen {
            self.resolve(index, seen, ResolvedBecause::Seen, log_time);
        }
    }

    /// Evaluates a record, after everything due by its log time has happened.
    fn arrive(&mut self, record: &Record, offset: i64) {
        let Some(entry) = self.entry(record, offset) else { return };
        let values = record.key(&self.rule.group_by);
        if self.rule.skips_null_keys && values.contains(&KeyValue::Null) {
            return;
        }
        let Some(index) = self.find_or_add(&values, &entry) else { return };
        let key = &mut self.keys[index];
        if entry.time < key.newest - self.rule.lateness {
            self.outcome.late.push(offset);
            return;
        }
        key.newest = key.newest.max(entry.time);
        key.skew = key.skew.min(self.log_time - entry.time);
        self.settle(&values);
        // A key that waited for an event may just have been given up.
        let index = self.find(&values).unwrap_or_else(|| self.add(&values, &entry));
        self.touch(index);
        self.take_in(&values, entry);
        self.settle(&values);
    }

    /// The event as windows see it, if the rule selects it.
    fn entry(&self, record: &Record, offset: i64) -> Option<Entry> {
        let selects = self.rule.picks.iter().map(|pick| pick.selects(record));
        let mask = selects.enumerate().fold(0, |mask, (i, is_it)| mask | u8::from(is_it) << i);
        let measure = self.rule.measure;
        let is_temporal = matches!(measure, Measure::Temporal | Measure::TemporalOrdered);
        (record.kind == Kind::Tool && mask != 0).then(|| Entry {
            time: record.time.min(self.log_time),
            offset,
            count: record.count.unwrap_or(1).clamp(1, i64::from(u32::MAX)) as u64,
            id: record.id,
            mask: if is_temporal { mask } else { 0 },
            value: record.target.filter(|_| measure == Measure::ValueCount),
            number: match measure {
                Measure::Sum(number) | Measure::Avg(number) => record.number(number),
                _ => None,
            },
            reason: record.reason,
        })
    }

    /// The key of an event; `None` if there is no room for it.
    fn find_or_add(&mut self, values: &[KeyValue], entry: &Entry) -> Option<usize> {
        if let Some(index) = self.find(values) {
            if !self.is_dead(&self.keys[index]) {
                return Some(index);
            }
            self.keys.remove(index);
        }
        self.make_room(place(entry)).then(|| self.add(values, entry))
    }

    fn add(&mut self, values: &[KeyValue], entry: &Entry) -> usize {
        let is_after_eviction = entry.time - self.rule.timespan < self.evicted_until;
        self.keys.push(Key {
            values: values.to_vec(),
            newest: entry.time,
            skew: self.log_time - entry.time,
            entries: Vec::new(),
            decided: BTreeSet::new(),
            alert: None,
            lost: is_after_eviction.then_some(Incomplete::Evicted).into_iter().collect(),
        });
        self.keys.len() - 1
    }

    fn touch(&mut self, index: usize) {
        let key = self.keys.remove(index);
        self.keys.push(key);
    }

    fn take_in(&mut self, values: &[KeyValue], entry: Entry) {
        let index = self.find(values).expect("the key was found or added");
        let at = place(&entry);
        let same_id = self.keys[index].entries.iter().filter(|e| e.id == entry.id);
        let same_id: Vec<&Entry> = same_id.filter(|_| entry.id.is_some()).collect();
        if same_id.iter().any(|e| e.repeats(&entry)) {
            return;
        }
        if same_id.len() >= ENTRIES_PER_ID {
            self.keys[index].lost.insert(Incomplete::Entries);
            self.lose(Incomplete::Entries, at, self.log_time);
        } else {
            self.keys[index].entries.push(entry);
            self.keys[index].entries.sort_by_key(|e| (e.time, e.offset));
            if self.rule.measure == Measure::Absence {
                self.see(index, entry.time);
                self.settle(values);
            } else {
                let newly = self.newly_holding(index);
                let clock = self.clock(&self.keys[index]);
                self.absorb(index, &newly, clock, at, self.log_time);
            }
        }
        // A key that waits for nothing goes with the alert that could not be opened or has expired.
        if let Some(index) = self.find(values) {
            self.trim(index);
            self.keep_bounds(index, at);
            self.speak(index, self.log_time);
        }
    }

    /// Ends an alert about absence when the event came after all.
    fn see(&mut self, index: usize, time: i64) {
        let alert = self.keys[index].alert.as_ref();
        let after = alert.map(|a| (a.opened_at - self.rule.timespan, a.opened_at));
        if let Some((after, opened_at)) = after
            && time > after
        {
            let at = time.max(opened_at);
            self.resolve(index, at, ResolvedBecause::Seen, self.log_time);
        }
    }

    /// The windows that hold now and were not known to. Of a rule that decides late it is the one
    /// that ends at the arrival itself, if the key's clock had passed that already.
    fn newly_holding(&mut self, index: usize) -> BTreeMap<i64, Fixed> {
        let rule = self.rule;
        let clock = self.clock(&self.keys[index]);
        let key = &mut self.keys[index];
        let ends: BTreeSet<i64> = match rule.decides_at_arrival() {
            true => key.entries.iter().map(|e| e.time).collect(),
            false => key.undecided(rule).filter(|end| clock > end + rule.lateness).collect(),
        };
        let new = ends.iter().filter(|end| !key.decided.contains(end));
        let newly: BTreeMap<i64, Fixed> =
            new.filter_map(|end| Some((*end, holds(rule, &key.entries, *end)?))).collect();
        match rule.decides_at_arrival() {
            true => key.decided.extend(newly.keys()),
            false => key.decided.extend(ends),
        }
        newly
    }

    /// Opens the alert of a key or lets it grow.
    fn absorb(
        &mut self,
        index: usize,
        newly: &BTreeMap<i64, Fixed>,
        clock: i64,
        at: Lost,
        log_time: i64,
    ) {
        let is_full = self.is_full();
        let key = &mut self.keys[index];
        if let (None, Some(opened_at)) = (&key.alert, newly.keys().next()) {
            if is_full {
                self.lose(Incomplete::OpenAlerts, at, log_time);
                return;
            }
            key.alert = Some(OpenAlert::new(*opened_at));
        }
        if let Some(alert) = &mut key.alert {
            alert.absorb(self.rule, &key.entries, newly);
            if !newly.is_empty() {
                alert.last_told = alert.last_told.max(clock);
            }
        }
    }

    fn is_full(&self) -> bool {
        let open = self.keys.iter().filter(|k| k.alert.is_some()).count();
        open >= self.case.bounds.open_alerts
    }

    /// Gives the message that the alert of a key calls for, if any.
    fn speak(&mut self, index: usize, log_time: i64) {
        let key = &mut self.keys[index];
        let Some(alert) = &mut key.alert else { return };
        let status = if alert.revision == 0 { Status::Opened } else { Status::Updated };
        if alert.takes_stock(self.rule, &key.lost) {
            let message = alert.message(self.rule, &key.values, status, None, log_time);
            self.outcome.messages.push(message);
        }
    }

    fn resolve(&mut self, index: usize, at: i64, because: ResolvedBecause, log_time: i64) {
        let key = &mut self.keys[index];
        let mut alert = key.alert.take().expect("an alert to resolve");
        let (status, resolved) = (Status::Resolved, Some((at, because)));
        let message = alert.message(self.rule, &key.values, status, resolved, log_time);
        self.outcome.messages.push(message);
        self.touch(index);
    }

    /// Ends a bounded input.
    fn finish(&mut self) {
        for key in &mut self.keys {
            let Some(alert) = &mut key.alert else { continue };
            let status = Status::Updated;
            let mut message = alert.message(self.rule, &key.values, status, None, self.log_time);
            message.alert.open_at_end = true;
            self.outcome.messages.push(message);
        }
        let loss = self.loss.as_mut().map(|loss| loss.at_end(self.log_time));
        self.outcome.messages.extend(loss);
    }
}

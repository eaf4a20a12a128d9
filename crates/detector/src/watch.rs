//! One rule on one partition: its keys, what is due for them, and the bounds over all of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use lapwing_event::{Incomplete, Message, Partition, ResolvedBecause};

use crate::detector::{Limits, RuleStats};
use crate::entry::Arrival;
use crate::episode::{Facts, Place, Subject};
use crate::key::{Desk, Key};
use crate::keys::{Body, Keys, Opened};
use crate::loss::Loss;
use crate::name;
use crate::plan::Plan;
use crate::row::Row;
use crate::rule::{Measure, NullKeys, Rule};
use crate::single::Single;
use crate::window::Taken;

/// The state of one rule.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) keys: Keys,
    /// Keys by the log time at which something is due for them; a key may stand here several times,
    /// and only the time for which it is scheduled counts.
    queue: BinaryHeap<Reverse<(i64, u32)>>,
    open_alerts: usize,
    /// The newest event time of any key that was forgotten for want of room.
    pub(crate) evicted_until: Option<i64>,
    pub(crate) loss: Option<Loss>,
    pub(crate) stats: RuleStats,
    /// The name of the key at hand.
    name: Vec<u8>,
}

/// A queue that is not worth tidying up.
const MIN_QUEUE: usize = 64;

/// Where a rule watches.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) plan: &'a Plan,
    pub(crate) partition: &'a Partition,
    pub(crate) files: &'a [Arc<str>],
    pub(crate) limits: &'a Limits,
}

impl Scene<'_> {
    /// The log time at which the clock of a key shows `at`.
    fn log_time(&self, at: i64, least_skew: i64) -> i64 {
        let slack = self.partition.log_time_origin.slack();
        at.saturating_add(least_skew).saturating_add(slack)
    }

    /// Whether a key without alert is forgotten at a log time.
    fn is_past(&self, body: &Body, log_time: i64) -> bool {
        let (newest, least_skew) = body.clock();
        let last = newest.saturating_add(self.plan.timespan).saturating_add(self.plan.lateness);
        !body.has_alert() && log_time > self.log_time(last, least_skew)
    }
}

impl Watch {
    /// Alerts that are open, with the one about what was lost.
    pub(crate) fn open_alerts(&self) -> usize {
        self.open_alerts + usize::from(self.loss.is_some())
    }

    /// The log time at which something is due next.
    pub(crate) fn next_due(&self) -> i64 {
        let of_keys = self.queue.peek().map_or(i64::MAX, |Reverse((log_time, _))| *log_time);
        of_keys.min(self.loss.as_ref().map_or(i64::MAX, |loss| loss.due))
    }

    /// Does the first thing that is due; it is due.
    pub(crate) fn fire_first(&mut self, scene: &Scene<'_>, messages: &mut Vec<Message>) {
        let due = self.next_due();
        if let Some(loss) = self.loss.as_mut().filter(|loss| loss.due <= due) {
            let quiet = ResolvedBecause::Quiet;
            let message = loss.resolved(due, quiet, scene.rule, scene.partition, scene.files);
            messages.push(message);
            self.loss = None;
            return;
        }
        let mut slots = Vec::new();
        while self.queue.peek().is_some_and(|Reverse((log_time, _))| *log_time <= due) {
            let Some(Reverse((_, slot))) = self.queue.pop() else { break };
            let is_scheduled = |o: &&mut Opened| o.key.scheduled == due;
            if let Some(opened) = self.keys.opened(slot).filter(is_scheduled) {
                opened.key.scheduled = i64::MAX;
                slots.push((name::decode(&opened.name), slot));
            }
        }
        slots.sort_unstable();
        for (_, slot) in slots {
            self.fire_key(slot, due, scene, messages);
        }
    }

    /// Does what is due for a key at a log time.
    fn fire_key(
        &mut self,
        slot: u32,
        log_time: i64,
        scene: &Scene<'_>,
        messages: &mut Vec<Message>,
    ) {
        let had_alert = self.keys.body(slot).has_alert();
        let has_ended = self.at_desk(slot, scene, log_time, messages, |key, desk| {
            let clock = log_time.saturating_sub(scene.log_time(0, key.least_skew));
            key.fire_until(clock, log_time, desk);
        });
        // A key with an alert stands in no list; one whose alert ends is touched.
        if has_ended || had_alert != self.keys.body(slot).has_alert() {
            self.keys.touch(slot);
        }
        self.settle(slot, scene);
    }

    /// Evaluates a row that the rule selects; whether it was late.
    pub(crate) fn arrive(
        &mut self,
        row: &Row<'_>,
        positions: u16,
        scene: &Scene<'_>,
        messages: &mut Vec<Message>,
    ) -> bool {
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        let is_whole = row.write_key(&scene.rule.group_by, &mut name);
        self.stats.matched += 1;
        self.stats.keyed += u64::from(is_whole);
        let is_skipped = scene.rule.null_keys == NullKeys::Skip && !is_whole;
        let is_late = !is_skipped && {
            let arrival = row.arrival(scene.plan.measure, positions);
            self.arrive_at(&name, &arrival, row, scene, messages)
        };
        self.stats.late += u64::from(is_late);
        self.name = name;
        is_late
    }

    fn arrive_at(
        &mut self,
        name: &[u8],
        arrival: &Arrival,
        row: &Row<'_>,
        scene: &Scene<'_>,
        messages: &mut Vec<Message>,
    ) -> bool {
        let known = self.keys.find(name);
        let past = known.filter(|slot| scene.is_past(self.keys.body(*slot), row.log_time));
        if let Some(past) = past {
            self.keys.remove(past);
        }
        let Some(slot) = known.filter(|_| past.is_none()) else {
            self.begin(name, arrival, row, scene, messages);
            return false;
        };
        let newest = self.keys.body(slot).clock().0;
        if row.time < newest.saturating_sub(scene.plan.lateness) {
            return true;
        }
        self.keys.open(slot, scene.plan);
        self.take_in(slot, arrival, row, scene, messages);
        false
    }

    /// The first event of a key.
    fn begin(
        &mut self,
        name: &[u8],
        arrival: &Arrival,
        row: &Row<'_>,
        scene: &Scene<'_>,
        messages: &mut Vec<Message>,
    ) {
        if !self.make_room(arrival, row.log_time, scene, messages) {
            return;
        }
        let single = Single {
            entry: arrival.entry,
            value: arrival.value,
            skew: row.log_time.saturating_sub(row.time),
            is_after_eviction: self.is_after_eviction(row.time, scene),
        };
        if !Single::holds_alone(arrival, scene.plan) && scene.plan.at_arrival {
            let slot = self.keys.add(name, Body::Single(single.pack(name)));
            self.keys.touch(slot);
            return;
        }
        let mut key = Key::new(scene.plan, row.time, single.skew);
        key.lost.evicted = single.is_after_eviction;
        let opened = Opened { name: name.into(), key };
        let slot = self.keys.add(name, Body::Opened(Box::new(opened)));
        self.take_in(slot, arrival, row, scene, messages);
    }

    /// Whether a key that begins at a time may have been evicted with events of its window.
    fn is_after_eviction(&self, time: i64, scene: &Scene<'_>) -> bool {
        let horizon = time.saturating_sub(scene.plan.timespan);
        self.evicted_until.is_some_and(|until| horizon < until)
    }

    /// Takes an event into an open key.
    fn take_in(
        &mut self,
        slot: u32,
        arrival: &Arrival,
        row: &Row<'_>,
        scene: &Scene<'_>,
        messages: &mut Vec<Message>,
    ) {
        let learn = |facts: &mut Facts| facts.learn(row.facts(&scene.rule.facts));
        let is_after_eviction = self.is_after_eviction(row.time, scene);
        let mut is_repeated = false;
        self.at_desk(slot, scene, row.log_time, messages, |key, desk| {
            let skew = row.log_time.saturating_sub(row.time);
            key.newest = key.newest.max(row.time);
            key.least_skew = key.least_skew.min(skew);
            key.fire_until(key.newest, row.log_time, desk);
            if scene.plan.measure == Measure::Absence && key.next_due(scene.plan).is_none() {
                *key = Key::new(scene.plan, row.time, skew);
                key.lost.evicted = is_after_eviction;
            }
            let clock = row.log_time.saturating_sub(scene.log_time(0, key.least_skew));
            let clock = clock.max(key.newest);
            let taken = key.take_in(arrival, clock, row.log_time, &learn, desk);
            is_repeated = taken == Taken::Repeated;
            // What it brought about may be over: it lies in the past of the key's clock.
            key.fire_until(clock, row.log_time, desk);
        });
        self.stats.duplicates += u64::from(is_repeated);
        self.settle(slot, scene);
        self.keys.touch(slot);
    }

    /// Lets a key work; keeps the account of open alerts, and says what was lost. Whether an alert
    /// has ended.
    fn at_desk(
        &mut self,
        slot: u32,
        scene: &Scene<'_>,
        log_time: i64,
        messages: &mut Vec<Message>,
        work: impl FnOnce(&mut Key, &mut Desk<'_>),
    ) -> bool {
        let others = self.open_alerts - usize::from(self.keys.body(slot).has_alert());
        let Some(Opened { name, key }) = self.keys.opened(slot) else { return false };
        let mut desk = Desk {
            plan: scene.plan,
            rule: scene.rule,
            subject: subject(scene, name),
            limits: scene.limits,
            may_open: others < scene.limits.open_alerts,
            has_ended: false,
            losses: Vec::new(),
            messages,
        };
        work(key, &mut desk);
        let Desk { losses, has_ended, .. } = desk;
        self.open_alerts = others + usize::from(key.episode.is_some());
        for (because, place) in losses {
            self.lose(because, place, log_time, scene, messages);
        }
        has_ended
    }

    /// After a key has worked: puts it into the queue if something is due earlier than it stands
    /// there, and forgets it if it waits for nothing any more.
    fn settle(&mut self, slot: u32, scene: &Scene<'_>) {
        let Some(Opened { key, .. }) = self.keys.opened(slot) else { return };
        match key.next_due(scene.plan) {
            Some((at, _)) => {
                let log_time = scene.log_time(at, key.least_skew);
                if log_time < key.scheduled {
                    key.scheduled = log_time;
                    self.queue.push(Reverse((log_time, slot)));
                    self.bound_queue();
                }
            }
            None if scene.plan.measure == Measure::Absence => {
                self.keys.remove(slot);
            }
            None => {}
        }
    }

    /// Forgets times for which no key is scheduled any more, once they are the most.
    fn bound_queue(&mut self) {
        if self.queue.len() <= 2 * self.keys.len() + MIN_QUEUE {
            return;
        }
        let mut queue = std::mem::take(&mut self.queue).into_vec();
        queue.retain(|Reverse((log_time, slot))| {
            self.keys.opened(*slot).is_some_and(|o| o.key.scheduled == *log_time)
        });
        // A slot that is used again can stand here twice for the same time.
        queue.sort_unstable();
        queue.dedup();
        self.queue = queue.into();
    }

    /// Makes sure there is room for one more key; says so if there is none to be had.
    fn make_room(
        &mut self,
        arrival: &Arrival,
        log_time: i64,
        scene: &Scene<'_>,
        messages: &mut Vec<Message>,
    ) -> bool {
        for slot in self.keys.oldest_of_each() {
            if scene.is_past(self.keys.body(slot), log_time) {
                self.keys.remove(slot);
            }
        }
        // More than one key too many is there only after the limit was lowered.
        while self.keys.len() >= scene.limits.keys {
            let oldest = self.keys.oldest();
            let lost_until = match oldest {
                Some(oldest) => {
                    self.stats.evicted += 1;
                    self.keys.remove(oldest).clock().0
                }
                None => arrival.entry.time,
            };
            self.evicted_until = self.evicted_until.max(Some(lost_until));
            let place = Place::from(&arrival.entry);
            self.lose(Incomplete::Evicted, place, log_time, scene, messages);
            if oldest.is_none() {
                return false;
            }
        }
        true
    }

    fn lose(
        &mut self,
        because: Incomplete,
        place: Place,
        log_time: i64,
        scene: &Scene<'_>,
        messages: &mut Vec<Message>,
    ) {
        let Scene { rule, partition, files, .. } = *scene;
        let message = Loss::count(&mut self.loss, because, place, log_time, rule, partition, files);
        messages.extend(message);
    }

    /// What there is to say when a bounded input ends.
    pub(crate) fn finish(&mut self, scene: &Scene<'_>, log_time: i64, messages: &mut Vec<Message>) {
        for slot in self.keys.in_order() {
            let Some(Opened { name, key }) = self.keys.opened(slot) else { continue };
            let Some(episode) = &mut key.episode else { continue };
            messages.push(episode.at_end(&subject(scene, name), log_time));
        }
        if let Some(loss) = &mut self.loss {
            messages.push(loss.at_end(log_time, scene.rule, scene.partition, scene.files));
        }
    }

    /// Adds a key that was read back.
    pub(crate) fn restore(&mut self, name: &[u8], body: Body, scene: &Scene<'_>) {
        self.open_alerts += usize::from(body.has_alert());
        let slot = self.keys.add(name, body);
        self.keys.touch(slot);
        self.settle(slot, scene);
    }
}

fn subject<'a>(scene: &Scene<'a>, key: &'a [u8]) -> Subject<'a> {
    Subject { partition: scene.partition, rule: scene.rule, key, files: scene.files }
}

//! A process, worker or maintenance: what it has in memory, and the operations that both share.

use crate::detector::{Clock, Messages, TICK_AT};
use crate::manifest::{Body, Compaction, File, Manifest, Range, View};
use crate::rules::{self, Mutant, Op};
use crate::shared::{Checked, Property, Shared};

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Process {
    /// How often it has started: with its place, the random id of its attempts.
    pub(crate) starts: u8,
    /// Down, it has no memory.
    pub(crate) memory: Option<Memory>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Memory {
    /// What is left to do with the pending manifest; empty for a worker that is free to read on.
    pub(crate) todo: &'static [Op],
    pub(crate) pending: Manifest,
    pub(crate) view: View,
    /// The newest manifest of the chain that it knows: number and attempt.
    pub(crate) head: (u8, u8),
    /// The number of a worker's claim, the head from which a compaction started, or the end of what a
    /// pruning deletes.
    pub(crate) base: u8,
    /// How far a worker has read.
    pub(crate) clock: Clock,
    /// The newest manifest whose messages it handed over, and the newest that it wrote into the note.
    pub(crate) handed: u8,
    pub(crate) noted: u8,
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Done,
    /// Do it again: the reply was lost, or the number was taken and the next one is tried.
    Again,
    /// The number belongs to somebody else's manifest, which ends the attempt.
    Taken,
}

impl Memory {
    /// The process just read the chain and means to create `body` as the next manifest.
    pub(crate) fn new(todo: &'static [Op], attempt: u8, read: (View, u8, u8), body: Body) -> Self {
        let (view, newest, link) = read;
        let pending = Manifest { number: newest + 1, attempt, link, body };
        let head = (newest, link);
        let clock = view.clock;
        Memory { todo, pending, view, head, base: newest, clock, handed: 0, noted: 0 }
    }

    /// Carries out the first operation that is left.
    pub(crate) fn step(
        &mut self,
        shared: &mut Shared,
        mutant: Mutant,
    ) -> Result<Outcome, Property> {
        let op = self.todo[0];
        let outcome = match op {
            Op::Create => self.create(shared, mutant)?,
            Op::Verify => self.verify(shared),
            _ => {
                self.carry_out(op, shared, mutant)?;
                Outcome::Done
            }
        };
        if outcome == Outcome::Done {
            self.todo = &self.todo[1..];
            let commits = op == Op::Verify || op == Op::Create && !self.todo.contains(&Op::Verify);
            if commits {
                self.acknowledge(shared)?;
            }
            self.skip_idle();
        }
        Ok(outcome)
    }

    /// Passes over operations that the process knows to be idle: they touch nothing shared.
    fn skip_idle(&mut self) {
        while let Some(op) = self.todo.first() {
            match op {
                Op::Publish if self.file().is_none() => {}
                Op::Swap if self.compaction().is_none() => {}
                Op::HandOver if self.messages() == 0 => self.handed = self.pending.number,
                _ => return,
            }
            self.todo = &self.todo[1..];
        }
    }

    /// A number that is taken is read in the same step: manifests never change, and one that is
    /// deleted in between ends the process as a crash does.
    fn create(&mut self, shared: &mut Shared, mutant: Mutant) -> Result<Outcome, Property> {
        if mutant == Mutant::Overwrites {
            shared.overwrite(self.pending)?;
            return Ok(Outcome::Done);
        }
        if shared.create(self.pending)? {
            return Ok(Outcome::Done);
        }
        let there =
            *shared.get(self.pending.number).expect("a number that is taken has a manifest");
        if there.attempt == self.pending.attempt || mutant == Mutant::TakesAnyForOwn {
            return Ok(Outcome::Done);
        }
        let is_owner = matches!(self.pending.body, Body::Alerts { .. } | Body::Epoch { .. });
        let adopts = match there.body {
            Body::Claim => mutant == Mutant::IgnoresClaims,
            _ => there.body.is_maintenance() && mutant != Mutant::YieldsToMaintenance,
        };
        if !is_owner || !adopts {
            return Ok(Outcome::Taken);
        }
        self.head = (there.number, there.attempt);
        self.pending.number += 1;
        self.pending.link = there.attempt;
        Ok(Outcome::Again)
    }

    /// A number may have been absent because it was deleted long ago. Then there are newer manifests
    /// that do not follow from this one.
    fn verify(&self, shared: &Shared) -> Outcome {
        let number = self.pending.number;
        let is_newest = shared.newest() == number;
        let is_linked =
            shared.get(number + 1).is_some_and(|next| next.link == self.pending.attempt);
        if is_newest || is_linked { Outcome::Done } else { Outcome::Taken }
    }

    /// The process takes its manifest for committed and acts on it.
    fn acknowledge(&mut self, shared: &Shared) -> Checked {
        if shared.genuine(self.pending.number) != Some(&self.pending) {
            return Err(Property::OneChain);
        }
        self.head = (self.pending.number, self.pending.attempt);
        if self.pending.body == Body::Claim {
            self.base = self.pending.number;
        }
        Ok(())
    }

    fn carry_out(&mut self, op: Op, shared: &mut Shared, mutant: Mutant) -> Checked {
        let file = self.file();
        match op {
            Op::Create | Op::Verify => {}
            Op::Stage => self.stage(shared),
            Op::Publish => {
                if let Some(file) = file {
                    let was_staged = shared.staged.contains(&file);
                    shared.publish(file);
                    if mutant == Mutant::PublishesByCopy && was_staged {
                        Shared::stage(&mut shared.staged, file);
                    }
                }
            }
            Op::DropStaged => shared.staged.retain(|&staged| Some(staged) != file),
            Op::Swap => self.swap(shared, mutant),
            Op::DropOld => {
                if let Body::Compact(compaction) = self.pending.body {
                    shared.visible &= !compaction.old;
                }
            }
            Op::Clean => self.clean(shared, mutant),
            Op::HandOver => {
                shared.hand_over(self.messages())?;
                self.handed = self.pending.number;
            }
            Op::Delete => shared.delete_below(self.base),
        }
        Ok(())
    }

    /// The file to publish: a claimer's is that of the newest epoch.
    fn file(&self) -> Option<File> {
        match self.pending.body {
            Body::Epoch { file, .. } => Some(file),
            _ => self.view.file,
        }
    }

    /// The compaction to carry out: a claimer's is the newest one.
    fn compaction(&self) -> Option<Compaction> {
        match self.pending.body {
            Body::Compact(compaction) => Some(compaction),
            _ => self.view.compaction,
        }
    }

    fn messages(&self) -> Messages {
        match self.pending.body {
            Body::Claim => self.view.unhanded,
            body => body.messages(),
        }
    }

    fn stage(&self, shared: &mut Shared) {
        match self.pending.body {
            Body::Epoch { file, clock, .. } => {
                Shared::stage(&mut shared.staged, file);
                let range = Range { from: 0, to: clock.offset };
                Shared::stage(&mut shared.states, File { base: file.base, range });
            }
            Body::Compact(compaction) => Shared::stage(&mut shared.staged, compaction.new),
            _ => {}
        }
    }

    fn swap(&self, shared: &mut Shared, mutant: Mutant) {
        let Some(compaction) = self.compaction() else { return };
        let new = compaction.new.range.bit();
        if mutant == Mutant::ExchangesBack && shared.visible & new != 0 {
            shared.visible = shared.visible & !new | compaction.old;
        } else {
            shared.swap(compaction);
        }
    }

    /// Deletes what older claims and compactions left: since this claim, none of them can commit any
    /// more. Newer ones may already be at work if this worker has lost the partition unawares.
    fn clean(&self, shared: &mut Shared, mutant: Mutant) {
        let base = if mutant == Mutant::CleansTheUnnamed { u8::MAX } else { self.base };
        let named = [self.view.file, self.view.compaction.map(|compaction| compaction.new)];
        shared.staged.retain(|&file| file.base >= base || named.contains(&Some(file)));
        let state = self.view.state();
        shared.states.retain(|&file| file.base >= base || Some(file) == state);
    }

    /// After the last operation on an epoch, alerts or a claim: the worker is free to read on. What
    /// it does not need any more is forgotten, so that equal states of the model are equal.
    pub(crate) fn rest(&mut self) {
        let View { clock, committed, until, tick, .. } = self.view;
        self.view = View { clock, committed, until, tick, ..View::default() };
        self.pending =
            Manifest { number: 0, attempt: self.pending.attempt, link: 0, body: Body::Claim };
    }

    /// What a worker that is free may commit next by reading on to `to`: alerts and an epoch.
    pub(crate) fn next(&self, to: u8, tick: bool, mutant: Mutant) -> [Option<(Clock, Body)>; 2] {
        let (clock, mut messages) = self.clock.read_to(to, tick);
        if mutant != Mutant::NeverSuppresses {
            messages &= !self.view.committed;
        }
        let ticked_there = self.clock.ticked != clock.ticked && to == TICK_AT;
        let carried = mutant != Mutant::CarriesOnePoint || ticked_there;
        let alerts = Body::Alerts { to, tick: clock.ticked && carried, messages };
        let range = Range { from: self.view.clock.offset, to };
        let epoch = Body::Epoch { file: File { base: self.base, range }, clock, messages };
        let may_end = to >= self.view.until || mutant == Mutant::EndsBeforeAlerts;
        [
            (messages != 0).then_some((clock, alerts)),
            (to > range.from && may_end).then_some((clock, epoch)),
        ]
    }

    /// Begins to commit what `next` gave.
    pub(crate) fn begin(&mut self, clock: Clock, body: Body, mutant: Mutant) {
        let is_epoch = matches!(body, Body::Epoch { .. });
        self.todo = if is_epoch { rules::epoch(mutant) } else { rules::alerts(mutant) };
        self.pending.number = self.head.0 + 1;
        self.pending.link = self.head.1;
        self.pending.body = body;
        self.clock = clock;
        if is_epoch {
            self.view.clock = clock;
        }
    }
}

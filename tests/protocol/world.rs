//! One state of the model, what may happen next in it, and what comes of that.

use crate::detector::{Clock, TICK_AT, undisturbed};
use crate::manifest::{Body, Compaction, File, Range, View, ranges};
use crate::process::{Memory, Outcome, Process};
use crate::rules::{self, Bounds, Mutant, Op};
use crate::shared::{Checked, Property, Shared};

/// The processes by their places: two workers, which may both believe that they own the partition.
pub(crate) const WORKERS: usize = 2;
pub(crate) const COMPACTOR: usize = 2;
pub(crate) const PRUNER: usize = 3;
const PROCESSES: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// A worker gets the partition, or maintenance begins: it reads the chain.
    Start(usize),
    /// The next operation of what the process has begun.
    Step(usize),
    /// A create that takes effect, but nobody learns of it.
    LoseReply(usize),
    /// A worker reads on to `to` and begins to commit an epoch or, otherwise, alerts.
    Commit {
        worker: usize,
        to: u8,
        tick: bool,
        epoch: bool,
    },
    /// A worker writes the note of what it has handed over.
    Note(usize),
    Crash(usize),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct World {
    pub(crate) shared: Shared,
    pub(crate) processes: [Process; PROCESSES],
    /// What may still happen.
    left: Bounds,
}

impl World {
    pub(crate) fn new(bounds: Bounds) -> Self {
        World { shared: Shared::default(), processes: Default::default(), left: bounds }
    }

    /// All that may happen next, and whether somebody has work to do.
    pub(crate) fn actions(&self, mutant: Mutant) -> (Vec<Action>, bool) {
        let mut actions = Vec::new();
        for at in 0..PROCESSES {
            if let Some(memory) = &self.processes[at].memory {
                self.add_work(at, memory, mutant, &mut actions);
            }
        }
        let has_work = !actions.is_empty();
        for at in 0..PROCESSES {
            match &self.processes[at].memory {
                Some(memory) => self.add_faults(at, memory, &mut actions),
                None if self.may_start(at) => actions.push(Action::Start(at)),
                None => {}
            }
        }
        (actions, has_work)
    }

    /// Workers that are down are alike, so that the second one starts only beside the first.
    fn may_start(&self, at: usize) -> bool {
        let is_up = |at: usize| self.processes[at].memory.is_some();
        match at {
            COMPACTOR => self.left.compactions > 0 && self.compactable().is_some(),
            PRUNER => self.left.prunes > 0 && self.shared.newest() > 0,
            0 => self.left.starts > 0 || !is_up(1),
            _ => self.left.starts > 0 && is_up(0),
        }
    }

    fn add_work(&self, at: usize, memory: &Memory, mutant: Mutant, actions: &mut Vec<Action>) {
        if !memory.todo.is_empty() {
            actions.push(Action::Step(at));
            return;
        }
        for to in memory.clock.offset..=self.left.records {
            for tick in [false, true] {
                if !may_pass(memory, to, tick) {
                    continue;
                }
                for (body, epoch) in memory.next(to, tick, mutant).iter().zip([false, true]) {
                    if body.is_some() {
                        actions.push(Action::Commit { worker: at, to, tick, epoch });
                    }
                }
            }
        }
    }

    fn add_faults(&self, at: usize, memory: &Memory, actions: &mut Vec<Action>) {
        if self.left.crashes > 0 {
            actions.push(Action::Crash(at));
        }
        let creates = memory.todo.first() == Some(&Op::Create);
        if self.left.lost_replies > 0 && creates && self.shared.get(memory.pending.number).is_none()
        {
            actions.push(Action::LoseReply(at));
        }
        if self.left.notes > 0 && memory.handed > memory.noted {
            actions.push(Action::Note(at));
        }
    }

    /// The state after `action`, or the property that it breaks.
    pub(crate) fn after(&self, action: Action, mutant: Mutant) -> Result<World, Property> {
        let mut world = self.clone();
        match action {
            Action::Start(at) => world.start(at, mutant)?,
            Action::Step(at) => world.step(at, mutant)?,
            Action::LoseReply(at) => {
                world.left.lost_replies -= 1;
                let pending = world.memory(at).pending;
                world.shared.create(pending)?;
            }
            Action::Commit { worker, to, tick, epoch } => {
                let memory = world.memory(worker);
                let next = memory.next(to, tick, mutant)[usize::from(epoch)];
                let (clock, body) = next.expect("only what may be committed is an action");
                memory.begin(clock, body, mutant);
                world.step(worker, mutant)?;
            }
            Action::Note(at) => {
                world.left.notes -= 1;
                let memory = world.memory(at);
                memory.noted = memory.handed;
                world.shared.note = memory.handed;
            }
            Action::Crash(at) => {
                world.left.crashes -= 1;
                world.processes[at].memory = None;
            }
        }
        world.shared.check()?;
        Ok(world)
    }

    fn memory(&mut self, at: usize) -> &mut Memory {
        self.processes[at].memory.as_mut().expect("only a process that is up acts")
    }

    fn start(&mut self, at: usize, mutant: Mutant) -> Checked {
        self.processes[at].starts += 1;
        let budget = match at {
            COMPACTOR => &mut self.left.compactions,
            PRUNER => &mut self.left.prunes,
            _ => &mut self.left.starts,
        };
        *budget = budget.saturating_sub(1);
        self.processes[at].memory = Some(self.begin(at, mutant)?);
        Ok(())
    }

    /// Reads the chain and decides what to do about it.
    fn begin(&self, at: usize, mutant: Mutant) -> Result<Memory, Property> {
        let attempt = at as u8 * 32 + self.processes[at].starts;
        let read = self.shared.read()?;
        let (view, newest, _) = read;
        match at {
            COMPACTOR => Ok(match self.unswapped() {
                Some(_) => Memory::new(&[Op::Swap], attempt, read, Body::Claim),
                None => {
                    let compaction = self.compactable().expect("nothing else starts a compaction");
                    Memory::new(rules::compact(mutant), attempt, read, Body::Compact(compaction))
                }
            }),
            PRUNER => {
                let body = Body::Summary(carried(view, mutant));
                let mut memory = Memory::new(rules::prune(mutant), attempt, read, body);
                let unseen = mutant == Mutant::PrunesUnseen;
                memory.base = if unseen { newest + 1 } else { self.shared.newest_of_workers() };
                Ok(memory)
            }
            _ => Ok(Memory::new(rules::claim(mutant), attempt, read, Body::Claim)),
        }
    }

    fn unswapped(&self) -> Option<Compaction> {
        self.shared.truth.compaction.filter(|it| self.shared.staged.contains(&it.new))
    }

    /// The compaction that a chain with an unfinished one asks for, otherwise the first one possible.
    fn compactable(&self) -> Option<Compaction> {
        if let Some(unswapped) = self.unswapped() {
            return Some(unswapped);
        }
        let files = self.shared.visible & self.shared.truth.live;
        for first in ranges(files) {
            if let Some(second) = ranges(files).find(|second| second.from == first.to) {
                let range = Range { from: first.from, to: second.to };
                let new = File { base: self.shared.newest(), range };
                return Some(Compaction { old: first.bit() | second.bit(), new });
            }
        }
        None
    }

    fn step(&mut self, at: usize, mutant: Mutant) -> Checked {
        let mut memory = *self.memory(at);
        let outcome = memory.step(&mut self.shared, mutant)?;
        if outcome == Outcome::Taken {
            return self.give_up(at, &memory, mutant);
        }
        let is_over = memory.todo.is_empty();
        if is_over {
            memory.rest();
        }
        self.processes[at].memory = if is_over && at >= WORKERS { None } else { Some(memory) };
        Ok(())
    }

    /// A claimer reads again and claims the next number; an owner has lost the partition; maintenance
    /// leaves it to another time.
    fn give_up(&mut self, at: usize, memory: &Memory, mutant: Mutant) -> Checked {
        if at < WORKERS && memory.pending.body == Body::Claim {
            self.processes[at].memory = Some(self.begin(at, mutant)?);
            return Ok(());
        }
        let is_claim = |number| {
            self.shared.genuine(number).is_some_and(|manifest| manifest.body == Body::Claim)
        };
        let was_claimed = (memory.base + 1..=self.shared.newest()).any(is_claim);
        if at < WORKERS && !was_claimed {
            return Err(Property::OnlyClaimsTake);
        }
        self.processes[at].memory = None;
        Ok(())
    }

    /// Checks a state in which nobody has work to do.
    pub(crate) fn check_at_rest(&self) -> Checked {
        if !self.processes[..WORKERS].iter().any(|worker| worker.memory.is_some()) {
            return Ok(());
        }
        let all = (1 << self.left.records) - 1;
        let rows = ranges(self.shared.visible).fold(0, |rows, range| rows | range.offsets());
        if rows != all || self.shared.truth.clock.offset != self.left.records {
            return Err(Property::NoLostRow);
        }
        let Clock { ticked, .. } = self.shared.truth.clock;
        if self.shared.received != undisturbed(self.left.records, ticked) {
            return Err(Property::EachMessageOnce);
        }
        Ok(())
    }
}

/// Whether the worker may read on to `to` in this way: what was committed says where the clock
/// ticked, and no tick comes before the position of committed alerts but that one.
fn may_pass(memory: &Memory, to: u8, tick: bool) -> bool {
    if !memory.clock.may_tick(to) {
        return !tick;
    }
    if memory.view.tick { tick } else { !tick || TICK_AT >= memory.view.until }
}

/// What a summary carries.
fn carried(mut view: View, mutant: Mutant) -> View {
    match mutant {
        Mutant::ForgetsEpoch => view.clock = Clock::default(),
        Mutant::ForgetsMessages => view.unhanded = 0,
        Mutant::ForgetsUnpublished => view.file = None,
        _ => {}
    }
    view
}

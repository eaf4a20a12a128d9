//! A violation as lines of text: who does what, one line for each step.

use crate::detector::names;
use crate::manifest::Body;
use crate::process::Memory;
use crate::rules::{Bounds, Mutant, Op};
use crate::shared::Property;
use crate::world::{Action, COMPACTOR, PRUNER, World};

/// Goes through the steps once more and tells them, and what the last one breaks.
pub(crate) fn lines(
    bounds: Bounds,
    mutant: Mutant,
    actions: &[Action],
    property: Property,
) -> String {
    let mut world = World::new(bounds);
    let mut text = String::new();
    for (step, &action) in actions.iter().enumerate() {
        text += &format!("{:3}. {}\n", step + 1, line(&world, action, mutant));
        match world.after(action, mutant) {
            Ok(next) => world = next,
            Err(_) => break,
        }
    }
    text + &format!("     breaks {property:?}\n")
}

fn line(world: &World, action: Action, mutant: Mutant) -> String {
    match action {
        Action::Start(at) => {
            format!("{} starts and reads the chain up to {}", name(at), world.shared.newest())
        }
        Action::Crash(at) => format!("{} crashes", name(at)),
        Action::Note(at) => format!("{} writes the note of what it handed over", name(at)),
        Action::LoseReply(at) => {
            format!("{}: {}, but the reply is lost", name(at), told(world, at, mutant))
        }
        Action::Step(at) => format!("{}: {}", name(at), told(world, at, mutant)),
        Action::Commit { worker, to, tick, epoch } => {
            let what = if epoch { "an epoch" } else { "alerts" };
            let tick = if tick { ", with a tick on the way," } else { "" };
            let mut begun = *memory(world, worker);
            let next = begun.next(to, tick_of(action), mutant)[usize::from(epoch)];
            if let Some((clock, body)) = next {
                begun.begin(clock, body, mutant);
            }
            let first = operation(&begun);
            format!("{} reads up to offset {to}{tick} for {what}: {first}", name(worker))
        }
    }
}

fn tick_of(action: Action) -> bool {
    matches!(action, Action::Commit { tick: true, .. })
}

fn name(at: usize) -> &'static str {
    match at {
        0 => "worker A",
        1 => "worker B",
        COMPACTOR => "compaction",
        PRUNER => "pruning",
        _ => "nobody",
    }
}

fn memory(world: &World, at: usize) -> &Memory {
    world.processes[at].memory.as_ref().expect("only a process that is up acts")
}

/// The operation, and whether it runs into somebody else's manifest.
fn told(world: &World, at: usize, mutant: Mutant) -> String {
    let memory = memory(world, at);
    let told = operation(memory);
    let creates = memory.todo.first() == Some(&Op::Create) && mutant != Mutant::Overwrites;
    match world.shared.get(memory.pending.number) {
        Some(there) if creates && there.attempt == memory.pending.attempt => {
            format!("{told}, which is there already and its own")
        }
        Some(_) if creates => format!("{told}, which is there already and not its own"),
        _ => told,
    }
}

fn operation(memory: &Memory) -> String {
    let number = memory.pending.number;
    match memory.todo.first() {
        None => "nothing".into(),
        Some(Op::Create) => format!("creates manifest {number}, {}", body(&memory.pending.body)),
        Some(Op::Verify) => format!("lists: is manifest {number} of the chain?"),
        Some(Op::Stage) => format!("stages {}", body(&memory.pending.body)),
        Some(Op::Publish) => "publishes the epoch".into(),
        Some(Op::Swap) => "puts the compacted file in place of the old ones".into(),
        Some(Op::DropOld) => "removes the old files".into(),
        Some(Op::DropStaged) => "deletes the staged copy".into(),
        Some(Op::Clean) => "deletes staged files and states of others".into(),
        Some(Op::HandOver) => match memory.pending.body {
            Body::Claim => format!("hands over {}", names(memory.view.unhanded)),
            body => format!("hands over {}", names(body.messages())),
        },
        Some(Op::Delete) => format!("deletes the manifests below {}", memory.base),
    }
}

fn body(body: &Body) -> String {
    match body {
        Body::Claim => "a claim".into(),
        Body::Alerts { to, messages, .. } => format!("alerts at {to} with {}", names(*messages)),
        Body::Epoch { file, messages, .. } => {
            format!("epoch {}..{} with {}", file.range.from, file.range.to, names(*messages))
        }
        Body::Compact(compaction) => {
            format!("compaction {}..{}", compaction.new.range.from, compaction.new.range.to)
        }
        Body::Summary(_) => "a summary".into(),
    }
}

//! Breadth-first search through all states within the bounds; the first violation found is one of
//! those with the shortest traces.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

use crate::rules::{Bounds, Mutant};
use crate::shared::Property;
use crate::trace;
use crate::world::{Action, World};

/// A waiting state takes about 1 KiB; beyond this many states a search would fill the memory of a
/// small machine.
const MOST_STATES: usize = 30_000_000;

/// What a search found.
pub(crate) struct Found {
    /// How many states it went through.
    pub(crate) states: usize,
    pub(crate) violation: Option<Violation>,
}

pub(crate) struct Violation {
    pub(crate) property: Property,
    /// One line for each step.
    pub(crate) trace: String,
}

/// The way to a state, from its last step back.
struct Path {
    action: Action,
    before: Option<Rc<Path>>,
}

/// Goes through all states that can be reached within `bounds`.
pub(crate) fn search(bounds: Bounds, mutant: Mutant) -> Found {
    let start = World::new(bounds);
    let mut seen = Seen::default();
    seen.insert(fingerprint(&start));
    let mut queue: VecDeque<(World, Option<Rc<Path>>)> = VecDeque::from([(start, None)]);
    while let Some((world, path)) = queue.pop_front() {
        let (actions, has_work) = world.actions(mutant);
        let at_rest = if has_work { Ok(()) } else { world.check_at_rest() };
        if let Err(property) = at_rest {
            return violated(bounds, mutant, property, seen.len(), path.as_deref());
        }
        assert!(seen.len() < MOST_STATES, "more than {MOST_STATES} states: take smaller bounds");
        for action in actions {
            let step = || Rc::new(Path { action, before: path.clone() });
            match world.after(action, mutant) {
                Ok(next) if seen.insert(fingerprint(&next)) => {
                    queue.push_back((next, Some(step())));
                }
                Ok(_) => {}
                Err(property) => {
                    return violated(bounds, mutant, property, seen.len(), Some(&step()));
                }
            }
        }
    }
    Found { states: seen.len(), violation: None }
}

fn violated(
    bounds: Bounds,
    mutant: Mutant,
    property: Property,
    states: usize,
    path: Option<&Path>,
) -> Found {
    let mut actions: Vec<Action> = Vec::new();
    let mut at = path;
    while let Some(path) = at {
        actions.push(path.action);
        at = path.before.as_deref();
    }
    actions.reverse();
    let trace = trace::lines(bounds, mutant, &actions, property);
    Found { states, violation: Some(Violation { property, trace }) }
}

/// States are told apart by 64 bits: with ten million of them, the chance that any two are taken for
/// one is about 1 in 400 000.
type Seen = HashSet<u64, BuildHasherDefault<Mixed>>;

fn fingerprint(world: &World) -> u64 {
    let mut hasher = Mixed::default();
    world.hash(&mut hasher);
    hasher.finish()
}

/// A hash for small integers that is fast without optimisation, too: multiply and rotate, and a final
/// mix (that of SplitMix64).
#[derive(Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(29) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

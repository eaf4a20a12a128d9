//! The keys of one rule in one partition, in bounded memory.
//!
//! At the bound the least recently touched key is forgotten, keys with one event first, none with
//! an open alert.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::key::Key;
use crate::plan::Plan;
use crate::single::Single;

/// A key with more than one event, or with an alert, or with something due.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) name: Box<[u8]>,
    pub(crate) key: Key,
}

/// What is kept of a key. Two words: a million keys with one event each are common in a flood.
#[derive(Debug)]
pub(crate) enum Body {
    /// One event, packed. No bytes: the slot is free.
    Single(Box<[u8]>),
    Opened(Box<Opened>),
}

impl Default for Body {
    /// Of a free slot.
    fn default() -> Self {
        Self::Single(Box::default())
    }
}

impl Body {
    fn is_free(&self) -> bool {
        matches!(self, Self::Single(bytes) if bytes.is_empty())
    }

    fn name(&self) -> &[u8] {
        match self {
            Self::Single(bytes) => Single::name(bytes),
            Self::Opened(opened) => &opened.name,
        }
    }

    /// Its newest event time and the smallest log time − event time.
    pub(crate) fn clock(&self) -> (i64, i64) {
        match self {
            Self::Single(bytes) => {
                let single = Single::unpack(bytes).1;
                (single.entry.time, single.skew)
            }
            Self::Opened(opened) => (opened.key.newest, opened.key.least_skew),
        }
    }

    pub(crate) fn has_alert(&self) -> bool {
        matches!(self, Self::Opened(opened) if opened.key.episode.is_some())
    }

    fn list(&self) -> Option<List> {
        match self {
            Self::Single(_) if self.is_free() => None,
            Self::Single(_) => Some(List::OneEvent),
            Self::Opened(opened) if opened.key.episode.is_some() => None,
            Self::Opened(opened) if opened.key.windows.list.len() <= 1 => Some(List::OneEvent),
            Self::Opened(_) => Some(List::More),
        }
    }
}

#[derive(Debug)]
struct Slot {
    body: Body,
    previous: u32,
    next: u32,
}

/// Which list of candidates for eviction a key stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    OneEvent,
    More,
}

const LISTS: [List; 2] = [List::OneEvent, List::More];
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Ends {
    oldest: u32,
    newest: u32,
}

/// The keys, found by their names and by their places.
#[derive(Debug)]
pub(crate) struct Keys {
    table: HashTable<u32>,
    /// Its seed is another one in each process, so that nobody can choose keys that collide. It
    /// decides about nothing but the places in the table.
    hasher: DefaultHashBuilder,
    slots: Vec<Slot>,
    free: Vec<u32>,
    ends: [Ends; 2],
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            slots: Vec::new(),
            free: Vec::new(),
            ends: [Ends { oldest: NONE, newest: NONE }; 2],
        }
    }
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.table.find(hash, |slot| self.slots[*slot as usize].body.name() == name).copied()
    }

    /// What is kept in a slot that was found.
    pub(crate) fn body(&self, slot: u32) -> &Body {
        &self.slots[slot as usize].body
    }

    /// The key in a slot, if there is one that is open.
    pub(crate) fn opened(&mut self, slot: u32) -> Option<&mut Opened> {
        match &mut self.slots.get_mut(slot as usize)?.body {
            Body::Opened(opened) => Some(opened),
            Body::Single(_) => None,
        }
    }

    /// Opens the key in a slot, unpacking it if it has one event.
    pub(crate) fn open(&mut self, slot: u32, plan: &Plan) -> &mut Opened {
        let body = &mut self.slots[slot as usize].body;
        if let Body::Single(bytes) = body {
            let (name, single) = Single::unpack(bytes);
            let opened = Opened { name: name.into(), key: single.into_key(plan) };
            *body = Body::Opened(Box::new(opened));
        }
        match body {
            Body::Opened(opened) => opened,
            Body::Single(_) => unreachable!("just opened"),
        }
    }

    /// Every slot with a key, in no particular order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        let is_used = |(_, slot): &(usize, &Slot)| !slot.body.is_free();
        self.slots.iter().enumerate().filter(is_used).map(|(n, _)| n as u32)
    }

    /// The keys that may be evicted, least recently touched first, those with one event before the
    /// others; then the keys with open alerts.
    pub(crate) fn in_order(&self) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.len());
        for ends in self.ends {
            let mut slot = ends.oldest;
            while slot != NONE {
                order.push(slot);
                slot = self.slots[slot as usize].next;
            }
        }
        order.extend(self.slots().filter(|slot| self.body(*slot).has_alert()));
        order
    }

    /// Adds a key; `touch` puts it into a list.
    pub(crate) fn add(&mut self, name: &[u8], body: Body) -> u32 {
        let new = Slot { body, previous: NONE, next: NONE };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = new;
                slot
            }
            None => {
                self.slots.push(new);
                self.slots.len() as u32 - 1
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash_of = |slot: &u32| hasher.hash_one(slots[*slot as usize].body.name());
        self.table.insert_unique(hasher.hash_one(name), slot, hash_of);
        slot
    }

    /// Marks a key as the most recently touched one.
    pub(crate) fn touch(&mut self, slot: u32) {
        self.unlink(slot);
        let Some(list) = self.body(slot).list() else { return };
        let ends = &mut self.ends[list as usize];
        let last = std::mem::replace(&mut ends.newest, slot);
        if last == NONE {
            ends.oldest = slot;
        } else {
            self.slots[last as usize].next = slot;
        }
        self.slots[slot as usize].previous = last;
    }

    /// The key that is to be forgotten first.
    pub(crate) fn oldest(&self) -> Option<u32> {
        self.ends.iter().map(|ends| ends.oldest).find(|slot| *slot != NONE)
    }

    /// The oldest key of each list.
    pub(crate) fn oldest_of_each(&self) -> impl Iterator<Item = u32> + use<> {
        let oldest = self.ends.map(|ends| ends.oldest);
        oldest.into_iter().filter(|slot| *slot != NONE)
    }

    /// Removes a key.
    pub(crate) fn remove(&mut self, slot: u32) -> Body {
        let hash = self.hasher.hash_one(self.body(slot).name());
        self.unlink(slot);
        if let Ok(entry) = self.table.find_entry(hash, |s| *s == slot) {
            entry.remove();
        }
        self.free.push(slot);
        std::mem::take(&mut self.slots[slot as usize].body)
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { previous, next, .. } = self.slots[slot as usize];
        for list in LISTS {
            let ends = &mut self.ends[list as usize];
            if ends.oldest == slot {
                ends.oldest = next;
            }
            if ends.newest == slot {
                ends.newest = previous;
            }
        }
        if previous != NONE {
            self.slots[previous as usize].next = next;
        }
        if next != NONE {
            self.slots[next as usize].previous = previous;
        }
        let links = &mut self.slots[slot as usize];
        (links.previous, links.next) = (NONE, NONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Fact, NO_FILE, NO_REASON};

    fn single(name: &[u8]) -> Body {
        let entry = Entry {
            time: 0,
            offset: 0,
            id: 0,
            fact: Fact::NONE,
            line: 0,
            file: NO_FILE,
            count: 1,
            reason: NO_REASON,
        };
        let single = Single { entry, value: None, skew: 0, is_after_eviction: false };
        Body::Single(single.pack(name))
    }

    #[test]
    fn the_least_recently_touched_key_goes_first() {
        let mut keys = Keys::default();
        let add = |keys: &mut Keys, name: &[u8]| {
            let slot = keys.add(name, single(name));
            keys.touch(slot);
            slot
        };
        let slots: Vec<u32> = [b"a", b"b", b"c"].iter().map(|n| add(&mut keys, &n[..])).collect();
        keys.touch(slots[0]);
        assert_eq!(keys.in_order(), [slots[1], slots[2], slots[0]]);
        assert_eq!(keys.oldest(), Some(slots[1]));
        keys.remove(slots[1]);
        assert_eq!(keys.find(b"b"), None);
        assert_eq!(keys.find(b"c"), Some(slots[2]));
        assert_eq!(add(&mut keys, b"d"), slots[1], "a free place is used again");
        assert_eq!(keys.in_order(), [slots[2], slots[0], slots[1]]);
        assert_eq!(keys.len(), 3);
    }

    #[test]
    fn a_slot_is_small() {
        assert_eq!(size_of::<Slot>(), 24);
    }
}

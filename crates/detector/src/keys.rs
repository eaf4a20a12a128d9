//! The keys of one rule in one partition, in bounded memory.
//!
//! At the bound the least recently touched key is forgotten, keys with one event first, none with
//! an open alert.

use hashbrown::HashTable;

use lapwing_event::KeyValue;

use crate::episode::Episode;
use crate::window::Entries;

/// The state of one key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) values: Box<[KeyValue]>,
    pub(crate) hash: u64,
    /// Its newest event time.
    pub(crate) newest: i64,
    /// The smallest log time − event time it has shown.
    pub(crate) least_skew: i64,
    pub(crate) entries: Entries,
    pub(crate) episode: Option<Box<Episode>>,
    /// Whether events of its windows may be missing, and why.
    pub(crate) is_after_eviction: bool,
    pub(crate) has_lost_entries: bool,
    /// The log time for which it stands in the queue of due things.
    pub(crate) scheduled: i64,
    links: Links,
}

#[derive(Debug, Clone, Copy)]
struct Links {
    list: Option<List>,
    previous: u32,
    next: u32,
}

/// Which list of candidates for eviction a key stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    OneEvent,
    More,
}

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Ends {
    oldest: u32,
    newest: u32,
}

impl Default for Ends {
    fn default() -> Self {
        Self { oldest: NONE, newest: NONE }
    }
}

/// The keys, found by their values and by their place.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    table: HashTable<u32>,
    slots: Vec<Option<Key>>,
    free: Vec<u32>,
    one_event: Ends,
    more: Ends,
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn find(&self, hash: u64, values: &[KeyValue]) -> Option<u32> {
        let is_it = |slot: &u32| {
            let key = self.slots[*slot as usize].as_ref();
            key.is_some_and(|k| *k.values == *values)
        };
        self.table.find(hash, is_it).copied()
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Key> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Key> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Every key with its place, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Key)> {
        self.slots.iter().enumerate().filter_map(|(i, k)| Some((i as u32, k.as_ref()?)))
    }

    /// The keys that may be evicted, least recently touched first, those with one event before the
    /// others; then the keys with open alerts.
    pub(crate) fn in_order(&self) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.len());
        for ends in [self.one_event, self.more] {
            let mut slot = ends.oldest;
            while let Some(key) = self.get(slot) {
                order.push(slot);
                slot = key.links.next;
            }
        }
        order.extend(self.iter().filter(|(_, k)| k.links.list.is_none()).map(|(slot, _)| slot));
        order
    }

    /// Adds a key that has no event yet; `touch` puts it into a list.
    pub(crate) fn add(
        &mut self,
        values: Box<[KeyValue]>,
        hash: u64,
        newest: i64,
        skew: i64,
    ) -> u32 {
        let key = Key {
            values,
            hash,
            newest,
            least_skew: skew,
            entries: Entries::default(),
            episode: None,
            is_after_eviction: false,
            has_lost_entries: false,
            scheduled: i64::MAX,
            links: Links { list: None, previous: NONE, next: NONE },
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(key);
                slot
            }
            None => {
                self.slots.push(Some(key));
                self.slots.len() as u32 - 1
            }
        };
        let slots = &self.slots;
        self.table.insert_unique(hash, slot, |s| slots[*s as usize].as_ref().map_or(0, |k| k.hash));
        slot
    }

    /// Marks a key as the most recently touched one.
    pub(crate) fn touch(&mut self, slot: u32) {
        self.unlink(slot);
        let Some(key) = self.get(slot) else { return };
        let list = match (&key.episode, key.entries.len()) {
            (Some(_), _) => return,
            (None, 0 | 1) => List::OneEvent,
            (None, _) => List::More,
        };
        let last = self.ends(list).newest;
        if let Some(last) = self.get_mut(last) {
            last.links.next = slot;
        }
        let ends = self.ends(list);
        ends.newest = slot;
        if ends.oldest == NONE {
            ends.oldest = slot;
        }
        if let Some(key) = self.get_mut(slot) {
            key.links = Links { list: Some(list), previous: last, next: NONE };
        }
    }

    /// Removes the key that is to be forgotten first; `None` if every key has an open alert.
    pub(crate) fn evict(&mut self) -> Option<Key> {
        let slot = match self.one_event.oldest {
            NONE => self.more.oldest,
            slot => slot,
        };
        self.remove(slot)
    }

    /// Removes a key.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Key> {
        let hash = self.get(slot)?.hash;
        self.unlink(slot);
        if let Ok(entry) = self.table.find_entry(hash, |s| *s == slot) {
            entry.remove();
        }
        self.free.push(slot);
        self.slots[slot as usize].take()
    }

    fn ends(&mut self, list: List) -> &mut Ends {
        match list {
            List::OneEvent => &mut self.one_event,
            List::More => &mut self.more,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some(key) = self.get_mut(slot) else { return };
        let links =
            std::mem::replace(&mut key.links, Links { list: None, previous: NONE, next: NONE });
        let Some(list) = links.list else { return };
        match self.get_mut(links.previous) {
            Some(previous) => previous.links.next = links.next,
            None => self.ends(list).oldest = links.next,
        }
        match self.get_mut(links.next) {
            Some(next) => next.links.previous = links.previous,
            None => self.ends(list).newest = links.previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> Box<[KeyValue]> {
        Box::new([KeyValue::Text(name.into())])
    }

    #[test]
    fn the_least_recently_touched_key_goes_first() {
        let mut keys = Keys::default();
        let slots: Vec<u32> = ["a", "b", "c"]
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let slot = keys.add(text(name), i as u64, 0, 0);
                keys.touch(slot);
                slot
            })
            .collect();
        keys.touch(slots[0]);
        assert_eq!(keys.in_order(), [slots[1], slots[2], slots[0]]);
        assert_eq!(keys.evict().map(|k| k.values), Some(text("b")));
        assert_eq!(keys.find(1, &text("b")), None);
        assert_eq!(keys.find(2, &text("c")), Some(slots[2]));
        let again = keys.add(text("d"), 3, 0, 0);
        assert_eq!(again, slots[1], "a free place is used again");
        assert_eq!(keys.evict().map(|k| k.values), Some(text("c")));
        assert_eq!(keys.evict().map(|k| k.values), Some(text("a")));
        assert!(keys.evict().is_none(), "d was never touched, so it is in no list");
    }
}

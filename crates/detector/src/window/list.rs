//! The entries of a key in the order of time, in chunks, with the figure of the window that ends
//! at each of them.
//!
//! An event changes the figures of all windows that contain it. Whole chunks of windows are
//! changed by one addition, so that an event out of order costs about as much as a chunk is long.

use std::collections::VecDeque;

use super::chunk::Chunk;
use crate::entry::Entry;
use crate::plan::Figure;

/// Entries in a chunk: long enough that a million entries are some thousands of chunks, short enough
/// that moving half of one is nothing. In the tests of this crate a few entries make many chunks.
const CHUNK: usize = if cfg!(test) { 4 } else { 128 };

/// What is known of the window that ends at an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It has not held; or it is not decided yet.
    Open,
    /// It holds, and the alert that is open has absorbed it.
    Held,
    /// It belongs to no alert that is open, and never will.
    Done,
}

impl Mark {
    const ALL: [Self; 3] = [Self::Open, Self::Held, Self::Done];

    /// The mark with this number.
    pub(crate) fn of(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Done)
    }
}

/// How much figures rise at the time of an entry, and fall when it leaves: the figure of the
/// window at e is the sum of what entered up to e, less what left up to e − span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) enter: i64,
    pub(super) leave: i64,
}

/// The steps of an entry, for each number of a figure.
pub(super) type Steps = [Step; 2];

/// An entry that is put into the list, with the window that ends at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct New {
    pub(super) entry: Entry,
    pub(super) mark: Mark,
    pub(super) figure: Figure,
    pub(super) steps: Steps,
}

/// A change of the figures of the windows whose ends lie in `from..to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) by: Figure,
}

/// What changes brought about.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The ends of windows that hold now and did not before, each once, rising within a change.
    pub(crate) ends: Vec<i64>,
    /// The largest figure among the changed windows of the open alert.
    pub(crate) largest: Option<i128>,
}

impl Found {
    pub(super) fn end(&mut self, end: i64) {
        if self.ends.last() != Some(&end) {
            self.ends.push(end);
        }
    }

    pub(super) fn figure(&mut self, figure: i128) {
        self.largest = self.largest.max(Some(figure));
    }
}

/// A place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    chunk: usize,
    index: usize,
}

#[derive(Debug)]
pub(crate) struct List {
    chunks: VecDeque<Chunk>,
    len: usize,
    tracks: usize,
    /// Windows hold from this figure on.
    threshold: i128,
    /// No entry before this time is marked open.
    open_from: i64,
    /// Where the last search for what leaves ended: in the order of time the next begins there.
    left_off: Place,
}

impl List {
    pub(super) fn new(tracks: usize, threshold: i128) -> Self {
        Self {
            chunks: VecDeque::new(),
            len: 0,
            tracks,
            threshold,
            open_from: i64::MAX,
            left_off: Place { chunk: 0, index: 0 },
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The time of the first entry.
    pub(crate) fn first_time(&self) -> Option<i64> {
        self.chunks.front().map(|c| c.first.0)
    }

    /// The time of the last entry.
    pub(crate) fn last_time(&self) -> Option<i64> {
        self.chunks.back().map(|c| c.last.0)
    }

    /// The place of the first entry whose order is not `before`; the others come first.
    fn partition(&self, before: impl Fn((i64, i64)) -> bool) -> Place {
        if self.chunks.back().is_none_or(|c| before(c.last)) {
            return Place { chunk: self.chunks.len(), index: 0 };
        }
        let chunk = self.chunks.partition_point(|c| before(c.last));
        let c = &self.chunks[chunk];
        let entries = &c.entries[c.start..];
        Place { chunk, index: c.start + entries.partition_point(|e| before(e.order())) }
    }

    /// The place of the first entry at or after a time.
    fn place_from(&self, time: i64) -> Place {
        self.partition(|(t, _)| t < time)
    }

    /// The place of the first entry after a time.
    fn place_after(&self, time: i64) -> Place {
        self.partition(|(t, _)| t <= time)
    }

    fn at(&self, place: Place) -> Option<&Entry> {
        self.chunks.get(place.chunk)?.entries.get(place.index)
    }

    /// The place of an entry at this very time.
    fn find_time(&self, time: i64) -> Option<Place> {
        let place = self.place_from(time);
        self.at(place).filter(|e| e.time == time).map(|_| place)
    }

    /// The entry with this time and offset.
    pub(crate) fn find(&self, order: (i64, i64)) -> Option<&Entry> {
        self.at(self.partition(|o| o < order)).filter(|e| e.order() == order)
    }

    /// The time of the first entry after a time.
    pub(crate) fn time_after(&self, time: i64) -> Option<i64> {
        self.at(self.place_after(time)).map(|e| e.time)
    }

    /// The entries with from < time ≤ to.
    pub(crate) fn range(&self, from: i64, to: i64) -> impl Iterator<Item = &Entry> {
        let place = self.place_after(from);
        let chunks = self.chunks.range(place.chunk..).enumerate();
        chunks
            .flat_map(move |(n, c)| &c.entries[if n == 0 { place.index } else { c.start }..])
            .take_while(move |e| e.time <= to)
    }

    /// All entries with their marks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Entry, Mark)> {
        self.chunks
            .iter()
            .flat_map(|c| c.entries[c.start..].iter().zip(c.marks[c.start..].iter().copied()))
    }

    /// What is known of the window at a time at which an entry lies: its mark and its figure.
    pub(super) fn window(&self, end: i64) -> Option<(Mark, Figure)> {
        let place = self.find_time(end)?;
        let chunk = &self.chunks[place.chunk];
        Some((chunk.marks[place.index], chunk.figure(place.index)))
    }

    /// The mark of the window at a time.
    pub(crate) fn mark_at(&self, end: i64) -> Option<Mark> {
        self.window(end).map(|(mark, _)| mark)
    }

    /// Puts an entry in its place.
    pub(super) fn insert(&mut self, new: &New) {
        let place = self.partition(|o| o <= new.entry.order());
        let place = self.make_room(place);
        if new.mark == Mark::Open {
            self.open_from = self.open_from.min(new.entry.time);
        }
        self.chunks[place.chunk].insert(place.index, new, self.tracks);
        self.len += 1;
    }

    /// Sees to it that one more entry fits into the chunk of a place.
    fn make_room(&mut self, place: Place) -> Place {
        if place.chunk == self.chunks.len() {
            match self.chunks.back() {
                Some(last) if last.entries.len() < CHUNK => {
                    let index = last.entries.len();
                    return Place { chunk: place.chunk - 1, index };
                }
                // Most keys never have a second chunk.
                None => {
                    self.chunks.reserve_exact(1);
                    self.chunks.push_back(Chunk::new());
                }
                Some(_) => self.chunks.push_back(Chunk::new()),
            }
            return place;
        }
        let chunk = &mut self.chunks[place.chunk];
        if chunk.entries.len() < CHUNK {
            return place;
        }
        if chunk.start > 0 {
            let index = place.index - chunk.start;
            chunk.give_back_room();
            return Place { index, ..place };
        }
        let rest = chunk.split_off(CHUNK / 2);
        self.chunks.insert(place.chunk + 1, rest);
        match place.index > CHUNK / 2 {
            true => Place { chunk: place.chunk + 1, index: place.index - CHUNK / 2 },
            false => place,
        }
    }

    /// Changes the steps of the first entry at or after an order, which lies at that time.
    pub(super) fn change_steps(&mut self, order: (i64, i64), by: Steps) {
        let place = self.partition(|o| o < order);
        debug_assert!(self.at(place).is_some_and(|e| e.time == order.0));
        if let Some(chunk) = self.chunks.get_mut(place.chunk) {
            chunk.change_steps(place.index, by);
        }
    }

    /// What enters after a time.
    pub(super) fn enters_after(&self, time: i64) -> Figure {
        self.sum_between(time, i64::MAX, |c| c.enters, |s| s.enter)
    }

    /// What leaves of the entries with from < time ≤ to.
    pub(super) fn leaves_between(&self, from: i64, to: i64) -> Figure {
        self.sum_between(from, to, |c| c.leaves, |s| s.leave)
    }

    /// What leaves of the entries with from < time ≤ to, where `from` is the last `to`.
    pub(super) fn leaves_until(&mut self, from: i64, to: i64) -> Figure {
        let mut place = self.left_off;
        if !self.is_place_after(place, from) {
            place = self.place_after(from);
        }
        let mut sum = Figure::default();
        while let Some(chunk) = self.chunks.get(place.chunk) {
            place.index = place.index.max(chunk.start);
            match chunk.entries.get(place.index) {
                Some(entry) if entry.time > to => break,
                Some(_) => {
                    for (sum, track) in sum.iter_mut().zip(&chunk.tracks) {
                        *sum += track.get(place.index).map_or(0, |p| i128::from(p.step.leave));
                    }
                    place.index += 1;
                }
                None => place = Place { chunk: place.chunk + 1, index: 0 },
            }
        }
        self.left_off = place;
        sum
    }

    /// Whether a place is that of the first entry after a time.
    fn is_place_after(&self, place: Place, time: i64) -> bool {
        let Some(chunk) = self.chunks.get(place.chunk) else { return false };
        let is_there = place.index >= chunk.start && place.index < chunk.entries.len();
        if !is_there || chunk.entries[place.index].time <= time {
            return false;
        }
        match place.index > chunk.start {
            true => chunk.entries[place.index - 1].time <= time,
            false => place.chunk == 0 || self.chunks[place.chunk - 1].last.0 <= time,
        }
    }

    fn sum_between(
        &self,
        from: i64,
        to: i64,
        of_chunk: impl Fn(&Chunk) -> Figure,
        of_step: impl Fn(&Step) -> i64,
    ) -> Figure {
        let mut sum = Figure::default();
        let place = self.place_after(from);
        let mut start = place.index;
        for chunk in self.chunks.range(place.chunk..) {
            let is_last = chunk.last.0 > to;
            if start == 0 && chunk.start == 0 && !is_last {
                let [first, second] = of_chunk(chunk);
                sum = [sum[0] + first, sum[1] + second];
                continue;
            }
            if chunk.first.0 > to {
                break;
            }
            let end = start + chunk.entries[start..].partition_point(|e| e.time <= to);
            for (sum, track) in sum.iter_mut().zip(&chunk.tracks).take(self.tracks) {
                let steps = track[start..end].iter().map(|point| of_step(&point.step));
                *sum += steps.map(i128::from).sum::<i128>();
            }
            if is_last {
                break;
            }
            // Only the first chunk has entries that are gone.
            start = 0;
        }
        sum
    }

    /// Changes figures; finds the windows that begin to hold and the largest figure of those held.
    pub(super) fn change(&mut self, change: Change, found: &mut Found) {
        let threshold = self.threshold;
        self.each_chunk(change.from, change.to, |chunk, range| match range {
            None => chunk.change_whole(change.by, threshold, found),
            Some((start, end)) => chunk.change_part(start, end, change.by, threshold, found),
        });
    }

    /// Lets all windows hold that end in `from..to` and did not hold yet.
    pub(super) fn hold(&mut self, from: i64, to: i64, found: &mut Found) {
        self.each_chunk(from, to, |chunk, range| {
            if chunk.open > 0 {
                let (start, end) = range.unwrap_or((chunk.start, chunk.entries.len()));
                chunk.hold(start, end, found);
            }
        });
    }

    /// Visits the chunks with entries in `from..to`: with `None` if all of a chunk lies in it, else
    /// with the indices.
    fn each_chunk(
        &mut self,
        from: i64,
        to: i64,
        mut visit: impl FnMut(&mut Chunk, Option<(usize, usize)>),
    ) {
        let place = self.place_from(from);
        let mut start = place.index;
        for chunk in self.chunks.range_mut(place.chunk..) {
            start = start.max(chunk.start);
            if chunk.first.0 >= to {
                break;
            }
            // What is the largest in a chunk is not known any more once some of it is gone.
            if start == 0 && chunk.last.0 < to {
                visit(chunk, None);
            } else {
                let end = start + chunk.entries[start..].partition_point(|e| e.time < to);
                visit(chunk, Some((start, end)));
            }
            start = 0;
        }
    }

    /// Marks every window at a time.
    pub(crate) fn mark(&mut self, end: i64, mark: Mark) {
        let until = end.saturating_add(1);
        let is_compared = self.threshold < i128::MAX;
        self.each_chunk(end, until, |chunk, range| {
            let (start, end) = range.unwrap_or((chunk.start, chunk.entries.len()));
            (start..end).for_each(|i| chunk.set_mark(i, mark));
            if is_compared {
                chunk.find_largest();
            }
        });
    }

    /// Gives up the windows of an alert that is open no more.
    pub(crate) fn close(&mut self) {
        let is_compared = self.threshold < i128::MAX && self.tracks > 0;
        for chunk in &mut self.chunks {
            if is_compared && chunk.largest_held == i128::MIN {
                continue;
            }
            for mark in &mut chunk.marks {
                if *mark == Mark::Held {
                    *mark = Mark::Done;
                }
            }
            chunk.largest_held = i128::MIN;
        }
    }

    /// Puts marks back, by entry, and lets windows be decided from here on.
    pub(super) fn restore(&mut self, threshold: i128, marks: &[Mark]) {
        self.threshold = threshold;
        let mut rest = marks;
        for chunk in &mut self.chunks {
            let (here, after) = rest.split_at(chunk.entries.len());
            rest = after;
            here.iter().enumerate().for_each(|(i, mark)| chunk.set_mark(i, *mark));
            chunk.find_largest();
        }
    }

    /// The time of the first entry that is marked open.
    pub(crate) fn first_open(&mut self) -> Option<i64> {
        let place = self.place_from(self.open_from);
        let mut start = place.index;
        for chunk in self.chunks.range(place.chunk..) {
            let index = match chunk.open {
                0 => None,
                _ => (start.max(chunk.start)..chunk.entries.len())
                    .find(|i| chunk.marks[*i] == Mark::Open),
            };
            if let Some(index) = index {
                self.open_from = chunk.entries[index].time;
                return Some(self.open_from);
            }
            start = 0;
        }
        self.open_from = i64::MAX;
        None
    }

    /// Takes the oldest entry away, with its steps.
    pub(super) fn pop_first(&mut self) -> Option<(Entry, Steps)> {
        let chunk = self.chunks.front_mut()?;
        let popped = chunk.pop_first();
        self.len -= 1;
        if chunk.start == chunk.entries.len() {
            self.chunks.pop_front();
        }
        Some(popped)
    }
}

//! A stretch of the list: entries with the figures of their windows, and what is known of it as a
//! whole.

use super::list::{Found, Mark, New, Step, Steps};
use crate::entry::Entry;
use crate::plan::Figure;

/// Entries gone from the front of a chunk before their room is given back.
const MIN_GONE: usize = if cfg!(test) { 2 } else { 8 };

/// What is asked of a chunk as a whole stands together, so that whole chunks are passed over
/// without touching their entries.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The orders of its first and of its last entry.
    pub(super) first: (i64, i64),
    pub(super) last: (i64, i64),
    /// To be added to each of the raw figures.
    pub(super) shift: Figure,
    pub(super) enters: Figure,
    pub(super) leaves: Figure,
    /// The largest raw figure of the windows marked open, and of those held.
    pub(super) largest_open: i128,
    pub(super) largest_held: i128,
    /// How many are marked open.
    pub(super) open: usize,
    /// Entries before this index are gone.
    pub(super) start: usize,
    pub(super) entries: Vec<Entry>,
    pub(super) marks: Vec<Mark>,
    /// For each number of a figure, what is kept of it by entry.
    pub(super) tracks: [Vec<Point>; 2],
}

/// One number of the figure of a window, and its steps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Point {
    pub(super) raw: i128,
    pub(super) step: Step,
}

impl Chunk {
    pub(super) fn new() -> Self {
        Self {
            first: (i64::MAX, i64::MAX),
            last: (i64::MIN, i64::MIN),
            shift: Figure::default(),
            enters: Figure::default(),
            leaves: Figure::default(),
            largest_open: i128::MIN,
            largest_held: i128::MIN,
            open: 0,
            start: 0,
            entries: Vec::new(),
            marks: Vec::new(),
            tracks: [Vec::new(), Vec::new()],
        }
    }

    pub(super) fn figure(&self, index: usize) -> Figure {
        let mut figure = self.shift;
        for (figure, track) in figure.iter_mut().zip(&self.tracks) {
            *figure += track.get(index).map_or(0, |point| point.raw);
        }
        figure
    }

    pub(super) fn insert(&mut self, index: usize, new: &New, tracks: usize) {
        let order = new.entry.order();
        self.first = self.first.min(order);
        self.last = self.last.max(order);
        self.entries.insert(index, new.entry);
        self.marks.insert(index, new.mark);
        for n in 0..tracks {
            let raw = new.figure[n] - self.shift[n];
            self.tracks[n].insert(index, Point { raw, step: new.steps[n] });
        }
        self.count_steps(new.steps, 1);
        self.open += usize::from(new.mark == Mark::Open);
        self.see_largest(index);
    }

    pub(super) fn count_steps(&mut self, steps: Steps, sign: i128) {
        for (n, step) in steps.iter().enumerate() {
            self.enters[n] += sign * i128::from(step.enter);
            self.leaves[n] += sign * i128::from(step.leave);
        }
    }

    pub(super) fn see_largest(&mut self, index: usize) {
        let Some(Point { raw, .. }) = self.tracks[0].get(index) else { return };
        match self.marks[index] {
            Mark::Open => self.largest_open = self.largest_open.max(*raw),
            Mark::Held => self.largest_held = self.largest_held.max(*raw),
            Mark::Done => {}
        }
    }

    pub(super) fn find_largest(&mut self) {
        self.largest_open = i128::MIN;
        self.largest_held = i128::MIN;
        (self.start..self.entries.len()).for_each(|i| self.see_largest(i));
    }

    pub(super) fn change_steps(&mut self, index: usize, by: Steps) {
        for (track, by) in self.tracks.iter_mut().zip(by) {
            if let Some(Point { step, .. }) = track.get_mut(index) {
                step.enter += by.enter;
                step.leave += by.leave;
            }
        }
        self.count_steps(by, 1);
    }

    pub(super) fn change_whole(&mut self, by: Figure, threshold: i128, found: &mut Found) {
        self.shift = [self.shift[0] + by[0], self.shift[1] + by[1]];
        let shift = self.shift[0];
        if self.open > 0 && self.largest_open.saturating_add(shift) >= threshold {
            self.find_holding(self.start, self.entries.len(), threshold, found);
            self.find_largest();
        }
        if self.largest_held > i128::MIN {
            found.figure(self.largest_held + shift);
        }
    }

    pub(super) fn change_part(
        &mut self,
        start: usize,
        end: usize,
        by: Figure,
        threshold: i128,
        found: &mut Found,
    ) {
        let seconds = self.tracks[1].iter_mut().take(end).skip(start);
        seconds.for_each(|point| point.raw += by[1]);
        let shift = self.shift[0];
        let mut is_known = by[0] >= 0;
        for index in start..end {
            let point = &mut self.tracks[0][index];
            point.raw += by[0];
            let raw = point.raw;
            match self.marks[index] {
                Mark::Open if raw + shift >= threshold => {
                    self.set_mark(index, Mark::Held);
                    found.end(self.entries[index].time);
                    found.figure(raw + shift);
                    is_known = false;
                }
                Mark::Open => self.largest_open = self.largest_open.max(raw),
                Mark::Held => {
                    self.largest_held = self.largest_held.max(raw);
                    found.figure(raw + shift);
                }
                Mark::Done => {}
            }
        }
        // What has grown can only be larger than what was the largest.
        if !is_known {
            self.find_largest();
        }
    }

    pub(super) fn find_holding(
        &mut self,
        start: usize,
        end: usize,
        threshold: i128,
        found: &mut Found,
    ) {
        for index in start..end {
            if self.marks[index] == Mark::Open && self.figure(index)[0] >= threshold {
                self.set_mark(index, Mark::Held);
                found.end(self.entries[index].time);
            }
        }
    }

    pub(super) fn hold(&mut self, start: usize, end: usize, found: &mut Found) {
        for index in start..end {
            if self.marks[index] == Mark::Open {
                self.set_mark(index, Mark::Held);
                found.end(self.entries[index].time);
            }
        }
    }

    pub(super) fn set_mark(&mut self, index: usize, mark: Mark) {
        let before = std::mem::replace(&mut self.marks[index], mark);
        self.open += usize::from(mark == Mark::Open);
        self.open -= usize::from(before == Mark::Open);
    }

    pub(super) fn split_off(&mut self, index: usize) -> Self {
        let mut rest = Self::new();
        rest.shift = self.shift;
        rest.entries = self.entries.split_off(index);
        rest.marks = self.marks.split_off(index);
        for (rest, track) in rest.tracks.iter_mut().zip(&mut self.tracks) {
            *rest = track.split_off(index.min(track.len()));
        }
        self.sum_up();
        rest.sum_up();
        rest
    }

    /// Works out what is known of the chunk as a whole.
    pub(super) fn sum_up(&mut self) {
        self.first = self.entries[self.start].order();
        self.last = self.entries[self.entries.len() - 1].order();
        self.enters = Figure::default();
        self.leaves = Figure::default();
        for (n, track) in self.tracks.iter().enumerate() {
            let steps = || track.iter().skip(self.start).map(|p| &p.step);
            self.enters[n] = steps().map(|s| i128::from(s.enter)).sum();
            self.leaves[n] = steps().map(|s| i128::from(s.leave)).sum();
        }
        let marks = &self.marks[self.start..];
        self.open = marks.iter().filter(|m| **m == Mark::Open).count();
        self.find_largest();
    }

    pub(super) fn pop_first(&mut self) -> (Entry, Steps) {
        let index = self.start;
        let mut steps = Steps::default();
        for (step, track) in steps.iter_mut().zip(&self.tracks) {
            *step = track.get(index).map(|p| p.step).unwrap_or_default();
        }
        self.count_steps(steps, -1);
        self.open -= usize::from(self.marks[index] == Mark::Open);
        let entry = self.entries[index];
        self.start += 1;
        if let Some(next) = self.entries.get(self.start) {
            self.first = next.order();
            if self.start >= MIN_GONE && self.start * 2 >= self.entries.len() {
                self.give_back_room();
            }
        }
        (entry, steps)
    }

    pub(super) fn give_back_room(&mut self) {
        self.entries.drain(..self.start);
        self.marks.drain(..self.start);
        for track in &mut self.tracks {
            track.drain(..self.start.min(track.len()));
        }
        self.start = 0;
        self.find_largest();
    }
}

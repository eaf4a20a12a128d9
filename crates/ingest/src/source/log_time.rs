//! The log time of a replayed log: the running maximum of its corrected event times. A time far
//! ahead of the events after it is forged or broken, and does not move the clock.

use std::collections::VecDeque;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use lapwing_event::FieldId;
use lapwing_event::time::DAY;

use crate::decode::DecodedChunk;

/// Events after an event that judge its time, as the design says.
const LOOK_AHEAD_EVENTS: usize = 63;

/// Records after an event, rejected ones included, beyond which no event judges it: what is held
/// back stays bounded in a log of broken lines.
const LOOK_AHEAD_RECORDS: usize = 4096;

/// How far ahead of those events a time may be, microseconds.
const MAX_AHEAD: i64 = DAY;

/// A chunk whose records have their log times.
#[derive(Debug)]
pub(crate) struct TimedChunk {
    /// The records.
    pub(crate) chunk: DecodedChunk,
    /// The log time of each record; `i64::MIN` where no event has said any time yet.
    pub(crate) log_times: Vec<i64>,
    /// Whether the time of each event was corrected; `None` if none was.
    pub(crate) corrected: Option<Vec<bool>>,
}

/// Gives the records of one log, in order, their log times.
///
/// Rejected records have the log time of the record before them. Those before the first event have
/// the log time of that event, if it is among the first [`LOOK_AHEAD_RECORDS`] records, and none
/// otherwise.
#[derive(Default)]
pub(crate) struct LogTimer {
    held: VecDeque<DecodedChunk>,
    held_records: usize,
    held_events: usize,
    /// The log time reached; `None` until the first event can be judged.
    now: Option<i64>,
    has_ended: bool,
}

impl LogTimer {
    /// Takes the next chunk of the log.
    pub(crate) fn push(&mut self, chunk: DecodedChunk) {
        self.held_records += chunk.records();
        self.held_events += chunk.events.rows;
        self.held.push_back(chunk);
    }

    /// There will be no more chunks.
    pub(crate) fn end(&mut self) {
        self.has_ended = true;
    }

    /// The next chunk, once enough is known of what follows it.
    pub(crate) fn pop(&mut self) -> Option<TimedChunk> {
        let now = match self.now {
            Some(now) => now,
            None => self.first_log_time()?,
        };
        let front = self.held.front()?;
        let events_after = self.held_events - front.events.rows;
        let records_after = self.held_records - front.records();
        let is_judged = self.has_ended
            || events_after >= LOOK_AHEAD_EVENTS
            || records_after >= LOOK_AHEAD_RECORDS;
        if !is_judged {
            self.now = Some(now);
            return None;
        }
        let chunk = self.held.pop_front()?;
        self.held_records -= chunk.records();
        self.held_events -= chunk.events.rows;
        let corrected = correct(&chunk, &self.times_after());
        let timed = timed(chunk, corrected.as_deref(), now);
        self.now = Some(timed.log_times.last().copied().unwrap_or(now));
        Some(timed)
    }

    /// The corrected time of the first event; `i64::MIN` if it comes too late or never.
    fn first_log_time(&self) -> Option<i64> {
        let is_judged = self.has_ended
            || self.held_events > LOOK_AHEAD_EVENTS
            || self.held_records >= 2 * LOOK_AHEAD_RECORDS;
        if !is_judged {
            return None;
        }
        let held = times(self.held.iter()).take(1 + LOOK_AHEAD_EVENTS);
        let held: Vec<(usize, i64)> = held.collect();
        Some(match held.first() {
            Some((at, _)) if *at < LOOK_AHEAD_RECORDS => corrected_times(&held, 1)[0],
            _ => i64::MIN,
        })
    }

    /// The times of the events that judge those of a chunk just taken out.
    fn times_after(&self) -> Vec<(usize, i64)> {
        let after = times(self.held.iter()).take(LOOK_AHEAD_EVENTS);
        after.take_while(|(at, _)| *at < LOOK_AHEAD_RECORDS).collect()
    }
}

/// The record numbers, from 0, and times of the events of chunks.
fn times<'a>(chunks: impl Iterator<Item = &'a DecodedChunk>) -> impl Iterator<Item = (usize, i64)> {
    let mut first = 0;
    chunks.flat_map(move |chunk| {
        let start = first;
        first += chunk.records();
        let records = chunk.record_of_event.iter().map(move |at| start + *at as usize);
        records.zip(event_times(chunk).iter().copied())
    })
}

/// The times of the events of a chunk, as their records say them.
pub(crate) fn event_times(chunk: &DecodedChunk) -> &[i64] {
    let column = &chunk.events.arrays[FieldId::Time.index()];
    column.as_primitive::<TimestampMicrosecondType>().values()
}

/// The corrected times of the events of a chunk, `None` where all stay as they are.
fn correct(chunk: &DecodedChunk, after: &[(usize, i64)]) -> Option<Vec<i64>> {
    let own = event_times(chunk);
    let most = own.iter().max()?;
    let least = own.iter().chain(after.iter().map(|(_, time)| time)).min()?;
    // The usual case: nothing in sight is far from anything else.
    if most - least <= MAX_AHEAD {
        return None;
    }
    let records = chunk.records();
    let mut events: Vec<(usize, i64)> = times(std::iter::once(chunk)).collect();
    events.extend(after.iter().map(|(at, time)| (records + at, *time)));
    let corrected = corrected_times(&events, own.len());
    (corrected != own).then_some(corrected)
}

/// Corrects the first `count` of some events, given by record number and time: a sliding minimum
/// over the events that follow, kept as a queue of rising times.
fn corrected_times(events: &[(usize, i64)], count: usize) -> Vec<i64> {
    let mut minima: VecDeque<usize> = VecDeque::new();
    let mut next = 0;
    let mut corrected = Vec::with_capacity(count);
    for (i, &(record, time)) in events[..count].iter().enumerate() {
        while next < events.len()
            && next <= i + LOOK_AHEAD_EVENTS
            && events[next].0 <= record + LOOK_AHEAD_RECORDS
        {
            while minima.back().is_some_and(|&last| events[last].1 >= events[next].1) {
                minima.pop_back();
            }
            minima.push_back(next);
            next += 1;
        }
        while minima.front().is_some_and(|&first| first < i) {
            minima.pop_front();
        }
        let least = minima.front().map_or(time, |&first| events[first].1);
        corrected.push(if time - least > MAX_AHEAD { least } else { time });
    }
    corrected
}

/// Gives each record the running maximum.
fn timed(chunk: DecodedChunk, corrected: Option<&[i64]>, mut now: i64) -> TimedChunk {
    let own = event_times(&chunk);
    let times = corrected.unwrap_or(own);
    let mut log_times = Vec::with_capacity(chunk.records());
    for (&record, &time) in chunk.record_of_event.iter().zip(times) {
        log_times.resize(record as usize, now);
        now = now.max(time);
        log_times.push(now);
    }
    log_times.resize(chunk.records(), now);
    let flags = corrected.map(|c| c.iter().zip(own).map(|(c, own)| c != own).collect());
    TimedChunk { chunk, log_times, corrected: flags }
}

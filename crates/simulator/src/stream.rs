//! Writes a scenario: background and incidents merged by time, then put out of order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};

use crate::fleet::Fleet;
use crate::incident::{Incident, Scheduled, floor_ms, schedule};
use crate::line::TimeText;
use crate::noise::Noise;
use crate::random::Random;
use crate::scenario::{Disorder, Scenario};
use crate::session::Session;

/// One event of the background in this many tries to be a failed login; see [`crate::noise`].
const NOISE_ONCE_IN: u64 = 250;
/// Bytes collected before they are written.
const CHUNK_BYTES: usize = 256 * 1024;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Lines.
    pub events: u64,
    /// Bytes, line ends included.
    pub bytes: u64,
    /// Sessions of the background that were begun.
    pub sessions: u64,
    /// Lines that were delayed; a short delay may pass nothing.
    pub delayed: u64,
}

/// Writes the lines of a scenario to `out` and adds its incidents to `truth`, in the order of
/// their first events.
///
/// # Errors
/// Those of `out`.
pub fn write(
    scenario: &Scenario,
    out: &mut impl Write,
    truth: &mut Vec<Incident>,
) -> io::Result<Stats> {
    let mut random = Random::new(scenario.seed);
    let start_us = floor_ms(scenario.start_us);
    let fleet = Fleet::new(scenario.agents, start_us, &mut random.fork());
    let scheduled = schedule(scenario, &fleet, &mut random.fork(), truth);
    let number = scenario.events.saturating_sub(scheduled.len() as u64);
    let mut out = Disordered::new(out, scenario.disorder, random.fork());
    let mut background = Background::new(fleet, random.fork());
    let mut scheduled = scheduled.into_iter().peekable();
    for n in 0..number {
        let time_us = start_us + background.time_us(n, number, scenario.span_us);
        while let Some(Scheduled { time_us, line }) = scheduled.next_if(|s| s.time_us <= time_us) {
            out.event(time_us, |chunk| chunk.extend_from_slice(&line))?;
        }
        out.event(time_us, |chunk| background.write(time_us, chunk))?;
    }
    for Scheduled { time_us, line } in scheduled {
        out.event(time_us, |chunk| chunk.extend_from_slice(&line))?;
    }
    let stats = out.finish()?;
    Ok(Stats { sessions: background.sessions, ..stats })
}

/// Everything that is not an incident.
struct Background {
    fleet: Fleet,
    /// One session per agent at a time.
    under_way: Vec<Session>,
    sessions: u64,
    noise: Noise,
    clock: TimeText,
    random: Random,
}

impl Background {
    fn new(fleet: Fleet, mut random: Random) -> Self {
        let under_way: Vec<Session> =
            fleet.agents.iter().map(|_| Session::new(&mut random)).collect();
        let sessions = under_way.len() as u64;
        Self { fleet, under_way, sessions, noise: Noise::new(), clock: TimeText::new(), random }
    }

    /// The time of the n-th event since the start: somewhere in the n-th of equal steps, so that
    /// times rise and cover the span.
    fn time_us(&mut self, n: u64, number: u64, span_us: i64) -> i64 {
        let span_us = u128::from(span_us.max(0).unsigned_abs());
        let step = |n: u64| (u128::from(n) * span_us / u128::from(number)) as i64;
        floor_ms(self.random.between_us(step(n), (step(n + 1) - 1).max(step(n))))
    }

    /// Writes a failed login now and then, otherwise the next event of some agent; a few agents
    /// do much more than the others.
    fn write(&mut self, time_us: i64, chunk: &mut Vec<u8>) {
        let (clock, random) = (&mut self.clock, &mut self.random);
        if random.once_in(NOISE_ONCE_IN)
            && self.noise.write(&mut self.fleet, time_us, clock, random, chunk)
        {
            return;
        }
        let n = random.skewed(self.under_way.len());
        let session = &mut self.under_way[n];
        if session.is_over() {
            *session = Session::new(random);
            self.sessions += 1;
        }
        session.write(&self.fleet.agents[n], &self.fleet, time_us, clock, random, chunk);
    }
}

/// Holds delayed lines back until a line arrives after them.
struct Disordered<'a, W: Write> {
    out: &'a mut W,
    disorder: Disorder,
    random: Random,
    chunk: Vec<u8>,
    /// By arrival, then number.
    waiting: BinaryHeap<Reverse<(i64, u64, Vec<u8>)>>,
    stats: Stats,
}

impl<'a, W: Write> Disordered<'a, W> {
    fn new(out: &'a mut W, disorder: Disorder, random: Random) -> Self {
        let chunk = Vec::with_capacity(CHUNK_BYTES + 4096);
        let (waiting, stats) = (BinaryHeap::new(), Stats::default());
        Self { out, disorder, random, chunk, waiting, stats }
    }

    /// Adds an event; times must rise.
    fn event(&mut self, time_us: i64, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        while self.waiting.peek().is_some_and(|Reverse((arrival_us, ..))| *arrival_us <= time_us) {
            self.take_one_waiting();
        }
        let start = self.chunk.len();
        write(&mut self.chunk);
        self.stats.events += 1;
        self.stats.bytes += (self.chunk.len() - start) as u64;
        if self.random.chance(self.disorder.share) {
            let arrival_us = time_us + self.random.between_us(0, self.disorder.max_delay_us);
            let line = self.chunk.split_off(start);
            self.waiting.push(Reverse((arrival_us, self.stats.events, line)));
            self.stats.delayed += 1;
        }
        if self.chunk.len() >= CHUNK_BYTES {
            self.out.write_all(&self.chunk)?;
            self.chunk.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Stats> {
        while self.take_one_waiting() {}
        self.out.write_all(&self.chunk)?;
        self.out.flush()?;
        Ok(self.stats)
    }

    /// False if there was none.
    fn take_one_waiting(&mut self) -> bool {
        let next = self.waiting.pop();
        if let Some(Reverse((_, _, line))) = &next {
            self.chunk.extend_from_slice(line);
        }
        next.is_some()
    }
}

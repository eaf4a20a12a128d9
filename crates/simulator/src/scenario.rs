//! What to simulate: how much, when, who, and what goes wrong.

use lapwing_event::time::{DAY, HOUR, MINUTE, SECOND};

use crate::incident::IncidentKind;

/// 2026-11-22T00:00:00Z, where a simulated log begins unless told otherwise.
const DEFAULT_START_US: i64 = 20_779 * DAY;

/// A log to be made. Equal scenarios give equal bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Selects one of 2^64 logs of this description.
    pub seed: u64,
    /// Lines in all, incidents included. A scenario whose incidents alone need more has more.
    pub events: u64,
    /// The time of the first event, microseconds since 1970-01-01T00:00:00Z; rounded down to a
    /// millisecond.
    pub start_us: i64,
    /// The time that the events cover, microseconds. An incident that does not fit goes on after
    /// its end.
    pub span_us: i64,
    /// Agents of the fleet, at least 1. Ten share a gateway.
    pub agents: u32,
    /// How many incidents of each kind, at random times. Their sizes take turns: just at the
    /// threshold, below the raised level, at the raised level, far above.
    pub incidents: Vec<(IncidentKind, u32)>,
    /// Incidents at given times.
    pub planned: Vec<Planned>,
    /// How the order of lines differs from the order of times.
    pub disorder: Disorder,
}

/// An incident at a given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// What happens.
    pub kind: IncidentKind,
    /// When its first event happens, microseconds after the start of the scenario.
    pub after_us: i64,
    /// The value that its rule compares: occurrences, or distinct values for a rule that counts
    /// those. At least the rule's threshold, or it does not fire.
    pub size: u64,
    /// Who it is about: incidents of equal subject share address, gateway, agent and session.
    pub subject: u32,
}

/// Lines that arrive after younger ones. Their time stays, their place in the log moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disorder {
    /// The share of the events that are delayed, 0 to 1.
    pub share: f64,
    /// The longest delay, microseconds. Delayed events wait in memory.
    pub max_delay_us: i64,
}

impl Default for Disorder {
    /// 2 % up to 30 seconds: well within the allowed lateness of 10 minutes.
    fn default() -> Self {
        Self { share: 0.02, max_delay_us: 30 * SECOND }
    }
}

impl Default for Scenario {
    /// A million events of 200 agents over a day, without incidents.
    fn default() -> Self {
        Self {
            seed: 1,
            events: 1_000_000,
            start_us: DEFAULT_START_US,
            span_us: DAY,
            agents: 200,
            incidents: Vec::new(),
            planned: Vec::new(),
            disorder: Disorder::default(),
        }
    }
}

impl Scenario {
    /// The default scenario with this seed, this many events and this many incidents in all,
    /// spread evenly over the kinds.
    pub fn new(seed: u64, events: u64, incidents: u32) -> Self {
        let kinds = IncidentKind::ALL.len() as u32;
        let incidents = (0..kinds)
            .zip(IncidentKind::ALL)
            .map(|(n, kind)| (kind, incidents / kinds + u32::from(n < incidents % kinds)))
            .collect();
        Self { seed, events, incidents, ..Self::default() }
    }
}

/// A day of a small fleet, about 20,000 events. At night somebody tries tokens from many
/// addresses, then one address tries hard until it is locked out. In the morning a script on a
/// gateway itself keeps using an old token. At noon an agent has read something it should not
/// have: it probes paths, reaches for credentials and runs against its policy. In the afternoon
/// another agent repeats itself until its context overflows and cannot be recovered.
pub fn demo_scenario(seed: u64) -> Scenario {
    use IncidentKind::*;
    let at = |hour: i64, minute: i64, kind, size, subject| Planned {
        kind,
        after_us: hour * HOUR + minute * MINUTE,
        size,
        subject,
    };
    Scenario {
        seed,
        events: 20_000,
        agents: 12,
        planned: vec![
            at(2, 40, AuthSpray, 23, 1),
            at(3, 15, AuthFailures, 14, 2),
            at(3, 20, AuthLockout, 3, 2),
            at(8, 5, AuthFailuresLocal, 9, 3),
            at(12, 2, ToolDeniedProbing, 7, 4),
            at(12, 20, SensitiveTargetDenied, 3, 4),
            at(12, 50, ToolDeniedBurst, 18, 4),
            at(15, 10, ToolLoop, 2, 5),
            at(15, 35, ToolDeniedRepeat, 6, 5),
            at(16, 0, ContextPressure, 21, 5),
            at(16, 25, ContextOverflow, 3, 5),
            at(16, 58, ContextUnrecovered, 1, 5),
        ],
        ..Scenario::default()
    }
}

//! Turns the incidents of a scenario into lines with times, and writes down the truth.

use std::collections::BTreeSet;
use std::sync::Arc;

use lapwing_event::time::SECOND;
use lapwing_event::{AlertKey, KeyValue};

use crate::fleet::Fleet;
use crate::incident::events::Writer;
use crate::incident::subject::Subject;
use crate::incident::{Aim, Counts, Incident, IncidentKind};
use crate::random::Random;
use crate::scenario::{Planned, Scenario};

/// A line and when its event happens.
pub(crate) struct Scheduled {
    pub(crate) time_us: i64,
    pub(crate) line: Vec<u8>,
}

/// The share of a rule's timespan that an incident takes at most, in tenths: every event lies in
/// the window that ends at the last one.
const MAX_TENTHS: i64 = 6;
/// Room before an incident's first event, for the start of its session.
const LEAD_US: i64 = 5 * SECOND;

/// The lines of all incidents in the order of their times; their truth is added to `truth` in
/// the order of their first events.
pub(crate) fn schedule(
    scenario: &Scenario,
    fleet: &Fleet,
    random: &mut Random,
    truth: &mut Vec<Incident>,
) -> Vec<Scheduled> {
    let mut lines = Vec::new();
    let mut begun = BTreeSet::new();
    let mut incidents = Vec::new();
    for planned in scenario.planned.iter().copied().chain(draw(scenario, random)) {
        let subject = Subject::new(planned.subject, fleet.agents.len(), scenario.seed);
        let mut writer = Writer::new(fleet, &subject, random.fork(), &mut lines);
        let first_us = floor_ms(scenario.start_us) + floor_ms(planned.after_us);
        if begun.insert(planned.subject) {
            writer.begin_session(first_us);
        }
        incidents.push(one(planned, first_us, &mut writer));
    }
    lines.sort_by_key(|l| l.time_us);
    incidents.sort_by_key(|i| i.first_time_us);
    truth.extend(incidents);
    lines
}

/// The incidents that the scenario only counts, with times, sizes and fresh subjects.
fn draw(scenario: &Scenario, random: &mut Random) -> Vec<Planned> {
    let mut subject = scenario.planned.iter().map(|p| p.subject + 1).max().unwrap_or(0);
    let mut drawn = Vec::new();
    for (kind, number) in &scenario.incidents {
        for n in 0..*number {
            let aim = kind.aim();
            let latest_us = scenario.span_us - aim.timespan_us;
            drawn.push(Planned {
                kind: *kind,
                after_us: random.between_us(LEAD_US, latest_us.max(LEAD_US)),
                size: draw_size(&aim, n, random),
                subject,
            });
            subject += 1;
        }
    }
    drawn
}

fn draw_size(aim: &Aim, n: u32, random: &mut Random) -> u64 {
    let raised = aim.raised.map_or(aim.threshold + 2, |(from, _)| from);
    match n % 4 {
        0 => aim.threshold,
        1 => random.between(aim.threshold, (raised - 1).max(aim.threshold)),
        2 => raised,
        _ => random.between(raised, raised * 2 + 4),
    }
}

/// Writes one incident.
fn one(planned: Planned, first_us: i64, writer: &mut Writer<'_>) -> Incident {
    let aim = planned.kind.aim();
    let parts = split(planned.kind, planned.size, writer.random());
    let times = times(first_us, aim.timespan_us, parts.len(), writer.random());
    for (part, time_us) in parts.iter().zip(&times) {
        writer.event(planned.kind, part, *time_us);
    }
    let key = aim.group_by.iter().map(|field| {
        let value = writer.key_value(planned.kind, field);
        (Arc::from(*field), KeyValue::Text(value.into()))
    });
    Incident {
        kind: planned.kind,
        rule: aim.rule,
        key: AlertKey(key.collect()),
        first_time_us: first_us,
        last_time_us: times.last().copied().unwrap_or(first_us),
        occurrences: parts.iter().map(|p| p.occurrences).sum(),
        expected_level: aim.level_at(planned.size),
        distinct: (aim.counts == Counts::Values).then_some(planned.size),
    }
}

/// One event of an incident.
pub(crate) struct Part {
    /// Its number in the incident; where values are counted, the number of its value.
    pub(crate) value: u64,
    /// How many occurrences it stands for.
    pub(crate) occurrences: u64,
}

/// Cuts an incident into events: some failed logins stand for three, some values come twice.
fn split(kind: IncidentKind, size: u64, random: &mut Random) -> Vec<Part> {
    let summed_up = matches!(
        kind,
        IncidentKind::AuthFailures | IncidentKind::AuthFailuresLocal | IncidentKind::AuthLockout
    );
    let twice = kind.aim().counts == Counts::Values;
    let mut parts = Vec::new();
    let mut done = 0;
    while done < size {
        let occurrences = if summed_up && size - done >= 3 && random.once_in(5) { 3 } else { 1 };
        parts.push(Part { value: done, occurrences });
        if twice && random.once_in(4) {
            parts.push(Part { value: done, occurrences: 1 });
        }
        done += occurrences;
    }
    parts
}

/// Rising times from the first event on, within a part of the timespan.
fn times(first_us: i64, timespan_us: i64, number: usize, random: &mut Random) -> Vec<i64> {
    let most_us = timespan_us * MAX_TENTHS / 10;
    let least_us = (number as i64 * SECOND / 2).min(most_us);
    let length_us = random.between_us(least_us, most_us);
    let mut times: Vec<i64> =
        (0..number).map(|_| floor_ms(first_us + random.between_us(0, length_us))).collect();
    times.sort_unstable();
    if let Some(first) = times.first_mut() {
        *first = first_us;
    }
    times
}

/// Times are written in milliseconds.
pub(crate) fn floor_ms(us: i64) -> i64 {
    us.div_euclid(1000) * 1000
}

//! Conditions on what a correlation measures: one lower and one upper bound, or one value. What
//! every window fulfils, or none, is refused: it cannot be meant.

use std::ops::RangeInclusive;

use lapwing_event::Fixed;

use super::{Compare, Condition, Measure};
use crate::yaml::{Data, Node, YamlError};

/// The values that a measure can have in a window, which ends at an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Domain {
    measure: Measure,
    least: Fixed,
    most: Fixed,
    /// From one value to the next: one, or 1e-9.
    step: Fixed,
}

/// More than any measure: no rule can name it.
const ENDLESS: Fixed = Fixed(i128::MAX);

impl Domain {
    /// The values of a measure over so many detections.
    pub(super) fn of(measure: Measure, detections: usize) -> Self {
        let one = Fixed::from(1);
        let all = Fixed::from(detections as i64);
        let (least, most, step) = match measure {
            Measure::EventCount => (one, ENDLESS, one),
            Measure::ValueCount(_) => (Fixed(0), ENDLESS, one),
            Measure::ValueSum(_) | Measure::ValueAvg(_) => (Fixed(0), ENDLESS, Fixed(1)),
            Measure::Temporal => (one, all, one),
            Measure::TemporalOrdered => (Fixed(0), all, one),
            Measure::Absence => (Fixed(0), Fixed(0), one),
        };
        Self { measure, least, most, step }
    }

    /// Reads a number that a value of the measure can be compared with.
    ///
    /// # Errors
    /// No number; a decimal one where values are whole.
    pub(super) fn read(&self, node: &Node) -> Result<Fixed, YamlError> {
        match node.data {
            Data::Float(_) if self.step == 1 => node.int().map(Fixed::from),
            _ => node.number(),
        }
    }

    /// The largest value there can be.
    pub(super) fn most(&self) -> Fixed {
        self.most
    }

    /// The smallest value that fulfils a condition.
    pub(super) fn lowest(&self, condition: &Condition) -> Fixed {
        *self.range_of(&condition.parts).start()
    }

    /// The values that fulfil one comparison, whether there are such or not.
    fn range(&self, (compare, limit): (Compare, Fixed)) -> RangeInclusive<Fixed> {
        let lowest = Fixed(i128::MIN);
        match compare {
            Compare::Eq => limit..=limit,
            Compare::Gt => Fixed(limit.0 + self.step.0)..=ENDLESS,
            Compare::Gte => limit..=ENDLESS,
            Compare::Lt => lowest..=Fixed(limit.0 - self.step.0),
            Compare::Lte => lowest..=limit,
        }
    }

    /// The values there are that fulfil all comparisons.
    fn range_of(&self, parts: &[(Compare, Fixed)]) -> RangeInclusive<Fixed> {
        parts.iter().fold(self.least..=self.most, |range, part| {
            let other = self.range(*part);
            *range.start().max(other.start())..=*range.end().min(other.end())
        })
    }

    /// Refuses a comparison that holds in every window or in none.
    fn check(&self, part: (Compare, Fixed), at: &Node) -> Result<(), YamlError> {
        let range = self.range(part);
        let Self { least, most, .. } = self;
        if range.end() < least {
            let way_out = match self.measure {
                Measure::EventCount => "to be told of silence, write `expected` at the detection",
                _ => "ask for more",
            };
            return Err(at.error(format!(
                "no window can fulfil it: the value is never below {least}; {way_out}"
            )));
        }
        if range.start() > most {
            return Err(at.error(format!(
                "no window can fulfil it: the value is never above {most}; ask for less"
            )));
        }
        // To ask for one event is what a plain detection does.
        let is_plain = self.measure == Measure::EventCount && range.start() == least;
        if is_plain || range.start() > least || range.end() < most {
            return Ok(());
        }
        let (side, limit, way_out) = match part.0 {
            Compare::Lt | Compare::Lte => ("above", most, "ask for less"),
            _ => ("below", least, "ask for more"),
        };
        Err(at.error(format!(
            "every window fulfils it: the value is never {side} {limit}; {way_out} or leave it out"
        )))
    }
}

/// Reads the comparisons of a `condition:`; its `field` is left to the caller.
///
/// # Errors
/// Comparisons that are not supported, that do not go together, or that no window or every
/// window fulfils.
pub(super) fn read_bounds(node: &Node, domain: &Domain) -> Result<Condition, YamlError> {
    let Data::Map(entries) = &node.data else {
        return Err(node.error("expected comparisons, for instance {gte: 3}"));
    };
    let mut parts: Vec<(Compare, Fixed)> = Vec::new();
    for (key, value) in entries {
        if key == "field" {
            continue;
        }
        let compare = read_compare(key, value)?;
        if parts.iter().any(|(other, _)| are_at_odds(*other, compare)) {
            return Err(value.error(
                "a condition has one lower bound (gt or gte) and one upper bound (lt or lte), or \
                 eq alone; leave one out",
            ));
        }
        let part = (compare, domain.read(value)?);
        domain.check(part, value)?;
        parts.push(part);
    }
    if parts.is_empty() {
        return Err(node.error("a comparison is missing: gt, gte, lt, lte or eq"));
    }
    if domain.range_of(&parts).is_empty() {
        return Err(node.error("no value fulfils all of it; raise the upper bound"));
    }
    Ok(Condition { parts })
}

fn read_compare(key: &str, at: &Node) -> Result<Compare, YamlError> {
    match key {
        "gt" => Ok(Compare::Gt),
        "gte" => Ok(Compare::Gte),
        "lt" => Ok(Compare::Lt),
        "lte" => Ok(Compare::Lte),
        "eq" => Ok(Compare::Eq),
        "neq" => {
            Err(at.error("neq is not supported; write two rules, one with lt and one with gt"))
        }
        _ => Err(at.error("unknown key; known are gt, gte, lt, lte, eq")),
    }
}

/// Whether two comparisons bound the same side.
fn are_at_odds(a: Compare, b: Compare) -> bool {
    let is_lower = |compare| matches!(compare, Compare::Gt | Compare::Gte);
    a == Compare::Eq || b == Compare::Eq || is_lower(a) == is_lower(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::read_documents;
    use lapwing_event::FieldId;

    const COUNT: Measure = Measure::EventCount;
    const VALUES: Measure = Measure::ValueCount(FieldId::ToolTarget);
    const SUM: Measure = Measure::ValueSum(FieldId::UsageCostUsd);
    const AVERAGE: Measure = Measure::ValueAvg(FieldId::DurationMs);

    fn read(measure: Measure, condition: &str) -> Result<Condition, YamlError> {
        let document = read_documents("r.yml", &format!("condition: {{{condition}}}"))?;
        read_bounds(document[0].require("condition")?, &Domain::of(measure, 3))
    }

    #[test]
    fn comparisons_are_read_as_they_stand() {
        use Compare::{Eq, Gt, Gte, Lt, Lte};
        let half = Fixed(500_000_000);
        for (measure, condition, parts) in [
            (COUNT, "gte: 1", vec![(Gte, Fixed::from(1))]),
            (COUNT, "gt: 0", vec![(Gt, Fixed::from(0))]),
            (COUNT, "gte: 1, lte: 3", vec![(Gte, Fixed::from(1)), (Lte, Fixed::from(3))]),
            (COUNT, "lt: 3", vec![(Lt, Fixed::from(3))]),
            (COUNT, "gt: 100, lte: 200", vec![(Gt, Fixed::from(100)), (Lte, Fixed::from(200))]),
            (COUNT, "eq: 2", vec![(Eq, Fixed::from(2))]),
            (VALUES, "lte: 0", vec![(Lte, Fixed::from(0))]),
            (SUM, "gt: 0", vec![(Gt, Fixed::from(0))]),
            (SUM, "gt: 0.5, lt: 0.500000002", vec![(Gt, half), (Lt, Fixed(500_000_002))]),
            (AVERAGE, "gte: 2.0", vec![(Gte, Fixed::from(2))]),
            (Measure::Temporal, "gte: 2", vec![(Gte, Fixed::from(2))]),
            (Measure::Temporal, "eq: 1", vec![(Eq, Fixed::from(1))]),
        ] {
            assert_eq!(read(measure, condition), Ok(Condition { parts }), "{condition}");
        }
    }

    #[test]
    fn what_no_window_or_every_window_fulfils_is_refused() {
        for (measure, condition, part) in [
            (COUNT, "gte: 0", "condition.gte: every window fulfils it: the value is never below 1"),
            (COUNT, "gt: -1", "every window fulfils it"),
            (COUNT, "lt: 1", "condition.lt: no window can fulfil it: the value is never below 1"),
            (COUNT, "lte: 0", "write `expected` at the detection"),
            (COUNT, "eq: 0", "no window can fulfil it"),
            (COUNT, "gte: 5, lt: 5", "condition: no value fulfils all of it"),
            (COUNT, "gt: 3, lt: 4", "no value fulfils all of it"),
            (VALUES, "gte: 0", "every window fulfils it: the value is never below 0"),
            (VALUES, "gte: 0, lte: 4", "ask for more or leave it out"),
            (VALUES, "lt: 0", "no window can fulfil it"),
            (SUM, "gte: 0", "every window fulfils it"),
            (SUM, "gt: 0.5, lt: 0.500000001", "no value fulfils all of it"),
            (AVERAGE, "gte: -0.5", "every window fulfils it"),
            (AVERAGE, "eq: -1", "no window can fulfil it"),
            (Measure::Temporal, "gte: 1", "every window fulfils it: the value is never below 1"),
            (Measure::Temporal, "lte: 3", "every window fulfils it: the value is never above 3"),
            (Measure::Temporal, "gt: 3", "no window can fulfil it: the value is never above 3"),
            (Measure::Temporal, "lt: 1", "no window can fulfil it"),
        ] {
            let error = read(measure, condition).expect_err(condition).to_string();
            assert!(error.contains(part), "{condition}: {error}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_the_way_out() {
        for (measure, condition, part) in [
            (COUNT, "gt: 3, gte: 4", "condition.gte: a condition has one lower bound"),
            (COUNT, "lt: 3, lte: 4", "condition.lte: a condition has one lower bound"),
            (COUNT, "eq: 3, lte: 4", "eq alone"),
            (COUNT, "gte: 3, eq: 4", "eq alone"),
            (COUNT, "neq: 3", "write two rules"),
            (COUNT, "gte: 2.5", "expected a whole number, found a decimal number"),
            (COUNT, "gte: many", "expected a number, found text"),
            (COUNT, "", "a comparison is missing"),
            (COUNT, "least: 3", "known are gt, gte, lt, lte, eq"),
            (SUM, "gte: 0.0000000001", "at most nine digits after the point"),
            (SUM, "gte: 1.0e+30", "up to 10^18"),
            (SUM, "gte: .inf", "up to 10^18"),
        ] {
            let error = read(measure, condition).expect_err(condition).to_string();
            assert!(error.starts_with("r.yml:1: condition"), "{condition}: {error}");
            assert!(error.contains(part), "{condition}: {error}");
        }
    }

    #[test]
    fn the_lowest_value_is_a_step_above_what_is_excluded() {
        let lowest = |measure, condition| {
            Domain::of(measure, 3).lowest(&read(measure, condition).expect("valid"))
        };
        assert_eq!(lowest(COUNT, "gt: 3"), Fixed::from(4));
        assert_eq!(lowest(SUM, "gt: 3"), Fixed(3_000_000_001));
        assert_eq!(lowest(COUNT, "lte: 3"), Fixed::from(1));
    }
}

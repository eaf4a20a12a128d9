//! What windows need to know of a rule, worked out once: spans, the threshold in the unit of
//! its figures, when windows are decided.

use lapwing_event::{FieldType, Fixed};

use crate::entry::measured_field;
use crate::rule::{Compare, Measure, Rule};

/// A figure: what is kept of a window as events come and go. The first number is what is
/// compared (or summed, for an average); the second, kept for averages only, how many there are.
pub(crate) type Figure = [i128; 2];

/// A rule in numbers.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// What is measured.
    pub(crate) measure: Measure,
    /// Events in (e − span, e] decide about the window at e: the timespan, less `for`.
    pub(crate) span: i64,
    /// The window is (e − timespan, e].
    pub(crate) timespan: i64,
    pub(crate) lateness: i64,
    pub(crate) resolve_after: i64,
    /// Whether windows are decided as their events arrive.
    pub(crate) at_arrival: bool,
    /// The smallest first number at which a window holds that is decided at arrival.
    pub(crate) threshold: i128,
    /// Steps of [`Fixed`] in one unit of the first number.
    pub(crate) unit: i128,
    /// Positions of a temporal rule.
    pub(crate) positions: usize,
}

/// Steps of [`Fixed`] in one.
const ONE: i128 = 1_000_000_000;

impl Plan {
    pub(crate) fn of(rule: &Rule) -> Self {
        let is_fraction =
            measured_field(rule.measure).map(|f| f.spec().field_type) == Some(FieldType::Float);
        let is_number = matches!(rule.measure, Measure::ValueSum(_) | Measure::ValueAvg(_));
        let unit = if is_fraction && is_number { 1 } else { ONE };
        let at_arrival = rule.decides_at_arrival();
        // What is still in the window at e + for lies at or after e − (timespan − for).
        let span = rule.timespan - rule.hold_for + i64::from(rule.hold_for > 0);
        Self {
            measure: rule.measure,
            span,
            timespan: rule.timespan,
            lateness: rule.allowed_lateness,
            resolve_after: rule.resolve_after,
            at_arrival,
            threshold: if at_arrival { threshold(rule, unit) } else { i128::MAX },
            unit,
            positions: rule.detections.len(),
        }
    }

    /// The same, but no window is decided at arrival.
    pub(crate) fn undecided(&self) -> Self {
        Self { at_arrival: false, threshold: i128::MAX, ..self.clone() }
    }

    /// How many numbers a figure has that matter.
    pub(crate) fn tracks(&self) -> usize {
        match self.measure {
            Measure::ValueAvg(_) => 2,
            Measure::TemporalOrdered | Measure::Absence => 0,
            _ => 1,
        }
    }

    /// The value that the condition compares; `None` where there is none, as the mean of nothing.
    pub(crate) fn value(&self, figure: Figure) -> Option<Fixed> {
        let [sum, count] = figure;
        match self.measure {
            Measure::ValueAvg(_) if count == 0 => None,
            Measure::ValueAvg(_) => Some(Fixed((sum * self.unit).div_euclid(count))),
            _ => Some(Fixed(sum * self.unit)),
        }
    }

    /// Entries at or before this time share a window with no event that may still come.
    pub(crate) fn horizon(&self, newest: i64) -> i64 {
        // A silence is decided one microsecond after its span.
        let span = self.timespan.saturating_add(i64::from(self.measure == Measure::Absence));
        newest.saturating_sub(self.lateness).saturating_sub(span)
    }

    /// How long after an event time, on the clock of the key, what it begins or ends is decided.
    pub(crate) fn decision_delay(&self) -> i64 {
        let span = if self.measure == Measure::Absence { self.timespan } else { 0 };
        self.lateness.saturating_add(span).saturating_add(1)
    }
}

/// The smallest whole number of units that fulfils a condition of `gt` and `gte`.
fn threshold(rule: &Rule, unit: i128) -> i128 {
    let least = |(compare, limit): &(Compare, Fixed)| match compare {
        Compare::Gt => limit.0.div_euclid(unit) + 1,
        _ => -(-limit.0).div_euclid(unit),
    };
    rule.condition.parts.iter().map(least).max().unwrap_or(i128::MAX)
}

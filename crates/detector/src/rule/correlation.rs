//! What a rule counts: `correlation:` of the Sigma specification 2.1, or a detection alone.

use lapwing_event::vocabulary::nearest;
use lapwing_event::{FieldId, FieldType, Fixed};

use super::bound::{Domain, read_bounds};
use super::extension::{Extension, read_span};
use super::selection::{Compare, read_field};
use super::{Condition, DEFAULT_TIMESPAN, Measure};
use crate::yaml::{Node, YamlError};

/// What a rule counts, over which events, and when that is enough.
#[derive(Debug, Clone)]
pub(super) struct Counting {
    /// By index into the set; for `temporal_ordered` in their order, some perhaps twice.
    pub(super) detections: Vec<usize>,
    pub(super) measure: Measure,
    pub(super) condition: Condition,
    pub(super) group_by: Vec<FieldId>,
    pub(super) timespan: i64,
}

const KEYS: [&str; 7] =
    ["type", "rules", "group-by", "timespan", "condition", "generate", "aliases"];
const TYPES: [&str; 6] =
    ["event_count", "value_count", "value_sum", "value_avg", "temporal", "temporal_ordered"];
/// Most rules of `temporal` and `temporal_ordered`: which of them an event is of is kept as 16 bits
/// beside the event.
const MAX_POSITIONS: usize = 16;

impl Counting {
    /// A plain detection: one event, in five minutes, by agent.
    pub(super) fn of_detection(
        detection: usize,
        extension: &Extension<'_>,
    ) -> Result<Self, YamlError> {
        Ok(Self {
            detections: vec![detection],
            measure: Measure::EventCount,
            condition: Condition::at_least(1),
            group_by: group_by_or_agent(extension)?,
            timespan: match extension.get("timespan") {
                Some(node) => read_span(node, 1)?,
                None => DEFAULT_TIMESPAN,
            },
        })
    }

    /// A detection that is expected: silence for so long, by agent.
    pub(super) fn of_absence(
        detection: usize,
        timespan: i64,
        extension: &Extension<'_>,
    ) -> Result<Self, YamlError> {
        Ok(Self {
            detections: vec![detection],
            measure: Measure::Absence,
            condition: Condition { parts: vec![(Compare::Eq, Fixed::from(0))] },
            group_by: group_by_or_agent(extension)?,
            timespan,
        })
    }

    /// The `correlation:` of a rule; `find` gives the detection that an item of `rules` means.
    ///
    /// # Errors
    /// What the declared subset does not have, by file, line and key.
    pub(super) fn of_correlation(
        node: &Node,
        find: impl Fn(&Node) -> Result<usize, YamlError>,
    ) -> Result<Self, YamlError> {
        node.only(&KEYS)?;
        if let Some(aliases) = node.get("aliases") {
            return Err(aliases.error("aliases are not supported; name the fields alike"));
        }
        let measure = read_measure(node)?;
        let detections = read_rules(node.require("rules")?, measure, find)?;
        Ok(Self {
            measure,
            condition: read_condition(node, measure, detections.len())?,
            group_by: node.get("group-by").map(read_group_by).transpose()?.unwrap_or_default(),
            timespan: read_span(node.require("timespan")?, 1)?,
            detections,
        })
    }

    /// The values that it may have.
    pub(super) fn domain(&self) -> Domain {
        Domain::of(self.measure, self.detections.len())
    }
}

/// `type` and `condition.field`.
fn read_measure(node: &Node) -> Result<Measure, YamlError> {
    let kind = node.require("type")?;
    let condition = node.get("condition");
    let field = || node.require("condition")?.require("field");
    let measure = match kind.text()? {
        "value_count" => return read_countable(field()?).map(Measure::ValueCount),
        "value_sum" => return read_number_field(field()?).map(Measure::ValueSum),
        "value_avg" => return read_number_field(field()?).map(Measure::ValueAvg),
        "event_count" => Measure::EventCount,
        "temporal" => Measure::Temporal,
        "temporal_ordered" => Measure::TemporalOrdered,
        other => {
            let supported = TYPES.join(", ");
            return Err(
                kind.error(format!("{other:?} is not supported; supported are {supported}"))
            );
        }
    };
    match condition.and_then(|c| c.get("field")) {
        Some(field) => Err(field.error(
            "only value_count, value_sum and value_avg have a field; leave it out or change type",
        )),
        None => Ok(measure),
    }
}

/// A field whose distinct values can be counted.
fn read_countable(node: &Node) -> Result<FieldId, YamlError> {
    let field = read_field(node.text()?, node)?;
    match field.spec().field_type {
        FieldType::Float => Err(node.error(
            "distinct values of a decimal number cannot be counted; use value_sum or value_avg",
        )),
        _ => Ok(field),
    }
}

/// A field that is a number.
fn read_number_field(node: &Node) -> Result<FieldId, YamlError> {
    let is_number =
        |field: &FieldId| matches!(field.spec().field_type, FieldType::Count | FieldType::Float);
    let name = node.text()?;
    let field = read_field(name, node)?;
    if is_number(&field) {
        return Ok(field);
    }
    let numbers = FieldId::all().filter(|f| f.in_rules() && is_number(f)).map(|f| f.spec().name);
    let numbers: Vec<&str> = numbers.collect();
    let hint = match nearest(name, numbers.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("numbers are {}", numbers.join(", ")),
    };
    Err(node.error(format!("{name} is no number; {hint}")))
}

/// The detections that `rules` refers to. Where their order matters they are kept as they stand;
/// where only events are counted, one that stands twice is one.
fn read_rules(
    node: &Node,
    measure: Measure,
    find: impl Fn(&Node) -> Result<usize, YamlError>,
) -> Result<Vec<usize>, YamlError> {
    let mut found = Vec::new();
    for item in node.one_or_many() {
        let detection = find(item)?;
        match (measure, found.contains(&detection)) {
            (_, false) | (Measure::TemporalOrdered, true) => found.push(detection),
            (Measure::Temporal, true) => {
                return Err(item.error("stands twice; temporal asks for different rules"));
            }
            _ => {}
        }
    }
    if found.is_empty() {
        return Err(node.error("is empty; name at least one rule"));
    }
    let has_positions = matches!(measure, Measure::Temporal | Measure::TemporalOrdered);
    match has_positions && !(2..=MAX_POSITIONS).contains(&found.len()) {
        true => Err(node.error(format!(
            "expected 2 to {MAX_POSITIONS} rules; to count the events of one, use event_count"
        ))),
        false => Ok(found),
    }
}

/// `condition:`, which `temporal` and `temporal_ordered` need not have.
fn read_condition(
    node: &Node,
    measure: Measure,
    detections: usize,
) -> Result<Condition, YamlError> {
    let all = Condition::at_least(detections as i64);
    let is_temporal = matches!(measure, Measure::Temporal | Measure::TemporalOrdered);
    let condition = match node.get("condition") {
        None if is_temporal => return Ok(all),
        _ => node.require("condition")?,
    };
    let bounds = read_bounds(condition, &Domain::of(measure, detections))?;
    match measure == Measure::TemporalOrdered && bounds != all {
        true => Err(condition.error(
            "temporal_ordered asks for all its rules in their order; leave the condition out",
        )),
        false => Ok(bounds),
    }
}

fn group_by_or_agent(extension: &Extension<'_>) -> Result<Vec<FieldId>, YamlError> {
    match extension.get("group-by") {
        Some(node) => read_group_by(node),
        None => Ok(vec![FieldId::AgentId]),
    }
}

fn read_group_by(node: &Node) -> Result<Vec<FieldId>, YamlError> {
    let mut fields = Vec::new();
    for item in node.one_or_many() {
        let field = read_field(item.text()?, item)?;
        if field.spec().field_type == FieldType::Float {
            return Err(item.error("events cannot be grouped by a decimal number"));
        }
        if field == FieldId::Time {
            return Err(item.error("events cannot be grouped by their time"));
        }
        if fields.contains(&field) {
            return Err(item.error("stands twice"));
        }
        fields.push(field);
    }
    Ok(fields)
}

//! The counting part of a rule: `correlation:` of the Sigma specification, and the part of
//! `lapwing:` that says how it counts.

use lapwing_event::FieldId;

use super::selection::read_field;
use super::{DEFAULT_TIMESPAN, Measure};
use crate::yaml::{Node, YamlError};

/// How a rule counts.
#[derive(Debug, Clone)]
pub(super) struct Counting {
    pub(super) measure: Measure,
    pub(super) threshold: u64,
    pub(super) group_by: Vec<FieldId>,
    pub(super) timespan: i64,
}

const KEYS: [&str; 7] =
    ["type", "rules", "group-by", "timespan", "condition", "generate", "aliases"];
const LATER: [&str; 4] = ["value_sum", "value_avg", "temporal", "temporal_ordered"];

impl Counting {
    /// A plain detection: one event, in five minutes, by agent.
    pub(super) fn of_detection(lapwing: Option<&Node>) -> Result<Self, YamlError> {
        let get = |key: &str| lapwing.and_then(|l| l.get(key));
        Ok(Self {
            measure: Measure::EventCount,
            threshold: 1,
            group_by: match get("group-by") {
                Some(node) => read_group_by(node)?,
                None => vec![FieldId::AgentId],
            },
            timespan: match get("timespan") {
                Some(node) => read_timespan(node)?,
                None => DEFAULT_TIMESPAN,
            },
        })
    }

    /// The `correlation:` of a rule.
    ///
    /// # Errors
    /// What the declared subset does not have, by file, line and key.
    pub(super) fn of_correlation(node: &Node) -> Result<Self, YamlError> {
        node.only(&KEYS)?;
        if let Some(aliases) = node.get("aliases") {
            return Err(aliases.error("aliases are not supported; name the fields alike"));
        }
        let kind = node.require("type")?;
        if LATER.contains(&kind.text()?) {
            return Err(kind.error("not supported yet; supported are event_count, value_count"));
        }
        let kind = kind.word(&["event_count", "value_count"])?;
        let condition = node.require("condition")?;
        let mut keys = vec!["gt", "gte", "lt", "lte", "eq", "neq"];
        if kind == "value_count" {
            keys.push("field");
        }
        condition.only(&keys)?;
        let measure = match kind {
            "value_count" => {
                let field = condition.require("field")?;
                Measure::ValueCount(read_field(field.text()?, field)?)
            }
            _ => Measure::EventCount,
        };
        Ok(Self {
            measure,
            threshold: read_threshold(condition)?,
            group_by: match node.get("group-by") {
                Some(group_by) => read_group_by(group_by)?,
                None => Vec::new(),
            },
            timespan: read_timespan(node.require("timespan")?)?,
        })
    }
}

fn read_threshold(condition: &Node) -> Result<u64, YamlError> {
    let mut threshold = None;
    for (key, value) in condition.map()? {
        let least = match key.as_str() {
            "field" => continue,
            "gte" => value.int()?,
            "gt" => value.int()?.saturating_add(1),
            _ => {
                return Err(value.error("not supported yet; supported are gt and gte"));
            }
        };
        if threshold.is_some() {
            return Err(value.error("one comparison only"));
        }
        let least = u64::try_from(least).ok().filter(|n| *n >= 1);
        threshold =
            Some(least.ok_or_else(|| {
                value.error("the condition would always hold; ask for 1 or more")
            })?);
    }
    threshold.ok_or_else(|| condition.error("gt or gte is missing"))
}

fn read_group_by(node: &Node) -> Result<Vec<FieldId>, YamlError> {
    let mut fields = Vec::new();
    for item in node.one_or_many() {
        let field = read_field(item.text()?, item)?;
        if field == FieldId::ContextUtilization || field == FieldId::UsageCostUsd {
            return Err(item.error("events cannot be grouped by a floating-point number"));
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

/// The longest window: a bound on what a key keeps.
const MAX_TIMESPAN: i64 = 31 * lapwing_event::time::DAY;

pub(super) fn read_timespan(node: &Node) -> Result<i64, YamlError> {
    let span = node.timespan()?;
    match (1..=MAX_TIMESPAN).contains(&span) {
        true => Ok(span),
        false => Err(node.error("expected more than nothing and at most 31d")),
    }
}

//! Tests that a rule carries: events, and the alerts expected of them.

use lapwing_event::Level;
use lapwing_event::time::{format_time, parse_time};

use crate::yaml::{Data, Node, YamlError};

/// A test of a rule.
#[derive(Debug, Clone)]
pub struct RuleTest {
    /// What it shows.
    pub name: String,
    /// Events in the native format, one JSON object each.
    pub events: Vec<String>,
    /// The alerts that this rule raises on them, as they stand at the end, in any order.
    pub alerts: Vec<ExpectedAlert>,
}

/// An alert that a test expects; what is `None` is not compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExpectedAlert {
    /// Values of the group key, by field.
    pub key: Vec<(String, Option<String>)>,
    /// The count.
    pub count: Option<u64>,
    /// The value.
    pub value: Option<u64>,
    /// The level.
    pub level: Option<Level>,
}

/// `at:` counts from here.
const TEST_START: &str = "2026-01-01T00:00:00Z";
/// Most events that one line of a test may stand for.
const MAX_REPEAT: i64 = 10_000;

/// Reads the `tests:` of a rule.
///
/// An event is written like a native one, with three short cuts: `at: 90s` instead of `time`,
/// and `repeat: 4` with `every: 10s` for several alike.
///
/// # Errors
/// Unknown keys, values that do not fit.
pub(super) fn read_tests(node: &Node) -> Result<Vec<RuleTest>, YamlError> {
    node.list()?.iter().map(read_test).collect()
}

fn read_test(node: &Node) -> Result<RuleTest, YamlError> {
    node.only(&["name", "events", "alerts"])?;
    let mut events = Vec::new();
    for event in node.require("events")?.list()? {
        read_event(event, &mut events)?;
    }
    let alerts =
        node.require("alerts")?.list()?.iter().map(read_alert).collect::<Result<_, _>>()?;
    Ok(RuleTest { name: node.require("name")?.text()?.to_owned(), events, alerts })
}

fn read_event(node: &Node, events: &mut Vec<String>) -> Result<(), YamlError> {
    let start = parse_time(TEST_START).expect("a valid time");
    let at = node.get("at").map(Node::timespan).transpose()?;
    let every = node.get("every").map(Node::timespan).transpose()?.unwrap_or_default();
    let repeat = node.get("repeat").map(Node::int).transpose()?.unwrap_or(1);
    if !(1..=MAX_REPEAT).contains(&repeat) {
        return Err(node.error(format!("repeat must be 1 to {MAX_REPEAT}")));
    }
    let mut object = serde_json::Map::new();
    for (key, value) in node.map()? {
        if !matches!(key.as_str(), "at" | "every" | "repeat") {
            object.insert(key.clone(), to_json(value));
        }
    }
    for i in 0..repeat {
        if let Some(at) = at {
            object.insert("time".into(), format_time(start + at + i * every).into());
        }
        events.push(serde_json::Value::Object(object.clone()).to_string());
    }
    Ok(())
}

fn to_json(node: &Node) -> serde_json::Value {
    match &node.data {
        Data::Null => serde_json::Value::Null,
        Data::Bool(b) => (*b).into(),
        Data::Int(n) => (*n).into(),
        Data::Float(x) => (*x).into(),
        Data::Text(text) => text.as_str().into(),
        Data::List(items) => items.iter().map(to_json).collect(),
        Data::Map(entries) => entries.iter().map(|(k, v)| (k.clone(), to_json(v))).collect(),
    }
}

fn read_alert(node: &Node) -> Result<ExpectedAlert, YamlError> {
    node.only(&["key", "count", "value", "level"])?;
    let number = |key: &str| -> Result<Option<u64>, YamlError> {
        let Some(node) = node.get(key) else { return Ok(None) };
        u64::try_from(node.int()?).map(Some).map_err(|_| node.error("must not be negative"))
    };
    let mut key = Vec::new();
    for (name, value) in node.get("key").map(Node::map).transpose()?.unwrap_or_default() {
        let value = match &value.data {
            Data::Null => None,
            Data::Int(n) => Some(n.to_string()),
            _ => Some(value.text()?.to_owned()),
        };
        key.push((name.clone(), value));
    }
    let level = node.get("level").map(super::level::read_level).transpose()?;
    Ok(ExpectedAlert { key, count: number("count")?, value: number("value")?, level })
}

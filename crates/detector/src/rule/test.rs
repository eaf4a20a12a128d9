//! Tests that a rule carries: events, and the alerts expected of them.

use lapwing_event::time::{format_time, parse_time};
use lapwing_event::{Fixed, Level};

use crate::yaml::{Data, Node, YamlError};

/// A test of a rule.
#[derive(Debug, Clone)]
pub struct RuleTest {
    /// What it shows.
    pub name: String,
    /// Events in the native format, one JSON object each.
    pub events: Vec<String>,
    /// The log time to which silence goes on after the last event, microseconds.
    pub until: Option<i64>,
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
    pub value: Option<Fixed>,
    /// The level.
    pub level: Option<Level>,
    /// Whether it is still open at the end.
    pub is_open: Option<bool>,
}

/// `at:` and `until:` count from here.
const TEST_START: &str = "2026-01-01T00:00:00Z";
/// Most events that one line of a test may stand for.
const MAX_REPEAT: i64 = 10_000;
/// The longest span in a test: a year, twelve times the longest window.
const MAX_SPAN: i64 = 366 * lapwing_event::time::DAY;

/// Reads the `tests:` of a rule.
///
/// An event is written like a native one, with three short cuts: `at: 90s` instead of `time`,
/// and `repeat: 4` with `every: 10s` for several alike. Each is read at its own time, as from a log
/// that is followed. `until: 2h` beside `events` lets log time go on to two hours after the start,
/// without another event: so silence is tested, and what is decided late. Of an alert a test may
/// expect `key`, `count`, `value`, `level`, and as `status` whether it is `open` or `resolved` at
/// the end.
///
/// # Errors
/// Unknown keys, values that do not fit.
pub(super) fn read_tests(node: &Node) -> Result<Vec<RuleTest>, YamlError> {
    node.list()?.iter().map(read_test).collect()
}

fn read_test(node: &Node) -> Result<RuleTest, YamlError> {
    node.only(&["name", "events", "until", "alerts"])?;
    let mut events = Vec::new();
    for event in node.require("events")?.list()? {
        read_event(event, &mut events)?;
    }
    let alerts = node.require("alerts")?.list()?.iter().map(read_alert);
    Ok(RuleTest {
        name: node.require("name")?.text()?.to_owned(),
        events,
        until: node.get("until").map(read_span).transpose()?.map(|span| start() + span),
        alerts: alerts.collect::<Result<_, _>>()?,
    })
}

/// A span that a test can play through.
fn read_span(node: &Node) -> Result<i64, YamlError> {
    let span = node.timespan()?;
    match span <= MAX_SPAN {
        true => Ok(span),
        false => Err(node.error("expected at most 366d")),
    }
}

fn start() -> i64 {
    parse_time(TEST_START).expect("a valid time")
}

fn read_event(node: &Node, events: &mut Vec<String>) -> Result<(), YamlError> {
    let at = node.get("at").map(read_span).transpose()?;
    let every = node.get("every").map(read_span).transpose()?.unwrap_or_default();
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
            object.insert("time".into(), format_time(start() + at + i * every).into());
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
    node.only(&["key", "count", "value", "level", "status"])?;
    let count =
        |node: &Node| u64::try_from(node.int()?).map_err(|_| node.error("must not be negative"));
    let mut key = Vec::new();
    for (name, value) in node.get("key").map(Node::map).transpose()?.unwrap_or_default() {
        let value = match &value.data {
            Data::Null => None,
            Data::Int(n) => Some(n.to_string()),
            _ => Some(value.text()?.to_owned()),
        };
        key.push((name.clone(), value));
    }
    let status = node.get("status").map(|n| n.word(&["open", "resolved"])).transpose()?;
    Ok(ExpectedAlert {
        key,
        count: node.get("count").map(count).transpose()?,
        value: node.get("value").map(Node::number).transpose()?,
        level: node.get("level").map(super::level::read_level).transpose()?,
        is_open: status.map(|word| word == "open"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::read_documents;

    fn read(test: &str) -> Result<RuleTest, YamlError> {
        let document = read_documents("r.yml", &format!("tests:\n- {{name: t, {test}}}\n"))?;
        read_tests(document[0].require("tests")?).map(|mut tests| tests.remove(0))
    }

    #[test]
    fn short_cuts_are_written_out() {
        let test = read(
            "events: [{kind: tool, at: 1m, repeat: 2, every: 30s}], until: 2h, alerts: [{key: \
             {agent.id: null, http.status: 401}, count: 2, value: 2.5, level: high, status: open}]",
        )
        .expect("valid");
        assert_eq!(
            test.events,
            [
                r#"{"kind":"tool","time":"2026-01-01T00:01:00.000Z"}"#,
                r#"{"kind":"tool","time":"2026-01-01T00:01:30.000Z"}"#,
            ]
        );
        assert_eq!(test.until, parse_time("2026-01-01T02:00:00Z"));
        let expected = ExpectedAlert {
            key: vec![("agent.id".into(), None), ("http.status".into(), Some("401".into()))],
            count: Some(2),
            value: Some(Fixed(2_500_000_000)),
            level: Some(Level::High),
            is_open: Some(true),
        };
        assert_eq!(test.alerts, [expected]);
    }

    #[test]
    fn wrong_tests_are_refused() {
        for (test, part) in [
            ("alerts: []", "events is missing"),
            ("events: []", "alerts is missing"),
            ("events: [{at: 5}], alerts: []", "tests[0].events[0].at: expected a whole number and"),
            ("events: [{repeat: 0}], alerts: []", "repeat must be 1 to 10000"),
            ("events: [], until: now, alerts: []", "tests[0].until: expected a whole number and"),
            ("events: [], alerts: [{count: -1}]", "alerts[0].count: must not be negative"),
            ("events: [], alerts: [{value: many}]", "alerts[0].value: expected a number"),
            ("events: [], alerts: [{status: opened}]", "did you mean open?"),
            ("events: [], alerts: [{cont: 1}]", "did you mean count?"),
        ] {
            let error = read(test).expect_err(test).to_string();
            assert!(error.starts_with("r.yml:2: tests[0]") && error.contains(part), "{error}");
        }
    }
}

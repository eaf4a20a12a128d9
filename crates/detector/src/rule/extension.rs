//! What Sigma lacks, under `lapwing:`: which keys there are, which rules may have them, and the
//! times among them.

use lapwing_event::time::{DAY, MINUTE, format_timespan};

use super::correlation::Counting;
use super::{DEFAULT_ALLOWED_LATENESS, Measure, NullKeys};
use crate::yaml::{Data, Node, YamlError};

/// The keys of a document under `lapwing:`; perhaps none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extension<'a> {
    node: Option<&'a Node>,
}

const KEYS: [&str; 13] = [
    "levels",
    "for",
    "resolve_after",
    "allowed_lateness",
    "null_keys",
    "repeat_interval",
    "expected",
    "message",
    "next_step",
    "enabled",
    "tests",
    "group-by",
    "timespan",
];
/// The longest time in a rule: a bound on what a key keeps, and on how long an alert stays open.
const MAX_SPAN: i64 = 31 * DAY;
/// The shortest `repeat_interval`: receivers are people.
const MIN_REPEAT_INTERVAL: i64 = MINUTE;

/// What a document is, as far as it decides which keys it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Detection,
    Expected,
    Correlation,
}

impl<'a> Extension<'a> {
    /// The extension of a document.
    ///
    /// # Errors
    /// Unknown keys, and keys that this document cannot have.
    pub(super) fn read(document: &'a Node) -> Result<Self, YamlError> {
        let this = Self { node: document.get("lapwing") };
        let Some(node) = this.node else { return Ok(this) };
        if let Some(partial) = node.get("partial") {
            return Err(partial.error("not supported yet; leave it out"));
        }
        node.only(&KEYS)?;
        let kind = match (document.get("correlation"), this.get("expected")) {
            (Some(_), _) => Kind::Correlation,
            (None, Some(_)) => Kind::Expected,
            (None, None) => Kind::Detection,
        };
        for (key, value) in node.map()? {
            if let Some(why) = misplaced(kind, key) {
                return Err(value.error(why));
            }
        }
        Ok(this)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.node.and_then(|node| node.get(key))
    }

    /// How long an event may be waited for, if one is expected: `every 10m`.
    pub(super) fn expected(&self) -> Result<Option<i64>, YamlError> {
        let Some(node) = self.get("expected") else { return Ok(None) };
        let span = node.text()?.strip_prefix("every ").ok_or_else(|| {
            node.error("expected the longest time between two events, for instance every 10m")
        })?;
        let span = Node { data: Data::Text(span.trim().to_owned()), ..node.clone() };
        read_span(&span, 1).map(Some)
    }

    /// How long the condition must stay true.
    pub(super) fn hold_for(&self, counting: &Counting) -> Result<i64, YamlError> {
        let Some(node) = self.get("for") else { return Ok(0) };
        let span = read_span(node, 0)?;
        if !matches!(counting.measure, Measure::EventCount | Measure::ValueCount(_)) {
            return Err(node.error("only event_count and value_count have it; leave it out"));
        }
        if !counting.condition.asks_for_more() {
            return Err(node.error(
                "needs a condition of gt or gte alone; leave it out, or the other comparisons",
            ));
        }
        match span < counting.timespan {
            true => Ok(span),
            false => Err(node.error(format!(
                "must be less than the timespan of the rule, {}: no event stays in a window for \
                 longer",
                format_timespan(counting.timespan)
            ))),
        }
    }

    /// How long an alert stays open after the last window that held.
    pub(super) fn resolve_after(&self, timespan: i64) -> Result<i64, YamlError> {
        let Some(node) = self.get("resolve_after") else { return Ok(timespan) };
        match read_span(node, 1)? {
            span if span >= timespan => Ok(span),
            _ => Err(node.error(format!(
                "must be at least the timespan of the rule, {}",
                format_timespan(timespan)
            ))),
        }
    }

    /// How much later than the newest event of its key an event may come.
    pub(super) fn allowed_lateness(&self) -> Result<i64, YamlError> {
        let node = self.get("allowed_lateness");
        node.map_or(Ok(DEFAULT_ALLOWED_LATENESS), |node| read_span(node, 0))
    }

    /// The least time between two messages about one alert.
    pub(super) fn repeat_interval(&self) -> Result<Option<i64>, YamlError> {
        let node = self.get("repeat_interval");
        node.map(|node| read_span(node, MIN_REPEAT_INTERVAL)).transpose()
    }

    /// What happens to null keys.
    pub(super) fn null_keys(&self) -> Result<NullKeys, YamlError> {
        let word = self.get("null_keys").map(|node| node.word(&["group", "skip"])).transpose()?;
        Ok(match word {
            Some("skip") => NullKeys::Skip,
            _ => NullKeys::Group,
        })
    }

    /// Whether the rule runs by itself.
    pub(super) fn enabled(&self) -> Result<bool, YamlError> {
        Ok(self.get("enabled").map(Node::bool).transpose()?.unwrap_or(true))
    }
}

/// Why a document of this kind cannot have a key, and the way out.
fn misplaced(kind: Kind, key: &str) -> Option<&'static str> {
    match (kind, key) {
        (Kind::Correlation, "group-by" | "timespan") => Some("belongs under correlation"),
        (Kind::Correlation, "expected") => {
            Some("only the events of a detection can be expected; write it there")
        }
        (Kind::Expected, "levels") => {
            Some("an alert about silence has one level; leave levels or expected out")
        }
        (Kind::Expected, "timespan" | "for") => {
            Some("the time is the one of expected; write it there")
        }
        (Kind::Expected, "resolve_after") => {
            Some("an alert about silence is resolved by the next event; leave it out")
        }
        _ => None,
    }
}

/// Reads a timespan of at least so many microseconds and at most 31 days.
pub(super) fn read_span(node: &Node, least: i64) -> Result<i64, YamlError> {
    let span = node.timespan()?;
    let most = format_timespan(MAX_SPAN);
    match (least..=MAX_SPAN).contains(&span) {
        true => Ok(span),
        false if least == 0 => Err(node.error(format!("expected at most {most}"))),
        false if least == 1 => {
            Err(node.error(format!("expected more than nothing and at most {most}")))
        }
        false => Err(node.error(format!("expected {} to {most}", format_timespan(least)))),
    }
}

//! An alert: one thing that is opened, updated and resolved, and the message that says so.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::fixed::Fixed;
use crate::time::{format_time, parse_time};

/// How serious an alert is, as in the Sigma specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For information.
    Informational,
    /// Worth a look some time.
    Low,
    /// Worth a look.
    Medium,
    /// Look soon.
    High,
    /// Look now.
    Critical,
}

impl Level {
    /// All levels, rising.
    pub const ALL: [Self; 5] =
        [Self::Informational, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The level with this word.
    pub fn by_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.word() == word)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What a message says about its alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It began.
    Opened,
    /// It grew, rose, became incomplete, or the input ended.
    Updated,
    /// It ended.
    Resolved,
}

impl Status {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Resolved => "resolved",
        }
    }
}

/// The value of one group-by field. Null is a group of its own, as in SQL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyValue {
    /// No value.
    Null,
    /// A whole number.
    Int(i64),
    /// Text.
    Text(Box<str>),
}

impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("(none)"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The group key of an alert: the group-by fields of its rule with their values, in rule order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertKey(pub Vec<(Arc<str>, KeyValue)>);

impl Serialize for AlertKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            match value {
                KeyValue::Null => map.serialize_entry(&**name, &())?,
                KeyValue::Int(n) => map.serialize_entry(&**name, n)?,
                KeyValue::Text(text) => map.serialize_entry(&**name, text)?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for AlertKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(KeyVisitor)
    }
}

/// Reads the fields of a key in the order in which they stand.
struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = AlertKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of a group key")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<AlertKey, M::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Field {
            Null(()),
            Int(i64),
            Text(Box<str>),
        }
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Field>()? {
            let value = match value {
                Field::Null(()) => KeyValue::Null,
                Field::Int(n) => KeyValue::Int(n),
                Field::Text(text) => KeyValue::Text(text),
            };
            fields.push((name.into(), value));
        }
        Ok(AlertKey(fields))
    }
}

impl fmt::Display for AlertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            let gap = if i == 0 { "" } else { " " };
            write!(f, "{gap}{name}={value}")?;
        }
        Ok(())
    }
}

/// The rule that raised an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRule {
    /// The rule's id, a UUID as in Sigma.
    pub id: Arc<str>,
    /// The rule's name.
    pub name: Arc<str>,
}

/// Where one event of an alert stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Offset in the partition, from 0.
    pub offset: i64,
    /// The file, if it was read from one.
    pub file: Option<Arc<str>>,
    /// The line there, from 1.
    pub line: Option<i64>,
    /// Its event time.
    #[serde(with = "rfc3339")]
    pub time: i64,
    /// Its reason code.
    pub reason: Option<Arc<str>>,
}

/// Events of an alert: the first and the latest by event time, and up to five samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceSet {
    /// The first by (event time, offset).
    pub first: Evidence,
    /// The latest by (event time, offset).
    pub latest: Evidence,
    /// The first ones to be counted, at most [`MAX_SAMPLES`].
    pub samples: Vec<Evidence>,
}

/// Samples kept per alert.
pub const MAX_SAMPLES: usize = 5;

/// The stretch of event time that the holding windows of an alert cover: start < t ≤ end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The start of the first holding window, exclusive.
    #[serde(with = "rfc3339")]
    pub start: i64,
    /// The end of the last holding window, inclusive.
    #[serde(with = "rfc3339")]
    pub end: i64,
}

/// Why an alert or a window may lack events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incomplete {
    /// The rule had more keys than it may keep, and forgot some.
    Evicted,
    /// The key had more events in its window than it may keep.
    Entries,
    /// The key had more distinct values in its window than it may keep.
    Values,
    /// More alerts were open than may be.
    OpenAlerts,
    /// Events of the key may lie in other partitions, which are counted by themselves.
    Partition,
}

impl Incomplete {
    /// All reasons.
    pub const ALL: [Self; 5] =
        [Self::Evicted, Self::Entries, Self::Values, Self::OpenAlerts, Self::Partition];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Entries => "entries",
            Self::Values => "values",
            Self::OpenAlerts => "open_alerts",
            Self::Partition => "partition",
        }
    }
}

/// Why an alert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolvedBecause {
    /// No window held any more, for as long as the rule says.
    Quiet,
    /// An event came whose absence the alert was about.
    Seen,
    /// The event never came, and is no longer expected.
    Expired,
    /// The rule was changed or taken away; what it had counted is closed.
    RuleChanged,
}

impl ResolvedBecause {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::Quiet, Self::Seen, Self::Expired, Self::RuleChanged];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Seen => "seen",
            Self::Expired => "expired",
            Self::RuleChanged => "rule_changed",
        }
    }
}

/// The state of an alert at one opening, update or resolution. All times are event times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The alert's id: the same history gives the same id.
    pub id: Arc<str>,
    /// 1 for the opening, one more for each further message.
    pub revision: u32,
    /// What this message says.
    pub status: Status,
    /// How serious it is; it only rises.
    pub level: Level,
    /// The rule.
    pub rule: AlertRule,
    /// The source of the events.
    pub source_id: Arc<str>,
    /// The partition of the source.
    pub partition: Arc<str>,
    /// The group key.
    pub key: AlertKey,
    /// What happened, in one line.
    pub title: String,
    /// What happened, with the facts.
    pub description: String,
    /// What a person can do.
    pub next_step: String,
    /// Occurrences that lie in a holding window of this alert; 0 for one about absence.
    pub count: u64,
    /// The value that the condition compared: the largest in any holding window, or the smallest
    /// where the condition asks for little.
    pub value: Fixed,
    /// Occurrences by reason code.
    pub by_reason: BTreeMap<Arc<str>, u64>,
    /// What the holding windows cover; for an alert about absence, the stretch without events.
    pub window: Window,
    /// The end of the earliest window that held when it opened.
    #[serde(with = "rfc3339")]
    pub opened_at: i64,
    /// The time of the latest event counted.
    #[serde(with = "rfc3339")]
    pub last_at: i64,
    /// When it was resolved, on the clock of its key.
    #[serde(with = "rfc3339_or_null")]
    pub resolved_at: Option<i64>,
    /// Why it was resolved.
    pub resolved_because: Option<ResolvedBecause>,
    /// Where its events stand.
    pub evidence: EvidenceSet,
    /// Whether every event that could count was there to be counted.
    pub complete: bool,
    /// If not, why.
    pub incomplete_because: Vec<Incomplete>,
    /// Whether the input ended while it was open.
    pub open_at_end: bool,
}

/// An alert to be handed over, with the log time at which it was raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The alert.
    pub alert: Alert,
    /// The log time of the record or tick that raised it; not part of the alert, since a tick may
    /// raise it earlier than a record would have.
    pub log_time: i64,
}

/// The id of an alert: the first 128 bits of a SHA-256 over rule id, source id, partition, group
/// key and opening event time, as 32 hexadecimal digits.
pub fn alert_id(
    rule_id: &str,
    source_id: &str,
    partition: &str,
    key: &AlertKey,
    opened_at: i64,
) -> Arc<str> {
    let mut hash = Sha256::new();
    let mut part = |tag: u8, bytes: &[u8]| {
        hash.update([tag]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(b'r', rule_id.as_bytes());
    part(b's', source_id.as_bytes());
    part(b'p', partition.as_bytes());
    for (name, value) in &key.0 {
        part(b'k', name.as_bytes());
        match value {
            KeyValue::Null => part(b'n', &[]),
            KeyValue::Int(n) => part(b'i', &n.to_le_bytes()),
            KeyValue::Text(text) => part(b't', text.as_bytes()),
        }
    }
    part(b'o', &opened_at.to_le_bytes());
    hex(&hash.finalize()[..16]).into()
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Times in RFC 3339, as the alert shows them.
mod rfc3339 {
    use super::*;

    pub(super) fn serialize<S: Serializer>(us: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_time(*us))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        parse_time(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is no time")))
    }
}

/// The same, or null.
mod rfc3339_or_null {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        us: &Option<i64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match us {
            Some(us) => rfc3339::serialize(us, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
        #[derive(Deserialize)]
        struct Time(#[serde(with = "rfc3339")] i64);
        Ok(Option::<Time>::deserialize(from)?.map(|time| time.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_every_part_and_not_on_how_parts_join() {
        let key = |a: &str, b: &str| {
            AlertKey(vec![
                ("x".into(), KeyValue::Text(a.into())),
                ("y".into(), KeyValue::Text(b.into())),
            ])
        };
        let id = alert_id("r", "s", "0", &key("ab", "c"), 5);
        assert_eq!(id, alert_id("r", "s", "0", &key("ab", "c"), 5));
        for other in [
            alert_id("r", "s", "0", &key("a", "bc"), 5),
            alert_id("rs", "", "0", &key("ab", "c"), 5),
            alert_id("r", "s", "1", &key("ab", "c"), 5),
            alert_id("r", "s", "0", &key("ab", "c"), 6),
        ] {
            assert_ne!(id, other);
        }
        assert_eq!(id.len(), 32);
    }

    #[test]
    fn levels_rise_in_the_order_of_sigma() {
        assert!(Level::ALL.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(Level::by_word("high"), Some(Level::High));
    }
}

//! One line of the gateway's log, taken apart: who wrote it, its message, its arguments.

use lapwing_event::{Event, FieldId, Reject, RejectReason};

use crate::format::openclaw::{Session, time_of};
use crate::json::Value;

/// A line of the log.
pub(super) struct Line<'a> {
    /// Microseconds.
    pub(super) time: i64,
    /// The host that the gateway runs on.
    pub(super) hostname: Option<&'a str>,
    /// The part of the product that wrote it, "" for its console.
    pub(super) subsystem: &'a str,
    /// Whether its level is ERROR or FATAL.
    pub(super) is_error: bool,
    /// The message, "" if there is none.
    pub(super) message: &'a str,
    /// The argument that is an object, which carries what the message leaves out.
    pub(super) detail: Option<Value<'a>>,
    record: Value<'a>,
}

/// Whether a record is a line of this log. Other programs log through the same library, which
/// writes `_meta`, so it has to bear the product's name too.
pub(super) fn is_openclaw(record: Value<'_>) -> bool {
    let Some(meta) = record.get("_meta") else { return false };
    let parents = meta.get("parentNames").into_iter().flat_map(Value::elements);
    let mut names = parents.filter_map(Value::as_str).chain(meta.str_at("name"));
    meta.str_at("logLevelName").is_some() && names.any(|name| name == "openclaw")
}

impl<'a> Line<'a> {
    pub(super) fn new(record: Value<'a>) -> Result<Self, Reject> {
        if !record.is_object() {
            return Err(Reject::new(
                RejectReason::NotAnObject,
                format!("expected an object, found {}", record.type_name()),
            ));
        }
        let meta = record.get("_meta").filter(|meta| meta.is_object());
        let level = meta.and_then(|meta| meta.str_at("logLevelName"));
        // The logger's own note on what it dropped may come without its usual frame.
        if level.is_none() && record.i64_at("dropped").is_none() {
            return Err(Reject::new(
                RejectReason::WrongFormat,
                "not a line of an OpenClaw gateway log: _meta.logLevelName is missing",
            ));
        }
        let in_meta = |key| meta.and_then(|meta| meta.get(key));
        let time = time_of([
            record.get("time"),
            in_meta("date"),
            record.get("occurredAt"),
            record.get("ts"),
        ])?;
        let arguments = || record.entries().filter(|(key, _)| is_argument(key)).map(|(_, v)| v);
        let name = record.str_at("0").filter(|text| text.starts_with('{'));
        let name = name.or(in_meta("name").and_then(Value::as_str)).unwrap_or_default();
        let last_text = || arguments().filter_map(Value::as_str).last();
        let message = record.str_at("message").or_else(last_text).unwrap_or_default();
        Ok(Self {
            time,
            hostname: record
                .str_at("hostname")
                .or_else(|| in_meta("hostname").and_then(Value::as_str)),
            subsystem: subsystem(name),
            is_error: matches!(level, Some("ERROR" | "FATAL")),
            message,
            detail: arguments().find(|value| value.is_object()),
            record,
        })
    }

    /// The value of `key=value` in the message, up to the next space; the first one, since the
    /// product writes its own fields before those that a client can fill.
    pub(super) fn field(&self, key: &str) -> Option<&'a str> {
        field(self.message, key)
    }

    /// The number of records that the logger says it dropped before this one.
    pub(super) fn dropped(&self) -> Option<i64> {
        // Elsewhere `dropped` may stand among other numbers and mean something else.
        let alone = |detail: &Value<'_>| self.subsystem.is_empty() || detail.entries().count() == 1;
        let in_detail = || self.detail.filter(alone)?.i64_at("dropped");
        self.record.i64_at("dropped").or_else(in_detail).filter(|count| *count > 0)
    }

    /// Sets the run and the session that a line of any kind belongs to.
    pub(super) fn set_run(&self, event: &mut Event) {
        let in_detail = |key| self.detail.and_then(|detail| detail.str_at(key));
        event.set_text_if(FieldId::RunId, in_detail("runId"));
        let id = self.record.str_at("session_id").or_else(|| in_detail("sessionId"));
        Session { id, key: in_detail("sessionKey"), agent: in_detail("agentId") }.write(event);
    }

    /// Sets the instance where the line tells the gateway's port: several gateways may run on one
    /// host. The port is taken from the gateway's own end of the connection, never from the `Host`
    /// header: that is the client's to choose, and rules group by instance.
    pub(super) fn set_instance(&self, event: &mut Event) {
        let in_detail = |key| self.detail.and_then(|detail| detail.get(key));
        let port = in_detail("localPort").and_then(Value::as_i64).or_else(|| {
            let ends = in_detail("endpoint").and_then(Value::as_str).or_else(|| self.field("peer"));
            ends?.split_once("->")?.1.rsplit_once(':')?.1.parse().ok()
        });
        if let (Some(host), Some(port)) = (self.hostname, port) {
            event.set_text(FieldId::InstanceId, &format!("{host}:{port}"));
        }
    }
}

/// The value of `key=value` in a text, up to the next space.
pub(super) fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value_of = |word: &'a str| word.strip_prefix(key)?.strip_prefix('=');
    text.split_ascii_whitespace().find_map(value_of).filter(|value| !value.is_empty())
}

/// The arguments of a log call are stored under their numbers.
fn is_argument(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit())
}

/// The subsystem in the name of a logger, which is JSON in a text: `{"subsystem":"gateway/ws"}`.
fn subsystem(name: &str) -> &str {
    let after = name.split_once("\"subsystem\":\"").map_or("", |(_, after)| after);
    after.split('"').next().unwrap_or_default()
}

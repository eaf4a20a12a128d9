//! OpenClaw's diagnostic events as a plug-in writes them, one JSON object a line: `type`, `seq`,
//! `ts` and the event's own keys. Types without a meaning of their own become events of kind
//! `other`.

mod info;
mod lifecycle;
mod security;
mod tool;

use lapwing_event::{Event, FieldId, Reject, RejectReason};

use super::openclaw::{PRODUCT, Session, set_message, time_of, whole_at};
use super::{Format, FormatInfo};
use crate::json::{Json, Value};

/// Diagnostic events, written by a plug-in that subscribes to them.
pub(super) struct OpenClawDiagnostic;

impl Format for OpenClawDiagnostic {
    fn info(&self) -> &'static FormatInfo {
        &info::INFO
    }

    fn recognise(&self, record: &[u8], json: &mut Json) -> bool {
        let looks = |record: Value<'_>| {
            let is_object = |key| record.get(key).is_some_and(Value::is_object);
            let has_frame = is_object("__meta") || is_object("trace");
            Ok(has_frame && is_event(record) && record.i64_at("ts").is_some())
        };
        json.parse(record, looks).unwrap_or(false)
    }

    fn decode(&self, record: &[u8], json: &mut Json, event: &mut Event) -> Result<(), Reject> {
        json.parse(record, |record| read_record(record, event))
    }
}

/// Whether a record has what every diagnostic event has beside its time.
fn is_event(record: Value<'_>) -> bool {
    record.str_at("type").is_some() && record.i64_at("seq").is_some()
}

fn read_record(record: Value<'_>, event: &mut Event) -> Result<(), Reject> {
    if !record.is_object() {
        return Err(Reject::new(
            RejectReason::NotAnObject,
            format!("expected an object, found {}", record.type_name()),
        ));
    }
    if !is_event(record) {
        return Err(Reject::new(
            RejectReason::WrongFormat,
            "not an OpenClaw diagnostic event: it needs a text `type` and a number `seq`",
        ));
    }
    event.set_int(FieldId::Time, time_of([record.get("ts")])?);
    set_frame(record, event);
    let name = record.str_at("type").unwrap_or_default();
    set_message(event, name);
    if let Some((_, read)) = KNOWN.iter().find(|(known, _)| *known == name) {
        read(record, event);
    }
    Ok(())
}

/// Sets what events of every type may have.
fn set_frame(record: Value<'_>, event: &mut Event) {
    event.set_text(FieldId::Product, PRODUCT);
    event.set_text(FieldId::Kind, "other");
    if let Some(sequence) = record.i64_at("seq").filter(|n| *n >= 0) {
        event.set_int(FieldId::Sequence, sequence);
    }
    event.set_text_if(FieldId::Id, record.str_at("eventId"));
    let trace = record.get("trace").and_then(|trace| trace.str_at("traceId"));
    event.set_text_if(FieldId::TraceId, trace);
    event.set_text_if(FieldId::RunId, record.str_at("runId"));
    let [id, key, agent] = ["sessionId", "sessionKey", "agentId"].map(|key| record.str_at(key));
    Session { id, key, agent }.write(event);
}

type Read = fn(Value<'_>, &mut Event);

/// The types with a meaning. The others are steps on the way to one of these (`run.progress`,
/// `tool.execution.started`, …), the same told from another side (`harness.run.completed`,
/// `exec.process.completed`), or about the process (`diagnostic.heartbeat`).
static KNOWN: &[(&str, Read)] = &[
    ("security.event", security::security_event),
    ("tool.execution.blocked", tool::blocked),
    ("tool.execution.error", tool::failed),
    ("tool.execution.completed", tool::completed),
    ("tool.loop", tool::looped),
    ("model.call.completed", lifecycle::model_call_completed),
    ("model.call.error", lifecycle::model_call_failed),
    ("model.usage", lifecycle::context_used),
    ("context.assembled", lifecycle::context_assembled),
    ("run.started", lifecycle::run_started),
    ("run.completed", lifecycle::run_completed),
    ("session.state", lifecycle::session_changed),
    ("gateway.rpc", lifecycle::request_answered),
];

/// Sets a number from a key, if it is there.
fn set_whole(event: &mut Event, field: FieldId, object: Value<'_>, key: &str) {
    if let Some(number) = whole_at(object, key) {
        event.set_int(field, number);
    }
}

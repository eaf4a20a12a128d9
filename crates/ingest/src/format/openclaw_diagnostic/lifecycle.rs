//! Runs, sessions, calls of models, the context, requests to the gateway.

use lapwing_event::{Event, FieldId};

use super::set_whole;
use crate::format::openclaw::{Meaning, set_message};
use crate::json::Value;

/// `model.call.completed`: tokens and cost of one call.
pub(super) fn model_call_completed(record: Value<'_>, event: &mut Event) {
    meaning("model", "model.call", "success").write(event);
    set_model_call(record, event);
}

/// `model.call.error`: the tokens it used up to then, but not why it failed.
pub(super) fn model_call_failed(record: Value<'_>, event: &mut Event) {
    match record.str_at("failureKind") {
        Some("timeout") => {
            let (action, reason) = ("model.call", Some("timeout"));
            Meaning { kind: "model", action, outcome: "timeout", reason }.write(event);
        }
        _ => meaning("model", "model.call", "error").write(event),
    }
    set_model_call(record, event);
    set_message(event, record.str_at("errorCategory").unwrap_or_default());
}

fn set_model_call(record: Value<'_>, event: &mut Event) {
    set_model(record, event);
    set_whole(event, FieldId::DurationMs, record, "durationMs");
    let Some(usage) = record.get("usage") else { return };
    set_whole(event, FieldId::UsageInputTokens, usage, "input");
    set_whole(event, FieldId::UsageOutputTokens, usage, "output");
    set_whole(event, FieldId::UsageCacheReadTokens, usage, "cacheRead");
    set_whole(event, FieldId::UsageCacheWriteTokens, usage, "cacheWrite");
    let cost = usage.get("cost").and_then(|cost| cost.get("total")).and_then(Value::as_f64);
    if let Some(cost) = cost.filter(|cost| cost.is_finite()) {
        event.set_float(FieldId::UsageCostUsd, cost);
    }
}

/// `model.usage`: a run's sum of its calls. Their tokens are on the events of the calls, and would
/// count twice; what only this event tells is how full the context is.
pub(super) fn context_used(record: Value<'_>, event: &mut Event) {
    meaning("context", "context.usage", "success").write(event);
    set_model(record, event);
    if let Some(context) = record.get("context") {
        set_whole(event, FieldId::ContextTokens, context, "used");
        set_whole(event, FieldId::ContextLimit, context, "limit");
    }
}

/// `context.assembled`.
pub(super) fn context_assembled(record: Value<'_>, event: &mut Event) {
    meaning("context", "context.assemble", "success").write(event);
    set_model(record, event);
    set_whole(event, FieldId::ContextMessages, record, "messageCount");
    set_whole(event, FieldId::ContextLimit, record, "contextTokenBudget");
}

/// `run.started`.
pub(super) fn run_started(record: Value<'_>, event: &mut Event) {
    meaning("run", "run.start", "success").write(event);
    set_model(record, event);
    set_message(event, record.str_at("trigger").unwrap_or_default());
}

/// `run.completed`.
pub(super) fn run_completed(record: Value<'_>, event: &mut Event) {
    let outcome = record.str_at("outcome").unwrap_or_default();
    let meant = match outcome {
        "completed" => "success",
        "blocked" => "denied",
        "aborted" => "failure",
        "failed" | "error" => "error",
        "timed_out" => "timeout",
        _ => "unknown",
    };
    meaning("run", "run.end", meant).write(event);
    set_model(record, event);
    set_whole(event, FieldId::DurationMs, record, "durationMs");
    set_message(event, record.str_at("errorCategory").unwrap_or(outcome));
}

/// `session.state`.
pub(super) fn session_changed(record: Value<'_>, event: &mut Event) {
    meaning("session", "session.state", "success").write(event);
    set_message(event, record.str_at("reason").unwrap_or_default());
}

/// `gateway.rpc`: of the steps of a request only its response is one event.
pub(super) fn request_answered(record: Value<'_>, event: &mut Event) {
    set_message(event, record.str_at("method").unwrap_or_default());
    if record.str_at("phase") != Some("response") {
        return;
    }
    let outcome = if record.str_at("outcome") == Some("ok") { "success" } else { "failure" };
    meaning("network", "network.request", outcome).write(event);
    set_whole(event, FieldId::DurationMs, record, "durationMs");
}

fn meaning(kind: &'static str, action: &'static str, outcome: &'static str) -> Meaning {
    Meaning { kind, action, outcome, reason: None }
}

fn set_model(record: Value<'_>, event: &mut Event) {
    event.set_text_if(FieldId::ModelName, record.str_at("model"));
    event.set_text_if(FieldId::ModelProvider, record.str_at("provider"));
}

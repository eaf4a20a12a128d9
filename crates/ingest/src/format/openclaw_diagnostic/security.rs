//! `security.event`: authentication, approvals, devices. Its action says which.

use lapwing_event::{Event, FieldId};

use crate::format::openclaw::{Meaning, auth_reason, denial, refused_connect, set_message};
use crate::json::Value;

pub(super) fn security_event(record: Value<'_>, event: &mut Event) {
    let Some(action) = record.str_at("action") else { return };
    let reason = record.str_at("reason").unwrap_or_default();
    set_message(event, if reason.is_empty() { action } else { reason });
    let Some(meaning) = meaning_of(action, reason) else { return };
    meaning.write(event);
    let part = |part: &str, key| record.get(part).and_then(|part| part.str_at(key));
    event.set_text_if(FieldId::PolicyId, part("policy", "id"));
    event.set_text_if(FieldId::ActorId, part("actor", "deviceIdHash"));
    event.set_text_if(FieldId::ActorType, part("actor", "role").or_else(|| part("actor", "kind")));
    if meaning.kind == "approval" {
        event.set_text_if(FieldId::ToolName, part("target", "name"));
        let by_whom = denial(reason).map_or("user", |denial| denial.by);
        let is_decided = meaning.action == "approval.decide";
        event.set_text_if(FieldId::DecisionBy, is_decided.then_some(by_whom));
    }
}

/// What an action means. `tool.execution.blocked` means nothing here: the event of this type tells
/// more, and the trace joins them.
fn meaning_of(action: &str, reason: &str) -> Option<Meaning> {
    let meaning = match action {
        "gateway.auth.failed" => refused_connect(auth_reason(reason)),
        "gateway.auth.succeeded" => success("auth", "auth.connect"),
        "exec.approval.requested" => success("approval", "approval.request"),
        "exec.approval.approved" => success("approval", "approval.decide"),
        "exec.approval.denied" => refusal("approval", "approval.decide", denial_code(reason)),
        "device.pairing.approved" => success("device", "device.pair"),
        "device.pairing.rejected" => refusal("device", "device.pair", "user_rejected"),
        "device.pairing.removed" => success("device", "device.remove"),
        "device.pairing.denied" => refusal("device", "device.pair", "policy_denied"),
        _ if action.starts_with("device.token.") && action.ends_with("denied") => {
            refusal("device", "device.token", "policy_denied")
        }
        _ if action.starts_with("device.token.") => success("device", "device.token"),
        _ => return None,
    };
    Some(meaning)
}

fn denial_code(reason: &str) -> &'static str {
    denial(reason).map_or("policy_denied", |denial| denial.reason)
}

fn success(kind: &'static str, action: &'static str) -> Meaning {
    Meaning { kind, action, outcome: "success", reason: None }
}

fn refusal(kind: &'static str, action: &'static str, reason: &'static str) -> Meaning {
    Meaning { kind, action, outcome: "denied", reason: Some(reason) }
}

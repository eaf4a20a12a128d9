//! Lines about runs of agents: their ends, the model's refusals that ended them, recovery after a
//! crash.

use lapwing_event::{Event, FieldId};

use super::line::Line;
use crate::format::openclaw::{Meaning, Session, set_message};

/// `embedded run agent end` with an object: one try of a run ended, here in an error. What a failed
/// try means lies in `failoverReason`. The end of an overflow is told by `[context-overflow-diag]`,
/// the end of a run without error by `[agent] run … ended`.
pub(super) fn ended_in_error(line: &Line<'_>, event: &mut Event) {
    let Some(detail) = line.detail else { return };
    let is_error = detail.get("isError").and_then(|value| value.as_bool()) == Some(true);
    if detail.str_at("event") != Some("embedded_run_agent_end") || !is_error {
        return;
    }
    let meaning = match detail.str_at("failoverReason") {
        Some("context_overflow") => return,
        Some("auth" | "auth_permanent") => model("auth.provider", "failure", "provider_auth"),
        Some("billing") => model("auth.provider", "failure", "provider_billing"),
        Some("timeout") => model("model.call", "timeout", "timeout"),
        Some(_) => run("run.end", "error", Some("other")),
        None => run("run.end", "error", None),
    };
    meaning.write(event);
    event.set_text_if(FieldId::ModelName, detail.str_at("model"));
    event.set_text_if(FieldId::ModelProvider, detail.str_at("provider"));
    let error = detail.str_at("rawErrorPreview").or_else(|| detail.str_at("error"));
    set_message(event, error.unwrap_or(line.message));
    if let Some(status) = error.and_then(http_status) {
        event.set_int(FieldId::HttpStatus, status);
    }
}

/// The status that a provider's error starts with: `401 Incorrect API key provided`.
fn http_status(error: &str) -> Option<i64> {
    let status = error.split(' ').next()?.parse().ok()?;
    (100..=599).contains(&status).then_some(status)
}

/// `[agent] run ID ended with stopReason=stop`.
pub(super) fn ended(line: &Line<'_>, event: &mut Event) {
    let rest = line.message.strip_prefix("[agent] run ");
    let Some((id, _)) = rest.and_then(|rest| rest.split_once(" ended ")) else { return };
    let outcome = match line.field("stopReason") {
        Some("error") => "error",
        Some("aborted") => "failure",
        _ => "success",
    };
    run("run.end", outcome, None).write(event);
    event.set_text(FieldId::RunId, id);
}

/// `started interrupted main session: KEY`.
pub(super) fn recovered(line: &Line<'_>, event: &mut Event) {
    run("run.recover", "success", Some("interrupted")).write(event);
    let key = line.message.split_once(": ").map(|(_, key)| key.trim());
    Session { key, ..Session::default() }.write(event);
}

fn model(action: &'static str, outcome: &'static str, reason: &'static str) -> Meaning {
    Meaning { kind: "model", action, outcome, reason: Some(reason) }
}

fn run(action: &'static str, outcome: &'static str, reason: Option<&'static str>) -> Meaning {
    Meaning { kind: "run", action, outcome, reason }
}

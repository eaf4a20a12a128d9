//! Calls of tools: blocked, failed, completed, repeated over and over.

use lapwing_event::{Event, FieldId};

use super::set_whole;
use crate::format::openclaw::{Denial, Meaning, denial, set_message};
use crate::json::Value;

/// `tool.execution.blocked`: `deniedReason` is the check that said no, `reason` its words.
pub(super) fn blocked(record: Value<'_>, event: &mut Event) {
    let check = record.str_at("deniedReason").unwrap_or_default();
    let words = record.str_at("reason").unwrap_or_default();
    let Denial { reason, by } = refusal(check, words);
    execute("denied", Some(reason)).write(event);
    set_call(record, event);
    event.set_text(FieldId::DecisionBy, by);
    event.set_text_if(FieldId::PolicyId, (!check.is_empty()).then_some(check));
    set_message(event, words);
}

/// The check's name decides; the words only tell what became of an approval that a plug-in asked
/// for, since they are the plug-in's own.
fn refusal(check: &str, words: &str) -> Denial {
    let by = if check.starts_with("plugin") { "plugin" } else { "policy" };
    let unspecific = Denial { reason: "policy_denied", by };
    let specific = |text| denial(text).filter(|denial| denial.reason != "policy_denied");
    match check {
        "plugin-before-tool-call" => unspecific,
        _ => specific(check).or_else(|| specific(words)).unwrap_or(unspecific),
    }
}

/// `tool.execution.error`.
pub(super) fn failed(record: Value<'_>, event: &mut Event) {
    let meaning = match record.str_at("terminalReason") {
        Some("timed_out") => execute("timeout", Some("timeout")),
        Some("cancelled") => execute("failure", Some("user_abort")),
        _ => execute("failure", Some("execution_failed")),
    };
    meaning.write(event);
    set_call(record, event);
    set_message(event, record.str_at("errorCategory").unwrap_or_default());
}

/// `tool.execution.completed`: the tool ran; a command's exit code is not its concern.
pub(super) fn completed(record: Value<'_>, event: &mut Event) {
    execute("success", None).write(event);
    set_call(record, event);
}

/// `tool.loop`. The count is how often the call was repeated so far, not how many loops the event
/// stands for.
pub(super) fn looped(record: Value<'_>, event: &mut Event) {
    let is_blocked = record.str_at("action") == Some("block");
    let outcome = if is_blocked { "denied" } else { "unknown" };
    let (action, reason) = ("tool.loop", Some("loop_detected"));
    Meaning { kind: "tool", action, outcome, reason }.write(event);
    set_call(record, event);
    event.set_text_if(FieldId::DecisionBy, is_blocked.then_some("policy"));
    event.set_text_if(FieldId::PolicyId, record.str_at("detector"));
    set_message(event, record.str_at("message").unwrap_or_default());
}

fn execute(outcome: &'static str, reason: Option<&'static str>) -> Meaning {
    Meaning { kind: "tool", action: "tool.execute", outcome, reason }
}

fn set_call(record: Value<'_>, event: &mut Event) {
    event.set_text_if(FieldId::ToolName, record.str_at("toolName"));
    event.set_text_if(FieldId::ToolCallId, record.str_at("toolCallId"));
    set_whole(event, FieldId::DurationMs, record, "durationMs");
}

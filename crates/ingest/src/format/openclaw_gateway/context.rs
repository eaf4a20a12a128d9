//! Lines about the context window: overflow, compaction, recovery.

use lapwing_event::{Event, FieldId};

use super::line::Line;
use crate::format::openclaw::{Meaning, Session, set_message};

/// `[context-overflow-diag] sessionKey=… provider=A/B … messages=2 … observedTokens=… … error=…`:
/// of the five lines of an overflow the one with the session and the tokens. It has no run; the
/// trace joins them.
pub(super) fn overflowed(line: &Line<'_>, event: &mut Event) {
    context("context.overflow", "failure", Some("context_length")).write(event);
    // A session without a key is named by its id in the same place.
    let session = line.field("sessionKey");
    let key = session.filter(|name| name.starts_with("agent:"));
    Session { id: session, key, agent: None }.write(event);
    set_model(event, line.field("provider"));
    let number = |key| line.field(key).and_then(number);
    set_number(event, FieldId::ContextMessages, number("messages"));
    let tokens = number("observedTokens").or_else(|| number("preflightEstimatedTokens"));
    set_number(event, FieldId::ContextTokens, tokens);
    if let Some((_, error)) = line.message.split_once(" error=") {
        set_message(event, error);
        set_number(event, FieldId::ContextLimit, limit_in(error));
    }
}

/// The model's limit in a provider's words: `maximum context length is 16000 tokens`, or `212345
/// tokens > 200000 maximum`.
fn limit_in(error: &str) -> Option<i64> {
    let stated = |mark| error.split_once(mark).and_then(|(_, after)| number(after));
    let compared = || stated(" > ").filter(|_| error.contains(" maximum"));
    stated("maximum context length is ").or_else(compared)
}

/// `auto-compaction succeeded for A/B; …`, `auto-compaction failed for A/B: REASON`.
pub(super) fn compacted(line: &Line<'_>, event: &mut Event) {
    let Some(rest) = line.message.strip_prefix("auto-compaction ") else { return };
    let (outcome, rest) = match rest.split_once(' ').unwrap_or((rest, "")) {
        ("succeeded", rest) => ("success", rest),
        ("failed", rest) => ("failure", rest),
        _ => return,
    };
    let why = rest.split_once(": ").map_or(rest, |(_, why)| why);
    let is_empty = why.get(..18).is_some_and(|s| s.eq_ignore_ascii_case("nothing to compact"));
    let reason = match outcome {
        "success" => None,
        _ if is_empty => Some("nothing_to_compact"),
        _ => Some("other"),
    };
    context("context.compaction", outcome, reason).write(event);
    let model = rest.strip_prefix("for ").and_then(|rest| rest.split([';', ',', ' ']).next());
    set_model(event, model.map(|model| model.trim_end_matches(':')));
}

/// `[context-overflow-recovery] exhausted … recovery for A/B; livenessState=blocked …`: the end of
/// the recovery. Its steps on the way (`Attempting …`) mean nothing yet.
pub(super) fn recovered(line: &Line<'_>, event: &mut Event) {
    let is_over = line.message.contains("] exhausted ");
    let meaning = if is_over || line.field("livenessState") == Some("blocked") {
        context("context.recovery", "failure", Some("recovery_exhausted"))
    } else if line.message.ends_with("retrying prompt") {
        context("context.recovery", "success", None)
    } else {
        return;
    };
    meaning.write(event);
    let model =
        line.message.split_once(" for ").and_then(|(_, rest)| rest.split([';', ' ']).next());
    set_model(event, model);
}

fn context(action: &'static str, outcome: &'static str, reason: Option<&'static str>) -> Meaning {
    Meaning { kind: "context", action, outcome, reason }
}

/// `provider/model`; the model's name may contain more slashes.
fn set_model(event: &mut Event, written: Option<&str>) {
    if let Some((provider, model)) = written.and_then(|text| text.split_once('/')) {
        event.set_text(FieldId::ModelProvider, provider);
        event.set_text(FieldId::ModelName, model);
    }
}

fn set_number(event: &mut Event, field: FieldId, number: Option<i64>) {
    if let Some(number) = number {
        event.set_int(field, number);
    }
}

/// The number that a text starts with.
fn number(text: &str) -> Option<i64> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..end].parse().ok()
}

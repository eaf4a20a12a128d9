//! Lines about tools: calls that failed or were refused, and calls repeated over and over.

use lapwing_event::{Event, FieldId};

use super::line::Line;
use crate::format::openclaw::{Meaning, Session, bounded, denial, set_message};
use crate::json::Json;

/// `[tools] NAME failed: ERROR raw_params={…}`.
pub(super) fn failed(line: &Line<'_>, event: &mut Event) {
    let rest = line.message.strip_prefix("[tools] ");
    let Some((name, rest)) = rest.and_then(|rest| rest.split_once(" failed: ")) else { return };
    if name.is_empty() || name.contains(char::is_whitespace) {
        return;
    }
    // The first mark, not the last: the parameters are the agent's and may contain it again.
    let (error, params) = match rest.split_once(" raw_params=") {
        Some((error, params)) => (error, Some(params)),
        None => (rest, None),
    };
    let denial = denial(error);
    let (outcome, reason) = match denial {
        Some(denial) => ("denied", denial.reason),
        None if is_not_found(error) => ("failure", "not_found"),
        None => ("failure", "execution_failed"),
    };
    let action = "tool.execute";
    Meaning { kind: "tool", action, outcome, reason: Some(reason) }.write(event);
    event.set_text(FieldId::ToolName, name);
    event.set_text_if(FieldId::DecisionBy, denial.map(|denial| denial.by));
    set_message(event, error);
    let target = params.and_then(target_in_params);
    let target = target.as_deref().or_else(|| target_in_error(error));
    event.set_text_if(FieldId::ToolTarget, target.map(bounded));
}

fn is_not_found(error: &str) -> bool {
    error.starts_with("ENOENT") || error.contains("no such file")
}

/// The parameters that say what a tool is pointed at, in the order in which they are looked for.
static TARGETS: &[&str] = &["path", "file_path", "url", "command", "target"];

/// The target in the parameters, which are JSON in the message; cut ones are not read. A failed
/// call is rare enough for a parser of its own.
fn target_in_params(params: &str) -> Option<String> {
    let mut json = Json::default();
    let read = json.parse(params.as_bytes(), |params| {
        Ok(TARGETS.iter().find_map(|key| params.str_at(key)).map(str::to_owned))
    });
    read.ok().flatten()
}

/// The path in an error text: `… access '/nope'`, `Path escapes sandbox root (~/ws): /etc/shadow.
/// Use …`.
fn target_in_error(error: &str) -> Option<&str> {
    let quoted = || error.split_once('\'')?.1.split_once('\'').map(|(path, _)| path);
    let outside = || error.split_once("): ")?.1.split(". ").next();
    let path = if error.starts_with("Path escapes") { outside() } else { quoted() };
    path.filter(|path| !path.is_empty())
}

/// `tool loop: sessionId=… sessionKey=… tool=… level=… action=block detector=… count=20
/// message="…"`. The count is how often the call was repeated so far, not how many loops the line
/// stands for.
pub(super) fn looped(line: &Line<'_>, event: &mut Event) {
    let is_blocked = line.field("action") == Some("block");
    let outcome = if is_blocked { "denied" } else { "unknown" };
    let (action, reason) = ("tool.loop", Some("loop_detected"));
    Meaning { kind: "tool", action, outcome, reason }.write(event);
    let (id, key) = (line.field("sessionId"), line.field("sessionKey"));
    Session { id, key, agent: None }.write(event);
    event.set_text_if(FieldId::ToolName, line.field("tool"));
    event.set_text_if(FieldId::DecisionBy, is_blocked.then_some("policy"));
    event.set_text_if(FieldId::PolicyId, line.field("detector"));
    if let Some((_, message)) = line.message.split_once(" message=\"") {
        set_message(event, message.trim_end_matches('"'));
    }
}

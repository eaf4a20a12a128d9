//! Lines about the control of a gateway: its answers to requests, devices, configuration.

use lapwing_event::{Event, FieldId};

use super::line::Line;
use crate::format::openclaw::{Meaning, address, set_message};

/// `⇄ res ✓ METHOD 91ms …`.
pub(super) fn answered(line: &Line<'_>, event: &mut Event) {
    request("success", None).write(event);
    set_duration(line, event);
}

/// `⇄ res ✗ METHOD 15ms errorCode=… errorMessage=…`: a missing permission is the check of a policy,
/// anything else a request that failed.
pub(super) fn refused(line: &Line<'_>, event: &mut Event) {
    set_duration(line, event);
    if let Some((_, rest)) = line.message.split_once(" errorMessage=missing scope: ") {
        let (action, reason) = ("policy.check", Some("missing_scope"));
        Meaning { kind: "policy", action, outcome: "denied", reason }.write(event);
        event.set_text_if(FieldId::PolicyId, rest.split_ascii_whitespace().next());
        return;
    }
    let reason = match line.field("errorCode") {
        Some("INVALID_REQUEST") => "invalid_arguments",
        Some("UNAVAILABLE") => "server_error",
        _ => "other",
    };
    request("failure", Some(reason)).write(event);
}

fn request(outcome: &'static str, reason: Option<&'static str>) -> Meaning {
    Meaning { kind: "network", action: "network.request", outcome, reason }
}

/// The duration is the word after the method: `⇄ res ✓ METHOD 91ms`.
fn set_duration(line: &Line<'_>, event: &mut Event) {
    let word = line.message.split_ascii_whitespace().nth(4);
    let ms = word.and_then(|word| word.strip_suffix("ms")?.parse::<u32>().ok());
    if let Some(ms) = ms {
        event.set_int(FieldId::DurationMs, i64::from(ms));
    }
}

/// `device pairing approved|auto-approved|removed device=…`, `device pairing approval denied …`.
pub(super) fn device_pairing(line: &Line<'_>, event: &mut Event) {
    let what = line.message.strip_prefix("device pairing ");
    let what = what.and_then(|what| what.split('=').next()).unwrap_or_default();
    let meaning = match what {
        "approved device" | "auto-approved device" => device("device.pair", "success", None),
        "removed device" => device("device.remove", "success", None),
        "approval denied request" => device("device.pair", "denied", Some("policy_denied")),
        "removal denied device" => device("device.remove", "denied", Some("policy_denied")),
        _ => return,
    };
    meaning.write(event);
    event.set_text_if(FieldId::ActorId, line.field("device"));
}

/// `device token rotated|revoked device=… role=…`.
pub(super) fn device_token(line: &Line<'_>, event: &mut Event) {
    let Some(id) = line.field("device") else { return };
    let is_denied = line.message.contains(" denied ");
    let (outcome, reason) =
        if is_denied { ("denied", Some("policy_denied")) } else { ("success", None) };
    device("device.token", outcome, reason).write(event);
    event.set_text(FieldId::ActorId, id);
}

/// `security audit: device access upgrade requested reason=… device=… ip=… …`.
pub(super) fn device_upgrade(line: &Line<'_>, event: &mut Event) {
    device("device.upgrade", "unknown", None).write(event);
    event.set_text_if(FieldId::ActorId, line.field("device"));
    set_client(line, event);
}

fn device(action: &'static str, outcome: &'static str, reason: Option<&'static str>) -> Meaning {
    Meaning { kind: "device", action, outcome, reason }
}

/// `config.patch write actor=… device=… ip=… conn=… changedPaths=… restartReason=…`. Its connection
/// is no id of it: one connection may write many times.
pub(super) fn config_written(line: &Line<'_>, event: &mut Event) {
    if line.message.split(' ').nth(1) != Some("write") {
        return;
    }
    let meaning =
        Meaning { kind: "config", action: "config.change", outcome: "success", reason: None };
    meaning.write(event);
    event.set_text_if(FieldId::ActorId, line.field("actor").filter(|id| *id != "unknown-actor"));
    set_client(line, event);
    set_message(event, line.field("changedPaths").unwrap_or(line.message));
}

fn set_client(line: &Line<'_>, event: &mut Event) {
    let client = line.field("ip").and_then(address).map(|ip| ip.to_string());
    event.set_text_if(FieldId::SourceIp, client.as_deref());
}

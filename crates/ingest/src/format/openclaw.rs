//! What the two OpenClaw formats share: how reasons, session keys, addresses and numbers are
//! written there, and what they are called here. All of it is untrusted text.

use std::net::{IpAddr, SocketAddr};

use lapwing_event::time::{in_range, parse_time};
use lapwing_event::{Event, FieldId, Reject, RejectReason};

use crate::json::Value;

/// The value of `product`.
pub(super) const PRODUCT: &str = "openclaw";

/// Bytes kept of a free text (message, target of a tool): enough to read what happened, and the
/// record itself is kept in `raw`.
pub(super) const MAX_TEXT_BYTES: usize = 1024;

/// What a record means, in the words of the closed lists.
pub(super) struct Meaning {
    pub(super) kind: &'static str,
    pub(super) action: &'static str,
    pub(super) outcome: &'static str,
    pub(super) reason: Option<&'static str>,
}

impl Meaning {
    pub(super) fn write(&self, event: &mut Event) {
        event.set_text(FieldId::Kind, self.kind);
        event.set_text(FieldId::Action, self.action);
        event.set_text(FieldId::Outcome, self.outcome);
        event.set_text_if(FieldId::ReasonCode, self.reason);
    }
}

/// The session a record belongs to, as far as it says so.
#[derive(Default)]
pub(super) struct Session<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) key: Option<&'a str>,
    pub(super) agent: Option<&'a str>,
}

impl Session<'_> {
    pub(super) fn write(&self, event: &mut Event) {
        event.set_text_if(FieldId::SessionId, self.id.or(self.key));
        event.set_text_if(FieldId::SessionKey, self.key);
        event.set_text_if(FieldId::AgentId, self.agent.or_else(|| agent_of(self.key?)));
    }
}

/// The agent in a session key, `agent:<agent>:<rest>`.
fn agent_of(session_key: &str) -> Option<&str> {
    let (agent, _) = session_key.strip_prefix("agent:")?.split_once(':')?;
    (!agent.is_empty()).then_some(agent)
}

/// Sets `reason.message`, cut to its bound; an empty text is none.
pub(super) fn set_message(event: &mut Event, text: &str) {
    let text = bounded(text.trim());
    event.set_text_if(FieldId::ReasonMessage, (!text.is_empty()).then_some(text));
}

/// The start of a text, at most [`MAX_TEXT_BYTES`] long, cut between characters.
pub(super) fn bounded(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The time of a record: the first of these values that can be read, each an RFC 3339 text or epoch
/// milliseconds.
///
/// # Errors
/// `no_time` if there is no value, `bad_time` if none can be read.
pub(super) fn time_of<'a>(
    written: impl IntoIterator<Item = Option<Value<'a>>>,
) -> Result<i64, Reject> {
    let mut reject = Reject::new(RejectReason::NoTime, "time is missing");
    for value in written.into_iter().flatten().filter(|value| !value.is_null()) {
        let time = match value.as_str() {
            Some(text) => parse_time(text),
            None => value.as_i64().and_then(|ms| ms.checked_mul(1000)).and_then(in_range),
        };
        match time {
            Some(time) => return Ok(time),
            None => {
                reject = Reject::new(
                    RejectReason::BadTime,
                    "time is neither RFC 3339 nor epoch milliseconds within the years 1 to 9999",
                );
            }
        }
    }
    Err(reject)
}

/// A number of an object as a whole one, 0 or more: durations are written with fractions.
pub(super) fn whole_at(object: Value<'_>, key: &str) -> Option<i64> {
    let value = object.get(key)?;
    let rounded = || value.as_f64().filter(|x| x.abs() < 9.0e18).map(|x| x.round() as i64);
    value.as_i64().or_else(rounded).filter(|n| *n >= 0)
}

/// An address, with or without a port, in its usual spelling: an IPv4 address that a dual-stack
/// socket reports as `::ffff:192.0.2.1` is the same client as `192.0.2.1`.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    // A link-local address may name its interface, `fe80::1%eth0`.
    let bare = bare.split('%').next().unwrap_or(bare);
    let ip = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()))?;
    Some(ip.to_canonical())
}

/// The reason code of a refused connection.
pub(super) fn auth_reason(written: &str) -> &'static str {
    match written {
        "token_mismatch" => "token_mismatch",
        "token_missing" => "token_missing",
        "password_mismatch" => "password_mismatch",
        "password_missing" => "password_missing",
        "rate_limited" => "rate_limited",
        _ if written.starts_with("device") => "device_auth",
        _ if written.ends_with("expired") => "credentials_expired",
        _ => "other",
    }
}

/// What an authentication refused for this reason means.
pub(super) fn refused_connect(reason: &'static str) -> Meaning {
    // A lockout is a decision of the gateway: the right token is refused too.
    let outcome = if reason == "rate_limited" { "denied" } else { "failure" };
    Meaning { kind: "auth", action: "auth.connect", outcome, reason: Some(reason) }
}

/// Who said no, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) reason: &'static str,
    pub(super) by: &'static str,
}

/// Phrases that only a refusal carries, wherever they stand; the first that occurs decides, and
/// the narrower ones come first ("approval-timeout: allowlist-miss" is a timeout).
static REFUSALS: &[(&str, Denial)] = &[
    ("path escapes", Denial { reason: "sandbox_path", by: "sandbox" }),
    ("private/internal", Denial { reason: "sandbox_network", by: "sandbox" }),
    ("approval-timeout", Denial { reason: "approval_timeout", by: "policy" }),
    ("approval timed out", Denial { reason: "approval_timeout", by: "policy" }),
    ("no-route", Denial { reason: "approval_unavailable", by: "policy" }),
    ("approval-unavailable", Denial { reason: "approval_unavailable", by: "policy" }),
    ("approval unavailable", Denial { reason: "approval_unavailable", by: "policy" }),
    ("approval-request-failed", Denial { reason: "approval_unavailable", by: "policy" }),
    ("user-denied", Denial { reason: "user_rejected", by: "user" }),
    ("denied by user", Denial { reason: "user_rejected", by: "user" }),
    ("user denied", Denial { reason: "user_rejected", by: "user" }),
    ("rejected by user", Denial { reason: "user_rejected", by: "user" }),
    ("user rejected", Denial { reason: "user_rejected", by: "user" }),
    ("allowlist miss", Denial { reason: "allowlist_miss", by: "policy" }),
    ("allowlist-miss", Denial { reason: "allowlist_miss", by: "policy" }),
    ("tool-loop", Denial { reason: "loop_detected", by: "policy" }),
];

/// Words of a refusal that other texts use too; they count only in the opening words, before any
/// path, address or output of a program is quoted.
static REFUSAL_WORDS: &[&str] = &["denied", "blocked", "not allowed"];

/// Reads a refusal out of an error text; `None` if it does not tell of one.
pub(super) fn denial(text: &str) -> Option<Denial> {
    if is_system_error(text) {
        return None;
    }
    let text = bounded(text).to_ascii_lowercase();
    if let Some((_, denial)) = REFUSALS.iter().find(|(phrase, _)| text.contains(phrase)) {
        return Some(*denial);
    }
    let opening = text.split([':', '\'', '"', '/', '(']).next().unwrap_or_default();
    let refused = REFUSAL_WORDS.iter().any(|word| opening.contains(word));
    refused.then_some(Denial { reason: "policy_denied", by: "policy" })
}

/// Whether a text starts with an error code of the operating system, `EACCES: permission denied,
/// open '…'`: the system failed the call, no policy did, and the rest is a path.
fn is_system_error(text: &str) -> bool {
    text.split_once(':').is_some_and(|(code, _)| {
        code.starts_with('E') && code.len() > 2 && code.bytes().all(|b| b.is_ascii_uppercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_from_its_words_and_not_from_paths_or_output() {
        let read = |text: &str| denial(text).map(|d| (d.reason, d.by));
        for (text, expected) in [
            ("Path escapes sandbox root (~/ws): /etc/shadow.", Some(("sandbox_path", "sandbox"))),
            ("exec denied: allowlist miss", Some(("allowlist_miss", "policy"))),
            ("exec denied: host=gateway security=deny", Some(("policy_denied", "policy"))),
            ("exec denied: user-denied", Some(("user_rejected", "user"))),
            ("approval-timeout: allowlist-miss", Some(("approval_timeout", "policy"))),
            ("Blocked hostname or private/internal IP", Some(("sandbox_network", "sandbox"))),
            ("ENOENT: no such file or directory, access '/tmp/blocked'", None),
            ("EACCES: permission denied, open '/root/x'", None),
            ("Web fetch failed (403): <p>access denied</p>", None),
            ("Command exited with code 1", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        for text in ["192.0.2.1", " 192.0.2.1:443 ", "::ffff:192.0.2.1", "[::ffff:192.0.2.1]:80"] {
            assert_eq!(address(text).map(|ip| ip.to_string()).as_deref(), Some("192.0.2.1"));
        }
        assert_eq!(
            address("[2001:db8::1]").map(|ip| ip.to_string()).as_deref(),
            Some("2001:db8::1")
        );
        for text in ["", "unknown", "192.0.2.1, 192.0.2.2", "n/a"] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn the_agent_stands_in_the_session_key() {
        assert_eq!(agent_of("agent:main:r2-loop"), Some("main"));
        for key in ["", "main", "agent:main", "agent::x"] {
            assert_eq!(agent_of(key), None, "{key}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = format!("a{}", "é".repeat(MAX_TEXT_BYTES));
        assert_eq!(bounded(&text).len(), MAX_TEXT_BYTES - 1);
    }
}

//! Lines about clients that connect: refused credentials, lockouts, connections that never came to
//! be.

use lapwing_event::{Event, FieldId};

use super::line::Line;
use crate::format::openclaw::{Meaning, address, auth_reason, refused_connect, set_message};

/// `closed before connect conn=… remote=… fwd=… …`: the second line of a refused connection, and
/// the only one with the client's address and the reason together.
///
/// Attempts without credentials are logged once in 30 s for each (reason, peer, client), and the
/// next line says `suppressed=N`. Both lines of a connection are limited alike, each by a limiter
/// of its own, so both say N: it is counted here and never on the `unauthorized` line. Releases
/// that limit only that line write this one for every attempt, so nothing is lost there either.
/// Behind a proxy all clients share the peer, so the N may be other clients' attempts.
pub(super) fn closed(line: &Line<'_>, event: &mut Event) {
    let text = |key| line.detail.and_then(|detail| detail.str_at(key));
    let meaning = match (text("cause"), text("authReason")) {
        (_, Some(reason)) => refused_connect(auth_reason(reason)),
        (Some("unauthorized"), None) => refused_connect("other"),
        (Some(cause), None) if cause.starts_with("device") => refused_connect("device_auth"),
        (Some("handshake-timeout"), None) => unfinished("timeout", Some("timeout")),
        (None, None) if close_reason(line.message).starts_with("unauthorized") => {
            refused_connect("other")
        }
        _ => unfinished("failure", None),
    };
    meaning.write(event);
    part_of_a_connection(line, event);
    set_message(event, close_reason(line.message));
    set_addresses(line, event);
    event.set_text_if(FieldId::ClientName, text("client"));
    event.set_text_if(FieldId::ClientVersion, text("version"));
    event.set_text_if(FieldId::ActorType, text("role"));
    event.set_text_if(FieldId::ActorId, text("deviceId"));
    if let Some(ms) = line.detail.and_then(|detail| detail.i64_at("durationMs")) {
        event.set_int(FieldId::DurationMs, ms.max(0));
    }
    if let Some(more) = suppressed(line) {
        event.set_int(FieldId::Count, more.saturating_add(1));
    }
}

/// A connection that ended before anybody showed credentials.
fn unfinished(outcome: &'static str, reason: Option<&'static str>) -> Meaning {
    Meaning { kind: "network", action: "network.request", outcome, reason }
}

/// A line about a connection whose event is another line; they share the connection's id.
pub(super) fn part_of_a_connection(line: &Line<'_>, event: &mut Event) {
    event.set_text_if(FieldId::Id, line.field("conn"));
    line.set_instance(event);
}

/// `hook auth throttled for <address>; retry-after=60s`.
pub(super) fn hook_throttled(line: &Line<'_>, event: &mut Event) {
    let (action, reason) = ("auth.hook", Some("rate_limited"));
    Meaning { kind: "auth", action, outcome: "denied", reason }.write(event);
    let rest = line.message.strip_prefix("hook auth throttled for ");
    let client = rest.and_then(|rest| rest.split(';').next()).and_then(address);
    let client = client.map(|ip| ip.to_string());
    event.set_text_if(FieldId::SourceIp, client.as_deref());
}

/// Sets the address that connected, and the client's: the first one forwarded, or the peer itself.
/// A forwarded-for header that holds no address is the client's invention, and no address.
fn set_addresses(line: &Line<'_>, event: &mut Event) {
    let text = |key| line.detail.and_then(|detail| detail.str_at(key));
    let peer = text("remoteAddr").or_else(|| line.field("remote"));
    let forwarded = text("forwardedFor").or_else(|| line.field("fwd"));
    let peer = peer.and_then(address).map(|ip| ip.to_string());
    let client = forwarded.and_then(|list| list.split(',').next()).and_then(address);
    let client = client.map(|ip| ip.to_string());
    event.set_text_if(FieldId::SourceIp, client.as_deref().or(peer.as_deref()));
    event.set_text_if(FieldId::SourcePeerIp, peer.as_deref());
}

/// The attempts that were not logged before this one. In the message it is the last word: a
/// client that writes it into its user agent is not believed.
fn suppressed(line: &Line<'_>) -> Option<i64> {
    let last = || line.message.rsplit(' ').next()?.strip_prefix("suppressed=")?.parse().ok();
    let in_detail = line.detail.and_then(|detail| detail.i64_at("suppressed"));
    in_detail.or_else(last).filter(|more| *more > 0)
}

/// The gateway's words for why it closed the connection; the fields before are the client's.
fn close_reason(message: &str) -> &str {
    let reason = message.rsplit_once(" reason=").map_or(message, |(_, reason)| reason);
    reason.split(" phase=").next().unwrap_or(reason)
}

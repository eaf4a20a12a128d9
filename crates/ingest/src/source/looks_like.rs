//! What a file seems to be when no format recognises it: a guess for an error message, from its
//! first bytes and its first record. Nothing is decided by it.

use crate::json::{Json, Value};

/// Where a tar file names itself.
const TAR_MAGIC_AT: usize = 257;

/// Files that begin in a way of their own.
const MAGIC: &[(&[u8], &str)] = &[
    (b"SQLite format 3", "a SQLite database"),
    (b"PAR1", "a Parquet file; to replay an archive, name the archive's folder"),
    (b"PK\x03\x04", "a zip file; unpack it first"),
    (b"\x1f\x8b", "a gzip file inside another; unpack it first"),
    (b"\xfd7zXZ\x00", "an xz file; unpack it first"),
    (b"BZh", "a bzip2 file; unpack it first"),
    (b"\x04\x22\x4d\x18", "an lz4 file; unpack it first"),
    (b"\xff\xfe", "a text in UTF-16; convert it to UTF-8"),
    (b"\xfe\xff", "a text in UTF-16; convert it to UTF-8"),
];

/// JSON records of other products, by keys that stand in them together.
const RECORDS: &[(&[&str], &str)] = &[
    (&["resourceLogs"], "OTLP/JSON logs"),
    (&["resourceSpans"], "OTLP/JSON traces"),
    (&["resourceMetrics"], "OTLP/JSON metrics"),
    (&["type", "sessionId", "parentUuid"], "a Claude Code transcript"),
    (&["type", "uuid", "sessionId"], "a Claude Code transcript"),
    (&["type", "snapshot", "isSnapshotUpdate"], "a Claude Code transcript"),
    (&["type", "summary", "leafUuid"], "a Claude Code transcript"),
    (&["type", "parentId", "timestamp", "id"], "an OpenClaw session transcript"),
    (&["event_id", "source_sequence", "occurred_at"], "rows of the OpenClaw audit ledger"),
    (&["context_id", "decision_outcome", "occurred_at"], "rows of the OpenClaw audit ledger"),
    (&["approval_id", "presentation_json"], "rows of the OpenClaw audit ledger"),
    (&["ts", "source", "event", "configPath"], "the OpenClaw configuration audit"),
    (
        &["ts", "signal", "body", "attributes"],
        "OpenTelemetry logs as an OpenClaw console prints them",
    ),
];

/// Says what a file seems to be, by its first bytes (decompressed) and its first record.
pub(crate) fn looks_like(head: &[u8], first_record: &[u8], json: &mut Json) -> String {
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return (*what).into();
    }
    if head.get(TAR_MAGIC_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        return "a tar file; unpack it first".into();
    }
    match json.parse(first_record, |value| Ok(of_json(value))) {
        Ok(what) => what,
        Err(_) => of_text(head, first_record).into(),
    }
}

fn of_json(record: Value<'_>) -> String {
    if record.is_array() {
        return "a JSON array; write one object a line".into();
    }
    if !record.is_object() {
        return format!("JSON values that are no objects ({})", record.type_name());
    }
    match record.str_at("type") {
        Some("session_meta" | "response_item" | "event_msg" | "turn_context") => {
            return "a Codex session".into();
        }
        Some("session") if record.get("version").is_some() => {
            return "an OpenClaw session transcript".into();
        }
        _ => {}
    }
    let has_all = |keys: &[&str]| keys.iter().all(|key| record.get(key).is_some());
    match RECORDS.iter().find(|(keys, _)| has_all(keys)) {
        Some((_, what)) => (*what).into(),
        None => format!("JSON records of an unknown product ({})", keys(record)),
    }
}

/// The first keys of a record, shortened: they are untrusted text.
fn keys(record: Value<'_>) -> String {
    let shown = record.entries().take(6).map(|(key, _)| key.escape_debug().take(24).collect());
    let shown: Vec<String> = shown.collect();
    match shown.is_empty() {
        true => "no keys".into(),
        false => format!("keys {}", shown.join(", ")),
    }
}

fn of_text(head: &[u8], first_record: &[u8]) -> &'static str {
    let start = head.trim_ascii_start();
    let is_text = std::str::from_utf8(first_record).is_ok()
        && !first_record.iter().any(|b| b.is_ascii_control() && *b != b'\t');
    match start.first() {
        _ if is_otlp(head) => "OTLP in protobuf",
        _ if !is_text => "binary data",
        Some(b'[') => "a JSON array; write one object a line",
        Some(b'{') => "JSON over several lines; write one object a line",
        _ if first_record.iter().filter(|b| **b == b',').count() >= 2 => "CSV",
        _ => "a plain text log",
    }
}

/// A protobuf message whose first field is message 1 (resource_logs), whose first field is message
/// 1 (resource), whose first field is message 1 (attributes): `0a len 0a len 0a len`.
fn is_otlp(head: &[u8]) -> bool {
    let mut rest = head;
    for _ in 0..3 {
        let Some((0x0a, after)) = rest.split_first() else { return false };
        let len = after.iter().take(5).position(|byte| byte & 0x80 == 0);
        let Some(len) = len else { return false };
        rest = &after[len + 1..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_for_what_it_seems_to_be() {
        let mut tar = vec![b'x'; 512];
        tar[TAR_MAGIC_AT..TAR_MAGIC_AT + 5].copy_from_slice(b"ustar");
        let table: &[(&[u8], &str)] = &[
            (b"SQLite format 3\0", "SQLite"),
            (b"PAR1....", "archive's folder"),
            (b"PK\x03\x04", "zip"),
            (&tar, "tar"),
            (b"\x0a\xd3\x07\x0a\x26\x0a\x22\x0a\x0cservice.name", "OTLP in protobuf"),
            (br#"{"type":"user","uuid":"1","sessionId":"2","parentUuid":null}"#, "Claude Code"),
            (br#"{"timestamp":"x","type":"session_meta","payload":{}}"#, "Codex"),
            (br#"{"type":"session","version":3,"id":"1","timestamp":"x"}"#, "OpenClaw session"),
            (br#"{"type":"message","id":"1","parentId":"x","timestamp":"x"}"#, "OpenClaw session"),
            (br#"{"resourceLogs":[]}"#, "OTLP/JSON"),
            (br#"{"event_id":"1","source_sequence":1,"occurred_at":1}"#, "audit ledger"),
            (br#"{"a":1}"#, "keys a"),
            (b"[{\"a\":1}]", "JSON array"),
            (b"[", "JSON array"),
            (b"{", "several lines"),
            (b"17", "number"),
            (b"a,b,c", "CSV"),
            (b"Nov 22 gateway started", "plain text"),
            (b"\x00\x01\x02", "binary"),
            (b"", "plain text"),
        ];
        for (head, what) in table {
            let said = looks_like(head, head, &mut Json::default());
            assert!(said.contains(what), "{what}: {said}");
        }
    }
}

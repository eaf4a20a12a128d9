//! Laws of every format: no input makes one panic, and what it gives is an event or a reason.

use lapwing_event::{Event, EventColumns, Reject};
use lapwing_ingest::format::FORMATS;
use lapwing_ingest::json::Json;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

/// Lines of every format, the seeds of what is mutated.
fn lines() -> Vec<&'static str> {
    [
        include_str!("fixtures/openclaw_gateway.log"),
        include_str!("fixtures/openclaw_gateway_legacy.log"),
        include_str!("fixtures/openclaw_diagnostic.jsonl"),
        r#"{"time":"2026-11-22T16:01:13.196Z","kind":"tool","tool":{"name":"exec"},"count":2}"#,
    ]
    .into_iter()
    .flat_map(str::lines)
    .collect()
}

/// Feeds a record to every format.
fn feed(record: &[u8]) {
    let mut json = Json::default();
    let mut event = Event::default();
    for format in FORMATS {
        format.recognise(record, &mut json);
        event.clear();
        let decoded: Result<(), Reject> = format
            .decode(record, &mut json, &mut event)
            .and_then(|()| EventColumns::default().push(&event));
        if let Err(reject) = decoded {
            assert!(!reject.detail.is_empty(), "{}", reject.reason);
        }
    }
}

#[derive(Debug, Clone)]
enum Mutation {
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index, usize),
    Truncate(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<Index>(), 1..=255_u8).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), 1..64_usize).prop_map(|(at, n)| Mutation::Delete(at, n)),
        any::<Index>().prop_map(Mutation::Truncate),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: Mutation) {
    if bytes.is_empty() {
        return;
    }
    match mutation {
        Mutation::Flip(at, bits) => {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        Mutation::Insert(at, new) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, new);
        }
        Mutation::Delete(at, n) => {
            let at = at.index(bytes.len());
            bytes.drain(at..bytes.len().min(at + n));
        }
        Mutation::Truncate(at) => bytes.truncate(at.index(bytes.len())),
    }
}

/// A value of any type, nested a little.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        select(vec!["", "=", "agent:", "a=b c", "'", "☃ raw_params=", "-> :", "): "])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,6}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// The number of values inside an object or array, at any depth.
fn size(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.values().map(|v| 1 + size(v)).sum(),
        Value::Array(list) => list.iter().map(|v| 1 + size(v)).sum(),
        _ => 0,
    }
}

/// The value that stands at a place, counted in the order of [`size`].
fn value_at(value: &mut Value, place: usize) -> Option<&mut Value> {
    let children: Vec<&mut Value> = match value {
        Value::Object(map) => map.values_mut().collect(),
        Value::Array(list) => list.iter_mut().collect(),
        _ => return None,
    };
    let mut left = place;
    for child in children {
        if left == 0 {
            return Some(child);
        }
        let inside = 1 + size(child);
        if left < inside {
            return value_at(child, left - 1);
        }
        left -= inside;
    }
    None
}

/// Words that the messages of a log are made of, put together at random.
fn message() -> impl Strategy<Value = String> {
    let words = vec![
        "closed before connect ",
        "unauthorized conn=",
        "⇄ res ✗ ",
        "⇄ res ✓ ",
        "[tools] ",
        " failed: ",
        " raw_params=",
        "{",
        "\"path\":",
        "}",
        "tool loop: ",
        "sessionKey=",
        "agent:",
        ":",
        "action=block",
        " message=\"",
        "[context-overflow-diag] ",
        "observedTokens=",
        "99999999999999999999",
        " error=",
        "maximum context length is ",
        " > ",
        " maximum",
        "auto-compaction failed ",
        "for a/b: ",
        "[context-overflow-recovery] exhausted ",
        "[agent] run ",
        " ended ",
        "config.patch write ",
        "device pairing ",
        "approved device=",
        "security audit: device access upgrade requested ",
        "peer=",
        "->",
        "suppressed=",
        "-1",
        "9223372036854775807",
        " phase=",
        " reason=",
        "Path escapes",
        "): ",
        ". ",
        "'",
        "é",
        "",
        " ",
    ];
    prop::collection::vec(select(words), 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(record in prop::collection::vec(any::<u8>(), 0..512)) {
        feed(&record);
    }

    #[test]
    fn mutated_lines_never_panic(
        line in select(lines()),
        mutations in prop::collection::vec(mutation(), 1..4),
    ) {
        let mut record = line.as_bytes().to_vec();
        mutations.into_iter().for_each(|mutation| mutate(&mut record, mutation));
        feed(&record);
    }

    #[test]
    fn lines_with_values_of_other_types_never_panic(
        line in select(lines()),
        places in prop::collection::vec((any::<Index>(), json_value()), 1..4),
    ) {
        let mut record: Value = serde_json::from_str(line).expect("a line is JSON");
        for (place, value) in places {
            let count = size(&record).max(1);
            if let Some(old) = value_at(&mut record, place.index(count)) {
                *old = value;
            }
        }
        feed(record.to_string().as_bytes());
    }

    #[test]
    fn messages_of_any_wording_never_panic(
        subsystem in select(vec!["gateway/ws", "gateway", "agent/embedded", "diagnostic", "hooks", ""]),
        message in message(),
        detail in json_value(),
    ) {
        let record = serde_json::json!({
            "0": format!("{{\"subsystem\":\"{subsystem}\"}}"), "1": detail, "message": message,
            "time": "2026-11-22T16:01:13Z", "_meta": {"logLevelName": "ERROR", "hostname": "vm"},
        });
        feed(record.to_string().as_bytes());
    }

    #[test]
    fn deep_nesting_never_panics(depth in 1..5000_usize, line in select(lines())) {
        let open = "{\"a\":[".repeat(depth);
        feed(open.as_bytes());
        let deep = format!("{open}1{}", "]}".repeat(depth));
        feed(deep.as_bytes());
        feed(format!("{},\"1\":{deep}}}", &line[..line.len() - 1]).as_bytes());
    }
}

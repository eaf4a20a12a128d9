//! JSON Schemas (draft 2020-12) of an event and of an alert, made from the table of fields.

use serde_json::{Map, Value, json};

use crate::alert::{Incomplete, Level, ResolvedBecause, Status};
use crate::field::{FIELDS, FieldSpec, FieldType, Origin};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of an event in the native format.
pub fn event_schema_json() -> Value {
    let mut properties = Map::new();
    for field in FIELDS.iter().filter(|f| f.origin == Origin::Record) {
        match field.name.split_once('.') {
            None => drop(properties.insert(field.name.into(), value_schema(field))),
            Some((group, member)) => {
                let group = properties.entry(group).or_insert_with(
                    || json!({"type": ["object", "null"], "properties": {}, "additionalProperties": true}),
                );
                group["properties"][member] = value_schema(field);
            }
        }
    }
    json!({
        "$schema": DRAFT,
        "title": "Lapwing event, native format",
        "description": "One JSON object a line, or the value of a Kafka message. Unknown keys are kept.",
        "type": "object",
        "required": ["time", "kind"],
        "properties": properties,
        "additionalProperties": true,
    })
}

fn value_schema(field: &FieldSpec) -> Value {
    let is_required = matches!(field.name, "time" | "kind");
    let nullable = |word: &str| if is_required { json!(word) } else { json!([word, "null"]) };
    let mut schema = match (field.field_type, field.terms) {
        (_, Some(terms)) => {
            let mut values: Vec<Value> = terms.iter().map(|t| t.value.into()).collect();
            if !is_required {
                values.push(Value::Null);
            }
            json!({"enum": values})
        }
        (FieldType::Time, _) => json!({
            "oneOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}]
        }),
        (FieldType::Count, _) => {
            json!({"type": nullable("integer"), "minimum": i64::from(field.name == "count")})
        }
        (FieldType::Float, _) => json!({"type": nullable("number"), "minimum": 0}),
        _ => json!({"type": nullable("string")}),
    };
    schema["description"] = field.meaning.into();
    schema
}

/// The schema of an alert.
pub fn alert_schema() -> Value {
    let time = || json!({"type": "string", "format": "date-time"});
    let text = || json!({"type": "string"});
    let evidence = json!({
        "type": "object",
        "properties": {
            "offset": {"type": "integer", "minimum": 0, "description": "in the partition, from 0"},
            "file": {"type": ["string", "null"]},
            "line": {"type": ["integer", "null"], "minimum": 1, "description": "in the file, from 1"},
            "time": time(),
            "reason": {"type": ["string", "null"]},
        },
        "required": ["offset", "file", "line", "time", "reason"],
        "additionalProperties": false,
    });
    let mut resolved_because: Vec<Value> =
        ResolvedBecause::ALL.iter().map(|b| b.word().into()).collect();
    resolved_because.push(Value::Null);
    let properties = json!({
        "id": {"type": "string", "pattern": "^[0-9a-f]{32}$",
            "description": "hash of rule id, source id, partition, group key and opening event time"},
        "revision": {"type": "integer", "minimum": 1},
        "status": {"enum": [Status::Opened.word(), Status::Updated.word(), Status::Resolved.word()]},
        "level": {"enum": Level::ALL.map(Level::word)},
        "rule": {"type": "object", "properties": {"id": text(), "name": text()},
            "required": ["id", "name"], "additionalProperties": false},
        "source_id": text(),
        "partition": text(),
        "key": {"type": "object", "additionalProperties": {"type": ["string", "integer", "null"]}},
        "title": text(),
        "description": text(),
        "next_step": text(),
        "count": {"type": "integer", "minimum": 0,
            "description": "occurrences that lie in a holding window of this alert; 0 for one about absence"},
        "value": {"type": "number",
            "description": "the value that the condition compared: the largest in any holding window, or the smallest where the condition has only upper bounds; exact to 1e-9 up to 2^53"},
        "by_reason": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
        "window": {"type": "object", "properties": {"start": time(), "end": time()},
            "required": ["start", "end"], "additionalProperties": false,
            "description": "what the holding windows cover: start < t <= end"},
        "opened_at": time(),
        "last_at": time(),
        "resolved_at": {"oneOf": [time(), {"type": "null"}]},
        "resolved_because": {"enum": resolved_because},
        "evidence": {"type": "object",
            "properties": {"first": evidence, "latest": evidence,
                "samples": {"type": "array", "maxItems": crate::MAX_SAMPLES, "items": evidence}},
            "required": ["first", "latest", "samples"], "additionalProperties": false},
        "complete": {"type": "boolean"},
        "incomplete_because": {"type": "array", "items": {"enum":
            Incomplete::ALL.map(Incomplete::word)}},
        "open_at_end": {"type": "boolean",
            "description": "the bounded input ended while the alert was open"},
    });
    let required: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({
        "$schema": DRAFT,
        "title": "Lapwing alert",
        "description": "One JSON object for each opening, update and resolution. All times are event times.",
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

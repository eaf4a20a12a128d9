//! The native format: one JSON object a record, with the nested names of the table of fields.
//! Unknown keys are kept in `extra`.

use std::sync::LazyLock;

use lapwing_event::time::{in_range, parse_time};
use lapwing_event::{Event, FIELDS, FieldId, FieldType, Origin, Reject, RejectReason};

use super::{Format, FormatInfo};
use crate::json::{Json, Value, write_text};

/// Lapwing's own format.
pub(super) struct Native;

static INFO: FormatInfo = FormatInfo {
    name: "native",
    title: "Lapwing's own events, one JSON object a line",
    // No shapes: a native event may carry any combination of fields.
    shapes: &[],
    blind_spots: &[],
    is_lossless: true,
};

impl Format for Native {
    fn info(&self) -> &'static FormatInfo {
        &INFO
    }

    fn recognise(&self, record: &[u8], json: &mut Json) -> bool {
        let looks =
            |value: Value<'_>| Ok(value.get("time").is_some() && value.str_at("kind").is_some());
        json.parse(record, looks).unwrap_or(false)
    }

    fn decode(&self, record: &[u8], json: &mut Json, event: &mut Event) -> Result<(), Reject> {
        json.parse(record, |value| read_record(value, event))
    }
}

fn read_record(record: Value<'_>, event: &mut Event) -> Result<(), Reject> {
    if !record.is_object() {
        return Err(Reject::new(
            RejectReason::NotAnObject,
            format!("expected an object, found {}", record.type_name()),
        ));
    }
    let mut extra = String::new();
    let mut next = 0;
    for (key, value) in record.entries() {
        match find(&TOP, key, &mut next).unwrap_or(Known::Nothing) {
            Known::Field(field) => read_field(field, value, event)?,
            Known::Group(group) if value.is_object() => {
                read_group(key, group, value, event, &mut extra)?;
            }
            Known::Group(_) if value.is_null() => {}
            Known::Group(_) => {
                return Err(wrong_type(key, "object", value));
            }
            Known::Nothing => keep(&mut extra, "", key, value),
        }
    }
    if !extra.is_empty() {
        extra.push('}');
        event.set_text(FieldId::Extra, &extra);
    }
    Ok(())
}

fn read_group(
    name: &str,
    group: &'static [(&'static str, FieldId)],
    object: Value<'_>,
    event: &mut Event,
    extra: &mut String,
) -> Result<(), Reject> {
    let mut next = 0;
    for (key, value) in object.entries() {
        match find(group, key, &mut next) {
            Some(field) => read_field(field, value, event)?,
            None => keep(extra, name, key, value),
        }
    }
    Ok(())
}

fn read_field(field: FieldId, value: Value<'_>, event: &mut Event) -> Result<(), Reject> {
    if value.is_null() {
        return Ok(());
    }
    let spec = field.spec();
    match spec.field_type {
        FieldType::Term | FieldType::Text => {
            let text = value.as_str().ok_or_else(|| wrong_type(spec.name, "text", value))?;
            event.set_text(field, text);
        }
        FieldType::Count => {
            let number = value.as_i64().filter(|n| *n >= 0);
            let number = number
                .ok_or_else(|| wrong_type(spec.name, "whole number from 0 to 2^63 - 1", value))?;
            event.set_int(field, number);
        }
        FieldType::Float => {
            let number = value.as_f64().filter(|x| x.is_finite() && *x >= 0.0);
            let number = number.ok_or_else(|| wrong_type(spec.name, "number from 0", value))?;
            event.set_float(field, number);
        }
        FieldType::Time => event.set_int(field, read_time(value)?),
        FieldType::Flag => unreachable!("no field of a record is a flag"),
    }
    Ok(())
}

/// RFC 3339, or epoch milliseconds as JavaScript writes them.
fn read_time(value: Value<'_>) -> Result<i64, Reject> {
    let time = match value.as_str() {
        Some(text) => parse_time(text),
        None => value.as_i64().and_then(|ms| ms.checked_mul(1000)).and_then(in_range),
    };
    time.ok_or_else(|| {
        let mut shown = String::new();
        value.write_json(&mut shown);
        shown.truncate(shown.char_indices().nth(64).map_or(shown.len(), |(i, _)| i));
        Reject::new(
            RejectReason::BadTime,
            format!("time: {shown} is neither RFC 3339 nor epoch milliseconds within the years 1 to 9999"),
        )
    })
}

fn wrong_type(name: &str, wanted: &str, found: Value<'_>) -> Reject {
    Reject::new(
        RejectReason::WrongType,
        format!("{name}: expected {wanted}, found {}", found.type_name()),
    )
}

/// Adds an unknown key to `extra`, under its full dotted name.
fn keep(extra: &mut String, group: &str, key: &str, value: Value<'_>) {
    extra.push(if extra.is_empty() { '{' } else { ',' });
    match group {
        "" => write_text(key, extra),
        group => write_text(&format!("{group}.{key}"), extra),
    }
    extra.push(':');
    value.write_json(extra);
}

/// What a top-level key of the native format is.
#[derive(Clone, Copy)]
enum Known {
    Field(FieldId),
    Group(&'static [(&'static str, FieldId)]),
    Nothing,
}

/// The top-level keys, in the order of the table of fields.
static TOP: LazyLock<Vec<(&'static str, Known)>> = LazyLock::new(|| {
    let mut top: Vec<(&'static str, Known)> = Vec::new();
    for (id, spec) in FieldId::all().zip(FIELDS).filter(|(_, f)| f.origin == Origin::Record) {
        let Some((group, member)) = spec.name.split_once('.') else {
            top.push((spec.name, Known::Field(id)));
            continue;
        };
        let at = top.iter().position(|(name, _)| *name == group);
        let mut members = match at.map(|at| top[at].1) {
            Some(Known::Group(members)) => members.to_vec(),
            _ => Vec::new(),
        };
        members.push((member, id));
        let known = Known::Group(members.leak());
        match at {
            Some(at) => top[at].1 = known,
            None => top.push((group, known)),
        }
    }
    top
});

/// Finds a key in a list, beginning after the one found last: records have their keys in the same
/// order most of the time, and often in the order of the table.
fn find<T: Copy>(list: &[(&'static str, T)], key: &str, next: &mut usize) -> Option<T> {
    let (before, after) = list.split_at(*next);
    let found = after.iter().chain(before).position(|(name, _)| *name == key)?;
    let at = (*next + found) % list.len();
    *next = (at + 1) % list.len();
    Some(list[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<Event, Reject> {
        let mut event = Event::default();
        Native.decode(text.as_bytes(), &mut Json::default(), &mut event).map(|()| event)
    }

    #[test]
    fn every_field_of_the_table_is_read() {
        for (id, spec) in FieldId::all().zip(FIELDS).filter(|(_, f)| f.origin == Origin::Record) {
            let value = match spec.field_type {
                FieldType::Time => r#""2026-11-22T16:01:13.196Z""#,
                FieldType::Term | FieldType::Text => r#""x""#,
                FieldType::Count => "7",
                FieldType::Float => "0.5",
                FieldType::Flag => unreachable!("no flags in records"),
            };
            let json = match spec.name.split_once('.') {
                None => format!(r#"{{"{}":{value}}}"#, spec.name),
                Some((group, member)) => format!(r#"{{"{group}":{{"{member}":{value}}}}}"#),
            };
            let event = decode(&json).expect("valid");
            assert!(event.has(id), "{}", spec.name);
            assert!(!event.has(FieldId::Extra), "{}", spec.name);
        }
    }

    #[test]
    fn unknown_keys_are_kept_with_their_full_names() {
        let event = decode(r#"{"kind":"tool","tool":{"name":"exec","cwd":"/"},"x":{"y":[1]}}"#);
        let event = event.expect("valid");
        assert_eq!(event.text(FieldId::Extra), Some(r#"{"tool.cwd":"/","x":{"y":[1]}}"#));
        assert_eq!(event.text(FieldId::ToolName), Some("exec"));
    }

    #[test]
    fn null_is_no_value_and_epoch_milliseconds_are_a_time() {
        let event =
            decode(r#"{"time":1795363273196,"tool":null,"agent":{"id":null}}"#).expect("valid");
        assert_eq!(event.int(FieldId::Time), parse_time("2026-11-22T16:01:13.196Z"));
        assert!(!event.has(FieldId::AgentId));
    }

    #[test]
    fn wrong_types_are_rejected_by_name() {
        for (json, reason, detail) in [
            (r#"{"tool":"exec"}"#, RejectReason::WrongType, "tool: expected object, found text"),
            (
                r#"{"tool":{"name":5}}"#,
                RejectReason::WrongType,
                "tool.name: expected text, found number",
            ),
            (r#"{"count":-1}"#, RejectReason::WrongType, "count: expected whole number"),
            (r#"{"count":1.5}"#, RejectReason::WrongType, "count: expected whole number"),
            (r#"{"time":"yesterday"}"#, RejectReason::BadTime, "time: \"yesterday\" is neither"),
            ("[1]", RejectReason::NotAnObject, "expected an object, found array"),
        ] {
            let reject = decode(json).expect_err(json);
            assert_eq!(reject.reason, reason, "{json}");
            assert!(reject.detail.starts_with(detail), "{json}: {}", reject.detail);
        }
    }
}

//! The generated files in `schemas/`: event, alert and config as JSON Schema, the field reference,
//! the archive's columns. A test fails when one of them is stale.

use std::fmt::Write;

use lapwing_event::schema::{alert_schema, event_schema_json};
use lapwing_event::vocabulary::Term;
use lapwing_event::{FIELDS, FieldSpec, Origin};
use lapwing_ingest::format::FORMATS;
use lapwing_sink::{ArchiveColumn, alert_columns, event_columns, rejected_columns};
use serde_json::{Map, Value, json};

use crate::config::{CONFIG_KEYS, KeyType};
use crate::metrics::METRICS;

/// Every generated file: its name in `schemas/` and its text.
pub fn generated() -> Vec<(&'static str, String)> {
    vec![
        ("event.schema.json", pretty(&event_schema_json())),
        ("alert.schema.json", pretty(&alert_schema())),
        ("config.schema.json", pretty(&config_schema())),
        ("fields.md", fields_reference()),
        ("archive.md", archive_reference()),
        ("config.md", config_reference()),
        ("metrics.md", metrics_reference()),
    ]
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("a value in memory can be written");
    text.push('\n');
    text
}

/// The JSON Schema of the configuration.
pub fn config_schema() -> Value {
    let mut schema = object_schema("");
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "Lapwing configuration".into();
    schema
}

fn object_schema(prefix: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, spec) in crate::config::below(prefix) {
        let mut schema = match spec.key_type {
            KeyType::Group => object_schema(&format!("{}.", spec.path)),
            KeyType::Groups => {
                json!({"type": "array", "minItems": 1, "items": object_schema(&format!("{}[].", spec.path))})
            }
            KeyType::Text => json!({"type": "string"}),
            KeyType::Word(words) => json!({"enum": words}),
            KeyType::Texts => json!({"type": "array", "items": {"type": "string"}}),
            KeyType::Count => json!({"type": "integer", "minimum": 1}),
            KeyType::Timespan => json!({"type": "string", "pattern": "^[0-9]+[smhd]$"}),
            KeyType::Bool => json!({"type": "boolean"}),
            KeyType::Pairs => json!({
                "type": "object",
                "additionalProperties": {"type": ["string", "integer", "boolean"]},
            }),
        };
        schema["description"] = spec.meaning.into();
        properties.insert(name.into(), schema);
        if spec.required {
            required.push(name);
        }
    }
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": required,
    })
}

fn config_reference() -> String {
    let mut out = String::from(
        "# Configuration of `lapwing run`\n\nGenerated from the table of keys. Unknown keys are refused.\n\n\
         | key | type | default | meaning |\n|---|---|---|---|\n",
    );
    for spec in CONFIG_KEYS {
        let default = if spec.required { "required" } else { spec.default };
        let key_type = match spec.key_type {
            KeyType::Group => "mapping".to_owned(),
            KeyType::Groups => "list of mappings".to_owned(),
            KeyType::Text => "text".to_owned(),
            KeyType::Word(words) => words.join(", "),
            KeyType::Texts => "list of texts".to_owned(),
            KeyType::Count => "whole number".to_owned(),
            KeyType::Timespan => "timespan: 30s, 5m, 1h, 1d".to_owned(),
            KeyType::Bool => "true, false".to_owned(),
            KeyType::Pairs => "mapping of names to texts".to_owned(),
        };
        let _ = writeln!(out, "| `{}` | {key_type} | {default} | {} |", spec.path, spec.meaning);
    }
    out
}

fn metrics_reference() -> String {
    let mut out = String::from(
        "# Metrics of `lapwing run`\n\nGenerated from the table of metrics. `http.listen` in the configuration opens \
         the endpoint; `/metrics` is in the Prometheus text format. Counters begin at 0 with the process, and with each SIGHUP.\n\n\
         | metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.metric_type.word(),
            metric.unit,
            labels.join(", "),
            metric.help,
        );
    }
    out
}

/// The field reference, also printed by `lapwing schema fields`.
pub fn fields_reference() -> String {
    let mut out = String::from(
        "# Fields of an event\n\nGenerated from the table of fields. In the native format the dots are \
         nested objects; in Parquet they are underscores.\n\n\
         | field | type | meaning | OpenTelemetry | ECS | OCSF |\n|---|---|---|---|---|---|\n",
    );
    let tick = |name: &str| if name.is_empty() { String::new() } else { format!("`{name}`") };
    for field in FIELDS.iter().filter(|f| f.origin != Origin::Log) {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            field.name,
            field.field_type.word(),
            field.meaning,
            tick(field.otel),
            tick(field.ecs),
            tick(field.ocsf),
        );
    }
    for field in FIELDS {
        if let Some(terms) = field.terms {
            write_terms(field, terms, &mut out);
        }
    }
    out
}

fn write_terms(field: &FieldSpec, terms: &[Term], out: &mut String) {
    let _ = writeln!(out, "\n## Values of `{}`\n\n| value | meaning |\n|---|---|", field.name);
    for term in terms {
        let _ = writeln!(out, "| `{}` | {} |", term.value, term.meaning);
    }
}

fn archive_reference() -> String {
    let mut out = String::from(
        "# The archive\n\nGenerated from the tables of columns.\n\n\
         `ARCHIVE/{events,rejected,alerts}/date=YYYY-MM-DD/source_id=ID/<partition>-<first offset>-<last offset>.parquet`\n\n\
         `date` is the UTC day of log time. `date` and `source_id` stand in the path alone. Offsets of \
         the files of one partition never overlap.\n",
    );
    for (title, columns) in [
        ("events", event_columns()),
        ("rejected", rejected_columns().to_vec()),
        ("alerts", alert_columns().to_vec()),
    ] {
        write_columns(title, &columns, &mut out);
    }
    out
}

fn write_columns(title: &str, columns: &[ArchiveColumn], out: &mut String) {
    let _ = writeln!(out, "\n## {title}\n\n| column | type | meaning |\n|---|---|---|");
    for column in columns {
        let _ = writeln!(out, "| `{}` | {} | {} |", column.name, column.arrow(), column.meaning);
    }
}

/// The list of formats, printed by `lapwing schema formats`.
pub fn formats_reference() -> String {
    let mut out = String::new();
    for format in FORMATS {
        let info = format.info();
        let _ = writeln!(out, "{}: {}", info.name, info.title);
        for spot in info.blind_spots {
            let _ = writeln!(out, "  never shows {}; add {}", spot.what, spot.add);
        }
    }
    out
}

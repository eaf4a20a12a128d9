//! The generated files in `schemas/` are those of this program, and what it writes fits them.

use std::fs;

use serde_json::Value;

use crate::program::{lapwing, repository};

fn schema(name: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(repository("schemas").join(name)).expect("a schema");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    jsonschema::validator_for(&value).expect("a valid schema")
}

fn assert_valid(schema: &jsonschema::Validator, value: &Value) {
    let errors: Vec<String> = schema.iter_errors(value).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?} in {value}");
}

#[test]
fn generated_files_are_not_stale() {
    for (name, text) in lapwing::docs::generated() {
        let found = fs::read_to_string(repository("schemas").join(name)).unwrap_or_default();
        assert!(
            found == text,
            "schemas/{name} is stale; run `cargo run -p lapwing -- schema --write schemas`"
        );
    }
}

#[test]
fn simulated_events_and_their_alerts_fit_the_schemas() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = lapwing(folder.path(), &["simulate", "--events", "3000", "--seed", "5"]).exits(0);
    fs::write(folder.path().join("log.jsonl"), &log.stdout).expect("a file");
    let event = schema("event.schema.json");
    for line in log.stdout.lines() {
        assert_valid(&event, &serde_json::from_str(line).expect("JSON"));
    }
    let ran = lapwing(folder.path(), &["replay", "log.jsonl", "-o", "json"]).exits(0);
    let messages = ran.messages();
    assert!(messages.len() > 12, "the simulated incidents raise alerts");
    let alert = schema("alert.schema.json");
    messages.iter().for_each(|m| assert_valid(&alert, m));
}

#[test]
fn the_schema_of_the_configuration_agrees_with_the_check() {
    let config = schema("config.schema.json");
    let example = fs::read_to_string(repository("ops/lapwing.yml")).expect("the example");
    lapwing::config::Config::parse("ops/lapwing.yml", &example).expect("the example is valid");
    let small = serde_json::json!({
        "sources": [{"id": "a", "type": "file", "include": ["/x"]}], "state": "/s",
        "archive": {"path": "/a", "raw": "all", "epoch": "5m"},
    });
    assert_valid(&config, &small);
    let mut wrong = small;
    wrong["archiv"] = true.into();
    assert!(!config.is_valid(&wrong));
}

#[test]
fn a_mistyped_configuration_is_refused_by_file_line_and_key() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("c.yml"), "sources: []\nstat: /s\n").expect("a file");
    let ran = lapwing(folder.path(), &["check", "--config", "c.yml"]).exits(2);
    assert_eq!(ran.stderr, "lapwing: c.yml:2: stat: unknown key; did you mean state?\n");
}

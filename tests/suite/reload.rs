//! SIGHUP: changed rules are taken over as by a restart; a wrong configuration changes nothing.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::follow::parquet_rows::{ids_in_archive, statuses_in_archive};
use crate::running::{Running, append, line, prepare, said, wait, wait_for};

/// A rule that fires for each event, and one that fires at the third.
fn write_rules(folder: &Path, level: &str) {
    let rules = format!(
        "title: any
id: 44444444-4444-4444-4444-444444444441
name: any
logsource: {{category: agent_audit}}
detection: {{any: {{kind: auth}}, condition: any}}
level: {level}
lapwing: {{group-by: [source.ip]}}
---
title: counted
name: counted
logsource: {{category: agent_audit}}
detection: {{any: {{kind: auth}}, condition: any}}
---
title: three
id: 44444444-4444-4444-4444-444444444443
name: three
correlation:
  type: event_count
  rules: [counted]
  group-by: [kind]
  timespan: 1h
  condition: {{gte: 3}}
level: high
"
    );
    fs::write(folder.join("rules.yml"), rules).expect("a file");
}

/// The messages handed over so far: rule, status, why it was resolved.
fn messages(folder: &Path) -> Vec<(String, String, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let lines = fs::read_to_string(folder.join("alerts.jsonl")).unwrap_or_default();
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|m| {
            let rule = text(&m["rule"]["name"]).expect("a name");
            (rule, text(&m["status"]).expect("a status"), text(&m["resolved_because"]))
        })
        .collect()
}

#[test]
fn a_changed_rule_begins_anew_and_the_others_keep_their_windows() {
    let folder = prepare("1h");
    let path = folder.path();
    write_rules(path, "low");
    append(&path.join("lapwing.yml"), "rules: {builtin: false, paths: [rules.yml]}\n");
    let log = path.join("logs/gw.log");
    append(&log, &[line("a1"), line("a2")].concat());
    let running = Running::start(path);
    wait_for(path, "a2");

    fs::write(path.join("rules.yml"), "title: half a rule\n").expect("a file");
    running.signal("-HUP");
    wait(path, "the wrong rules are refused", || {
        said(path).contains("not taken over, since it is wrong")
    });
    assert_eq!(messages(path).len(), 2, "{}", said(path));

    write_rules(path, "medium");
    running.signal("-HUP");
    wait(path, "it has started again", || said(path).matches(" started ").count() == 2);
    // Once more, before any record: what the changed rule has resolved must not be lost.
    running.signal("-HUP");
    wait(path, "it has started again", || said(path).matches(" started ").count() == 3);
    append(&log, &line("a3"));
    wait_for(path, "a3");
    wait(path, "the third event is counted", || messages(path).iter().any(|m| m.0 == "three"));
    running.stop(path);

    let opened = messages(path).into_iter().filter(|m| m.0 == "any" && m.1 == "opened").count();
    assert_eq!(opened, 3, "{:?}", messages(path));
    let is_changed = |m: &(String, String, Option<String>)| m.2.as_deref() == Some("rule_changed");
    let resolved: Vec<_> = messages(path).into_iter().filter(is_changed).collect();
    assert!(resolved.len() >= 2 && resolved.iter().all(|m| m.0 == "any"), "{resolved:?}");
    let archive = path.join("archive");
    assert_eq!(ids_in_archive(&archive), ["a1", "a2", "a3"], "{}", said(path));
    let statuses = statuses_in_archive(&archive);
    assert_eq!(statuses.iter().filter(|s| *s == "resolved").count(), 2, "{statuses:?}");
}

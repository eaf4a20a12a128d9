//! The real captures of OpenClaw with their ground truth, where they are present beside the
//! repository; cases cut from them are always run (`tests/cases`).

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::program::{Ran, final_alerts, lapwing, repository};

/// The folder of captures; says aloud if it is not there.
fn captures(name: &str) -> Option<PathBuf> {
    let path = repository("../shared/samples/openclaw").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not present", path.display());
        return None;
    }
    Some(path)
}

fn replay(path: &std::path::Path) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    lapwing(folder.path(), &["replay", &path.to_string_lossy(), "-o", "json"]).exits(0)
}

fn alert<'a>(alerts: &'a [Value], rule: &str, key: &Value) -> Option<&'a Value> {
    alerts.iter().find(|a| a["rule"]["name"] == rule && a["key"] == *key)
}

#[test]
fn the_gateway_log_gives_the_alerts_of_its_ground_truth() {
    let Some(path) = captures("gateway-log") else { return };
    let ran = replay(&path);
    let alerts = final_alerts(&ran.messages());
    let address = |ip: &str| json!({"product": "openclaw", "source.ip": ip});
    let first =
        alert(&alerts, "auth_failures", &address("203.0.113.50")).expect("the first attack");
    assert_eq!((&first["count"], &first["level"]), (&json!(4), &json!("high")));
    assert_eq!(first["by_reason"], json!({"token_mismatch": 4}));
    let evidence = &first["evidence"]["first"];
    assert_eq!((&evidence["file"], &evidence["line"]), (&json!("run2.2.log"), &json!(20)));
    assert_eq!(evidence["offset"], 19);
    let second =
        alert(&alerts, "auth_failures", &address("203.0.113.51")).expect("the second attack");
    assert_eq!(second["count"], 5);
    let lockout = alert(&alerts, "auth_lockout", &address("203.0.113.51")).expect("its lockout");
    assert_eq!(lockout["count"], 4);
    let shadow = json!({"product": "openclaw", "tool.target": "/etc/shadow"});
    let denied = alert(&alerts, "sensitive_target_denied", &shadow).expect("the read");
    assert_eq!(denied["evidence"]["first"]["line"], 31);
    let overflows: u64 = alerts
        .iter()
        .filter(|a| a["rule"]["name"] == "context_overflow")
        .filter_map(|a| a["count"].as_u64())
        .sum();
    assert_eq!(overflows, 3);
    let loops: Vec<&Value> = alerts.iter().filter(|a| a["rule"]["name"] == "tool_loop").collect();
    assert_eq!((loops.len(), &loops[0]["count"]), (1, &json!(2)));
    for quiet in ["203.0.113.70", "203.0.113.71", "203.0.113.52"] {
        assert!(alerts.iter().all(|a| !a["key"].to_string().contains(quiet)), "{quiet}");
    }
    // No rule is blind on this log, but one cannot tell sessions apart, and that is said.
    let unrecovered =
        ran.stderr.lines().find(|l| l.contains("one group") && l.contains("context_unrecovered"));
    assert!(unrecovered.is_some_and(|l| l.ends_with("session.id is never set")), "{}", ran.stderr);
    assert!(!ran.stderr.contains("BLIND"), "{}", ran.stderr);
    assert!(ran.stderr.contains("reverse proxy"), "{}", ran.stderr);
}

#[test]
fn the_legacy_log_gives_the_alerts_of_its_ground_truth() {
    let Some(path) = captures("gateway-log-legacy/openclaw.log") else { return };
    let alerts = final_alerts(&replay(&path).messages());
    // Three wrong tokens are below every threshold, the failed read was no denial, and the loop was
    // only warned of.
    assert_eq!(alerts, Vec::<Value>::new());
}

#[test]
fn the_diagnostic_events_give_the_alerts_of_their_ground_truth() {
    let Some(path) = captures("diagnostic-events") else { return };
    let ran = replay(&path);
    let alerts = final_alerts(&ran.messages());
    let count = |rule: &str| -> u64 {
        let of_rule = alerts.iter().filter(|a| a["rule"]["name"] == rule);
        of_rule.filter_map(|a| a["count"].as_u64()).sum()
    };
    assert_eq!(count("auth_failures_local"), 9, "nine wrong tokens, without an address");
    assert_eq!(count("auth_lockout"), 4);
    assert_eq!(count("tool_loop"), 2);
    assert_eq!(count("auth_failures"), 0, "diagnostic events carry no address");
    let is_blind = |rule: &str| ran.stderr.lines().any(|l| l.contains(rule) && l.contains("BLIND"));
    assert!(is_blind("context_overflow "), "{}", ran.stderr);
    assert!(is_blind("auth_failures "), "{}", ran.stderr);
}

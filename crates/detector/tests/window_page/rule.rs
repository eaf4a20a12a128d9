//! The rules of the tests, in YAML: the one that the page shows, and others over the same detections.

/// The page.
pub(crate) const PAGE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/what-a-window-means.md"));

/// The rule that the page shows: four failed logins of one address within five minutes.
pub(crate) fn of_the_page() -> String {
    let (_, rest) = PAGE.split_once("```yaml\n").expect("the page shows a rule");
    rest.split_once("```").expect("the rule ends").0.to_owned()
}

/// The rule of the page with more under `lapwing:`, for instance `resolve_after: 1h`.
pub(crate) fn of_the_page_with(extension: &str) -> String {
    format!("{}lapwing: {{{extension}}}\n", of_the_page())
}

/// A correlation by address within five minutes; it has its type, rules and condition.
pub(crate) fn correlation(correlation: &str, extension: &str) -> String {
    correlations(&[(correlation, extension)])
}

/// Several of them, named `correlated_0` and so on.
pub(crate) fn correlations(correlations: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let is_named = |name: &str| correlations.iter().any(|(c, _)| c.contains(name));
    for (name, selection) in DETECTIONS.iter().filter(|(name, _)| is_named(name)) {
        text += &format!(
            "---
title: A detection
name: {name}
logsource: {{category: agent_audit}}
detection: {{selected: {selection}, condition: selected}}
level: low
"
        );
    }
    for (n, (correlation, extension)) in correlations.iter().enumerate() {
        text += &format!(
            "---
title: A correlation
id: 22222222-2222-4222-8222-22222222222{n}
name: correlated_{n}
correlation: {{{correlation}, timespan: 5m, group-by: [source.ip]}}
level: low
lapwing: {{{extension}}}
"
        );
    }
    text
}

/// An agent of which a tool call is expected every so often, for instance `15m`.
pub(crate) fn expected(every: &str, extension: &str) -> String {
    format!(
        "title: An agent fell silent
id: 33333333-3333-4333-8333-333333333333
name: silent
logsource: {{category: agent_audit}}
detection:
  call: {{kind: tool}}
  condition: call
level: medium
lapwing: {{expected: every {every}, group-by: [agent.id], {extension}}}
"
    )
}

/// The detections that correlations may be over, by name. One that no correlation names would be a
/// rule by itself.
const DETECTIONS: [(&str, &str); 4] = [
    ("failed", "{kind: auth, outcome: failure}"),
    ("succeeded", "{kind: auth, outcome: success}"),
    ("tried", "{kind: auth}"),
    ("called", "{kind: tool}"),
];

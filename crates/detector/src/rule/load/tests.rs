//! What the loader accepts and what it refuses, over whole files.

use lapwing_event::time::{DAY, HOUR, MINUTE, SECOND};
use lapwing_event::{FieldId, Fixed, Level};

use super::*;
use crate::rule::{Compare, Condition, Measure, NullKeys, Rule};

const ID: &str = "5b1c5f0e-6a57-4f0c-8d6e-0e5d1f8a9c11";
/// The id of the detection a.
const ID_OF_A: &str = "e9d1a2b3-0000-4000-8000-00000000000a";

fn detection(name: &str, lapwing: &str) -> String {
    let id = ID_OF_A.replace("00a", &format!("00{name}"));
    format!(
        "title: T\nname: {name}\nid: {id}\nlogsource: {{category: agent_audit}}\n\
         detection: {{s: {{kind: tool, tool.name: {name}}}, condition: s}}\n\
         level: low\nlapwing: {{{lapwing}}}\n---\n"
    )
}

/// A correlation `r` over the detections a, b and c.
fn correlation(keys: &str, lapwing: &str) -> String {
    let detections = ["a", "b", "c"].map(|name| detection(name, "")).concat();
    format!(
        "{detections}title: T\nname: r\nid: {ID}\nlevel: low\n\
         correlation: {{{keys}}}\nlapwing: {{{lapwing}}}\n"
    )
}

fn load(text: &str) -> Result<RuleSet, YamlError> {
    let source = RuleSource { name: "r.yml".into(), text: text.into(), is_builtin: false };
    load_rules(&[source])
}

/// The rule of the last document.
fn rule(text: &str) -> Rule {
    let mut set = load(text).expect(text);
    let at = set.rules.iter().position(|r| matches!(&*r.name, "r" | "s"));
    set.rules.remove(at.unwrap_or(0))
}

fn counting(keys: &str) -> Rule {
    rule(&correlation(keys, ""))
}

/// Asserts that a text is refused at a line and key, for a reason.
fn refused(text: &str, at: &str, reason: &str) {
    let error = load(text).expect_err(text).to_string();
    assert!(error.starts_with("r.yml:"), "{error}");
    assert!(error.contains(&format!("{at}: ")), "expected {at} in {error}");
    assert!(error.contains(reason), "expected {reason:?} in {error}");
}

fn part(compare: Compare, limit: Fixed) -> Condition {
    Condition { parts: vec![(compare, limit)] }
}

#[test]
fn each_type_becomes_its_measure() {
    let all = "group-by: [session.id], timespan: 5m";
    for (keys, measure, condition) in [
        (
            "type: event_count, rules: [a], condition: {gt: 3}",
            Measure::EventCount,
            part(Compare::Gt, Fixed::from(3)),
        ),
        (
            "type: value_count, rules: [a], condition: {field: tool.target, gte: 5}",
            Measure::ValueCount(FieldId::ToolTarget),
            Condition::at_least(5),
        ),
        (
            "type: value_sum, rules: [a], condition: {field: usage.cost_usd, gt: 2.5}",
            Measure::ValueSum(FieldId::UsageCostUsd),
            part(Compare::Gt, Fixed(2_500_000_000)),
        ),
        (
            "type: value_avg, rules: [a], condition: {field: duration_ms, lt: 10}",
            Measure::ValueAvg(FieldId::DurationMs),
            part(Compare::Lt, Fixed::from(10)),
        ),
        ("type: temporal, rules: [a, b, c]", Measure::Temporal, Condition::at_least(3)),
        (
            "type: temporal, rules: [a, b, c], condition: {gte: 2}",
            Measure::Temporal,
            Condition::at_least(2),
        ),
        ("type: temporal_ordered, rules: [a, b]", Measure::TemporalOrdered, Condition::at_least(2)),
        (
            "type: temporal_ordered, rules: [a, b], condition: {gte: 2}",
            Measure::TemporalOrdered,
            Condition::at_least(2),
        ),
    ] {
        let rule = counting(&format!("{keys}, {all}"));
        assert_eq!((rule.measure, rule.condition), (measure, condition), "{keys}");
        assert_eq!((rule.timespan, rule.hold_for), (5 * MINUTE, 0), "{keys}");
        assert_eq!(rule.group_by, [FieldId::SessionId], "{keys}");
    }
}

#[test]
fn detections_keep_the_order_of_rules_and_stand_twice_only_where_order_matters() {
    let detections = |keys: &str| {
        let set = load(&correlation(&format!("{keys}, timespan: 1m"), "")).expect(keys);
        let rule = set.by_name("r").expect("the correlation");
        rule.detections.iter().map(|d| &*set.detections[*d].name).collect::<String>()
    };
    assert_eq!(detections("type: temporal_ordered, rules: [c, a, c]"), "cac");
    assert_eq!(detections("type: temporal, rules: [c, a, b]"), "cab");
    let again = format!("type: event_count, rules: [b, a, b, {ID_OF_A}], condition: {{gte: 2}}");
    assert_eq!(detections(&again), "ba");
}

#[test]
fn wrong_correlations_are_refused_with_the_way_out() {
    let sixteen_more = ["a"; 17].join(", ");
    let too_many = format!("type: temporal_ordered, rules: [{sixteen_more}]");
    let twice = format!("type: temporal, rules: [a, {ID_OF_A}]");
    for (keys, at, reason) in [
        (
            "type: value_median, rules: [a], condition: {field: count, gt: 1}",
            "correlation.type",
            "\"value_median\" is not supported; supported are event_count, value_count, value_sum, \
             value_avg, temporal, temporal_ordered",
        ),
        ("type: value_percentile, rules: [a]", "correlation.type", "is not supported"),
        ("type: event_count, rules: [a]", "correlation", "condition is missing"),
        ("type: value_sum, rules: [a]", "correlation", "condition is missing"),
        (
            "type: value_count, rules: [a], condition: {gte: 2}",
            "correlation.condition",
            "field is missing",
        ),
        (
            "type: event_count, rules: [a], condition: {field: tool.name, gte: 2}",
            "correlation.condition.field",
            "only value_count, value_sum and value_avg have a field",
        ),
        (
            "type: temporal, rules: [a, b], condition: {field: tool.name}",
            "correlation.condition.field",
            "leave it out or change type",
        ),
        (
            "type: value_count, rules: [a], condition: {field: usage.cost_usd, gte: 2}",
            "correlation.condition.field",
            "use value_sum or value_avg",
        ),
        (
            "type: value_sum, rules: [a], condition: {field: context.tokns, gte: 2}",
            "correlation.condition.field",
            "did you mean context.tokens?",
        ),
        (
            "type: value_sum, rules: [a], condition: {field: tool.name, gte: 2}",
            "correlation.condition.field",
            "tool.name is no number; numbers are count, usage.input_tokens",
        ),
        (
            "type: temporal, rules: [a]",
            "correlation.rules",
            "expected 2 to 16 rules; to count the events of one, use event_count",
        ),
        ("type: temporal_ordered, rules: [a]", "correlation.rules", "expected 2 to 16 rules"),
        (&too_many, "correlation.rules", "expected 2 to 16 rules"),
        ("type: temporal, rules: [a, b, a]", "correlation.rules[2]", "stands twice"),
        (&twice, "correlation.rules[1]", "stands twice"),
        (
            "type: temporal_ordered, rules: [a, b, c], condition: {gte: 2}",
            "correlation.condition",
            "leave the condition out",
        ),
        (
            "type: temporal, rules: [a, b], condition: {gte: 3}",
            "correlation.condition.gte",
            "the value is never above 2",
        ),
        (
            "type: temporal, rules: [a, b], condition: a and b",
            "correlation.condition",
            "expected comparisons, for instance {gte: 3}",
        ),
        ("type: temporal, rules: []", "correlation.rules", "is empty"),
        ("type: temporal, rules: [a, x]", "correlation.rules[1]", "is the name or id of no rule"),
        ("type: temporal, rules: [a, r]", "correlation.rules[1]", "correlations is not supported"),
        ("type: temporal, rules: [a, b], aliases: {}", "correlation.aliases", "name the fields"),
        (
            "type: event_count, rules: [a], condition: {gte: 2}, group-by: [usage.cost_usd]",
            "correlation.group-by[0]",
            "cannot be grouped by a decimal number",
        ),
    ] {
        refused(&correlation(&format!("{keys}, timespan: 5m"), ""), at, reason);
    }
    for (timespan, reason) in [("0s", "at most 31d"), ("32d", "at most 31d"), ("5", "unit")] {
        let keys = format!("type: temporal, rules: [a, b], timespan: {timespan}");
        refused(&correlation(&keys, ""), "correlation.timespan", reason);
    }
}

const COUNT: &str = "type: event_count, rules: [a], timespan: 5m, condition: {gte: 4}";
const FEW: &str = "type: event_count, rules: [a], timespan: 5m, condition: {lt: 4}";
const SUM: &str =
    "type: value_sum, rules: [a], timespan: 5m, condition: {field: usage.cost_usd, gt: 1.5}";
const TEMPORAL: &str = "type: temporal, rules: [a, b, c], timespan: 5m, condition: {gte: 2}";

#[test]
fn what_sigma_lacks_is_read_under_lapwing() {
    let r = rule(&correlation(
        COUNT,
        "for: 1m, resolve_after: 10m, allowed_lateness: 0s, null_keys: skip, repeat_interval: 4h, \
         enabled: false, levels: {medium: 5, high: 10}",
    ));
    assert_eq!((r.hold_for, r.resolve_after, r.allowed_lateness), (MINUTE, 10 * MINUTE, 0));
    assert_eq!((r.null_keys, r.repeat_interval), (NullKeys::Skip, Some(4 * HOUR)));
    assert!(!r.enabled);
    let levels = [(Level::Medium, Fixed::from(5)), (Level::High, Fixed::from(10))];
    assert_eq!(r.levels, levels);

    let r = rule(&correlation(SUM, "levels: {high: 2.25}"));
    assert_eq!(r.levels, [(Level::High, Fixed(2_250_000_000))]);
    let r = rule(&correlation(TEMPORAL, "levels: {high: 3}"));
    assert_eq!(r.levels, [(Level::High, Fixed::from(3))]);

    let r = rule(&correlation(COUNT, ""));
    assert_eq!((r.hold_for, r.resolve_after, r.repeat_interval), (0, 5 * MINUTE, None));
    assert_eq!((r.allowed_lateness, r.null_keys), (10 * MINUTE, NullKeys::Group));
    assert!(r.enabled && r.levels.is_empty());
}

#[test]
fn a_detection_alone_is_one_event_by_agent() {
    let r = rule(&detection("a", ""));
    assert_eq!((r.measure, r.condition), (Measure::EventCount, Condition::at_least(1)));
    assert_eq!((r.group_by, r.timespan), (vec![FieldId::AgentId], 5 * MINUTE));
    let r = rule(&detection("a", "group-by: [session.id], timespan: 1h, for: 10s"));
    assert_eq!((r.group_by, r.timespan, r.hold_for), (vec![FieldId::SessionId], HOUR, 10 * SECOND));
}

#[test]
fn a_detection_that_is_expected_is_a_rule_about_absence() {
    let r = rule(&detection("a", "expected: every 10m, message: 'silence of {agent.id}'"));
    assert_eq!(r.measure, Measure::Absence);
    assert_eq!(r.condition, part(Compare::Eq, Fixed::from(0)));
    assert_eq!((r.group_by, r.timespan), (vec![FieldId::AgentId], 10 * MINUTE));
    let r = rule(&detection("a", "expected: every 1d, group-by: instance.id, null_keys: skip"));
    assert_eq!((r.group_by, r.timespan), (vec![FieldId::InstanceId], DAY));
    assert_eq!(r.null_keys, NullKeys::Skip);
}

#[test]
fn a_detection_that_is_expected_and_referred_to_is_a_rule_of_its_own() {
    let text = correlation(COUNT, "").replacen("lapwing: {}", "lapwing: {expected: every 1m}", 1);
    let set = load(&text).expect("valid");
    let (a, r) = (set.by_name("a").expect("its own"), set.by_name("r").expect("the other"));
    assert_eq!((a.measure, r.measure), (Measure::Absence, Measure::EventCount));
    assert_eq!(a.detections, r.detections);
    let without = load(&correlation(COUNT, "")).expect("valid");
    assert!(without.by_name("a").is_none());
}

#[test]
fn wrong_extensions_of_a_correlation_are_refused_with_the_way_out() {
    for (keys, lapwing, at, reason) in [
        (COUNT, "partial: accept", "partial", "not supported yet"),
        (COUNT, "expectd: every 1m", "expectd", "did you mean expected?"),
        (COUNT, "group-by: [agent.id]", "group-by", "belongs under correlation"),
        (COUNT, "timespan: 1m", "timespan", "belongs under correlation"),
        (COUNT, "expected: every 1m", "expected", "write it there"),
        (COUNT, "for: 5m", "for", "must be less than the timespan of the rule, 5m"),
        (COUNT, "for: x", "for", "expected a whole number and a unit"),
        (SUM, "for: 1m", "for", "only event_count and value_count have it"),
        (TEMPORAL, "for: 1m", "for", "only event_count and value_count have it"),
        (FEW, "for: 1m", "for", "needs a condition of gt or gte alone"),
        (COUNT, "resolve_after: 4m", "resolve_after", "at least the timespan of the rule, 5m"),
        (COUNT, "resolve_after: 32d", "resolve_after", "at most 31d"),
        (COUNT, "allowed_lateness: 32d", "allowed_lateness", "expected at most 31d"),
        (COUNT, "repeat_interval: 59s", "repeat_interval", "expected 1m to 31d"),
        (COUNT, "null_keys: drop", "null_keys", "did you mean group?"),
        (FEW, "levels: {high: 5}", "levels", "need a condition of gt or gte alone"),
        (COUNT, "levels: {high: 4}", "levels.high", "more than 4"),
        (COUNT, "levels: {high: 6, critical: 6}", "levels.critical", "above high and more than 6"),
        (COUNT, "levels: {low: 6}", "levels.low", "a level above low"),
        (COUNT, "levels: {high: 5.5}", "levels.high", "expected a whole number"),
        (SUM, "levels: {high: 1.5}", "levels.high", "more than 1.500000001"),
        (TEMPORAL, "levels: {high: 4}", "levels.high", "no window can reach more than 3"),
    ] {
        refused(&correlation(keys, lapwing), &format!("lapwing.{at}"), reason);
    }
}

#[test]
fn wrong_extensions_of_a_detection_are_refused_with_the_way_out() {
    for (lapwing, at, reason) in [
        ("expected: 10m", "expected", "for instance every 10m"),
        ("expected: every day", "expected", "expected a whole number and a unit"),
        ("expected: every 0s", "expected", "more than nothing and at most 31d"),
        ("expected: every 32d", "expected", "at most 31d"),
        ("expected: every 1m, levels: {high: 2}", "levels", "has one level"),
        ("expected: every 1m, timespan: 1m", "timespan", "the time is the one of expected"),
        ("expected: every 1m, for: 1m", "for", "the time is the one of expected"),
        ("expected: every 1m, resolve_after: 1m", "resolve_after", "by the next event"),
        ("expected: every 1m, message: '{count}'", "message", "the fields of group-by only"),
        ("expected: every 1m, message: '[{tool.name}]'", "message", "of group-by only"),
        ("expected: every 1m, next_step: '{span}'", "next_step", "of group-by only"),
        ("timespan: 32d", "timespan", "at most 31d"),
        ("for: 5m", "for", "must be less than the timespan of the rule, 5m"),
    ] {
        refused(&detection("a", lapwing), &format!("lapwing.{at}"), reason);
    }
}

#[test]
fn two_rules_cannot_share_an_id() {
    let same = detection("a", "").replace("name: a\n", "name: z\n");
    let text = [detection("a", ""), same, detection("b", "")].concat();
    let error = load(&text).expect_err("one id twice").to_string();
    assert!(error.ends_with("has the same id as the rule a"), "{error}");
}

#[test]
fn the_fingerprint_changes_with_what_decides_and_with_nothing_else() {
    let keys = "type: value_count, rules: [a, b], group-by: [session.id], timespan: 5m, \
                condition: {field: tool.target, gte: 4}";
    let lapwing = "for: 1m, levels: {high: 9}, null_keys: skip, allowed_lateness: 1m, \
                   resolve_after: 6m";
    let text = correlation(keys, lapwing);
    let fingerprint = rule(&text).fingerprint;
    for (from, to) in [
        ("title: T\nname: r", "title: U\nname: r\ndescription: D\ntags: [x]"),
        ("name: r", "name: s"),
        (ID, "00000000-0000-4000-8000-000000000001"),
        ("for: 1m", "for: 1m, message: '{count}', next_step: x, enabled: false, tests: []"),
        ("for: 1m", "for: 1m, repeat_interval: 1h"),
        ("rules: [a, b]", "rules: [a, b, a]"),
    ] {
        assert!(text.contains(from), "{from}");
        assert_eq!(rule(&text.replace(from, to)).fingerprint, fingerprint, "{to}");
    }
    for (from, to) in [
        ("type: value_count", "type: value_sum"),
        ("field: tool.target", "field: tool.name"),
        ("gte: 4", "gt: 4"),
        ("gte: 4", "gte: 5"),
        ("timespan: 5m", "timespan: 4m"),
        ("for: 1m", "for: 2m"),
        ("[session.id]", "[session.id, agent.id]"),
        ("null_keys: skip", "null_keys: group"),
        ("allowed_lateness: 1m", "allowed_lateness: 2m"),
        ("resolve_after: 6m", "resolve_after: 7m"),
        ("level: low\ncorrelation", "level: medium\ncorrelation"),
        ("high: 9", "high: 8"),
        ("high: 9", "critical: 9"),
        ("rules: [a, b]", "rules: [b, a]"),
        ("rules: [a, b]", "rules: [a]"),
        ("tool.name: b", "tool.name: x"),
    ] {
        assert!(text.contains(from), "{from}");
        let mut other = text.replace(from, to);
        if to == "type: value_sum" {
            other = other.replace("tool.target", "count").replace("for: 1m, ", "");
        }
        assert_ne!(rule(&other).fingerprint, fingerprint, "{to}");
    }
}

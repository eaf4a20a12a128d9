//! When a rule fires, in a line for a person: what it compares, over which time, by which key.

use lapwing_detector::rule::{Compare, Condition, Measure, Rule, RuleSet};
use lapwing_event::time::format_timespan;
use lapwing_event::{FieldId, Fixed};

/// Says when a rule fires.
pub(super) fn fires(rule: &Rule, set: &RuleSet) -> String {
    let span = format_timespan(rule.timespan);
    let what = match rule.measure {
        Measure::EventCount => format!("{} in {span}", number_of("event", "events", rule)),
        Measure::ValueCount(field) => {
            let distinct = format!("distinct {}", name(&field));
            format!("{} in {span}", number_of(&distinct, &distinct, rule))
        }
        Measure::ValueSum(field) => format!("sum of {} {} in {span}", name(&field), limits(rule)),
        Measure::ValueAvg(field) => format!("mean of {} {} in {span}", name(&field), limits(rule)),
        Measure::Temporal => {
            let names = detections(rule, set).join(", ");
            match rule.condition == Condition::at_least(rule.detections.len() as i64) {
                true => format!("all of {names} in {span}"),
                false => format!("{} {names} in {span}", number_of("of", "of", rule)),
            }
        }
        Measure::TemporalOrdered => {
            format!("{}, in {span}", detections(rule, set).join(", then "))
        }
        Measure::Absence => format!("no event for {span}"),
    };
    format!("{what}{}{}{}", by(rule), held(rule), levels(rule))
}

fn name(field: &FieldId) -> &'static str {
    field.spec().name
}

fn detections<'a>(rule: &Rule, set: &'a RuleSet) -> Vec<&'a str> {
    rule.detections.iter().map(|d| &*set.detections[*d].name).collect()
}

fn by(rule: &Rule) -> String {
    let fields: Vec<&str> = rule.group_by.iter().map(name).collect();
    if fields.is_empty() { String::new() } else { format!(" by {}", fields.join(", ")) }
}

fn held(rule: &Rule) -> String {
    match rule.hold_for {
        0 => String::new(),
        span => format!(", for {}", format_timespan(span)),
    }
}

fn levels(rule: &Rule) -> String {
    let level = |(level, from): &(_, Fixed)| format!("; {level} at {from}");
    rule.levels.iter().map(level).collect()
}

/// How many there are: `4 or more events`, `more than 3 and fewer than 9 events`.
fn number_of(one: &str, many: &str, rule: &Rule) -> String {
    let noun = match rule.condition.parts[..] {
        [(Compare::Eq, n)] if n == 1 => one,
        _ => many,
    };
    let words = |(compare, n): &(Compare, Fixed)| match compare {
        Compare::Eq => format!("exactly {n}"),
        Compare::Gt => format!("more than {n}"),
        Compare::Gte => format!("{n} or more"),
        Compare::Lt => format!("fewer than {n}"),
        Compare::Lte => format!("{n} or fewer"),
    };
    format!("{} {noun}", joined(rule, words))
}

/// Between which limits a sum or a mean lies: `over 5`, `at least 1 and under 2.5`.
fn limits(rule: &Rule) -> String {
    joined(rule, |(compare, n)| match compare {
        Compare::Eq => format!("exactly {n}"),
        Compare::Gt => format!("over {n}"),
        Compare::Gte => format!("at least {n}"),
        Compare::Lt => format!("under {n}"),
        Compare::Lte => format!("at most {n}"),
    })
}

fn joined(rule: &Rule, words: impl Fn(&(Compare, Fixed)) -> String) -> String {
    rule.condition.parts.iter().map(words).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_detector::rule::{RuleSource, load_rules};

    fn line(text: &str) -> String {
        let source = RuleSource { name: "r.yml".into(), text: text.into(), is_builtin: false };
        let set = load_rules(&[source]).expect(text);
        fires(set.by_name("r").expect("there"), &set)
    }

    fn detection(name: &str, id: u8, lapwing: &str) -> String {
        format!(
            "title: T\nname: {name}\nid: 00000000-0000-4000-8000-00000000000{id}\nlevel: low\n\
             logsource: {{category: agent_audit}}\n\
             detection: {{s: {{tool.name: {name}}}, condition: s}}\nlapwing: {{{lapwing}}}\n---\n"
        )
    }

    fn correlation(keys: &str, lapwing: &str) -> String {
        let detections = [detection("a", 1, ""), detection("b", 2, ""), detection("c", 3, "")];
        let detections = detections.concat();
        line(&format!(
            "{detections}title: T\nname: r\nid: 00000000-0000-4000-8000-000000000009\n\
             level: low\ncorrelation: {{timespan: 5m, {keys}}}\nlapwing: {{{lapwing}}}\n"
        ))
    }

    #[test]
    fn counts_read_well() {
        for (condition, expected) in [
            ("gte: 4", "4 or more events in 5m by source.ip"),
            ("gt: 3", "more than 3 events in 5m by source.ip"),
            ("lt: 3", "fewer than 3 events in 5m by source.ip"),
            ("eq: 1", "exactly 1 event in 5m by source.ip"),
            ("gt: 3, lte: 9", "more than 3 and 9 or fewer events in 5m by source.ip"),
        ] {
            let keys = format!(
                "type: event_count, rules: [a], group-by: [source.ip], condition: {{{condition}}}"
            );
            assert_eq!(correlation(&keys, ""), expected);
        }
        assert_eq!(
            correlation(
                "type: value_count, rules: [a], condition: {field: tool.target, gte: 5}",
                "for: 90s, levels: {high: 10, critical: 20}"
            ),
            "5 or more distinct tool.target in 5m, for 90s; high at 10; critical at 20"
        );
    }

    #[test]
    fn sums_sequences_and_silence_read_well() {
        for (keys, expected) in [
            (
                "type: value_sum, rules: [a], condition: {field: usage.cost_usd, gt: 2.5}",
                "sum of usage.cost_usd over 2.5 in 5m by agent.id, tenant",
            ),
            (
                "type: value_avg, rules: [a], condition: {field: duration_ms, gte: 1, lt: 2}",
                "mean of duration_ms at least 1 and under 2 in 5m by agent.id, tenant",
            ),
            ("type: temporal, rules: [b, a, c]", "all of b, a, c in 5m by agent.id, tenant"),
            (
                "type: temporal, rules: [b, a, c], condition: {gte: 2}",
                "2 or more of b, a, c in 5m by agent.id, tenant",
            ),
            (
                "type: temporal_ordered, rules: [b, a, b]",
                "b, then a, then b, in 5m by agent.id, tenant",
            ),
        ] {
            let keys = format!("{keys}, group-by: [agent.id, tenant]");
            assert_eq!(correlation(&keys, ""), expected);
        }
        let silent = line(&detection("r", 1, "expected: every 10m"));
        assert_eq!(silent, "no event for 10m by agent.id");
        assert_eq!(line(&detection("r", 1, "")), "1 or more events in 5m by agent.id");
    }
}

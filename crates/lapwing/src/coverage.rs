//! Coverage: for each rule what it has seen in this input, and what it could never see in it.

use std::sync::Arc;

use lapwing_detector::RuleStats;
use lapwing_detector::possible::{Possible, Verdict, can_select, hopeless_fields};
use lapwing_detector::rule::{Measure, Rule, RuleSet};
use lapwing_event::{FieldId, Fixed};
use lapwing_ingest::format::{BlindSpot, FORMATS, Format, Shape, format_by_name};

/// What one rule has seen.
#[derive(Debug)]
pub struct RuleCoverage {
    /// The rule.
    pub rule: Arc<str>,
    /// Events it selected.
    pub matched: u64,
    /// Of these, events whose whole group key had values.
    pub keyed: u64,
    /// Why it can see nothing in this input, and what to add.
    pub blind: Option<String>,
    /// The fields of its key that no event of this input can have.
    pub unset_key: Option<String>,
}

/// What the rules have seen in the formats of an input.
#[derive(Debug)]
pub struct Coverage {
    /// By rule, in the order of the rule set.
    pub rules: Vec<RuleCoverage>,
    /// What the formats never tell.
    pub blind_spots: Vec<(&'static str, &'static BlindSpot)>,
}

/// Works out the coverage of an input that was read in these formats.
pub fn coverage(set: &RuleSet, stats: &[RuleStats], format_names: &[&str]) -> Coverage {
    let formats: Vec<&dyn Format> = format_names.iter().filter_map(|n| format_by_name(n)).collect();
    // A format without shapes may give any event; an archive may hold any format.
    let is_open = formats.iter().any(|f| f.info().shapes.is_empty()) || formats.is_empty();
    let shapes: Vec<&Shape> = formats.iter().flat_map(|f| f.info().shapes).collect();
    let rules = set.rules.iter().enumerate().map(|(i, rule)| {
        let stats = stats.get(i).copied().unwrap_or_default();
        let sight = if is_open { Sight::Sees } else { sight(set, rule, &shapes) };
        let (blind, unset_key) = match sight {
            Sight::Sees => (None, None),
            Sight::Blind(reason) => {
                (Some(format!("{reason}{}", what_to_add(set, rule, &shapes))), None)
            }
            Sight::OneGroup(fields) => (None, Some(fields)),
        };
        let (matched, keyed) = (stats.matched, stats.keyed);
        RuleCoverage { rule: rule.name.clone(), matched, keyed, blind, unset_key }
    });
    let blind_spots =
        formats.iter().flat_map(|f| f.info().blind_spots.iter().map(|b| (f.info().name, b)));
    Coverage { rules: rules.collect(), blind_spots: blind_spots.collect() }
}

/// What is known of a field in events of a shape.
fn known(shape: &'static Shape, field: FieldId) -> Possible<'static> {
    let list = |values: &'static [&'static str]| match values {
        [] => Possible::Never,
        values => Possible::OneOf(values),
    };
    match field {
        FieldId::Kind => Possible::OneOf(std::slice::from_ref(&shape.kind)),
        FieldId::Action => match &shape.action {
            Some(action) => Possible::OneOf(std::slice::from_ref(action)),
            None => Possible::Never,
        },
        FieldId::Outcome => list(shape.outcomes),
        FieldId::ReasonCode if shape.reasons.is_empty() => Possible::Never,
        FieldId::ReasonCode => Possible::Anything,
        FieldId::ContextUtilization => {
            let has = |f| shape.fields.contains(&f);
            match has(FieldId::ContextTokens) && has(FieldId::ContextLimit) {
                true => Possible::Anything,
                false => Possible::Never,
            }
        }
        field if shape.fields.contains(&field) => Possible::Anything,
        _ => Possible::Never,
    }
}

/// Whether a reason code that a rule asks for can occur.
fn reasons_of(shape: &'static Shape) -> impl Fn(FieldId) -> Possible<'static> {
    move |field| match field {
        FieldId::ReasonCode if !shape.reasons.is_empty() => Possible::OneOf(shape.reasons),
        field => known(shape, field),
    }
}

/// What a rule can see.
enum Sight {
    /// Events of all its groups.
    Sees,
    /// Nothing; why.
    Blind(String),
    /// Events, but these fields of its key never have a value.
    OneGroup(String),
}

/// The formats with which, beside what there is, a rule would not be blind.
fn what_to_add(set: &RuleSet, rule: &Rule, shapes: &[&'static Shape]) -> String {
    let sees = |format: &&&'static dyn Format| {
        let more = format.info().shapes;
        let all: Vec<&Shape> = shapes.iter().copied().chain(more).collect();
        !more.is_empty() && !matches!(sight(set, rule, &all), Sight::Blind(_))
    };
    let names: Vec<&str> = FORMATS.iter().filter(sees).map(|f| f.info().name).collect();
    match names.is_empty() {
        true => "; add a source of native events that has it".to_owned(),
        false => format!("; add {}", names.join(" or ")),
    }
}

fn sight(set: &RuleSet, rule: &Rule, shapes: &[&'static Shape]) -> Sight {
    let selects = |detection: usize, shape: &&'static Shape| is_selectable(set, detection, shape);
    let seen: Vec<&&Shape> =
        shapes.iter().filter(|s| rule.detections.iter().any(|d| selects(*d, s))).collect();
    if seen.is_empty() {
        return Sight::Blind(nothing_selected(set, &rule.detections, shapes));
    }
    let mut missing = rule.detections.clone();
    missing.retain(|d| !shapes.iter().any(|s| selects(*d, s)));
    if !can_hold(rule, rule.detections.len() - missing.len()) {
        return Sight::Blind(never_together(set, missing, shapes));
    }
    let never = |field: FieldId| seen.iter().all(|s| known(s, field) == Possible::Never);
    if let Measure::ValueCount(field) | Measure::ValueSum(field) | Measure::ValueAvg(field) =
        rule.measure
        && never(field)
    {
        return Sight::Blind(format!("{} is never set on what it counts", field.spec().name));
    }
    let unset: Vec<&str> =
        rule.group_by.iter().filter(|f| never(**f)).map(|f| f.spec().name).collect();
    match unset.is_empty() {
        true => Sight::Sees,
        false => Sight::OneGroup(unset.join(", ")),
    }
}

/// Whether an event of a shape can be of a detection.
fn is_selectable(set: &RuleSet, detection: usize, shape: &'static Shape) -> bool {
    // Reasons are judged as a closed list for what is asked of them, but an event of a shape may
    // also have none, so that "not this reason" stays possible.
    can_select(set, detection, &reasons_of(shape)) > Verdict::Never
        || can_select(set, detection, &|f| match f {
            FieldId::ReasonCode => Possible::Never,
            f => known(shape, f),
        }) > Verdict::Never
}

/// Whether a window of a rule can hold where only so many of its detections have events.
fn can_hold(rule: &Rule, seen: usize) -> bool {
    match rule.measure {
        Measure::Temporal | Measure::TemporalOrdered => {
            (1..=seen as i64).any(|n| rule.condition.holds(Fixed::from(n)))
        }
        _ => true,
    }
}

/// Says which detections of a temporal rule keep it from ever holding, and why.
fn never_together(set: &RuleSet, mut missing: Vec<usize>, shapes: &[&'static Shape]) -> String {
    missing.sort_unstable();
    missing.dedup();
    let names: Vec<&str> = missing.iter().map(|d| &*set.detections[*d].name).collect();
    let why = nothing_selected(set, &missing[..1], shapes);
    format!("it never sees {}: {why}", names.join(", "))
}

/// Says what detections miss, from the shape that comes closest: the one that fails the fewest
/// fields.
fn nothing_selected(set: &RuleSet, detections: &[usize], shapes: &[&'static Shape]) -> String {
    let fails = |shape: &&'static Shape| hopeless_fields(set, detections, &reasons_of(shape));
    let closest = shapes.iter().map(fails).min_by_key(|fields| {
        // A shape of another kind is further away than one that lacks any other field.
        (fields.contains(&FieldId::Kind), fields.contains(&FieldId::Action), fields.len())
    });
    let fields = closest.unwrap_or_default();
    if fields.contains(&FieldId::Kind) || fields.contains(&FieldId::Action) {
        return "no record of this format tells of it".to_owned();
    }
    let names: Vec<&str> = fields.iter().map(|f| f.spec().name).collect();
    format!("no record of this format has what it asks of {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_detector::rule::{RuleSource, load_rules};

    const DETECTIONS: &str = "
title: A login failed
name: login
id: 00000000-0000-4000-8000-000000000001
logsource: {category: agent_audit}
detection: {s: {kind: auth}, condition: s}
level: low
---
title: A file was read
name: read
id: 00000000-0000-4000-8000-000000000002
logsource: {category: agent_audit}
detection: {s: {kind: tool, outcome: success}, condition: s}
level: low
---
title: A model was called
name: model
id: 00000000-0000-4000-8000-000000000003
logsource: {category: agent_audit}
detection: {s: {kind: model}, condition: s}
level: low
---
";

    /// Why a correlation over the detections above is blind in the log of a gateway.
    fn blind(keys: &str) -> Option<String> {
        let text = format!(
            "{DETECTIONS}title: T\nname: r\nid: 5b1c5f0e-6a57-4f0c-8d6e-0e5d1f8a9c11\nlevel: low\n\
             correlation: {{{keys}, timespan: 5m}}\n"
        );
        let source = RuleSource { name: "r.yml".into(), text, is_builtin: false };
        let mut set = load_rules(&[source]).expect(keys);
        set.retain(|rule| &*rule.name == "r");
        coverage(&set, &[], &["openclaw_gateway"]).rules.remove(0).blind
    }

    #[test]
    fn a_temporal_rule_is_blind_without_one_detection_that_it_needs() {
        for keys in [
            "type: temporal, rules: [login, read, model]",
            "type: temporal_ordered, rules: [login, read, login, model]",
        ] {
            let reason = blind(keys).expect(keys);
            assert!(reason.starts_with("it never sees read: no record of this format"), "{reason}");
            assert!(reason.ends_with("; add openclaw_diagnostic"), "{reason}");
        }
        for keys in [
            "type: temporal, rules: [login, model]",
            "type: temporal, rules: [login, read, model], condition: {gte: 2}",
            "type: temporal_ordered, rules: [login, model, login]",
            "type: event_count, rules: [login, read], condition: {gte: 2}",
        ] {
            assert_eq!(blind(keys), None, "{keys}");
        }
    }

    #[test]
    fn a_rule_is_blind_without_the_field_that_it_measures() {
        let sum = "type: value_sum, rules: [model]";
        let reason = blind(&format!("{sum}, condition: {{field: usage.cost_usd, gt: 5}}"));
        let reason = reason.expect("no cost in this format");
        assert!(reason.starts_with("usage.cost_usd is never set on what it counts"), "{reason}");
        assert_eq!(blind(&format!("{sum}, condition: {{field: http.status, gt: 5}}")), None);
    }
}

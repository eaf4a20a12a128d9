//! Coverage: for each rule what it has seen in this input, and what it could never see in it.

use std::sync::Arc;

use lapwing_detector::RuleStats;
use lapwing_detector::possible::{Possible, Verdict, can_select, hopeless_fields};
use lapwing_detector::rule::{Measure, Rule, RuleSet};
use lapwing_event::FieldId;
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
            Sight::Blind(reason) => (Some(format!("{reason}{}", what_to_add(set, rule))), None),
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

/// The formats in which a rule would not be blind.
fn what_to_add(set: &RuleSet, rule: &Rule) -> String {
    let sees = |format: &&&dyn Format| {
        let shapes: Vec<&Shape> = format.info().shapes.iter().collect();
        !shapes.is_empty() && !matches!(sight(set, rule, &shapes), Sight::Blind(_))
    };
    let names: Vec<&str> = FORMATS.iter().filter(sees).map(|f| f.info().name).collect();
    match names.is_empty() {
        true => "; add a source of native events that has it".to_owned(),
        false => format!("; add {}", names.join(" or ")),
    }
}

fn sight(set: &RuleSet, rule: &Rule, shapes: &[&'static Shape]) -> Sight {
    // Reasons are judged as a closed list for what is asked of them, but an event of a shape may
    // also have none, so that "not this reason" stays possible.
    let selects = |shape: &&'static Shape| {
        can_select(set, rule, &reasons_of(shape)) > Verdict::Never
            || can_select(set, rule, &|f| match f {
                FieldId::ReasonCode => Possible::Never,
                f => known(shape, f),
            }) > Verdict::Never
    };
    let seen: Vec<&&Shape> = shapes.iter().filter(|s| selects(s)).collect();
    if seen.is_empty() {
        return Sight::Blind(nothing_selected(set, rule, shapes));
    }
    let never = |field: FieldId| seen.iter().all(|s| known(s, field) == Possible::Never);
    if let Measure::ValueCount(field) = rule.measure
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

/// Says what is missing, from the shape that comes closest: the one that fails the fewest fields.
fn nothing_selected(set: &RuleSet, rule: &Rule, shapes: &[&'static Shape]) -> String {
    let fails = |shape: &&'static Shape| hopeless_fields(set, rule, &reasons_of(shape));
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

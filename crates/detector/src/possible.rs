//! What a detection can see at all in records of a format: three-valued evaluation of it on what
//! is known of the fields.

use lapwing_event::FieldId;

use crate::rule::{Expr, Op, Predicate, RuleSet};

/// What is known of a field before any record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Possible<'a> {
    /// It never has a value.
    Never,
    /// It has one of these values.
    OneOf(&'a [&'a str]),
    /// It may have any value, or none.
    Anything,
}

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Never.
    Never,
    /// It depends.
    Maybe,
    /// Always.
    Always,
}

/// Whether a detection, by its index in the set, can select an event of which this is known.
pub fn can_select<'a>(
    set: &RuleSet,
    detection: usize,
    known: &dyn Fn(FieldId) -> Possible<'a>,
) -> Verdict {
    judge(&set.detections[detection].expr, set, known)
}

/// The fields whose tests can never hold, of those that some detections test; the reasons why
/// they are blind.
pub fn hopeless_fields<'a>(
    set: &RuleSet,
    detections: &[usize],
    known: &dyn Fn(FieldId) -> Possible<'a>,
) -> Vec<FieldId> {
    let mut fields = Vec::new();
    for detection in detections {
        collect(&set.detections[*detection].expr, set, known, &mut fields);
    }
    fields.sort_unstable();
    fields.dedup();
    fields
}

fn collect<'a>(
    expr: &Expr,
    set: &RuleSet,
    known: &dyn Fn(FieldId) -> Possible<'a>,
    fields: &mut Vec<FieldId>,
) {
    match expr {
        Expr::Is(i) if judge(expr, set, known) == Verdict::Never => {
            fields.push(set.predicates[*i].field);
        }
        Expr::Is(_) => {}
        Expr::Not(inner) if judge(expr, set, known) == Verdict::Never => {
            if let Expr::Is(i) = **inner {
                fields.push(set.predicates[i].field);
            }
        }
        Expr::Not(_) => {}
        Expr::All(parts) | Expr::Any(parts) => {
            parts.iter().for_each(|p| collect(p, set, known, fields));
        }
    }
}

fn judge<'a>(expr: &Expr, set: &RuleSet, known: &dyn Fn(FieldId) -> Possible<'a>) -> Verdict {
    match expr {
        Expr::Is(i) => judge_predicate(&set.predicates[*i], known(set.predicates[*i].field)),
        Expr::Not(inner) => match judge(inner, set, known) {
            Verdict::Never => Verdict::Always,
            Verdict::Maybe => Verdict::Maybe,
            Verdict::Always => Verdict::Never,
        },
        Expr::All(parts) => {
            parts.iter().map(|p| judge(p, set, known)).min().unwrap_or(Verdict::Always)
        }
        Expr::Any(parts) => {
            parts.iter().map(|p| judge(p, set, known)).max().unwrap_or(Verdict::Never)
        }
    }
}

fn judge_predicate(predicate: &Predicate, known: Possible<'_>) -> Verdict {
    match (&predicate.op, known) {
        (Op::IsNull, Possible::Never) => Verdict::Always,
        (Op::IsNull, Possible::OneOf(_)) => Verdict::Never,
        (Op::Exists, Possible::OneOf(_)) => Verdict::Always,
        (_, Possible::Never) => Verdict::Never,
        (Op::Text(matcher), Possible::OneOf(values)) => {
            let hits = values.iter().filter(|v| matcher.matches(v)).count();
            match hits {
                0 => Verdict::Never,
                n if n == values.len() => Verdict::Always,
                _ => Verdict::Maybe,
            }
        }
        _ => Verdict::Maybe,
    }
}

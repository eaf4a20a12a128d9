//! Which rows a rule selects: predicates are evaluated on columns, once per distinct value where
//! the column is dictionary-coded, and at most once per batch however many rules share them.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_buffer::BooleanBuffer;

use lapwing_event::FieldType;

use crate::rule::{Expr, Op, Predicate, RuleSet};

/// The rows for which something is true.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mask {
    /// None of them.
    None,
    /// All of them.
    All,
    /// These.
    Some(BooleanBuffer),
}

impl Mask {
    fn of(bits: BooleanBuffer) -> Self {
        match bits.count_set_bits() {
            0 => Self::None,
            n if n == bits.len() => Self::All,
            _ => Self::Some(bits),
        }
    }

    fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => Self::None,
            (Self::All, mask) | (mask, Self::All) => mask.clone(),
            (Self::Some(a), Self::Some(b)) => Self::of(a & b),
        }
    }

    fn or(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::None, mask) | (mask, Self::None) => mask.clone(),
            (Self::Some(a), Self::Some(b)) => Self::of(a | b),
        }
    }

    fn not(&self) -> Self {
        match self {
            Self::None => Self::All,
            Self::All => Self::None,
            Self::Some(bits) => Self::Some(!bits),
        }
    }

    /// Calls `visit` with each row, ascending.
    pub(crate) fn for_each(&self, rows: usize, visit: impl FnMut(usize)) {
        match self {
            Self::None => {}
            Self::All => (0..rows).for_each(visit),
            Self::Some(bits) => bits.set_indices().for_each(visit),
        }
    }
}

/// The masks of every detection of a set on one batch.
pub(crate) fn select(set: &RuleSet, events: &RecordBatch) -> Vec<Mask> {
    let mut known: Vec<Option<Mask>> = vec![None; set.predicates.len()];
    set.detections.iter().map(|d| evaluate(&d.expr, set, events, &mut known)).collect()
}

fn evaluate(
    expr: &Expr,
    set: &RuleSet,
    events: &RecordBatch,
    known: &mut Vec<Option<Mask>>,
) -> Mask {
    match expr {
        Expr::Is(index) => {
            if known[*index].is_none() {
                known[*index] = Some(test(&set.predicates[*index], events));
            }
            known[*index].clone().expect("just filled")
        }
        Expr::Not(inner) => evaluate(inner, set, events, known).not(),
        Expr::All(parts) => {
            let mut mask = Mask::All;
            for part in parts {
                if mask == Mask::None {
                    break;
                }
                mask = mask.and(&evaluate(part, set, events, known));
            }
            mask
        }
        Expr::Any(parts) => {
            let mut mask = Mask::None;
            for part in parts {
                if mask == Mask::All {
                    break;
                }
                mask = mask.or(&evaluate(part, set, events, known));
            }
            mask
        }
    }
}

fn test(predicate: &Predicate, events: &RecordBatch) -> Mask {
    let column = events.column(predicate.field.index());
    match &predicate.op {
        Op::IsNull => present(column).not(),
        Op::Exists => present(column),
        _ if column.null_count() == column.len() => Mask::None,
        Op::Text(matcher) => match predicate.field.spec().field_type {
            FieldType::Term => test_terms(column, |text| matcher.matches(text)),
            _ => {
                let texts = column.as_string::<i32>();
                let is_match = |i: usize| texts.is_valid(i) && matcher.matches(texts.value(i));
                Mask::of(BooleanBuffer::collect_bool(texts.len(), is_match))
            }
        },
        Op::Number(compare, limits) => {
            let holds = |value: f64| limits.iter().any(|limit| compare.holds(value, *limit));
            match predicate.field.spec().field_type {
                FieldType::Float => {
                    let numbers = column.as_primitive::<Float64Type>();
                    let is_match = |i: usize| numbers.is_valid(i) && holds(numbers.value(i));
                    Mask::of(BooleanBuffer::collect_bool(numbers.len(), is_match))
                }
                _ => {
                    let numbers = column.as_primitive::<Int64Type>();
                    let is_match = |i: usize| numbers.is_valid(i) && holds(numbers.value(i) as f64);
                    Mask::of(BooleanBuffer::collect_bool(numbers.len(), is_match))
                }
            }
        }
    }
}

fn present(column: &ArrayRef) -> Mask {
    match column.logical_nulls() {
        None => Mask::All,
        Some(nulls) => Mask::of(nulls.into_inner()),
    }
}

/// Tests the dictionary, then looks the answers up by key.
fn test_terms(column: &ArrayRef, matches: impl Fn(&str) -> bool) -> Mask {
    let terms = column.as_dictionary::<Int32Type>();
    let values: &StringArray = terms.values().as_string();
    let answers: Vec<bool> =
        (0..values.len()).map(|i| values.is_valid(i) && matches(values.value(i))).collect();
    if !answers.contains(&true) {
        return Mask::None;
    }
    let keys = terms.keys();
    let raw = keys.values();
    if keys.null_count() == 0 {
        if !answers.contains(&false) {
            return Mask::All;
        }
        return Mask::of(BooleanBuffer::collect_bool(raw.len(), |i| answers[raw[i] as usize]));
    }
    let is_match = |i: usize| keys.is_valid(i) && answers[raw[i] as usize];
    Mask::of(BooleanBuffer::collect_bool(raw.len(), is_match))
}

//! The fingerprint of a rule: a state is read back only for the rule that wrote it.

use xxhash_rust::xxh3::xxh3_64;

use super::{Expr, Predicate, Rule, RuleSet};

/// A digest of everything that decides which alerts a rule raises, and of nothing else: texts,
/// tests, delivery and whether it is switched on are not part of it.
pub(super) fn fingerprint(rule: &Rule, set: &RuleSet) -> u64 {
    let group_by: Vec<&str> = rule.group_by.iter().map(|f| f.spec().name).collect();
    let mut text = format!(
        "{:?} {:?} {} {} {group_by:?} {:?} {} {} {:?} {:?}",
        rule.measure,
        rule.condition,
        rule.timespan,
        rule.hold_for,
        rule.null_keys,
        rule.allowed_lateness,
        rule.resolve_after,
        rule.level,
        rule.levels,
    );
    for index in &rule.detections {
        text.push(';');
        spell(&set.detections[*index].expr, &set.predicates, &mut text);
    }
    xxh3_64(text.as_bytes())
}

fn spell(expr: &Expr, predicates: &[Predicate], out: &mut String) {
    match expr {
        Expr::Is(i) => out.push_str(&format!("{:?}", predicates[*i])),
        Expr::Not(inner) => {
            out.push('!');
            spell(inner, predicates, out);
        }
        Expr::All(parts) | Expr::Any(parts) => {
            out.push_str(if matches!(expr, Expr::All(_)) { "all(" } else { "any(" });
            parts.iter().for_each(|p| spell(p, predicates, out));
            out.push(')');
        }
    }
}

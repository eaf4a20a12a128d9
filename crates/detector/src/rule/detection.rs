//! `detection:` and `logsource:` of a rule as one expression over predicates.

use super::condition::{Expr, read_condition, single_or};
use super::selection::{Predicate, read_predicate};
use crate::yaml::{Data, Node, YamlError};

/// The `logsource.category` of every rule here.
const CATEGORY: &str = "agent_audit";

/// Reads the detection of a document; its predicates are shared by the whole set.
///
/// # Errors
/// What the declared subset does not have, by file, line and key.
pub(super) fn read_detection(
    document: &Node,
    predicates: &mut Vec<Predicate>,
) -> Result<Expr, YamlError> {
    let product = read_logsource(document)?;
    let node = document.require("detection")?;
    let mut selections = Vec::new();
    for (name, selection) in node.map()? {
        if name == "timeframe" {
            return Err(
                selection.error("timeframe is not supported; write a correlation (Sigma 2)")
            );
        }
        if name != "condition" {
            selections.push((name.clone(), read_selection(selection, predicates)?));
        }
    }
    let condition = node.require("condition")?;
    let conditions = condition.one_or_many().iter();
    let parts =
        conditions.map(|c| read_condition(c, &selections)).collect::<Result<Vec<_>, _>>()?;
    let expr = single_or(parts, Expr::Any);
    Ok(match product {
        None => expr,
        Some(node) => Expr::All(vec![leaf("product", node, predicates)?, expr]),
    })
}

/// `logsource:` must be ours; a product in it selects that product.
fn read_logsource(document: &Node) -> Result<Option<&Node>, YamlError> {
    let node = document.require("logsource")?;
    node.only(&["category", "product"])?;
    node.require("category")?.word(&[CATEGORY])?;
    Ok(node.get("product"))
}

fn read_selection(node: &Node, predicates: &mut Vec<Predicate>) -> Result<Expr, YamlError> {
    match &node.data {
        Data::Map(entries) => {
            let parts = entries.iter().map(|(key, value)| leaf(key, value, predicates));
            Ok(single_or(parts.collect::<Result<_, _>>()?, Expr::All))
        }
        Data::List(items) if items.iter().all(|i| matches!(i.data, Data::Map(_))) => {
            let parts = items.iter().map(|item| read_selection(item, predicates));
            Ok(single_or(parts.collect::<Result<_, _>>()?, Expr::Any))
        }
        _ => Err(node.error("expected fields with values; keyword search is not supported")),
    }
}

fn leaf(key: &str, value: &Node, predicates: &mut Vec<Predicate>) -> Result<Expr, YamlError> {
    let (predicate, negated) = read_predicate(key, value)?;
    let index = predicates.iter().position(|p| *p == predicate).unwrap_or_else(|| {
        predicates.push(predicate);
        predicates.len() - 1
    });
    Ok(if negated { Expr::Not(Box::new(Expr::Is(index))) } else { Expr::Is(index) })
}

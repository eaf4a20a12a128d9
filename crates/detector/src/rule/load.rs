//! Rules from YAML: Sigma detections and correlations in the declared subset, with what Sigma
//! lacks under `lapwing:`. Anything else is refused by file, line and key, never approximated.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::detection::read_detection;
use super::document::Document;
use super::{Detection, RuleSet};
use crate::yaml::{Data, YamlError, read_documents};

/// A file of rules.
#[derive(Debug, Clone)]
pub struct RuleSource {
    /// Its name in errors and lists.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Whether its rules give way to others of the same name.
    pub is_builtin: bool,
}

/// Loads rules; built-in ones give way to others of the same name.
///
/// # Errors
/// The first thing that is wrong, by file, line and key.
pub fn load_rules(sources: &[RuleSource]) -> Result<RuleSet, YamlError> {
    let mut documents: Vec<Document> = Vec::new();
    for source in sources {
        for node in read_documents(&source.name, &source.text)? {
            if matches!(node.data, Data::Null) {
                continue;
            }
            add(&mut documents, Document::read(node, source.is_builtin)?)?;
        }
    }
    let mut set = RuleSet::default();
    for document in documents.iter().filter(|d| d.is_detection()) {
        let expr = read_detection(&document.node, &mut set.predicates)?;
        set.detections.push(Detection { name: document.name.clone(), expr });
    }
    let mut taken = BTreeMap::new();
    for document in &documents {
        let Some(rule) = document.build(&documents, &set)? else { continue };
        if let Some(other) = taken.insert(rule.id.clone(), rule.name.clone()) {
            return Err(document.node.error(format!("has the same id as the rule {other}")));
        }
        set.rules.push(rule);
    }
    set.rules.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(set)
}

/// Adds a document, or lets it take the place of a built-in one.
fn add(documents: &mut Vec<Document>, new: Document) -> Result<(), YamlError> {
    match documents.iter().position(|d| d.name == new.name) {
        None => documents.push(new),
        Some(i) if documents[i].is_builtin && !new.is_builtin => documents[i] = new,
        Some(i) => {
            let at = &documents[i].node;
            return Err(new
                .node
                .error(format!("the name {} is taken by {}:{}", new.name, at.file, at.line)));
        }
    }
    Ok(())
}

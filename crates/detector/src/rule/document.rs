//! One YAML document of a rule file: a detection or a correlation, and the rule it makes.

use std::sync::Arc;

use lapwing_event::FieldId;

use super::correlation::Counting;
use super::extension::Extension;
use super::fingerprint::fingerprint;
use super::level::{read_level, read_levels};
use super::template::Template;
use super::test::read_tests;
use super::{Measure, Rule, RuleSet};
use crate::yaml::{Node, YamlError};

const COMMON_KEYS: [&str; 19] = [
    "title",
    "id",
    "name",
    "status",
    "description",
    "references",
    "author",
    "date",
    "modified",
    "tags",
    "logsource",
    "fields",
    "falsepositives",
    "level",
    "license",
    "related",
    "taxonomy",
    "scope",
    "lapwing",
];
/// Longest name of a rule: it stands in lists and metrics.
const MAX_NAME_CHARS: usize = 64;

/// A document with what others may call it by.
pub(super) struct Document {
    pub(super) name: Arc<str>,
    id: Option<Arc<str>>,
    pub(super) node: Node,
    pub(super) is_builtin: bool,
}

/// The texts of a rule's alerts, and the fields they use beyond the key.
struct Texts {
    message: Template,
    next_step: Template,
    facts: Vec<FieldId>,
}

impl Document {
    pub(super) fn read(node: Node, is_builtin: bool) -> Result<Self, YamlError> {
        let kinds: Vec<&str> =
            ["detection", "correlation"].into_iter().filter(|k| node.get(k).is_some()).collect();
        let [kind] = kinds[..] else {
            return Err(node.error("a rule has either detection or correlation"));
        };
        node.only(&[&COMMON_KEYS[..], &[kind]].concat())?;
        let name = node.require("name")?;
        let text = name.text()?;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
        if text.is_empty() || text.len() > MAX_NAME_CHARS || !text.chars().all(is_plain) {
            return Err(name.error(format!(
                "expected lower-case letters, digits, _ - . and at most {MAX_NAME_CHARS} of them"
            )));
        }
        let id = node.get("id").map(read_uuid).transpose()?;
        Ok(Self { name: text.into(), id, node, is_builtin })
    }

    pub(super) fn is_detection(&self) -> bool {
        self.node.get("detection").is_some()
    }

    fn correlation(&self) -> Option<&Node> {
        self.node.get("correlation")
    }

    /// Whether a reference in a correlation means this document.
    fn is_meant_by(&self, reference: &str) -> bool {
        &*self.name == reference
            || self.id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(reference))
    }

    /// The rule it makes. A detection that correlations refer to makes none, unless they say
    /// `generate: true` or its events are expected.
    pub(super) fn build(
        &self,
        documents: &[Self],
        set: &RuleSet,
    ) -> Result<Option<Rule>, YamlError> {
        let extension = Extension::read(&self.node)?;
        let counting = match (self.correlation(), extension.expected()?) {
            (Some(node), _) => {
                Counting::of_correlation(node, |item| find_detection(item, documents, set))?
            }
            (None, Some(timespan)) => {
                Counting::of_absence(self.index_in(set), timespan, &extension)?
            }
            (None, None) if self.is_only_referred(documents)? => return Ok(None),
            (None, None) => Counting::of_detection(self.index_in(set), &extension)?,
        };
        self.finish(&extension, counting, set).map(Some)
    }

    fn index_in(&self, set: &RuleSet) -> usize {
        let index = set.detections.iter().position(|d| d.name == self.name);
        index.expect("every detection was read")
    }

    fn is_only_referred(&self, documents: &[Self]) -> Result<bool, YamlError> {
        let mut is_referred = false;
        for node in documents.iter().filter_map(Self::correlation) {
            let items = node.get("rules").map(Node::one_or_many).unwrap_or_default();
            let refers = items.iter().any(|i| i.text().is_ok_and(|t| self.is_meant_by(t)));
            let generates = node.get("generate").map(Node::bool).transpose()?.unwrap_or(false);
            if refers && generates {
                return Ok(false);
            }
            is_referred |= refers;
        }
        Ok(is_referred)
    }

    fn finish(
        &self,
        extension: &Extension<'_>,
        counting: Counting,
        set: &RuleSet,
    ) -> Result<Rule, YamlError> {
        let node = &self.node;
        let level = read_level(node.require("level")?)?;
        let levels = extension.get("levels").map(|n| read_levels(n, level, &counting));
        let texts = read_texts(extension, &counting)?;
        let description = node.get("description").map(Node::text).transpose()?;
        let mut rule = Rule {
            id: self.id.clone().ok_or_else(|| node.error("id is missing; write a UUID"))?,
            name: self.name.clone(),
            title: node.require("title")?.text()?.to_owned(),
            description: description.unwrap_or_default().trim().to_owned(),
            source: node.file.clone(),
            enabled: extension.enabled()?,
            tags: read_tags(node)?,
            hold_for: extension.hold_for(&counting)?,
            resolve_after: extension.resolve_after(counting.timespan)?,
            detections: counting.detections,
            measure: counting.measure,
            condition: counting.condition,
            group_by: counting.group_by,
            timespan: counting.timespan,
            null_keys: extension.null_keys()?,
            allowed_lateness: extension.allowed_lateness()?,
            level,
            levels: levels.transpose()?.unwrap_or_default(),
            repeat_interval: extension.repeat_interval()?,
            message: texts.message,
            next_step: texts.next_step,
            facts: texts.facts,
            fingerprint: 0,
            tests: extension.get("tests").map(read_tests).transpose()?.unwrap_or_default(),
        };
        rule.fingerprint = fingerprint(&rule, set);
        Ok(rule)
    }
}

/// The detection that an item of `rules` means.
fn find_detection(item: &Node, documents: &[Document], set: &RuleSet) -> Result<usize, YamlError> {
    let reference = item.text()?;
    let document = documents.iter().find(|d| d.is_meant_by(reference));
    let document = document
        .ok_or_else(|| item.error(format!("{reference:?} is the name or id of no rule")))?;
    match document.is_detection() {
        true => Ok(document.index_in(set)),
        false => {
            Err(item.error("a correlation of correlations is not supported; refer to detections"))
        }
    }
}

fn read_texts(extension: &Extension<'_>, counting: &Counting) -> Result<Texts, YamlError> {
    let read = |key: &str| -> Result<Template, YamlError> {
        let Some(node) = extension.get(key) else { return Ok(Template::default()) };
        let template = Template::read(node)?;
        let is_known = |field: &FieldId| counting.group_by.contains(field);
        let is_told = !template.has_numbers() && template.fields().iter().all(is_known);
        match counting.measure == Measure::Absence && !is_told {
            true => Err(node.error("an alert about silence knows the fields of group-by only")),
            false => Ok(template),
        }
    };
    let (message, next_step) = (read("message")?, read("next_step")?);
    let mut facts = [message.fields(), next_step.fields()].concat();
    facts.retain(|f| !counting.group_by.contains(f));
    facts.sort_unstable();
    facts.dedup();
    Ok(Texts { message, next_step, facts })
}

fn read_tags(node: &Node) -> Result<Vec<String>, YamlError> {
    let items = node.get("tags").map(Node::list).transpose()?.unwrap_or_default();
    items.iter().map(|t| t.text().map(str::to_owned)).collect()
}

fn read_uuid(node: &Node) -> Result<Arc<str>, YamlError> {
    let text = node.text()?;
    let groups: Vec<&str> = text.split('-').collect();
    let is_uuid = groups.iter().map(|g| g.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_hexdigit()));
    match is_uuid {
        true => Ok(text.to_ascii_lowercase().into()),
        false => Err(node.error("expected a UUID, for instance from uuidgen")),
    }
}

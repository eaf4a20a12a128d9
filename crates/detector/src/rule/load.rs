//! Rules from YAML: Sigma detections and correlations in the declared subset, with what Sigma
//! lacks under `lapwing:`. Anything else is refused by file, line and key, never approximated.

use std::sync::Arc;

use lapwing_event::FieldId;
use xxhash_rust::xxh3::xxh3_64;

use super::condition::{Expr, read_condition, single_or};
use super::correlation::{Counting, read_timespan};
use super::level::{read_level, read_levels};
use super::selection::{Predicate, read_predicate};
use super::template::Template;
use super::test::read_tests;
use super::{DEFAULT_ALLOWED_LATENESS, Detection, NullKeys, Rule, RuleSet};
use crate::yaml::{Data, Node, YamlError, read_documents};

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
const LAPWING_KEYS: [&str; 10] = [
    "levels",
    "resolve_after",
    "allowed_lateness",
    "null_keys",
    "message",
    "next_step",
    "enabled",
    "tests",
    "group-by",
    "timespan",
];
/// What `lapwing:` will have in a later version.
const LATER_KEYS: [&str; 4] = ["for", "absence", "partial", "repeat_interval"];
/// The `logsource.category` of every rule here.
const CATEGORY: &str = "agent_audit";

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
            add(&mut documents, Document::read(node, source)?)?;
        }
    }
    let mut set = RuleSet::default();
    for document in documents.iter().filter(|d| d.is_detection()) {
        let expr = read_detection(document, &mut set.predicates)?;
        set.detections.push(Detection { name: document.name.clone(), expr });
    }
    for document in &documents {
        if let Some(rule) = document.build(&documents, &set)? {
            set.rules.push(rule);
        }
    }
    set.rules.sort_by(|a, b| a.name.cmp(&b.name));
    for pair in set.rules.windows(2) {
        if pair[0].id == pair[1].id {
            let document = documents.iter().find(|d| d.name == pair[1].name);
            let node = &document.expect("every rule comes from a document").node;
            return Err(node.error(format!("has the same id as the rule {}", pair[0].name)));
        }
    }
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

/// One YAML document.
struct Document {
    name: Arc<str>,
    id: Option<Arc<str>>,
    node: Node,
    is_builtin: bool,
}

impl Document {
    fn read(node: Node, source: &RuleSource) -> Result<Self, YamlError> {
        let kinds: Vec<&str> =
            ["detection", "correlation"].into_iter().filter(|k| node.get(k).is_some()).collect();
        let [kind] = kinds[..] else {
            return Err(node.error("a rule has either detection or correlation"));
        };
        node.only(&[&COMMON_KEYS[..], &[kind]].concat())?;
        let name = node.require("name")?;
        let text = name.text()?;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
        if text.is_empty() || text.len() > 64 || !text.chars().all(is_plain) {
            return Err(
                name.error("expected lower-case letters, digits, _ - . and at most 64 of them")
            );
        }
        let id = node.get("id").map(read_uuid).transpose()?;
        Ok(Self { name: text.into(), id, node, is_builtin: source.is_builtin })
    }

    fn is_detection(&self) -> bool {
        self.node.get("detection").is_some()
    }

    fn correlation(&self) -> Option<&Node> {
        self.node.get("correlation")
    }

    /// Whether a reference in a correlation means this document.
    fn is_meant_by(&self, reference: &str) -> bool {
        &*self.name == reference || self.id.as_deref() == Some(reference)
    }

    /// The rule it makes; a detection that correlations refer to makes none, unless they say
    /// `generate: true`.
    fn build(&self, documents: &[Document], set: &RuleSet) -> Result<Option<Rule>, YamlError> {
        let lapwing = self.node.get("lapwing");
        if let Some(lapwing) = lapwing {
            check_lapwing(lapwing, self.is_detection())?;
        }
        let (detections, counting) = match self.correlation() {
            Some(node) => {
                let counting = Counting::of_correlation(node)?;
                (referred(node, documents, set)?, counting)
            }
            None if is_only_referred(self, documents)? => return Ok(None),
            None => {
                let index = set.detections.iter().position(|d| d.name == self.name);
                let index = index.expect("every detection was read");
                (vec![index], Counting::of_detection(lapwing)?)
            }
        };
        let rule = self.finish(lapwing, detections, counting, set)?;
        Ok(Some(rule))
    }

    fn finish(
        &self,
        lapwing: Option<&Node>,
        detections: Vec<usize>,
        counting: Counting,
        set: &RuleSet,
    ) -> Result<Rule, YamlError> {
        let node = &self.node;
        let get = |key: &str| lapwing.and_then(|l| l.get(key));
        let level = read_level(node.require("level")?)?;
        let levels =
            get("levels").map(|n| read_levels(n, level, counting.threshold)).transpose()?;
        let span = |key: &str| get(key).map(Node::timespan).transpose();
        let resolve_after = span("resolve_after")?.unwrap_or(counting.timespan);
        if resolve_after < counting.timespan {
            let at = get("resolve_after").unwrap_or(node);
            return Err(at.error("must be at least the timespan of the rule"));
        }
        let template = |key: &str| get(key).map(Template::read).transpose();
        let message = template("message")?.unwrap_or_default();
        let next_step = template("next_step")?.unwrap_or_default();
        let mut facts = [message.fields(), next_step.fields()].concat();
        facts.retain(|f| !counting.group_by.contains(f));
        facts.sort_unstable();
        facts.dedup();
        let text = |key: &str| -> Result<String, YamlError> {
            Ok(node.get(key).map(Node::text).transpose()?.unwrap_or_default().trim().to_owned())
        };
        let mut rule = Rule {
            id: self.id.clone().ok_or_else(|| node.error("id is missing; write a UUID"))?,
            name: self.name.clone(),
            title: node.require("title")?.text()?.to_owned(),
            description: text("description")?,
            source: node.file.clone(),
            enabled: get("enabled").map(Node::bool).transpose()?.unwrap_or(true),
            tags: read_tags(node)?,
            detections,
            measure: counting.measure,
            threshold: counting.threshold,
            group_by: counting.group_by,
            timespan: counting.timespan,
            null_keys: match get("null_keys").map(|n| n.word(&["group", "skip"])).transpose()? {
                Some("skip") => NullKeys::Skip,
                _ => NullKeys::Group,
            },
            allowed_lateness: span("allowed_lateness")?.unwrap_or(DEFAULT_ALLOWED_LATENESS),
            resolve_after,
            level,
            levels: levels.unwrap_or_default(),
            message,
            next_step,
            facts,
            fingerprint: 0,
            tests: get("tests").map(read_tests).transpose()?.unwrap_or_default(),
        };
        rule.fingerprint = fingerprint(&rule, set);
        Ok(rule)
    }
}

fn check_lapwing(lapwing: &Node, is_detection: bool) -> Result<(), YamlError> {
    for key in LATER_KEYS {
        if let Some(node) = lapwing.get(key) {
            return Err(node.error("not supported yet"));
        }
    }
    lapwing.only(&LAPWING_KEYS)?;
    for key in ["group-by", "timespan"] {
        if let (false, Some(node)) = (is_detection, lapwing.get(key)) {
            return Err(node.error("belongs under correlation"));
        }
    }
    if let Some(node) = lapwing.get("timespan") {
        read_timespan(node)?;
    }
    Ok(())
}

/// The detections that a correlation refers to.
fn referred(node: &Node, documents: &[Document], set: &RuleSet) -> Result<Vec<usize>, YamlError> {
    let mut found = Vec::new();
    for item in node.require("rules")?.one_or_many() {
        let reference = item.text()?;
        let document = documents.iter().find(|d| d.is_meant_by(reference));
        let document = document
            .ok_or_else(|| item.error(format!("{reference:?} is the name or id of no rule")))?;
        let index = set.detections.iter().position(|d| d.name == document.name);
        found.push(index.ok_or_else(|| {
            item.error("a correlation of correlations is not supported yet; refer to detections")
        })?);
    }
    match found.is_empty() {
        true => Err(node.error("rules is empty")),
        false => Ok(found),
    }
}

fn is_only_referred(detection: &Document, documents: &[Document]) -> Result<bool, YamlError> {
    let mut is_referred = false;
    for node in documents.iter().filter_map(Document::correlation) {
        let items = node.get("rules").map(Node::one_or_many).unwrap_or_default();
        let refers = items.iter().any(|i| i.text().is_ok_and(|t| detection.is_meant_by(t)));
        let generates = node.get("generate").map(Node::bool).transpose()?.unwrap_or(false);
        if refers && generates {
            return Ok(false);
        }
        is_referred |= refers;
    }
    Ok(is_referred)
}

/// `detection:` as an expression; its predicates are shared by the whole set.
fn read_detection(document: &Document, predicates: &mut Vec<Predicate>) -> Result<Expr, YamlError> {
    let product = read_logsource(&document.node)?;
    let node = document.node.require("detection")?;
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

/// A digest of what decides about alerts; texts and tests are not part of it.
fn fingerprint(rule: &Rule, set: &RuleSet) -> u64 {
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
    let group_by: Vec<&str> = rule.group_by.iter().map(|f: &FieldId| f.spec().name).collect();
    let mut text = format!(
        "{} {:?} {} {group_by:?} {} {:?} {} {} {:?} {:?} ",
        rule.id,
        rule.measure,
        rule.threshold,
        rule.timespan,
        rule.null_keys,
        rule.allowed_lateness,
        rule.resolve_after,
        rule.level,
        rule.levels,
    );
    for index in &rule.detections {
        spell(&set.detections[*index].expr, &set.predicates, &mut text);
    }
    xxh3_64(text.as_bytes())
}

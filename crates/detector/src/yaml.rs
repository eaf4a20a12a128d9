//! YAML with the line of every node, for errors that name file, line and key. Used for rules and
//! for the configuration file.

use std::sync::Arc;

use lapwing_event::Fixed;
use lapwing_event::vocabulary::nearest;
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

/// What is wrong in a YAML file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {}{message}", if key.is_empty() { String::new() } else { format!("{key}: ") })]
pub struct YamlError {
    /// The file as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The dotted path of the key; empty for the document.
    pub key: String,
    /// What is wrong and the way out.
    pub message: String,
}

/// A node with its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// The file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The dotted path from the document's root.
    pub path: String,
    /// The content.
    pub data: Data,
}

/// The content of a node.
#[derive(Debug, Clone)]
pub enum Data {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping with text keys, in the order of the file.
    Map(Vec<(String, Node)>),
}

/// Reads every document of a YAML text.
///
/// # Errors
/// Broken YAML, keys that are not text, a key that stands twice.
pub fn read_documents(file: &str, text: &str) -> Result<Vec<Node>, YamlError> {
    let file: Arc<str> = file.into();
    let documents = MarkedYaml::load_from_str(text).map_err(|error| YamlError {
        file: file.clone(),
        line: error.marker().line(),
        key: String::new(),
        message: error.info().to_owned(),
    })?;
    documents.iter().map(|document| convert(&file, String::new(), document)).collect()
}

fn convert(file: &Arc<str>, path: String, yaml: &MarkedYaml<'_>) -> Result<Node, YamlError> {
    let line = yaml.span.start.line();
    let fail = |message: &str| {
        Err(YamlError { file: file.clone(), line, key: path.clone(), message: message.to_owned() })
    };
    let data = match &yaml.data {
        YamlData::Value(Scalar::Null) => Data::Null,
        YamlData::Value(Scalar::Boolean(b)) => Data::Bool(*b),
        YamlData::Value(Scalar::Integer(n)) => Data::Int(*n),
        YamlData::Value(Scalar::FloatingPoint(x)) => Data::Float(x.into_inner()),
        YamlData::Value(Scalar::String(text)) => Data::Text(text.to_string()),
        YamlData::Sequence(items) => {
            let items = items.iter().enumerate();
            Data::List(
                items
                    .map(|(i, item)| convert(file, format!("{path}[{i}]"), item))
                    .collect::<Result<_, _>>()?,
            )
        }
        YamlData::Mapping(entries) => {
            let mut map = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let Some(key) = key.data.as_str() else {
                    return fail("keys must be text; put quotes around it");
                };
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                map.push((key.to_owned(), convert(file, path, value)?));
            }
            Data::Map(map)
        }
        _ => return fail("tags, anchors and aliases are not supported; write the value out"),
    };
    Ok(Node { file: file.clone(), line, path, data })
}

impl Node {
    /// An error at this node.
    pub fn error(&self, message: impl Into<String>) -> YamlError {
        YamlError {
            file: self.file.clone(),
            line: self.line,
            key: self.path.clone(),
            message: message.into(),
        }
    }

    /// What it is, for an error message.
    fn type_name(&self) -> &'static str {
        match self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "true or false",
            Data::Int(_) => "a whole number",
            Data::Float(_) => "a decimal number",
            Data::Text(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    fn expected(&self, what: &str) -> YamlError {
        self.error(format!("expected {what}, found {}", self.type_name()))
    }

    /// Its text.
    ///
    /// # Errors
    /// It is something else.
    pub fn text(&self) -> Result<&str, YamlError> {
        match &self.data {
            Data::Text(text) => Ok(text),
            _ => Err(self.expected("text")),
        }
    }

    /// Text, or a number or a truth value as the text that stands for it.
    ///
    /// # Errors
    /// Anything else.
    pub fn scalar_text(&self) -> Result<String, YamlError> {
        match &self.data {
            Data::Text(text) => Ok(text.to_string()),
            Data::Int(n) => Ok(n.to_string()),
            Data::Bool(b) => Ok(b.to_string()),
            _ => Err(self.expected("text or a number")),
        }
    }

    /// Its whole number.
    ///
    /// # Errors
    /// It is something else.
    pub fn int(&self) -> Result<i64, YamlError> {
        match self.data {
            Data::Int(n) => Ok(n),
            _ => Err(self.expected("a whole number")),
        }
    }

    /// Its number, whole or decimal.
    ///
    /// # Errors
    /// It is something else, or a decimal number finer than 1e-9 or beyond ±10^18.
    pub fn number(&self) -> Result<Fixed, YamlError> {
        let number = match self.data {
            Data::Int(n) => return Ok(Fixed::from(n)),
            Data::Float(x) => x,
            _ => return Err(self.expected("a number")),
        };
        // The shortest text that gives the number has the digits that were written.
        let digits = number.to_string().split_once('.').map_or(0, |(_, digits)| digits.len());
        if digits > 9 {
            return Err(self.error("expected at most nine digits after the point"));
        }
        Fixed::from_f64(number)
            .ok_or_else(|| self.error("expected a number up to 10^18 on either side of 0"))
    }

    /// Its truth value.
    ///
    /// # Errors
    /// It is something else.
    pub fn bool(&self) -> Result<bool, YamlError> {
        match self.data {
            Data::Bool(b) => Ok(b),
            _ => Err(self.expected("true or false")),
        }
    }

    /// Its items.
    ///
    /// # Errors
    /// It is no list.
    pub fn list(&self) -> Result<&[Node], YamlError> {
        match &self.data {
            Data::List(items) => Ok(items),
            _ => Err(self.expected("a list")),
        }
    }

    /// Its items, or itself as the only one.
    pub fn one_or_many(&self) -> &[Node] {
        match &self.data {
            Data::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// Its entries.
    ///
    /// # Errors
    /// It is no mapping.
    pub fn map(&self) -> Result<&[(String, Node)], YamlError> {
        match &self.data {
            Data::Map(entries) => Ok(entries),
            _ => Err(self.expected("a mapping")),
        }
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The value of a key that must be there.
    ///
    /// # Errors
    /// It is missing.
    pub fn require(&self, key: &str) -> Result<&Node, YamlError> {
        self.get(key).ok_or_else(|| self.error(format!("{key} is missing")))
    }

    /// A time span: a whole number and s, m, h or d.
    ///
    /// # Errors
    /// It is something else.
    pub fn timespan(&self) -> Result<i64, YamlError> {
        let text = self.text().ok();
        text.and_then(lapwing_event::time::parse_timespan)
            .ok_or_else(|| self.error("expected a whole number and a unit: 30s, 5m, 1h, 1d"))
    }

    /// Refuses keys that are not among the known ones, with the nearest of them.
    ///
    /// # Errors
    /// An unknown key, or no mapping.
    pub fn only(&self, known: &[&str]) -> Result<(), YamlError> {
        for (key, value) in self.map()? {
            if !known.contains(&key.as_str()) {
                let hint = match nearest(key, known.iter().copied()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("known are {}", known.join(", ")),
                };
                return Err(value.error(format!("unknown key; {hint}")));
            }
        }
        Ok(())
    }

    /// One of a list of words.
    ///
    /// # Errors
    /// Another word, with the nearest known one.
    pub fn word<'a>(&self, known: &[&'a str]) -> Result<&'a str, YamlError> {
        let text = self.text()?;
        known.iter().copied().find(|k| *k == text).ok_or_else(|| {
            let hint = match nearest(text, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("expected one of {}", known.join(", ")),
            };
            self.error(format!("{text:?} is not known here; {hint}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_file_line_and_key() {
        let documents = read_documents("x.yml", "a: 1\nb:\n  c: text\n").expect("valid");
        let error = documents[0].require("b").expect("b").require("c").expect("c").int();
        assert_eq!(
            error.expect_err("text").to_string(),
            "x.yml:3: b.c: expected a whole number, found text"
        );
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_known_one() {
        let documents = read_documents("x.yml", "sorces: []\n").expect("valid");
        let error = documents[0].only(&["sources", "archive"]).expect_err("unknown");
        assert_eq!(error.to_string(), "x.yml:1: sorces: unknown key; did you mean sources?");
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let error = read_documents("x.yml", "a: 1\na: 2\n").expect_err("twice");
        assert_eq!(error.line, 2);
    }
}

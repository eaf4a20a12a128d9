//! Texts of alerts: `{source.ip}` is a field, `{count}` a number of the alert, `{count login|logins}`
//! the number with the word that fits it, and what stands in square brackets is left out where
//! something in it is unknown.

use lapwing_event::FieldId;

use crate::yaml::{Node, YamlError};

/// A compiled text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Field(FieldId),
    Number(Number),
    /// A number with its noun, for one and for many.
    Counted(Number, String, String),
    Optional(Vec<Part>),
}

/// What an alert knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Count,
    Value,
    Span,
    ByReason,
}

const NUMBERS: [(&str, Number); 4] = [
    ("count", Number::Count),
    ("value", Number::Value),
    ("span", Number::Span),
    ("by_reason", Number::ByReason),
];

impl Template {
    /// A text without placeholders.
    pub(crate) fn plain(text: String) -> Self {
        Self { parts: vec![Part::Text(text)] }
    }

    /// Reads a text.
    ///
    /// # Errors
    /// An unknown placeholder, a bracket that is not closed.
    pub(super) fn read(node: &Node) -> Result<Self, YamlError> {
        let text = node.text()?;
        let mut rest = text;
        let parts = read_parts(&mut rest, false, node)?;
        Ok(Self { parts })
    }

    /// The fields it uses.
    pub(super) fn fields(&self) -> Vec<FieldId> {
        let mut fields = Vec::new();
        visit(&self.parts, &mut |part| {
            if let Part::Field(field) = part {
                fields.push(*field);
            }
        });
        fields
    }

    /// Whether it uses a number of the alert.
    pub(super) fn has_numbers(&self) -> bool {
        let mut has_numbers = false;
        visit(&self.parts, &mut |part| {
            has_numbers |= matches!(part, Part::Number(_) | Part::Counted(..));
        });
        has_numbers
    }

    /// Writes the text; `field` and `number` give values where they are known.
    pub(crate) fn render(
        &self,
        field: &dyn Fn(FieldId) -> Option<String>,
        number: &dyn Fn(Number) -> Option<String>,
    ) -> String {
        let mut out = String::new();
        write_parts(&self.parts, field, number, &mut out);
        out
    }
}

/// Calls `see` with each part, also with those in brackets.
fn visit(parts: &[Part], see: &mut impl FnMut(&Part)) {
    for part in parts {
        see(part);
        if let Part::Optional(inner) = part {
            visit(inner, see);
        }
    }
}

/// Writes parts; says whether every value was known.
fn write_parts(
    parts: &[Part],
    field: &dyn Fn(FieldId) -> Option<String>,
    number: &dyn Fn(Number) -> Option<String>,
    out: &mut String,
) -> bool {
    let mut all_known = true;
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Counted(n, one, many) => {
                let value = number(*n).unwrap_or_default();
                let noun = if value == "1" { one } else { many };
                out.push_str(&format!("{value} {noun}"));
            }
            Part::Number(_) | Part::Field(_) => {
                let value = match part {
                    Part::Number(n) => number(*n),
                    Part::Field(id) => field(*id),
                    _ => None,
                };
                all_known &= value.is_some();
                out.push_str(value.as_deref().unwrap_or("(unknown)"));
            }
            Part::Optional(inner) => {
                let before = out.len();
                if !write_parts(inner, field, number, out) {
                    out.truncate(before);
                }
            }
        }
    }
    all_known
}

fn read_parts(rest: &mut &str, in_bracket: bool, at: &Node) -> Result<Vec<Part>, YamlError> {
    let mut parts = Vec::new();
    loop {
        let plain = rest.find(['{', '[', ']']).unwrap_or(rest.len());
        if plain > 0 {
            parts.push(Part::Text(rest[..plain].to_owned()));
        }
        let mark = rest[plain..].chars().next();
        *rest = rest.get(plain + 1..).unwrap_or_default();
        match mark {
            None if in_bracket => return Err(at.error("a square bracket is not closed")),
            None => return Ok(parts),
            Some('{') => parts.push(read_placeholder(rest, at)?),
            Some('[') if in_bracket => {
                return Err(at.error("square brackets cannot stand in each other"));
            }
            Some('[') => parts.push(Part::Optional(read_parts(rest, true, at)?)),
            Some(_) if in_bracket => return Ok(parts),
            Some(_) => return Err(at.error("a closing square bracket without an opening one")),
        }
    }
}

fn read_placeholder(rest: &mut &str, at: &Node) -> Result<Part, YamlError> {
    let (name, after) =
        rest.split_once('}').ok_or_else(|| at.error("a curly bracket is not closed"))?;
    *rest = after;
    let (word, nouns) = name.split_once(' ').map_or((name, None), |(w, n)| (w, Some(n)));
    if let Some((_, number)) = NUMBERS.iter().find(|(n, _)| *n == word) {
        let Some(nouns) = nouns else { return Ok(Part::Number(*number)) };
        let (one, many) = nouns
            .split_once('|')
            .ok_or_else(|| at.error("write the noun for one and for many: {count login|logins}"))?;
        return Ok(Part::Counted(*number, one.to_owned(), many.to_owned()));
    }
    super::selection::read_field(name, at).map(Part::Field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::read_documents;

    fn render(text: &str) -> String {
        let document = read_documents("r.yml", &format!("t: '{text}'")).expect("yaml");
        let template = Template::read(document[0].require("t").expect("t")).expect("valid");
        let number = |n: Number| match n {
            Number::Count => Some("1".to_owned()),
            Number::Span => None,
            n => Some(format!("{n:?}")),
        };
        template.render(&|f| (f == FieldId::SourceIp).then(|| "203.0.113.50".to_owned()), &number)
    }

    #[test]
    fn unknown_fields_take_their_bracket_with_them() {
        assert_eq!(
            render("{count} from {source.ip}[, client {client.name}][ ({source.ip})]: {tool.name}"),
            "1 from 203.0.113.50 (203.0.113.50): (unknown)"
        );
        assert_eq!(render("{count login|logins}[ in {span}], {value x|xs}"), "1 login, Value xs");
    }

    #[test]
    fn a_broken_text_is_refused() {
        for text in ["{count", "[x", "x]", "{tool.nme}", "[[x]]", "{count login}"] {
            let document = read_documents("r.yml", &format!("t: '{text}'")).expect("yaml");
            assert!(Template::read(document[0].require("t").expect("t")).is_err(), "{text}");
        }
    }
}

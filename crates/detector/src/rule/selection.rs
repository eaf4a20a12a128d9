//! Predicates on one field: the field modifiers of Sigma, compiled.

use std::net::IpAddr;

use lapwing_event::{FieldId, FieldType};
use regex::Regex;

use crate::yaml::{Data, Node, YamlError};

/// A test on one field. Null satisfies nothing but [`Op::IsNull`].
#[derive(Debug, Clone, PartialEq)]
pub struct Predicate {
    /// The field.
    pub field: FieldId,
    /// The test.
    pub op: Op,
}

/// What is tested.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The field has no value.
    IsNull,
    /// The field has a value.
    Exists,
    /// The text matches.
    Text(Matcher),
    /// The number compares as said with any of the values.
    Number(Compare, Vec<f64>),
}

/// How a number compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Equal.
    Eq,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
}

impl Compare {
    /// Whether `value` compares with `limit` as said.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Eq => value == limit,
            Self::Gt => value > limit,
            Self::Gte => value >= limit,
            Self::Lt => value < limit,
            Self::Lte => value <= limit,
        }
    }
}

/// Patterns of which any, or all, must match.
#[derive(Debug, Clone, PartialEq)]
pub struct Matcher {
    /// The patterns.
    pub patterns: Vec<Pattern>,
    /// Whether all must match (`|all`).
    pub all: bool,
    /// Whether case matters (`|cased`); in Sigma it does not.
    pub cased: bool,
}

/// One pattern. Texts are in lower case unless the matcher is cased.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// The whole text.
    Equals(String),
    /// The text begins so.
    StartsWith(String),
    /// The text ends so.
    EndsWith(String),
    /// The text contains it.
    Contains(String),
    /// A regular expression, somewhere in the text.
    Regex(Regex),
    /// An address within a network of this many leading bits.
    Network(IpAddr, u8),
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Equals(a), Self::Equals(b))
            | (Self::StartsWith(a), Self::StartsWith(b))
            | (Self::EndsWith(a), Self::EndsWith(b))
            | (Self::Contains(a), Self::Contains(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Network(a, n), Self::Network(b, m)) => (a, n) == (b, m),
            _ => false,
        }
    }
}

impl Matcher {
    /// Whether a text matches.
    pub fn matches(&self, text: &str) -> bool {
        let folded;
        let folded: &str = if self.cased {
            text
        } else {
            folded = text.to_lowercase();
            &folded
        };
        let one = |pattern: &Pattern| match pattern {
            Pattern::Equals(p) => folded == p,
            Pattern::StartsWith(p) => folded.starts_with(p),
            Pattern::EndsWith(p) => folded.ends_with(p),
            Pattern::Contains(p) => folded.contains(p),
            Pattern::Regex(p) => p.is_match(text),
            Pattern::Network(net, bits) => {
                text.parse().is_ok_and(|address| is_within(address, *net, *bits))
            }
        };
        if self.all { self.patterns.iter().all(one) } else { self.patterns.iter().any(one) }
    }
}

/// Whether an address lies in a network; an IPv4 address mapped into IPv6 counts as IPv4.
fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let leading = |value: u128, width: u32| match width - u32::from(bits) {
        shift if shift >= 128 => 0,
        shift => value >> shift,
    };
    match (address.to_canonical(), network.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            leading(u128::from(a.to_bits()), 32) == leading(u128::from(n.to_bits()), 32)
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => leading(a.to_bits(), 128) == leading(n.to_bits(), 128),
        _ => false,
    }
}

/// The modifiers after a field's name.
#[derive(Default)]
struct Modifiers {
    shape: Option<String>,
    all: bool,
    cased: bool,
    regex_flags: String,
    not: bool,
}

const SHAPES: [&str; 10] =
    ["contains", "startswith", "endswith", "re", "cidr", "exists", "gt", "gte", "lt", "lte"];

/// Reads `field|modifier|…: value(s)`. The second part says that the predicate is negated (`|neq`).
///
/// # Errors
/// An unknown field or modifier, values that do not fit them, values outside a closed list.
pub(super) fn read_predicate(key: &str, value: &Node) -> Result<(Predicate, bool), YamlError> {
    let mut parts = key.split('|');
    let field = read_field(parts.next().unwrap_or_default(), value)?;
    let modifiers = read_modifiers(parts, value)?;
    let negated = modifiers.not;
    let op = match modifiers.shape.as_deref() {
        Some("exists") => match value.bool()? {
            true => Op::Exists,
            false => Op::IsNull,
        },
        _ if matches!(value.data, Data::Null) => Op::IsNull,
        shape => match field.spec().field_type {
            FieldType::Term | FieldType::Text => text_op(field, shape, &modifiers, value)?,
            FieldType::Count | FieldType::Float => number_op(shape, value)?,
            FieldType::Time | FieldType::Flag => {
                return Err(value.error("times and flags cannot be selected"));
            }
        },
    };
    Ok((Predicate { field, op }, negated))
}

/// A field by its name.
///
/// # Errors
/// An unknown name, with the nearest known one, or a field that rules may not use.
pub(super) fn read_field(name: &str, at: &Node) -> Result<FieldId, YamlError> {
    match FieldId::by_name(name) {
        Some(field) if field.in_rules() => Ok(field),
        Some(_) => Err(
            at.error(format!("{name} depends on where a record was read, so rules cannot use it"))
        ),
        None => {
            let known = FieldId::all().filter(|f| f.in_rules()).map(|f| f.spec().name);
            let hint = lapwing_event::vocabulary::nearest(name, known)
                .map_or("`lapwing schema fields` lists them".to_owned(), |n| {
                    format!("did you mean {n}?")
                });
            Err(at.error(format!("{name:?} is not a field of an event; {hint}")))
        }
    }
}

fn read_modifiers<'a>(
    parts: impl Iterator<Item = &'a str>,
    at: &Node,
) -> Result<Modifiers, YamlError> {
    let mut modifiers = Modifiers::default();
    for part in parts {
        match part {
            "all" => modifiers.all = true,
            "cased" => modifiers.cased = true,
            "neq" => modifiers.not = true,
            "i" | "m" | "s" if modifiers.shape.as_deref() == Some("re") => {
                modifiers.regex_flags.push_str(part);
            }
            part if SHAPES.contains(&part) && modifiers.shape.is_none() => {
                modifiers.shape = Some(part.to_owned());
            }
            part => {
                return Err(at.error(format!(
                    "modifier {part:?} is not supported here; supported are {}, all, cased, neq \
                     and re with i, m, s",
                    SHAPES.join(", ")
                )));
            }
        }
    }
    Ok(modifiers)
}

fn number_op(shape: Option<&str>, value: &Node) -> Result<Op, YamlError> {
    let compare = match shape {
        None => Compare::Eq,
        Some("gt") => Compare::Gt,
        Some("gte") => Compare::Gte,
        Some("lt") => Compare::Lt,
        Some("lte") => Compare::Lte,
        Some(other) => return Err(value.error(format!("{other} needs a text field"))),
    };
    let number = |node: &Node| match node.data {
        Data::Int(n) => Ok(n as f64),
        Data::Float(x) => Ok(x),
        _ => Err(node.error("expected a number")),
    };
    let limits = value.one_or_many().iter().map(number).collect::<Result<Vec<_>, _>>()?;
    Ok(Op::Number(compare, limits))
}

fn text_op(
    field: FieldId,
    shape: Option<&str>,
    modifiers: &Modifiers,
    value: &Node,
) -> Result<Op, YamlError> {
    let mut patterns = Vec::new();
    for node in value.one_or_many() {
        let text = match &node.data {
            Data::Text(text) => text.clone(),
            Data::Int(n) => n.to_string(),
            Data::Bool(b) => b.to_string(),
            _ => return Err(node.error("expected text; to ask for no value write `null` alone")),
        };
        let fold = |text: &str| if modifiers.cased { text.to_owned() } else { text.to_lowercase() };
        patterns.push(match shape {
            Some("re") => Pattern::Regex(read_regex(&text, &modifiers.regex_flags, node)?),
            Some("cidr") => read_network(&text, node)?,
            Some("contains") => plain_or_wild(&text, true, true, modifiers.cased, fold),
            Some("startswith") => plain_or_wild(&text, false, true, modifiers.cased, fold),
            Some("endswith") => plain_or_wild(&text, true, false, modifiers.cased, fold),
            None => {
                check_term(field, &text, node)?;
                plain_or_wild(&text, false, false, modifiers.cased, fold)
            }
            Some(other) => return Err(node.error(format!("{other} needs a number field"))),
        });
    }
    Ok(Op::Text(Matcher { patterns, all: modifiers.all, cased: modifiers.cased }))
}

/// A value of a closed list that is not in it can never match: a misspelt rule would be blind.
fn check_term(field: FieldId, text: &str, at: &Node) -> Result<(), YamlError> {
    let Some(terms) = field.spec().terms else { return Ok(()) };
    if text.contains(['*', '?']) || terms.iter().any(|t| t.value.eq_ignore_ascii_case(text)) {
        return Ok(());
    }
    let near = lapwing_event::vocabulary::nearest(text, terms.iter().map(|t| t.value));
    let hint = near.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
    Err(at.error(format!("{text:?} is no value of {}{hint}", field.spec().name)))
}

fn read_regex(text: &str, flags: &str, at: &Node) -> Result<Regex, YamlError> {
    let flagged = if flags.is_empty() { text.to_owned() } else { format!("(?{flags}){text}") };
    Regex::new(&flagged).map_err(|error| at.error(format!("not a regular expression: {error}")))
}

fn read_network(text: &str, at: &Node) -> Result<Pattern, YamlError> {
    let parse = || {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.parse().ok().filter(|b| *b <= most)?;
        Some(Pattern::Network(address, bits))
    };
    parse()
        .ok_or_else(|| at.error(format!("{text:?} is no network; write for instance 10.0.0.0/8")))
}

/// Sigma wildcards: `*` any text, `?` any character, `\` takes the meaning from the next one.
fn plain_or_wild(
    text: &str,
    open_start: bool,
    open_end: bool,
    cased: bool,
    fold: impl Fn(&str) -> String,
) -> Pattern {
    let mut plain = String::new();
    let mut regex = String::new();
    let mut is_wild = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if matches!(chars.peek(), Some('*' | '?' | '\\')) => {
                let literal = chars.next().unwrap_or('\\');
                plain.push(literal);
                regex.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
            }
            '*' | '?' => {
                is_wild = true;
                regex.push_str(if c == '*' { ".*" } else { "." });
            }
            c => {
                plain.push(c);
                regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
            }
        }
    }
    if is_wild {
        let start = if open_start { "" } else { "^" };
        let end = if open_end { "" } else { "$" };
        let flags = if cased { "s" } else { "si" };
        let regex = Regex::new(&format!("(?{flags}){start}{regex}{end}"));
        return Pattern::Regex(regex.expect("escaped text and dots are a regular expression"));
    }
    let plain = fold(&plain);
    match (open_start, open_end) {
        (false, false) => Pattern::Equals(plain),
        (false, true) => Pattern::StartsWith(plain),
        (true, false) => Pattern::EndsWith(plain),
        (true, true) => Pattern::Contains(plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::read_documents;

    fn predicate(yaml: &str) -> Result<(Predicate, bool), YamlError> {
        let documents = read_documents("rule.yml", yaml)?;
        let (key, value) = &documents[0].map()?[0];
        read_predicate(key, value)
    }

    fn matches(yaml: &str, text: &str) -> bool {
        match predicate(yaml).expect("valid").0.op {
            Op::Text(matcher) => matcher.matches(text),
            other => panic!("no text: {other:?}"),
        }
    }

    #[test]
    fn text_matches_as_sigma_says() {
        for (yaml, text, expected) in [
            ("tool.name: EXEC", "exec", true),
            ("tool.name|cased: EXEC", "exec", false),
            ("tool.name: [read, write]", "write", true),
            ("tool.target: '/etc/*'", "/etc/shadow", true),
            ("tool.target: '/etc/*'", "/x/etc/shadow", false),
            ("tool.target: '/et?/x'", "/etc/x", true),
            (r"tool.target: '\*'", "*", true),
            (r"tool.target: '\*'", "x", false),
            ("tool.target|contains: .ssh/", "/home/a/.SSH/id", true),
            ("tool.target|contains|all: [a, b]", "xbya", true),
            ("tool.target|contains|all: [a, b]", "xa", false),
            ("tool.target|startswith: /etc", "/etc/x", true),
            ("tool.target|endswith: .pem", "a.pem.x", false),
            ("tool.target|re: '^a+$'", "aaa", true),
            ("tool.target|re: '^a+$'", "AAA", false),
            ("tool.target|re|i: '^a+$'", "AAA", true),
            ("source.ip|cidr: 10.0.0.0/8", "10.2.3.4", true),
            ("source.ip|cidr: 10.0.0.0/8", "11.2.3.4", false),
            ("source.ip|cidr: ['127.0.0.0/8', '::1/128']", "::1", true),
            ("source.ip|cidr: 127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("source.ip|cidr: 0.0.0.0/0", "not an address", false),
        ] {
            assert_eq!(matches(yaml, text), expected, "{yaml} on {text}");
        }
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_the_way_out() {
        for (yaml, part) in [
            ("tool.nme: x", "did you mean tool.name?"),
            ("log.file: x", "depends on where a record was read"),
            ("tool.name|base64: x", "modifier \"base64\" is not supported"),
            ("tool.name|gt: 5", "gt needs a number field"),
            ("context.tokens|contains: x", "contains needs a text field"),
            ("outcome: denid", "did you mean denied?"),
            ("source.ip|cidr: 10.0.0.0/33", "is no network"),
            ("tool.target|re: '('", "not a regular expression"),
        ] {
            let error = predicate(yaml).expect_err(yaml).to_string();
            assert!(error.contains(part), "{yaml}: {error}");
            assert!(error.starts_with("rule.yml:1: "), "{error}");
        }
    }

    #[test]
    fn null_exists_and_numbers_are_told_apart() {
        let op = |yaml: &str| predicate(yaml).expect("valid").0.op;
        assert_eq!(op("tool.name: null"), Op::IsNull);
        assert_eq!(op("tool.name|exists: true"), Op::Exists);
        assert_eq!(op("context.utilization|gte: 0.95"), Op::Number(Compare::Gte, vec![0.95]));
        assert_eq!(op("http.status: [401, 403]"), Op::Number(Compare::Eq, vec![401.0, 403.0]));
        assert!(predicate("outcome|neq: denied").expect("valid").1);
    }
}

//! Conditions of a detection: `selection and not filter`, `1 of them`, `all of sel*`, parentheses.

use crate::yaml::{Node, YamlError};

/// An expression over predicates, by their index in the rule set.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A predicate.
    Is(usize),
    /// All of them; true if there are none.
    All(Vec<Expr>),
    /// Any of them; false if there are none.
    Any(Vec<Expr>),
    /// Not.
    Not(Box<Expr>),
}

/// Deepest nesting of a condition: far more than a person would write.
const MAX_NESTING: usize = 32;

/// Reads a condition over named selections.
///
/// # Errors
/// A name that is no selection, unbalanced parentheses, aggregation (`| count()`), which Sigma has
/// replaced by correlations.
pub(super) fn read_condition(at: &Node, selections: &[(String, Expr)]) -> Result<Expr, YamlError> {
    let text = at.text()?;
    if text.contains('|') {
        return Err(
            at.error("aggregation in a condition is not supported; write a correlation (Sigma 2)")
        );
    }
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { at, selections, tokens: &tokens, next: 0 };
    let expr = parser.any(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(token) => Err(at.error(format!("{token:?} is one too many"))),
    }
}

struct Parser<'a> {
    at: &'a Node,
    selections: &'a [(String, Expr)],
    tokens: &'a [&'a str],
    next: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|t| t.eq_ignore_ascii_case(word));
        self.next += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<Expr, YamlError> {
        let mut parts = vec![self.all(depth)?];
        while self.take("or") {
            parts.push(self.all(depth)?);
        }
        Ok(single_or(parts, Expr::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, YamlError> {
        let mut parts = vec![self.unary(depth)?];
        while self.take("and") {
            parts.push(self.unary(depth)?);
        }
        Ok(single_or(parts, Expr::All))
    }

    fn unary(&mut self, depth: usize) -> Result<Expr, YamlError> {
        if depth > MAX_NESTING {
            return Err(self.at.error(format!("nested deeper than {MAX_NESTING} levels")));
        }
        if self.take("not") {
            return Ok(Expr::Not(Box::new(self.unary(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.any(depth + 1)?;
            return match self.take(")") {
                true => Ok(inner),
                false => Err(self.at.error("a parenthesis is not closed")),
            };
        }
        let first = self.peek().ok_or_else(|| self.at.error("the condition ends too early"))?;
        self.next += 1;
        match first.to_ascii_lowercase().as_str() {
            "1" | "any" if self.take("of") => Ok(Expr::Any(self.group()?)),
            "all" if self.take("of") => Ok(Expr::All(self.group()?)),
            _ => self.named(first),
        }
    }

    fn group(&mut self) -> Result<Vec<Expr>, YamlError> {
        let pattern =
            self.peek().ok_or_else(|| self.at.error("`of` needs `them` or a name with *"))?;
        self.next += 1;
        let is_member = |name: &str| match pattern.split_once('*') {
            None if pattern.eq_ignore_ascii_case("them") => !name.starts_with('_'),
            None => name == pattern,
            Some((start, end)) => {
                name.len() >= start.len() + end.len()
                    && name.starts_with(start)
                    && name.ends_with(end)
            }
        };
        let members: Vec<Expr> = self
            .selections
            .iter()
            .filter(|(name, _)| is_member(name))
            .map(|(_, expr)| expr.clone())
            .collect();
        match members.is_empty() {
            true => Err(self.at.error(format!("{pattern:?} is the name of no selection"))),
            false => Ok(members),
        }
    }

    fn named(&self, name: &str) -> Result<Expr, YamlError> {
        let found = self.selections.iter().find(|(n, _)| n == name);
        found.map(|(_, expr)| expr.clone()).ok_or_else(|| {
            let known: Vec<&str> = self.selections.iter().map(|(n, _)| n.as_str()).collect();
            self.at.error(format!("{name:?} is no selection; there are {}", known.join(", ")))
        })
    }
}

/// One part as it is, several joined.
pub(super) fn single_or(mut parts: Vec<Expr>, join: impl Fn(Vec<Expr>) -> Expr) -> Expr {
    match parts.len() {
        1 => parts.remove(0),
        _ => join(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::read_documents;

    fn read(condition: &str) -> Result<Expr, YamlError> {
        let document = read_documents("r.yml", &format!("condition: '{condition}'")).expect("yaml");
        let names = ["sel_a", "sel_b", "filter"];
        let selections: Vec<_> =
            names.iter().enumerate().map(|(i, n)| ((*n).to_owned(), Expr::Is(i))).collect();
        read_condition(document[0].require("condition").expect("there"), &selections)
    }

    #[test]
    fn and_binds_closer_than_or_and_not_closer_still() {
        use Expr::{All, Any, Is, Not};
        assert_eq!(
            read("sel_a or sel_b and not filter"),
            Ok(Any(vec![Is(0), All(vec![Is(1), Not(Box::new(Is(2)))])]))
        );
        assert_eq!(
            read("(sel_a or sel_b) and not filter"),
            Ok(All(vec![Any(vec![Is(0), Is(1)]), Not(Box::new(Is(2)))]))
        );
        assert_eq!(read("1 of sel_*"), Ok(Any(vec![Is(0), Is(1)])));
        assert_eq!(read("all of them"), Ok(All(vec![Is(0), Is(1), Is(2)])));
    }

    #[test]
    fn nonsense_is_refused() {
        for (condition, part) in [
            ("sel_a and", "ends too early"),
            ("sel_c", "there are sel_a, sel_b, filter"),
            ("(sel_a", "not closed"),
            ("sel_a sel_b", "one too many"),
            ("1 of x*", "name of no selection"),
            ("sel_a | count() > 5", "write a correlation"),
        ] {
            let error = read(condition).expect_err(condition).to_string();
            assert!(error.contains(part), "{condition}: {error}");
        }
        assert!(read(&"(".repeat(1000)).is_err());
    }
}

//! One JSON record at a time: parsed by simd-json into a flat tape whose buffers are used again
//! for the next record. Nothing is allocated per record, and no tree is built.

use memchr::memchr2_iter;
use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, StaticNode, Tape};

use lapwing_event::{Reject, RejectReason};

/// The deepest nesting of a record: far above any real one, far below any stack.
pub const MAX_DEPTH: usize = 64;

/// The parser with its buffers. One per thread.
pub struct Json {
    scratch: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Default for Json {
    fn default() -> Self {
        Self { scratch: Vec::new(), buffers: Buffers::default(), tape: Tape(Vec::new()) }
    }
}

impl Json {
    /// Parses a record and hands its value to `read`.
    ///
    /// # Errors
    /// `not_utf8`, `not_json`, `too_deep`, or what `read` returns.
    pub fn parse<R>(
        &mut self,
        record: &[u8],
        read: impl FnOnce(Value<'_>) -> Result<R, Reject>,
    ) -> Result<R, Reject> {
        self.scratch.clear();
        self.scratch.extend_from_slice(record);
        self.scratch.resize(record.len() + INPUT_PADDING, 0);
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape_padded(
            &mut self.scratch,
            record.len(),
            &mut self.buffers,
            &mut tape,
        );
        let result = match parsed {
            Ok(()) if is_too_deep(record, &tape.0) => Err(too_deep()),
            Ok(()) => read(Value { nodes: &tape.0 }),
            Err(error) => Err(unreadable(record, &error)),
        };
        self.tape = tape.reset();
        result
    }
}

fn too_deep() -> Reject {
    Reject::new(RejectReason::TooDeep, format!("nested deeper than {MAX_DEPTH} levels"))
}

fn unreadable(record: &[u8], error: &simd_json::Error) -> Reject {
    // The parser has a limit of its own, far above ours.
    if matches!(error.error(), ErrorType::DepthLimitExceeded) {
        return too_deep();
    }
    match std::str::from_utf8(record) {
        Err(utf8) => {
            Reject::new(RejectReason::NotUtf8, format!("byte {} is not UTF-8", utf8.valid_up_to()))
        }
        Ok(_) => Reject::new(
            RejectReason::NotJson,
            format!("invalid at byte {} ({:?})", error.index(), error.error()),
        ),
    }
}

/// Counts levels only where there are enough brackets for it to matter.
fn is_too_deep(record: &[u8], nodes: &[Node<'_>]) -> bool {
    if memchr2_iter(b'{', b'[', record).nth(MAX_DEPTH).is_none() {
        return false;
    }
    let mut ends: Vec<usize> = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        ends.retain(|end| *end > i);
        if let Node::Object { count, .. } | Node::Array { count, .. } = node {
            ends.push(i + 1 + count);
            if ends.len() > MAX_DEPTH {
                return true;
            }
        }
    }
    false
}

/// A value on the tape.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    /// The value's node and everything after it.
    nodes: &'a [Node<'a>],
}

impl<'a> Value<'a> {
    /// The text, if it is one.
    pub fn as_str(self) -> Option<&'a str> {
        match self.nodes.first()? {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one that fits; a float without a fraction counts as one, since
    /// JSON has a single number type.
    pub fn as_i64(self) -> Option<i64> {
        match *self.nodes.first()? {
            Node::Static(StaticNode::I64(n)) => Some(n),
            Node::Static(StaticNode::U64(n)) => i64::try_from(n).ok(),
            Node::Static(StaticNode::F64(x)) if x.fract() == 0.0 && x.abs() < 9.0e18 => {
                Some(x as i64)
            }
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_f64(self) -> Option<f64> {
        match *self.nodes.first()? {
            Node::Static(StaticNode::F64(x)) => Some(x),
            Node::Static(StaticNode::I64(n)) => Some(n as f64),
            Node::Static(StaticNode::U64(n)) => Some(n as f64),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(self) -> Option<bool> {
        match *self.nodes.first()? {
            Node::Static(StaticNode::Bool(b)) => Some(b),
            _ => None,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        matches!(self.nodes.first(), Some(Node::Static(StaticNode::Null)))
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        matches!(self.nodes.first(), Some(Node::Object { .. }))
    }

    /// Whether it is an array.
    pub fn is_array(self) -> bool {
        matches!(self.nodes.first(), Some(Node::Array { .. }))
    }

    /// What it is, for an error message.
    pub fn type_name(self) -> &'static str {
        match self.nodes.first() {
            Some(Node::String(_)) => "text",
            Some(Node::Object { .. }) => "object",
            Some(Node::Array { .. }) => "array",
            Some(Node::Static(StaticNode::Bool(_))) => "true or false",
            Some(Node::Static(StaticNode::Null)) | None => "null",
            Some(Node::Static(_)) => "number",
        }
    }

    /// The keys and values of an object, in order; nothing if it is none.
    pub fn entries(self) -> Entries<'a> {
        match self.nodes.first() {
            Some(Node::Object { len, .. }) => Entries { rest: &self.nodes[1..], left: *len },
            _ => Entries { rest: &[], left: 0 },
        }
    }

    /// The elements of an array, in order; nothing if it is none.
    pub fn elements(self) -> Elements<'a> {
        match self.nodes.first() {
            Some(Node::Array { len, .. }) => Elements { rest: &self.nodes[1..], left: *len },
            _ => Elements { rest: &[], left: 0 },
        }
    }

    /// The value of a key of an object; the last one if the key stands there twice.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.entries().filter(|(k, _)| *k == key).last().map(|(_, v)| v)
    }

    /// The text of a key of an object.
    pub fn str_at(self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// The whole number of a key of an object.
    pub fn i64_at(self, key: &str) -> Option<i64> {
        self.get(key)?.as_i64()
    }

    /// Writes it as JSON.
    pub fn write_json(self, out: &mut String) {
        match self.nodes.first() {
            None | Some(Node::Static(StaticNode::Null)) => out.push_str("null"),
            Some(Node::String(text)) => write_text(text, out),
            Some(Node::Static(node)) => out.push_str(&node.to_string()),
            Some(Node::Object { .. }) => {
                out.push('{');
                for (i, (key, value)) in self.entries().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
            Some(Node::Array { .. }) => {
                out.push('[');
                for (i, value) in self.elements().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    value.write_json(out);
                }
                out.push(']');
            }
        }
    }

    /// The number of nodes it takes on the tape.
    fn size(self) -> usize {
        match self.nodes.first() {
            Some(Node::Object { count, .. } | Node::Array { count, .. }) => 1 + count,
            _ => 1,
        }
    }
}

/// Writes a text as a JSON string.
pub fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// The keys and values of an object.
pub struct Entries<'a> {
    rest: &'a [Node<'a>],
    left: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let (Node::String(key), rest) = self.rest.split_first()? else { return None };
        let value = Value { nodes: rest };
        self.rest = &rest[value.size()..];
        Some((key, value))
    }
}

/// The elements of an array.
pub struct Elements<'a> {
    rest: &'a [Node<'a>],
    left: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let value = Value { nodes: self.rest };
        self.rest = &self.rest[value.size()..];
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> Result<String, Reject> {
        Json::default().parse(text.as_bytes(), |value| {
            let mut out = String::new();
            value.write_json(&mut out);
            Ok(out)
        })
    }

    #[test]
    fn what_is_read_is_written_the_same() {
        for text in [
            r#"{"a":1,"b":[true,null,"x\n\"é"],"c":{"d":-2.5,"e":{}},"f":[]}"#,
            r#"[[],[[1],2],{"x":[{"y":3}]}]"#,
            "18446744073709551615",
        ] {
            assert_eq!(round_trip(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_value_is_found_by_its_key_and_the_last_one_wins() {
        let json = br#"{"a":{"x":1},"b":"first","b":"last"}"#;
        let read = |value: Value<'_>| {
            assert_eq!(value.get("a").and_then(|a| a.i64_at("x")), Some(1));
            assert_eq!(value.str_at("b"), Some("last"));
            assert!(value.get("c").is_none());
            Ok(())
        };
        Json::default().parse(json, read).expect("valid");
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_texts_do_not_count() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(round_trip(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(
            round_trip(&nested(MAX_DEPTH + 1)).expect_err("deep").reason,
            RejectReason::TooDeep
        );
        assert_eq!(round_trip(&nested(500_000)).expect_err("deep").reason, RejectReason::TooDeep);
        assert!(round_trip(&format!("[\"{}\"]", "[".repeat(1000))).is_ok());
        assert!(round_trip(&format!("[{}[]]", "[],".repeat(1000))).is_ok());
    }

    #[test]
    fn errors_name_the_byte() {
        let reject = round_trip("{\"a\":1").expect_err("cut");
        assert_eq!(reject.reason, RejectReason::NotJson);
        let reject = Json::default().parse(b"{\"a\":\"\xff\"}", |_| Ok(())).expect_err("bytes");
        assert_eq!(
            (reject.reason, reject.detail.as_str()),
            (RejectReason::NotUtf8, "byte 6 is not UTF-8")
        );
    }
}

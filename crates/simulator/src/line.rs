//! One JSON line, written byte by byte: an event of the native format without a tree or a
//! serializer in between.

use lapwing_event::time::{SECOND, format_time};

use crate::random::Id;

/// A line under construction at the end of a buffer. Keys are written as they are; values are
/// escaped.
pub(crate) struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    /// Begins an event.
    pub(crate) fn begin(out: &'a mut Vec<u8>, clock: &mut TimeText, time_us: i64, id: Id) -> Self {
        out.extend_from_slice(b"{\"time\":\"");
        clock.write(time_us, out);
        out.push(b'"');
        let mut line = Self { out };
        line.uuid("id", id);
        line
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        self.out.push(b'"');
        for byte in value.bytes() {
            if matches!(byte, b'"' | b'\\') {
                self.out.push(b'\\');
            }
            self.out.push(byte);
        }
        self.out.push(b'"');
        self
    }

    pub(crate) fn text_if(&mut self, key: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    pub(crate) fn number(&mut self, key: &str, value: u64) -> &mut Self {
        self.key(key);
        self.digits(value, 1);
        self
    }

    /// Millionths as a decimal number with six places.
    pub(crate) fn millionths(&mut self, key: &str, value: u64) -> &mut Self {
        self.key(key);
        self.digits(value / 1_000_000, 1);
        self.out.push(b'.');
        self.digits(value % 1_000_000, 6);
        self
    }

    /// A version 4 UUID (RFC 9562).
    pub(crate) fn uuid(&mut self, key: &str, id: Id) -> &mut Self {
        let (high, low) = uuid_bits(id);
        self.key(key);
        self.out.push(b'"');
        for (part, digits) in
            [(high >> 32, 8), (high >> 16, 4), (high, 4), (low >> 48, 4), (low, 12)]
        {
            if digits != 8 {
                self.out.push(b'-');
            }
            self.hex(part, digits);
        }
        self.out.push(b'"');
        self
    }

    /// 32 hexadecimal digits.
    pub(crate) fn hex32(&mut self, key: &str, id: Id) -> &mut Self {
        self.key(key);
        self.out.push(b'"');
        self.hex(id.0, 16);
        self.hex(id.1, 16);
        self.out.push(b'"');
        self
    }

    /// 16 hexadecimal digits behind a prefix.
    pub(crate) fn hex16(&mut self, key: &str, prefix: &str, id: Id) -> &mut Self {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(prefix.as_bytes());
        self.hex(id.0, 16);
        self.out.push(b'"');
        self
    }

    pub(crate) fn open(&mut self, key: &str) -> &mut Self {
        self.key(key);
        self.out.push(b'{');
        self
    }

    pub(crate) fn close(&mut self) -> &mut Self {
        self.out.push(b'}');
        self
    }

    /// Ends the event.
    pub(crate) fn end(&mut self) {
        self.out.extend_from_slice(b"}\n");
    }

    fn key(&mut self, key: &str) {
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// The lowest `digits` hexadecimal digits.
    fn hex(&mut self, value: u64, digits: u32) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for place in (0..digits).rev() {
            self.out.push(DIGITS[(value >> (4 * place) & 0xF) as usize]);
        }
    }

    fn digits(&mut self, mut value: u64, at_least: usize) {
        // 20 digits are the most a 64-bit number has.
        let mut text = [b'0'; 20];
        let mut first = text.len();
        while value > 0 || text.len() - first < at_least {
            first -= 1;
            text[first] = b'0' + (value % 10) as u8;
            value /= 10;
        }
        self.out.extend_from_slice(&text[first..]);
    }
}

/// The text that [`Line::uuid`] writes.
pub(crate) fn uuid_text(id: Id) -> String {
    let (high, low) = uuid_bits(id);
    let (first, last) = (high >> 32, low & 0xFFFF_FFFF_FFFF);
    format!(
        "{first:08x}-{:04x}-{:04x}-{:04x}-{last:012x}",
        high >> 16 & 0xFFFF,
        high & 0xFFFF,
        low >> 48
    )
}

/// The bits with version 4 and the variant of RFC 9562 set.
fn uuid_bits(id: Id) -> (u64, u64) {
    (id.0 & !0xF000 | 0x4000, id.1 & !(0b11 << 62) | 0b10 << 62)
}

/// Times as text; neighbours share their second, so it is formatted once.
pub(crate) struct TimeText {
    second: i64,
    text: String,
}

impl TimeText {
    pub(crate) fn new() -> Self {
        Self { second: i64::MIN, text: String::new() }
    }

    fn write(&mut self, time_us: i64, out: &mut Vec<u8>) {
        let second = time_us.div_euclid(SECOND);
        if second != self.second {
            self.second = second;
            self.text = format_time(second * SECOND);
        }
        let up_to_second = self.text.split('.').next().unwrap_or_default();
        out.extend_from_slice(up_to_second.as_bytes());
        let ms = time_us.rem_euclid(SECOND) / 1000;
        out.push(b'.');
        for place in [100, 10, 1] {
            out.push(b'0' + (ms / place % 10) as u8);
        }
        out.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_reads_the_same_in_a_line_and_in_a_key() {
        let id = Id(0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210);
        let mut out = Vec::new();
        Line { out: &mut out }.uuid("k", id);
        assert_eq!(uuid_text(id), "01234567-89ab-4def-bedc-ba9876543210");
        assert_eq!(String::from_utf8(out).expect("text"), format!(",\"k\":\"{}\"", uuid_text(id)));
    }

    #[test]
    fn a_line_is_the_json_it_stands_for() {
        let mut out = Vec::new();
        Line::begin(&mut out, &mut TimeText::new(), 1_795_363_273_196_000, Id(u64::MAX, 0))
            .number("zero", 0)
            .number("most", u64::MAX)
            .open("usage")
            .millionths("cost_usd", 1_020_304)
            .close()
            .text_if("none", None)
            .text("tool", r#"rg -n "a\b""#)
            .hex32("hash", Id(0xAB, 1))
            .hex16("call", "call_", Id(0xAB, 1))
            .end();
        let expected = concat!(
            r#"{"time":"2026-11-22T16:01:13.196Z","id":"ffffffff-ffff-4fff-8000-000000000000","#,
            r#""zero":0,"most":18446744073709551615,"usage":{"cost_usd":1.020304},"#,
            r#""tool":"rg -n \"a\\b\"","hash":"00000000000000ab0000000000000001","call":"call_00000000000000ab"}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}

//! The group key of an event as bytes: compact, comparable, read back for messages.

use lapwing_event::{KeyValue, hex};
use sha2::{Digest, Sha256};

const NULL: u8 = 0;
const INT: u8 = 1;
const TEXT: u8 = 2;

/// Appends a null.
pub(crate) fn write_null(out: &mut Vec<u8>) {
    out.push(NULL);
}

/// Appends a whole number.
pub(crate) fn write_int(number: i64, out: &mut Vec<u8>) {
    out.push(INT);
    out.extend_from_slice(&number.to_le_bytes());
}

/// Longest text that a key keeps whole, bytes; of a longer one it keeps the beginning and a digest,
/// so that keys are bounded and still tell different texts apart.
const MAX_TEXT_BYTES: usize = 1024;
/// What it keeps of a longer one.
const PREFIX_BYTES: usize = 256;

/// Appends a text.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    if text.len() > MAX_TEXT_BYTES {
        let ends = (0..=PREFIX_BYTES).rev().find(|end| text.is_char_boundary(*end));
        let prefix = &text[..ends.unwrap_or(0)];
        let digest = hex(&Sha256::digest(text.as_bytes()));
        return write_text(&format!("{prefix}… sha256:{digest}"), out);
    }
    out.push(TEXT);
    write_length(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a length, seven bits a byte.
fn write_length(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// The values of a key; what is damaged reads as nothing.
pub(crate) fn decode(mut bytes: &[u8]) -> Vec<KeyValue> {
    let mut values = Vec::new();
    while let Some((tag, rest)) = bytes.split_first() {
        let Some((value, rest)) = read(*tag, rest) else { return values };
        values.push(value);
        bytes = rest;
    }
    values
}

fn read(tag: u8, bytes: &[u8]) -> Option<(KeyValue, &[u8])> {
    match tag {
        NULL => Some((KeyValue::Null, bytes)),
        INT => {
            let (number, rest) = bytes.split_at_checked(8)?;
            Some((KeyValue::Int(i64::from_le_bytes(number.try_into().ok()?)), rest))
        }
        _ => {
            let (length, rest) = read_length(bytes)?;
            let (text, rest) = rest.split_at_checked(length)?;
            Some((KeyValue::Text(std::str::from_utf8(text).ok()?.into()), rest))
        }
    }
}

fn read_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0;
    for (n, byte) in bytes.iter().enumerate().take(9) {
        length |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((length, &bytes[n + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_kept_by_its_beginning_and_a_digest() {
        let written = |text: &str| {
            let mut bytes = Vec::new();
            write_text(text, &mut bytes);
            bytes
        };
        let (a, b) = ("é".repeat(100_000), "é".repeat(100_001));
        assert!(written(&a).len() < MAX_TEXT_BYTES);
        assert_ne!(written(&a), written(&b));
        assert_eq!(written(&a), written(&a.clone()));
    }

    #[test]
    fn keys_are_read_as_they_were_written() {
        let long = "x".repeat(300);
        let mut bytes = Vec::new();
        write_null(&mut bytes);
        write_int(-7, &mut bytes);
        write_text(&long, &mut bytes);
        write_text("", &mut bytes);
        let text = |t: &str| KeyValue::Text(t.into());
        assert_eq!(decode(&bytes), [KeyValue::Null, KeyValue::Int(-7), text(&long), text("")]);
        assert_eq!(decode(&bytes[..20]), [KeyValue::Null, KeyValue::Int(-7)]);
    }
}

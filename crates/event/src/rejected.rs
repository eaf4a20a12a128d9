//! A record that is not an event: kept with its reason, its position and enough of its bytes to
//! recognise it.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// Bytes of a rejected record that are kept beside its digest: enough to recognise a line.
pub const REJECTED_PREFIX_BYTES: usize = 256;

/// Why a record is not an event. The names are those in the archive and in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectReason {
    /// Not JSON.
    NotJson,
    /// JSON that ends in the middle, with the file.
    Cut,
    /// JSON, but not an object.
    NotAnObject,
    /// Longer than the limit on a record.
    TooLong,
    /// Nested deeper than the limit.
    TooDeep,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A field of the wrong type or out of range.
    WrongType,
    /// A value outside a closed list.
    UnknownValue,
    /// No time.
    NoTime,
    /// A time that cannot be read.
    BadTime,
    /// No kind.
    NoKind,
    /// JSON that is not in the format of its log.
    WrongFormat,
    /// Compressed data that cannot be read on; one record stands for the rest of the file.
    Undecodable,
    /// A Kafka record without a value.
    NoValue,
    /// Records that were gone before they could be read; one record stands for all of them.
    Lost,
}

impl RejectReason {
    /// All of them, in the order of the reports.
    pub const ALL: [Self; 15] = [
        Self::NotJson,
        Self::Cut,
        Self::NotAnObject,
        Self::TooLong,
        Self::TooDeep,
        Self::NotUtf8,
        Self::WrongType,
        Self::UnknownValue,
        Self::NoTime,
        Self::BadTime,
        Self::NoKind,
        Self::WrongFormat,
        Self::Undecodable,
        Self::NoValue,
        Self::Lost,
    ];

    /// The name in the archive and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::Cut => "cut",
            Self::NotAnObject => "not_an_object",
            Self::TooLong => "too_long",
            Self::TooDeep => "too_deep",
            Self::NotUtf8 => "not_utf8",
            Self::WrongType => "wrong_type",
            Self::UnknownValue => "unknown_value",
            Self::NoTime => "no_time",
            Self::BadTime => "bad_time",
            Self::NoKind => "no_kind",
            Self::WrongFormat => "wrong_format",
            Self::Undecodable => "undecodable",
            Self::NoValue => "no_value",
            Self::Lost => "lost",
        }
    }

    /// The reason with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.name() == name)
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A reason and what exactly was wrong, as a format reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The reason.
    pub reason: RejectReason,
    /// What exactly, for instance which field.
    pub detail: String,
}

impl Reject {
    /// A reason with its detail.
    pub fn new(reason: RejectReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// A rejected record with what is kept of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Why.
    pub reason: RejectReason,
    /// What exactly.
    pub detail: String,
    /// Its length in bytes, without the line end.
    pub size_bytes: u64,
    /// SHA-256 of its bytes; of the part that was read, if it was too long.
    pub sha256: [u8; 32],
    /// Its first [`REJECTED_PREFIX_BYTES`], with what is not printable escaped as `\xNN`.
    pub prefix: String,
}

impl RejectedRecord {
    /// Keeps what is needed of a record; `size_bytes` may exceed `bytes` if the rest was not read.
    pub fn new(reject: Reject, bytes: &[u8], size_bytes: u64) -> Self {
        Self {
            reason: reject.reason,
            detail: reject.detail,
            size_bytes,
            sha256: Sha256::digest(bytes).into(),
            prefix: printable(&bytes[..bytes.len().min(REJECTED_PREFIX_BYTES)]),
        }
    }
}

/// Text with control characters and broken UTF-8 escaped as `\xNN`.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if c.is_control() => out.extend(c.encode_utf8(&mut [0; 4]).bytes().map(escaped)),
                c => out.push(c),
            }
        }
        out.extend(chunk.invalid().iter().copied().map(escaped));
    }
    out
}

fn escaped(byte: u8) -> String {
    format!("\\x{byte:02x}")
}

/// A rejected record at its place in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedAt {
    /// Offset in the partition, from 0.
    pub offset: i64,
    /// Log time, microseconds.
    pub log_time: i64,
    /// The file it came from, if it came from one.
    pub file: Option<Arc<str>>,
    /// Its line there, from 1.
    pub line: Option<i64>,
    /// The record.
    pub record: RejectedRecord,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_short_and_printable() {
        let record =
            RejectedRecord::new(Reject::new(RejectReason::NotUtf8, ""), b"a\xff\x1b[2J\xc3\xa9", 8);
        assert_eq!(record.prefix, "a\\xff\\x1b[2Jé");
        let long = RejectedRecord::new(Reject::new(RejectReason::TooLong, ""), &[b'x'; 1000], 5000);
        assert_eq!(long.prefix.len(), REJECTED_PREFIX_BYTES);
        assert_eq!(long.size_bytes, 5000);
    }

    #[test]
    fn reasons_are_found_by_their_names() {
        for reason in RejectReason::ALL {
            assert_eq!(RejectReason::by_name(reason.name()), Some(reason));
        }
    }
}

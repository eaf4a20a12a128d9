//! Raw chunks become decoded chunks: every line of a file ends as a row of the event columns or as
//! a rejected record. Positions and digests travel with them; order and log time come later.

use std::sync::Arc;

use lapwing_event::{
    Event, EventArrays, EventColumns, FieldId, Reject, RejectReason, RejectedRecord,
};
use memchr::{memchr, memrchr};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::format::{Format, recognise_format};
use crate::json::Json;

/// The longest record by default, 1 MiB: far above the longest audit record seen (some 60 KiB).
pub const DEFAULT_MAX_RECORD_BYTES: usize = 1 << 20;

/// The format of records as long as none is known.
const UNKNOWN_FORMAT: &str = "unknown";

/// The byte order mark that some editors write at the start of UTF-8 files.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Which records are kept as they were read, in the field `raw`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepRaw {
    /// None.
    None,
    /// Those of formats whose events do not hold all of their record.
    #[default]
    Unmapped,
    /// All.
    All,
}

/// How records are decoded.
#[derive(Debug, Clone, Copy)]
pub struct DecodeOptions {
    /// The longest record, bytes without the line end; longer ones are rejected as `too_long`.
    pub max_record_bytes: usize,
    /// Which records are kept as they were read.
    pub keep_raw: KeepRaw,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { max_record_bytes: DEFAULT_MAX_RECORD_BYTES, keep_raw: KeepRaw::default() }
    }
}

/// How the last line of a raw chunk ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// With a line end, as all others.
    LineEnd,
    /// With the file, without a line end.
    EndOfFile,
    /// It is longer than a record may be; only its first bytes are here.
    TooLong {
        /// Its whole length, without the line end.
        size_bytes: u64,
    },
    /// Here the compressed data broke off; this is what there was of the line.
    Undecodable {
        /// What the decoder said.
        error: String,
    },
}

/// Whole lines of one file.
pub struct RawChunk {
    /// The lines with their line ends; the last one as `tail` says.
    pub bytes: Vec<u8>,
    /// The name of the file in records.
    pub file: Arc<str>,
    /// The line number of the first line, from 1.
    pub first_line: i64,
    /// How the last line ends.
    pub tail: Tail,
    /// The format of the log.
    pub format: &'static dyn Format,
}

/// Records that stand by themselves, as a message broker hands them out.
#[derive(Debug, Default)]
pub struct RawBatch {
    /// Their values, one after the other.
    pub bytes: Vec<u8>,
    /// What is known of each, by ascending offset.
    pub records: Vec<RawRecord>,
}

/// One record of a raw batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its timestamp there.
    pub timestamp: Timestamp,
    /// Its value, as a range of the bytes of its batch; `None` if it has none.
    pub value: Option<(u32, u32)>,
}

/// When a record was written, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamp {
    /// As the broker says, who appended it.
    Appended(i64),
    /// As the producer says.
    Created(i64),
    /// Nobody says.
    Unknown,
}

impl RawBatch {
    /// Appends a record; its bytes count towards the 4 GiB that a batch may have at most.
    pub fn push(&mut self, offset: i64, timestamp: Timestamp, value: Option<&[u8]>) {
        let value = value.map(|value| {
            let start = self.bytes.len() as u32;
            self.bytes.extend_from_slice(value);
            (start, self.bytes.len() as u32)
        });
        self.records.push(RawRecord { offset, timestamp, value });
    }

    /// Appends the records of a later batch.
    pub fn append(&mut self, later: &Self) {
        let base = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&later.bytes);
        self.records.extend(later.records.iter().map(|record| RawRecord {
            value: record.value.map(|(start, end)| (start + base, end + base)),
            ..*record
        }));
    }

    /// The value of a record.
    pub fn value(&self, record: &RawRecord) -> Option<&[u8]> {
        record.value.map(|(start, end)| &self.bytes[start as usize..end as usize])
    }
}

/// Where the records of a chunk stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Places {
    /// In the lines of a file, from 1; their offsets are counted later.
    Lines {
        /// The name of the file in records.
        file: Arc<str>,
        /// The line of each record.
        lines: Vec<i64>,
    },
    /// At these offsets of their partition.
    Offsets(Vec<i64>),
}

/// The records of a raw chunk. A record is a line that is not blank; records count from 0.
#[derive(Debug)]
pub struct DecodedChunk {
    /// The events as columns.
    pub events: EventArrays,
    /// The record that each event is, ascending.
    pub record_of_event: Vec<u32>,
    /// The rejected records with their index, ascending.
    pub rejected: Vec<(u32, RejectedRecord)>,
    /// Where each record stands.
    pub places: Places,
    /// The digest of the bytes of each record.
    pub digests: Vec<u64>,
    /// Lines of white space alone; they are no records.
    pub blank_lines: u64,
    /// The name of the format.
    pub format: &'static str,
}

impl DecodedChunk {
    /// The number of records.
    pub fn records(&self) -> usize {
        self.digests.len()
    }
}

/// Decodes chunks; one per thread, its buffers are used again.
#[derive(Default)]
pub struct Decoder {
    json: Json,
    event: Event,
    columns: EventColumns,
    options: DecodeOptions,
}

impl Decoder {
    /// A decoder with these options.
    pub fn new(options: DecodeOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Decodes every line of a chunk.
    pub fn decode(&mut self, raw: &RawChunk) -> DecodedChunk {
        let mut records = Records::default();
        let (whole, last) = split_tail(raw);
        let mut rest = whole;
        let mut line = raw.first_line;
        while let Some(end) = memchr(b'\n', rest) {
            self.decode_line(raw, &rest[..end], line, &mut records);
            rest = &rest[end + 1..];
            line += 1;
        }
        self.decode_last(raw, last, line, &mut records);
        DecodedChunk {
            events: self.columns.finish(),
            record_of_event: records.of_event,
            rejected: records.rejected,
            places: Places::Lines { file: raw.file.clone(), lines: records.numbers },
            digests: records.digests,
            blank_lines: records.blank_lines,
            format: raw.format.info().name,
        }
    }

    /// Decodes every record of a batch. As long as no format is given, the first record that looks
    /// like one decides; what comes before it is rejected.
    pub fn decode_batch(
        &mut self,
        raw: &RawBatch,
        format: &mut Option<&'static dyn Format>,
    ) -> DecodedChunk {
        let mut records = Records::default();
        for record in &raw.records {
            let number = record.offset;
            let Some(value) = raw.value(record) else {
                let reject = Reject::new(RejectReason::NoValue, "a record without a value");
                records.reject(number, xxh3_64(&[]), reject, &[]);
                continue;
            };
            if format.is_none() && value.len() <= self.options.max_record_bytes {
                *format = recognise_format(&[value], &mut self.json);
            }
            self.decode_value(value, *format, number, &mut records);
        }
        DecodedChunk {
            events: self.columns.finish(),
            record_of_event: records.of_event,
            rejected: records.rejected,
            places: Places::Offsets(records.numbers),
            digests: records.digests,
            blank_lines: 0,
            format: format.map_or(UNKNOWN_FORMAT, |format| format.info().name),
        }
    }

    fn decode_value(
        &mut self,
        value: &[u8],
        format: Option<&'static dyn Format>,
        number: i64,
        records: &mut Records,
    ) {
        if value.len() > self.options.max_record_bytes {
            self.reject_long(value, value.len() as u64, number, records);
            return;
        }
        let decoded = match format {
            Some(format) => self.decode_record(format, value),
            None => Err(Reject::new(
                RejectReason::WrongFormat,
                "no record so far is in a format that is known; name the format of the source",
            )),
        };
        match decoded {
            Ok(()) => records.event(number, xxh3_64(value)),
            Err(reject) => records.reject(number, xxh3_64(value), reject, value),
        }
    }

    fn decode_line(&mut self, raw: &RawChunk, line: &[u8], number: i64, records: &mut Records) {
        let record = without_return(line);
        if is_blank(record) {
            records.blank_lines += 1;
            return;
        }
        if record.len() > self.options.max_record_bytes {
            self.reject_long(record, record.len() as u64, number, records);
            return;
        }
        match self.decode_record(raw.format, record) {
            Ok(()) => records.event(number, xxh3_64(record)),
            Err(reject) => records.reject(number, xxh3_64(record), reject, record),
        }
    }

    fn decode_record(&mut self, format: &dyn Format, record: &[u8]) -> Result<(), Reject> {
        self.event.clear();
        format.decode(record, &mut self.json, &mut self.event)?;
        let is_kept = match self.options.keep_raw {
            KeepRaw::None => false,
            KeepRaw::Unmapped => !format.info().is_lossless,
            KeepRaw::All => true,
        };
        if is_kept {
            self.event.set_text_if(FieldId::Raw, std::str::from_utf8(record).ok());
        }
        self.columns.push(&self.event)
    }

    /// The last line, if it has no line end.
    fn decode_last(&mut self, raw: &RawChunk, last: &[u8], number: i64, records: &mut Records) {
        match &raw.tail {
            Tail::LineEnd => {}
            Tail::EndOfFile if last.is_empty() => {}
            Tail::EndOfFile => {
                let before = records.rejected.len();
                self.decode_line(raw, last, number, records);
                if let Some((_, rejected)) = records.rejected.get_mut(before)
                    && is_cut(rejected.reason, last)
                {
                    rejected.reason = RejectReason::Cut;
                    rejected.detail.insert_str(0, "the file ends in the middle of the record: ");
                }
            }
            Tail::TooLong { size_bytes } => self.reject_long(last, *size_bytes, number, records),
            Tail::Undecodable { error } => {
                let detail = format!("the rest of {} cannot be decoded: {error}", raw.file);
                let reject = Reject::new(RejectReason::Undecodable, detail);
                records.reject(number, xxh3_64(last), reject, last);
            }
        }
    }

    /// Keeps the same of a long record wherever it was noticed: its first bytes and its length.
    fn reject_long(&self, record: &[u8], size_bytes: u64, number: i64, records: &mut Records) {
        let max = self.options.max_record_bytes;
        let kept = &record[..record.len().min(max)];
        let detail = format!("{size_bytes} bytes; a record may have {max} (max_record_bytes)");
        records.push(number, xxh3_64_with_seed(kept, size_bytes));
        let reject = Reject::new(RejectReason::TooLong, detail);
        records.push_rejected(RejectedRecord::new(reject, kept, size_bytes));
    }
}

/// What is gathered about the records of a chunk beside the columns.
#[derive(Default)]
struct Records {
    of_event: Vec<u32>,
    rejected: Vec<(u32, RejectedRecord)>,
    /// The line of each record, or its offset.
    numbers: Vec<i64>,
    digests: Vec<u64>,
    blank_lines: u64,
}

impl Records {
    fn push(&mut self, number: i64, digest: u64) {
        self.numbers.push(number);
        self.digests.push(digest);
    }

    fn event(&mut self, number: i64, digest: u64) {
        self.of_event.push(self.numbers.len() as u32);
        self.push(number, digest);
    }

    fn reject(&mut self, number: i64, digest: u64, reject: Reject, record: &[u8]) {
        self.push(number, digest);
        self.push_rejected(RejectedRecord::new(reject, record, record.len() as u64));
    }

    fn push_rejected(&mut self, record: RejectedRecord) {
        self.rejected.push((self.numbers.len() as u32 - 1, record));
    }
}

/// The lines with a line end, and the last one without; a byte order mark belongs to neither.
fn split_tail(raw: &RawChunk) -> (&[u8], &[u8]) {
    let bytes = match raw.first_line {
        1 => raw.bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&raw.bytes),
        _ => &raw.bytes,
    };
    match raw.tail {
        Tail::LineEnd => (bytes, &[]),
        _ => bytes.split_at(memrchr(b'\n', bytes).map_or(0, |end| end + 1)),
    }
}

/// The lines of a chunk that are records, for recognition.
pub(crate) fn records_of(raw: &RawChunk) -> impl Iterator<Item = &[u8]> {
    let (whole, last) = split_tail(raw);
    let lines = whole.split(|byte| *byte == b'\n').chain([last]);
    lines.map(without_return).filter(|record| !is_blank(record))
}

/// Lines may end as on Windows.
fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn is_blank(record: &[u8]) -> bool {
    record.first().is_none_or(u8::is_ascii_whitespace) && record.trim_ascii().is_empty()
}

/// Whether a broken last line looks as if the writer was interrupted.
fn is_cut(reason: RejectReason, record: &[u8]) -> bool {
    match reason {
        RejectReason::NotJson => true,
        RejectReason::NotUtf8 => {
            std::str::from_utf8(record).is_err_and(|error| error.error_len().is_none())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::format_by_name;

    fn decode(bytes: &[u8], tail: Tail, options: DecodeOptions) -> DecodedChunk {
        let format = format_by_name("native").expect("exists");
        let raw =
            RawChunk { bytes: bytes.into(), file: "x.log".into(), first_line: 1, tail, format };
        Decoder::new(options).decode(&raw)
    }

    fn event(id: &str) -> String {
        format!(r#"{{"time":"2026-11-22T16:01:13Z","kind":"tool","id":"{id}"}}"#)
    }

    fn reasons(chunk: &DecodedChunk) -> Vec<(u32, RejectReason)> {
        chunk.rejected.iter().map(|(index, r)| (*index, r.reason)).collect()
    }

    #[test]
    fn line_ends_blank_lines_and_a_byte_order_mark_do_not_matter() {
        let text = format!("\u{feff}{}\r\n\r\n \t\n{}", event("a"), event("b"));
        let chunk = decode(text.as_bytes(), Tail::EndOfFile, DecodeOptions::default());
        assert_eq!((chunk.records(), chunk.events.rows, chunk.blank_lines), (2, 2, 2));
        let lines = vec![1, 4];
        assert_eq!(chunk.places, Places::Lines { file: "x.log".into(), lines });
        assert_eq!(chunk.digests[0], xxh3_64(event("a").as_bytes()));
    }

    #[test]
    fn a_line_that_ends_with_the_file_is_cut_only_if_it_is_broken() {
        for broken in [&event("b").as_bytes()[..20], b"{\"id\":\"\xc3"] {
            let mut text = format!("{}\n", event("a")).into_bytes();
            text.extend_from_slice(broken);
            let chunk = decode(&text, Tail::EndOfFile, DecodeOptions::default());
            assert_eq!(reasons(&chunk), [(1, RejectReason::Cut)]);
            assert_eq!(chunk.rejected[0].1.size_bytes, broken.len() as u64);
        }
    }

    #[test]
    fn a_long_record_leaves_the_same_wherever_it_was_noticed() {
        let options = DecodeOptions { max_record_bytes: 100, ..DecodeOptions::default() };
        let long = format!("{{\"id\":\"{}\"}}", "x".repeat(500));
        let whole = decode(format!("{long}\r\n").as_bytes(), Tail::LineEnd, options);
        let size_bytes = long.len() as u64;
        let part = decode(&long.as_bytes()[..100], Tail::TooLong { size_bytes }, options);
        assert_eq!(reasons(&whole), [(0, RejectReason::TooLong)]);
        assert_eq!((whole.rejected, whole.digests), (part.rejected, part.digests));
    }

    #[test]
    fn raw_is_kept_as_asked() {
        let kept = |keep_raw| {
            let options = DecodeOptions { keep_raw, ..DecodeOptions::default() };
            let chunk = decode(event("a").as_bytes(), Tail::EndOfFile, options);
            chunk.events.arrays[FieldId::Raw.index()].null_count() == 0
        };
        assert!(kept(KeepRaw::All));
        assert!(!kept(KeepRaw::Unmapped), "a native event holds all of its record");
        assert!(!kept(KeepRaw::None));
    }

    #[test]
    fn what_cannot_be_decoded_is_one_record_even_if_nothing_is_left_of_it() {
        let tail = Tail::Undecodable { error: "corrupt deflate stream".into() };
        let chunk = decode(format!("{}\n", event("a")).as_bytes(), tail, DecodeOptions::default());
        assert_eq!(reasons(&chunk), [(1, RejectReason::Undecodable)]);
        assert!(chunk.rejected[0].1.detail.contains("x.log"));
    }
}

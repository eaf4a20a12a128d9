//! Formats: how one record becomes one event, without memory of the records before it.
//!
//! A format is one file in `format/` and one line in [`FORMATS`].

mod native;
mod openclaw;
mod openclaw_diagnostic;
mod openclaw_gateway;

use std::fmt;

use lapwing_event::{Event, FieldId, Reject};

use crate::json::Json;

/// Every format, in the order in which they are tried on a log of unknown format.
pub static FORMATS: &[&dyn Format] = &[
    &native::Native,
    &openclaw_gateway::OpenClawGateway,
    &openclaw_diagnostic::OpenClawDiagnostic,
];

/// A format of records.
pub trait Format: Sync {
    /// What it is and what it can show.
    fn info(&self) -> &'static FormatInfo;

    /// Whether this record looks like one of the format. It decides on the strength of keys that
    /// other formats do not have; a record that is broken is none.
    fn recognise(&self, record: &[u8], json: &mut Json) -> bool;

    /// Normalises one record into an empty event.
    ///
    /// # Errors
    /// The reason why the record is not an event. The caller checks that time and kind are set and
    /// that values of closed lists are in their lists.
    fn decode(&self, record: &[u8], json: &mut Json, event: &mut Event) -> Result<(), Reject>;
}

impl fmt::Debug for dyn Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().name)
    }
}

/// What a format is and what it can show, for recognition, help and the coverage report.
#[derive(Debug)]
pub struct FormatInfo {
    /// Its name in configuration and reports.
    pub name: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// The kinds of event that it can give, each with all the fields that may be set on it.
    pub shapes: &'static [Shape],
    /// What it can never show, whatever happens.
    pub blind_spots: &'static [BlindSpot],
    /// Whether an event holds all of its record; if not, the record is kept in `raw`.
    pub is_lossless: bool,
}

/// One kind of event that a format can give. Time and kind are always set.
#[derive(Debug)]
pub struct Shape {
    /// The kind.
    pub kind: &'static str,
    /// The action; `None` if it is not set.
    pub action: Option<&'static str>,
    /// The outcomes it can have; empty if it has none.
    pub outcomes: &'static [&'static str],
    /// The reason codes it can have; empty if it has none.
    pub reasons: &'static [&'static str],
    /// Other fields that may be set.
    pub fields: &'static [FieldId],
}

/// Something that the records of a format never tell.
#[derive(Debug)]
pub struct BlindSpot {
    /// What is not seen.
    pub what: &'static str,
    /// What to read in addition.
    pub add: &'static str,
}

/// The format with this name.
pub fn format_by_name(name: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|f| f.info().name == name)
}

/// The format that most of these records look like, if any does.
///
/// The records are the first of a log, so that a broken line or two do not decide.
pub fn recognise_format(records: &[&[u8]], json: &mut Json) -> Option<&'static dyn Format> {
    let votes = |format: &dyn Format, json: &mut Json| {
        records.iter().filter(|record| format.recognise(record, json)).count()
    };
    let mut best: Option<(&'static dyn Format, usize)> = None;
    for format in FORMATS.iter().copied() {
        let count = votes(format, json);
        if count > best.map_or(0, |(_, most)| most) {
            best = Some((format, count));
        }
    }
    best.map(|(format, _)| format)
}

//! Decides in which format a log is, from its first records, before any of it is decoded.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::discover::Log;
use super::lines::{Cut, LineCutter};
use super::log_stream::open_file;
use super::looks_like::looks_like;
use super::{RefusedLog, SourceError};
use crate::decode::{RawChunk, records_of};
use crate::format::{FORMATS, Format, recognise_format};
use crate::json::Json;

/// Records that decide the format of a log: a broken line or two do not.
pub(crate) const PROBE_RECORDS: usize = 64;

/// Bytes after which fewer records decide, since a file may be one long line.
pub(crate) const PROBE_BYTES: usize = 1 << 20;

/// Bytes read at a time.
const PROBE_CHUNK_BYTES: usize = 64 << 10;

/// Bytes that say what an unknown file seems to be.
const HEAD_BYTES: usize = 512;

/// A log whose format is known.
pub(crate) struct Recognised {
    /// Its format.
    pub(crate) format: &'static dyn Format,
    /// What was read of a stream, which can be read only once.
    pub(crate) begun: Option<Begun>,
}

/// A stream of which the beginning was read.
pub(crate) struct Begun {
    /// The chunks read so far.
    pub(crate) chunks: Vec<RawChunk>,
    /// The rest.
    pub(crate) rest: LineCutter,
}

/// The format of a log: the given one, or the one that most of its first records are in. A log
/// without records is in the first format of all.
///
/// # Errors
/// A file that cannot be read. The inner error: no format recognises the log.
pub(crate) fn recognise_log(
    log: &Log,
    forced: Option<&'static dyn Format>,
    max_record_bytes: usize,
    bytes_read: &Arc<AtomicU64>,
    json: &mut Json,
) -> Result<Result<Recognised, RefusedLog>, SourceError> {
    if let Some(format) = forced {
        return Ok(Ok(Recognised { format, begun: None }));
    }
    for file in &log.files {
        // What is read twice is counted once.
        let counter = if file.is_stream { Arc::clone(bytes_read) } else { Arc::default() };
        let mut cutter = open_file(file, &counter)?;
        let cut = Cut {
            chunk_bytes: PROBE_CHUNK_BYTES,
            max_record_bytes,
            file: &file.name,
            format: FORMATS[0],
        };
        let mut chunks = probe(&mut cutter, cut).map_err(|e| SourceError::read(&file.path, e))?;
        let verdict = verdict(&log.name, &chunks, json);
        if !file.is_stream {
            match verdict {
                Some(verdict) => {
                    return Ok(verdict.map(|format| Recognised { format, begun: None }));
                }
                None => continue,
            }
        }
        return Ok(verdict.unwrap_or(Ok(FORMATS[0])).map(|format| {
            chunks.iter_mut().for_each(|chunk| chunk.format = format);
            Recognised { format, begun: Some(Begun { chunks, rest: cutter }) }
        }));
    }
    Ok(Ok(Recognised { format: FORMATS[0], begun: None }))
}

/// The chunks of a file that hold its first records.
pub(crate) fn probe(cutter: &mut LineCutter, cut: Cut<'_>) -> std::io::Result<Vec<RawChunk>> {
    let mut chunks = Vec::new();
    let (mut records, mut bytes) = (0, 0);
    while records < PROBE_RECORDS && bytes < PROBE_BYTES {
        let Some(chunk) = cutter.next_chunk(cut)? else { break };
        records += records_of(&chunk).count();
        bytes += chunk.bytes.len();
        chunks.push(chunk);
    }
    Ok(chunks)
}

/// The format of the first records; `None` if there are none.
pub(crate) fn verdict(
    log: &str,
    chunks: &[RawChunk],
    json: &mut Json,
) -> Option<Result<&'static dyn Format, RefusedLog>> {
    let records: Vec<&[u8]> = chunks.iter().flat_map(records_of).take(PROBE_RECORDS).collect();
    let (first, _) = records.split_first()?;
    Some(recognise_format(&records, json).ok_or_else(|| {
        let head = chunks.first().map_or(&[][..], |chunk| &chunk.bytes);
        let head = &head[..head.len().min(HEAD_BYTES)];
        RefusedLog { name: log.into(), looks_like: looks_like(head, first, json) }
    }))
}

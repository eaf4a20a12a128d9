//! One log as a stream of timed chunks: its files are opened one after the other, cut, decoded by
//! the workers, and given their log times.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::SourceError;
use super::discover::{LogFile, STDIN};
use super::lines::{Cut, LineCutter};
use super::log_time::{LogTimer, TimedChunk};
use super::reader;
use super::recognise::Begun;
use super::workers::{Pending, Workers};
use crate::decode::RawChunk;
use crate::format::Format;

/// A log that is being read.
pub(crate) struct LogStream {
    files: VecDeque<LogFile>,
    current: Option<(LogFile, LineCutter)>,
    /// Chunks that were read before the format was known.
    begun: VecDeque<RawChunk>,
    format: &'static dyn Format,
    max_record_bytes: usize,
    bytes_read: Arc<AtomicU64>,
    pending: VecDeque<Pending>,
    timer: LogTimer,
}

/// How far a log is read ahead.
#[derive(Clone, Copy)]
pub(crate) struct ReadAhead {
    /// Chunks in the hands of the workers, at least 1.
    pub(crate) chunks: usize,
    /// The size of a chunk aimed at, bytes.
    pub(crate) chunk_bytes: usize,
}

/// Opens a file of a log for cutting.
///
/// # Errors
/// The file cannot be opened.
pub(crate) fn open_file(
    file: &LogFile,
    bytes_read: &Arc<AtomicU64>,
) -> Result<LineCutter, SourceError> {
    let reader = match file.path.to_str() {
        Some(STDIN) => reader::decompressed(io::stdin(), bytes_read),
        _ => reader::open(&file.path, bytes_read),
    };
    Ok(LineCutter::new(reader.map_err(|error| SourceError::open(&file.path, error))?))
}

impl LogStream {
    /// A stream over files, of which the first may have been begun.
    pub(crate) fn new(
        files: &[LogFile],
        format: &'static dyn Format,
        begun: Option<Begun>,
        max_record_bytes: usize,
        bytes_read: Arc<AtomicU64>,
    ) -> Self {
        let mut files: VecDeque<LogFile> = files.iter().cloned().collect();
        let (begun, current) = match begun {
            None => (VecDeque::new(), None),
            Some(Begun { chunks, rest }) => {
                (chunks.into(), files.pop_front().map(|file| (file, rest)))
            }
        };
        Self {
            files,
            current,
            begun,
            format,
            max_record_bytes,
            bytes_read,
            pending: VecDeque::new(),
            timer: LogTimer::default(),
        }
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// A file cannot be opened or read on.
    pub(crate) fn next_chunk(
        &mut self,
        workers: &mut Workers,
        ahead: ReadAhead,
    ) -> Result<Option<TimedChunk>, SourceError> {
        loop {
            if let Some(chunk) = self.timer.pop() {
                return Ok(Some(chunk));
            }
            while self.pending.len() < ahead.chunks {
                let Some(raw) = self.next_raw(ahead.chunk_bytes)? else { break };
                self.pending.push_back(workers.submit(raw));
            }
            match self.pending.pop_front() {
                Some(pending) => self.timer.push(workers.wait(pending)),
                None => {
                    self.timer.end();
                    return Ok(self.timer.pop());
                }
            }
        }
    }

    fn next_raw(&mut self, chunk_bytes: usize) -> Result<Option<RawChunk>, SourceError> {
        if let Some(chunk) = self.begun.pop_front() {
            return Ok(Some(chunk));
        }
        loop {
            if self.current.is_none() {
                let Some(file) = self.files.pop_front() else { return Ok(None) };
                let cutter = open_file(&file, &self.bytes_read)?;
                self.current = Some((file, cutter));
            }
            let Some((file, cutter)) = &mut self.current else { continue };
            let cut = Cut {
                chunk_bytes,
                max_record_bytes: self.max_record_bytes,
                file: &file.name,
                format: self.format,
            };
            let chunk = cutter.next_chunk(cut).map_err(|e| SourceError::read(&file.path, e))?;
            match chunk {
                Some(chunk) => return Ok(Some(chunk)),
                None => self.current = None,
            }
        }
    }
}

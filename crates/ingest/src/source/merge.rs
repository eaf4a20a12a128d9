//! Several logs become one order: the record with the smallest log time first, ties by the name of
//! the log, then the order within it. What comes out are stretches of records of one chunk, as long
//! as no other log has anything to say.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::SourceError;
use super::discover::Log;
use super::log_stream::{LogStream, ReadAhead};
use super::log_time::TimedChunk;
use super::recognise::Recognised;
use super::workers::Workers;

/// Chunks of all open logs together, bytes: it bounds what is held beside the decoded chunks.
const OPEN_BYTES: usize = 32 << 20;

/// The smallest chunk of many open logs, bytes: a few hundred records.
const MIN_CHUNK_BYTES: usize = 64 << 10;

/// Logs that stay open after their beginning was read; of more, each is closed again until its
/// time comes.
const KEPT_OPEN: usize = 16;

/// Logs that are read together.
pub(crate) struct Merge {
    /// By name.
    logs: Vec<MergedLog>,
    /// The log time of the next record of each log that has one.
    heads: BinaryHeap<Reverse<(i64, usize)>>,
    open: usize,
    workers: Workers,
    options: MergeOptions,
    /// The smallest log time of all; also that of records before which no event says a time.
    pub(crate) first_log_time: i64,
    /// Lines of white space alone, in the chunks handed out.
    pub(crate) blank_lines: u64,
}

/// How logs are read together.
pub(crate) struct MergeOptions {
    /// The largest chunk, bytes.
    pub(crate) chunk_bytes: usize,
    /// The longest record, bytes.
    pub(crate) max_record_bytes: usize,
    /// Counts what is read.
    pub(crate) bytes_read: Arc<AtomicU64>,
}

struct MergedLog {
    log: Log,
    recognised: Recognised,
    open: Option<OpenLog>,
}

struct OpenLog {
    stream: LogStream,
    chunk: Arc<TimedChunk>,
    /// The next record of the chunk.
    next: usize,
}

/// Records of one chunk that stand together.
pub(crate) struct Piece {
    pub(crate) chunk: Arc<TimedChunk>,
    pub(crate) records: Range<usize>,
}

impl Merge {
    /// Reads the beginning of every log; the logs are sorted by name.
    ///
    /// # Errors
    /// A file cannot be opened or read.
    pub(crate) fn new(
        logs: Vec<(Log, Recognised)>,
        workers: Workers,
        options: MergeOptions,
    ) -> Result<Self, SourceError> {
        let logs = logs.into_iter();
        let logs: Vec<_> =
            logs.map(|(log, recognised)| MergedLog { log, recognised, open: None }).collect();
        let mut merge = Self {
            open: logs.len().min(KEPT_OPEN),
            logs,
            heads: BinaryHeap::new(),
            workers,
            options,
            first_log_time: i64::MAX,
            blank_lines: 0,
        };
        merge.begin()?;
        Ok(merge)
    }

    fn begin(&mut self) -> Result<(), SourceError> {
        let mut firsts = Vec::new();
        for index in 0..self.logs.len() {
            let is_stream = self.logs[index].recognised.begun.is_some();
            let keeps = is_stream || self.logs.len() <= KEPT_OPEN;
            let bytes_read = if keeps { self.options.bytes_read.clone() } else { Arc::default() };
            let ahead = if keeps { self.read_ahead() } else { self.least_ahead() };
            let (open, blank_lines) = self.open(index, bytes_read, ahead)?;
            // Of a log that is opened again, they are counted then.
            if keeps || open.is_none() {
                self.blank_lines += blank_lines;
            }
            let Some(open) = open else { continue };
            firsts.push((open.chunk.log_times[0], index));
            if keeps {
                self.logs[index].open = Some(open);
            }
        }
        self.open = self.logs.iter().filter(|log| log.open.is_some()).count();
        let known = firsts.iter().map(|(time, _)| *time).filter(|time| *time != i64::MIN);
        self.first_log_time = known.min().unwrap_or(0);
        self.heads = firsts
            .into_iter()
            .map(|(time, index)| Reverse((time.max(self.first_log_time), index)))
            .collect();
        Ok(())
    }

    /// Opens a log at its first record, `None` if it has none; with the blank lines of the chunks
    /// passed over.
    fn open(
        &mut self,
        index: usize,
        bytes_read: Arc<AtomicU64>,
        ahead: ReadAhead,
    ) -> Result<(Option<OpenLog>, u64), SourceError> {
        let max_record_bytes = self.options.max_record_bytes;
        let log = &mut self.logs[index];
        let begun = log.recognised.begun.take();
        let format = log.recognised.format;
        let files = &log.log.files;
        let mut stream = LogStream::new(files, format, begun, max_record_bytes, bytes_read);
        let mut blank_lines = 0;
        while let Some(chunk) = stream.next_chunk(&mut self.workers, ahead)? {
            if chunk.chunk.records() > 0 {
                let open = OpenLog { stream, chunk: Arc::new(chunk), next: 0 };
                return Ok((Some(open), blank_lines));
            }
            blank_lines += chunk.chunk.blank_lines;
        }
        Ok((None, blank_lines))
    }

    /// Opens a log again at its first record, which had this log time when the log was first read.
    fn reopen(&mut self, index: usize, time: i64) -> Result<(), SourceError> {
        self.open += 1;
        let bytes_read = self.options.bytes_read.clone();
        let (open, blank_lines) = self.open(index, bytes_read, self.read_ahead())?;
        self.blank_lines += blank_lines;
        let is_same = |o: &OpenLog| o.chunk.log_times[0].max(self.first_log_time) == time;
        if !open.as_ref().is_some_and(is_same) {
            return Err(SourceError::Changed { log: self.logs[index].log.name.clone() });
        }
        self.logs[index].open = open;
        Ok(())
    }

    fn read_ahead(&self) -> ReadAhead {
        let open = self.open.max(1);
        let chunks = self.workers.depth().div_ceil(open);
        let share = OPEN_BYTES / open / chunks;
        let least = self.least_ahead().chunk_bytes;
        ReadAhead { chunks, chunk_bytes: share.clamp(least, self.options.chunk_bytes) }
    }

    /// Enough to see the first record of a log.
    fn least_ahead(&self) -> ReadAhead {
        ReadAhead { chunks: 1, chunk_bytes: MIN_CHUNK_BYTES.min(self.options.chunk_bytes) }
    }

    /// The next records in order, at most `max_records` (at least 1); `None` at the end.
    ///
    /// # Errors
    /// A file cannot be opened or read on.
    pub(crate) fn next_piece(&mut self, max_records: usize) -> Result<Option<Piece>, SourceError> {
        let Some(Reverse((time, index))) = self.heads.pop() else { return Ok(None) };
        if self.logs[index].open.is_none() {
            self.reopen(index, time)?;
        }
        let limit = self.heads.peek().map_or((i64::MAX, usize::MAX), |head| head.0);
        let first_log_time = self.first_log_time;
        let Some(open) = &mut self.logs[index].open else { return Ok(None) };
        let rest = &open.chunk.log_times[open.next..];
        let rest = &rest[..rest.len().min(max_records)];
        // At least 1, since the head is the smallest.
        let count = rest.partition_point(|time| ((*time).max(first_log_time), index) < limit);
        let piece = Piece { chunk: open.chunk.clone(), records: open.next..open.next + count };
        open.next += count;
        self.put_back(index)?;
        Ok(Some(piece))
    }

    /// Puts a log back with its next record, reading on if its chunk is used up.
    fn put_back(&mut self, index: usize) -> Result<(), SourceError> {
        let ahead = self.read_ahead();
        let log = &mut self.logs[index];
        let Some(open) = &mut log.open else { return Ok(()) };
        while open.next == open.chunk.chunk.records() {
            self.blank_lines += open.chunk.chunk.blank_lines;
            match open.stream.next_chunk(&mut self.workers, ahead)? {
                Some(chunk) => (open.chunk, open.next) = (Arc::new(chunk), 0),
                None => {
                    log.open = None;
                    self.open -= 1;
                    return Ok(());
                }
            }
        }
        let time = open.chunk.log_times[open.next].max(self.first_log_time);
        self.heads.push(Reverse((time, index)));
        Ok(())
    }
}

//! Replays files: every record of every log once, in the order of log time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lapwing_event::time::MINUTE;
use lapwing_event::{LogTimeOrigin, Partition, Split};

use super::assemble::{BatchBuilder, Stamp};
use super::discover::discover;
use super::merge::{Merge, MergeOptions, Piece};
use super::recognise::recognise_log;
use super::workers::Workers;
use super::{Next, Source, SourceError, SourceStats};
use crate::decode::DecodeOptions;
use crate::format::Format;
use crate::json::Json;

/// The partition of a source of files.
pub(crate) const FILE_PARTITION: &str = "0";

/// A batch that is one piece of a chunk is handed out without copying once it has this part of
/// the rows of a full one.
const ZERO_COPY_PART: usize = 8;

/// How files are replayed.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// The id of the source.
    pub source_id: Arc<str>,
    /// The format of all logs; `None` to recognise each.
    pub format: Option<&'static dyn Format>,
    /// How records are decoded.
    pub decode: DecodeOptions,
    /// Threads that decode, beside the one that reads; 0 to decode there.
    pub threads: usize,
    /// The most records of a batch, at least 1. A batch may have fewer.
    pub batch_rows: usize,
    /// The size of the chunks a file is cut into, bytes; smaller where many logs are open.
    pub chunk_bytes: usize,
    /// The offset of the first record.
    pub first_offset: i64,
    /// How far a time may be ahead of log time without being flagged, microseconds.
    pub max_future_skew: i64,
    /// Records with a smaller log time are passed over; they keep their offsets. Microseconds.
    pub since: Option<i64>,
    /// The source ends before the first record with this log time or a greater one. Microseconds.
    pub until: Option<i64>,
}

impl ReplayOptions {
    /// The defaults: formats are recognised, batches of 8192 records, chunks of 1 MiB.
    pub fn new(source_id: impl Into<Arc<str>>) -> Self {
        Self {
            source_id: source_id.into(),
            format: None,
            decode: DecodeOptions::default(),
            threads: 0,
            batch_rows: 8192,
            chunk_bytes: 1 << 20,
            first_offset: 0,
            max_future_skew: MINUTE,
            since: None,
            until: None,
        }
    }
}

/// Files that are replayed.
pub struct ReplaySource {
    merge: Merge,
    options: ReplayOptions,
    partition: Arc<Partition>,
    builder: BatchBuilder,
    next_offset: i64,
    has_ended: bool,
    total_bytes: u64,
    bytes_read: Arc<AtomicU64>,
    stats: SourceStats,
}

impl ReplaySource {
    /// Finds the logs of the inputs, recognises their formats and reads their beginnings.
    ///
    /// # Errors
    /// An input that does not exist or cannot be read, or no log in a known format. Single logs in
    /// an unknown format are listed in the statistics.
    pub fn open(inputs: &[String], options: ReplayOptions) -> Result<Self, SourceError> {
        if inputs.is_empty() {
            return Err(SourceError::NoInput);
        }
        let bytes_read = Arc::new(AtomicU64::new(0));
        let mut stats = SourceStats::default();
        let mut json = Json::default();
        let mut logs = Vec::new();
        let max_record_bytes = options.decode.max_record_bytes;
        for log in discover(inputs)? {
            match recognise_log(&log, options.format, max_record_bytes, &bytes_read, &mut json)? {
                Ok(recognised) => logs.push((log, recognised)),
                Err(refused) => stats.refused.push(refused),
            }
        }
        if logs.is_empty() {
            return Err(SourceError::AllRefused { refused: stats.refused });
        }
        let files = || logs.iter().flat_map(|(log, _)| &log.files);
        stats.logs = logs.len() as u64;
        stats.files = files().count() as u64;
        let total_bytes = files().map(|file| file.size_bytes).sum();
        let merge_options = MergeOptions {
            chunk_bytes: options.chunk_bytes,
            max_record_bytes,
            bytes_read: bytes_read.clone(),
        };
        let workers = Workers::new(options.threads, options.decode);
        Ok(Self {
            merge: Merge::new(logs, workers, merge_options)?,
            partition: Arc::new(Partition {
                source_id: options.source_id.clone(),
                name: FILE_PARTITION.into(),
                log_time_origin: LogTimeOrigin::Replayed,
                split: Split::Whole,
            }),
            next_offset: options.first_offset,
            options,
            builder: BatchBuilder::default(),
            has_ended: false,
            total_bytes,
            bytes_read,
            stats,
        })
    }

    /// Takes pieces until there are enough records for a batch.
    fn fill(&mut self) -> Result<(), SourceError> {
        let batch_rows = self.options.batch_rows.max(1);
        while !self.has_ended && self.builder.records() < batch_rows {
            match self.merge.next_piece(batch_rows - self.builder.records())? {
                Some(piece) => self.take(piece),
                None => self.has_ended = true,
            }
            let is_worth_it = self.builder.records() >= batch_rows / ZERO_COPY_PART;
            if is_worth_it && self.builder.is_rest_of_a_chunk() {
                break;
            }
        }
        Ok(())
    }

    /// Takes those records of a piece that lie within `since` and `until`.
    fn take(&mut self, mut piece: Piece) {
        let times = &piece.chunk.log_times[piece.records.clone()];
        let before = |limit: i64| {
            times.partition_point(|time| (*time).max(self.merge.first_log_time) < limit)
        };
        let skipped = self.options.since.map_or(0, before);
        let end = self.options.until.map_or(times.len(), before);
        self.has_ended = end < times.len();
        self.stats.outside += skipped as u64;
        self.next_offset += skipped as i64;
        let start = piece.records.start;
        piece.records = start + skipped..start + end.max(skipped);
        if !piece.records.is_empty() {
            self.stats.count_format(piece.chunk.chunk.format, piece.records.len() as u64);
            self.builder.push(piece);
        }
    }
}

impl Source for ReplaySource {
    fn next_batch(&mut self) -> Result<Next, SourceError> {
        self.fill()?;
        let records = self.builder.records();
        if records == 0 {
            return Ok(Next::End);
        }
        let stamp = Stamp {
            partition: &self.partition,
            first_offset: self.next_offset,
            first_log_time: self.merge.first_log_time,
            max_future_skew: self.options.max_future_skew,
        };
        let batch = self.builder.finish(&stamp);
        self.next_offset += records as i64;
        self.stats.records += records as u64;
        self.stats.rejected += batch.rejected.len() as u64;
        Ok(Next::Batch(batch))
    }

    fn stats(&self) -> SourceStats {
        SourceStats {
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            blank_lines: self.merge.blank_lines,
            ..self.stats.clone()
        }
    }

    fn total_bytes(&self) -> Option<u64> {
        Some(self.total_bytes)
    }
}

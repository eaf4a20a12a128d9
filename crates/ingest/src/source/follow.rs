//! Follows files as they grow: new files of a pattern, rotation by renaming or copying, and files
//! cut short. Files are looked at again and again; the system is not asked for notifications, since
//! network file systems give none.

mod cursor;
mod tail;
mod watch;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lapwing_event::time::MINUTE;
use lapwing_event::{LogTimeOrigin, Partition, Split};
use tracing::warn;

use super::assemble::{BatchBuilder, Stamp};
use super::clock::clock_us;
use super::log_time::TimedChunk;
use super::merge::Piece;
use super::recognise::{PROBE_BYTES, PROBE_RECORDS, verdict};
use super::replay::FILE_PARTITION;
use super::{Next, Source, SourceError, SourceStats};
use crate::decode::{DecodeOptions, Decoder, RawChunk, records_of};
use crate::format::Format;
use crate::json::Json;
use tail::{Look, ReadLimits, Tailed};
use watch::{FollowedLog, LogFormat, Watch};

pub use cursor::{FileCursor, FileId, FollowCursor};

/// Where following begins when there is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With all records of the files that are there, rotated ones first.
    Beginning,
    /// With what is added from now on.
    #[default]
    End,
}

/// How files are followed.
#[derive(Debug, Clone)]
pub struct FollowOptions {
    /// The id of the source.
    pub source_id: Arc<str>,
    /// The format of all logs; `None` to recognise each.
    pub format: Option<&'static dyn Format>,
    /// How records are decoded.
    pub decode: DecodeOptions,
    /// The records from which a batch is handed out; one chunk may bring more.
    pub batch_rows: usize,
    /// The most that is read of a file at a time, bytes.
    pub chunk_bytes: usize,
    /// How far a time may be ahead of log time without being flagged, microseconds.
    pub max_future_skew: i64,
    /// Where to begin without a cursor.
    pub start: Start,
    /// The offset of the first record without a cursor.
    pub first_offset: i64,
    /// How often files are looked at.
    pub poll: Duration,
    /// How long a file that was rotated away must be silent before it is closed: programs write on
    /// for a moment until they have opened the next.
    pub retire_after: Duration,
}

impl FollowOptions {
    /// The defaults: formats are recognised, four looks a second, from the end.
    pub fn new(source_id: impl Into<Arc<str>>) -> Self {
        Self {
            source_id: source_id.into(),
            format: None,
            decode: DecodeOptions::default(),
            batch_rows: 8192,
            chunk_bytes: 1 << 20,
            max_future_skew: MINUTE,
            start: Start::default(),
            first_offset: 0,
            poll: Duration::from_millis(250),
            retire_after: Duration::from_secs(10),
        }
    }
}

/// Files that are followed. Log time is the time of reading.
pub struct FollowSource {
    watch: Watch,
    options: FollowOptions,
    partition: Arc<Partition>,
    decoder: Decoder,
    json: Json,
    builder: BatchBuilder,
    next_offset: i64,
    log_time: i64,
    last_scan: Option<Instant>,
    /// The log that is read first at the next turn, so that none waits for ever.
    turn: usize,
    stats: SourceStats,
}

impl FollowSource {
    /// Follows files, folders and patterns, from a cursor if there is one.
    ///
    /// # Errors
    /// An input that cannot be followed, or a file that cannot be read.
    pub fn open(
        inputs: &[String],
        options: FollowOptions,
        cursor: Option<&FollowCursor>,
    ) -> Result<Self, SourceError> {
        if inputs.is_empty() {
            return Err(SourceError::NoInput);
        }
        let mut watch = Watch::new(inputs)?;
        let mut stats = SourceStats::default();
        let start = match cursor {
            None => options.start,
            Some(cursor) => {
                stats.truncations += watch.resume(&cursor.files)?;
                Start::Beginning
            }
        };
        watch.scan(start)?;
        let first =
            || FollowCursor { next_offset: options.first_offset, ..FollowCursor::default() };
        let cursor = cursor.cloned().unwrap_or_else(first);
        Ok(Self {
            watch,
            partition: Arc::new(Self::partition_of(&options.source_id)),
            decoder: Decoder::new(options.decode),
            json: Json::default(),
            builder: BatchBuilder::default(),
            next_offset: cursor.next_offset,
            log_time: cursor.log_time,
            last_scan: None,
            turn: 0,
            options,
            stats,
        })
    }

    /// The partition of a followed source with this id.
    pub fn partition_of(source_id: &str) -> Partition {
        Partition {
            source_id: source_id.into(),
            name: FILE_PARTITION.into(),
            log_time_origin: LogTimeOrigin::Observed,
            split: Split::Whole,
        }
    }

    /// The partition of everything it hands out.
    pub fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// What is needed to go on after the batches handed out so far.
    pub fn cursor(&self) -> FollowCursor {
        let files = self.watch.logs.iter().flat_map(|log| &log.files);
        FollowCursor {
            files: files.map(Tailed::cursor).collect(),
            next_offset: self.next_offset,
            log_time: self.log_time,
        }
    }

    /// The offset of the next record.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The log time reached, microseconds; `None` before anything was read.
    pub fn log_time(&self) -> Option<i64> {
        (self.log_time > 0).then_some(self.log_time)
    }

    /// The time of reading; it never goes back.
    fn now(&mut self) -> i64 {
        self.log_time = self.log_time.max(clock_us());
        self.log_time
    }

    /// Looks for new and renamed files, but not more often than asked.
    fn scan(&mut self) -> Result<(), SourceError> {
        if self.last_scan.is_some_and(|last| last.elapsed() < self.options.poll) {
            return Ok(());
        }
        self.watch.scan(Start::Beginning)?;
        self.last_scan = Some(Instant::now());
        Ok(())
    }

    /// Lets every log have its turn, until there are enough records for a batch.
    fn read_logs(&mut self) -> Result<(), SourceError> {
        let logs = self.watch.logs.len();
        for _ in 0..logs {
            self.turn = (self.turn + 1) % logs;
            if let Some(chunk) = self.read_log(self.turn)? {
                self.take(&chunk);
            }
            if self.builder.records() >= self.options.batch_rows {
                break;
            }
        }
        Ok(())
    }

    /// The next lines of a log, from its oldest file that has any.
    fn read_log(&mut self, log: usize) -> Result<Option<RawChunk>, SourceError> {
        let limits = ReadLimits {
            chunk_bytes: self.options.chunk_bytes,
            max_record_bytes: self.options.decode.max_record_bytes,
        };
        let mut index = 0;
        while index < self.watch.logs[log].files.len() {
            let look = self.watch.logs[log].files[index].look()?;
            if matches!(look, Look::Truncated) {
                self.say_truncated(log, index);
                // A copy of it may now stand before it.
                continue;
            }
            let Some(format) = self.format_of(log, index)? else {
                index += 1;
                continue;
            };
            let is_last = index + 1 == self.watch.logs[log].files.len();
            let file = &mut self.watch.logs[log].files[index];
            let mut chunk = None;
            if matches!(look, Look::Grown) {
                chunk = file.read(limits, format)?;
            }
            let is_silent = file.idle_since.elapsed() >= self.options.retire_after;
            if chunk.is_none() && file.is_open() && is_silent && (!is_last || !file.is_at_path()) {
                chunk = file.read_rest(limits, format)?;
                file.is_finished = true;
                file.close();
            }
            if chunk.is_some() {
                return Ok(chunk);
            }
            index += 1;
        }
        Ok(None)
    }

    fn say_truncated(&mut self, log: usize, file: usize) {
        let path = &self.watch.logs[log].files[file].path;
        warn!(path = %path.display(), "a followed file was cut short; reading it again");
        self.stats.truncations += 1;
        self.watch.resolve_copy(log, file);
    }

    /// The format of a log; `None` as long as it cannot be told.
    fn format_of(
        &mut self,
        log: usize,
        file: usize,
    ) -> Result<Option<&'static dyn Format>, SourceError> {
        let followed = &mut self.watch.logs[log];
        if let Some(format) = self.options.format {
            return Ok(Some(format));
        }
        match followed.format {
            LogFormat::Known(format) => return Ok(Some(format)),
            LogFormat::Refused => return Ok(None),
            LogFormat::Unseen | LogFormat::Undecided => {}
        }
        let chunk = followed.files[file].first_lines(PROBE_BYTES)?;
        let few = records_of(&chunk).count() < PROBE_RECORDS && chunk.bytes.len() < PROBE_BYTES / 2;
        match verdict(&followed.name, &[chunk], &mut self.json) {
            None => Ok(None),
            Some(Ok(format)) => {
                followed.format = LogFormat::Known(format);
                self.stats.refused.retain(|refused| refused.name != followed.name);
                Ok(Some(format))
            }
            Some(Err(refused)) => {
                if matches!(followed.format, LogFormat::Unseen) {
                    warn!(log = refused.name, looks_like = refused.looks_like, "a log is not read");
                    self.stats.refused.push(refused);
                }
                followed.format = if few { LogFormat::Undecided } else { LogFormat::Refused };
                Ok(None)
            }
        }
    }

    fn take(&mut self, raw: &RawChunk) {
        self.stats.bytes_read += raw.bytes.len() as u64;
        let chunk = self.decoder.decode(raw);
        self.stats.blank_lines += chunk.blank_lines;
        let records = chunk.records();
        if records == 0 {
            return;
        }
        self.stats.count_format(chunk.format, records as u64);
        let log_times = vec![self.now(); records];
        let timed = Arc::new(TimedChunk { chunk, log_times, corrected: None });
        self.builder.push(Piece { chunk: timed, records: 0..records });
    }
}

impl Source for FollowSource {
    /// What was added to the files. If nothing was, waits for [`FollowOptions::poll`] and says so;
    /// it never ends.
    fn next_batch(&mut self) -> Result<Next, SourceError> {
        self.scan()?;
        self.read_logs()?;
        let records = self.builder.records();
        if records == 0 {
            thread::sleep(self.options.poll);
            return Ok(Next::Idle { log_time: self.now() });
        }
        let stamp = Stamp {
            partition: &self.partition,
            first_offset: self.next_offset,
            first_log_time: i64::MIN,
            max_future_skew: self.options.max_future_skew,
        };
        let batch = self.builder.finish(&stamp);
        self.next_offset += records as i64;
        self.stats.records += records as u64;
        self.stats.rejected += batch.rejected.len() as u64;
        Ok(Next::Batch(batch))
    }

    fn stats(&self) -> SourceStats {
        let logs = &self.watch.logs;
        let is_read =
            |log: &&FollowedLog| !matches!(log.format, LogFormat::Refused | LogFormat::Undecided);
        let read_files = logs.iter().filter(is_read).flat_map(|log| &log.files);
        SourceStats {
            logs: logs.len() as u64,
            files: logs.iter().map(|log| log.files.len() as u64).sum(),
            unread_bytes: read_files.map(Tailed::unread_bytes).sum(),
            ..self.stats.clone()
        }
    }

    fn total_bytes(&self) -> Option<u64> {
        None
    }
}

//! Replays an archive: the batches that were written into it, with their offsets and log times, so
//! that the same rules raise the same alerts.

mod ranges;
mod table;

use std::collections::VecDeque;
use std::ops::Range as Rows;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::BooleanBuffer;
use lapwing_event::time::format_date;
use lapwing_event::{Batch, FieldId, LogTimeOrigin, Partition, RejectedAt, Split, event_schema};

use super::{Next, Source, SourceError, SourceStats};
use ranges::{Range, list_ranges};
use table::{EventTable, RejectedTable};

pub use ranges::is_archive;

/// The format of batches read from an archive.
const ARCHIVE_FORMAT: &str = "archive";

/// How an archive is replayed.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveOptions {
    /// The most events, and the most rejected records, of a batch; at least 1.
    pub batch_rows: usize,
    /// Records with a smaller log time are passed over. Microseconds.
    pub since: Option<i64>,
    /// Records with this log time or a greater one are passed over. Microseconds.
    pub until: Option<i64>,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        Self { batch_rows: 8192, since: None, until: None }
    }
}

/// An archive that is replayed: one partition after the other, each in the order of its offsets.
pub struct ArchiveSource {
    root: PathBuf,
    ranges: VecDeque<Range>,
    current: Option<RangeReader>,
    partition: Option<Arc<Partition>>,
    options: ArchiveOptions,
    total_bytes: u64,
    stats: SourceStats,
}

/// A range of offsets that is being read.
struct RangeReader {
    range: Range,
    events: Option<EventTable>,
    rejected: Option<RejectedTable>,
    /// Events read and not handed out.
    rows: RecordBatch,
    /// Rejected records read and not handed out.
    records: VecDeque<RejectedAt>,
    origin: LogTimeOrigin,
    split: Split,
}

impl ArchiveSource {
    /// Lists the files of an archive.
    ///
    /// # Errors
    /// A folder that is no archive or cannot be listed, or files whose offsets overlap.
    pub fn open(path: &Path, options: ArchiveOptions) -> Result<Self, SourceError> {
        let mut ranges = list_ranges(path)?;
        if let Some(since) = options.since {
            ranges.retain(|range| range.file.date >= format_date(since));
        }
        if let Some(until) = options.until {
            ranges.retain(|range| range.file.date <= format_date(until));
        }
        let total_bytes = ranges.iter().map(|range| range.size_bytes).sum();
        Ok(Self {
            root: path.into(),
            ranges: ranges.into(),
            current: None,
            partition: None,
            options,
            total_bytes,
            stats: SourceStats::default(),
        })
    }

    /// Opens the next range; false at the end.
    fn next_range(&mut self) -> Result<bool, SourceError> {
        let Some(range) = self.ranges.pop_front() else { return Ok(false) };
        let reader = RangeReader::open(&self.root, range, self.options.batch_rows.max(1))?;
        self.partition = Some(partition_of(&reader, self.partition.take())?);
        self.stats.files +=
            u64::from(reader.events.is_some()) + u64::from(reader.rejected.is_some());
        self.current = Some(reader);
        Ok(true)
    }

    /// The records within `since` and `until`; `None` if there are none.
    fn within(&mut self, events: &RecordBatch, rejected: Vec<RejectedAt>) -> Option<Batch> {
        let before = records(events, &rejected);
        let is_inside = |time: i64| {
            self.options.since.is_none_or(|since| time >= since)
                && self.options.until.is_none_or(|until| time < until)
        };
        let rows = inside(log_times(events), is_inside);
        let events = events.slice(rows.start, rows.len());
        let rejected: Vec<_> = rejected.into_iter().filter(|r| is_inside(r.log_time)).collect();
        let count = records(&events, &rejected);
        self.stats.outside += before - count;
        self.stats.records += count;
        self.stats.rejected += rejected.len() as u64;
        if count == 0 {
            return None;
        }
        self.stats.count_format(ARCHIVE_FORMAT, count);
        let partition = self.partition.clone()?;
        Some(Batch {
            partition,
            events: without_late(&events),
            rejected,
            digests: Vec::new(),
            format: ARCHIVE_FORMAT,
        })
    }
}

impl Source for ArchiveSource {
    fn next_batch(&mut self) -> Result<Next, SourceError> {
        loop {
            let Some(reader) = &mut self.current else {
                if !self.next_range()? {
                    return Ok(Next::End);
                }
                continue;
            };
            match reader.next(self.options.batch_rows.max(1))? {
                Some((events, rejected)) => {
                    if let Some(batch) = self.within(&events, rejected) {
                        return Ok(Next::Batch(batch));
                    }
                }
                None => {
                    self.stats.bytes_read += reader.range.size_bytes;
                    self.current = None;
                }
            }
        }
    }

    fn stats(&self) -> SourceStats {
        self.stats.clone()
    }

    fn total_bytes(&self) -> Option<u64> {
        Some(self.total_bytes)
    }
}

/// The partition of a range: that of the range before, or another one.
fn partition_of(
    reader: &RangeReader,
    last: Option<Arc<Partition>>,
) -> Result<Arc<Partition>, SourceError> {
    let file = &reader.range.file;
    let is_same =
        |last: &Partition| *last.source_id == file.source_id && *last.name == file.partition;
    match last.filter(|last| is_same(last)) {
        Some(last) if last.split != reader.split => {
            Ok(Arc::new(Partition { split: reader.split.clone(), ..Partition::clone(&last) }))
        }
        Some(last) if last.log_time_origin != reader.origin => Err(SourceError::archive(
            &reader.range.shown,
            "its log time has another origin than that of the files before it; \
             replay it as an archive of its own",
        )),
        Some(last) => Ok(last),
        None => Ok(Arc::new(Partition {
            source_id: file.source_id.as_str().into(),
            name: file.partition.as_str().into(),
            log_time_origin: reader.origin,
            split: reader.split.clone(),
        })),
    }
}

impl RangeReader {
    fn open(root: &Path, range: Range, batch_rows: usize) -> Result<Self, SourceError> {
        let events = range.events(root).map(|path| EventTable::open(&path, batch_rows));
        let events = events.transpose()?;
        let rejected = range.rejected(root).map(|path| RejectedTable::open(&path, batch_rows));
        let rejected = rejected.transpose()?;
        let about = [events.as_ref().map(|t| &t.about), rejected.as_ref().map(|t| &t.about)];
        let found: u64 = about.iter().flatten().map(|about| about.rows).sum();
        let Some(first) = about.iter().flatten().next() else {
            return Err(SourceError::archive(&range.shown, "no file of this range is there"));
        };
        if first.records != found && !range.is_retained_in_part(root) {
            let what = format!(
                "{found} of {} records from offset {} are there: its sibling in events/ or \
                 rejected/ is missing; repeat the run that wrote the archive",
                first.records, range.file.first
            );
            return Err(SourceError::archive(&range.shown, what));
        }
        let (origin, split) = (first.origin, first.split.clone());
        let rows = RecordBatch::new_empty(event_schema());
        Ok(Self { range, events, rejected, rows, records: VecDeque::new(), origin, split })
    }

    /// The next events and rejected records, in order, at most `batch_rows` of each.
    fn next(
        &mut self,
        batch_rows: usize,
    ) -> Result<Option<(RecordBatch, Vec<RejectedAt>)>, SourceError> {
        if self.rows.num_rows() == 0
            && let Some(table) = &mut self.events
        {
            match table.next()? {
                Some(rows) => self.rows = self.checked(rows)?,
                None => self.events = None,
            }
        }
        self.fill_records(batch_rows)?;
        let last_event = offsets(&self.rows).last().copied().unwrap_or(i64::MAX);
        let within = |record: &&RejectedAt| record.offset < last_event;
        let count = self.records.iter().take(batch_rows).take_while(within).count();
        let mut rows = self.rows.num_rows();
        if count == batch_rows {
            // There may be more of them before the last event: it has to wait.
            let last_record = self.records.get(count - 1).map_or(i64::MAX, |r| r.offset);
            rows = offsets(&self.rows).partition_point(|offset| *offset < last_record);
        }
        if rows == 0 && count == 0 {
            return Ok(None);
        }
        let events = self.rows.slice(0, rows);
        self.rows = self.rows.slice(rows, self.rows.num_rows() - rows);
        Ok(Some((events, self.records.drain(..count).collect())))
    }

    fn fill_records(&mut self, batch_rows: usize) -> Result<(), SourceError> {
        while self.records.len() < batch_rows
            && let Some(table) = &mut self.rejected
        {
            match table.next()? {
                Some(records) => self.records.extend(records),
                None => self.rejected = None,
            }
        }
        Ok(())
    }

    /// Checks what the detector relies on.
    fn checked(&self, rows: RecordBatch) -> Result<RecordBatch, SourceError> {
        let offsets = offsets(&rows);
        let (first, last) = (self.range.file.first, self.range.file.last);
        let is_inside = offsets.iter().all(|offset| (first..=last).contains(offset));
        if is_inside && offsets.is_sorted() && log_times(&rows).is_sorted() {
            return Ok(rows);
        }
        let what = "its records are not in the order that its name says; restore it";
        Err(SourceError::archive(&self.range.shown, what))
    }
}

fn records(events: &RecordBatch, rejected: &[RejectedAt]) -> u64 {
    (events.num_rows() + rejected.len()) as u64
}

fn offsets(events: &RecordBatch) -> &[i64] {
    events.column(FieldId::LogOffset.index()).as_primitive::<Int64Type>().values()
}

fn log_times(events: &RecordBatch) -> &[i64] {
    events.column(FieldId::LogTime.index()).as_primitive::<TimestampMicrosecondType>().values()
}

/// The stretch of rising times that is inside.
fn inside(times: &[i64], is_inside: impl Fn(i64) -> bool) -> Rows<usize> {
    let start = times.iter().position(|time| is_inside(*time)).unwrap_or(times.len());
    let len = times[start..].iter().take_while(|time| is_inside(**time)).count();
    start..start + len
}

/// Lateness is judged anew by the rules that run.
fn without_late(events: &RecordBatch) -> RecordBatch {
    let none = BooleanArray::new(BooleanBuffer::new_unset(events.num_rows()), None);
    let mut columns: Vec<ArrayRef> = events.columns().to_vec();
    columns[FieldId::Late.index()] = Arc::new(none);
    RecordBatch::try_new(event_schema(), columns).expect("one column replaced by its like")
}

//! The records of one partition on their way into files: finds out which range each record
//! belongs to. Ranges that the archive holds stay as they are; new ones end with the UTC day of
//! log time, after a number of records, before a range that is held, and with the input.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_event::archive::ArchiveFile;
use lapwing_event::time::{DAY, format_date};
use lapwing_event::{Batch, Partition, event_schema};

use super::error::ArchiveError;
use super::existing::{self, Held};
use super::layout::{event_columns, properties, schema};
use super::range::{Part, Range, RangeContext, RangeEnd};
use super::rejected::rejected_columns;
use super::table::TableLayout;
use super::{ArchiveOptions, ArchiveReport};

/// Writes one partition.
#[derive(Debug)]
pub(super) struct PartitionWriter {
    root: PathBuf,
    records_per_file: u64,
    partition: Arc<Partition>,
    events: TableLayout,
    rejected: TableLayout,
    held: BTreeMap<i64, Held>,
    open: Option<Range>,
    span: Option<(i64, i64)>,
}

impl PartitionWriter {
    /// Looks at what the archive holds of the partition.
    pub(super) fn open(
        root: &Path,
        options: ArchiveOptions,
        partition: Arc<Partition>,
    ) -> Result<Self, ArchiveError> {
        let (events, rejected) = layouts(options.rows_per_row_group);
        Ok(Self {
            root: root.to_owned(),
            records_per_file: options.records_per_file,
            events,
            rejected,
            held: existing::held(root, &partition)?,
            partition,
            open: None,
            span: None,
        })
    }

    /// The partition.
    pub(super) fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The first and the last offset seen.
    pub(super) fn span(&self) -> Option<(i64, i64)> {
        self.span
    }

    /// Takes the records of a batch.
    pub(super) fn write(
        &mut self,
        batch: &Batch,
        report: &mut ArchiveReport,
    ) -> Result<(), ArchiveError> {
        let Some((first, last)) = batch.offsets() else { return Ok(()) };
        if batch.digests.len() != batch.records() {
            return Err(ArchiveError::NoDigests {
                source_id: self.partition.source_id.to_string(),
                partition: self.partition.name.to_string(),
            });
        }
        self.span = Some((self.span.map_or(first, |s| s.0), last));
        let mut rest = Rest::of(batch);
        while let Some((offset, log_time)) = rest.next() {
            let range = match self.open.take() {
                Some(range) if range.takes(offset, log_time) => range,
                done => {
                    done.map_or(Ok(()), |range| range.close(&self.context(), report))?;
                    self.begin(offset, log_time)?
                }
            };
            self.fill(range, &mut rest, report)?;
        }
        Ok(())
    }

    /// Ends the range at hand where the input ends.
    pub(super) fn finish(&mut self, report: &mut ArchiveReport) -> Result<(), ArchiveError> {
        self.open.take().map_or(Ok(()), |range| range.finish(&self.context(), report))
    }

    fn fill(
        &mut self,
        mut range: Range,
        rest: &mut Rest,
        report: &mut ArchiveReport,
    ) -> Result<(), ArchiveError> {
        range.write(&rest.take(range.rest()), &self.context())?;
        if range.is_full() {
            return range.close(&self.context(), report);
        }
        self.open = Some(range);
        Ok(())
    }

    /// The range that a record begins.
    fn begin(&self, offset: i64, log_time: i64) -> Result<Range, ArchiveError> {
        let before = self.held.range(..=offset).next_back().map(|(_, held)| held);
        if let Some(held) = before.filter(|h| h.file.last >= offset) {
            return self.begin_held(held, offset);
        }
        let next = self.held.range(offset..).next().map_or(i64::MAX, |(first, _)| *first);
        Ok(begin_day(&self.partition, offset, log_time, next, self.records_per_file))
    }

    fn begin_held(&self, held: &Held, offset: i64) -> Result<Range, ArchiveError> {
        if held.file.first < offset {
            return Err(ArchiveError::BeginsWithin {
                file: held.path(&self.root),
                source_id: held.file.source_id.clone(),
                partition: held.file.partition.clone(),
                first: held.file.first,
                last: held.file.last,
                start: offset,
            });
        }
        let end = RangeEnd { offset: held.file.last + 1, log_time: i64::MAX, records: u64::MAX };
        let records = held.read(&self.root)?;
        let file = ArchiveFile { last: offset, ..held.file.clone() };
        Ok(Range::begin(file, end, Some((held.clone(), records))))
    }

    fn context(&self) -> RangeContext<'_> {
        RangeContext {
            root: &self.root,
            stage: None,
            partition: &self.partition,
            events: &self.events,
            rejected: &self.rejected,
        }
    }
}

/// The layouts of events and of rejected records.
pub(super) fn layouts(rows_per_row_group: usize) -> (TableLayout, TableLayout) {
    let layout = |schema, columns: &[_]| TableLayout {
        schema,
        properties: properties(columns),
        rows_per_row_group,
    };
    let rejected = rejected_columns();
    (layout(event_schema(), &event_columns()), layout(schema(rejected), rejected))
}

/// A new range that begins with a record: it ends with the day of log time, before an offset, and after
/// a number of records.
pub(super) fn begin_day(
    partition: &Partition,
    offset: i64,
    log_time: i64,
    before_offset: i64,
    records: u64,
) -> Range {
    let file = ArchiveFile::new(partition, format_date(log_time), (offset, offset));
    let log_time = (log_time.div_euclid(DAY) + 1) * DAY;
    Range::begin(file, RangeEnd { offset: before_offset, log_time, records }, None)
}

/// The records of a batch that are not in a range yet.
pub(super) struct Rest<'a> {
    batch: &'a Batch,
    event: usize,
    rejected: usize,
}

impl<'a> Rest<'a> {
    /// All records of a batch.
    pub(super) fn of(batch: &'a Batch) -> Self {
        Self { batch, event: 0, rejected: 0 }
    }

    /// Offset and log time of the next record.
    pub(super) fn next(&self) -> Option<(i64, i64)> {
        let event = self.batch.event_offsets().get(self.event);
        let event = event.map(|offset| (*offset, self.batch.event_log_times()[self.event]));
        let rejected = self.batch.rejected.get(self.rejected).map(|r| (r.offset, r.log_time));
        [event, rejected].into_iter().flatten().min()
    }

    /// Takes the records before an end; offsets and log times ascend.
    pub(super) fn take(&mut self, end: RangeEnd) -> Part<'a> {
        let offsets = &self.batch.event_offsets()[self.event..];
        let log_times = &self.batch.event_log_times()[self.event..];
        let rejected = &self.batch.rejected[self.rejected..];
        let events = offsets
            .partition_point(|offset| *offset < end.offset)
            .min(log_times.partition_point(|log_time| *log_time < end.log_time));
        let rejects =
            rejected.partition_point(|r| r.offset < end.offset && r.log_time < end.log_time);
        let (events, rejects) =
            first_records(&offsets[..events], &rejected[..rejects], end.records, |r| r.offset);
        let last = [
            events.checked_sub(1).map(|i| offsets[i]),
            rejects.checked_sub(1).map(|i| rejected[i].offset),
        ];
        let part = Part {
            events: self.batch.events.slice(self.event, events),
            rejected: &rejected[..rejects],
            digests: &self.batch.digests[self.event + self.rejected..][..events + rejects],
            last: last.into_iter().flatten().max().expect("a range takes its first record"),
        };
        self.event += events;
        self.rejected += rejects;
        part
    }
}

/// How many of two ascending series are among the first `count` of both.
fn first_records<T>(
    offsets: &[i64],
    others: &[T],
    count: u64,
    offset_of: impl Fn(&T) -> i64,
) -> (usize, usize) {
    if (offsets.len() + others.len()) as u64 <= count {
        return (offsets.len(), others.len());
    }
    let (mut a, mut b) = (0, 0);
    while ((a + b) as u64) < count {
        match (offsets.get(a), others.get(b)) {
            (Some(offset), Some(other)) if *offset > offset_of(other) => b += 1,
            (Some(_), _) => a += 1,
            (None, _) => b += 1,
        }
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_records_of_two_series_are_those_with_the_smallest_offsets() {
        let split = |count| first_records(&[0, 2, 3, 7], &[1, 4, 5, 6], count, |o| *o);
        assert_eq!(split(1), (1, 0));
        assert_eq!(split(2), (1, 1));
        assert_eq!(split(4), (3, 1));
        assert_eq!(split(7), (3, 4));
        assert_eq!(split(100), (4, 4));
    }
}

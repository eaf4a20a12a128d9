//! One range of offsets: either new, and written to a file of events and one of rejected records,
//! or held by the archive already, and compared with it.

use std::fmt;
use std::path::Path;

use arrow_array::RecordBatch;
use lapwing_event::archive::{
    ARCHIVE_VERSION, ArchiveFile, META_DIGEST, META_LOG_TIME, META_PARTITIONED_BY, META_RECORDS,
    META_VERSION, Table,
};
use lapwing_event::{Partition, RejectedAt};

use super::ArchiveReport;
use super::digest::RangeDigest;
use super::error::ArchiveError;
use super::existing::{Held, HeldRecords};
use super::folder::{Stage, Temporary};
use super::rejected::rejected_rows;
use super::table::{TableFile, TableLayout, WholeFile};

/// What the ranges of a partition share.
#[derive(Debug)]
pub(super) struct RangeContext<'a> {
    pub(super) root: &'a Path,
    /// Where files are written until they are whole; beside their final names if there is none.
    pub(super) stage: Option<&'a Stage>,
    pub(super) partition: &'a Partition,
    pub(super) events: &'a TableLayout,
    pub(super) rejected: &'a TableLayout,
}

/// A file of a range that is whole and synced, under its temporary name.
#[derive(Debug)]
pub(super) struct RangeFile {
    pub(super) file: ArchiveFile,
    pub(super) table: Table,
    pub(super) whole: WholeFile,
}

/// Where a range ends, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub(super) struct RangeEnd {
    /// The first offset that is no longer in it.
    pub(super) offset: i64,
    /// The first log time that is no longer in it, microseconds.
    pub(super) log_time: i64,
    /// The largest number of records.
    pub(super) records: u64,
}

/// Neighbouring records of one range.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) events: RecordBatch,
    pub(super) rejected: &'a [RejectedAt],
    pub(super) digests: &'a [u64],
    pub(super) last: i64,
}

/// A range that is being filled.
pub(super) struct Range {
    /// Where its files lie; `last` is the last offset so far.
    file: ArchiveFile,
    end: RangeEnd,
    held: Option<(Held, HeldRecords)>,
    records: u64,
    digest: RangeDigest,
    events: Option<TableFile>,
    rejected: Option<TableFile>,
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Range").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Range {
    /// Begins a range; `held` is what the archive holds of exactly this range.
    pub(super) fn begin(
        file: ArchiveFile,
        end: RangeEnd,
        held: Option<(Held, HeldRecords)>,
    ) -> Self {
        let digest = RangeDigest::new(held.as_ref().and_then(|(_, held)| held.parts.as_ref()));
        Self { file, end, held, records: 0, digest, events: None, rejected: None }
    }

    /// Where it ends, counted from here.
    pub(super) fn rest(&self) -> RangeEnd {
        RangeEnd { records: self.end.records - self.records, ..self.end }
    }

    /// Whether a record at this offset and log time belongs to it.
    pub(super) fn takes(&self, offset: i64, log_time: i64) -> bool {
        let rest = self.rest();
        offset < rest.offset && log_time < rest.log_time && rest.records > 0
    }

    /// Whether nothing more can belong to it.
    pub(super) fn is_full(&self) -> bool {
        self.rest().records == 0 || self.file.last + 1 == self.end.offset
    }

    /// A range whose sibling file is missing is written again.
    fn is_written(&self) -> bool {
        self.held.as_ref().is_none_or(|(_, held)| held.rows < held.records)
    }

    /// Takes records.
    pub(super) fn write(&mut self, part: &Part, cx: &RangeContext) -> Result<(), ArchiveError> {
        self.records += part.digests.len() as u64;
        self.file.last = part.last;
        self.digest.update(part.digests);
        if !self.is_written() {
            return Ok(());
        }
        if part.events.num_rows() > 0 {
            let file = open(&mut self.events, &self.file, Table::Events, cx)?;
            file.write(&part.events)?;
        }
        if !part.rejected.is_empty() {
            let file = open(&mut self.rejected, &self.file, Table::Rejected, cx)?;
            file.write(&rejected_rows(&cx.partition.name, part.rejected))?;
        }
        Ok(())
    }

    /// Ends the range where the input ends.
    pub(super) fn finish(
        self,
        cx: &RangeContext,
        report: &mut ArchiveReport,
    ) -> Result<(), ArchiveError> {
        if let Some((held, _)) = self.held.as_ref().filter(|(h, _)| h.file.last > self.file.last) {
            return Err(ArchiveError::EndsWithin {
                file: held.path(cx.root),
                source_id: held.file.source_id.clone(),
                partition: held.file.partition.clone(),
                first: held.file.first,
                last: held.file.last,
                end: self.file.last,
            });
        }
        self.close(cx, report)
    }

    /// Ends the range: its files get their final names, or it is what the archive holds.
    pub(super) fn close(
        mut self,
        cx: &RangeContext,
        report: &mut ArchiveReport,
    ) -> Result<(), ArchiveError> {
        let (digest, parts) = std::mem::replace(&mut self.digest, RangeDigest::new(None)).finish();
        self.compare(&digest, cx)?;
        if !self.is_written() {
            report.ranges_unchanged += 1;
            report.records_unchanged += self.records;
            return Ok(());
        }
        if let Some((held, _)) = &self.held {
            self.file.last = held.file.last;
        }
        self.keep(digest, parts, cx, report)
    }

    fn compare(&self, digest: &str, cx: &RangeContext) -> Result<(), ArchiveError> {
        let Some((held, records)) = &self.held else { return Ok(()) };
        if records.digest == digest && records.records == self.records {
            return Ok(());
        }
        Err(ArchiveError::Changed {
            file: held.path(cx.root),
            source_id: held.file.source_id.clone(),
            partition: held.file.partition.clone(),
            first: held.file.first,
            last: held.file.last,
        })
    }

    /// Both files are whole and synced before either gets its final name. If the process is
    /// killed between the two renames, the file that is there says how many records the range
    /// has, and the next run writes the other one.
    fn keep(
        self,
        digest: String,
        parts: Option<(&'static str, String)>,
        cx: &RangeContext,
        report: &mut ArchiveReport,
    ) -> Result<(), ArchiveError> {
        for RangeFile { file, table, whole } in self.complete(digest, parts, cx)? {
            whole.temporary.keep(&cx.root.join(file.path(table)))?;
            match table {
                Table::Rejected => report.rejected_written += whole.rows,
                _ => report.events_written += whole.rows,
            }
            report.files_written += 1;
            report.bytes_written += whole.size_bytes;
        }
        Ok(())
    }

    /// Ends the range where it is: its files, still under their temporary names.
    pub(super) fn staged(mut self, cx: &RangeContext) -> Result<Vec<RangeFile>, ArchiveError> {
        let (digest, parts) = std::mem::replace(&mut self.digest, RangeDigest::new(None)).finish();
        self.complete(digest, parts, cx)
    }

    /// The rejected records come first: replays find a range by its events.
    fn complete(
        self,
        digest: String,
        parts: Option<(&'static str, String)>,
        cx: &RangeContext,
    ) -> Result<Vec<RangeFile>, ArchiveError> {
        let mut metadata = vec![
            (META_VERSION, ARCHIVE_VERSION.to_owned()),
            (META_LOG_TIME, cx.partition.log_time_origin.word().to_owned()),
            (META_RECORDS, self.records.to_string()),
            (META_DIGEST, digest),
        ];
        metadata.extend(parts);
        metadata.extend(cx.partition.split.to_text().map(|text| (META_PARTITIONED_BY, text)));
        let mut files = Vec::new();
        for (table, file) in [(Table::Rejected, self.rejected), (Table::Events, self.events)] {
            let Some(file) = file else { continue };
            let whole = file.complete(&metadata)?;
            files.push(RangeFile { file: self.file.clone(), table, whole });
        }
        Ok(files)
    }

    /// The files at hand.
    pub(super) fn open_tables(&mut self) -> impl Iterator<Item = &mut TableFile> {
        [&mut self.events, &mut self.rejected].into_iter().flatten()
    }
}

fn open<'a>(
    slot: &'a mut Option<TableFile>,
    file: &ArchiveFile,
    table: Table,
    cx: &RangeContext,
) -> Result<&'a mut TableFile, ArchiveError> {
    if slot.is_none() {
        let layout = if table == Table::Events { cx.events } else { cx.rejected };
        let temporary = match cx.stage {
            Some(stage) => Temporary::staged(stage, table, file)?,
            None => {
                let path = cx.root.join(file.path(table));
                let folder = path.parent().expect("a file of an archive lies in a folder");
                Temporary::create(folder, &file.partition, file.first)?
            }
        };
        *slot = Some(TableFile::new(temporary, layout)?);
    }
    Ok(slot.as_mut().expect("filled above"))
}

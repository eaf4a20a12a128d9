//! Batches of one partition become Parquet files that are whole, hashed and not visible yet: what an
//! epoch of `run` puts at rest before its manifest names it. Publishing them is the caller's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lapwing_event::archive::{ArchiveFile, Table};
use lapwing_event::{Batch, Message, Partition};

use super::alerts;
use super::error::ArchiveError;
use super::folder::Stage;
use super::partition::{Rest, begin_day, layouts};
use super::range::{Range, RangeContext, RangeFile};
use super::table::TableLayout;

/// A file that waits for its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedFile {
    /// The table it belongs to.
    pub table: Table,
    /// Where it will lie.
    pub file: ArchiveFile,
    /// Where it lies.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Its length, bytes.
    pub size_bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// What the encoders of all partitions of a process may hold together.
#[derive(Debug)]
pub struct EncoderMemory {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    stagings: AtomicUsize,
}

impl EncoderMemory {
    /// A limit in bytes.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        let (used_bytes, stagings) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { limit_bytes, used_bytes, stagings })
    }

    /// What is held now, bytes.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Whether somebody who holds so much has to give back: together too much is held, and he holds
    /// more than half of an equal share.
    fn must_give_back(&self, held_bytes: usize) -> bool {
        let share = self.limit_bytes / self.stagings.load(Ordering::Relaxed).max(1);
        self.used_bytes() > self.limit_bytes && held_bytes > share / 2
    }
}

/// The files of one epoch of a partition while they are written.
#[derive(Debug)]
pub struct Staging {
    stage: Stage,
    partition: Arc<Partition>,
    events: TableLayout,
    rejected: TableLayout,
    records_per_file: u64,
    open: Option<Range>,
    done: Vec<RangeFile>,
    span: Option<(i64, i64)>,
    records: u64,
    held_bytes: usize,
    memory: Arc<EncoderMemory>,
}

impl Staging {
    /// An epoch without records. Its files lie in a folder and begin with the name of an attempt.
    pub fn new(
        folder: PathBuf,
        attempt: String,
        partition: Arc<Partition>,
        options: super::ArchiveOptions,
        memory: Arc<EncoderMemory>,
    ) -> Self {
        let (events, rejected) = layouts(options.rows_per_row_group);
        memory.stagings.fetch_add(1, Ordering::Relaxed);
        Self {
            stage: Stage { folder, attempt },
            partition,
            events,
            rejected,
            records_per_file: options.records_per_file,
            open: None,
            done: Vec::new(),
            span: None,
            records: 0,
            held_bytes: 0,
            memory,
        }
    }

    /// The records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The bytes of its files so far, about.
    pub fn size_bytes(&mut self) -> u64 {
        let done: u64 = self.done.iter().map(|file| file.whole.size_bytes).sum();
        let open = self.open.iter_mut().flat_map(Range::open_tables);
        done + open.map(|table| table.size_bytes() as u64).sum::<u64>()
    }

    /// Takes the records of a batch.
    ///
    /// # Errors
    /// A file that cannot be written. The epoch is lost; what it had staged is removed.
    pub fn write(&mut self, batch: &Batch) -> Result<(), ArchiveError> {
        let Some((first, last)) = batch.offsets() else { return Ok(()) };
        self.span = Some((self.span.map_or(first, |span| span.0), last));
        self.records += batch.records() as u64;
        let mut rest = Rest::of(batch);
        while let Some((offset, log_time)) = rest.next() {
            let mut range = match self.open.take() {
                Some(range) if range.takes(offset, log_time) => range,
                done => {
                    self.close(done)?;
                    begin_day(&self.partition, offset, log_time, i64::MAX, self.records_per_file)
                }
            };
            range.write(&rest.take(range.rest()), &self.context())?;
            self.open = Some(range);
        }
        self.mind_memory()
    }

    /// Ends the epoch: the files of its records, and of the messages, which are about their offsets.
    /// Without records there is no file to name messages by; they are given back.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn finish(
        mut self,
        messages: Vec<Message>,
    ) -> Result<(Vec<StagedFile>, Vec<Message>), ArchiveError> {
        let open = self.open.take();
        self.close(open)?;
        let Some(span) = self.span else { return Ok((Vec::new(), messages)) };
        let mut files = std::mem::take(&mut self.done);
        files.extend(alerts::staged(&self.stage, &self.partition, span, messages)?);
        let staged = files.into_iter().map(|RangeFile { file, table, whole }| {
            Ok(StagedFile {
                table,
                file,
                path: whole.temporary.leave()?,
                rows: whole.rows,
                size_bytes: whole.size_bytes,
                sha256: whole.sha256,
            })
        });
        Ok((staged.collect::<Result<_, ArchiveError>>()?, Vec::new()))
    }

    fn close(&mut self, range: Option<Range>) -> Result<(), ArchiveError> {
        let Some(range) = range else { return Ok(()) };
        let files = range.staged(&self.context())?;
        self.done.extend(files);
        Ok(())
    }

    /// Says what is held, and gives it back if all together hold too much.
    fn mind_memory(&mut self) -> Result<(), ArchiveError> {
        self.measure();
        if !self.memory.must_give_back(self.held_bytes) {
            return Ok(());
        }
        for table in self.open.iter_mut().flat_map(Range::open_tables) {
            table.end_row_group()?;
        }
        self.measure();
        Ok(())
    }

    fn measure(&mut self) {
        let tables = self.open.iter_mut().flat_map(Range::open_tables);
        let bytes = tables.map(|table| table.memory_bytes()).sum();
        self.hold(bytes);
    }

    fn hold(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.held_bytes, bytes);
        if bytes >= before {
            self.memory.used_bytes.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            self.memory.used_bytes.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }

    fn context(&self) -> RangeContext<'_> {
        RangeContext {
            root: Path::new(""),
            stage: Some(&self.stage),
            partition: &self.partition,
            events: &self.events,
            rejected: &self.rejected,
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.hold(0);
        self.memory.stagings.fetch_sub(1, Ordering::Relaxed);
    }
}

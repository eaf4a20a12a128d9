//! The archive: batches and alert messages come in, Parquet files come out, one series of files
//! per partition. Repeating the same records changes nothing. Does not decide when to finish.

mod alerts;
mod digest;
mod error;
mod existing;
mod folder;
mod layout;
mod merge;
mod partition;
mod range;
mod rejected;
mod rows;
mod staging;
mod table;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_event::archive::Table;
use lapwing_event::{Batch, Message, Partition};

pub use alerts::alert_columns;
pub use error::ArchiveError;
pub use layout::{ArchiveColumn, event_columns};
pub use merge::{Merge, RangeFacts, footer_rows, merge};
pub use rejected::rejected_columns;
pub use staging::{EncoderMemory, StagedFile, Staging};

use crate::{Sink, SinkError};
use partition::PartitionWriter;

/// Where files and row groups are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// Records per file, events and rejected ones together. 1,000,000 events of 460 bytes make a
    /// file of some 50 MB: large enough to scan fast, small enough to write again.
    pub records_per_file: u64,
    /// Rows per row group. 131,072 keep one encoded row group at some 10 MB of memory.
    pub rows_per_row_group: usize,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        Self { records_per_file: 1_000_000, rows_per_row_group: 131_072 }
    }
}

/// What a run did to the archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchiveReport {
    /// Files created, of all three tables.
    pub files_written: u64,
    /// Events in them.
    pub events_written: u64,
    /// Rejected records in them.
    pub rejected_written: u64,
    /// Bytes in them.
    pub bytes_written: u64,
    /// Offset ranges that the archive already held, with the same records.
    pub ranges_unchanged: u64,
    /// Records in those ranges, events and rejected ones together.
    pub records_unchanged: u64,
    /// Messages in files of alerts that were created.
    pub alerts_written: u64,
    /// Messages in files of alerts that the archive already held, byte for byte.
    pub alerts_unchanged: u64,
    /// Files of alerts removed because new ones stand for the same records.
    pub alert_files_replaced: u64,
}

impl ArchiveReport {
    /// Adds what another run did.
    pub fn add(&mut self, other: &Self) {
        self.files_written += other.files_written;
        self.events_written += other.events_written;
        self.rejected_written += other.rejected_written;
        self.bytes_written += other.bytes_written;
        self.ranges_unchanged += other.ranges_unchanged;
        self.records_unchanged += other.records_unchanged;
        self.alerts_written += other.alerts_written;
        self.alerts_unchanged += other.alerts_unchanged;
        self.alert_files_replaced += other.alert_files_replaced;
    }
}

/// Writes an archive. Messages are kept in memory until the end, since they are sorted by id.
#[derive(Debug)]
pub struct Archive {
    root: PathBuf,
    options: ArchiveOptions,
    writers: BTreeMap<(Arc<str>, Arc<str>), PartitionWriter>,
    messages: BTreeMap<(Arc<str>, Arc<str>), Vec<Message>>,
    report: ArchiveReport,
    /// Held as long as this writes: two writers would remove each other's temporary files.
    _lock: File,
}

impl Archive {
    /// Opens an archive, creating its folder (0700) if there is none.
    pub fn open(root: &Path, options: ArchiveOptions) -> Result<Self, ArchiveError> {
        assert!(options.records_per_file > 0 && options.rows_per_row_group > 0, "nothing fits");
        folder::create(root)?;
        let lock = folder::lock(root)?;
        Ok(Self {
            _lock: lock,
            root: root.to_owned(),
            options,
            writers: BTreeMap::new(),
            messages: BTreeMap::new(),
            report: ArchiveReport::default(),
        })
    }

    /// What has been done so far; complete after `finish`.
    pub fn report(&self) -> &ArchiveReport {
        &self.report
    }

    fn writer(&mut self, partition: &Arc<Partition>) -> Result<&mut PartitionWriter, ArchiveError> {
        use std::collections::btree_map::Entry;
        let key = (partition.source_id.clone(), partition.name.clone());
        match self.writers.entry(key) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let writer = PartitionWriter::open(&self.root, self.options, partition.clone())?;
                Ok(entry.insert(writer))
            }
        }
    }

    fn finish_all(&mut self) -> Result<(), ArchiveError> {
        for writer in self.writers.values_mut() {
            writer.finish(&mut self.report)?;
        }
        for (key, writer) in &self.writers {
            let messages = self.messages.remove(key).unwrap_or_default();
            if let Some(range) = writer.span() {
                alerts::replace(&self.root, writer.partition(), range, messages, &mut self.report)?;
            }
        }
        Ok(())
    }
}

/// Says that this process adds files to an archive, as long as the result is held: others may too, but
/// nobody may write the archive of a replay into it. Creates its folder (0700) if there is none.
pub fn share(root: &Path) -> Result<File, ArchiveError> {
    folder::create(root)?;
    folder::lock_shared(root)
}

/// The offset after the last one that an archive holds of a partition; 0 for none.
pub fn next_offset(root: &Path, partition: &Partition) -> Result<i64, ArchiveError> {
    let mut next = 0;
    for table in [Table::Events, Table::Rejected] {
        for file in existing::files(root, table, partition)? {
            next = next.max(file.last + 1);
        }
    }
    Ok(next)
}

impl Sink for Archive {
    fn write_batch(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let mut report = self.report;
        self.writer(&batch.partition)?.write(batch, &mut report)?;
        self.report = report;
        Ok(())
    }

    fn write_messages(&mut self, messages: &[Message]) -> Result<(), SinkError> {
        for message in messages {
            let key = (message.alert.source_id.clone(), message.alert.partition.clone());
            self.messages.entry(key).or_default().push(message.clone());
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(self.finish_all()?)
    }
}

//! Lists the files of an archive and puts them in order. Only paths are looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lapwing_event::archive::{ArchiveFile, RETAINED, Table};

use super::super::SourceError;
use super::super::discover::list_folder;

/// A range of offsets: a file of events, a file of rejected records, or both.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) file: ArchiveFile,
    /// The path of one of its files, for messages.
    pub(super) shown: PathBuf,
    has_events: bool,
    has_rejected: bool,
    pub(super) size_bytes: u64,
}

impl Range {
    pub(super) fn events(&self, root: &Path) -> Option<PathBuf> {
        self.has_events.then(|| root.join(self.file.path(Table::Events)))
    }

    pub(super) fn rejected(&self, root: &Path) -> Option<PathBuf> {
        self.has_rejected.then(|| root.join(self.file.path(Table::Rejected)))
    }

    /// Whether one of its files is missing because that table is kept for a shorter time. The log times
    /// of what is left stand in its rows, so that no alert changes; a tick is missing at most.
    pub(super) fn is_retained_in_part(&self, root: &Path) -> bool {
        let missing = match (self.has_events, self.has_rejected) {
            (true, false) => Table::Rejected,
            (false, true) => Table::Events,
            _ => return false,
        };
        let noted = root.join(RETAINED).join(&self.file.source_id).join(missing.folder());
        let first_kept = fs::read_to_string(noted).unwrap_or_default();
        *self.file.date < *first_kept.trim()
    }
}

/// Whether a folder is an archive: `events` or `rejected` with `date=…/source_id=…` in it.
pub fn is_archive(path: &Path) -> bool {
    let folders = |path: &Path, prefix: &'static str| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    };
    [Table::Events, Table::Rejected].iter().any(|table| {
        let dates = folders(&path.join(table.folder()), "date=");
        dates.iter().any(|date| !folders(date, "source_id=").is_empty())
    })
}

/// The ranges of an archive by source, partition and offset.
pub(super) fn list_ranges(root: &Path) -> Result<Vec<Range>, SourceError> {
    if !is_archive(root) {
        let what =
            "not an archive: events/date=…/source_id=… is not there; name the archive's folder";
        return Err(SourceError::archive(root, what));
    }
    let mut ranges: BTreeMap<(String, String, i64, i64, String), Range> = BTreeMap::new();
    for table in [Table::Events, Table::Rejected] {
        let folder = root.join(table.folder());
        if !folder.is_dir() {
            continue;
        }
        for path in list_folder(&folder)? {
            let below = path.strip_prefix(&folder).unwrap_or(&path);
            let Some(file) = ArchiveFile::parse(below) else { continue };
            let size = fs::metadata(&path).map_err(|error| SourceError::open(&path, error))?.len();
            let (source, partition) = (file.source_id.clone(), file.partition.clone());
            let key = (source, partition, file.first, file.last, file.date.clone());
            let range = ranges.entry(key).or_insert_with(|| Range {
                file,
                shown: path,
                has_events: false,
                has_rejected: false,
                size_bytes: 0,
            });
            range.size_bytes += size;
            range.has_events |= table == Table::Events;
            range.has_rejected |= table == Table::Rejected;
        }
    }
    let ranges: Vec<Range> = ranges.into_values().collect();
    check_overlap(&ranges)?;
    Ok(ranges)
}

fn check_overlap(ranges: &[Range]) -> Result<(), SourceError> {
    for pair in ranges.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        let is_one_partition =
            (&a.file.source_id, &a.file.partition) == (&b.file.source_id, &b.file.partition);
        if is_one_partition && b.file.first <= a.file.last {
            let what = format!(
                "its offsets overlap those of {}; remove the one that does not belong here",
                a.shown.display()
            );
            return Err(SourceError::archive(&b.shown, what));
        }
    }
    Ok(())
}

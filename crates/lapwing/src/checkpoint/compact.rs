//! Merges the small files of a day and partition into few large ones: planned from the chain, written
//! beside the archive and compared row by row, committed by one manifest, then put in place of the old
//! ones. For archives in a folder: S3 cannot exchange them in one step.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lapwing_event::archive::{ArchiveFile, Table};
use lapwing_event::hex;
use lapwing_sink::{Merge, RangeFacts, StagedFile, merge};
use sha2::{Digest, Sha256};
use tracing::info;

use super::archive::ArchivePlace;
use super::chain::random_id;
use super::error::CheckpointError;
use super::ledger::Named;
use super::maintain::{MAX_TRIES, MERGED, Tended, Upkeep, carry_out, staged_merges};
use super::manifest::{CompactEntry, Entry, FileEntry};
use super::swap;

/// The bytes of files at which a merged file is large enough: the size of an epoch's largest, too.
pub(crate) const TARGET_BYTES: u64 = 128 << 20;
/// Ranges that one file may have been merged of: each takes 40 bytes of its metadata.
const MAX_PARTS: usize = 10_000;
/// How often a day is merged again because a claim has removed what was staged.
const MAX_MERGES: usize = 3;

/// What is merged.
#[derive(Debug, Clone)]
pub(crate) struct CompactOptions {
    /// This day alone; by default all before today.
    pub(crate) date: Option<String>,
    /// Today: its files still grow in number.
    pub(crate) today: String,
    /// The fewest ranges that are worth a merge; at least 2.
    pub(crate) min_files: usize,
    /// The bytes at which the next file begins.
    pub(crate) target_bytes: u64,
}

/// What was merged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) days: u64,
    pub(crate) files_before: u64,
    pub(crate) files_after: u64,
    pub(crate) rows: u64,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
}

impl Compacted {
    fn add(&mut self, entry: &CompactEntry) {
        let bytes = |files: &[FileEntry]| files.iter().map(|file| file.size_bytes).sum::<u64>();
        self.days += 1;
        self.files_before += entry.replaced.len() as u64;
        self.files_after += entry.files.len() as u64;
        self.rows += entry.files.iter().map(|file| file.rows).sum::<u64>();
        self.bytes_before += bytes(&entry.replaced);
        self.bytes_after += bytes(&entry.files);
    }
}

/// Files of one table that become one, with all ranges that it stands for.
#[derive(Debug)]
struct Group {
    table: Table,
    file: ArchiveFile,
    inputs: Vec<FileEntry>,
    ranges: Vec<RangeFacts>,
}

/// Merges the files of all partitions.
///
/// # Errors
/// An archive in S3; a chain that is broken, a file that is damaged; a store that does not answer. Days
/// that were merged before stay so.
pub(crate) async fn compact(
    upkeep: &Upkeep,
    options: &CompactOptions,
) -> Result<Compacted, CheckpointError> {
    let Some((archive, root)) = local(upkeep)? else { return Ok(Compacted::default()) };
    swap::check(root)?;
    let mut done = Compacted::default();
    for (source, partition) in upkeep.chains().await? {
        let mut tended = upkeep.tend(&source, &partition).await?;
        remove_leftovers(archive, &tended).await?;
        for day in days(&tended, options) {
            if let Some(entry) =
                compact_day(upkeep, archive, root, &mut tended, &day, options).await?
            {
                let (before, after) = (entry.replaced.len(), entry.files.len());
                info!(source, partition, day, before, after, "merged");
                done.add(&entry);
            }
        }
    }
    swap::remove_old(root).await?;
    Ok(done)
}

fn local(upkeep: &Upkeep) -> Result<Option<(&ArchivePlace, &Path)>, CheckpointError> {
    let Some(archive) = &upkeep.archive else { return Ok(None) };
    let Some(root) = archive.folder() else {
        return Err(CheckpointError::Place {
            place: archive.place().name.clone(),
            reason:
                "files in S3 cannot be exchanged in one step, so they are not merged; make larger \
                     ones (archive.epoch), or let the engine that reads them merge copies"
                    .to_owned(),
        });
    };
    Ok(Some((archive, root)))
}

/// Removes what a merge has written that was never committed. One that was is in its place.
async fn remove_leftovers(archive: &ArchivePlace, tended: &Tended) -> Result<(), CheckpointError> {
    use object_store::ObjectStoreExt;
    for path in staged_merges(archive, &tended.partition).await? {
        match archive.place().store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(CheckpointError::store(path, error)),
        }
    }
    Ok(())
}

/// The days that are looked at.
fn days(tended: &Tended, options: &CompactOptions) -> Vec<String> {
    let files = tended.ledger.files.values().filter_map(|named| parse(&named.file));
    let mut days: Vec<String> = files.map(|(_, file)| file.date).collect();
    days.sort_unstable();
    days.dedup();
    days.retain(|day| match &options.date {
        Some(date) => day == date,
        None => *day < options.today,
    });
    days
}

fn parse(file: &FileEntry) -> Option<(Table, ArchiveFile)> {
    let table = file.table()?;
    let below = Path::new(&file.path).strip_prefix(table.folder()).ok()?;
    Some((table, ArchiveFile::parse(below)?))
}

/// Merges a day; what was done.
async fn compact_day(
    upkeep: &Upkeep,
    archive: &ArchivePlace,
    root: &Path,
    tended: &mut Tended,
    day: &str,
    options: &CompactOptions,
) -> Result<Option<CompactEntry>, CheckpointError> {
    for _ in 0..MAX_MERGES {
        let groups = plan(root, &tended.ledger.files, day, options)?;
        if groups.is_empty() {
            return Ok(None);
        }
        let mut staged = Staged::write(archive, root, tended, groups).await?;
        if staged.commit(upkeep, archive, tended).await? {
            carry_out(archive, &staged.entry).await?;
            return Ok(Some(std::mem::take(&mut staged.entry)));
        }
    }
    Err(CheckpointError::Place {
        place: tended.ledger.store.path_of(""),
        reason: format!(
            "{MAX_MERGES} times a worker took the partition over while files of {day} were merged; \
             run the same command again"
        ),
    })
}

/// A range of records with its files, or a file of alerts.
struct Candidate {
    file: ArchiveFile,
    entries: Vec<(Table, FileEntry)>,
    facts: RangeFacts,
    size_bytes: u64,
}

/// What is merged of a day.
fn plan(
    root: &Path,
    files: &BTreeMap<String, Named>,
    day: &str,
    options: &CompactOptions,
) -> Result<Vec<Group>, CheckpointError> {
    let mut groups = Vec::new();
    for tables in [&[Table::Events, Table::Rejected][..], &[Table::Alerts]] {
        let mut ranges: BTreeMap<(i64, i64, String), Vec<(Table, FileEntry)>> = BTreeMap::new();
        for named in files.values() {
            let Some((table, file)) = parse(&named.file) else { continue };
            if tables.contains(&table) && (table != Table::Alerts || file.date == day) {
                let key = (file.first, file.last, file.date);
                ranges.entry(key).or_default().push((table, named.file.clone()));
            }
        }
        let mut run: Vec<Candidate> = Vec::new();
        for ((.., date), entries) in ranges {
            // Between two ranges of a file lies none of another day.
            if date != day {
                groups.extend(group(&std::mem::take(&mut run), tables, options));
                continue;
            }
            let candidate = candidate(root, entries)?;
            if !fits(&run, &candidate, options) {
                groups.extend(group(&std::mem::take(&mut run), tables, options));
            }
            run.push(candidate);
        }
        groups.extend(group(&run, tables, options));
    }
    Ok(groups)
}

fn candidate(root: &Path, entries: Vec<(Table, FileEntry)>) -> Result<Candidate, CheckpointError> {
    let (table, first) = &entries[0];
    let (_, file) = parse(first).expect("it was parsed before");
    Ok(Candidate {
        file,
        facts: RangeFacts::read(&root.join(&first.path), *table)?,
        size_bytes: entries.iter().map(|(_, entry)| entry.size_bytes).sum(),
        entries,
    })
}

fn fits(run: &[Candidate], next: &Candidate, options: &CompactOptions) -> bool {
    let Some(last) = run.last() else { return true };
    let size: u64 = run.iter().map(|candidate| candidate.size_bytes).sum();
    let parts: usize = run.iter().map(|candidate| candidate.facts.parts()).sum();
    last.facts.joins(&next.facts)
        && size + next.size_bytes <= options.target_bytes
        && parts + next.facts.parts() <= MAX_PARTS
}

/// The files that candidates become: one in each table that they have files in.
fn group(run: &[Candidate], tables: &[Table], options: &CompactOptions) -> Vec<Group> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Vec::new() };
    if run.len() < options.min_files.max(2) {
        return Vec::new();
    }
    let file = ArchiveFile { last: last.file.last, ..first.file.clone() };
    let ranges: Vec<RangeFacts> = run.iter().map(|candidate| candidate.facts.clone()).collect();
    let inputs = |table: Table| {
        let entries = run.iter().flat_map(|candidate| &candidate.entries);
        entries.filter(|(of, _)| *of == table).map(|(_, entry)| entry.clone()).collect()
    };
    let groups = tables.iter().map(|table| Group {
        table: *table,
        file: file.clone(),
        inputs: inputs(*table),
        ranges: ranges.clone(),
    });
    groups.filter(|group| !group.inputs.is_empty()).collect()
}

/// Merged files that wait for their manifest; removed if that never comes.
struct Staged {
    /// The number that begins their names.
    number: u64,
    entry: CompactEntry,
    paths: Vec<PathBuf>,
    may_be_committed: bool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.may_be_committed {
            for path in &self.paths {
                drop(fs::remove_file(path));
            }
        }
    }
}

impl Staged {
    async fn write(
        archive: &ArchivePlace,
        root: &Path,
        tended: &Tended,
        groups: Vec<Group>,
    ) -> Result<Self, CheckpointError> {
        // A claim removes names whose number is not greater than its own.
        let number = tended.ledger.number + 1;
        let attempt = format!("{number:020}-{MERGED}-{}", random_id());
        let (folder, root) = (archive.staging_folder(&tended.partition), root.to_owned());
        let mut staged = Self {
            number,
            entry: CompactEntry::default(),
            paths: Vec::new(),
            may_be_committed: false,
        };
        for group in groups {
            let (folder, attempt, root) = (folder.clone(), attempt.clone(), root.clone());
            let merging = tokio::task::spawn_blocking(move || {
                let merged = merge_group(&root, &folder, &attempt, &group);
                (merged, group.inputs)
            });
            let (merged, inputs) = merging.await.expect("merging files does not panic");
            let merged = merged?;
            staged.paths.push(merged.path.clone());
            staged.entry.files.push(archive.stage(&tended.partition, &merged).await?);
            staged.entry.replaced.extend(inputs);
        }
        Ok(staged)
    }

    /// Appends the manifest; false if a claim has removed the files, so that they have to be written again.
    async fn commit(
        &mut self,
        upkeep: &Upkeep,
        archive: &ArchivePlace,
        tended: &mut Tended,
    ) -> Result<bool, CheckpointError> {
        for _ in 0..MAX_TRIES {
            if tended.ledger.claim >= self.number && !self.rename(archive, tended)? {
                return Ok(false);
            }
            let files = &tended.ledger.files;
            if !self.entry.replaced.iter().all(|file| files.contains_key(&file.path)) {
                return Ok(false);
            }
            // After an error nobody knows.
            self.may_be_committed = true;
            if upkeep.append(tended, &Entry::Compact(self.entry.clone())).await? {
                return Ok(true);
            }
            self.may_be_committed = false;
            upkeep.catch_up(tended).await?;
        }
        Err(CheckpointError::Place {
            place: tended.ledger.store.path_of(""),
            reason: format!(
                "{MAX_TRIES} times a worker was faster; run the same command again when it has less to do"
            ),
        })
    }

    /// Gives the files names that the newest claim leaves alone; false if it has removed them.
    fn rename(&mut self, archive: &ArchivePlace, tended: &Tended) -> Result<bool, CheckpointError> {
        let number = tended.ledger.number + 1;
        let (from, to) = (format!("{:020}-", self.number), format!("{number:020}-"));
        let folder = archive.staging_folder(&tended.partition);
        for (file, path) in self.entry.files.iter_mut().zip(&mut self.paths) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let renamed = folder.join(name.replacen(&from, &to, 1));
            match fs::rename(&*path, &renamed) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(unreadable(path, &error)),
            }
            file.staged = file.staged.replacen(&from, &to, 1);
            *path = renamed;
        }
        self.number = number;
        Ok(true)
    }
}

fn merge_group(
    root: &Path,
    folder: &Path,
    attempt: &str,
    group: &Group,
) -> Result<StagedFile, CheckpointError> {
    for input in &group.inputs {
        check(root, input)?;
    }
    let merged = merge(
        folder,
        attempt,
        &Merge {
            table: group.table,
            inputs: group.inputs.iter().map(|input| root.join(&input.path)).collect(),
            file: group.file.clone(),
            ranges: &group.ranges,
        },
    )?;
    let rows: u64 = group.inputs.iter().map(|input| input.rows).sum();
    if merged.rows == rows {
        return Ok(merged);
    }
    drop(fs::remove_file(&merged.path));
    Err(CheckpointError::Place {
        place: root.display().to_string(),
        reason: format!(
            "files of {rows} rows have {}; see `lapwing checkpoint verify`",
            merged.rows
        ),
    })
}

/// A damaged file must not be merged: its damage would get a new SHA-256.
fn check(root: &Path, input: &FileEntry) -> Result<(), CheckpointError> {
    let path = root.join(&input.path);
    let mut hash = Sha256::new();
    let hashed =
        File::open(&path).and_then(|mut file| io::copy(&mut file, &mut HashWriter(&mut hash)));
    hashed.map_err(|error| unreadable(&path, &error))?;
    if hex(&hash.finalize()) == input.sha256 {
        return Ok(());
    }
    Err(CheckpointError::Place {
        place: path.display().to_string(),
        reason:
            "it is not as it was written (its SHA-256 is another); restore it from a copy, and see \
                 `lapwing checkpoint verify`"
                .to_owned(),
    })
}

fn unreadable(path: &Path, error: &io::Error) -> CheckpointError {
    CheckpointError::Place { place: path.display().to_string(), reason: error.to_string() }
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Compares chains with what they name: the manifests with each other, the newest state, and every file
//! that the archive must have. Reads only; what looks broken is looked at twice, since `run` and
//! maintenance may be at work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use lapwing_event::archive::{ArchiveFile, Table};
use lapwing_event::hex;
use lapwing_sink::footer_rows;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};
use sha2::{Digest, Sha256};

use super::archive::ArchivePlace;
use super::error::CheckpointError;
use super::ledger::{Break, Ledger, Named, RESTORE};
use super::maintain::visible_files;
use super::manifest::{Entry, sha256};
use super::store::{ChainStore, Place};

/// How long is waited before a break is looked at again: an owner publishes within milliseconds of its
/// manifest, and S3 takes a second for a large file.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Files that are read at a time: S3 answers each after some 30 ms.
const AT_A_TIME: usize = 4;
/// The end of a Parquet file that says how long its metadata is.
const FOOTER_TAIL: u64 = 8;

/// What was looked at, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    pub(crate) chains: u64,
    pub(crate) manifests: u64,
    pub(crate) files: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// What is broken.
    pub(crate) breaks: Vec<Break>,
    /// What is as it may be, and worth knowing.
    pub(crate) notes: Vec<String>,
}

/// Verifies chains: source and partition.
///
/// # Errors
/// A store that does not answer.
pub(crate) async fn verify(
    state: &Place,
    archive: Option<&ArchivePlace>,
    chains: &[(String, String)],
) -> Result<Verified, CheckpointError> {
    let mut verified = Verified::default();
    let mut in_sight = InSight::list(archive).await?;
    for (source, partition) in chains {
        let store = ChainStore::new(state, source, partition);
        let mut chain = verify_chain(&store, archive, &in_sight, (source, partition)).await?;
        if !chain.breaks.is_empty() {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            in_sight = InSight::list(archive).await?;
            let before: BTreeSet<Break> = chain.breaks.into_iter().collect();
            chain = verify_chain(&store, archive, &in_sight, (source, partition)).await?;
            chain.breaks.retain(|found| before.contains(found));
        }
        verified.add(chain);
    }
    Ok(verified)
}

impl Verified {
    fn add(&mut self, chain: Self) {
        self.chains += 1;
        self.manifests += chain.manifests;
        self.files += chain.files;
        self.rows += chain.rows;
        self.bytes += chain.bytes;
        self.breaks.extend(chain.breaks);
        self.notes.extend(chain.notes);
    }
}

/// The files of an archive, as of before the chains were read: what is in sight was committed before.
struct InSight {
    sizes: BTreeMap<String, u64>,
}

impl InSight {
    async fn list(archive: Option<&ArchivePlace>) -> Result<Self, CheckpointError> {
        let files = match archive {
            Some(archive) => visible_files(archive.place(), None).await?,
            None => Vec::new(),
        };
        let sizes = files.into_iter().map(|(path, size)| (path.to_string(), size)).collect();
        Ok(Self { sizes })
    }

    /// Those of a partition.
    fn of<'a>(
        &'a self,
        source: &'a str,
        partition: &'a str,
    ) -> impl Iterator<Item = (&'a str, ArchiveFile)> {
        self.sizes.keys().filter_map(move |path| {
            let (_, file) = parse(path)?;
            (file.source_id == source && file.partition == partition).then_some((&**path, file))
        })
    }
}

/// The table and the range of a path.
fn parse(path: &str) -> Option<(Table, ArchiveFile)> {
    let (folder, below) = path.split_once('/')?;
    let table = Table::ALL.into_iter().find(|table| table.folder() == folder)?;
    Some((table, ArchiveFile::parse(below.as_ref())?))
}

async fn verify_chain(
    store: &ChainStore,
    archive: Option<&ArchivePlace>,
    in_sight: &InSight,
    (source, partition): (&str, &str),
) -> Result<Verified, CheckpointError> {
    let mut ledger = Ledger::read(store).await?;
    let mut found = Verified { manifests: ledger.manifests, ..Verified::default() };
    check_state(&mut ledger).await?;
    if let (Some(first), Some(last)) = (ledger.strays.first(), ledger.strays.last()) {
        let count = ledger.strays.len();
        let place = store.path_of("");
        found.notes.push(format!(
            "{place}: {count} manifests from {first} to {last} are left over below a summary; \
             `lapwing checkpoint prune` removes them once they are old enough"
        ));
    }
    if let Some(archive) = archive {
        unswapped(archive, &mut ledger, &mut found).await?;
        check_ranges(&mut ledger);
        check_files(archive, &mut ledger, &mut found).await?;
        check_strangers(archive, &mut ledger, in_sight.of(source, partition), &mut found);
    }
    found.breaks = ledger.breaks;
    Ok(found)
}

async fn check_state(ledger: &mut Ledger) -> Result<(), CheckpointError> {
    let state = ledger.epoch.as_ref().and_then(|(_, epoch)| epoch.state.clone());
    let Some(state) = state else { return Ok(()) };
    let path = ledger.store.path_of(&state.name);
    let what = match ledger.store.get(&state.name).await {
        Err(CheckpointError::Store { source: Error::NotFound { .. }, .. }) => {
            "the detector state is missing".to_owned()
        }
        Err(error) => return Err(error),
        Ok(bytes) => match differs(&state.sha256, state.size_bytes, &sha256(&bytes), bytes.len()) {
            Some(what) => format!("the detector state is damaged: {what}"),
            None => return Ok(()),
        },
    };
    ledger.breaks_at(path, what, RESTORE);
    Ok(())
}

fn differs(sha256: &str, size: u64, found: &str, found_size: usize) -> Option<String> {
    match (found_size as u64 == size, found == sha256) {
        (false, _) => Some(format!("it has {found_size} bytes, its manifest says {size}")),
        (true, false) => Some(format!("its SHA-256 is {found}, its manifest says {sha256}")),
        (true, true) => None,
    }
}

/// A merge that was committed and not carried out: the old files still count, table by table.
async fn unswapped(
    archive: &ArchivePlace,
    ledger: &mut Ledger,
    found: &mut Verified,
) -> Result<(), CheckpointError> {
    let Some((number, Entry::Compact(compact))) = ledger.maintenance.clone() else { return Ok(()) };
    let mut waiting = BTreeSet::new();
    for file in &compact.files {
        if ledger.files.contains_key(&file.path)
            && !exists(archive, &file.path).await?
            && exists(archive, &file.staged).await?
        {
            waiting.insert(file.table.clone());
        }
    }
    if waiting.is_empty() {
        return Ok(());
    }
    for file in compact.files.iter().filter(|file| waiting.contains(&file.table)) {
        ledger.files.remove(&file.path);
    }
    for file in compact.replaced.into_iter().filter(|file| waiting.contains(&file.table)) {
        ledger.files.insert(file.path.clone(), Named { number, file });
    }
    found.notes.push(format!(
        "{}: merged files wait to take their place; `lapwing compact`, or the next start of \
         `lapwing run`, does it",
        ledger.store.path_of(&ChainStore::manifest_name(number))
    ));
    Ok(())
}

async fn exists(archive: &ArchivePlace, path: &str) -> Result<bool, CheckpointError> {
    match archive.place().store.head(&Path::from(path)).await {
        Ok(_) => Ok(true),
        Err(Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(CheckpointError::store(path, error)),
    }
}

/// The day, for alerts; the first and the last offset; the day again, for all.
type Span = (Option<String>, i64, i64, String);

/// No offset is in two ranges of records; alerts have ranges of their own, day by day.
fn check_ranges(ledger: &mut Ledger) {
    let mut ranges: BTreeMap<Span, &str> = BTreeMap::new();
    for (path, named) in &ledger.files {
        let Some((table, file)) = parse(path) else { continue };
        let day = (table == Table::Alerts).then(|| file.date.clone());
        // Events and rejected records of one range share its name.
        ranges.entry((day, file.first, file.last, file.date)).or_insert(&named.file.path);
    }
    let mut overlaps = Vec::new();
    let mut before: Option<(&Span, &str)> = None;
    for (range, path) in &ranges {
        if let Some((known, other)) = before
            && known.0 == range.0
            && range.1 <= known.2
        {
            overlaps.push(((*path).to_owned(), format!("its offsets overlap those of {other}")));
        }
        before = match before {
            Some((known, other)) if known.0 == range.0 && known.2 > range.2 => Some((known, other)),
            _ => Some((range, path)),
        };
    }
    for (path, what) in overlaps {
        ledger.breaks_at(path, what, RESTORE);
    }
}

/// What reading a file came to.
struct Looked {
    path: String,
    rows: u64,
    bytes: u64,
    broken: Option<(String, &'static str)>,
}

const RESTORE_FILE: &str =
    "restore it from a copy, or archive these records again from where they were read";

async fn check_files(
    archive: &ArchivePlace,
    ledger: &mut Ledger,
    found: &mut Verified,
) -> Result<(), CheckpointError> {
    let newest = ledger.epoch.as_ref().map(|(number, _)| *number);
    let files: Vec<Named> = ledger.files.values().cloned().collect();
    let mut looks = stream::iter(files)
        .map(|named| async move { look(archive, &named, newest).await })
        .buffered(AT_A_TIME);
    while let Some(Looked { path, rows, bytes, broken }) = looks.try_next().await? {
        found.files += 1;
        found.rows += rows;
        found.bytes += bytes;
        if let Some((what, way_out)) = broken {
            ledger.breaks_at(shown(archive, &path), what, way_out);
        }
    }
    Ok(())
}

/// A path of the archive for people.
fn shown(archive: &ArchivePlace, path: &str) -> String {
    format!("{}/{path}", archive.place().name.trim_end_matches('/'))
}

async fn look(
    archive: &ArchivePlace,
    named: &Named,
    newest: Option<u64>,
) -> Result<Looked, CheckpointError> {
    let Named { number, file } = named;
    let broken = |what: String, way_out| Looked {
        path: file.path.clone(),
        rows: 0,
        bytes: 0,
        broken: Some((what, way_out)),
    };
    let mut read = read_file(archive, &file.path).await?;
    if read.is_none() {
        read = read_file(archive, &file.staged).await?;
        if read.is_some() && newest != Some(*number) {
            let what = format!("it still has the name {}", file.staged);
            return Ok(broken(what, "rename it: no later start will do it"));
        }
    }
    let Some((size, digest, rows)) = read else {
        let what = format!("it is missing; manifest {number} names it");
        return Ok(broken(what, RESTORE_FILE));
    };
    if let Some(what) = differs(&file.sha256, file.size_bytes, &digest, size as usize) {
        return Ok(broken(format!("{what} ({number})"), RESTORE_FILE));
    }
    match rows {
        Err(why) => Ok(broken(format!("it is no Parquet file: {why}"), RESTORE_FILE)),
        Ok(rows) if rows != file.rows => {
            let what = format!("it has {rows} rows, its manifest {number} says {}", file.rows);
            Ok(broken(what, RESTORE_FILE))
        }
        Ok(rows) => Ok(Looked { path: file.path.clone(), rows, bytes: size, broken: None }),
    }
}

/// Length, SHA-256 and rows of a file.
type FileRead = (u64, String, Result<u64, String>);

async fn read_file(
    archive: &ArchivePlace,
    path: &str,
) -> Result<Option<FileRead>, CheckpointError> {
    let (store, at) = (&archive.place().store, Path::from(path));
    let failed = |error| CheckpointError::store(path, error);
    let got = match store.get(&at).await {
        Ok(got) => got,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let size = got.meta.size;
    let (mut hash, mut bytes) = (Sha256::new(), got.into_stream());
    while let Some(bytes) = bytes.try_next().await.map_err(failed)? {
        hash.update(&bytes);
    }
    let rows = match read_rows(archive, &at, size).await {
        // It was there when it was hashed: somebody takes it away just now.
        Err(Error::NotFound { .. }) => return Ok(None),
        rows => rows.map_err(failed)?,
    };
    Ok(Some((size, hex(&hash.finalize()), rows)))
}

async fn read_rows(
    archive: &ArchivePlace,
    at: &Path,
    size: u64,
) -> Result<Result<u64, String>, Error> {
    if size < FOOTER_TAIL {
        return Ok(Err("it is too short".to_owned()));
    }
    let store = &archive.place().store;
    let tail = store.get_range(at, size - FOOTER_TAIL..size).await?;
    let length = tail.first_chunk().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
    if length + FOOTER_TAIL > size {
        return Ok(Err("its metadata is longer than the file".to_owned()));
    }
    let end = store.get_range(at, size - FOOTER_TAIL - length..size).await?;
    Ok(footer_rows(&end))
}

/// Files in sight that no manifest names.
fn check_strangers<'a>(
    archive: &ArchivePlace,
    ledger: &mut Ledger,
    in_sight: impl Iterator<Item = (&'a str, ArchiveFile)>,
    found: &mut Verified,
) {
    let mut older = 0;
    for (path, file) in in_sight {
        if ledger.files.contains_key(path) {
            continue;
        }
        let is_older = ledger.first_offset.is_none_or(|first| file.last < first);
        let (what, way_out) = match ledger.gone.get(path) {
            Some(number) => (
                format!("manifest {number} has taken it away, and it is still there"),
                "`lapwing retain`, or `lapwing compact`, ends what was begun",
            ),
            None if is_older => {
                older += 1;
                continue;
            }
            None => (
                "no manifest names it".to_owned(),
                "move it out of the archive: its records are not there twice on purpose",
            ),
        };
        ledger.breaks_at(shown(archive, path), what, way_out);
    }
    if older > 0 {
        found.notes.push(format!(
            "{}: {older} files of the archive are older than this chain, and were not checked",
            ledger.store.path_of("")
        ));
    }
}

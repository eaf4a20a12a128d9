//! Puts merged files in the place of the old ones: a folder `date=…/source_id=…` is built again beside it,
//! of hard links, and the two are exchanged in one step. Whoever lists the folder sees the old files or the
//! merged one, never both and never neither. What a crash leaves half done is finished by whoever comes
//! next, and never undone.
//!
//! The known cost: a query that has listed the folder before the exchange may find that a file is gone
//! when it opens it, and fails. It has to be repeated; it never gives a wrong result.
//!
//! `.swap/` of an archive holds `lock`, `journal.json` (the exchange at hand), `new` (the folder that is
//! built, after the exchange the old one) and `old/*` (folders that wait to be removed).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::chain::random_id;
use super::error::CheckpointError;
use super::manifest::CompactEntry;

/// How long the lock of exchanges is waited for: one takes milliseconds.
const LOCK_FOR: Duration = Duration::from_secs(10);
/// How often it is tried.
const LOCK_EVERY: Duration = Duration::from_millis(5);
/// How long an old folder is left alone: listings of it that have begun may end, which takes
/// milliseconds.
const GRACE: Duration = Duration::from_secs(1);

const SWAP: &str = ".swap";
const LOCK: &str = ".lock";
const MAINTENANCE: &str = "maintenance";
const JOURNAL: &str = "journal.json";
const NEW: &str = "new";
const OLD: &str = "old";

/// The exchange at hand.
#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    /// The folder, below the archive.
    folder: PathBuf,
    /// Names of files that are replaced.
    old: BTreeSet<String>,
    /// Names of files that replace them; they have never been in the folder before.
    new: Vec<String>,
}

/// A folder whose files are merged.
#[derive(Debug)]
struct Job {
    journal: Journal,
    /// Where the merged files lie until then, in the order of their names.
    staged: Vec<PathBuf>,
}

/// An error that names a path.
fn failed(path: &Path) -> impl FnOnce(io::Error) -> CheckpointError + '_ {
    move |error| CheckpointError::Place {
        place: path.display().to_string(),
        reason: format!("{error}; check the disk and the rights, and run the same command again"),
    }
}

fn folder(archive: &Path) -> Result<PathBuf, CheckpointError> {
    let folder = archive.join(SWAP);
    let created = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    created.map_err(failed(&folder))?;
    Ok(folder)
}

fn lock_file(archive: &Path, name: &str) -> Result<(PathBuf, File), CheckpointError> {
    let path = folder(archive)?.join(name);
    let opened =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.map_err(failed(&path))?;
    Ok((path, file))
}

/// Takes the lock of maintenance: two processes would merge the same files.
pub(super) fn lock_maintenance(archive: &Path) -> Result<File, CheckpointError> {
    let (path, file) = lock_file(archive, MAINTENANCE)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CheckpointError::Place {
            place: archive.display().to_string(),
            reason: "another process maintains this archive; wait until it is done".to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(&path)(error)),
    }
}

/// Waits until nothing is exchanged, and keeps it so while the result is held: a file that is published in
/// between would be out of sight for a moment. `None` where nobody has ever merged anything.
///
/// # Errors
/// A lock that is held for too long; trying again may help.
pub(super) async fn hold_still(archive: &Path) -> Result<Option<File>, CheckpointError> {
    if !archive.join(SWAP).join(LOCK).exists() {
        return Ok(None);
    }
    // A shared lock asks for no right to write: an archive that has become read-only is told by the write itself.
    let path = archive.join(SWAP).join(LOCK);
    let file = File::open(&path).map_err(|e| not_locked(&path, &TryLockError::Error(e)))?;
    let began = Instant::now();
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_FOR => {
                tokio::time::sleep(LOCK_EVERY).await;
            }
            Err(error) => return Err(not_locked(&path, &error)),
        }
    }
}

fn lock_exclusive(archive: &Path) -> Result<File, CheckpointError> {
    let (path, file) = lock_file(archive, LOCK)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_FOR => {
                std::thread::sleep(LOCK_EVERY);
            }
            Err(error) => return Err(not_locked(&path, &error)),
        }
    }
}

fn not_locked(path: &Path, error: &TryLockError) -> CheckpointError {
    let why = match error {
        TryLockError::WouldBlock => "a process that merges files holds it; is it stopped?".into(),
        TryLockError::Error(error) => error.to_string(),
    };
    let source = object_store::Error::Generic { store: "archive", source: why.into() };
    CheckpointError::store(path.display().to_string(), source)
}

/// Says whether the file system can exchange two folders, before anything relies on it. From then on
/// whoever publishes a file minds the lock.
pub(super) fn check(archive: &Path) -> Result<(), CheckpointError> {
    let folder = folder(archive)?;
    drop(lock_file(archive, LOCK)?);
    let probes = [folder.join("probe-a"), folder.join("probe-b")];
    for probe in &probes {
        DirBuilder::new().recursive(true).mode(0o700).create(probe).map_err(failed(probe))?;
    }
    let exchanged = exchange(&probes[0], &probes[1]);
    for probe in &probes {
        drop(fs::remove_dir(probe));
    }
    exchanged.map_err(|error| CheckpointError::Place {
        place: archive.display().to_string(),
        reason: format!(
            "two folders cannot be exchanged here ({error}); files are merged on ext4, xfs, btrfs and \
             other local file systems"
        ),
    })
}

fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

/// Puts the files that a manifest names in the place of those that it replaces, as far as that is not done.
///
/// # Errors
/// The file system.
pub(super) fn swap(archive: &Path, entry: &CompactEntry) -> Result<(), CheckpointError> {
    let _lock = lock_exclusive(archive)?;
    recover(archive)?;
    jobs(archive, entry).iter().try_for_each(|job| swap_folder(archive, job))
}

/// Ends an exchange that a crash has interrupted.
pub(super) fn recover_exchange(archive: &Path) -> Result<(), CheckpointError> {
    if !archive.join(SWAP).join(JOURNAL).exists() {
        return Ok(());
    }
    let _lock = lock_exclusive(archive)?;
    recover(archive)
}

/// The folders of a manifest's files.
fn jobs(archive: &Path, entry: &CompactEntry) -> Vec<Job> {
    let mut jobs: BTreeMap<PathBuf, Job> = BTreeMap::new();
    for file in &entry.files {
        let Some((folder, name)) = split(&file.path) else { continue };
        let job = jobs.entry(folder.clone()).or_insert_with(|| Job {
            journal: Journal { folder, old: BTreeSet::new(), new: Vec::new() },
            staged: Vec::new(),
        });
        job.journal.new.push(name);
        job.staged.push(archive.join(&file.staged));
    }
    for file in &entry.replaced {
        let Some((folder, name)) = split(&file.path) else { continue };
        if let Some(job) = jobs.get_mut(&folder) {
            job.journal.old.insert(name);
        }
    }
    jobs.into_values().collect()
}

fn split(path: &str) -> Option<(PathBuf, String)> {
    let (folder, name) = path.rsplit_once('/')?;
    Some((folder.into(), name.to_owned()))
}

/// A staged name that is there says that its folder is not done.
fn swap_folder(archive: &Path, job: &Job) -> Result<(), CheckpointError> {
    if !job.staged.iter().any(|staged| staged.exists()) {
        return Ok(());
    }
    let visible = archive.join(&job.journal.folder);
    if !job.journal.new.iter().all(|name| visible.join(name).exists()) {
        build(archive, job)?;
        write_journal(archive, &job.journal)?;
        let built = archive.join(SWAP).join(NEW);
        exchange(&built, &visible).map_err(failed(&visible))?;
        recover(archive)?;
    }
    for staged in job.staged.iter().filter(|staged| staged.exists()) {
        fs::remove_file(staged).map_err(failed(staged))?;
    }
    Ok(())
}

/// Makes the folder as it will be.
fn build(archive: &Path, job: &Job) -> Result<(), CheckpointError> {
    let visible = archive.join(&job.journal.folder);
    let built = archive.join(SWAP).join(NEW);
    DirBuilder::new().mode(0o700).create(&built).map_err(failed(&built))?;
    let mode = fs::metadata(&visible).map_err(failed(&visible))?.permissions().mode();
    fs::set_permissions(&built, fs::Permissions::from_mode(mode & 0o7777))
        .map_err(failed(&built))?;
    for (name, path) in list(&visible)? {
        let is_old = name.to_str().is_some_and(|name| job.journal.old.contains(name));
        if !is_old && path.is_file() {
            fs::hard_link(&path, built.join(name)).map_err(failed(&path))?;
        }
    }
    for (name, staged) in job.journal.new.iter().zip(&job.staged) {
        fs::hard_link(staged, built.join(name)).map_err(failed(staged))?;
    }
    sync(&built)
}

fn write_journal(archive: &Path, journal: &Journal) -> Result<(), CheckpointError> {
    let folder = archive.join(SWAP);
    let (path, written) = (folder.join(JOURNAL), folder.join(format!("{JOURNAL}.new")));
    let bytes = serde_json::to_vec(journal).expect("a journal has text keys");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&written)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&written, &path)
    };
    write().map_err(failed(&path))?;
    sync(&folder)
}

/// Brings an exchange that has begun to its end, whichever end that is: it has happened if a merged file
/// is in sight.
fn recover(archive: &Path) -> Result<(), CheckpointError> {
    let folder = archive.join(SWAP);
    let (path, beside) = (folder.join(JOURNAL), folder.join(NEW));
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // It was being built; what it links to is in its place.
            return remove_folder(&beside);
        }
        Err(error) => return Err(failed(&path)(error)),
    };
    let journal: Journal = serde_json::from_slice(&bytes).map_err(|error| {
        let reason = format!("{error}; compare {} with the folder it names", beside.display());
        CheckpointError::Place { place: path.display().to_string(), reason }
    })?;
    let visible = archive.join(&journal.folder);
    if journal.new.iter().all(|name| visible.join(name).exists()) {
        settle(&journal, &visible, &beside)?;
        bury(&folder, &beside)?;
    } else {
        remove_folder(&beside)?;
    }
    fs::remove_file(&path).map_err(failed(&path))?;
    sync(&folder)
}

/// Brings over what was published into the old folder after it was listed.
fn settle(journal: &Journal, visible: &Path, beside: &Path) -> Result<(), CheckpointError> {
    for (name, path) in list(beside)? {
        let is_old = name.to_str().is_some_and(|name| journal.old.contains(name));
        let to = visible.join(&name);
        if !is_old && !to.exists() {
            fs::rename(&path, &to).map_err(failed(&path))?;
        }
    }
    sync(visible)?;
    visible.parent().map_or(Ok(()), sync)
}

/// Puts an old folder where it waits to be removed.
fn bury(folder: &Path, beside: &Path) -> Result<(), CheckpointError> {
    let graves = folder.join(OLD);
    DirBuilder::new().recursive(true).mode(0o700).create(&graves).map_err(failed(&graves))?;
    match fs::rename(beside, graves.join(random_id())) {
        Ok(()) => sync(&graves),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(beside)(error)),
    }
}

/// Removes old folders once nobody can be listing them any more; waits for that.
pub(super) async fn remove_old(archive: &Path) -> Result<(), CheckpointError> {
    for (_, path) in list(&archive.join(SWAP).join(OLD))? {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let changed = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // The time of the change is counted in whole seconds here.
        let left = (GRACE + Duration::from_secs(1)).saturating_sub(age.saturating_sub(changed));
        tokio::time::sleep(left).await;
        remove_folder(&path)?;
    }
    Ok(())
}

fn remove_folder(path: &Path) -> Result<(), CheckpointError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

/// The entries of a folder; none if there is no such folder.
fn list(folder: &Path) -> Result<Vec<(OsString, PathBuf)>, CheckpointError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder)(error)),
    };
    let entries = entries.map(|entry| entry.map(|entry| (entry.file_name(), entry.path())));
    entries.collect::<io::Result<_>>().map_err(failed(folder))
}

fn sync(folder: &Path) -> Result<(), CheckpointError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(failed(folder))
}

/// The parts of an exchange, for tests that stop between them.
#[cfg(test)]
mod tests {
    use super::super::manifest::FileEntry;
    use super::*;

    const FOLDER: &str = "events/date=2026-11-22/source_id=gw";

    struct Case {
        archive: tempfile::TempDir,
        entry: CompactEntry,
    }

    fn file(path: &str, staged: &str) -> FileEntry {
        FileEntry {
            table: "events".into(),
            path: path.into(),
            staged: staged.into(),
            rows: 1,
            size_bytes: 1,
            sha256: String::new(),
        }
    }

    /// Files a and b that become ab, c that stays.
    fn case() -> Case {
        let archive = tempfile::tempdir().expect("a folder");
        let at = archive.path();
        fs::create_dir_all(at.join(FOLDER)).expect("a folder");
        fs::create_dir_all(at.join(".staged/gw/0")).expect("a folder");
        for name in ["a", "b", "c"] {
            fs::write(at.join(FOLDER).join(name), name).expect("a file");
        }
        fs::write(at.join(".staged/gw/0/ab"), "ab").expect("a file");
        let path = |name: &str| format!("{FOLDER}/{name}");
        let entry = CompactEntry {
            replaced: vec![file(&path("a"), ""), file(&path("b"), "")],
            files: vec![file(&path("ab"), ".staged/gw/0/ab")],
        };
        Case { archive, entry }
    }

    fn names(case: &Case) -> Vec<String> {
        let entries = list(&case.archive.path().join(FOLDER)).expect("a folder");
        let mut names: Vec<String> =
            entries.into_iter().map(|(name, _)| name.into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    fn job(case: &Case) -> Job {
        folder(case.archive.path()).expect("a folder");
        jobs(case.archive.path(), &case.entry).remove(0)
    }

    #[test]
    fn merged_files_take_the_place_of_the_old_ones_once() {
        let case = case();
        for _ in 0..2 {
            swap(case.archive.path(), &case.entry).expect("swapped");
            assert_eq!(names(&case), ["ab", "c"]);
            assert!(!case.archive.path().join(".staged/gw/0/ab").exists());
        }
    }

    #[test]
    fn a_crash_between_any_two_steps_is_finished_by_the_next() {
        for steps in 0..6 {
            let case = case();
            let at = case.archive.path();
            let job = job(&case);
            let (visible, built) = (at.join(FOLDER), at.join(SWAP).join(NEW));
            let take: [&dyn Fn(); 6] = [
                &|| build(at, &job).expect("built"),
                &|| write_journal(at, &job.journal).expect("written"),
                &|| exchange(&built, &visible).expect("exchanged"),
                &|| settle(&job.journal, &visible, &built).expect("settled"),
                &|| bury(&at.join(SWAP), &built).expect("buried"),
                &|| fs::remove_file(at.join(SWAP).join(JOURNAL)).expect("removed"),
            ];
            take[..=steps].iter().for_each(|step| step());
            let expected: &[&str] = if steps < 2 { &["a", "b", "c"] } else { &["ab", "c"] };
            assert_eq!(names(&case), expected, "after step {steps}");
            // A claimer of another partition comes first, then one of this.
            recover_exchange(at).expect("recovered");
            assert_eq!(names(&case), expected, "recovered after step {steps}");
            swap(at, &case.entry).expect("swapped");
            assert_eq!(names(&case), ["ab", "c"], "finished after step {steps}");
            swap(at, &case.entry).expect("swapped");
            assert_eq!(names(&case), ["ab", "c"], "twice after step {steps}");
            assert!(!at.join(".staged/gw/0/ab").exists() && !built.exists());
        }
    }

    #[test]
    fn what_is_published_during_an_exchange_stays() {
        let case = case();
        let at = case.archive.path();
        let job = job(&case);
        build(at, &job).expect("built");
        fs::write(at.join(FOLDER).join("d"), "d").expect("published");
        write_journal(at, &job.journal).expect("written");
        exchange(&at.join(SWAP).join(NEW), &at.join(FOLDER)).expect("exchanged");
        fs::write(at.join(FOLDER).join("e"), "e").expect("published");
        swap(at, &case.entry).expect("swapped");
        assert_eq!(names(&case), ["ab", "c", "d", "e"]);
    }

    #[test]
    fn an_exchange_that_was_done_is_never_undone_after_the_next_merge() {
        let case = case();
        let at = case.archive.path();
        swap(at, &case.entry).expect("swapped");
        fs::write(at.join(".staged/gw/0/abc"), "abc").expect("a file");
        let path = |name: &str| format!("{FOLDER}/{name}");
        let next = CompactEntry {
            replaced: vec![file(&path("ab"), ""), file(&path("c"), "")],
            files: vec![file(&path("abc"), ".staged/gw/0/abc")],
        };
        swap(at, &next).expect("swapped");
        // A process that slept since the first merge goes on.
        swap(at, &case.entry).expect("nothing to do");
        assert_eq!(names(&case), ["abc"]);
    }

    #[tokio::test]
    async fn old_folders_are_removed_after_a_while() {
        let case = case();
        swap(case.archive.path(), &case.entry).expect("swapped");
        let old = case.archive.path().join(SWAP).join(OLD);
        assert_eq!(list(&old).expect("a folder").len(), 1);
        remove_old(case.archive.path()).await.expect("removed");
        assert!(list(&old).expect("a folder").is_empty());
    }
}

//! Which files are followed: new ones appear, renamed ones are known again by their inode, copies
//! of files already read are told apart, files that are gone are forgotten.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use tracing::{debug, info, warn};

use super::super::SourceError;
use super::super::discover::{
    Input, canonical, common_base, list_folder, name_below, parent, place,
};
use super::super::reader::is_compressed;

use super::Start;
use super::cursor::{FileCursor, FileId};
use super::tail::{Fit, Position, Tailed, fit};
use crate::format::Format;

/// Files held open; of more, those idle longest are closed until they grow. Half of the usual limit
/// of a process, 1024.
const MAX_OPEN_FILES: usize = 512;

/// The files that are followed, by log.
pub(super) struct Watch {
    inputs: Vec<Input>,
    base: PathBuf,
    /// In the order in which they were first seen.
    pub(super) logs: Vec<FollowedLog>,
    /// Compressed files: they are not read.
    compressed: HashSet<FileId>,
    /// Files that cannot be opened at the moment; said once.
    unreadable: HashSet<PathBuf>,
    /// Copies of files being followed, with the inode of the original.
    copies: HashMap<FileId, Tailed>,
    copy_ids: HashSet<FileId>,
}

/// A log that is followed.
pub(super) struct FollowedLog {
    pub(super) name: String,
    /// The oldest first; the last one is the one being written.
    pub(super) files: Vec<Tailed>,
    /// Its format, as far as that is known.
    pub(super) format: LogFormat,
}

/// What is known of the format of a followed log.
#[derive(Debug, Clone, Copy)]
pub(super) enum LogFormat {
    /// Nothing was looked at yet.
    Unseen,
    /// Its few records so far are in no known format; said once.
    Undecided,
    /// It is in no known format.
    Refused,
    /// It is in this one.
    Known(&'static dyn Format),
}

impl Watch {
    /// Nothing yet; [`Watch::scan`] finds the files.
    ///
    /// # Errors
    /// An input that cannot be: a pattern that is none, a folder that is not there.
    pub(super) fn new(inputs: &[String]) -> Result<Self, SourceError> {
        let inputs = inputs.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
        let bases: Result<Vec<_>, _> =
            inputs.iter().map(|input| canonical(&input.base())).collect();
        Ok(Self {
            inputs,
            base: common_base(&bases?),
            logs: Vec::new(),
            compressed: HashSet::new(),
            unreadable: HashSet::new(),
            copies: HashMap::new(),
            copy_ids: HashSet::new(),
        })
    }

    /// Takes up the files of a cursor, wherever they are now; says how many were cut short.
    ///
    /// # Errors
    /// A file that was found cannot be read.
    pub(super) fn resume(&mut self, cursors: &[FileCursor]) -> Result<u64, SourceError> {
        let listed = self.list();
        let mut claimed = HashSet::new();
        let mut truncations = 0;
        for wanted in [Fit::Same, Fit::Copy] {
            for cursor in cursors {
                if wanted == Fit::Copy && self.has(cursor.id) {
                    continue;
                }
                match find(cursor, wanted, &listed, &claimed) {
                    Some(path) => {
                        claimed.insert(path.clone());
                        self.take_up(&path, cursor)?;
                    }
                    None if wanted == Fit::Same => {}
                    None => truncations += u64::from(say_lost(cursor)),
                }
            }
        }
        Ok(truncations)
    }

    fn take_up(&mut self, path: &Path, cursor: &FileCursor) -> Result<(), SourceError> {
        let opened = Tailed::new(path, cursor.name.as_str().into(), place(&cursor.name));
        let mut file = opened.map_err(|error| SourceError::open(path, error))?;
        file.at = Position { offset_bytes: cursor.offset_bytes, next_line: cursor.next_line };
        self.log_mut(&file.log.clone()).files.push(file);
        Ok(())
    }

    fn has(&self, id: FileId) -> bool {
        self.logs.iter().flat_map(|log| &log.files).any(|file| file.id == id)
    }

    /// Every file that the inputs name now.
    fn list(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for input in &self.inputs {
            let listed = match input {
                Input::Stdin => continue,
                Input::File(path) => {
                    paths.push(path.clone());
                    continue;
                }
                Input::Folder(path) => list_folder(path),
                Input::Pattern(pattern) => pattern.list(),
            };
            match listed {
                Ok(listed) => paths.extend(listed),
                Err(error) => warn!(%error, "a followed folder cannot be listed at the moment"),
            }
        }
        paths
    }

    /// Looks for new, renamed and vanished files.
    ///
    /// # Errors
    /// A new file cannot be read.
    pub(super) fn scan(&mut self, start: Start) -> Result<(), SourceError> {
        let mut known: HashMap<FileId, (usize, usize)> = HashMap::new();
        for (l, log) in self.logs.iter().enumerate() {
            known.extend(log.files.iter().enumerate().map(|(f, file)| (file.id, (l, f))));
        }
        let mut present = HashSet::new();
        let mut new = Vec::new();
        for path in self.list() {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let id = FileId::of(&metadata);
            if !metadata.is_file() || !present.insert(id) || self.copy_ids.contains(&id) {
                continue;
            }
            match known.get(&id) {
                Some(&(log, file)) => self.logs[log].files[file].path = path,
                None => new.extend(self.open(&path, id)),
            }
        }
        new.sort_by(|a, b| (&a.log, &a.age, &a.name).cmp(&(&b.log, &b.age, &b.name)));
        for file in new {
            self.add(file, start)?;
        }
        self.find_renamed(&present);
        self.forget(&present);
        self.close_idle();
        Ok(())
    }

    /// Opens a file that was not known; `None` if it is not to be read, or not yet.
    fn open(&mut self, path: &Path, id: FileId) -> Option<Tailed> {
        if self.compressed.contains(&id) {
            return None;
        }
        let name = name_below(path, &self.base).ok()?;
        let placed = place(&name);
        // A copy that is only being made cannot be told from a new file yet.
        let is_rotated = placed.1.is_rotated();
        let opened = is_compressed(path).and_then(|is_compressed| {
            (!is_compressed).then(|| Tailed::new(path, name.into(), placed)).transpose()
        });
        match opened {
            Ok(Some(file)) if is_rotated && file.head.len() == 0 => None,
            Ok(Some(file)) => {
                self.unreadable.remove(path);
                Some(file)
            }
            Ok(None) => {
                info!(path = %path.display(), "compressed files are not followed; replay them");
                self.compressed.insert(id);
                None
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                if self.unreadable.insert(path.to_owned()) {
                    warn!(path = %path.display(), %error, "a followed file cannot be opened");
                }
                None
            }
        }
    }

    /// Adds a new file to its log, unless it is a copy of what was read.
    fn add(&mut self, mut file: Tailed, start: Start) -> Result<(), SourceError> {
        if start == Start::End {
            file.skip_to_end()?;
        }
        let log = self.log_mut(&file.log.clone());
        let truncated = |old: &Tailed| old.before.as_ref().is_some_and(|b| file.head.agrees(&b.0));
        if let Some(at) = log.files.iter().position(truncated) {
            debug!(path = %file.path.display(), "a copy of a file that was cut short");
            let original = &mut log.files[at];
            file.at = original.before.take().map_or(file.at, |(_, at)| at);
            log.files.insert(at, file);
            return Ok(());
        }
        let is_copied = |old: &Tailed| old.head.agrees(&file.head) && file.age < old.age;
        if start != Start::End
            && let Some(original) = log.files.iter().find(|old| is_copied(old)).map(|o| o.id)
        {
            debug!(path = %file.path.display(), "a copy of a followed file; waiting for its end");
            self.copy_ids.insert(file.id);
            self.copies.insert(original, file);
            return Ok(());
        }
        log.files.push(file);
        Ok(())
    }

    /// A file was cut short: if there is a copy of it, what was not read of it is read there.
    pub(super) fn resolve_copy(&mut self, log: usize, file: usize) {
        let original = &mut self.logs[log].files[file];
        let Some(mut copy) = self.copies.remove(&original.id) else { return };
        self.copy_ids.remove(&copy.id);
        copy.at = original.before.take().map_or(copy.at, |(_, at)| at);
        self.logs[log].files.insert(file, copy);
    }

    fn log_mut(&mut self, name: &str) -> &mut FollowedLog {
        let at = match self.logs.iter().position(|log| log.name == name) {
            Some(at) => at,
            None => {
                self.logs.push(FollowedLog {
                    name: name.to_owned(),
                    files: Vec::new(),
                    format: LogFormat::Unseen,
                });
                self.logs.len() - 1
            }
        };
        &mut self.logs[at]
    }

    /// Closed files that were renamed out of sight are looked for beside their old place.
    fn find_renamed(&mut self, present: &HashSet<FileId>) {
        for file in self.logs.iter_mut().flat_map(|log| &mut log.files) {
            if present.contains(&file.id) || file.is_open() || file.is_finished || file.is_at_path()
            {
                continue;
            }
            let is_it = |path: &PathBuf| {
                fs::metadata(path).is_ok_and(|metadata| FileId::of(&metadata) == file.id)
            };
            let found = list_folder_alone(&parent(&file.path)).into_iter().find(is_it);
            file.path = found.unwrap_or_else(|| std::mem::take(&mut file.path));
        }
    }

    /// Forgets files that were read to their end and cannot be met again.
    fn forget(&mut self, present: &HashSet<FileId>) {
        for log in &mut self.logs {
            log.files.retain(|file| {
                !file.is_finished || present.contains(&file.id) || file.is_at_path()
            });
        }
        self.logs.retain(|log| !log.files.is_empty());
        self.compressed.retain(|id| present.contains(id));
        self.copies.retain(|_, copy| present.contains(&copy.id));
        self.copy_ids = self.copies.values().map(|copy| copy.id).collect();
    }

    fn close_idle(&mut self) {
        let files = self.logs.iter_mut().flat_map(|log| &mut log.files);
        let mut open: Vec<&mut Tailed> = files.filter(|file| file.is_open()).collect();
        if open.len() <= MAX_OPEN_FILES {
            return;
        }
        open.sort_by_key(|file| file.idle_since);
        let surplus = open.len() - MAX_OPEN_FILES;
        open.into_iter().take(surplus).for_each(Tailed::close);
    }
}

/// A file that does not exist yet may come, if its folder is there.
fn parse(text: &str) -> Result<Input, SourceError> {
    match Input::parse(text) {
        Ok(Input::Stdin) => Err(SourceError::Nothing {
            input: text.into(),
            why: "standard input cannot be followed; replay it",
        }),
        Err(SourceError::NotFound { .. }) if parent(Path::new(text)).is_dir() => {
            warn!(path = text, "a followed file does not exist yet");
            Ok(Input::File(text.into()))
        }
        parsed => parsed,
    }
}

/// The files of one folder; none if it cannot be listed.
fn list_folder_alone(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}

/// Looks for the file of a cursor: at its path, among the files listed, beside its path.
fn find(
    cursor: &FileCursor,
    wanted: Fit,
    listed: &[PathBuf],
    claimed: &HashSet<PathBuf>,
) -> Option<PathBuf> {
    let path = PathBuf::from(&cursor.path);
    let siblings = || list_folder_alone(&parent(Path::new(&cursor.path)));
    let mut candidates = std::iter::once(path)
        .chain(listed.iter().cloned())
        .chain(std::iter::once_with(siblings).flatten());
    candidates.find(|path| !claimed.contains(path) && fit(path, cursor) == wanted)
}

/// Says that a file of a cursor is not there any more; whether it was cut short.
fn say_lost(cursor: &FileCursor) -> bool {
    let is_truncated = fit(Path::new(&cursor.path), cursor) == Fit::Overwritten;
    let path = &cursor.path;
    match is_truncated {
        true => warn!(path, "a file was cut short while nobody followed it; reading it again"),
        false => warn!(path, offset_bytes = cursor.offset_bytes, "a followed file is gone"),
    }
    is_truncated
}

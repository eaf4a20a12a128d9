//! Inputs become logs: files, folders and patterns of paths are listed, every file is taken once,
//! rotated and dated files are put together as one log, the oldest first.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use lapwing_event::archive::is_path_name;

use super::SourceError;
use super::rotation::{Age, log_of};

/// The input that stands for standard input.
pub const STDIN: &str = "-";

/// A file with its rotated and compressed predecessors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The name in reports; logs that are read together are ordered by it.
    pub name: String,
    /// Its files, the oldest first.
    pub files: Vec<LogFile>,
}

/// One file of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Where it lies; `-` is standard input.
    pub path: PathBuf,
    /// Its name in records: the path below the common folder of all inputs, with `/`.
    pub name: Arc<str>,
    /// Its size when it was listed, bytes; 0 for a stream.
    pub size_bytes: u64,
    /// Whether it can be read only once: standard input, a pipe.
    pub is_stream: bool,
}

/// What the inputs are, before files are grouped.
pub(crate) enum Input {
    Stdin,
    File(PathBuf),
    Folder(PathBuf),
    Pattern(Pattern),
}

/// A pattern of paths: the part before the first wildcard, and the rest.
pub(crate) struct Pattern {
    pub(crate) base: PathBuf,
    matcher: GlobMatcher,
    /// How many folders deep a match can lie; `None` if any depth.
    depth: Option<usize>,
    takes_dot_files: bool,
}

/// Finds the logs of some inputs: paths of files or folders, patterns (`*`, `**`, `?`, `[]`, `{}`),
/// or `-` for standard input.
///
/// Folders are read with all folders below them; names that begin with a dot are left out, and
/// folders behind symbolic links are not entered. Only the files that the inputs name are taken: a
/// file named alone does not pull in its predecessors.
///
/// # Errors
/// An input that does not exist, matches nothing or cannot be listed.
pub fn discover(inputs: &[String]) -> Result<Vec<Log>, SourceError> {
    let mut files = Vec::new();
    let mut bases = Vec::new();
    let mut logs = Vec::new();
    for text in inputs {
        match Input::parse(text)? {
            Input::Stdin => logs.push(stdin_log()),
            input => {
                bases.push(canonical(&input.base())?);
                files.extend(input.list(text)?);
            }
        }
    }
    logs.dedup();
    logs.extend(group(files, &common_base(&bases))?);
    logs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(logs)
}

/// The source id that some inputs have by default: the file's name without its ending for one
/// file, the last part of the common folder otherwise, `stdin` for standard input.
///
/// # Errors
/// As [`discover`], without listing anything.
pub fn default_source_id(inputs: &[String]) -> Result<String, SourceError> {
    let mut parsed = inputs.iter().map(|text| Input::parse(text)).collect::<Result<Vec<_>, _>>()?;
    parsed.retain(|input| !matches!(input, Input::Stdin));
    let name = match &parsed[..] {
        [] => Some("stdin".into()),
        [Input::File(path)] => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
        several => {
            let bases: Result<Vec<_>, _> = several.iter().map(|i| canonical(&i.base())).collect();
            common_base(&bases?).file_name().map(|name| name.to_string_lossy().into_owned())
        }
    };
    Ok(path_name(&name.unwrap_or_default()))
}

/// A text as a source id: what may not stand in one becomes `_`.
pub(super) fn path_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = text.trim_start_matches('.').chars().map(plain).take(64).collect();
    if is_path_name(&name) { name } else { "files".into() }
}

impl Input {
    /// Reads an input; an existing path is never a pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, SourceError> {
        if text == STDIN {
            return Ok(Self::Stdin);
        }
        let path = PathBuf::from(text);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Ok(Self::Folder(path)),
            Ok(_) => Ok(Self::File(path)),
            Err(_) if is_pattern(text) => Pattern::parse(text).map(Self::Pattern),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(SourceError::NotFound { input: text.into() })
            }
            Err(error) => Err(SourceError::open(&path, error)),
        }
    }

    pub(crate) fn base(&self) -> PathBuf {
        match self {
            Self::Stdin => PathBuf::new(),
            Self::Folder(path) => path.clone(),
            Self::Pattern(pattern) => pattern.base.clone(),
            Self::File(path) => parent(path),
        }
    }

    fn list(self, text: &str) -> Result<Vec<PathBuf>, SourceError> {
        let (files, nothing) = match self {
            Self::Stdin => return Ok(Vec::new()),
            Self::File(path) => return Ok(vec![path]),
            Self::Folder(path) => (list_folder(&path)?, "the folder holds no files"),
            Self::Pattern(pattern) => (pattern.list()?, "the pattern matches no file"),
        };
        if files.is_empty() {
            return Err(SourceError::Nothing { input: text.into(), why: nothing });
        }
        Ok(files)
    }
}

impl Pattern {
    /// Reads a pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, SourceError> {
        let literal = text.split('/').take_while(|part| !is_pattern(part));
        let base_len: usize = literal.map(|part| part.len() + 1).sum();
        let (base, rest) = text.split_at(base_len);
        let glob = GlobBuilder::new(rest).literal_separator(true).build();
        let glob = glob.map_err(|error| SourceError::Pattern {
            input: text.into(),
            error: error.kind().to_string(),
        })?;
        let is_deep = rest.contains("**") || rest.contains('{');
        Ok(Self {
            base: if base.is_empty() { PathBuf::from(".") } else { PathBuf::from(base) },
            matcher: glob.compile_matcher(),
            depth: (!is_deep).then(|| rest.matches('/').count()),
            takes_dot_files: rest.starts_with('.') || rest.contains("/."),
        })
    }

    /// The files that match now, sorted.
    pub(crate) fn list(&self) -> Result<Vec<PathBuf>, SourceError> {
        let mut files = Vec::new();
        let depth = self.depth.unwrap_or(usize::MAX);
        walk(&self.base, depth, self.takes_dot_files, &mut files)?;
        files.retain(|path| {
            path.strip_prefix(&self.base).is_ok_and(|below| self.matcher.is_match(below))
        });
        files.sort();
        Ok(files)
    }
}

/// The files in a folder and the folders below it, sorted.
pub(crate) fn list_folder(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = Vec::new();
    walk(folder, usize::MAX, false, &mut files)?;
    files.sort();
    Ok(files)
}

fn walk(
    folder: &Path,
    depth: usize,
    dots: bool,
    files: &mut Vec<PathBuf>,
) -> Result<(), SourceError> {
    let failed = |error| SourceError::List { path: folder.into(), error };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !dots && entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let file_type = entry.file_type().map_err(failed)?;
        let path = entry.path();
        if file_type.is_dir() {
            if depth > 0 {
                walk(&path, depth - 1, dots, files)?;
            }
        } else if file_type.is_file() || fs::metadata(&path).is_ok_and(|target| target.is_file()) {
            files.push(path);
        }
    }
    Ok(())
}

/// Takes every file once and puts the files of a log together.
fn group(files: Vec<PathBuf>, base: &Path) -> Result<Vec<Log>, SourceError> {
    let mut seen = HashSet::new();
    let mut logs: BTreeMap<String, Vec<(Age, LogFile)>> = BTreeMap::new();
    for path in files {
        let metadata = fs::metadata(&path).map_err(|error| SourceError::open(&path, error))?;
        if !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        let (log, age, file) = placed(path, &metadata, base)?;
        logs.entry(log).or_default().push((age, file));
    }
    Ok(logs.into_iter().map(|(name, files)| log(name, files)).collect())
}

/// The name of a file's log, the file's age in it, and the file.
fn placed(
    path: PathBuf,
    metadata: &Metadata,
    base: &Path,
) -> Result<(String, Age, LogFile), SourceError> {
    let name = name_below(&path, base)?;
    let (log, age) = place(&name);
    let is_stream = !metadata.is_file();
    let log = if is_stream { name.clone() } else { log };
    let size_bytes = if is_stream { 0 } else { metadata.len() };
    Ok((log, age, LogFile { path, name: name.into(), size_bytes, is_stream }))
}

/// The log that a file belongs to by its name in records, and its age there.
pub(crate) fn place(name: &str) -> (String, Age) {
    match name.rsplit_once('/') {
        None => log_of(name),
        Some((folder, file_name)) => {
            let (log, age) = log_of(file_name);
            (format!("{folder}/{log}"), age)
        }
    }
}

fn log(name: String, mut files: Vec<(Age, LogFile)>) -> Log {
    files.sort_by(|(a, a_file), (b, b_file)| (a, &a_file.name).cmp(&(b, &b_file.name)));
    let files: Vec<LogFile> = files.into_iter().map(|(_, file)| file).collect();
    let name = match &files[..] {
        [only] => only.name.to_string(),
        _ => name,
    };
    Log { name, files }
}

fn stdin_log() -> Log {
    let file = LogFile { path: STDIN.into(), name: "stdin".into(), size_bytes: 0, is_stream: true };
    Log { name: "stdin".into(), files: vec![file] }
}

/// The path of a file below a folder, with `/`. The file's own name is kept, even if it is a link.
pub(crate) fn name_below(path: &Path, base: &Path) -> Result<String, SourceError> {
    let folder = canonical(&parent(path))?;
    let file_name = path.file_name().unwrap_or_default();
    let below = folder.strip_prefix(base).unwrap_or(&folder).join(file_name);
    let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
    Ok(parts.join("/"))
}

/// The deepest folder that holds all these folders.
pub(crate) fn common_base(bases: &[PathBuf]) -> PathBuf {
    let Some((first, others)) = bases.split_first() else { return PathBuf::new() };
    let is_common = |part: &(usize, Component<'_>)| {
        others.iter().all(|other| other.components().nth(part.0) == Some(part.1))
    };
    first.components().enumerate().take_while(is_common).map(|(_, part)| part).collect()
}

/// The folder of a path.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.into(),
        _ => ".".into(),
    }
}

/// A folder's real path.
pub(crate) fn canonical(folder: &Path) -> Result<PathBuf, SourceError> {
    fs::canonicalize(folder).map_err(|error| SourceError::List { path: folder.into(), error })
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

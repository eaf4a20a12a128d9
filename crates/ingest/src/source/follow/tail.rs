//! One followed file: what was added since the last look is cut into whole lines. A line that is
//! not finished stays unread until it is.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use memchr::{memchr_iter, memrchr};

use super::super::SourceError;
use super::super::rotation::Age;
use super::cursor::{FileCursor, FileId, Head};
use crate::decode::{RawChunk, Tail};
use crate::format::{FORMATS, Format};

/// How much of a long line is read at a time.
const SKIP_BYTES: usize = 64 << 10;

/// How much of a long line is looked through before other files have their turn.
const MAX_SKIP_BYTES: u64 = 64 << 20;

/// A file that is being followed.
pub(super) struct Tailed {
    pub(super) path: PathBuf,
    /// The name in records: that under which it was first seen.
    pub(super) name: Arc<str>,
    /// The log it belongs to, and its age there when it was first seen.
    pub(super) log: String,
    pub(super) age: Age,
    pub(super) id: FileId,
    pub(super) head: Head,
    pub(super) at: Position,
    /// When something was last read of it.
    pub(super) idle_since: Instant,
    /// Its beginning and the position in it before it was cut short, if it ever was.
    pub(super) before: Option<(Head, Position)>,
    /// Whether its writer has gone on to another file, and it was read to its end.
    pub(super) is_finished: bool,
    /// Its size when it was last looked at.
    size_bytes: u64,
    file: Option<File>,
    long_line: Option<LongLine>,
}

/// How far a file was read: whole lines only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) offset_bytes: u64,
    pub(super) next_line: i64,
}

/// Where reading starts.
pub(super) const BEGINNING: Position = Position { offset_bytes: 0, next_line: 1 };

/// A line longer than a record may be whose end has not come yet.
struct LongLine {
    kept: Vec<u8>,
    size_bytes: u64,
    last: u8,
}

/// What a look at a file showed.
pub(super) enum Look {
    /// Nothing new.
    Same,
    /// There may be something to read.
    Grown,
    /// It was cut short or overwritten; it is read from its beginning again.
    Truncated,
}

/// What limits a read.
#[derive(Clone, Copy)]
pub(super) struct ReadLimits {
    pub(super) chunk_bytes: usize,
    pub(super) max_record_bytes: usize,
}

impl Tailed {
    /// A file that has just been seen.
    pub(super) fn new(path: &Path, name: Arc<str>, (log, age): (String, Age)) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self {
            id: FileId::of(&metadata),
            head: Head::read(&file)?,
            path: path.to_owned(),
            name,
            log,
            age,
            at: BEGINNING,
            idle_since: Instant::now(),
            before: None,
            is_finished: false,
            size_bytes: metadata.len(),
            file: Some(file),
            long_line: None,
        })
    }

    /// How far it was read, for a cursor.
    pub(super) fn cursor(&self) -> FileCursor {
        FileCursor {
            path: self.path.to_string_lossy().into_owned(),
            name: self.name.to_string(),
            id: self.id,
            head_bytes: self.head.len(),
            head_hash: self.head.hash(),
            offset_bytes: self.at.offset_bytes,
            next_line: self.at.next_line,
        }
    }

    /// Bytes that were there at the last look and have not become records yet.
    pub(super) fn unread_bytes(&self) -> u64 {
        self.size_bytes.saturating_sub(self.at.offset_bytes)
    }

    /// Whether the file is held open.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Gives the file back to the system; it is opened again when it grows.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Whether this file still lies at its path.
    pub(super) fn is_at_path(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| FileId::of(&metadata) == self.id)
    }

    /// Looks whether something was added.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn look(&mut self) -> Result<Look, SourceError> {
        let size = match self.size() {
            Ok(Some(size)) => size,
            Ok(None) => {
                // Closed and gone: there is nothing left to read.
                self.size_bytes = self.at.offset_bytes;
                return Ok(Look::Same);
            }
            Err(error) => return Err(SourceError::read(&self.path, error)),
        };
        self.size_bytes = size;
        let is_shorter = size < self.read_to();
        if size == self.read_to() {
            return Ok(Look::Same);
        }
        let Some(file) = &self.file else { return Ok(Look::Same) };
        let head = Head::read(file).map_err(|error| SourceError::read(&self.path, error))?;
        if is_shorter || !head.continues(&self.head) {
            self.before = Some((std::mem::replace(&mut self.head, head), self.at));
            (self.at, self.long_line) = (BEGINNING, None);
            return Ok(Look::Truncated);
        }
        self.head = head;
        Ok(Look::Grown)
    }

    /// Its size; opens it if it has grown since it was closed. `None` if it is closed and gone.
    fn size(&mut self) -> io::Result<Option<u64>> {
        if let Some(file) = &self.file {
            return Ok(Some(file.metadata()?.len()));
        }
        let size = match fs::metadata(&self.path) {
            Ok(metadata) if FileId::of(&metadata) == self.id => metadata.len(),
            _ => return Ok(None),
        };
        if size != self.read_to() {
            let file = File::open(&self.path)?;
            if FileId::of(&file.metadata()?) != self.id {
                return Ok(None);
            }
            self.file = Some(file);
            self.is_finished = false;
        }
        Ok(Some(size))
    }

    /// Bytes looked at, with those of an unfinished long line.
    fn read_to(&self) -> u64 {
        self.at.offset_bytes + self.long_line.as_ref().map_or(0, |line| line.size_bytes)
    }

    /// The next whole lines; `None` if there are none yet.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(
        &mut self,
        limits: ReadLimits,
        format: &'static dyn Format,
    ) -> Result<Option<RawChunk>, SourceError> {
        self.read_lines(limits, format).map_err(|error| SourceError::read(&self.path, error))
    }

    fn read_lines(
        &mut self,
        limits: ReadLimits,
        format: &'static dyn Format,
    ) -> io::Result<Option<RawChunk>> {
        if self.long_line.is_some() {
            return self.read_long_line(format);
        }
        let mut goal = limits.chunk_bytes.max(1);
        loop {
            let mut bytes = self.read_at(self.at.offset_bytes, goal)?;
            if let Some(end) = memrchr(b'\n', &bytes) {
                bytes.truncate(end + 1);
                return Ok(Some(self.chunk(bytes, Tail::LineEnd, format)));
            }
            if bytes.len() > limits.max_record_bytes + 1 {
                self.begin_long_line(bytes, limits);
                return self.read_long_line(format);
            }
            if bytes.len() < goal {
                // An unfinished line: it is looked at again once it has grown.
                return Ok(None);
            }
            goal *= 2;
        }
    }

    /// The unfinished last line of a file to which nothing will be added any more.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read_rest(
        &mut self,
        limits: ReadLimits,
        format: &'static dyn Format,
    ) -> Result<Option<RawChunk>, SourceError> {
        if let Some(line) = self.long_line.take() {
            return Ok(Some(self.long_chunk(line, false, format)));
        }
        let bytes = self.read_at(self.at.offset_bytes, limits.max_record_bytes + 2);
        let bytes = bytes.map_err(|error| SourceError::read(&self.path, error))?;
        Ok((!bytes.is_empty()).then(|| self.chunk(bytes, Tail::EndOfFile, format)))
    }

    fn read_at(&self, offset: u64, goal: usize) -> io::Result<Vec<u8>> {
        let Some(file) = &self.file else { return Ok(Vec::new()) };
        let mut bytes = vec![0; goal];
        let mut filled = 0;
        while filled < goal {
            match file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn chunk(&mut self, bytes: Vec<u8>, tail: Tail, format: &'static dyn Format) -> RawChunk {
        let first_line = self.at.next_line;
        self.at.offset_bytes += bytes.len() as u64;
        self.at.next_line += memchr_iter(b'\n', &bytes).count() as i64;
        self.idle_since = Instant::now();
        RawChunk { bytes, file: self.name.clone(), first_line, tail, format }
    }

    fn begin_long_line(&mut self, mut bytes: Vec<u8>, limits: ReadLimits) {
        let size_bytes = bytes.len() as u64;
        let last = bytes.last().copied().unwrap_or_default();
        bytes.truncate(limits.max_record_bytes);
        self.long_line = Some(LongLine { kept: bytes, size_bytes, last });
    }

    /// Looks for the end of a long line.
    fn read_long_line(&mut self, format: &'static dyn Format) -> io::Result<Option<RawChunk>> {
        let Some(mut line) = self.long_line.take() else { return Ok(None) };
        let until = line.size_bytes + MAX_SKIP_BYTES;
        while line.size_bytes < until {
            let part = self.read_at(self.at.offset_bytes + line.size_bytes, SKIP_BYTES)?;
            let end = memchr::memchr(b'\n', &part);
            let of_line = &part[..end.unwrap_or(part.len())];
            line.size_bytes += of_line.len() as u64;
            line.last = of_line.last().copied().unwrap_or(line.last);
            if end.is_some() {
                return Ok(Some(self.long_chunk(line, true, format)));
            }
            if part.is_empty() {
                break;
            }
        }
        self.long_line = Some(line);
        Ok(None)
    }

    fn long_chunk(
        &mut self,
        line: LongLine,
        has_end: bool,
        format: &'static dyn Format,
    ) -> RawChunk {
        let first_line = self.at.next_line;
        self.at.offset_bytes += line.size_bytes + u64::from(has_end);
        self.at.next_line += 1;
        self.idle_since = Instant::now();
        let size_bytes = line.size_bytes - u64::from(line.last == b'\r');
        let tail = Tail::TooLong { size_bytes };
        RawChunk { bytes: line.kept, file: self.name.clone(), first_line, tail, format }
    }

    /// The whole lines among the first bytes, to recognise the format by.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn first_lines(&self, goal: usize) -> Result<RawChunk, SourceError> {
        let bytes = self.read_at(0, goal);
        let mut bytes = bytes.map_err(|error| SourceError::read(&self.path, error))?;
        bytes.truncate(memrchr(b'\n', &bytes).map_or(0, |end| end + 1));
        let (file, tail, format) = (self.name.clone(), Tail::LineEnd, FORMATS[0]);
        Ok(RawChunk { bytes, file, first_line: 1, tail, format })
    }

    /// Passes over everything up to the last line end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn skip_to_end(&mut self) -> Result<(), SourceError> {
        let mut offset = 0;
        let mut lines = 0;
        loop {
            let part = self.read_at(offset, 1 << 20);
            let part = part.map_err(|error| SourceError::read(&self.path, error))?;
            if part.is_empty() {
                return Ok(());
            }
            if let Some(end) = memrchr(b'\n', &part) {
                lines += memchr_iter(b'\n', &part).count() as i64;
                self.at = Position { offset_bytes: offset + end as u64 + 1, next_line: lines + 1 };
            }
            offset += part.len() as u64;
        }
    }
}

/// How well the file at a path fits a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is another file.
    Other,
    /// It has the same inode, but was cut short or overwritten.
    Overwritten,
    /// It begins the same, but is another inode: a copy, or devices were numbered anew.
    Copy,
    /// It is the file.
    Same,
}

/// Compares the file at a path with a cursor; a file that cannot be read is another one.
pub(super) fn fit(path: &Path, cursor: &FileCursor) -> Fit {
    let read = || -> io::Result<Fit> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let is_same_inode = FileId::of(&metadata) == cursor.id;
        let continues = metadata.len() >= cursor.offset_bytes && Head::read(&file)?.fits(cursor);
        Ok(match (is_same_inode, continues) {
            (true, true) => Fit::Same,
            (true, false) => Fit::Overwritten,
            (false, true) if cursor.head_bytes > 0 => Fit::Copy,
            (false, _) => Fit::Other,
        })
    };
    read().unwrap_or(Fit::Other)
}

//! Cuts a stream of bytes into raw chunks of whole lines. A line longer than a record may be is
//! never held whole: its first part is kept, the rest is counted and skipped.

use std::io::{self, Read};
use std::sync::Arc;

use memchr::{memchr, memchr_iter, memrchr};

use super::reader::{ByteReader, ReadFault};
use crate::decode::{RawChunk, Tail};
use crate::format::Format;

/// How much of a long line is skipped at a time.
const SKIP_BYTES: usize = 64 << 10;

/// A file that is being cut.
pub(crate) struct LineCutter {
    reader: ByteReader,
    /// Bytes that were read and belong to the next chunk.
    carry: Vec<u8>,
    next_line: i64,
    state: State,
}

enum State {
    Reading,
    /// The compressed data broke off; the carried bytes are what there is of the last line.
    Broken(String),
    Ended,
}

/// What a chunk is to be.
#[derive(Clone, Copy)]
pub(crate) struct Cut<'a> {
    /// The size aimed at, bytes; a line longer than this makes the chunk longer.
    pub(crate) chunk_bytes: usize,
    /// The longest record, bytes.
    pub(crate) max_record_bytes: usize,
    /// The name of the file in records.
    pub(crate) file: &'a Arc<str>,
    /// The format of the log.
    pub(crate) format: &'static dyn Format,
}

impl LineCutter {
    /// Cuts a stream from its beginning.
    pub(crate) fn new(reader: ByteReader) -> Self {
        Self { reader, carry: Vec::new(), next_line: 1, state: State::Reading }
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// Those of reading the file. Broken compressed data is no error but a tail.
    pub(crate) fn next_chunk(&mut self, cut: Cut<'_>) -> io::Result<Option<RawChunk>> {
        let mut bytes = std::mem::take(&mut self.carry);
        let mut goal = cut.chunk_bytes.max(1);
        loop {
            self.fill(&mut bytes, goal)?;
            let end = memrchr(b'\n', &bytes).map(|end| end + 1);
            match (end, &self.state) {
                (Some(end), _) => {
                    self.carry = bytes.split_off(end);
                    return Ok(Some(self.chunk(bytes, Tail::LineEnd, cut)));
                }
                // One byte more, since the last one may be the first of a line end.
                (None, State::Reading) if bytes.len() > cut.max_record_bytes + 1 => {
                    return self.skip_rest_of_line(bytes, cut).map(Some);
                }
                (None, State::Reading) => goal = (goal * 2).max(bytes.len() * 2),
                (None, State::Broken(_)) => return Ok(Some(self.broken(bytes, cut))),
                (None, State::Ended) if bytes.is_empty() => return Ok(None),
                (None, State::Ended) => return Ok(Some(self.chunk(bytes, Tail::EndOfFile, cut))),
            }
        }
    }

    fn broken(&mut self, bytes: Vec<u8>, cut: Cut<'_>) -> RawChunk {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let State::Broken(error) = state else { unreachable!("the caller has looked") };
        self.chunk(bytes, Tail::Undecodable { error }, cut)
    }

    fn chunk(&mut self, bytes: Vec<u8>, tail: Tail, cut: Cut<'_>) -> RawChunk {
        let first_line = self.next_line;
        self.next_line += memchr_iter(b'\n', &bytes).count() as i64;
        if tail != Tail::LineEnd {
            self.next_line += 1;
        }
        RawChunk { bytes, file: cut.file.clone(), first_line, tail, format: cut.format }
    }

    /// Reads until there are `goal` bytes or the stream ends.
    fn fill(&mut self, bytes: &mut Vec<u8>, goal: usize) -> io::Result<()> {
        let mut filled = bytes.len();
        if filled >= goal || !matches!(self.state, State::Reading) {
            return Ok(());
        }
        bytes.resize(goal, 0);
        while filled < goal {
            match self.read(&mut bytes[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(())
    }

    /// Reads some bytes; 0 once the state is no longer `Reading`.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reader.read(buffer) {
            Ok(0) => self.state = State::Ended,
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.read(buffer),
            Err(error) => match ReadFault::from(error) {
                ReadFault::Io(error) => return Err(error),
                ReadFault::Undecodable(error) => self.state = State::Broken(error),
            },
        }
        // The file is no longer needed, and there may be many.
        self.reader = Box::new(io::empty());
        Ok(0)
    }

    fn skip_rest_of_line(&mut self, mut kept: Vec<u8>, cut: Cut<'_>) -> io::Result<RawChunk> {
        let mut size_bytes = kept.len() as u64;
        let mut last = kept.last().copied();
        kept.truncate(cut.max_record_bytes);
        let mut buffer = vec![0; SKIP_BYTES];
        loop {
            let count = self.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            let part = &buffer[..count];
            let end = memchr(b'\n', part);
            let line = &part[..end.unwrap_or(count)];
            size_bytes += line.len() as u64;
            last = line.last().copied().or(last);
            if let Some(end) = end {
                self.carry = part[end + 1..].to_vec();
                break;
            }
        }
        size_bytes -= u64::from(last == Some(b'\r'));
        Ok(self.chunk(kept, Tail::TooLong { size_bytes }, cut))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use proptest::prelude::*;

    use super::*;
    use crate::format::format_by_name;
    use crate::source::reader::decompressed;

    /// All chunks of some bytes.
    fn cut(bytes: &[u8], chunk_bytes: usize, max_record_bytes: usize) -> Vec<RawChunk> {
        let bytes = io::Cursor::new(bytes.to_vec());
        let reader = decompressed(bytes, &Arc::new(AtomicU64::new(0))).expect("in memory");
        let format = format_by_name("native").expect("exists");
        let cut = Cut { chunk_bytes, max_record_bytes, file: &"x".into(), format };
        let mut cutter = LineCutter::new(reader);
        std::iter::from_fn(|| cutter.next_chunk(cut).expect("in memory")).collect()
    }

    proptest! {
        #[test]
        fn chunks_join_to_what_was_read(text in "[a\r\n]{0,200}", chunk_bytes in 1usize..40) {
            let chunks = cut(text.as_bytes(), chunk_bytes, 1000);
            let joined: Vec<u8> = chunks.iter().flat_map(|c| c.bytes.clone()).collect();
            prop_assert_eq!(&joined, text.as_bytes());
            let mut line = 1;
            for (i, chunk) in chunks.iter().enumerate() {
                prop_assert_eq!(chunk.first_line, line);
                line += memchr_iter(b'\n', &chunk.bytes).count() as i64;
                let is_whole = chunk.bytes.ends_with(b"\n");
                prop_assert_eq!(is_whole, chunk.tail == Tail::LineEnd);
                prop_assert!(is_whole || i + 1 == chunks.len());
            }
        }
    }

    #[test]
    fn a_long_line_is_kept_in_part_and_counted_in_full() {
        for (end, long) in [("\r\n", 1_000_000), ("\n", 100), ("", 300_000)] {
            let text = format!("first\n{}{end}last\n", "x".repeat(long));
            let size_bytes = if end.is_empty() { long + "last".len() } else { long } as u64;
            let chunks = cut(text.as_bytes(), 8, 10);
            assert_eq!(chunks[1].bytes, "x".repeat(10).as_bytes());
            assert_eq!(chunks[1].tail, Tail::TooLong { size_bytes });
            if !end.is_empty() {
                assert_eq!((chunks[2].first_line, &chunks[2].bytes[..]), (3, &b"last\n"[..]));
            }
        }
    }
}

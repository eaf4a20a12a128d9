//! Opens a file for reading: as it is, or through a gzip or zstd decoder. What the file is, its
//! first bytes say, not its name. Nothing is known here of lines.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

/// Bytes that decide what a file is.
const MAGIC_BYTES: usize = 4;

/// A stream of bytes, decompressed.
pub(crate) type ByteReader = Box<dyn Read + Send>;

/// Why reading stopped before the end.
#[derive(Debug)]
pub(crate) enum ReadFault {
    /// The compressed data is broken or cut: the file's own fault, and data.
    Undecodable(String),
    /// The file could not be read.
    Io(io::Error),
}

impl From<io::Error> for ReadFault {
    /// Whatever did not come from the file came from the decoder above it.
    fn from(error: io::Error) -> Self {
        match error.downcast::<FileFault>() {
            Ok(FileFault(error)) => Self::Io(error),
            Err(error) => Self::Undecodable(error.to_string()),
        }
    }
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or a skippable frame before one (RFC 8878, 3.1).
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Opens a file; `bytes_read` counts what is read of it, before decompression.
///
/// # Errors
/// Those of opening the file and of reading its first bytes.
pub(crate) fn open(path: &Path, bytes_read: &Arc<AtomicU64>) -> io::Result<ByteReader> {
    decompressed(File::open(path)?, bytes_read)
}

/// The decompressed bytes of a stream.
///
/// # Errors
/// Those of reading its first bytes.
pub(crate) fn decompressed(
    mut file: impl Read + Send + 'static,
    bytes_read: &Arc<AtomicU64>,
) -> io::Result<ByteReader> {
    let mut magic = Vec::with_capacity(MAGIC_BYTES);
    file.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic)?;
    let compression = Compression::of(&magic);
    let counted =
        Counted { inner: Cursor::new(magic).chain(file), bytes_read: Arc::clone(bytes_read) };
    Ok(match compression {
        Compression::None => Box::new(counted),
        Compression::Gzip => Box::new(MultiGzDecoder::new(counted)),
        Compression::Zstd => Box::new(zstd::Decoder::new(counted)?),
    })
}

/// Whether the first bytes of a file are those of a compressed one.
///
/// # Errors
/// Those of opening and reading it.
pub(crate) fn is_compressed(path: &Path) -> io::Result<bool> {
    let mut magic = Vec::with_capacity(MAGIC_BYTES);
    File::open(path)?.take(MAGIC_BYTES as u64).read_to_end(&mut magic)?;
    Ok(Compression::of(&magic) != Compression::None)
}

/// Counts bytes, and marks the errors of the file so that a decoder's are told from them.
struct Counted<R> {
    inner: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(count) => {
                self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(io::Error::other(FileFault(error))),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct FileFault(io::Error);

//! Alerts as JSON Lines: one object per message, written as soon as it is raised.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use lapwing_event::Message;

use crate::{Sink, SinkError};

/// Writes each message as one line of JSON and flushes it.
#[derive(Debug)]
pub struct JsonAlerts<W> {
    out: W,
    to: String,
    /// The rest of a line that was begun, and could not be written: it comes before anything else.
    rest: Vec<u8>,
}

impl JsonAlerts<std::fs::File> {
    /// Writes to a new file (0600); a file that is there is overwritten and keeps its mode.
    pub fn create(path: &Path) -> Result<Self, SinkError> {
        Self::open(path, OpenOptions::new().write(true).truncate(true))
    }

    /// Writes to the end of a file; a new one gets mode 0600.
    pub fn append(path: &Path) -> Result<Self, SinkError> {
        Self::open(path, OpenOptions::new().append(true))
    }

    fn open(path: &Path, options: &mut OpenOptions) -> Result<Self, SinkError> {
        let to = path.display().to_string();
        match options.create(true).mode(0o600).open(path) {
            Ok(out) => Ok(Self::new(out, to)),
            Err(source) => Err(SinkError::Alerts { to, source }),
        }
    }
}

impl<W: Write + Send> JsonAlerts<W> {
    /// Writes to `out`, which error messages call `to`.
    pub fn new(out: W, to: impl Into<String>) -> Self {
        Self { out, to: to.into(), rest: Vec::new() }
    }

    /// Gives back what is written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// One call of `write` per line, so that a reader of the file sees whole lines. A line that was written
    /// in part is completed by the next call; whoever tries a message again writes it a second time.
    fn write(&mut self, message: &Message) -> io::Result<()> {
        self.write_rest()?;
        self.rest = serde_json::to_vec(&message.alert)?;
        self.rest.push(b'\n');
        let line_bytes = self.rest.len();
        let written = self.write_rest();
        if written.is_err() && self.rest.len() == line_bytes {
            self.rest.clear();
        }
        written?;
        self.out.flush()
    }

    fn write_rest(&mut self) -> io::Result<()> {
        while !self.rest.is_empty() {
            match self.out.write(&self.rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.rest.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<W: Write + Send> Sink for JsonAlerts<W> {
    fn write_messages(&mut self, messages: &[Message]) -> Result<(), SinkError> {
        for message in messages {
            self.write(message)
                .map_err(|source| SinkError::Alerts { to: self.to.clone(), source })?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.out.flush().map_err(|source| SinkError::Alerts { to: self.to.clone(), source })
    }
}

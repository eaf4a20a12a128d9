//! Events and alerts to rest: the Parquet archive, and alerts as JSON Lines or readable text.
//! Batches and messages come in, files and lines go out; nothing here detects or delivers.

mod archive;
mod json;
mod text;

use lapwing_event::{Batch, Message};

pub use archive::{
    Archive, ArchiveColumn, ArchiveError, ArchiveOptions, ArchiveReport, EncoderMemory, Merge,
    RangeFacts, StagedFile, Staging, alert_columns, event_columns, footer_rows, merge, next_offset,
    rejected_columns, share,
};
pub use json::JsonAlerts;
pub use text::{TextAlerts, TextStyle};

/// Takes what a run produces to where it stays.
///
/// Batches come in the order of their partition, after the detector has filled its flags.
/// Messages come in the order they were raised. After an error nothing more may be written.
pub trait Sink: Send {
    /// Takes the records of a batch; a sink of alerts has no use for them.
    fn write_batch(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let _ = batch;
        Ok(())
    }

    /// Takes the messages raised since the last call.
    fn write_messages(&mut self, messages: &[Message]) -> Result<(), SinkError>;

    /// Brings everything taken so far to rest. Called once, at the end.
    fn finish(&mut self) -> Result<(), SinkError>;
}

/// Why something could not be brought to rest.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The archive could not be written, or holds something else.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Alerts could not be written to a file or a terminal.
    #[error("cannot write alerts to {to}: {source}")]
    Alerts {
        /// The file, or what else it is.
        to: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

//! The archive in a thread of its own: encoding runs beside reading and detecting.

use std::path::Path;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use lapwing_event::{Batch, Message};
use lapwing_sink::{Archive, ArchiveError, ArchiveOptions, ArchiveReport, Sink, SinkError};

/// Batches that wait for the archive: enough to keep both sides busy, few enough for memory.
const QUEUE: usize = 4;

/// An archive that is written in the background.
pub(crate) struct Archiver {
    queue: Option<Sender<Work>>,
    thread: Option<JoinHandle<Result<Option<Closed>, SinkError>>>,
}

/// What a closed archive leaves.
pub(crate) struct Closed {
    /// What was done.
    pub(crate) report: ArchiveReport,
    /// Messages that wait for the next records of their partition.
    pub(crate) unwritten: Vec<Message>,
}

enum Work {
    Batch(Batch),
    Messages(Vec<Message>),
    /// Everything has come: commit. Without it nothing under construction is kept.
    Finish,
}

impl Archiver {
    /// Opens the archive and starts its thread.
    pub(crate) fn start(path: &Path) -> Result<Self, ArchiveError> {
        let mut archive = Archive::open(path, ArchiveOptions::default())?;
        let (queue, work) = bounded::<Work>(QUEUE);
        let thread = std::thread::spawn(move || {
            for work in work {
                match work {
                    Work::Batch(batch) => archive.write_batch(&batch)?,
                    Work::Messages(messages) => archive.write_messages(&messages)?,
                    Work::Finish => {
                        archive.finish()?;
                        let report = *archive.report();
                        return Ok(Some(Closed { report, unwritten: archive.unwritten() }));
                    }
                }
            }
            Ok(None)
        });
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Hands a batch over.
    ///
    /// # Errors
    /// What stopped the archive.
    pub(crate) fn write_batch(&mut self, batch: Batch) -> anyhow::Result<()> {
        self.send(Work::Batch(batch))
    }

    /// Hands messages over.
    ///
    /// # Errors
    /// What stopped the archive.
    pub(crate) fn write_messages(&mut self, messages: &[Message]) -> anyhow::Result<()> {
        self.send(Work::Messages(messages.to_vec()))
    }

    /// Batches and messages that wait to be encoded.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, Sender::len)
    }

    fn send(&mut self, work: Work) -> anyhow::Result<()> {
        let is_gone = self.queue.as_ref().is_none_or(|queue| queue.send(work).is_err());
        if is_gone {
            // The thread has ended before its input: it has something to say.
            self.join()?;
            anyhow::bail!("the archive's thread ended early");
        }
        Ok(())
    }

    /// Brings everything to rest.
    ///
    /// # Errors
    /// What stopped the archive.
    pub(crate) fn finish(mut self) -> anyhow::Result<Closed> {
        self.send(Work::Finish)?;
        match self.join()? {
            Some(closed) => Ok(closed),
            None => anyhow::bail!("the archive's thread ended without finishing"),
        }
    }

    fn join(&mut self) -> anyhow::Result<Option<Closed>> {
        self.queue = None;
        let Some(thread) = self.thread.take() else {
            anyhow::bail!("the archive has failed before");
        };
        match thread.join() {
            Ok(result) => Ok(result?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Archiver {
    /// After an error: waits until the thread has dropped its temporary files.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // Its error, if any, is not the first one.
            drop(thread.join());
        }
    }
}

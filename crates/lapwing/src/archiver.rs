//! The sinks of a replay: alerts as they come, and the archive in a thread of its own, so that encoding runs
//! beside reading and detecting.

use std::path::Path;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use lapwing_event::{Batch, Message};
use lapwing_sink::{Archive, ArchiveError, ArchiveOptions, ArchiveReport, Sink, SinkError};

/// Batches that wait for the archive: enough to keep both sides busy, few enough for memory.
const QUEUE: usize = 4;

/// What a replay writes.
pub(crate) struct ReplaySinks {
    alerts: Vec<Box<dyn Sink>>,
    archive: Option<Archiver>,
    archived: Option<ArchiveReport>,
}

impl ReplaySinks {
    /// Alerts go to these, and everything to an archive if there is one.
    ///
    /// # Errors
    /// A folder that cannot be made or listed.
    pub(crate) fn new(
        alerts: Vec<Box<dyn Sink>>,
        archive: Option<&Path>,
    ) -> Result<Self, ArchiveError> {
        let archive = archive.map(Archiver::start).transpose()?;
        Ok(Self { alerts, archive, archived: None })
    }

    /// What was archived; `None` without an archive.
    pub(crate) fn archived(&self) -> Option<ArchiveReport> {
        self.archived
    }
}

impl Sink for ReplaySinks {
    fn write_batch(&mut self, batch: &Batch) -> Result<(), SinkError> {
        match &mut self.archive {
            Some(archive) => archive.send(Work::Batch(batch.clone())),
            None => Ok(()),
        }
    }

    fn write_messages(&mut self, messages: &[Message]) -> Result<(), SinkError> {
        for sink in &mut self.alerts {
            sink.write_messages(messages)?;
        }
        match &mut self.archive {
            Some(archive) => archive.send(Work::Messages(messages.to_vec())),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.archived = self.archive.take().map(Archiver::finish).transpose()?;
        self.alerts.iter_mut().try_for_each(|sink| sink.finish())
    }
}

/// An archive that is written in the background.
struct Archiver {
    queue: Option<Sender<Work>>,
    thread: Option<JoinHandle<Result<Option<ArchiveReport>, SinkError>>>,
}

enum Work {
    Batch(Batch),
    Messages(Vec<Message>),
    /// Everything has come: commit. Without it nothing under construction is kept.
    Finish,
}

impl Archiver {
    /// Opens the archive and starts its thread.
    fn start(path: &Path) -> Result<Self, ArchiveError> {
        let mut archive = Archive::open(path, ArchiveOptions::default())?;
        let (queue, work) = bounded::<Work>(QUEUE);
        let thread = std::thread::spawn(move || {
            for work in work {
                match work {
                    Work::Batch(batch) => archive.write_batch(&batch)?,
                    Work::Messages(messages) => archive.write_messages(&messages)?,
                    Work::Finish => {
                        archive.finish()?;
                        return Ok(Some(*archive.report()));
                    }
                }
            }
            Ok(None)
        });
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    fn send(&mut self, work: Work) -> Result<(), SinkError> {
        let is_gone = self.queue.as_ref().is_none_or(|queue| queue.send(work).is_err());
        if is_gone {
            // The thread has ended before its input: it has something to say.
            self.join()?;
        }
        Ok(())
    }

    /// Brings everything to rest.
    fn finish(mut self) -> Result<ArchiveReport, SinkError> {
        self.send(Work::Finish)?;
        Ok(self.join()?.unwrap_or_default())
    }

    fn join(&mut self) -> Result<Option<ArchiveReport>, SinkError> {
        self.queue = None;
        let Some(thread) = self.thread.take() else { return Ok(None) };
        match thread.join() {
            Ok(result) => result,
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

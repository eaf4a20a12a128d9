//! Decoding on several threads: chunks go out to whichever worker is free, and come back through a
//! slot of their own, so that the order stays that of the reader.

use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::decode::{DecodeOptions, DecodedChunk, Decoder, RawChunk};

/// Chunks that wait per worker beside the one it works on: one is enough to keep it busy.
const WAITING_PER_WORKER: usize = 1;

/// Decodes chunks on threads of its own; they end when it is dropped.
pub(crate) struct Workers {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    /// Decodes here and now where there are no threads.
    inline: Decoder,
}

struct Job {
    raw: RawChunk,
    slot: Sender<DecodedChunk>,
}

/// A chunk that is being decoded.
pub(crate) enum Pending {
    Done(Box<DecodedChunk>),
    Waiting(Receiver<DecodedChunk>),
}

impl Workers {
    /// Starts threads; with 0, chunks are decoded by the thread that submits them.
    pub(crate) fn new(threads: usize, options: DecodeOptions) -> Self {
        let (jobs, queue) = bounded::<Job>((threads * WAITING_PER_WORKER).max(1));
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || work(&queue, options))
            })
            .collect();
        let jobs = (!threads.is_empty()).then_some(jobs);
        Self { jobs, threads, inline: Decoder::new(options) }
    }

    /// Chunks of all logs together that keep every worker busy.
    pub(crate) fn depth(&self) -> usize {
        1 + self.threads.len() * (1 + WAITING_PER_WORKER)
    }

    /// Has a chunk decoded; waits while all workers are busy.
    pub(crate) fn submit(&mut self, raw: RawChunk) -> Pending {
        let Some(jobs) = &self.jobs else {
            return Pending::Done(Box::new(self.inline.decode(&raw)));
        };
        let (slot, result) = bounded(1);
        if jobs.send(Job { raw, slot }).is_err() {
            self.fail();
        }
        Pending::Waiting(result)
    }

    /// The decoded chunk.
    pub(crate) fn wait(&mut self, pending: Pending) -> DecodedChunk {
        match pending {
            Pending::Done(chunk) => *chunk,
            Pending::Waiting(result) => result.recv().unwrap_or_else(|_| self.fail()),
        }
    }

    /// A worker has panicked: so does the reader.
    fn fail(&mut self) -> ! {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
        unreachable!("a worker ends early only if it panics")
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic was passed on by whoever waited for its chunk; here nobody does.
            drop(thread.join());
        }
    }
}

fn work(queue: &Receiver<Job>, options: DecodeOptions) {
    let mut decoder = Decoder::new(options);
    for Job { raw, slot } in queue {
        // The reader may have been dropped meanwhile.
        drop(slot.send(decoder.decode(&raw)));
    }
}

#[cfg(test)]
mod tests {
    use lapwing_event::{Event, Reject};

    use super::*;
    use crate::decode::Tail;
    use crate::format::{Format, FormatInfo};
    use crate::json::Json;

    struct Panicking;

    impl Format for Panicking {
        fn info(&self) -> &'static FormatInfo {
            panic!("a bug in a format")
        }

        fn recognise(&self, _: &[u8], _: &mut Json) -> bool {
            false
        }

        fn decode(&self, _: &[u8], _: &mut Json, _: &mut Event) -> Result<(), Reject> {
            Ok(())
        }
    }

    #[test]
    #[should_panic(expected = "a bug in a format")]
    fn a_panic_of_a_worker_is_not_swallowed() {
        let mut workers = Workers::new(2, DecodeOptions::default());
        let raw = RawChunk {
            bytes: b"{}\n".into(),
            file: "x".into(),
            first_line: 1,
            tail: Tail::LineEnd,
            format: &Panicking,
        };
        let pending = workers.submit(raw);
        drop(workers.wait(pending));
    }
}

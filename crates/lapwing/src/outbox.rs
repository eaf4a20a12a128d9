//! Where alerts are handed over, once a manifest has committed them: the sinks of a process, shared by all
//! its partitions. Whatever stops a sink is tried again; nothing is passed over.

use lapwing_ingest::clock_us;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use lapwing_event::Message;
use lapwing_sink::Sink;
use tracing::error;

/// Longest latency that the histogram tells apart, one hour; longer ones count as one hour.
const MAX_LATENCY_US: u64 = 3_600_000_000;
/// How long a sink that failed is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The sinks of alerts.
pub(crate) struct Outbox {
    sinks: Mutex<Vec<Box<dyn Sink>>>,
    latency_us: Mutex<Histogram<u64>>,
}

impl Outbox {
    pub(crate) fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        let latency = Histogram::new_with_bounds(1, MAX_LATENCY_US, 2);
        let latency = latency.expect("the bounds are those the histogram asks for");
        Self { sinks: Mutex::new(sinks), latency_us: Mutex::new(latency) }
    }

    /// Hands messages over, and tries until every sink has them.
    pub(crate) async fn hand_over(&self, messages: &[Message]) {
        if messages.is_empty() {
            return;
        }
        let mut first = 0;
        while let Err((failed, why)) = self.try_hand_over(messages, first) {
            first = failed;
            error!(error = %why, "alerts wait: a sink does not take them; trying again");
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// From a sink on; gives the one that failed.
    fn try_hand_over(
        &self,
        messages: &[Message],
        first: usize,
    ) -> Result<(), (usize, lapwing_sink::SinkError)> {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, sink) in sinks.iter_mut().enumerate().skip(first) {
            sink.write_messages(messages).map_err(|why| (at, why))?;
        }
        Ok(())
    }

    /// Counts how long messages took from the log time that raised them until now.
    pub(crate) fn count_latency(&self, messages: &[Message]) {
        let now = clock_us();
        let mut latency = self.latency_us.lock().unwrap_or_else(PoisonError::into_inner);
        for message in messages {
            let us = now.saturating_sub(message.log_time).max(1);
            latency.saturating_record(us as u64);
        }
    }

    /// From the arrival of a record to its alert being handed over, microseconds.
    pub(crate) fn latency_us(&self) -> Histogram<u64> {
        self.latency_us.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

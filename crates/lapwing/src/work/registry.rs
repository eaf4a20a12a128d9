//! The lanes of a process, as the endpoint shows them: those that run, and the sums of those that have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use lapwing_ingest::SourceStats;
use lapwing_sink::ArchiveReport;
use tracing::info;

use crate::committer::Progress;
use crate::lane::{LaneNumbers, LaneOptions};
use crate::metrics::Numbers;
use crate::outbox::Outbox;
use crate::report::Report;

/// All lanes.
#[derive(Debug, Default, Clone)]
pub(super) struct Registry(Arc<Mutex<Lanes>>);

#[derive(Debug, Default)]
struct Lanes {
    next: u64,
    running: BTreeMap<u64, Running>,
    /// What lanes that are gone have done.
    ended: Totals,
}

#[derive(Debug, Clone)]
struct Running {
    source_id: Arc<str>,
    numbers: Arc<Mutex<LaneNumbers>>,
    progress: Arc<Progress>,
}

/// Sums over lanes.
#[derive(Debug, Default)]
struct Totals {
    sources: BTreeMap<Arc<str>, SourceStats>,
    report: Report,
    archived: ArchiveReport,
}

impl Totals {
    fn copy(&self) -> Self {
        let (sources, archived) = (self.sources.clone(), self.archived);
        Self { sources, report: self.report.counters(), archived }
    }

    fn add(&mut self, source_id: &Arc<str>, numbers: &LaneNumbers) {
        self.sources.entry(source_id.clone()).or_default().add(&numbers.source);
        self.report.absorb(&numbers.report);
        self.archived.add(&numbers.archived);
    }
}

/// A lane is counted as running as long as this is held.
pub(super) struct Registered {
    registry: Registry,
    lane: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut lanes = self.registry.lock();
        if let Some(Running { source_id, numbers, .. }) = lanes.running.remove(&self.lane) {
            let mut numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
            // Files that wait are no sum.
            numbers.source.unread_bytes = 0;
            lanes.ended.add(&source_id, &numbers);
        }
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a lane.
    pub(super) fn register(
        &self,
        source_id: &Arc<str>,
        numbers: Arc<Mutex<LaneNumbers>>,
        progress: Arc<Progress>,
    ) -> Registered {
        let mut lanes = self.lock();
        lanes.next += 1;
        let lane = lanes.next;
        let source_id = source_id.clone();
        lanes.running.insert(lane, Running { source_id, numbers, progress });
        Registered { registry: self.clone(), lane }
    }

    /// The formats read so far.
    pub(super) fn formats(&self) -> BTreeSet<&'static str> {
        let lanes = self.lock();
        let names = |source: &SourceStats| -> Vec<&'static str> {
            source.formats.iter().map(|(name, _)| *name).collect()
        };
        let mut formats: BTreeSet<_> = lanes.ended.sources.values().flat_map(names).collect();
        for lane in lanes.running.values() {
            let numbers = lane.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            formats.extend(names(&numbers.source));
        }
        formats
    }

    /// The sums, and the lanes that run.
    fn totals(&self) -> (Totals, Vec<Running>) {
        let lanes = self.lock();
        let mut totals = lanes.ended.copy();
        let running: Vec<Running> = lanes.running.values().cloned().collect();
        drop(lanes);
        for lane in &running {
            let numbers = lane.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            totals.add(&lane.source_id, &numbers);
        }
        (totals, running)
    }

    /// What the endpoint shows.
    pub(super) fn numbers(&self, options: &LaneOptions, outbox: &Outbox) -> Numbers {
        let (totals, running) = self.totals();
        let mut shown = Numbers::of(&totals.report, &options.rules);
        shown.encoder_bytes = options.memory.used_bytes();
        shown.archived = totals.archived;
        let sources = totals.sources.into_iter();
        shown.sources = sources.map(|(id, stats)| (id.to_string(), stats)).collect();
        shown.alert_latency_us = Some(outbox.latency_us());
        let mut oldest_commit = i64::MAX;
        let mut lag = BTreeMap::new();
        for lane in &running {
            let numbers = lane.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            shown.keys += numbers.keys;
            shown.open_alerts += numbers.open_alerts;
            shown.commit_queue += numbers.queue;
            if let Some(records) = numbers.lag {
                *lag.entry(lane.source_id.to_string()).or_insert(0) += records;
            }
            oldest_commit = oldest_commit.min(lane.progress.committed_at.load(Ordering::Relaxed));
        }
        shown.lanes = running.len();
        shown.lag = lag.into_iter().collect();
        if oldest_commit != i64::MAX {
            shown.checkpointed =
                UNIX_EPOCH + Duration::from_micros(oldest_commit.max(0).unsigned_abs());
        }
        shown
    }

    /// Says what was done, at the end.
    pub(super) fn say_totals(&self) {
        let Totals { report, archived, .. } = self.totals().0;
        let latency = report.detect_us.as_ref();
        info!(
            events = report.events,
            rejected = report.rejected_records(),
            late = report.late,
            alert_messages = report.messages.values().sum::<u64>(),
            archived_files = archived.files_written,
            detect_p50_us = latency.map_or(0, |h| h.value_at_quantile(0.5)),
            detect_p99_us = latency.map_or(0, |h| h.value_at_quantile(0.99)),
            "stopped"
        );
    }
}

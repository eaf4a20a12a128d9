//! The work of `run`: sources are read epoch by epoch, archived, and saved, until it is told to rest.
//! Signals and the endpoint are not its concern.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use lapwing_detector::Detector;
use lapwing_detector::rule::RuleSet;
use lapwing_ingest::source::Start;
use lapwing_ingest::{FollowCursor, FollowOptions, FollowSource, Next, Source};
use lapwing_sink::{ArchiveReport, JsonAlerts, Sink, next_offset, set_aside};
use tracing::{info, warn};

use crate::checkpoint::{self, Checkpoint};
use crate::cli::stdout_alerts;
use crate::config::{Config, SourceConfig};
use crate::coverage::coverage;
use crate::endpoint::Board;
use crate::metrics::Numbers;
use crate::pipeline::Pipeline;

/// How often a source that has nothing new is looked at. With many sources each gets its share, so
/// that one round over all of them takes this long.
const POLL: Duration = Duration::from_millis(250);

/// A source that is followed.
struct Followed {
    id: String,
    source: FollowSource,
    /// The records that had been read when its checkpoint was saved.
    saved_records: Option<u64>,
}

/// Follows all sources, epoch by epoch.
pub(crate) struct Follower<'a> {
    config: &'a Config,
    board: &'a Board,
    pipeline: Pipeline,
    sources: Vec<Followed>,
    /// What the epochs so far have archived.
    archived: ArchiveReport,
    /// When everything read was last at rest.
    checkpointed: SystemTime,
    said_blind: BTreeSet<Arc<str>>,
}

impl<'a> Follower<'a> {
    /// Follows until told to rest.
    ///
    /// # Errors
    /// What makes going on impossible; the last checkpoint still holds.
    pub(crate) fn follow(
        config: &'a Config,
        rules: &Arc<RuleSet>,
        board: &'a Board,
        must_rest: &AtomicBool,
    ) -> anyhow::Result<()> {
        let _lock = checkpoint::lock(&config.state)?;
        let mut pipeline = Pipeline::new(rules.clone(), config.limits, open_sinks(config)?);
        let mut sources = Vec::new();
        for source in &config.sources {
            sources.push(open(config, source, &mut pipeline)?);
        }
        let mut follower = Self {
            config,
            board,
            pipeline,
            sources,
            archived: ArchiveReport::default(),
            checkpointed: SystemTime::now(),
            said_blind: BTreeSet::new(),
        };
        // A first checkpoint, so that a crash in the first epoch does not begin at another place.
        follower.save()?;
        info!(sources = follower.sources.len(), rules = rules.rules.len(), "started");
        while !must_rest.load(Ordering::Relaxed) {
            follower.one_epoch(must_rest)?;
            follower.save()?;
            follower.say_blind();
        }
        follower.finish()
    }

    /// Reads and archives until the epoch is over or it is told to rest.
    fn one_epoch(&mut self, must_rest: &AtomicBool) -> anyhow::Result<()> {
        if let Some(path) = &self.config.archive {
            self.pipeline.open_archive(path)?;
        }
        let start = Instant::now();
        let length = Duration::from_micros(self.config.epoch.max(1) as u64);
        while !must_rest.load(Ordering::Relaxed) && start.elapsed() < length {
            self.one_round()?;
            self.board.show(|| self.numbers());
        }
        if let Some(report) = self.pipeline.close_archive()?.filter(|r| r.files_written > 0) {
            let (events, files) = (report.events_written, report.files_written);
            info!(events, files, bytes = report.bytes_written, "epoch archived");
            self.archived.add(&report);
        }
        Ok(())
    }

    /// Lets every source have its turn.
    fn one_round(&mut self) -> anyhow::Result<()> {
        for followed in &mut self.sources {
            match followed.source.next_batch()? {
                Next::Batch(batch) => self.pipeline.take(batch)?,
                Next::Idle { log_time } => {
                    let partition = followed.source.partition().clone();
                    self.pipeline.tick(&partition, log_time)?;
                }
                Next::End => {}
            }
        }
        Ok(())
    }

    /// Saves cursors and states, after what they stand for is at rest.
    ///
    /// A source without new records keeps its checkpoint: alerts that silence has resolved meanwhile
    /// wait for its next records before they are archived, and a restart resolves them again.
    fn save(&mut self) -> anyhow::Result<()> {
        for Followed { id, source, saved_records } in &mut self.sources {
            let records = source.stats().records;
            if *saved_records == Some(records) {
                continue;
            }
            let state = self.pipeline.snapshot(source.partition()).unwrap_or_default();
            Checkpoint { cursor: source.cursor(), state }.write(&self.config.state, id)?;
            *saved_records = Some(records);
        }
        self.checkpointed = SystemTime::now();
        Ok(())
    }

    /// What the endpoint shows.
    fn numbers(&self) -> Numbers {
        Numbers {
            sources: self.sources.iter().map(|s| (s.id.clone(), s.source.stats())).collect(),
            keys: self.pipeline.keys(),
            archived: self.archived,
            archive_queue: self.pipeline.archive_queue(),
            checkpointed: self.checkpointed,
            open_alerts: self.pipeline.open_alerts(),
            ..Numbers::of(self.pipeline.report(), self.pipeline.rules())
        }
    }

    /// Says once of each rule that it can see nothing in the formats read so far.
    fn say_blind(&mut self) {
        let stats: Vec<_> = self.sources.iter().map(|s| s.source.stats()).collect();
        let formats: Vec<&str> =
            stats.iter().flat_map(|s| &s.formats).map(|(name, _)| *name).collect();
        for rule in coverage(self.pipeline.rules(), &[], &formats).rules {
            let is_new = |_: &_| self.said_blind.insert(rule.rule.clone());
            if let Some(reason) = rule.blind.filter(is_new) {
                warn!(rule = &*rule.rule, reason, "a rule is blind");
            }
        }
    }

    /// Brings everything to rest.
    fn finish(self) -> anyhow::Result<()> {
        let (report, _) = self.pipeline.finish()?;
        let latency = report.detect_us.as_ref();
        info!(
            events = report.events,
            rejected = report.rejected_records(),
            late = report.late,
            alerts = report.alerts_by_level().values().sum::<u64>(),
            detect_p50_us = latency.map_or(0, |h| h.value_at_quantile(0.5)),
            detect_p99_us = latency.map_or(0, |h| h.value_at_quantile(0.99)),
            "stopped"
        );
        Ok(())
    }
}

/// Opens a source where it was left, with the state of its detector.
fn open(
    config: &Config,
    source: &SourceConfig,
    pipeline: &mut Pipeline,
) -> anyhow::Result<Followed> {
    let mut options = FollowOptions::new(source.id.as_str());
    options.format = source.format;
    options.decode.keep_raw = config.keep_raw;
    options.decode.max_record_bytes = config.max_record_bytes;
    options.max_future_skew = config.max_future_skew;
    options.start = if source.from_beginning { Start::Beginning } else { Start::End };
    options.poll = POLL / config.sources.len().max(1) as u32;
    let checkpoint = Checkpoint::read(&config.state, &source.id)?;
    let cursor = checkpoint.as_ref().map(|c| &c.cursor);
    if let Some(archive) = &config.archive {
        options.first_offset = meet_archive(archive, &source.id, cursor)?;
    }
    let opened = FollowSource::open(&source.include, options, cursor)?;
    // A checkpoint that was found holds until there are new records: what a changed rule has resolved is
    // archived with them, and would be lost if its state were saved before.
    let saved_records = checkpoint.is_some().then_some(0);
    if let Some(checkpoint) = checkpoint.filter(|c| !c.state.is_empty()) {
        let partition = opened.partition().clone();
        let rules = pipeline.rules().clone();
        let (detector, messages) =
            Detector::restore(rules, partition.clone(), config.limits, &checkpoint.state)
                .with_context(|| format!("the checkpoint of source {}", source.id))?;
        if !messages.is_empty() {
            let alerts = messages.len();
            info!(source = source.id, alerts, "resolved: their rules are gone or have changed");
        }
        pipeline.adopt(&partition, detector, messages)?;
        info!(source = source.id, next_offset = checkpoint.cursor.next_offset, "resumed");
    }
    Ok(Followed { id: source.id.clone(), source: opened, saved_records })
}

/// Makes the archive of a source agree with its checkpoint, which is the commit: what was archived after
/// it is put aside, since it is read and archived again. Without a checkpoint the first record gets the
/// offset after what is there; it is returned.
fn meet_archive(
    archive: &Path,
    source_id: &str,
    cursor: Option<&FollowCursor>,
) -> anyhow::Result<i64> {
    let partition = FollowSource::partition_of(source_id);
    let Some(cursor) = cursor else { return Ok(next_offset(archive, &partition)?) };
    for path in set_aside(archive, &partition, cursor.next_offset)? {
        warn!(path = %path.display(), "archived after the last checkpoint: put aside, read again");
    }
    Ok(cursor.next_offset)
}

fn open_sinks(config: &Config) -> anyhow::Result<Vec<Box<dyn Sink>>> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    sinks.extend(config.alerts_stdout.map(stdout_alerts));
    if let Some(path) = &config.alerts_file {
        sinks.push(Box::new(JsonAlerts::append(path)?));
    }
    Ok(sinks)
}

//! The work of `run`: lanes are opened for the partitions there are, and brought to rest when it is told
//! to. Signals and the endpoint are not its concern.

mod files;
#[cfg(feature = "kafka")]
mod kafka;
mod keep;
mod registry;

#[cfg(test)]
mod crash_tests;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::bail;
use lapwing_detector::rule::RuleSet;
use lapwing_ingest::{DecodeOptions, Decoders};
use lapwing_sink::{EncoderMemory, Sink, share};
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::checkpoint::{ArchivePlace, Place};
use crate::config::{Config, Input, SourceConfig};
use crate::coverage::coverage;
use crate::endpoint::Board;
use crate::lane::LaneOptions;
use crate::outbox::Outbox;
use registry::Registry;

/// How often the work looks whether something has failed, and shows its numbers.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The shortest time between two manifests of alerts of a partition, in a folder.
const ALERTS_EVERY_LOCAL: Duration = Duration::from_millis(100);
/// The same in S3, where each costs a request.
const ALERTS_EVERY_REMOTE: Duration = Duration::from_secs(1);

/// What all lanes of a process share.
pub(crate) struct Shared {
    config: Arc<Config>,
    options: LaneOptions,
    runtime: Handle,
    outbox: Arc<Outbox>,
    state: Place,
    archive: Option<ArchivePlace>,
    /// The shortest time between two manifests of alerts of a partition.
    alerts_every: Duration,
    decoders: Arc<Decoders>,
    registry: Registry,
    /// The whole process is coming to rest.
    must_rest: Arc<AtomicBool>,
    failure: Mutex<Option<anyhow::Error>>,
}

impl Shared {
    /// Something that stops the process; the first one counts.
    fn fail(&self, error: anyhow::Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        self.must_rest.store(true, Ordering::Relaxed);
    }
}

/// Works until told to rest.
///
/// # Errors
/// What makes going on impossible; what was committed holds.
pub(crate) fn work(
    config: Arc<Config>,
    rules: &Arc<RuleSet>,
    sinks: Vec<Box<dyn Sink>>,
    board: &Board,
    must_rest: Arc<AtomicBool>,
    runtime: Handle,
) -> anyhow::Result<()> {
    for source in &config.sources {
        check_groups(source, rules)?;
    }
    let state = Place::open(&config.state)?;
    let archive = config.archive.as_deref().map(Place::open).transpose()?;
    let folder = archive.as_ref().and_then(|place| place.folder.as_deref());
    let _archive_lock = folder.map(share).transpose()?;
    let decode =
        DecodeOptions { max_record_bytes: config.max_record_bytes, keep_raw: config.keep_raw };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shared = Arc::new(Shared {
        options: LaneOptions {
            rules: rules.clone(),
            limits: config.limits,
            epoch: config.epoch,
            memory: EncoderMemory::new(config.encoder_bytes),
        },
        runtime,
        outbox: Arc::new(Outbox::new(sinks)),
        alerts_every: match state.folder {
            Some(_) => ALERTS_EVERY_LOCAL,
            None => ALERTS_EVERY_REMOTE,
        },
        state,
        archive: archive.map(|place| ArchivePlace::new(place, config.spool.clone())),
        decoders: Decoders::new(cores + 1, decode),
        registry: Registry::default(),
        must_rest,
        failure: Mutex::default(),
        config,
    });
    let threads = start(&shared)?;
    info!(sources = shared.config.sources.len(), rules = rules.rules.len(), "started");
    watch(&shared, board);
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
    board.show_now(|| shared.registry.numbers(&shared.options, &shared.outbox));
    shared.registry.say_totals();
    let failure = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    failure.map_or(Ok(()), Err)
}

/// Starts a thread for each source.
fn start(shared: &Arc<Shared>) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for (index, source) in shared.config.sources.iter().enumerate() {
        let thread = match &source.input {
            Input::Files(_) => files::start(shared, index),
            #[cfg(feature = "kafka")]
            Input::Kafka(_) => kafka::start(shared, index),
            #[cfg(not(feature = "kafka"))]
            Input::Kafka(_) => {
                Err(anyhow::anyhow!("source {}: built without the feature kafka", source.id))
            }
        };
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                shared.fail(error);
                break;
            }
        }
    }
    Ok(threads)
}

/// Shows numbers until it is time to rest.
fn watch(shared: &Shared, board: &Board) {
    let (mut formats, mut said_blind) = (BTreeSet::new(), BTreeSet::new());
    while !shared.must_rest.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY);
        board.show(|| shared.registry.numbers(&shared.options, &shared.outbox));
        let read = shared.registry.formats();
        if read != formats {
            say_blind(&shared.options.rules, &read, &mut said_blind);
            formats = read;
        }
    }
}

/// Says once of each rule that it can see nothing in the formats read so far.
fn say_blind(rules: &RuleSet, formats: &BTreeSet<&str>, said: &mut BTreeSet<Arc<str>>) {
    let formats: Vec<&str> = formats.iter().copied().collect();
    for rule in coverage(rules, &[], &formats).rules {
        if let Some(reason) = rule.blind.filter(|_| said.insert(rule.rule.clone())) {
            warn!(rule = &*rule.rule, reason, "a rule is blind");
        }
    }
}

/// Refuses rules whose groups are spread over the partitions of a source: each partition is counted by
/// itself, and what is scattered would never be seen together.
pub(crate) fn check_groups(source: &SourceConfig, rules: &RuleSet) -> anyhow::Result<()> {
    let Input::Kafka(kafka) = &source.input else { return Ok(()) };
    if kafka.accepts_partial {
        return Ok(());
    }
    for topic in &kafka.topics {
        let fields = &topic.partitioned_by;
        let names: Vec<&str> = fields.iter().map(|field| field.spec().name).collect();
        let spread = rules.rules.iter().filter(|rule| {
            fields.is_empty() || !fields.iter().all(|field| rule.group_by.contains(field))
        });
        let spread: Vec<&str> = spread.map(|rule| &*rule.name).collect();
        if spread.is_empty() {
            continue;
        }
        let by = match names.is_empty() {
            true => "does not say what it is partitioned_by".to_owned(),
            false => format!("is partitioned by {}", names.join(", ")),
        };
        bail!(
            "source {}: topic {} {by}, but these rules group by other fields, and their events may lie in \
             several partitions, which are counted apart: {}; say what the topic is partitioned_by, switch \
             the rules off (rules.disable), or set partial: accept on the source (their alerts then say \
             that they are incomplete)",
            source.id,
            topic.name,
            spread.join(", ")
        );
    }
    Ok(())
}

//! `lapwing checkpoint`: list, show and verify chains of manifests, and shorten them.

use lapwing_ingest::clock_us;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use lapwing_event::time::{format_duration, format_time, parse_time, parse_timespan};

use super::Outcome;
use crate::checkpoint::{
    ArchivePlace, ChainStore, Entry, EpochEntry, Manifest, Place, Upkeep, Verified, chains_of,
    prune, verify,
};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum CheckpointCommand {
    /// List the chains: where each partition stands
    List(ListArgs),
    /// Show the manifests of a chain, or one of them as JSON
    Show(ShowArgs),
    /// Compare chains with the states and archive files that they name; reads only
    Verify(VerifyArgs),
    /// Replace old manifests by a summary
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    /// The configuration file that names the places
    #[arg(long, value_name = "FILE", conflicts_with_all = ["state", "archive"])]
    config: Option<PathBuf>,
    /// The folder, or s3://bucket/prefix, of the checkpoints
    #[arg(long, value_name = "PLACE", required_unless_present = "config")]
    state: Option<String>,
    /// The archive: a folder, or s3://bucket/prefix
    #[arg(long, value_name = "PLACE")]
    archive: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    places: PlaceArgs,
    /// Of this source alone
    source: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    places: PlaceArgs,
    /// The source
    source: String,
    /// The partition
    partition: String,
    /// The number of a manifest, which is printed as a whole
    number: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    places: PlaceArgs,
    /// Of this source alone
    source: Option<String>,
    /// Of this partition alone
    partition: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Manifests younger than this stay, e.g. 12h
    #[arg(long, value_name = "TIMESPAN", default_value = "1d")]
    keep: String,
}

/// Runs a command on checkpoints.
pub(super) fn checkpoint(command: &CheckpointCommand) -> anyhow::Result<Outcome> {
    block_on(async {
        match command {
            CheckpointCommand::List(args) => list(args).await,
            CheckpointCommand::Show(args) => show(args).await,
            CheckpointCommand::Verify(args) => verify_all(args).await,
            CheckpointCommand::Prune(args) => prune_all(args).await,
        }
    })
}

/// Runs a command that waits for stores.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime for reading checkpoints cannot be started")?.block_on(work)
}

/// Opens a place that must be there already.
fn open(text: &str) -> anyhow::Result<Place> {
    if !text.contains("://") && !Path::new(text).is_dir() {
        bail!("{text}: there is no such folder; name the one that `lapwing run` uses");
    }
    Ok(Place::open(text)?)
}

/// The checkpoints and the archive of a configuration, for maintenance.
pub(super) fn open_configured(config: &Config) -> anyhow::Result<Upkeep> {
    // Whatever is written can be read by this user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let archive = config.archive.as_deref().map(open).transpose()?;
    let archive = archive.map(|place| ArchivePlace::new(place, config.spool.clone()));
    Ok(Upkeep::begin(open(&config.state)?, archive)?)
}

impl PlaceArgs {
    fn open(&self) -> anyhow::Result<(Place, Option<ArchivePlace>)> {
        let (state, archive) = match &self.config {
            Some(path) => {
                let config = Config::read(path)?;
                (config.state, config.archive)
            }
            None => (self.state.clone().unwrap_or_default(), self.archive.clone()),
        };
        let archive = archive.as_deref().map(open).transpose()?;
        Ok((open(&state)?, archive.map(|place| ArchivePlace::new(place, PathBuf::new()))))
    }
}

/// Where a partition stands.
struct Standing {
    manifests: usize,
    worker: String,
    epoch: Option<(EpochEntry, String)>,
}

impl Standing {
    /// Reads back to the newest epoch, and to the newest manifest of an owner.
    async fn read(store: &ChainStore) -> anyhow::Result<Self> {
        let numbers = store.numbers().await?;
        let mut standing = Self { manifests: numbers.len(), worker: String::new(), epoch: None };
        for number in numbers.into_iter().rev() {
            let (manifest, _) = store.manifest(number).await?;
            if standing.worker.is_empty() && !manifest.entry.is_maintenance() {
                standing.worker.clone_from(&manifest.worker);
            }
            if standing.epoch.is_none() {
                let written = manifest.written_at;
                standing.epoch = match manifest.entry {
                    Entry::Epoch(epoch) => Some((*epoch, written)),
                    Entry::Summary(summary) => summary.epoch.map(|epoch| (epoch, written)),
                    _ => None,
                };
            }
            if standing.epoch.is_some() && !standing.worker.is_empty() {
                break;
            }
        }
        Ok(standing)
    }
}

async fn list(args: &ListArgs) -> anyhow::Result<Outcome> {
    let (state, _) = args.places.open()?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<16} {:<20} {:>9} {:>12} {:<27} {:<12} {:>6} WORKER",
        "SOURCE", "PARTITION", "MANIFESTS", "NEXT OFFSET", "LOG TIME", "AGE", "ALERTS"
    )?;
    for (source, partition) in chains_of(&state, args.source.as_deref(), None).await? {
        let store = ChainStore::new(&state, &source, &partition);
        let Standing { manifests, worker, epoch } = Standing::read(&store).await?;
        let none = || "-".to_owned();
        let (next, log_time, age, alerts) = match &epoch {
            None => (none(), none(), none(), none()),
            Some((epoch, written)) => (
                epoch.next_offset.to_string(),
                epoch.log_time.map_or_else(none, format_time),
                parse_time(written).map_or_else(none, |at| format_duration(clock_us() - at)),
                epoch.open_alerts.to_string(),
            ),
        };
        writeln!(
            out,
            "{source:<16} {partition:<20} {manifests:>9} {next:>12} {log_time:<27} {age:<12} {alerts:>6} \
             {worker}"
        )?;
    }
    Ok(Outcome::Done)
}

async fn show(args: &ShowArgs) -> anyhow::Result<Outcome> {
    let (state, _) = args.places.open()?;
    let store = ChainStore::new(&state, &args.source, &args.partition);
    let mut out = io::stdout().lock();
    if let Some(number) = args.number {
        let (manifest, hash) = store.manifest(number).await?;
        writeln!(out, "{}", serde_json::to_string_pretty(&manifest)?)?;
        eprintln!("SHA-256 {hash}");
        return Ok(Outcome::Done);
    }
    let numbers = store.numbers().await?;
    if numbers.is_empty() {
        bail!("{}: there is no manifest; see `lapwing checkpoint list`", store.path_of(""));
    }
    writeln!(
        out,
        "{:>8} {:<8} {:<25} {:>6} {:>9} {:<27} WORKER",
        "NUMBER", "KIND", "OFFSETS", "FILES", "MESSAGES", "WHEN"
    )?;
    for number in numbers {
        let (manifest, _) = store.manifest(number).await?;
        let (offsets, files, messages) = facts(&manifest);
        let Manifest { written_at, worker, entry, .. } = &manifest;
        let kind = entry.kind();
        writeln!(
            out,
            "{number:>8} {kind:<8} {offsets:<25} {files:>6} {messages:>9} {written_at:<27} {worker}"
        )?;
    }
    Ok(Outcome::Done)
}

/// Offsets, files and messages of a manifest.
fn facts(manifest: &Manifest) -> (String, String, usize) {
    let messages = manifest.entry.messages().len();
    let (offsets, files) = match &manifest.entry {
        Entry::Claim(claim) => (format!("from {}", claim.next_offset), "-".to_owned()),
        Entry::Epoch(epoch) => {
            let offsets = format!("{}..{}", epoch.first_offset, epoch.next_offset);
            (offsets, epoch.files.len().to_string())
        }
        Entry::Alerts(alerts) => (format!("to {}", alerts.next_offset), "-".to_owned()),
        Entry::Compact(compact) => {
            ("-".to_owned(), format!("{}>{}", compact.replaced.len(), compact.files.len()))
        }
        Entry::Retain(retain) => ("-".to_owned(), format!("-{}", retain.removed.len())),
        Entry::Summary(summary) => {
            let next = summary.epoch.as_ref().map_or(0, |epoch| epoch.next_offset);
            (format!("to {next}"), summary.files.len().to_string())
        }
    };
    (offsets, files, messages)
}

async fn verify_all(args: &VerifyArgs) -> anyhow::Result<Outcome> {
    let (state, archive) = args.places.open()?;
    let (source, partition) = (args.source.as_deref(), args.partition.as_deref());
    let chains = chains_of(&state, source, partition).await?;
    if chains.is_empty() {
        bail!(
            "{}: there are no checkpoints here; name the place that `lapwing run` uses",
            state.name
        );
    }
    let Verified { chains, manifests, files, rows, bytes, breaks, notes } =
        verify(&state, archive.as_ref(), &chains).await?;
    let mut out = io::stdout().lock();
    for note in &notes {
        writeln!(out, "note    {note}")?;
    }
    for found in &breaks {
        writeln!(out, "broken  {}: {}\n        {}", found.path, found.what, found.way_out)?;
    }
    if archive.is_none() {
        writeln!(out, "note    without --archive, the files of the archive were not looked at")?;
    }
    let broken = breaks.len();
    writeln!(
        out,
        "checked {chains} chains, {manifests} manifests, {files} files with {rows} rows in {bytes} bytes: \
         {broken} breaks"
    )?;
    Ok(if breaks.is_empty() { Outcome::Done } else { Outcome::Found })
}

async fn prune_all(args: &PruneArgs) -> anyhow::Result<Outcome> {
    let keep = parse_timespan(&args.keep).with_context(|| {
        format!("--keep {}: expected a whole number and a unit: 30m, 12h, 1d", args.keep)
    })?;
    let upkeep = open_configured(&Config::read(&args.config)?)?;
    let deleted = prune(&upkeep, clock_us() - keep).await?;
    writeln!(io::stdout().lock(), "removed {deleted} manifests")?;
    Ok(Outcome::Done)
}

//! `lapwing replay`: logs, an archive or a topic, once.

mod topic;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use lapwing_detector::Limits;
use lapwing_event::archive::is_path_name;
use lapwing_event::time::{format_time, parse_time};
use lapwing_ingest::format::{Format, format_by_name};
use lapwing_ingest::{
    ArchiveSource, DecodeOptions, Next, ReplayOptions, ReplaySource, Source, default_source_id,
    is_archive,
};
use lapwing_sink::{JsonAlerts, Sink};

use super::{LevelArg, Outcome, Output, RuleArgs, stdout_alerts};
use crate::archiver::ReplaySinks;
use crate::config::AlertFormat;
use crate::pipeline::Pipeline;
use crate::progress::Progress;
use crate::summary::{Summary, print_summary};

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Files, folders, patterns, - for standard input, the folder of an archive, or a topic:
    /// kafka://host:port[,host:port]/topic
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<String>,
    /// Write events, rejected records and alerts to this folder as Parquet
    #[arg(long, value_name = "DIR")]
    pub(super) archive: Option<PathBuf>,
    /// Write alerts to this file as JSON Lines
    #[arg(long, value_name = "FILE")]
    pub(super) alerts: Option<PathBuf>,
    /// How alerts are written to standard output; text on a terminal, else json
    #[arg(short, long, value_enum)]
    pub(super) output: Option<Output>,
    #[command(flatten)]
    pub(super) rules: RuleArgs,
    /// The format of all logs; recognised from the records if not given
    #[arg(long, value_name = "FORMAT")]
    pub(super) input_format: Option<String>,
    /// The id of the source, in alert ids and archive paths; from the paths or the topic if not given
    #[arg(long, value_name = "ID")]
    pub(super) source: Option<String>,
    /// Only records with a log time from here on, e.g. 2026-11-22 or 2026-11-22T16:00:00Z
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    pub(super) since: Option<i64>,
    /// Only records with a log time before
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    pub(super) until: Option<i64>,
    /// Exit with 1 if an alert reaches this level
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(super) fail_on: Option<LevelArg>,
    /// Exit with 3 if more records are rejected
    #[arg(long, value_name = "N")]
    pub(super) max_rejected: Option<u64>,
    /// Threads that decode, beside the one that detects and the one that encodes
    #[arg(long, value_name = "N", default_value_t = default_threads())]
    pub(super) threads: usize,
    /// The most records of a batch; alerts do not depend on it
    #[arg(long, value_name = "N", default_value_t = 8192, hide_short_help = true)]
    pub(super) batch_rows: usize,
    /// The longest record, bytes; longer ones are rejected
    #[arg(long, value_name = "BYTES", default_value_t = lapwing_ingest::decode::DEFAULT_MAX_RECORD_BYTES, hide_short_help = true)]
    pub(super) max_record_bytes: usize,
    /// Which original records the archive keeps beside their events
    #[arg(long, value_enum, default_value = "unmapped", hide_short_help = true)]
    pub(super) raw: RawArg,
    /// No progress bar and no summary
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    topic: topic::TopicArgs,
}

/// `--raw`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum RawArg {
    /// None of them
    None,
    /// Those that an event cannot express in full
    Unmapped,
    /// All of them
    All,
}

impl From<RawArg> for lapwing_ingest::KeepRaw {
    fn from(raw: RawArg) -> Self {
        match raw {
            RawArg::None => Self::None,
            RawArg::Unmapped => Self::Unmapped,
            RawArg::All => Self::All,
        }
    }
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A time, or a day.
fn read_time(text: &str) -> Result<i64, String> {
    let day = || parse_time(&format!("{text}T00:00:00Z"));
    parse_time(text)
        .or_else(day)
        .ok_or_else(|| "write 2026-11-22T16:00:00Z or 2026-11-22".to_owned())
}

/// Reads the input once.
pub(super) fn replay(args: &ReplayArgs) -> anyhow::Result<Outcome> {
    check_span(args)?;
    let rules = args.rules.selection().load()?;
    let mut source = open_source(args)?;
    let sinks = ReplaySinks::new(open_sinks(args)?, args.archive.as_deref())?;
    let mut pipeline = Pipeline::new(rules.clone(), Limits::default(), sinks);
    let start = Instant::now();
    let mut progress = Progress::start(source.total_bytes(), is_chatty(args));
    loop {
        match source.next_batch()? {
            Next::Batch(batch) => {
                pipeline.take(batch)?;
                progress.set(source.stats().bytes_read);
            }
            Next::Idle { .. } => {}
            Next::End => break,
        }
    }
    pipeline.end_of_input()?;
    let (report, sinks) = pipeline.finish()?;
    let archive = sinks.archived();
    progress.finish();
    let stats = source.stats();
    let formats: Vec<&str> = stats.formats.iter().map(|(name, _)| *name).collect();
    let summary = Summary {
        rules: &rules,
        report: &report,
        source: &stats,
        archive: archive.map(|r| (args.archive.as_deref().unwrap_or(Path::new("")), r)),
        formats: &formats,
        elapsed: start.elapsed(),
    };
    if args.quiet {
        // What was not read at all is said in any case.
        stats.refused.iter().for_each(|refused| tracing::warn!("{refused}"));
    } else {
        print_summary(&summary, &mut io::stderr().lock())?;
    }
    let too_many = args.max_rejected.is_some_and(|most| report.rejected_records() > most);
    let reached = args.fail_on.is_some_and(|level| report.highest >= Some(level.into()));
    Ok(match (too_many, reached) {
        (true, _) => Outcome::TooManyRejected,
        (false, true) => Outcome::Found,
        (false, false) => Outcome::Done,
    })
}

fn check_span(args: &ReplayArgs) -> anyhow::Result<()> {
    if let (Some(since), Some(until)) = (args.since, args.until)
        && since >= until
    {
        bail!("--since {} is not before --until {}", format_time(since), format_time(until));
    }
    // A replay of a part would be archived under the offsets of the whole, with holes.
    if args.archive.is_some() && (args.since.is_some() || args.until.is_some()) {
        bail!("--archive takes the whole input; leave --since and --until out, or the archive");
    }
    Ok(())
}

fn is_chatty(args: &ReplayArgs) -> bool {
    !args.quiet && io::stderr().is_terminal()
}

fn open_source(args: &ReplayArgs) -> anyhow::Result<Box<dyn Source>> {
    if let Some(address) = topic::address(args)? {
        return topic::open(args, &address);
    }
    if let [path] = &args.paths[..]
        && is_archive(Path::new(path))
    {
        if args.archive.is_some() {
            bail!("{path} is an archive already; leave --archive out, or copy the folder");
        }
        let options = lapwing_ingest::ArchiveOptions {
            batch_rows: args.batch_rows,
            since: args.since,
            until: args.until,
        };
        return Ok(Box::new(ArchiveSource::open(Path::new(path), options)?));
    }
    let source_id = match given_source_id(args)? {
        Some(id) => id,
        None => default_source_id(&args.paths)?,
    };
    let mut options = ReplayOptions::new(source_id);
    options.format = given_format(args)?;
    options.threads = args.threads;
    options.batch_rows = args.batch_rows.max(1);
    options.since = args.since;
    options.until = args.until;
    options.decode = decode_options(args);
    Ok(Box::new(ReplaySource::open(&args.paths, options)?))
}

fn given_source_id(args: &ReplayArgs) -> anyhow::Result<Option<String>> {
    match &args.source {
        Some(id) if !is_path_name(id) => {
            bail!("--source {id:?} becomes part of a path: use letters, digits, . _ -, at most 64")
        }
        id => Ok(id.clone()),
    }
}

fn given_format(args: &ReplayArgs) -> anyhow::Result<Option<&'static dyn Format>> {
    let Some(name) = &args.input_format else { return Ok(None) };
    let format = format_by_name(name).with_context(|| {
        format!(
            "there is no format {name}; supported: {}",
            lapwing_ingest::source::supported_formats()
        )
    })?;
    Ok(Some(format))
}

fn decode_options(args: &ReplayArgs) -> DecodeOptions {
    DecodeOptions { max_record_bytes: args.max_record_bytes.max(1), keep_raw: args.raw.into() }
}

fn open_sinks(args: &ReplayArgs) -> anyhow::Result<Vec<Box<dyn Sink>>> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    let format = match args.output {
        Some(Output::Text) => AlertFormat::Text,
        Some(Output::Json) => AlertFormat::Json,
        None if io::stdout().is_terminal() => AlertFormat::Text,
        None => AlertFormat::Json,
    };
    sinks.push(stdout_alerts(format));
    if let Some(path) = &args.alerts {
        sinks.push(Box::new(JsonAlerts::create(path)?));
    }
    Ok(sinks)
}

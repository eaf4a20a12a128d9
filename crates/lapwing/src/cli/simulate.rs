//! `lapwing simulate`: seeded audit logs, with the truth about their incidents.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use lapwing_event::time::{parse_time, parse_timespan};
use lapwing_simulator::{Disorder, IncidentKind, Scenario, write, write_truth};

use super::Outcome;

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// How many events
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    events: u64,
    /// The same seed gives the same bytes
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// How many incidents of each kind
    #[arg(long, value_name = "N", default_value_t = 1)]
    incidents: u32,
    /// How many agents
    #[arg(long, value_name = "N", default_value_t = 200)]
    agents: u32,
    /// The time of the first event
    #[arg(long, value_name = "TIME", default_value = "2026-11-22T00:00:00Z")]
    start: String,
    /// The time that the events cover
    #[arg(long, value_name = "SPAN", default_value = "1d")]
    span: String,
    /// The share of events that arrive late, by up to 30 s
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    disorder: f64,
    /// The file to write; standard output if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A file for the truth about the incidents, as JSON Lines
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
}

/// Writes simulated events.
pub(super) fn simulate(args: &SimulateArgs) -> anyhow::Result<Outcome> {
    anyhow::ensure!(args.agents > 0, "--agents must be at least 1");
    anyhow::ensure!((0.0..=1.0).contains(&args.disorder), "--disorder is a share from 0 to 1");
    let start_us = parse_time(&args.start)
        .with_context(|| format!("--start {}: write 2026-11-22T00:00:00Z", args.start))?;
    let span_us = parse_timespan(&args.span)
        .filter(|span| *span > 0)
        .with_context(|| format!("--span {}: write 30s, 5m, 1h or 1d", args.span))?;
    let scenario = Scenario {
        seed: args.seed,
        events: args.events,
        start_us,
        span_us,
        agents: args.agents,
        incidents: IncidentKind::ALL.iter().map(|kind| (*kind, args.incidents)).collect(),
        disorder: Disorder { share: args.disorder, ..Disorder::default() },
        ..Scenario::default()
    };
    write_scenario(&scenario, args.out.as_deref(), args.truth.as_deref())?;
    Ok(Outcome::Done)
}

/// Writes a scenario and its truth to files, or to standard output.
pub(super) fn write_scenario(
    scenario: &Scenario,
    out: Option<&Path>,
    truth: Option<&Path>,
) -> anyhow::Result<()> {
    let mut incidents = Vec::new();
    match out {
        Some(path) => {
            let mut file = BufWriter::new(create(path)?);
            write(scenario, &mut file, &mut incidents)?;
            file.flush().with_context(|| format!("{}: cannot be written", path.display()))?;
        }
        None => {
            let mut stdout = BufWriter::new(io::stdout().lock());
            write(scenario, &mut stdout, &mut incidents)?;
            stdout.flush()?;
        }
    }
    if let Some(path) = truth {
        let mut file = BufWriter::new(create(path)?);
        write_truth(&incidents, &mut file)?;
        file.flush().with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(())
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("{}: cannot be created", path.display()))
}

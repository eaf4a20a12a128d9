//! `lapwing demo`: a simulated day, replayed like any other log.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser};
use lapwing_simulator::demo_scenario;

use super::Outcome;
use super::replay::{ReplayArgs, replay};
use super::simulate::write_scenario;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// The folder for the log, the truth about its incidents and the archive
    #[arg(long, value_name = "DIR", default_value = "lapwing-demo")]
    dir: PathBuf,
    /// The same seed gives the same day
    #[arg(long, value_name = "SEED", default_value_t = 7)]
    seed: u64,
}

/// `replay` with the options of the demo, so that the demo is what a user can do.
#[derive(Debug, Parser)]
struct DemoReplay {
    #[command(flatten)]
    replay: ReplayArgs,
}

/// Simulates a day and replays it.
pub(super) fn demo(args: &DemoArgs) -> anyhow::Result<Outcome> {
    std::fs::create_dir_all(&args.dir).with_context(|| {
        format!("{}: cannot be created; name another --dir", args.dir.display())
    })?;
    let log = args.dir.join("fleet.jsonl");
    let archive = args.dir.join("archive");
    let truth = args.dir.join("truth.jsonl");
    write_scenario(&demo_scenario(args.seed), Some(&log), Some(&truth))?;
    let words = [
        "replay".into(),
        log.clone().into_os_string(),
        "--archive".into(),
        archive.into_os_string(),
        "--source".into(),
        "demo".into(),
        "--output".into(),
        "text".into(),
    ];
    eprintln!("A day of a small fleet, simulated: {}", log.display());
    eprintln!("What really happened in it: {}", truth.display());
    eprintln!(
        "$ lapwing replay {} --archive {}",
        log.display(),
        args.dir.join("archive").display()
    );
    let parsed = DemoReplay::try_parse_from(words).context("the demo's own command line")?;
    replay(&parsed.replay)
}

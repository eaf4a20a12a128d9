//! `lapwing compact`: merge the small files of the archive.

use lapwing_ingest::clock_us;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use lapwing_event::time::{format_date, parse_time};

use super::Outcome;
use super::checkpoint::{block_on, open_configured};
use crate::checkpoint::{self, CompactOptions, Compacted, TARGET_BYTES};
use crate::config::Config;

/// What holds meanwhile.
const MEANWHILE: &str = "`lapwing run` may go on. A query sees each row once at any time; one that has listed a folder just \
     before its files are exchanged may fail, since a file is gone: repeat it.";

#[derive(Debug, Args)]
#[command(after_help = MEANWHILE)]
pub(super) struct CompactArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// This UTC day of log time alone, also today
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<String>,
    /// The fewest files that are worth a merge
    #[arg(long, value_name = "N", default_value_t = 2)]
    min_files: usize,
}

/// Merges files.
pub(super) fn compact(args: &CompactArgs) -> anyhow::Result<Outcome> {
    let config = Config::read(&args.config)?;
    if let Some(date) = &args.date
        && parse_time(&format!("{date}T00:00:00Z")).is_none()
    {
        bail!("--date {date}: expected a day such as 2026-11-22");
    }
    if config.archive.is_none() {
        bail!("{}: no archive.path, so there is nothing to merge", args.config.display());
    }
    let options = CompactOptions {
        date: args.date.clone(),
        today: format_date(clock_us()),
        min_files: args.min_files,
        target_bytes: TARGET_BYTES,
    };
    let done = block_on(async {
        let upkeep = open_configured(&config)?;
        Ok(checkpoint::compact(&upkeep, &options).await?)
    })?;
    let Compacted { days, files_before, files_after, rows, bytes_before, bytes_after } = done;
    writeln!(
        io::stdout().lock(),
        "merged {files_before} files into {files_after} ({days} days of partitions, {rows} rows, \
         {bytes_before} bytes into {bytes_after})"
    )?;
    Ok(Outcome::Done)
}

//! `lapwing retain`: remove days of the archive that are older than they are kept.

use lapwing_ingest::clock_us;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use lapwing_event::time::format_date;

use super::Outcome;
use super::checkpoint::{block_on, open_configured};
use crate::checkpoint::{self, KeepDays};
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct RetainArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Removes days of log time that ended before `retention` says.
pub(super) fn retain(args: &RetainArgs) -> anyhow::Result<Outcome> {
    let config = Config::read(&args.config)?;
    if config.retention.is_empty() {
        bail!("{}: no retention is set, so everything is kept", args.config.display());
    }
    let now = clock_us();
    let kept = config.retention.iter().map(|(table, span)| (*table, format_date(now - span)));
    let kept: KeepDays = kept.collect();
    let (files, bytes) = block_on(async {
        let upkeep = open_configured(&config)?;
        Ok(checkpoint::retain(&upkeep, &kept).await?)
    })?;
    let mut out = io::stdout().lock();
    for (table, first_kept) in &kept {
        writeln!(out, "{:<9} kept from {first_kept} on", table.folder())?;
    }
    writeln!(out, "removed {files} files with {bytes} bytes")?;
    Ok(Outcome::Done)
}

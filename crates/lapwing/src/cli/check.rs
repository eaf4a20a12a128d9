//! `lapwing check`: a configuration file and everything it names.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Checks a configuration: keys, values, rules, paths.
pub(super) fn check(args: &CheckArgs) -> anyhow::Result<Outcome> {
    let config = Config::read(&args.config)?;
    let rules = config.rules.load()?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: valid", args.config.display())?;
    writeln!(out, "rules    {} run", rules.rules.len())?;
    for source in &config.sources {
        writeln!(out, "source   {}: {}", source.id, source.include.join(", "))?;
        for path in &source.include {
            let is_pattern = path.contains(['*', '?', '[']);
            if !is_pattern && !std::path::Path::new(path).exists() {
                writeln!(out, "         {path} does not exist yet; it is read once it does")?;
            }
        }
    }
    match &config.archive {
        Some(path) => writeln!(out, "archive  {}", path.display())?,
        None => writeln!(out, "archive  none: events are not kept")?,
    }
    Ok(Outcome::Done)
}

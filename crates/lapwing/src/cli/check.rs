//! `lapwing check`: a configuration file and everything it names.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use lapwing_ingest::source::discover;

use super::Outcome;
use crate::config::{Config, Input};
use crate::work::check_groups;

/// Whether a file or folder can be there: the nearest existing part of its path is a folder, or it is
/// there itself.
fn check_place(path: &Path) -> anyhow::Result<()> {
    let existing = path.ancestors().skip(1).find(|p| p.as_os_str().is_empty() || p.exists());
    let is_folder = existing.is_none_or(|p| p.as_os_str().is_empty() || p.is_dir());
    anyhow::ensure!(is_folder, "{}: a part of its path is no folder", path.display());
    Ok(())
}

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
        check_groups(source, &rules)?;
        match &source.input {
            Input::Files(include) => {
                writeln!(out, "source   {}: {}", source.id, include.join(", "))?;
                match discover(include) {
                    Ok(logs) => writeln!(out, "         {} logs are there now", logs.len())?,
                    Err(error) => writeln!(out, "         nothing to read now: {error}")?,
                }
            }
            Input::Kafka(kafka) => {
                let topics: Vec<&str> = kafka.topics.iter().map(|t| t.name.as_str()).collect();
                let (id, brokers) = (&source.id, &kafka.brokers);
                writeln!(out, "source   {id}: topics {} on {brokers}", topics.join(", "))?;
                writeln!(out, "         brokers are not asked; `lapwing run` does")?;
            }
        }
    }
    config.alerts_file.as_deref().map_or(Ok(()), check_place)?;
    for place in config.archive.iter().chain([&config.state]).filter(|p| !p.contains("://")) {
        check_place(Path::new(place))?;
    }
    match &config.archive {
        Some(place) => writeln!(out, "archive  {place}")?,
        None => writeln!(out, "archive  none: events are not kept")?,
    }
    Ok(Outcome::Done)
}

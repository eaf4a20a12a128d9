//! The command line: parse, then hand over to one function per command.

mod check;
mod checkpoint;
mod compact;
mod demo;
mod replay;
mod retain;
mod rules;
mod run;
mod schema;
mod simulate;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use lapwing_event::Level;
use lapwing_sink::{JsonAlerts, Sink, TextAlerts, TextStyle};
use tracing_subscriber::EnvFilter;

use crate::config::AlertFormat;
use crate::rules::RuleSelection;

/// Audit-log ingestion and anomaly detection for AI agents.
#[derive(Debug, Parser)]
#[command(name = "lapwing", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What the program's own log tells (on standard error), e.g. debug
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what Lapwing does: a day of a small fleet with incidents
    Demo(demo::DemoArgs),
    /// Read logs or an archive once, raise alerts, write the archive
    Replay(Box<replay::ReplayArgs>),
    /// Follow logs as they grow, until stopped
    Run(run::RunArgs),
    /// Check a configuration file and everything it names
    Check(check::CheckArgs),
    /// Look at checkpoints, verify them and the archive, shorten them
    #[command(subcommand)]
    Checkpoint(checkpoint::CheckpointCommand),
    /// Merge the small files of past days of the archive
    Compact(compact::CompactArgs),
    /// Remove days of the archive that are older than `retention` says
    Retain(retain::RetainArgs),
    /// Write seeded audit logs of a fleet of agents
    Simulate(simulate::SimulateArgs),
    /// List, show, check and test rules
    #[command(subcommand)]
    Rules(rules::RulesCommand),
    /// Print schemas and references
    Schema(schema::SchemaArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which rules run, for commands that take them as options.
#[derive(Debug, Args)]
struct RuleArgs {
    /// File of rules, or folder of .yml files; may be given again
    #[arg(id = "rules", long = "rules", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Leave the built-in rules out
    #[arg(long)]
    no_builtin_rules: bool,
    /// Switch a rule off; may be given again
    #[arg(long, value_name = "RULE")]
    disable: Vec<String>,
    /// Switch a rule on that is off by itself; may be given again
    #[arg(long, value_name = "RULE")]
    enable: Vec<String>,
}

impl RuleArgs {
    fn selection(&self) -> RuleSelection {
        RuleSelection {
            paths: self.paths.clone(),
            without_builtin: self.no_builtin_rules,
            disable: self.disable.clone(),
            enable: self.enable.clone(),
        }
    }
}

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For a person
    Text,
    /// JSON Lines
    Json,
}

/// A level on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LevelArg {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        Self::ALL[level as usize]
    }
}

/// How a command ended, when nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Done.
    Done,
    /// `--fail-on` was reached, or a check found something.
    Found,
    /// More records were rejected than allowed.
    TooManyRejected,
}

/// Runs the command line. Exit codes: 0 done, 1 found, 2 error or wrong use, 3 too many rejected.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run(args) => run::run(&args, cli.log.as_deref()),
        command => {
            start_log(cli.log.as_deref().unwrap_or("warn"), false).and_then(|()| execute(command))
        }
    };
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::from(1),
        Ok(Outcome::TooManyRejected) => ExitCode::from(3),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lapwing: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn execute(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Demo(args) => demo::demo(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Run(_) => unreachable!("run has a log of its own"),
        Command::Check(args) => check::check(&args),
        Command::Checkpoint(command) => checkpoint::checkpoint(&command),
        Command::Compact(args) => compact::compact(&args),
        Command::Retain(args) => retain::retain(&args),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Rules(command) => rules::rules(&command),
        Command::Schema(args) => schema::schema(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "lapwing", &mut io::stdout());
            Ok(Outcome::Done)
        }
    }
}

/// Whoever read our output has seen enough, for instance `head`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Starts the program's own log on standard error.
fn start_log(level: &str, json: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level)
        .map_err(|error| anyhow::anyhow!("log level {level:?}: {error}; use for instance info"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if json {
        log.json().flatten_event(true).init();
    } else {
        log.with_ansi(is_coloured(&io::stderr())).with_target(false).init();
    }
    Ok(())
}

/// Whether to colour: on a terminal, unless NO_COLOR is set (no-color.org).
fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Alerts to standard output.
pub(crate) fn stdout_alerts(format: AlertFormat) -> Box<dyn Sink> {
    let out = io::stdout();
    match format {
        AlertFormat::Text => {
            let style = TextStyle { colour: is_coloured(&out) };
            Box::new(TextAlerts::new(out, style))
        }
        AlertFormat::Json => Box::new(JsonAlerts::new(out, "standard output")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

//! `lapwing run`: follow logs until stopped. Here are the signals; the work is in `work.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use clap::Args;
use lapwing_detector::rule::RuleSet;
use lapwing_sink::{JsonAlerts, Sink};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::{Outcome, start_log, stdout_alerts};
use crate::config::Config;
use crate::endpoint::{self, Board};
use crate::work::work;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Follows the configured sources until SIGINT or SIGTERM; a second signal stops at once. SIGHUP takes
/// over what has changed in the configuration and the rules, as a restart would.
pub(super) fn run(args: &RunArgs, log_level: Option<&str>) -> anyhow::Result<Outcome> {
    set_mmap_threshold();
    let config = Config::read(&args.config)?;
    let rules = config.rules.load()?;
    start_log(log_level.unwrap_or(&config.log_level), config.json_log)?;
    // Whatever is written can be read by this user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .context("the runtime for signals and commits cannot be started")?;
    let result = runtime.block_on(run_until_stopped(&args.config, Settings { config, rules }));
    // The thread of the work is not waited for if it was told to stop at once.
    runtime.shutdown_background();
    result.map(|()| Outcome::Done)
}

/// Threads for signals, the endpoint and commits: they wait most of the time.
const RUNTIME_THREADS: usize = 2;

/// The size, bytes, from which glibc takes memory from the system and gives it back at once: just below the 96 KiB
/// of the decompressor that each column of each open Parquet file has and never uses. Taken from the heap, it is given
/// pages that other things have used. With 64 partitions the process needs half as much memory this way.
const MMAP_THRESHOLD: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "90000");

/// Starts this program anew in its own place, with the setting of glibc, which is read at the start alone.
/// A setting that is there is the user's and stays; where it cannot be done, nothing is lost but memory.
fn set_mmap_threshold() {
    use std::os::unix::process::CommandExt;
    let (name, value) = MMAP_THRESHOLD;
    if !cfg!(target_env = "gnu") || std::env::var_os(name).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let arguments = std::env::args_os().skip(1);
        let error = std::process::Command::new(program).args(arguments).env(name, value).exec();
        tracing::debug!(%error, "more memory is needed than could be");
    }
}

/// What a start, or a SIGHUP, has read.
struct Settings {
    config: Config,
    rules: Arc<RuleSet>,
}

/// The signals that `run` obeys.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

async fn run_until_stopped(path: &Path, settings: Settings) -> anyhow::Result<()> {
    let mut signals = Signals {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
        hangup: signal(SignalKind::hangup())?,
    };
    let board = Arc::new(Board::default());
    if let Some(address) = settings.config.listen {
        let listener = endpoint::bind(address).await?;
        info!(address = %listener.local_addr()?, "the endpoint is open");
        tokio::spawn(endpoint::serve(listener, board.clone()));
    }
    let fixed = |c: &Config| (c.listen, c.log_level.clone(), c.json_log);
    let first = fixed(&settings.config);
    let mut settings = settings;
    while let Some(next) = follow_with(settings, path, &board, &mut signals).await? {
        if fixed(&next.config) != first {
            warn!("http.listen and log.* are those of the start; restart to change them");
        }
        settings = next;
    }
    Ok(())
}

/// Follows with one configuration until a signal comes; gives the next one if it was SIGHUP.
async fn follow_with(
    settings: Settings,
    path: &Path,
    board: &Arc<Board>,
    signals: &mut Signals,
) -> anyhow::Result<Option<Settings>> {
    let must_rest = Arc::new(AtomicBool::new(false));
    let (told, board) = (must_rest.clone(), board.clone());
    let runtime = Handle::current();
    let mut working = tokio::task::spawn_blocking(move || {
        let Settings { config, rules } = settings;
        let sinks = open_sinks(&config)?;
        work(Arc::new(config), &rules, sinks, &board, told, runtime)
    });
    let mut next = None;
    let mut is_stopping = false;
    loop {
        tokio::select! {
            done = &mut working => {
                done.context("following has panicked")??;
                return Ok(next);
            }
            _ = signals.hangup.recv(), if !is_stopping => {
                next = read_again(path).or(next);
                must_rest.fetch_or(next.is_some(), Ordering::Relaxed);
                continue;
            }
            _ = signals.interrupt.recv() => {}
            _ = signals.terminate.recv() => {}
        }
        if is_stopping {
            bail!("stopped at once by a second signal; the last checkpoint still holds");
        }
        (is_stopping, next) = (true, None);
        must_rest.store(true, Ordering::Relaxed);
        info!("stopping: bringing everything to rest; a second signal stops at once");
    }
}

/// The configuration and its rules as they are now; `None` if something in them is wrong.
fn read_again(path: &Path) -> Option<Settings> {
    let read = || -> anyhow::Result<Settings> {
        let config = Config::read(path)?;
        let rules = config.rules.load()?;
        Ok(Settings { config, rules })
    };
    match read() {
        Ok(settings) => {
            info!("taking the configuration over: bringing everything to rest first");
            Some(settings)
        }
        Err(wrong) => {
            error!("the new configuration is not taken over, since it is wrong: {wrong:#}");
            None
        }
    }
}

fn open_sinks(config: &Config) -> anyhow::Result<Vec<Box<dyn Sink>>> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    sinks.extend(config.alerts_stdout.map(stdout_alerts));
    if let Some(path) = &config.alerts_file {
        sinks.push(Box::new(JsonAlerts::append(path)?));
    }
    Ok(sinks)
}

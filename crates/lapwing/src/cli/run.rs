//! `lapwing run`: follow logs until stopped. Here are the signals; the work is in `follower.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::{Outcome, start_log};
use crate::config::Config;
use crate::endpoint::{self, Board};
use crate::follower::Follower;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Follows the configured sources until SIGINT or SIGTERM; a second signal stops at once. SIGHUP takes
/// over what has changed in the configuration and the rules, as a restart would.
pub(super) fn run(args: &RunArgs, log_level: Option<&str>) -> anyhow::Result<Outcome> {
    let config = Config::read(&args.config)?;
    start_log(log_level.unwrap_or(&config.log_level), config.json_log)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime for signals cannot be started")?;
    let result = runtime.block_on(run_until_stopped(&args.config, config));
    // The thread of the work is not waited for if it was told to stop at once.
    runtime.shutdown_background();
    result.map(|()| Outcome::Done)
}

/// The signals that `run` obeys.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

async fn run_until_stopped(path: &Path, config: Config) -> anyhow::Result<()> {
    let mut signals = Signals {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
        hangup: signal(SignalKind::hangup())?,
    };
    let board = Arc::new(Board::default());
    if let Some(address) = config.listen {
        let listener = endpoint::bind(address).await?;
        tokio::spawn(endpoint::serve(listener, board.clone()));
        info!(%address, "the endpoint is open");
    }
    let first = Arc::new(config);
    let mut config = first.clone();
    while let Some(next) = follow_with(config, path, &board, &mut signals).await? {
        let is_same = |next: &Config| {
            (next.listen, &next.log_level, next.json_log)
                == (first.listen, &first.log_level, first.json_log)
        };
        if !is_same(&next) {
            warn!("http.listen and log.* are those of the start; restart to change them");
        }
        config = Arc::new(next);
    }
    Ok(())
}

/// Follows with one configuration until a signal comes; gives the next one if it was SIGHUP.
async fn follow_with(
    config: Arc<Config>,
    path: &Path,
    board: &Arc<Board>,
    signals: &mut Signals,
) -> anyhow::Result<Option<Config>> {
    let rest = Arc::new(AtomicBool::new(false));
    let (follower, board) = (rest.clone(), board.clone());
    let mut work =
        tokio::task::spawn_blocking(move || Follower::follow(&config, &board, &follower));
    let mut next = None;
    let mut is_stopping = false;
    loop {
        tokio::select! {
            done = &mut work => {
                done.context("following has panicked")??;
                return Ok(next);
            }
            _ = signals.hangup.recv(), if !is_stopping => {
                next = read_again(path).or(next);
                rest.fetch_or(next.is_some(), Ordering::Relaxed);
                continue;
            }
            _ = signals.interrupt.recv() => {}
            _ = signals.terminate.recv() => {}
        }
        if is_stopping {
            bail!("stopped at once by a second signal; the last checkpoint still holds");
        }
        (is_stopping, next) = (true, None);
        rest.store(true, Ordering::Relaxed);
        info!("stopping: bringing everything to rest; a second signal stops at once");
    }
}

/// The configuration as it is now; `None` if it or its rules are wrong.
fn read_again(path: &Path) -> Option<Config> {
    let read = || -> anyhow::Result<Config> {
        let config = Config::read(path)?;
        config.rules.load()?;
        Ok(config)
    };
    match read() {
        Ok(config) => {
            info!("taking the configuration over: bringing everything to rest first");
            Some(config)
        }
        Err(wrong) => {
            error!("the configuration of before goes on, since the new one is wrong: {wrong:#}");
            None
        }
    }
}

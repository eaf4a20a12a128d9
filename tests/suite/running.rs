//! `run` in a folder of its own, started and stopped by a test, with logs that grow.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::program::command;

/// A program that follows a folder; killed if the test forgets it.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// Starts it with environment variables.
    pub(crate) fn start_with(folder: &Path, environment: &[(&str, &str)]) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(folder.join("stderr.log"));
        let child = command(folder)
            .args(["run", "--config", "lapwing.yml"])
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .spawn();
        let running = Self(child.expect("the program starts"));
        wait(folder, "it has started", || said(folder).matches("started").count() > 0);
        running
    }

    /// Kills it on the spot.
    pub(crate) fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("a child");
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = std::process::Command::new("kill")
            .args([name, &self.0.id().to_string()])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self, folder: &Path) {
        self.signal("-TERM");
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match self.0.try_wait().expect("a child") {
                Some(status) => {
                    assert!(status.success(), "{}", said(folder));
                    break;
                }
                None if Instant::now() > deadline => panic!("did not stop:\n{}", said(folder)),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn said(folder: &Path) -> String {
    fs::read_to_string(folder.join("stderr.log")).unwrap_or_default()
}

/// Waits until something holds, with a limit and a readable failure.
pub(crate) fn wait(folder: &Path, what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}:\n{}", said(folder));
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn prepare(epoch: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "sources:\n  - {{id: gw, type: file, include: ['logs/*.log']}}\nstate: state\n\
         archive: {{path: archive, epoch: {epoch}}}\nalerts: {{file: alerts.jsonl, stdout: none}}\n"
    );
    fs::write(folder.path().join("lapwing.yml"), config).expect("a file");
    fs::create_dir(folder.path().join("logs")).expect("a folder");
    folder
}

/// A failed login that can be told from all others; every one fires, so that alerts show what was
/// read.
pub(crate) fn line(id: &str) -> String {
    format!(
        "{{\"time\":\"2026-11-22T16:00:00Z\",\"kind\":\"auth\",\"outcome\":\"denied\",\"id\":\"{id}\",\
         \"reason\":{{\"code\":\"rate_limited\"}},\"source\":{{\"ip\":\"{id}\"}}}}\n"
    )
}

pub(crate) fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a log");
    file.write_all(text.as_bytes()).expect("written");
}

/// Waits until the event with this id has raised its alert: then it was read.
pub(crate) fn wait_for(folder: &Path, id: &str) {
    let alerts = folder.join("alerts.jsonl");
    let key = format!("\"source.ip\":\"{id}\"");
    wait(folder, id, || fs::read_to_string(&alerts).unwrap_or_default().contains(&key));
}

//! Runs the program and reads what it says.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What one call of the program gave.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A call of the program in a folder: the one built with the tests, or `LAPWING_PROGRAM`, for instance a
/// release build for a soak.
pub(crate) fn command(folder: &Path) -> Command {
    let program = std::env::var_os("LAPWING_PROGRAM");
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_lapwing").into());
    let mut command = Command::new(program);
    command.current_dir(folder).env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// Runs the program with these arguments.
pub(crate) fn lapwing(folder: &Path, args: &[&str]) -> Ran {
    ran(command(folder).args(args).output().expect("the program starts"))
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().expect("the program was not killed"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

impl Ran {
    /// Asserts the exit code and gives the call back.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The alert messages on standard output.
    pub(crate) fn messages(&self) -> Vec<Value> {
        self.stdout.lines().map(|l| serde_json::from_str(l).expect("a JSON line")).collect()
    }

    /// The messages as they are compared: by id and revision.
    pub(crate) fn sorted(&self) -> Vec<String> {
        let mut lines: Vec<(String, u64, String)> = self
            .stdout
            .lines()
            .map(|line| {
                let value: Value = serde_json::from_str(line).expect("a JSON line");
                let id = value["id"].as_str().expect("an id").to_owned();
                (id, value["revision"].as_u64().expect("a revision"), line.to_owned())
            })
            .collect();
        lines.sort();
        lines.into_iter().map(|(.., line)| line).collect()
    }
}

/// The last message of each alert, in the order of (rule, key).
pub(crate) fn final_alerts(messages: &[Value]) -> Vec<Value> {
    let mut last: Vec<Value> = Vec::new();
    for message in messages {
        match last.iter_mut().find(|m| m["id"] == message["id"]) {
            Some(known) => *known = message.clone(),
            None => last.push(message.clone()),
        }
    }
    last.sort_by_key(|a| (a["rule"]["name"].to_string(), a["key"].to_string()));
    last
}

/// A folder of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Every file below a folder with its bytes, by relative path.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(folder).expect("below").to_owned();
                found.push((relative, std::fs::read(&path).expect("a file")));
            }
        }
    }
    found.sort();
    found
}

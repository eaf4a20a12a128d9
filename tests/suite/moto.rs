//! A server that speaks S3 for the tests: moto, from PyPI, in a virtual environment that is made once.
//! One process for each that asks, on a free port of the loopback, dead with the test binary however
//! that ends. What it holds is gone with it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// If this environment variable is set, tests that need S3 fail where they cannot have it.
const REQUIRE: &str = "LAPWING_REQUIRE_S3";
/// What pip installs.
const PACKAGE: &str = "moto[server]==5.2.5";
/// A start takes 2 s on an idle machine, and some times that on a busy one.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often a start is tried again, if somebody took a port after it was found to be free.
const STARTS: usize = 3;
/// The bucket that is there.
pub(crate) const BUCKET: &str = "lapwing";

/// A running server with an empty bucket.
pub(crate) struct Moto {
    process: Child,
    address: SocketAddr,
}

impl Moto {
    /// A server for this test alone; `None` if it cannot be had here, which was then said.
    pub(crate) fn get() -> Option<Self> {
        match install().and_then(|program| Self::start(&program)) {
            Ok(moto) => Some(moto),
            Err(why) => {
                let todo = "install python3 with venv and pip to run the tests with S3";
                assert!(std::env::var_os(REQUIRE).is_none(), "{REQUIRE} is set, but {why}; {todo}");
                // Not `eprintln!`, whose text is only shown for tests that fail.
                let _ = writeln!(io::stderr(), "skipped: {why}; {todo}");
                None
            }
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn start(program: &Path) -> Result<Self, String> {
        let mut failure = String::new();
        for _ in 0..STARTS {
            let address = free_address().map_err(|error| format!("no port is free: {error}"))?;
            let process = run(program, address);
            let mut moto = Self { process: process.map_err(|e| e.to_string())?, address };
            match moto.wait_until_ready() {
                Ok(()) => return Ok(moto),
                Err(why) => failure = why,
            }
        }
        Err(failure)
    }

    /// Waits until the bucket is made.
    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if make_bucket(self.address).is_ok_and(|status| status.contains(" 200 ")) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(format!("moto_server ended with {status}"));
            }
            if Instant::now() > deadline {
                return Err(format!("moto_server did not answer within {READY_WITHIN:?}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn make_bucket(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!(
        "PUT /{BUCKET} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Runs the server. To the kernel the parent is the thread that starts a process, and a test's thread ends
/// with its test: the server belongs to a thread of its own, which ends only with the test binary.
fn run(program: &Path, address: SocketAddr) -> io::Result<Child> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command.args(["-H", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let _ = sender.send(command.spawn());
        loop {
            thread::park();
        }
    });
    receiver.recv().expect("the thread answers")
}

/// The server's program, which pip installs the first time; or what is missing.
fn install() -> Result<PathBuf, String> {
    is_there("setpriv")?;
    let folder = kept();
    let unusable = |error: io::Error| format!("{} cannot be used: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(unusable)?;
    // Several test binaries may start at the same time; one of them installs.
    let _guard = locked(&folder.join("lock")).map_err(unusable)?;
    let (venv, complete) = (folder.join("venv"), folder.join("complete"));
    let program = venv.join("bin/moto_server");
    if fs::read_to_string(&complete).is_ok_and(|installed| installed == PACKAGE) {
        return Ok(program);
    }
    is_there("python3")?;
    if venv.exists() {
        fs::remove_dir_all(&venv).map_err(unusable)?;
    }
    call(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    call(Command::new(venv.join("bin/pip")).args(["install", "--quiet", PACKAGE]))?;
    fs::write(&complete, PACKAGE).map_err(unusable)?;
    Ok(program)
}

/// Cargo's own folder for what tests leave behind, seen from the test binary: `cargo clean` empties it.
fn kept() -> PathBuf {
    let binary = std::env::current_exe().expect("a test binary");
    let target = binary.ancestors().nth(3).expect("it lies in target/<profile>/deps");
    target.join("tmp/moto")
}

fn call(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?} does not start: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn is_there(program: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let runs = command.status().is_ok_and(|status| status.success());
    if runs { Ok(()) } else { Err(format!("{program} is missing")) }
}

/// Waits for the lock of a file, which is free again as soon as the handle or this process is gone.
fn locked(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    file.lock()?;
    Ok(file)
}

//! `run` on disks that are full or read-only for a while, on checkpoints that are damaged, and on S3 that
//! does not answer: it says what is wrong and the way out, waits, and goes on with nothing lost.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::follow::parquet_rows::ids_in_archive;
use crate::program::lapwing;
use crate::running::{Running, append, line, prepare, said, wait, wait_for};

/// A mounted folder; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// A small file system of its own; `None` if this user may not mount, which was then said.
    fn small(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).expect("a folder");
        Self::mount(&["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs"], folder)
    }

    /// The same folder once more, read-only for whoever opens something in it from now on.
    fn read_only(folder: &Path) -> Option<Self> {
        let mounted = Self::mount(&["--bind", folder.to_str().expect("UTF-8")], folder)?;
        let again = Command::new("mount").args(["-o", "remount,ro,bind"]).arg(folder).status();
        assert!(again.expect("mount").success());
        Some(mounted)
    }

    fn mount(args: &[&str], folder: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(args).arg(folder).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        // Not `eprintln!`, whose text is only shown for tests that fail.
        let _ = writeln!(std::io::stderr(), "skipped: this user may not mount file systems");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Fills a file system; the file's removal frees it.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = fs::File::create(&path).expect("a file");
    for block in [vec![0; 4096], vec![0]] {
        while file.write_all(&block).is_ok() {}
    }
    path
}

fn configure(folder: &Path, from: &str, to: &str) {
    let path = folder.join("lapwing.yml");
    let config = fs::read_to_string(&path).expect("the configuration");
    assert!(config.contains(from), "{config}");
    fs::write(path, config.replace(from, to)).expect("a file");
}

fn has_alert(folder: &Path, id: &str) -> bool {
    let alerts = fs::read_to_string(folder.join("alerts.jsonl")).unwrap_or_default();
    alerts.contains(&format!("\"source.ip\":\"{id}\""))
}

/// Waits until the log says both things in one line.
fn wait_until_said(folder: &Path, what: &str, and: &str) {
    wait(folder, &format!("it says {what:?} and {and:?}"), || {
        said(folder).lines().any(|line| line.contains(what) && line.contains(and))
    });
}

fn assert_archived(folder: &Path, expected: &[&str]) {
    let mut ids = ids_in_archive(&folder.join("archive"));
    ids.sort();
    assert_eq!(ids, expected, "{}", said(folder));
}

/// Each alert, however often it was handed over.
fn alerts_received(folder: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(folder.join("alerts.jsonl")).expect("alerts");
    text.lines()
        .map(|line| {
            let alert: serde_json::Value = serde_json::from_str(line).expect("a whole line");
            format!("{} {}", alert["key"]["source.ip"].as_str().expect("text"), alert["revision"])
        })
        .collect()
}

#[test]
fn a_full_state_folder_holds_alerts_back_until_there_is_space() {
    let folder = prepare("1s");
    let path = folder.path();
    let state = path.join("state");
    let Some(_mounted) = Mounted::small(&state) else { return };
    let log = path.join("logs/gw.log");
    append(&log, &line("a1"));
    let running = Running::start(path);
    wait_for(path, "a1");
    let filler = fill(&state);
    append(&log, &line("a2"));
    wait_until_said(path, "trying again", "free some space");
    assert!(said(path).contains("state/gw/"), "{}", said(path));
    append(&log, &line("a3"));
    assert!(!has_alert(path, "a2"), "nothing is handed over that was not committed");
    fs::remove_file(filler).expect("removed");
    wait_for(path, "a2");
    wait_for(path, "a3");
    running.stop(path);
    assert_archived(path, &["a1", "a2", "a3"]);
}

#[test]
fn a_full_archive_is_said_and_written_when_there_is_space() {
    let folder = prepare("1s");
    let path = folder.path();
    let archive = path.join("archive");
    let Some(_mounted) = Mounted::small(&archive) else { return };
    let log = path.join("logs/gw.log");
    append(&log, &line("a1"));
    let running = Running::start(path);
    wait_for(path, "a1");
    let filler = fill(&archive);
    append(&log, &line("a2"));
    wait_until_said(path, "reading again from the last commit", "free some space");
    assert!(said(path).contains("archive/.staged/gw/"), "{}", said(path));
    // More than once, on the same claim.
    wait(path, "it has tried again", || said(path).matches("reading again").count() > 1);
    let claims = manifests(path, "\"kind\":\"claim\"").len();
    assert_eq!(claims, 1, "{}", said(path));
    fs::remove_file(filler).expect("removed");
    append(&log, &line("a3"));
    wait_for(path, "a3");
    running.stop(path);
    assert_archived(path, &["a1", "a2", "a3"]);
    let expected = ["a1 1", "a2 1", "a3 1"].map(str::to_owned);
    assert_eq!(alerts_received(path), BTreeSet::from(expected));
}

#[test]
fn a_full_disk_under_the_alerts_leaves_whole_lines() {
    let folder = prepare("1s");
    let path = folder.path();
    let small = path.join("small");
    let Some(_mounted) = Mounted::small(&small) else { return };
    configure(path, "alerts.jsonl", "small/alerts.jsonl");
    std::os::unix::fs::symlink("small/alerts.jsonl", path.join("alerts.jsonl")).expect("a link");
    let log = path.join("logs/gw.log");
    append(&log, &line("a1"));
    let running = Running::start(path);
    wait_for(path, "a1");
    let filler = fill(&small);
    // The page of the file at hand takes a few more.
    let lines: Vec<String> = (0..40).map(|n| line(&format!("b{n}"))).collect();
    append(&log, &lines.concat());
    wait_until_said(path, "alerts wait", "small/alerts.jsonl");
    fs::remove_file(filler).expect("removed");
    wait_for(path, "b39");
    running.stop(path);
    assert_eq!(alerts_received(path).len(), 41, "{}", said(path));
}

#[test]
fn read_only_folders_hold_everything_up_until_they_are_writable() {
    for name in ["state", "archive"] {
        let folder = prepare("1s");
        let path = folder.path();
        let log = path.join("logs/gw.log");
        append(&log, &line("a1"));
        let running = Running::start(path);
        wait_for(path, "a1");
        let Some(mounted) = Mounted::read_only(&path.join(name)) else { return };
        append(&log, &line("a2"));
        wait_until_said(path, "Read-only file system", "make it writable");
        assert!(said(path).contains(&format!("{name}/")), "{}", said(path));
        drop(mounted);
        append(&log, &line("a3"));
        wait_for(path, "a2");
        wait_for(path, "a3");
        running.stop(path);
        assert_archived(path, &["a1", "a2", "a3"]);
    }
}

/// The manifests that hold a text, in their order.
fn manifests(folder: &Path, text: &str) -> Vec<PathBuf> {
    files_of(folder, |name| name.ends_with(".json"))
        .into_iter()
        .filter(|path| fs::read_to_string(path).expect("a manifest").contains(text))
        .collect()
}

fn files_of(folder: &Path, is_one: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let chain = folder.join("state/gw/0");
    let entries = fs::read_dir(&chain).unwrap_or_else(|e| panic!("{}: {e}", chain.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&is_one));
    paths.sort();
    paths
}

#[test]
fn a_start_refuses_a_damaged_manifest_and_a_damaged_state_and_says_what_to_do() {
    let folder = prepare("1s");
    let path = folder.path();
    append(&path.join("logs/gw.log"), &line("a1"));
    let running = Running::start(path);
    wait_for(path, "a1");
    running.stop(path);
    let newest = manifests(path, "").pop().expect("a manifest");
    let state = files_of(path, |name| name.starts_with("state-")).pop().expect("a state");
    for (file, what) in [(newest, "manifest"), (state, "state")] {
        let whole = fs::read(&file).expect("a file");
        for at in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x04;
            fs::write(&file, damaged).expect("written");
            let ran = lapwing(path, &["run", "--config", "lapwing.yml"]).exits(2);
            let name = file.strip_prefix(path).expect("below").display().to_string();
            for part in [&*name, what, "damaged", "restore it from a copy", "move the folder away"]
            {
                assert!(ran.stderr.contains(part), "{part:?} is not said:\n{}", ran.stderr);
            }
        }
        fs::write(&file, whole).expect("written");
    }
    let running = Running::start(path);
    append(&path.join("logs/gw.log"), &line("a2"));
    wait_for(path, "a2");
    running.stop(path);
    assert_archived(path, &["a1", "a2"]);
}

#[cfg(feature = "s3")]
mod s3 {
    use std::io::Read;
    use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::thread;
    use std::time::Duration;

    use futures_util::TryStreamExt;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::moto::{BUCKET, Moto};

    const PASSES: u8 = 0;
    const FAILS: u8 = 1;
    const IS_SLOW: u8 = 2;

    /// Stands before S3 and is in its way, as it is told.
    struct Proxy {
        address: SocketAddr,
        mode: Arc<AtomicU8>,
    }

    impl Proxy {
        fn start(to: SocketAddr) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let address = listener.local_addr().expect("an address");
            let mode = Arc::new(AtomicU8::new(PASSES));
            let told = mode.clone();
            // It ends with the test binary.
            thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    let told = told.clone();
                    thread::spawn(move || drop(serve(client, to, &told)));
                }
            });
            Self { address, mode }
        }

        fn set(&self, mode: u8) {
            self.mode.store(mode, Ordering::Relaxed);
        }
    }

    /// Passes one connection on; looks at the mode at each piece of a request.
    fn serve(mut client: TcpStream, to: SocketAddr, mode: &AtomicU8) -> std::io::Result<()> {
        let server = TcpStream::connect(to)?;
        let (mut back, mut answer) = (server.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            let _ = std::io::copy(&mut back, &mut answer);
            let _ = answer.shutdown(Shutdown::Both);
        });
        let mut piece = vec![0; 1 << 16];
        loop {
            let count = client.read(&mut piece)?;
            match mode.load(Ordering::Relaxed) {
                FAILS => {
                    let reply = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\
                                 Connection: close\r\n\r\n";
                    client.write_all(reply.as_bytes())?;
                    client.shutdown(Shutdown::Both)?;
                    return server.shutdown(Shutdown::Both);
                }
                IS_SLOW => thread::sleep(Duration::from_millis(400)),
                _ => {}
            }
            if count == 0 {
                return server.shutdown(Shutdown::Both);
            }
            (&server).write_all(&piece[..count])?;
        }
    }

    /// Copies the archive from the bucket.
    fn fetch(from: SocketAddr, to: &Path) {
        let store = object_store::aws::AmazonS3Builder::new()
            .with_endpoint(format!("http://{from}"))
            .with_allow_http(true)
            .with_bucket_name(BUCKET)
            .with_region("us-east-1")
            .with_access_key_id("test")
            .with_secret_access_key("test")
            .build()
            .expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let prefix = object_store::path::Path::from("archive");
            let objects = store.list(Some(&prefix)).try_collect::<Vec<_>>().await.expect("listed");
            for object in objects {
                let name = object.location.to_string();
                assert!(!name.contains(".staged"), "{name} is left over");
                let bytes = store.get(&object.location).await.expect("there").bytes().await;
                let path = to.join(name);
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                fs::write(path, bytes.expect("read")).expect("written");
            }
        });
    }

    #[test]
    fn alerts_wait_for_s3_and_nothing_is_lost() {
        let Some(moto) = Moto::get() else { return };
        let proxy = Proxy::start(moto.address());
        let folder = prepare("2s");
        let path = folder.path();
        configure(path, "state: state", "state: s3://lapwing/state");
        configure(path, "path: archive,", "path: s3://lapwing/archive, spool: spool,");
        let endpoint = format!("http://{}", proxy.address);
        let environment = [
            ("AWS_ENDPOINT", &*endpoint),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ];
        let log = path.join("logs/gw.log");
        append(&log, &line("a1"));
        let running = Running::start_with(path, &environment);
        wait_for(path, "a1");
        proxy.set(FAILS);
        append(&log, &line("a2"));
        wait_until_said(path, "trying again", "s3://lapwing/state/gw/");
        assert!(!has_alert(path, "a2"), "nothing is handed over that was not committed");
        proxy.set(IS_SLOW);
        wait_for(path, "a2");
        append(&log, &line("a3"));
        wait_for(path, "a3");
        proxy.set(PASSES);
        running.stop(path);
        fetch(moto.address(), path);
        assert_archived(path, &["a1", "a2", "a3"]);
        assert_eq!(alerts_received(path).len(), 3, "{}", said(path));
    }
}

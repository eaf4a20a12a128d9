//! The endpoint of `run`: what it answers while logs grow, and when its address is taken.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::running::{Running, append, line, prepare, said, wait, wait_for};

/// A loopback address that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

fn listen_at(folder: &Path, address: SocketAddr) {
    append(&folder.join("lapwing.yml"), &format!("http: {{listen: '{address}'}}\n"));
}

/// The status and the body of an answer.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the endpoint is open");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    let request = format!("GET {path} HTTP/1.1\r\nHost: lapwing\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

/// Whether a health check is answered; one that is turned away is not.
fn is_healthy(address: SocketAddr) -> bool {
    let mut answer = Vec::new();
    let mut stream = TcpStream::connect(address).expect("the endpoint is open");
    let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: lapwing\r\n\r\n");
    let read = asked.and_then(|()| stream.read_to_end(&mut answer));
    read.is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

/// The value of a sample.
fn sample(page: &str, name: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

#[test]
fn the_endpoint_counts_what_was_read_and_raised() {
    let folder = prepare("1s");
    let path = folder.path();
    let address = free_address();
    listen_at(path, address);
    let log = path.join("logs/gw.log");
    append(&log, &[line("a1"), line("a2"), "not JSON\n".into(), line("a3")].concat());
    let running = Running::start(path);
    wait_for(path, "a3");
    let is_archived = || {
        let page = get(address, "/metrics").1;
        sample(&page, "lapwing_archived_rows_total{table=\"events\"}") == Some(3.0)
    };
    wait(path, "the events are archived and shown", is_archived);
    let (status, page) = get(address, "/metrics");
    assert_eq!(status, 200);
    for (name, value) in [
        ("lapwing_records_total{source=\"gw\"}", 4.0),
        (
            "lapwing_read_bytes_total{source=\"gw\"}",
            fs::metadata(&log).expect("a log").len() as f64,
        ),
        ("lapwing_unread_bytes{source=\"gw\"}", 0.0),
        ("lapwing_followed_logs{source=\"gw\"}", 1.0),
        ("lapwing_events_total{kind=\"auth\",outcome=\"denied\"}", 3.0),
        ("lapwing_rejected_records_total{reason=\"not_json\"}", 1.0),
        ("lapwing_archived_rows_total{table=\"rejected\"}", 1.0),
    ] {
        assert_eq!(sample(&page, name), Some(value), "{name} in\n{page}");
    }
    let opened = page.lines().find(|line| {
        line.starts_with("lapwing_alert_messages_total{rule=\"auth_lockout\"")
            && line.contains("status=\"opened\"")
    });
    assert!(opened.is_some_and(|line| line.ends_with(" 3")), "{page}");
    assert_eq!(sample(&page, "lapwing_open_alerts"), Some(3.0), "{page}");
    assert_eq!(get(address, "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(address, "/readyz"), (200, "ready\n".into()));
    assert_eq!(get(address, "/secrets").0, 404);
    running.stop(path);
}

#[test]
fn slow_and_silent_visitors_hold_nobody_up() {
    let folder = prepare("1h");
    let path = folder.path();
    let address = free_address();
    listen_at(path, address);
    let running = Running::start(path);
    // More than it serves at a time; each has sent half a head.
    let silent: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("accepted");
            stream.write_all(b"GET /metrics HT").expect("sent");
            stream
        })
        .collect();
    append(&path.join("logs/gw.log"), &line("a1"));
    wait_for(path, "a1");
    wait(path, "the slow ones are given up", || is_healthy(address));
    drop(silent);
    running.stop(path);
}

#[test]
fn an_address_that_is_taken_stops_the_start() {
    let folder = prepare("1h");
    let path = folder.path();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    listen_at(path, address);
    let ran = crate::program::lapwing(path, &["run", "--config", "lapwing.yml"]).exits(2);
    let expected = format!("http.listen: {address} cannot be taken; choose another port");
    assert!(ran.stderr.contains(&expected), "{}\n{}", ran.stderr, said(path));
}

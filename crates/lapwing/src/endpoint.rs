//! The endpoint of `run`: `/healthz`, `/readyz` and `/metrics` over HTTP/1.1, answered from the numbers
//! that the work has shown last. It never waits for the work, and the work never for it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::metrics::{Numbers, page};

/// Connections at a time; a Prometheus server or two and a health check need one each.
const MAX_CONNECTIONS: usize = 32;

/// How long a connection may last: a scrape takes milliseconds, its default time-out is 10 s.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the head of a request may take: it is one packet on loopback.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// Numbers are shown four times a second; work that has shown none for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// How long accepting waits after a failure, for instance for want of file handles.
const RETRY_ACCEPT_AFTER: Duration = Duration::from_secs(1);

/// How often the work shows its numbers: well below the 15 s at which Prometheus usually asks, and often
/// enough for a script that waits for something.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// Where the work shows its numbers.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Option<Shown>>);

#[derive(Debug)]
struct Shown {
    numbers: Numbers,
    at: Instant,
}

impl Board {
    /// Shows numbers, if the last ones are old enough.
    pub(crate) fn show(&self, numbers: impl FnOnce() -> Numbers) {
        if self.age().is_some_and(|age| age < SHOW_EVERY) {
            return;
        }
        self.show_now(numbers);
    }

    /// Shows numbers in any case.
    pub(crate) fn show_now(&self, numbers: impl FnOnce() -> Numbers) {
        let shown = Shown { numbers: numbers(), at: Instant::now() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
    }

    /// How old the numbers are; `None` before the first ones.
    fn age(&self) -> Option<Duration> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|shown| shown.at.elapsed())
    }

    fn page(&self) -> Option<String> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().map(|shown| page(&shown.numbers))
    }
}

/// Takes the address.
///
/// # Errors
/// Somebody else has it, or it is none of this machine.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("http.listen: {address} cannot be taken; choose another port"))
}

/// Answers requests until it is dropped.
pub(crate) async fn serve(listener: TcpListener, board: Arc<Board>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // For instance too many open files: others have to close theirs first.
                warn!(%error, "a connection to the endpoint could not be accepted");
                tokio::time::sleep(RETRY_ACCEPT_AFTER).await;
                continue;
            }
        };
        // With too many visitors the newest is turned away, and none waits for another.
        let Ok(permit) = connections.clone().try_acquire_owned() else { continue };
        let board = board.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(request.method(), request.uri().path(), &board);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(error)) => debug!(%error, "a connection to the endpoint ended early"),
            }
            drop(permit);
        });
    }
}

fn answer(method: &Method, path: &str, board: &Board) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n".into()),
        "/readyz" => ready(board.age()),
        "/metrics" => match board.page() {
            Some(page) => text(StatusCode::OK, page),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".into()),
        },
        _ => text(StatusCode::NOT_FOUND, "/healthz, /readyz and /metrics are here\n".into()),
    }
}

fn ready(age: Option<Duration>) -> Response<Full<Bytes>> {
    match age {
        None => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".into()),
        Some(age) if age > STUCK_AFTER => {
            let seconds = age.as_secs();
            let what = format!("no work for {seconds} s; is the disk slow or full?\n");
            text(StatusCode::SERVICE_UNAVAILABLE, what)
        }
        Some(_) => text(StatusCode::OK, "ready\n".into()),
    }
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_shows_nothing_is_not_ready() {
        assert_eq!(ready(None).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ready(Some(Duration::from_secs(2))).status(), StatusCode::OK);
        assert_eq!(ready(Some(STUCK_AFTER * 2)).status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn what_is_not_there_or_not_asked_for_is_refused() {
        let board = Board::default();
        assert_eq!(answer(&Method::GET, "/", &board).status(), StatusCode::NOT_FOUND);
        assert_eq!(answer(&Method::GET, "/healthz", &board).status(), StatusCode::OK);
        let posted = answer(&Method::POST, "/metrics", &board);
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
        let early = answer(&Method::GET, "/metrics", &board);
        assert_eq!(early.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

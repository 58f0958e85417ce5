//! What a stranger could make grow, and who may ask at all.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use super::problem::Problem;

/// Longest path with its query.
const URI_BYTES_MAX: usize = 8 << 10;
/// Names and values of all headers.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// A request must be here with its whole head so long after its first byte, or after the connection was made.
const HEAD_MS: u64 = 10_000;
/// Until the first byte of an answer: longer than any question may take.
const ANSWER_MS: u64 = 120_000;
/// After bytes of an answer: until the next ones, or until the next request begins. Listeners to events hear something every 15 s.
const AFTER_BYTES_MS: u64 = 30_000;

/// Takes no more connections than it has permits for.
#[derive(Debug)]
pub(super) struct LimitedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl LimitedListener {
    pub(super) fn new(listener: TcpListener, connections_max: usize) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(connections_max)) }
    }
}

impl axum::serve::Listener for LimitedListener {
    type Io = LimitedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // The semaphore is never closed; without a permit the connection would only be unlimited.
        let permit = self.permits.clone().acquire_owned().await.ok();
        let (stream, addr) = axum::serve::Listener::accept(&mut self.listener).await;
        let deadline = Box::pin(tokio::time::sleep(Duration::from_millis(HEAD_MS)));
        (LimitedStream { stream, phase: Phase::Head, last: [0; 4], deadline, _permit: permit }, addr)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// What a connection waits for. Requests have no body, so one ends with the empty line behind its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The rest of a request.
    Head,
    /// Us.
    Answer,
    /// The client: to take an answer, or to ask again.
    AfterBytes,
}

/// A connection that ends when it waits for too long.
#[derive(Debug)]
pub(super) struct LimitedStream {
    stream: TcpStream,
    phase: Phase,
    /// The last bytes received.
    last: [u8; 4],
    deadline: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl LimitedStream {
    fn enter(&mut self, phase: Phase) {
        // Single bytes of a head win no time.
        if self.phase == phase && phase == Phase::Head {
            return;
        }
        self.phase = phase;
        let limit_ms = match phase {
            Phase::Head => HEAD_MS,
            Phase::Answer => ANSWER_MS,
            Phase::AfterBytes => AFTER_BYTES_MS,
        };
        self.deadline.as_mut().reset(Instant::now() + Duration::from_millis(limit_ms));
    }

    fn received(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        for byte in &bytes[bytes.len().saturating_sub(4)..] {
            self.last.rotate_left(1);
            self.last[3] = *byte;
        }
        self.enter(if self.last == *b"\r\n\r\n" { Phase::Answer } else { Phase::Head });
    }

    /// `poll`, or an error where it waits for longer than it may.
    fn within_limit<T>(
        &mut self,
        poll: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match poll {
            Poll::Pending if self.deadline.as_mut().poll(context).is_ready() => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            other => other,
        }
    }

    fn sent(&mut self, poll: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = poll {
            self.enter(Phase::AfterBytes);
        }
        self.within_limit(poll, context)
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.received(&buffer.filled()[before..]);
        self.within_limit(poll, context)
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(poll, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.sent(poll, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What every answer tells a browser, unless it says so itself (the console has a policy of its own).
pub(super) async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        // Kept, but asked for again: the ETag says whether it is still the same.
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Refuses requests whose head is too long, and those that name another host: a web page from elsewhere must not reach
/// this machine's gateway through a host name of its own (DNS rebinding).
pub(super) async fn check_head(request: Request, next: Next) -> Response {
    match head_problem(&request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

fn head_problem(request: &Request) -> Option<Problem> {
    let uri_bytes = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    if uri_bytes > URI_BYTES_MAX {
        let detail =
            format!("the path with its query has {uri_bytes} bytes, at most {URI_BYTES_MAX} are read");
        return Some(Problem::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail));
    }
    let headers = request.headers();
    let header_bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if header_bytes > HEADER_BYTES_MAX {
        let detail = format!("the headers have {header_bytes} bytes, at most {HEADER_BYTES_MAX} are read");
        return Some(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_long", detail));
    }
    if request.version() < Version::HTTP_11 && request.uri().path() == "/api/v1/observations" {
        let detail = "HTTP/1.1 is needed: in HTTP/1.0 an answer that is cut off looks whole";
        return Some(Problem::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "http_version", detail));
    }
    if !names_this_machine(headers) {
        let detail = "the Host header must be localhost or an address: there is no authentication yet";
        return Some(Problem::new(StatusCode::FORBIDDEN, "wrong_host", detail).at_header("Host"));
    }
    None
}

/// An address as host can't come from a foreign name. A request without the header comes from no browser.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    name.is_some_and(|name| name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok())
}

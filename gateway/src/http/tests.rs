//! A1-8: the HTTP contract, over a real socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{ConsoleSettings, HttpListener, HttpServer, HttpSettings};
use crate::query::fake::FakeView;

pub(super) const SETTINGS: HttpSettings = HttpSettings {
    question_ms_max: 1_000,
    event_listeners_max: 2,
    connections_max: 128,
    console: ConsoleSettings { map_dir: None, fresh_max_s: 900, late_max_s: 7_200, clock_skew_max_s: 300 },
};

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

pub(super) fn serve(view: FakeView) -> (HttpServer, Arc<FakeView>) {
    let view = Arc::new(view);
    let listener = HttpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    (listener.serve(view.clone(), SETTINGS).unwrap(), view)
}

pub(super) fn send(server: &HttpServer, request: &str) -> Answer {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let head = head.to_ascii_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
    Answer { status, head, body }
}

/// The content of chunks, which must end with the last one.
fn unchunked(mut rest: &str) -> String {
    let mut content = String::new();
    loop {
        let (len, tail) = rest.split_once("\r\n").expect("a chunk's length");
        let len = usize::from_str_radix(len, 16).expect("a hexadecimal length");
        content.push_str(&tail[..len]);
        rest = tail[len..].strip_prefix("\r\n").expect("the end of a chunk");
        if len == 0 {
            return content;
        }
    }
}

pub(super) fn get(server: &HttpServer, path: &str) -> Answer {
    send(server, &format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.addr()))
}

#[test]
fn health_ready_metrics() {
    let (server, view) = serve(FakeView::default());
    let health = get(&server, "/health");
    assert_eq!((health.status, health.body.as_str()), (200, "{\"status\":\"ok\"}\n"));

    let ready = get(&server, "/ready");
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["clock"], "synchronised");
    assert_eq!(ready.json()["disk_hours_left"], 1234.5);
    view.not_ready.store(true, Ordering::Relaxed);
    let ready = get(&server, "/ready");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["reasons"][0], "the journal has no segment ready");

    view.metrics.journal_frames.inc_by(7);
    let metrics = get(&server, "/metrics");
    assert!(
        metrics.head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        metrics.head
    );
    assert!(metrics.body.contains("sensor_gateway_journal_frames_total 7\n"), "{}", metrics.body);
    assert!(metrics.body.ends_with("# EOF\n"));
}

#[test]
fn questions_are_answered() {
    let (server, _) = serve(FakeView::default());
    assert_eq!(get(&server, "/api/v1/ledger").json()["messages"]["received"], 12);
    assert_eq!(
        get(&server, "/api/v1/ledger?agency=a&from=0").json()["observations"]["flushed"],
        serde_json::Value::Null
    );
    assert_eq!(get(&server, "/api/v1/datastreams").json().as_array().unwrap().len(), 2);

    let rows = get(&server, "/api/v1/observations?datastream=H24.05/KHI003/pm2_5&revisions=true");
    assert!(rows.head.contains("content-type: application/json"));
    assert_eq!(rows.json().as_array().unwrap().len(), 3);
    let rows = get(&server, "/api/v1/observations?datastream=H24.05%2FKHI003%2Fdoor&format=csv");
    assert!(rows.head.contains("content-type: text/csv"));
    assert_eq!(rows.body.lines().count(), 2);
    // A plus sign that nobody escaped.
    let rows = get(&server, "/api/v1/observations?from=2026-11-21T08:05:01+07:00&format=ndjson");
    assert_eq!((rows.status, rows.body.as_str()), (200, ""));
    let head =
        send(&server, "HEAD /api/v1/observations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn errors_are_problems() {
    let (server, _) = serve(FakeView::default());
    for (path, status, code, field) in [
        ("/api/v1/observations?from=yesterday", 400, "bad_parameter", Some("from")),
        ("/api/v1/observations?datastrem=x", 400, "bad_parameter", Some("datastrem")),
        ("/api/v1/observations?limit=100001", 400, "bad_parameter", Some("limit")),
        ("/api/v1/ledger?format=csv", 400, "bad_parameter", Some("format")),
        ("/api/v1/nothing", 404, "not_found", None),
    ] {
        let problem = get(&server, path);
        assert_eq!(problem.status, status, "{path}");
        assert!(problem.head.contains("content-type: application/problem+json"), "{path}: {}", problem.head);
        let json = problem.json();
        assert_eq!(
            (json["status"].as_u64(), json["code"].as_str()),
            (Some(u64::from(status)), Some(code)),
            "{path}"
        );
        assert_eq!(json["parameter"].as_str(), field, "{path}");
        assert!(json["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    }
    let post = send(
        &server,
        "POST /api/v1/ledger HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!((post.status, post.json()["code"].as_str()), (405, Some("method_not_allowed")));

    let (server, _) = serve(FakeView { broken: true, ..FakeView::default() });
    let problem = get(&server, "/api/v1/ledger");
    assert_eq!(
        (problem.status, problem.json()["detail"].as_str()),
        (500, Some("the store file 7.parquet is damaged"))
    );
}

#[test]
fn what_a_stranger_sends_is_bounded() {
    let (server, _) = serve(FakeView::default());
    let long = format!("/health?{}", "x".repeat(9_000));
    assert_eq!(get(&server, &long).status, 414);
    let header = "x".repeat(20_000);
    let request =
        format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {header}\r\nConnection: close\r\n\r\n");
    assert_eq!(send(&server, &request).status, 431);
    assert_eq!(send(&server, "GARBAGE\r\n\r\n").status, 400);
}

/// A page from elsewhere can make a browser ask under its own name only.
#[test]
fn only_requests_that_name_this_machine_are_answered() {
    let (server, _) = serve(FakeView::default());
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:8080", 403),
        ("", 403),
    ] {
        let request = format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(send(&server, &request).status, status, "{host}");
    }
}

#[test]
fn long_answers_are_limited() {
    let (server, _) = serve(FakeView { many: Some(1_000_000), ..FakeView::default() });
    let rows = get(&server, "/api/v1/observations");
    assert_eq!(rows.json().as_array().unwrap().len(), 10_000);
    assert!(rows.head.contains("x-truncated: true"), "A2-5: a cut array says so: {}", rows.head);
    let rows = get(&server, "/api/v1/observations?limit=100000");
    assert_eq!(rows.json().as_array().unwrap().len(), 100_000);
    let rows = get(&server, "/api/v1/observations?limit=200000&format=csv");
    assert_eq!(rows.body.lines().count(), 200_001);
    let rows = get(&server, "/api/v1/observations?format=csv");
    assert_eq!(rows.body.lines().count(), 1_000_001, "csv streams, however long it is");
}

#[test]
fn a_stop_ends_open_connections_and_frees_the_port() {
    let (mut server, _) = serve(FakeView::default());
    let addr = server.addr();
    let mut idle = TcpStream::connect(addr).unwrap();
    server.stop();
    let mut rest = Vec::new();
    // Closed or reset, but not left open.
    let _ = idle.read_to_end(&mut rest);
    assert!(rest.is_empty());
    HttpListener::bind(addr).unwrap();
}

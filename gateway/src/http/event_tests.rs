//! A2-5: observations and books as they come, over a real socket.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Zeroable;
use serde_json::Value;

use super::HttpServer;
use super::tests::{get, serve};
use crate::feeds::ObservationTap;
use crate::observation::{Classification, MessageEntry, ObservationFrame, Row};
use crate::query::fake::{FakeView, TIME_US};

struct Listener(BufReader<TcpStream>);

impl Listener {
    fn connect(server: &HttpServer, query: &str) -> Self {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = format!("GET /api/v1/events{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut listener = Self(BufReader::new(stream));
        // Whoever has its greeting is among the listeners.
        assert_eq!(listener.line().as_deref(), Some("HTTP/1.1 200 OK"));
        while listener.line().is_some_and(|line| !line.starts_with("retry: ")) {}
        listener
    }

    /// `None` = the stream ended.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.0.read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event that is not about the books.
    fn event(&mut self) -> (String, Value) {
        loop {
            let (name, json) = self.any_event();
            if name != "books" {
                return (name, json);
            }
        }
    }

    fn any_event(&mut self) -> (String, Value) {
        loop {
            let line = self.line().expect("the stream goes on");
            if let Some(name) = line.strip_prefix("event: ") {
                let data = self.line().expect("the data");
                let json = data.strip_prefix("data: ").expect("the data");
                return (name.to_owned(), serde_json::from_str(json).unwrap());
            }
        }
    }
}

fn frame(rows: impl Iterator<Item = (u32, f64, Classification)>) -> Arc<ObservationFrame> {
    let message = MessageEntry { message_no: 7, receive_time_us: TIME_US, ..MessageEntry::zeroed() };
    let row = |(datastream, value, classification): (u32, f64, Classification)| Row {
        time_us: TIME_US,
        value: value.to_bits(),
        datastream,
        unit: 1,
        quality: 1,
        classification: classification as u8,
        ..Row::zeroed()
    };
    Arc::new(ObservationFrame {
        messages: vec![message],
        rows: rows.map(row).collect(),
        ..ObservationFrame::default()
    })
}

/// What the router does.
fn offer(tap: &ObservationTap, frame: &Arc<ObservationFrame>) {
    tap.offer(frame);
}

#[test]
fn a2_5_observations_come_in_the_form_of_the_latest_ones() {
    let (server, view) = serve(FakeView::default());
    let nobody = frame([(0, 1.0, Classification::Inserted)].into_iter());
    offer(&view.tap, &nobody);
    assert!(view.tap.frames().is_empty(), "while nobody listens nothing is kept");

    let mut all = Listener::connect(&server, "");
    let mut water = Listener::connect(&server, "?domain=water");
    let mut one = get(&server, "/api/v1/events").json();
    assert_eq!(one["code"].take(), "busy", "there may be two listeners in this test");
    let (name, books) = all.any_event();
    assert_eq!((name.as_str(), books["messages"]["received"].as_u64()), ("books", Some(12)));

    let rows = [
        (0, 38.4, Classification::Inserted),
        (0, 38.4, Classification::Duplicate),
        (3, 1.27, Classification::Unresolved),
    ];
    offer(&view.tap, &frame(rows.into_iter()));
    let (name, json) = all.event();
    assert_eq!(name, "observation");
    assert_eq!(
        json,
        serde_json::json!({
            "datastream": "H24.05/KHI003/pm2_5", "phenomenonTime": "2026-11-21T01:05:00Z",
            "resultTime": "2026-11-21T01:05:00Z", "result": 38.4, "unit": "ug/m3", "quality": 1, "position": 7,
            "agency": "H24.05", "station": "KHI003", "property": "pm2_5", "domain": "environment",
        })
    );
    for listener in [&mut all, &mut water] {
        let (_, json) = listener.event();
        assert_eq!(
            (json["datastream"].as_str(), json["late"].as_bool()),
            (Some("H24.06/TRIEU1/water_level"), Some(true))
        );
    }
}

/// A page of books must not cost what a page of observations costs.
#[test]
fn a2_5_listeners_to_the_books_alone_leave_the_tap_closed() {
    let (server, view) = serve(FakeView::default());
    let mut books = Listener::connect(&server, "?only=books");
    let (name, _) = books.any_event();
    assert_eq!(name, "books");
    let one = frame([(0, 38.4, Classification::Inserted)].into_iter());
    offer(&view.tap, &one);
    assert!(view.tap.frames().is_empty(), "nothing is kept for it");
    let mut all = Listener::connect(&server, "?only=all");
    offer(&view.tap, &one);
    assert_eq!(all.event().0, "observation");
    // The next two are of the time after the observation went by.
    for _ in 0..2 {
        assert_eq!(books.any_event().0, "books");
    }
    let refused = get(&server, "/api/v1/events?only=books&domain=water");
    assert_eq!((refused.status, refused.json()["parameter"].as_str()), (400, Some("only")));
}

#[test]
fn a2_5_a_listener_that_is_too_slow_is_told_how_much_it_missed() {
    let (server, view) = serve(FakeView::default());
    let mut listener = Listener::connect(&server, "?station=H24.05/KHI003");
    let rows = 20_000;
    offer(&view.tap, &frame((0..rows).map(|at| (0, f64::from(at), Classification::Inserted))));
    let (mut told, mut skipped) = (0, 0);
    while told + skipped < u64::from(rows as u32) {
        let (name, json) = listener.event();
        match name.as_str() {
            "observation" => told += 1,
            "skipped" => skipped += json["skipped"].as_u64().unwrap(),
            other => panic!("{other}"),
        }
    }
    assert_eq!(told + skipped, u64::from(rows as u32));
    assert!(skipped > 0 && told > 0);
}

#[test]
fn a2_5_the_tap_never_waits() {
    let tap = ObservationTap::default();
    let frame = frame((0..3).map(|_| (0, 1.0, Classification::Inserted)));
    tap.set_open(true);
    for _ in 0..100 {
        tap.offer(&frame);
    }
    assert_eq!(tap.frames().len(), 4);
    assert_eq!((tap.take_missed(), tap.take_missed()), (3 * 96, 0));
    tap.set_open(false);
    assert!(tap.frames().is_empty());
}

#[test]
fn a2_5_a_stop_ends_the_streams() {
    let (mut server, view) = serve(FakeView::default());
    let mut listener = Listener::connect(&server, "");
    server.stop();
    while listener.line().is_some() {}
    offer(&view.tap, &frame([(0, 1.0, Classification::Inserted)].into_iter()));
    assert!(view.tap.frames().is_empty());
}

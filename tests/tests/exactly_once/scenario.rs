//! A gateway with a client, all that was sent, and how rows and books are compared at every turn: in the running gateway,
//! without one, after a restart and after `kill -9`; where the readings can be told apart by time or sequence number, all of
//! it is then sent once more and must change nothing.
//!
//! Rows are written `datastream time kind result`, then what there is of unit, `p` period, `s` status, `q` sequence number,
//! `r` revision.

use std::path::{Path, PathBuf};

use codecs::mqtt::{Packet, ProtocolVersion};
use e2e_tests::{Gateway, RawMqtt, Row, new_data_dir, parse_csv, sensor_gateway};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const SETTINGS: [&str; 4] =
    ["--set", "journal.segment_bytes_max=4194304", "--set", "store.flush_interval_ms=200"];
pub(crate) const T1: &str = "2024-11-21T01:05:00Z";
pub(crate) const T2: &str = "2024-11-21T01:06:00Z";
pub(crate) const T3: &str = "2024-11-21T01:07:00Z";

/// What the ledger must say. `total` of the observations is the sum of the parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) decoded: u64,
    pub(crate) partial: u64,
    pub(crate) quarantined: u64,
    pub(crate) ignored: u64,
    pub(crate) inserted: u64,
    pub(crate) corrected: u64,
    pub(crate) outranked: u64,
    pub(crate) duplicate: u64,
    pub(crate) quarantined_readings: u64,
}

pub(crate) struct Scenario {
    _directory: TempDir,
    pub(crate) data_dir: PathBuf,
    pub(crate) gateway: Gateway,
    pub(crate) client: RawMqtt,
    packet_id: u16,
    settings: Vec<String>,
    pub(crate) sent: Vec<(String, Vec<u8>)>,
}

impl Scenario {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With settings (`section.key=value`) of its own.
    pub(crate) fn start_with(own: &[&str]) -> Self {
        let directory = new_data_dir();
        let data_dir = directory.path().join("data");
        let own = own.iter().flat_map(|setting| ["--set", setting]);
        let settings: Vec<String> = SETTINGS.into_iter().chain(own).map(str::to_owned).collect();
        let gateway = start_gateway(&data_dir, &settings);
        let client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "station");
        Self { _directory: directory, data_dir, gateway, client, packet_id: 0, settings, sent: Vec::new() }
    }

    /// Waits until all that was sent is in store files, or outranked, or a duplicate.
    pub(crate) fn settle(&self) -> Value {
        self.gateway.wait_until_flushed(self.sent.len() as u64)
    }

    /// Publishes with a new packet id and awaits the PUBACK; gives the id.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str) -> u16 {
        self.packet_id += 1;
        self.client.send_publish(topic, self.packet_id, payload.as_bytes());
        self.client.expect_puback(self.packet_id);
        self.sent.push((topic.to_owned(), payload.as_bytes().to_vec()));
        self.packet_id
    }

    /// The JSON of one reading of `obs/A/S`.
    pub(crate) fn reading(&mut self, reading: &str) {
        self.publish("obs/A/S", &format!(r#"{{"readings":[{reading}]}}"#));
    }

    /// The same with DUP set and a packet id of choice.
    pub(crate) fn publish_dup(&mut self, topic: &str, payload: &str, packet_id: u16) {
        let mut bytes = self.client.publish_bytes(topic, packet_id, payload.as_bytes());
        bytes[0] |= 0x08;
        self.client.send(&bytes);
        self.client.expect_puback(packet_id);
        self.sent.push((topic.to_owned(), payload.as_bytes().to_vec()));
    }

    pub(crate) fn connect_as(&mut self, client_id: &str) {
        self.client = RawMqtt::connect(self.gateway.mqtt, ProtocolVersion::V3_1_1, client_id);
    }

    /// All revisions, beside a running gateway or without one.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let data_dir = self.data_dir.to_string_lossy();
        let text =
            sensor_gateway(&["query", "--revisions", "--data-dir", &data_dir, "--format", "csv"]).success();
        parse_csv(&text)
    }

    /// The retained message of a feed.
    pub(crate) fn retained(&self, topic: &str) -> Value {
        let mut reader = RawMqtt::connect(self.gateway.mqtt, ProtocolVersion::V3_1_1, "reader-of-retained");
        assert_eq!(reader.subscribe(topic, 0), 0);
        let frame = reader.read_packet();
        let Packet::Publish(publish) = frame.packet() else { panic!("not a PUBLISH: {frame:?}") };
        assert!(publish.retain, "{publish:?}");
        serde_json::from_slice(publish.payload).expect("a feed message is JSON")
    }

    /// The list of what is in quarantine.
    pub(crate) fn quarantine(&self) -> Vec<Value> {
        let data_dir = self.data_dir.to_string_lossy();
        let list =
            sensor_gateway(&["quarantine", "list", "--data-dir", &data_dir, "--format", "json"]).success();
        serde_json::from_str(&list).expect("the list is JSON")
    }

    pub(crate) fn ledger(&self) -> Value {
        let data_dir = self.data_dir.to_string_lossy();
        let text = sensor_gateway(&["ledger", "--data-dir", &data_dir, "--format", "json"]).success();
        serde_json::from_str(&text).expect("the ledger is JSON")
    }

    /// Rows and books at every turn. `times` says whether the rows are written with their times.
    pub(crate) fn check_states(mut self, expected: &[&str], books: Books, times: Times) -> Self {
        self.gateway.wait_until_flushed(self.sent.len() as u64);
        let rows = self.rows();
        let mut written: Vec<String> = rows.iter().map(|row| write_row(row, times)).collect();
        written.sort_unstable();
        let mut expected: Vec<String> = expected.iter().map(|row| (*row).to_owned()).collect();
        expected.sort_unstable();
        assert_eq!(written, expected, "found (left), expected (right)");
        assert_books(&self.gateway.ledger(), books);
        let is_same = |scenario: &Self, when: &str| {
            assert_eq!(scenario.rows(), rows, "{when}");
            assert_books(&scenario.ledger(), books);
        };
        is_same(&self, "command line beside the gateway");

        self.gateway.terminate();
        self.gateway = {
            let data_dir = self.data_dir.to_string_lossy().into_owned();
            let text = sensor_gateway(&["query", "--revisions", "--data-dir", &data_dir, "--format", "csv"])
                .success();
            assert_eq!(parse_csv(&text), rows, "without a gateway");
            start_gateway(&self.data_dir, &self.settings)
        };
        is_same(&self, "after a restart");
        self.gateway.kill9();
        self.gateway = {
            let data_dir = self.data_dir.to_string_lossy().into_owned();
            let text = sensor_gateway(&["query", "--revisions", "--data-dir", &data_dir, "--format", "csv"])
                .success();
            assert_eq!(parse_csv(&text), rows, "without a gateway, after kill -9");
            start_gateway(&self.data_dir, &self.settings)
        };
        is_same(&self, "after kill -9");
        self
    }

    /// Everything once more, by somebody else, in the same order: no row more, and every reading a duplicate.
    pub(crate) fn check_resend(mut self, books: Books) {
        let rows = self.rows();
        let sent = std::mem::take(&mut self.sent);
        self.connect_as("somebody-else");
        for (topic, payload) in &sent {
            self.publish(topic, std::str::from_utf8(payload).expect("text"));
        }
        self.gateway.wait_until_flushed(2 * sent.len() as u64);
        assert_eq!(self.rows(), rows, "after everything was sent again");
        let twice = Books {
            decoded: 2 * books.decoded,
            partial: 2 * books.partial,
            quarantined: 2 * books.quarantined,
            ignored: 2 * books.ignored,
            inserted: books.inserted,
            corrected: books.corrected,
            outranked: 2 * books.outranked,
            duplicate: 2 * books.duplicate + books.inserted + books.corrected,
            quarantined_readings: 2 * books.quarantined_readings,
        };
        assert_books(&self.gateway.ledger(), twice);
        self.gateway.kill9();
        self.gateway = start_gateway(&self.data_dir, &self.settings);
        assert_eq!(self.rows(), rows, "after everything was sent again and kill -9");
        assert_books(&self.ledger(), twice);
    }

    pub(crate) fn check(self, expected: &[&str], books: Books) {
        self.check_states(expected, books, Times::Written).check_resend(books);
    }
}

fn start_gateway(data_dir: &Path, settings: &[String]) -> Gateway {
    Gateway::start(data_dir, &settings.iter().map(String::as_str).collect::<Vec<_>>())
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    Written,
    /// Undated readings have the time of their receipt.
    LeftOut,
}

pub(crate) fn write_row(row: &Row, times: Times) -> String {
    let mut out = row["datastream"].clone();
    if times == Times::Written {
        out += &format!(" {}", row["phenomenon_time"]);
    }
    out += &format!(" {} {}", row["kind"], row["result"]);
    for (sign, column) in [("", "unit"), ("p", "period_s"), ("s", "status"), ("q", "seq")] {
        if !row[column].is_empty() {
            out += &format!(" {sign}{}", row[column]);
        }
    }
    if row["revision"] != "0" {
        out += &format!(" r{}", row["revision"]);
    }
    out.trim_end().to_owned()
}

pub(crate) fn assert_books(ledger: &Value, books: Books) {
    let message = |name: &str| ledger["messages"][name].as_u64().expect("a count");
    let observation = |name: &str| ledger["observations"][name].as_u64().expect("a count");
    let found = Books {
        decoded: message("decoded"),
        partial: message("partial"),
        quarantined: message("quarantined"),
        ignored: message("ignored"),
        inserted: observation("inserted"),
        corrected: observation("corrected"),
        outranked: observation("outranked"),
        duplicate: observation("duplicate"),
        quarantined_readings: observation("quarantined"),
    };
    assert_eq!(found, books, "found (left), expected (right): {ledger}");
    let received = books.decoded + books.partial + books.quarantined + books.ignored;
    let total =
        books.inserted + books.corrected + books.outranked + books.duplicate + books.quarantined_readings;
    assert_eq!((message("received"), observation("total")), (received, total), "{ledger}");
    assert_eq!((message("pending"), observation("unresolved")), (0, 0), "{ledger}");
    assert_eq!(observation("flushed"), books.inserted + books.corrected, "{ledger}");
}

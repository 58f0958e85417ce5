//! A1-10, promise P3: a reading with a time or a sequence number never makes a second row, a correction makes a revision,
//! and values, units, names and times mean what the contract says. Every scenario is asked for its rows and its books in
//! the running gateway, without one, after a restart and after `kill -9`; where its readings can be told apart by time or
//! sequence number, all of it is then sent once more and must change nothing.
//!
//! Rows are written `datastream time kind result`, then what there is of unit, `p` period, `s` status, `q` sequence number,
//! `r` revision.

use std::path::PathBuf;

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{Gateway, RawMqtt, Row, new_data_dir, parse_csv, sensor_gateway};
use serde_json::Value;
use tempfile::TempDir;

const SETTINGS: [&str; 4] =
    ["--set", "journal.segment_bytes_max=4194304", "--set", "store.flush_interval_ms=200"];
const T1: &str = "2024-11-21T01:05:00Z";
const T2: &str = "2024-11-21T01:06:00Z";
const T3: &str = "2024-11-21T01:07:00Z";

/// What the ledger must say. `total` of the observations is the sum of the parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Books {
    decoded: u64,
    partial: u64,
    quarantined: u64,
    ignored: u64,
    inserted: u64,
    corrected: u64,
    duplicate: u64,
    quarantined_readings: u64,
}

struct Scenario {
    _directory: TempDir,
    data_dir: PathBuf,
    gateway: Gateway,
    client: RawMqtt,
    packet_id: u16,
    sent: Vec<(String, Vec<u8>)>,
}

impl Scenario {
    fn start() -> Self {
        let directory = new_data_dir();
        let data_dir = directory.path().join("data");
        let gateway = Gateway::start(&data_dir, &SETTINGS);
        let client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "station");
        Self { _directory: directory, data_dir, gateway, client, packet_id: 0, sent: Vec::new() }
    }

    /// Publishes with a new packet id and awaits the PUBACK; gives the id.
    fn publish(&mut self, topic: &str, payload: &str) -> u16 {
        self.packet_id += 1;
        self.client.send_publish(topic, self.packet_id, payload.as_bytes());
        self.client.expect_puback(self.packet_id);
        self.sent.push((topic.to_owned(), payload.as_bytes().to_vec()));
        self.packet_id
    }

    /// The JSON of one reading of `obs/A/S`.
    fn reading(&mut self, reading: &str) {
        self.publish("obs/A/S", &format!(r#"{{"readings":[{reading}]}}"#));
    }

    /// The same with DUP set and a packet id of choice.
    fn publish_dup(&mut self, topic: &str, payload: &str, packet_id: u16) {
        let mut bytes = self.client.publish_bytes(topic, packet_id, payload.as_bytes());
        bytes[0] |= 0x08;
        self.client.send(&bytes);
        self.client.expect_puback(packet_id);
        self.sent.push((topic.to_owned(), payload.as_bytes().to_vec()));
    }

    fn connect_as(&mut self, client_id: &str) {
        self.client = RawMqtt::connect(self.gateway.mqtt, ProtocolVersion::V3_1_1, client_id);
    }

    /// All revisions, beside a running gateway or without one.
    fn rows(&self) -> Vec<Row> {
        let data_dir = self.data_dir.to_string_lossy();
        let text =
            sensor_gateway(&["query", "--revisions", "--data-dir", &data_dir, "--format", "csv"]).success();
        parse_csv(&text)
    }

    fn ledger(&self) -> Value {
        let data_dir = self.data_dir.to_string_lossy();
        let text = sensor_gateway(&["ledger", "--data-dir", &data_dir, "--format", "json"]).success();
        serde_json::from_str(&text).expect("the ledger is JSON")
    }

    /// Rows and books at every turn. `times` says whether the rows are written with their times.
    fn check_states(mut self, expected: &[&str], books: Books, times: Times) -> Self {
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
            Gateway::start(&self.data_dir, &SETTINGS)
        };
        is_same(&self, "after a restart");
        self.gateway.kill9();
        self.gateway = {
            let data_dir = self.data_dir.to_string_lossy().into_owned();
            let text = sensor_gateway(&["query", "--revisions", "--data-dir", &data_dir, "--format", "csv"])
                .success();
            assert_eq!(parse_csv(&text), rows, "without a gateway, after kill -9");
            Gateway::start(&self.data_dir, &SETTINGS)
        };
        is_same(&self, "after kill -9");
        self
    }

    /// Everything once more, by somebody else, in the same order: no row more, and every reading a duplicate.
    fn check_resend(mut self, books: Books) {
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
            duplicate: 2 * books.duplicate + books.inserted + books.corrected,
            quarantined_readings: 2 * books.quarantined_readings,
        };
        assert_books(&self.gateway.ledger(), twice);
        self.gateway.kill9();
        self.gateway = Gateway::start(&self.data_dir, &SETTINGS);
        assert_eq!(self.rows(), rows, "after everything was sent again and kill -9");
        assert_books(&self.ledger(), twice);
    }

    fn check(self, expected: &[&str], books: Books) {
        self.check_states(expected, books, Times::Written).check_resend(books);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Written,
    /// Undated readings have the time of their receipt.
    LeftOut,
}

fn write_row(row: &Row, times: Times) -> String {
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

fn assert_books(ledger: &Value, books: Books) {
    let message = |name: &str| ledger["messages"][name].as_u64().expect("a count");
    let observation = |name: &str| ledger["observations"][name].as_u64().expect("a count");
    let found = Books {
        decoded: message("decoded"),
        partial: message("partial"),
        quarantined: message("quarantined"),
        ignored: message("ignored"),
        inserted: observation("inserted"),
        corrected: observation("corrected"),
        duplicate: observation("duplicate"),
        quarantined_readings: observation("quarantined"),
    };
    assert_eq!(found, books, "found (left), expected (right): {ledger}");
    let received = books.decoded + books.partial + books.quarantined + books.ignored;
    let total = books.inserted + books.corrected + books.duplicate + books.quarantined_readings;
    assert_eq!((message("received"), observation("total")), (received, total), "{ledger}");
    assert_eq!(
        (message("pending"), observation("unresolved"), observation("outranked")),
        (0, 0, 0),
        "{ledger}"
    );
    assert_eq!(observation("flushed"), books.inserted + books.corrected, "{ledger}");
}

#[test]
fn a1_10_a_dated_reading_is_one_row_however_often_and_by_whom_it_is_sent() {
    let mut scenario = Scenario::start();
    let payload =
        format!(r#"{{"time":"{T1}","readings":[{{"property":"pm2_5","value":38.4,"unit":"ug/m3"}}]}}"#);
    let packet_id = scenario.publish("obs/A/S", &payload);
    scenario.publish("obs/A/S", &payload);
    scenario.connect_as("station");
    scenario.publish_dup("obs/A/S", &payload, packet_id);
    scenario.connect_as("a-gateway-of-the-vendor");
    scenario.publish("obs/A/S", &payload);
    // The same reading in the other form.
    scenario.publish("obs/A/S/pm2_5", &format!(r#"{{"value":38.4,"time":"{T1}"}}"#));
    scenario.check(
        &["A/S/pm2_5 2024-11-21T01:05:00Z number 38.4 ug/m3"],
        Books { decoded: 5, inserted: 1, duplicate: 4, ..Books::default() },
    );
}

#[test]
fn a1_10_corrections_are_revisions_and_earlier_ones_stay_findable() {
    let mut scenario = Scenario::start();
    let pm2_5 = |time: &str, rest: &str| format!(r#"{{"property":"pm2_5","time":"{time}",{rest}}}"#);
    for rest in [
        r#""value":38.4"#,
        r#""value":39"#,
        // Equal to an earlier revision: nothing new.
        r#""value":38.4"#,
        r#""value":39,"unit":"ug/m3""#,
        // The same amount in another unit.
        r#""value":0.039,"unit":"mg/m3""#,
        // Another status is another content; another kind, too.
        r#""value":39,"status":"02""#,
        r#""value":null,"status":"03""#,
        r#""value":null,"status":"03""#,
    ] {
        scenario.reading(&pm2_5(T1, rest));
    }
    // Behind the watermark.
    for rest in [r#""value":1"#, r#""value":2"#] {
        scenario.reading(&pm2_5(T3, rest));
        scenario.reading(&pm2_5(T2, rest));
    }
    let in_force = {
        scenario.gateway.wait_until_flushed(12);
        let rows = scenario.gateway.query_csv(&["--datastream", "A/S/pm2_5"]);
        rows.iter().map(|row| write_row(row, Times::Written)).collect::<Vec<_>>()
    };
    assert_eq!(
        in_force,
        [
            "A/S/pm2_5 2024-11-21T01:05:00Z null  ug/m3 s03 r3",
            "A/S/pm2_5 2024-11-21T01:06:00Z number 2 ug/m3 r1",
            "A/S/pm2_5 2024-11-21T01:07:00Z number 2 ug/m3 r1",
        ]
    );
    scenario.check(
        &[
            "A/S/pm2_5 2024-11-21T01:05:00Z number 38.4 ug/m3",
            "A/S/pm2_5 2024-11-21T01:05:00Z number 39 ug/m3 r1",
            "A/S/pm2_5 2024-11-21T01:05:00Z number 39 ug/m3 s02 r2",
            "A/S/pm2_5 2024-11-21T01:05:00Z null  ug/m3 s03 r3",
            "A/S/pm2_5 2024-11-21T01:06:00Z number 1 ug/m3",
            "A/S/pm2_5 2024-11-21T01:06:00Z number 2 ug/m3 r1",
            "A/S/pm2_5 2024-11-21T01:07:00Z number 1 ug/m3",
            "A/S/pm2_5 2024-11-21T01:07:00Z number 2 ug/m3 r1",
        ],
        Books { decoded: 12, inserted: 3, corrected: 5, duplicate: 4, ..Books::default() },
    );
}

#[test]
fn a1_10_late_and_unordered_readings_find_their_place() {
    let mut scenario = Scenario::start();
    for (time, value) in [(T3, 3), (T1, 1), (T2, 2), (T1, 1), (T3, 3), (T2, 2)] {
        scenario
            .reading(&format!(r#"{{"property":"water_level","value":{value},"unit":"m","time":"{time}"}}"#));
    }
    // Years late, in one message with a new one, for two datastreams.
    scenario.publish(
        "obs/A/S",
        r#"{"time":"2024-11-21T01:08:00Z","readings":[
            {"property":"water_level","value":4},
            {"property":"water_level","value":0.5,"time":"2012-02-29T23:59:59.999999Z"},
            {"property":"rain","value":0.2}]}"#,
    );
    scenario.check(
        &[
            "A/S/rain 2024-11-21T01:08:00Z number 0.2 mm",
            "A/S/water_level 2012-02-29T23:59:59.999999Z number 0.5 m",
            "A/S/water_level 2024-11-21T01:05:00Z number 1 m",
            "A/S/water_level 2024-11-21T01:06:00Z number 2 m",
            "A/S/water_level 2024-11-21T01:07:00Z number 3 m",
            "A/S/water_level 2024-11-21T01:08:00Z number 4 m",
        ],
        Books { decoded: 7, inserted: 6, duplicate: 3, ..Books::default() },
    );
}

#[test]
fn a1_10_different_values_of_one_message_at_one_time_are_kept_apart() {
    let mut scenario = Scenario::start();
    let message = |values: &[&str]| {
        let readings: Vec<String> =
            values.iter().map(|value| format!(r#"{{"property":"plate_count","value":{value}}}"#)).collect();
        format!(r#"{{"time":"{T1}","readings":[{}]}}"#, readings.join(","))
    };
    // The same value twice in one message says it twice.
    scenario.publish("obs/A/S", &message(&["1", "2", "1", "3"]));
    scenario.publish("obs/A/S", &message(&["1", "2", "1", "3"]));
    scenario.publish("obs/A/S", &message(&["1"]));
    scenario.check(
        &[
            "A/S/plate_count 2024-11-21T01:05:00Z number 1",
            "A/S/plate_count 2024-11-21T01:05:00Z number 2",
            "A/S/plate_count 2024-11-21T01:05:00Z number 3",
        ],
        Books { decoded: 3, inserted: 3, duplicate: 6, ..Books::default() },
    );
}

/// A client with three packet ids reports the same value again and again. Two acks do not reach it, and its newest message,
/// with the first id again, does not reach the gateway.
#[test]
fn a1_10_a_new_undated_reading_is_kept_though_an_old_one_had_its_id_and_value() {
    let mut scenario = Scenario::start();
    let topic = "obs/A/S/rain";
    for _ in 0..3 {
        scenario.publish(topic, "0");
    }
    scenario.gateway.kill9();
    scenario.gateway = Gateway::start(&scenario.data_dir, &SETTINGS);
    scenario.connect_as("station");
    for id in [2, 3, 1] {
        scenario.publish_dup(topic, "0", id);
    }
    scenario.check_states(
        &["A/S/rain number 0 mm"; 4],
        Books { decoded: 6, inserted: 4, duplicate: 2, ..Books::default() },
        Times::LeftOut,
    );
}

#[test]
fn a1_10_undated_readings_are_resent_only_with_dup_and_all_else_equal() {
    let mut scenario = Scenario::start();
    let topic = "obs/A/S/pm2_5";
    scenario.publish(topic, "38.4");
    // A value that truly repeats.
    let second = scenario.publish(topic, "38.4");
    // Lost ack: the same packet once more on a new connection.
    scenario.connect_as("station");
    scenario.publish_dup(topic, "38.4", second);
    scenario.publish_dup(topic, "38.4", second);
    // DUP alone proves nothing.
    scenario.publish_dup(topic, "38.5", second);
    scenario.publish_dup(topic, "38.5", second + 1);
    scenario.publish_dup("obs/A/S/pm10", "38.5", second + 1);
    scenario.connect_as("another-station");
    scenario.publish_dup(topic, "38.4", second);
    // Equal to the last one with this packet id, but without DUP.
    scenario.client.send_publish(topic, second, b"38.4");
    scenario.client.expect_puback(second);
    scenario.sent.push((topic.to_owned(), b"38.4".to_vec()));
    let scenario = scenario.check_states(
        &[
            "A/S/pm10 number 38.5 ug/m3",
            "A/S/pm2_5 number 38.4 ug/m3",
            "A/S/pm2_5 number 38.4 ug/m3",
            "A/S/pm2_5 number 38.4 ug/m3",
            "A/S/pm2_5 number 38.4 ug/m3",
            "A/S/pm2_5 number 38.5 ug/m3",
            "A/S/pm2_5 number 38.5 ug/m3",
        ],
        Books { decoded: 9, inserted: 7, duplicate: 2, ..Books::default() },
        Times::LeftOut,
    );
    // Their times are those of receipt, and no two are the same.
    let rows = scenario.rows();
    let mut times: Vec<&str> = rows
        .iter()
        .filter(|row| row["datastream"] == "A/S/pm2_5")
        .map(|row| row["phenomenon_time"].as_str())
        .collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), 6);
}

#[test]
fn a1_10_a_dup_is_recognised_after_kill9_between_journal_and_ack() {
    let mut scenario = Scenario::start();
    let packet_id = scenario.publish("obs/A/S/pm2_5", "38.4");
    scenario.gateway.kill9();
    scenario.gateway = Gateway::start(&scenario.data_dir, &SETTINGS);
    scenario.connect_as("station");
    scenario.publish_dup("obs/A/S/pm2_5", "38.4", packet_id);
    scenario.check_states(
        &["A/S/pm2_5 number 38.4 ug/m3"],
        Books { decoded: 2, inserted: 1, duplicate: 1, ..Books::default() },
        Times::LeftOut,
    );
}

#[test]
fn a1_10_undated_readings_with_a_sequence_number_are_one_row_each() {
    let mut scenario = Scenario::start();
    let message = |seq: u64, value: &str| {
        format!(
            r#"{{"seq":{seq},"readings":[{{"property":"pm2_5","value":{value}}},{{"property":"rain","value":0}}]}}"#
        )
    };
    scenario.publish("obs/A/S", &message(1, "38.4"));
    scenario.publish("obs/A/S", &message(2, "38.4"));
    scenario.connect_as("another-way");
    scenario.publish("obs/A/S", &message(1, "38.4"));
    scenario.publish("obs/A/S", &message(2, "38.4"));
    // The same number of another station.
    scenario.publish("obs/A/S2", &message(2, "38.4"));
    let books = Books { decoded: 5, inserted: 6, duplicate: 4, ..Books::default() };
    scenario
        .check_states(
            &[
                "A/S/pm2_5 number 38.4 ug/m3 q1",
                "A/S/pm2_5 number 38.4 ug/m3 q2",
                "A/S/rain number 0 mm q1",
                "A/S/rain number 0 mm q2",
                "A/S2/pm2_5 number 38.4 ug/m3 q2",
                "A/S2/rain number 0 mm q2",
            ],
            books,
            Times::LeftOut,
        )
        .check_resend(books);
}

#[test]
fn a1_10_values_are_stored_in_the_unit_of_the_property() {
    let mut scenario = Scenario::start();
    let cases = [
        ("pm2_5", "µg/m³", "38.4", "38.4 ug/m3"),
        ("pm10", "mg/m3", "0.5", "500 ug/m3"),
        ("air_temperature", "degF", "212", "100 Cel"),
        ("air_temperature;height=2", "°F", "50", "10 Cel"),
        ("air_temperature;height=10", "oC", "-3.5", "-3.5 Cel"),
        ("water_level", "ft", "10", "3.048 m"),
        ("water_level;gauge=2", "cm", "127", "1.27 m"),
        ("wind_speed", "km/h", "36", "10 m/s"),
        ("air_pressure", "Pa", "101325", "1013.25 hPa"),
        ("rain", "in", "1", "25.4 mm"),
        // Unknown, or not convertible by the two units alone: passed through as sent, never guessed.
        ("pm2_5;sensor=2", "furlong", "3", "3 furlong"),
        ("no2", "ppb", "12", "12 [ppb]"),
        ("no_such_property", "°C", "4", "4 Cel"),
        ("no_such_property;n=2", "blips", "4", "4 blips"),
        // None at all: the catalogue's.
        ("humidity_of_nothing", "", "4", "4"),
        ("co", "", "4", "4 ug/m3"),
    ];
    let mut expected = Vec::new();
    for (property, unit, sent, stored) in cases {
        scenario
            .reading(&format!(r#"{{"property":"{property}","value":{sent},"unit":"{unit}","time":"{T1}"}}"#));
        expected.push(format!("A/S/{property} {T1} number {stored}"));
    }
    let count = cases.len() as u64;
    scenario.check(
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
        Books { decoded: count, inserted: count, ..Books::default() },
    );
}

#[test]
fn a1_10_every_kind_of_result_period_status_and_qualifier_goes_the_whole_way() {
    let mut scenario = Scenario::start();
    let cases = [
        (r#""property":"lamp_state","value":true"#, "lamp_state", "boolean true"),
        (r#""property":"door_state","value":false,"status":"00""#, "door_state", "boolean false s00"),
        (r#""property":"pump_state","value":"on""#, "pump_state", "text on"),
        (r#""property":"note","value":"a, \"b\"\nc Trạm""#, "note", "text a, \"b\"\nc Trạm"),
        (r#""property":"note;n=2","value":"""#, "note;n=2", "text"),
        (r#""property":"smoke","value":null,"status":"03""#, "smoke", "null  s03"),
        (r#""property":"a","value":1e300"#, "a", "number 1e300"),
        (r#""property":"b","value":0.30000000000000004"#, "b", "number 0.30000000000000004"),
        (r#""property":"c","value":-12345678.9"#, "c", "number -12345678.9"),
        (r#""property":"d","value":9007199254740991"#, "d", "number 9007199254740991"),
        (r#""property":"flow","value":12,"period_s":60"#, "flow", "number 12 {veh}/h p60"),
        (r#""property":"flow","value":13"#, "flow", "number 13 {veh}/h"),
        (r#""property":"flow","value":14,"period_s":3600"#, "flow", "number 14 {veh}/h p3600"),
        (
            r#""property":"flow","value":15,"tags":{"lane":1,"class":"motorcycle"}"#,
            "flow;class=motorcycle;lane=1",
            "number 15 {veh}/h",
        ),
    ];
    let mut expected = Vec::new();
    for (members, datastream, stored) in cases {
        scenario.reading(&format!(r#"{{{members},"time":"{T1}"}}"#));
        expected.push(format!("A/S/{datastream} {T1} {stored}"));
    }
    // The same qualifiers in other places and another order.
    scenario.reading(&format!(r#"{{"property":"flow;lane=1;class=motorcycle","value":15,"time":"{T1}"}}"#));
    scenario.reading(&format!(
        r#"{{"property":"flow;lane=1","value":15,"time":"{T1}","tags":{{"class":"motorcycle"}}}}"#
    ));
    let count = cases.len() as u64;
    scenario.check(
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
        Books { decoded: count + 2, inserted: count, duplicate: 2, ..Books::default() },
    );
}

#[test]
fn a1_10_vietnamese_names_are_one_name_however_they_are_composed() {
    let composed = "Tr\u{1ea1}m_H\u{e0}_N\u{1ed9}i";
    let decomposed = "Tra\u{323}m_Ha\u{300}_No\u{323}\u{302}i";
    let mut scenario = Scenario::start();
    let payload = format!(r#"{{"value":1.5,"time":"{T1}"}}"#);
    scenario.publish(&format!("obs/\u{110}N/{decomposed}/m\u{1b0}a"), &payload);
    scenario.publish(&format!("obs/\u{110}N/{composed}/mu\u{31b}a"), &payload);
    scenario.gateway.wait_until_flushed(2);
    for asked in [composed, decomposed] {
        let rows = scenario.gateway.query_csv(&["--datastream", &format!("\u{110}N/{asked}/m\u{1b0}a")]);
        assert_eq!(rows.len(), 1, "{asked}");
    }
    scenario.check(
        &[&format!("\u{110}N/{composed}/m\u{1b0}a {T1} number 1.5")],
        Books { decoded: 2, inserted: 1, duplicate: 1, ..Books::default() },
    );
}

#[test]
fn a1_10_one_instant_may_be_written_in_many_ways() {
    let mut scenario = Scenario::start();
    // 2024-11-21T01:05:00.25Z
    let forms = [
        r#""2024-11-21T08:05:00.25+07:00""#,
        r#""2024-11-21T01:05:00.25Z""#,
        r#""2024-11-21t01:05:00.250000z""#,
        r#""2024-11-20 20:05:00.25-05:00""#,
        "1732151100.25",
        "1732151100250",
        "1732151100250000",
        "1732151100250000000",
    ];
    for form in forms {
        scenario.publish(
            "obs/A/S",
            &format!(r#"{{"time":{form},"readings":[{{"property":"rain","value":1}}]}}"#),
        );
    }
    // A reading's own time goes before the message's.
    let both =
        format!(r#"{{"time":"{T1}","readings":[{{"property":"rain","value":1,"time":1732151100.25}}]}}"#);
    scenario.publish("obs/A/S", &both);
    scenario.check(
        &["A/S/rain 2024-11-21T01:05:00.250Z number 1 mm"],
        Books { decoded: 9, inserted: 1, duplicate: 8, ..Books::default() },
    );
}

#[test]
fn a1_10_what_cannot_be_decoded_is_booked_and_kept() {
    let mut scenario = Scenario::start();
    let good = format!(r#"{{"property":"rain","value":1,"time":"{T1}"}}"#);
    // One good reading, one far in the future, one before all archives.
    scenario.reading(&format!(
        r#"{good},{{"property":"rain","value":2,"time":"2190-01-01T00:00:00Z"}},
           {{"property":"rain","value":3,"time":"1950-01-01T00:00:00Z"}}"#
    ));
    scenario.reading(r#"{"property":"rain","value":NaN}"#);
    scenario.publish("obs/A/S", "ERROR 17");
    scenario.publish("obs/A/S/rain", "38,4");
    scenario.publish("obs/A/S/rain/extra", "38.4");
    scenario.publish("obs/A/station with blanks", "{}");
    scenario.publish("city/lamp/1", "on");
    scenario.gateway.wait_until_flushed(7);
    let data_dir = scenario.data_dir.to_string_lossy().into_owned();
    let list = sensor_gateway(&["quarantine", "list", "--data-dir", &data_dir, "--format", "json"]).success();
    let list: Value = serde_json::from_str(&list).expect("the list is JSON");
    let reasons: Vec<&str> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["reason"].as_str().expect("a reason"))
        .collect();
    // Newest first.
    assert_eq!(
        reasons,
        ["topic_invalid", "topic_invalid", "not_json", "format_unknown", "bad_number", "time_out_of_range"]
    );
    scenario.check(
        &["A/S/rain 2024-11-21T01:05:00Z number 1 mm"],
        Books {
            partial: 1,
            quarantined: 5,
            ignored: 1,
            inserted: 1,
            quarantined_readings: 3,
            ..Books::default()
        },
    );
}

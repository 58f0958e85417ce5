//! The helpers themselves, against the real binary: a test that rests on a helper which never fails proves nothing.

use codecs::mqtt::{Packet, ProtocolVersion};
use e2e_tests::{Gateway, MosquittoSub, RawMqtt, http_get, mosquitto_pub, new_data_dir, python};

const MESSAGE: &str = r#"{"time":"2026-11-21T08:05:00+07:00","seq":1042,"readings":[{"property":"pm2_5","value":38.4,"unit":"ug/m3"}]}"#;
const PAHO: &str = r#"
import sys
import paho.mqtt.client as mqtt
host, port, topic, payload = sys.argv[1:]
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.connect(host, int(port))
client.loop_start()
client.publish(topic, payload, qos=1).wait_for_publish(30)
client.disconnect()
client.loop_stop()
print("published")
"#;
/// Reads the store's files with nothing of ours.
const DUCKDB: &str = r#"
import sys, duckdb
for (number,) in duckdb.sql(f"select number from '{sys.argv[1]}/store/**/*.parquet' order by 1").fetchall():
    print(number)
"#;

#[test]
fn clients_from_outside_reach_the_gateway_and_their_readings_are_found_again() {
    let dir = new_data_dir();
    let data_dir = dir.path().join("data");
    let gateway = Gateway::start(&data_dir, &[]);
    let subscriber = MosquittoSub::start(gateway.mqtt, &["-t", "feed/v1/+/+/+/+", "-q", "1"]);

    mosquitto_pub(gateway.mqtt, &["-t", "obs/H24.05/KHI003", "-q", "1", "-m", MESSAGE], b"");
    let (_, topic, payload) = subscriber.next_message();
    assert_eq!(topic, "feed/v1/environment/H24.05/KHI003/pm2_5");
    assert!(payload.contains("\"result\":38.4"), "{payload}");

    let (host, port) = (gateway.mqtt.ip().to_string(), gateway.mqtt.port().to_string());
    let later = MESSAGE.replace("08:05", "08:06").replace("38.4", "39.5");
    assert_eq!(python(PAHO, &[&host, &port, "obs/H24.05/KHI003", &later]).trim(), "published");

    let ledger = gateway.wait_until_flushed(2);
    assert_eq!(ledger["observations"]["inserted"], 2, "{ledger}");
    let rows = gateway.query_csv(&["--datastream", "H24.05/KHI003/pm2_5"]);
    let results: Vec<&str> = rows.iter().map(|row| row["result"].as_str()).collect();
    assert_eq!(results, ["38.4", "39.5"]);
    assert_eq!(python(DUCKDB, &[&data_dir.to_string_lossy()]), "38.4\n39.5\n");
    gateway.terminate();
}

#[test]
fn raw_packets_are_answered_and_what_was_acked_survives_kill_9() {
    let dir = new_data_dir();
    let data_dir = dir.path().join("data");
    let gateway = Gateway::start(&data_dir, &[]);
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        let mut client = RawMqtt::connect(gateway.mqtt, version, "raw");
        client.send_publish("obs/a/b", 7, MESSAGE.as_bytes());
        client.expect_puback(7);
        assert_eq!(client.subscribe("ordinary/+", 1), 1);
        client.send_publish("ordinary/x", 0, b"hello");
        let frame = client.read_packet();
        assert!(
            matches!(frame.packet(), Packet::Publish(publish) if publish.payload == b"hello"),
            "{frame:?}"
        );
        client.expect_alive();
        // Packet type 0 does not exist.
        client.send(&[0x00, 0x00]);
        let last_words = client.expect_close();
        let disconnects =
            last_words.iter().filter(|frame| matches!(frame.packet(), Packet::Disconnect(_))).count();
        assert_eq!(disconnects, usize::from(version == ProtocolVersion::V5), "{last_words:?}");
    }
    assert_eq!(http_get(gateway.http, "/health").0, 200);
    gateway.kill9();
    let gateway = Gateway::start(&data_dir, &[]);
    let ledger = gateway.wait_until_flushed(4);
    assert_eq!(ledger["observations"]["duplicate"], 1, "{ledger}");
    gateway.terminate();
}

#[test]
fn a_gateway_that_cannot_start_says_why_and_is_not_taken_for_running() {
    let dir = new_data_dir();
    let data_dir = dir.path().join("data");
    let gateway = Gateway::start(&data_dir, &[]);
    let output = Gateway::try_start(&[], &data_dir, &[]).expect_err("the directory is locked");
    assert_eq!(output.code, Some(2), "{}", output.stderr);
    gateway.kill9();
}

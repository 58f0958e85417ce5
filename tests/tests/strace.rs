//! A1-10, promise P1: strace shows that no PUBACK leaves before the sync of its message has returned.
//! (That the check can fail is shown beside it, in `tests/src/strace.rs`.)

use std::fs;

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{Gateway, RawMqtt, check_ack_order, new_data_dir, parse_strace, wait_until};

/// Messages that wait for their PUBACK one by one, and messages sent in one go.
const ONE_BY_ONE: u16 = 20;
const TOGETHER: u16 = 40;

#[test]
fn a1_10_no_puback_leaves_before_its_sync_returned() {
    let directory = new_data_dir();
    let trace = directory.path().join("trace");
    let trace_text = trace.to_string_lossy();
    let calls = "trace=openat,pwrite64,pwritev,pwritev2,fdatasync,fsync,write,writev,sendto,sendmsg";
    let wrapper = ["strace", "-D", "-f", "-y", "-s", "16384", "-e", calls, "-o", &trace_text];
    // Every zero of a prepared segment is in the trace, so segments are small.
    let settings = ["--set", "journal.segment_bytes_max=4194304"];
    let gateway = Gateway::start_wrapped(&wrapper, &directory.path().join("data"), &settings);

    // Packet ids are different for all clients, so that an ack says whose it is.
    let mut messages: Vec<(Vec<u8>, u16)> = Vec::new();
    let mut message = |packet_id: u16| {
        let marker = format!("marker-{packet_id:05}-end");
        let payload = format!(r#"{{"readings":[{{"property":"state","value":"{marker}"}}]}}"#);
        messages.push((marker.into_bytes(), packet_id));
        payload.into_bytes()
    };
    let mut first = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "first");
    for packet_id in 1_000..1_000 + ONE_BY_ONE {
        first.send_publish("obs/H24.05/KHI001", packet_id, &message(packet_id));
        first.expect_puback(packet_id);
    }
    let mut second = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "second");
    for packet_id in 2_000..2_000 + TOGETHER {
        let payload = message(packet_id);
        let (client, topic) = if packet_id % 2 == 0 {
            (&mut first, "obs/H24.05/KHI001")
        } else {
            (&mut second, "obs/H24.05/KHI002")
        };
        client.send_publish(topic, packet_id, &payload);
    }
    for packet_id in 2_000..2_000 + TOGETHER {
        let client = if packet_id % 2 == 0 { &mut first } else { &mut second };
        client.expect_puback(packet_id);
    }
    gateway.terminate();
    let text = wait_until("strace to finish its file", || {
        let text = fs::read(&trace).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        text.trim_end().ends_with("+++").then_some(text)
    });

    let wanted: Vec<(&[u8], u16)> = messages.iter().map(|(marker, id)| (&marker[..], *id)).collect();
    let orders =
        check_ack_order(&parse_strace(&text), &wanted).unwrap_or_else(|sentence| panic!("{sentence}"));
    assert_eq!(orders.len(), usize::from(ONE_BY_ONE + TOGETHER));
    let mut syncs: Vec<usize> = orders.iter().map(|order| order.synced).collect();
    syncs.dedup();
    assert!(syncs.len() > usize::from(ONE_BY_ONE), "each message that was waited for has a sync of its own");
}

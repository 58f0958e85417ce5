//! A1-4: MQTT 3.1.1 and 5.0 as a client sees them, packet by packet, along the normative statements. A citation names the
//! version where the same number means different things. Sessions end with their connection here, so what needs a stored
//! session is absent; QoS 2 exists only inbound on 3.1.1; there are no shared subscriptions, aliases or AUTH.

mod breaches;
mod messages;

use std::thread;
use std::time::{Duration, Instant};

use codecs::mqtt::ProtocolVersion;
use e2e_tests::wire::{
    self, BOTH, Connect, Pair, V3, V5, ack, codes, connect, publish, shared, start, subscribe, subscribed,
    text, unsubscribe,
};
use e2e_tests::{RawMqtt, wait_until};

/// What must come before the end of the connection: nothing in 3.1.1, a DISCONNECT with this reason in 5.0.
pub(crate) fn assert_closed(client: RawMqtt, version: ProtocolVersion, what: &str, reasons: &[u8]) {
    let packets = client.expect_close();
    let bytes: Vec<&[u8]> = packets.iter().map(|frame| &*frame.bytes).collect();
    match version {
        V3 => assert!(bytes.is_empty(), "{what}: 3.1.1 has no packet for it, got {bytes:02x?}"),
        V5 => {
            assert_eq!(bytes.len(), 1, "{what}: one DISCONNECT, got {bytes:02x?}");
            let reason = wire::disconnect_reason(bytes[0]);
            assert!(reasons.contains(&reason), "{what}: a reason of {reasons:02x?}, got {bytes:02x?}");
        }
    }
}

#[test]
fn connack_says_what_there_is_and_sessions_are_never_present() {
    let own = shared();
    for (flags, what) in [(2, "3.1.1 3.2.2-1"), (0, "3.1.1 3.2.2-3"), (0, "the session of before has ended")]
    {
        let (client, connack) = Connect { flags, ..Connect::new(V3, "present") }.open(&own.gateway);
        assert_eq!(connack, [0x20, 2, 0, 0], "{what}");
        client.drop_connection();
    }
    for flags in [2, 0, 0] {
        // Session Expiry Interval 60, Receive Maximum 10.
        let asks = vec![0x11, 0, 0, 0, 60, 0x21, 0, 10];
        let (client, connack) =
            Connect { flags, properties: asks, ..Connect::new(V5, "present5") }.open(&own.gateway);
        assert_eq!(connack[2], 0, "5.0 3.2.2-1, 3.2.2-3: no session is kept");
        let given = &connack[5..];
        let has = |property: &[u8]| given.windows(property.len()).any(|window| window == property);
        assert!(has(&[0x24, 1]), "5.0 3.2.2-9: Maximum QoS 1 in {given:02x?}");
        assert!(has(&[0x2A, 0]), "Shared Subscription Available 0 in {given:02x?}");
        assert!(has(&[0x27, 0, 4, 0, 0]), "Maximum Packet Size 256 KiB in {given:02x?}");
        assert!(
            has(&[0x11, 0, 0, 0, 0]),
            "Session Expiry Interval 0, since 60 was asked for, in {given:02x?}"
        );
        assert!(!has(&[0x22]), "no Topic Alias Maximum");
        client.drop_connection();
    }
}

#[test]
fn an_empty_client_id_gets_one_that_serves() {
    let own = shared();
    // 3.1.1 3.1.3-6: both stay.
    let (mut one, _) = Connect::new(V3, "").open(&own.gateway);
    let (mut two, _) = Connect::new(V3, "").open(&own.gateway);
    one.expect_alive();
    two.expect_alive();
    // 5.0 3.1.3-6, 3.1.3-7, 3.2.2-16.
    let assigned = |connack: &[u8]| {
        let at = connack.windows(6).position(|window| window[0] == 0x12 && &window[3..6] == b"aut");
        let at = at.expect("property 0x12 with a made id") + 1;
        let len = usize::from(u16::from_be_bytes([connack[at], connack[at + 1]]));
        String::from_utf8(connack[at + 2..at + 2 + len].to_vec()).expect("an id is UTF-8")
    };
    let (first, connack) = Connect::new(V5, "").open(&own.gateway);
    let (mut second, other) = Connect::new(V5, "").open(&own.gateway);
    let id = assigned(&connack);
    assert_ne!(id, assigned(&other));
    let (mut again, _) = Connect::new(V5, id).open(&own.gateway);
    assert_closed(first, V5, "the assigned id acts as if the client had sent it", &[0x8E]);
    again.expect_alive();
    second.expect_alive();
    // 3.1.3-5, and every legal field at once (3.1.3-1).
    for id in ["a", "0123456789ABCDEFGHIJklm"] {
        for version in BOTH {
            let mut all = Connect::new(version, id).will("will/topic", b"payload", 1, true, &[]);
            all.flags |= 0xC0;
            all.rest.extend([text("user"), text(b"\0\xFFpassword")].concat());
            all.open(&own.gateway).0.send(&[0xE0, 0]);
        }
    }
    // 5.0 3.1.2-19: a password without user name is legal.
    Connect { flags: 0x42, rest: text("password"), ..Connect::new(V5, "only-password") }.open(&own.gateway);
}

#[test]
fn every_request_is_answered_under_its_identifier() {
    let own = shared();
    for version in BOTH {
        let mut client = connect(&own.gateway, version, "answers");
        client.send(&[0xC0, 0]);
        assert_eq!(client.read_packet().bytes, [0xD0, 0], "3.12.4-1");
        client.send(&publish(version, 2, "answers/a", 7, b"x"));
        assert_eq!(client.read_packet().bytes, [0x40, 2, 0, 7], "3.1.1 2.3.1-6, 5.0 2.2.1-5, 3.3.4-1");
        // 3.9.3-1: in order; QoS 2 is granted as 1 (5.0 3.2.2-10); no shared subscriptions.
        let filters = [("answers/2", 2), ("answers/0", 0), ("$share/g/answers", 1), ("answers/1", 1)];
        client.send(&subscribe(version, 0x1234, &filters));
        let refusal = if version == V5 { 0x9E } else { 0x80 };
        let answer = client.read_packet().bytes;
        assert_eq!(codes(&answer, version, 0x90, 0x1234), [1, 0, refusal, 1], "2.3.1-7, 3.8.4-1 to -5");
        // 3.10.4-4 to -6, 3.11.3-1.
        client.send(&unsubscribe(version, 300, &["answers/2", "never", "answers/1"]));
        let answer = client.read_packet().bytes;
        let expected: &[u8] = if version == V5 { &[0, 0x11, 0] } else { &[] };
        assert_eq!(codes(&answer, version, 0xB0, 300), expected);
        // What nobody waits for: an ack of nothing is no breach.
        client.send(&ack(0x40, 99));
        client.send(&ack(0x50, 98));
        let pubrel: &[u8] = if version == V5 { &[0x62, 3, 0, 98, 0x92] } else { &[0x62, 2, 0, 98] };
        assert_eq!(client.read_packet().bytes, pubrel, "3.6.1-1, 5.0 3.6.2-1");
        client.send(&ack(0x62, 97));
        let pubcomp: &[u8] = if version == V5 { &[0x70, 3, 0, 97, 0x92] } else { &[0x70, 2, 0, 97] };
        assert_eq!(client.read_packet().bytes, pubcomp, "5.0 3.7.2-1");
        client.expect_alive();
    }
}

/// 3.1.1 3.1.2-8 to -17; 5.0 3.1.2-7 to -15, 3.1.3-10, 3.14.4-3.
#[test]
fn wills_are_published_when_the_client_does_not_say_goodbye() {
    let own = shared();
    for version in BOTH {
        let mut pair = Pair::new(&own.gateway, version, "will");
        pair.subscribe("will/#", 1);
        let will = |topic: &str, qos, retain| {
            Connect::new(version, "will-client").will(topic, b"gone", qos, retain, &[])
        };
        let (cut, _) = will("will/cut", 1, false).open(&own.gateway);
        cut.drop_connection();
        let message = pair.take();
        assert_eq!((message.topic(), message.payload(), message.flags), ("will/cut", "gone", 2));
        // With DISCONNECT: none, and none later.
        let (mut polite, _) = will("will/polite", 1, false).open(&own.gateway);
        polite.send(&[0xE0, 0]);
        assert!(polite.expect_close().is_empty());
        let (none, _) = Connect::new(version, "will-client").open(&own.gateway);
        none.drop_connection();
        pair.expect_nothing_else();
        // Retained, QoS 0.
        let (cut, _) = will("will/kept", 0, true).open(&own.gateway);
        cut.drop_connection();
        assert_eq!(pair.take().flags, 0);
        pair.subscribe("will/kept", 0);
        assert_eq!((pair.take().flags), 1);
        pair.publish(1, "will/kept", "");
        pair.take();
        // A protocol error is no goodbye.
        let (mut bad, _) = will("will/bad", 1, false).open(&own.gateway);
        bad.send(&[0xC1, 0]);
        assert_eq!(pair.take().topic(), "will/bad");
        // Taken over: the older connection's will goes out.
        let (first, _) = will("will/first", 1, false).open(&own.gateway);
        let (mut second, _) = will("will/second", 1, false).open(&own.gateway);
        assert_eq!(pair.take().topic(), "will/first");
        assert_closed(first, version, "3.1.1 3.1.4-2, 5.0 3.1.4-3", &[0x8E]);
        second.expect_alive();
        second.send(&[0xE0, 0]);
        assert!(second.expect_close().is_empty());
        pair.expect_nothing_else();
    }
    let mut pair = Pair::new(&own.gateway, V5, "will5");
    pair.subscribe("will5/#", 1);
    // DISCONNECT 0x04 keeps the will; its properties and their order are kept, Will Delay ends with the session.
    let user = b"\x26\0\x01b\0\x011\x26\0\x01a\0\x012\x26\0\x01b\0\x013";
    let with_delay = [&[0x18, 0, 0, 0, 99][..], user].concat();
    let (mut client, _) =
        Connect::new(V5, "will5").will("will5/t", b"x", 1, false, &with_delay).open(&own.gateway);
    client.send(&[0xE0, 1, 4]);
    let message = pair.take();
    assert_eq!((message.topic(), &*message.properties), ("will5/t", &user[..]));
}

/// A peer that writes and closes at once: what it wrote is taken, and its end is seen although both came together.
#[test]
fn bytes_and_end_of_stream_together_are_both_seen() {
    let own = start(&[]);
    let mut pair = Pair::new(&own.gateway, V3, "end");
    pair.subscribe("end/#", 1);
    let (mut client, _) = Connect::new(V3, "end").will("end/will", b"gone", 1, false, &[]).open(&own.gateway);
    own.gateway.signal("STOP");
    client.send(&publish(V3, 2, "end/last", 3, b"last"));
    client.drop_connection();
    own.gateway.signal("CONT");
    assert_eq!([pair.take().topic().to_owned(), pair.take().topic().to_owned()], ["end/last", "end/will"]);
}

/// 3.1.1 3.1.2-24, 5.0 3.1.2-22: one and a half times Keep Alive, then closed as on a network failure.
#[test]
fn keep_alive_is_watched() {
    let own = shared();
    for version in BOTH {
        let mut pair = Pair::new(&own.gateway, version, "keepalive");
        pair.subscribe("keepalive/#", 1);
        let quiet = Connect { keep_alive_s: 1, ..Connect::new(version, "keepalive-quiet") }.will(
            "keepalive/will",
            b"silent",
            1,
            false,
            &[],
        );
        let (mut lively, _) =
            Connect { keep_alive_s: 1, ..Connect::new(version, "keepalive-lively") }.open(&own.gateway);
        let started = Instant::now();
        let (quiet, _) = quiet.open(&own.gateway);
        let pings = thread::spawn(move || {
            while started.elapsed() < Duration::from_secs(3) {
                lively.expect_alive();
                thread::sleep(Duration::from_millis(300));
            }
            lively.expect_alive();
        });
        assert_closed(quiet, version, "Keep Alive", &[0x8D]);
        assert!(
            started.elapsed() >= Duration::from_millis(1_500),
            "not before one and a half times Keep Alive"
        );
        assert_eq!(pair.take().payload(), "silent");
        pings.join().expect("a client that sends PINGREQ stays");
    }
    // Keep Alive 0 is none (5.0: no Server Keep Alive is announced by default).
    let (mut forever, connack) =
        Connect { keep_alive_s: 0, ..Connect::new(V5, "forever") }.open(&own.gateway);
    assert!(!connack[5..].windows(1).any(|window| window == [0x13]), "{connack:02x?}");
    forever.expect_alive();
    let own = start(&["mqtt.keep_alive_s_max=30"]);
    let (_client, connack) = Connect::new(V5, "bounded").open(&own.gateway);
    assert!(connack.windows(3).any(|window| window == [0x13, 0, 30]), "Server Keep Alive in {connack:02x?}");
}

/// 3.1.1 3.1.4-2, 5.0 3.1.4-3, 3.14.4-1: under traffic; the older one's subscriptions are gone with it.
#[test]
fn take_over_under_traffic() {
    let own = shared();
    for version in BOTH {
        let mut publisher = connect(&own.gateway, version, "takeover-publisher");
        let mut clients = vec![connect(&own.gateway, version, "takeover")];
        subscribed(&mut clients[0], version, &[("takeover/t", 1)]);
        for round in 0..20 {
            for id in 1..=20 {
                publisher.send(&publish(version, 2, "takeover/t", id, b"x"));
            }
            clients.push(connect(&own.gateway, version, "takeover"));
            let older = clients.swap_remove(0);
            let frames = older.expect_close();
            let (last, before) = match version {
                V5 => frames.split_last().map(|(last, before)| (Some(last), before)).expect("DISCONNECT"),
                V3 => (None, &frames[..]),
            };
            assert!(
                last.is_none_or(|last| wire::disconnect_reason(&last.bytes) == 0x8E),
                "round {round}: {last:02x?}"
            );
            assert!(before.iter().all(|frame| frame.bytes[0] == 0x32), "round {round}");
            for id in 1..=20 {
                publisher.expect_puback(id);
            }
            // The new session starts without subscriptions.
            clients[0].expect_alive();
            assert_eq!(subscribed(&mut clients[0], version, &[("takeover/t", 1)]), [1]);
        }
    }
}

#[test]
fn packets_byte_by_byte_and_many_in_one_write() {
    let own = shared();
    for version in BOTH {
        let all = [
            Connect::new(version, "bytes").bytes(),
            subscribe(version, 1, &[("bytes/t", 1)]),
            publish(version, 2, "bytes/t", 2, &[b'x'; 200]),
            vec![0xC0, 0],
        ]
        .concat();
        for size in [1, 3, all.len()] {
            let mut client = RawMqtt::open(own.gateway.mqtt, version);
            for part in all.chunks(size) {
                client.send(part);
            }
            assert_eq!(client.read_packet().bytes[0], 0x20, "3.2.0-1: CONNACK is first");
            // The PUBLISH may be routed before the SUBSCRIBE of the same write is: then B gets nothing.
            let mut firsts: Vec<u8> = (0..3).map(|_| client.read_packet().bytes[0]).collect();
            if firsts.contains(&0x32) {
                firsts.push(client.read_packet().bytes[0]);
                firsts.retain(|first| *first != 0x32);
            }
            firsts.sort_unstable();
            assert_eq!(firsts, [0x40, 0x90, 0xD0], "PUBACK, SUBACK, PINGRESP");
        }
    }
}

/// 4.7.3-3: a topic of 65,535 bytes is refused by a stated limit, without harm to others.
#[test]
fn the_longest_topic_is_refused_by_its_limit() {
    let own = shared();
    let topic = "t".repeat(65_535);
    let mut pair = Pair::new(&own.gateway, V5, "longest");
    pair.a.send(&publish(V5, 2, &topic, 5, b"x"));
    let refusal = pair.a.read_packet().bytes;
    assert_eq!((refusal[0], &refusal[2..5]), (0x40, &[0, 5, 0x90][..]), "Topic Name invalid: {refusal:02x?}");
    assert!(String::from_utf8_lossy(&refusal).contains("mqtt.topic_bytes_max"), "{refusal:02x?}");
    let mut old = connect(&own.gateway, V3, "longest-old");
    old.send(&publish(V3, 2, &topic, 5, b"x"));
    assert_closed(old, V3, "3.1.1 has no reason for a PUBACK", &[]);
    assert_eq!(subscribed(&mut pair.b, V5, &[(&topic, 0)]), [0x8F]);
    pair.subscribe("longest/t", 0);
    pair.publish(0, "longest/t", "others go on");
    assert_eq!(pair.take().payload(), "others go on");
}

/// A refusal waits its turn behind the PUBACKs that wait for the disk.
#[test]
fn refusals_keep_the_order_of_acks() {
    let own = shared();
    let mut client = connect(&own.gateway, V5, "ack-order");
    let mut all = Vec::new();
    for id in 1..=300 {
        let topic = if id % 3 == 0 { "feed/v1/x" } else { "ack-order/t" };
        all.extend(publish(V5, 2, topic, id, b"x"));
    }
    client.send(&all);
    for id in 1..=300_u16 {
        let answer = client.read_packet().bytes;
        let [high, low] = id.to_be_bytes();
        let expected = if id % 3 == 0 { vec![high, low, 0x87] } else { vec![high, low] };
        // A refusal ends in its sentence.
        assert_eq!((answer[0], &answer[2..2 + expected.len()]), (0x40, &expected[..]));
        assert_eq!(answer[1] == 2, id % 3 != 0, "{answer:02x?}");
    }
}

/// The gateway that stops says so (5.0 §3.14: Server shutting down), and what it took is acknowledged before.
#[test]
fn a_stopping_gateway_says_goodbye() {
    let own = start(&[]);
    let client = connect(&own.gateway, V5, "stop");
    let old = connect(&own.gateway, V3, "stop-old");
    wait_until("both connections to be counted", || {
        (own.gateway.metric("mqtt_connections") == 2).then_some(())
    });
    own.gateway.signal("TERM");
    assert_closed(client, V5, "stop", &[0x8B]);
    assert_closed(old, V3, "stop", &[]);
}

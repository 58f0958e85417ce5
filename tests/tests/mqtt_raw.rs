//! A1-4: MQTT 3.1.1 and 5.0 as a client sees them, packet by packet, along the normative statements. A citation names the
//! version where the same number means different things. Sessions end with their connection here, so what needs a stored
//! session is absent; QoS 2 exists only inbound on 3.1.1; there are no shared subscriptions, aliases or AUTH.

use std::thread;
use std::time::{Duration, Instant};

use codecs::mqtt::ProtocolVersion;
use e2e_tests::wire::{
    BOTH, Connect, Pair, V3, V5, ack, codes, connect, packet, properties, publish, publish_with, received,
    shared, start, subscribe, subscribe_with, subscribed, take, text, unsubscribe,
};
use e2e_tests::{RawMqtt, wait_until};

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

/// What must come before the end of the connection: nothing in 3.1.1, a DISCONNECT with this reason in 5.0.
fn assert_closed(client: RawMqtt, version: ProtocolVersion, what: &str, reasons: &[u8]) {
    let packets = client.expect_close();
    let bytes: Vec<&[u8]> = packets.iter().map(|frame| &*frame.bytes).collect();
    match version {
        V3 => assert!(bytes.is_empty(), "{what}: 3.1.1 has no packet for it, got {bytes:02x?}"),
        V5 => {
            assert_eq!(bytes.len(), 1, "{what}: one DISCONNECT, got {bytes:02x?}");
            assert_eq!(bytes[0][0], 0xE0, "{what}: a DISCONNECT, got {bytes:02x?}");
            assert!(reasons.contains(&bytes[0][2]), "{what}: a reason of {reasons:02x?}, got {bytes:02x?}");
        }
    }
}

/// Packets after CONNECT that close the connection: (statements, bytes by version, reasons of 5.0).
type Breach = (&'static str, fn(ProtocolVersion) -> Vec<u8>, &'static [u8]);

const BREACHES: &[Breach] = &[
    ("3.1.1 1.5.3-1, 5.0 1.5.4-1", |v| publish(v, 0, b"\xC3\x28", 0, b""), &[MALFORMED]),
    ("3.1.1 1.5.3-1, 5.0 1.5.4-1", |v| publish(v, 0, b"\xED\xA0\x80", 0, b""), &[MALFORMED]),
    ("3.1.1 1.5.3-2, 5.0 1.5.4-2", |v| publish(v, 0, "a\0b", 0, b""), &[MALFORMED]),
    ("3.1.1 1.5.3-2, 5.0 1.5.4-2", |v| subscribe(v, 1, &[("a\0b", 0)]), &[MALFORMED]),
    ("3.1.1 2.2.2-2, 5.0 2.1.3-1", |_| vec![0xC1, 0], &[MALFORMED]),
    ("3.1.1 2.2.2-2, 5.0 2.1.3-1", |_| vec![0x41, 2, 0, 1], &[MALFORMED]),
    ("3.1.1 2.3.1-1, 5.0 2.2.1-3", |v| subscribe(v, 0, &[("a", 0)]), &[MALFORMED, PROTOCOL_ERROR]),
    ("3.1.1 2.3.1-1, 5.0 2.2.1-3", |v| unsubscribe(v, 0, &["a"]), &[MALFORMED, PROTOCOL_ERROR]),
    ("3.1.1 2.3.1-1, 5.0 2.2.1-3", |v| publish(v, 2, "a", 0, b""), &[MALFORMED, PROTOCOL_ERROR]),
    ("3.1.0-2", |v| Connect::new(v, "again").bytes(), &[PROTOCOL_ERROR]),
    ("3.3.1-2", |v| publish(v, 8, "a", 0, b""), &[MALFORMED, PROTOCOL_ERROR]),
    ("3.3.1-4", |v| publish(v, 6, "a", 1, b""), &[MALFORMED]),
    ("3.3.2-1", |v| packet(0x30, &[&[0, 9], b"short", &properties(v, &[])]), &[MALFORMED]),
    ("3.3.2-2, 3.1.1 4.7.1-1, 5.0 4.7.0-1", |v| publish(v, 2, "a/+", 1, b""), &[0x90, MALFORMED]),
    ("3.3.2-2, 3.1.1 4.7.1-1, 5.0 4.7.0-1", |v| publish(v, 2, "a/#", 1, b""), &[0x90, MALFORMED]),
    ("3.1.1 4.7.3-1, 5.0 4.7.3-1", |v| publish(v, 0, "", 0, b"x"), &[PROTOCOL_ERROR]),
    ("3.6.1-1", |_| vec![0x60, 2, 0, 1], &[MALFORMED]),
    ("3.8.1-1", |v| [&[0x80][..], &subscribe(v, 1, &[("a", 0)])[1..]].concat(), &[MALFORMED]),
    ("3.8.3-1", |v| packet(0x82, &[&[0, 1], &properties(v, &[]), &text(b"\xC3\x28"), &[0]]), &[MALFORMED]),
    ("3.1.1 3.8.3-3, 5.0 3.8.3-2", |v| subscribe(v, 1, &[]), &[PROTOCOL_ERROR]),
    ("3.1.1 3.8.3-4, 5.0 §3.8.3.1", |v| subscribe(v, 1, &[("a", 3)]), &[PROTOCOL_ERROR, MALFORMED]),
    ("3.1.1 3.8.3-4, 5.0 3.8.3-5", |v| subscribe(v, 1, &[("a", 0xC0)]), &[MALFORMED]),
    ("3.1.1 4.7.1-2, 5.0 4.7.1-1", |v| subscribe(v, 1, &[("a#", 0)]), &[0x8F, MALFORMED]),
    ("3.1.1 4.7.1-2, 5.0 4.7.1-1", |v| subscribe(v, 1, &[("a/#/b", 0)]), &[0x8F, MALFORMED]),
    ("3.1.1 4.7.1-3, 5.0 4.7.1-2", |v| subscribe(v, 1, &[("a+", 0)]), &[0x8F, MALFORMED]),
    ("3.1.1 4.7.1-3, 5.0 4.7.1-2", |v| subscribe(v, 1, &[("a/b+/c", 0)]), &[0x8F, MALFORMED]),
    ("4.7.3-1", |v| subscribe(v, 1, &[("", 0)]), &[0x8F, MALFORMED, PROTOCOL_ERROR]),
    ("3.10.1-1", |v| [&[0xA0][..], &unsubscribe(v, 1, &["a"])[1..]].concat(), &[MALFORMED]),
    ("3.10.3-1", |v| packet(0xA2, &[&[0, 1], &properties(v, &[]), &text(b"\xC3\x28")]), &[MALFORMED]),
    ("3.10.3-2", |v| unsubscribe(v, 1, &[]), &[PROTOCOL_ERROR]),
    ("3.14.1-1", |_| vec![0xE1, 0], &[MALFORMED]),
    ("3.1.1 4.8.0-1, 5.0 4.13.1-1: type 0", |_| vec![0, 0], &[MALFORMED]),
    ("3.1.1 4.8.0-1: type 15; 5.0 4.12.0-7: AUTH", |_| vec![0xF0, 0], &[PROTOCOL_ERROR]),
    (
        "3.1.1 4.8.0-1, 5.0 4.13.1-1: SUBACK",
        |v| packet(0x90, &[&[0, 1], &properties(v, &[]), &[0]]),
        &[PROTOCOL_ERROR],
    ),
    (
        "3.1.1 4.8.0-1, 5.0 4.13.1-1: CONNACK",
        |v| packet(0x20, &[&[0, 0], &properties(v, &[])]),
        &[PROTOCOL_ERROR],
    ),
    ("3.1.1 4.8.0-1, 5.0 4.13.1-1: PINGRESP", |_| vec![0xD0, 0], &[PROTOCOL_ERROR]),
    (
        "3.1.1 §2.2.3, 5.0 §1.5.5: a length of five bytes",
        |_| vec![0xC0, 0x80, 0x80, 0x80, 0x80, 1],
        &[MALFORMED],
    ),
    ("PINGREQ with a body", |_| vec![0xC0, 1, 0], &[MALFORMED]),
    ("PUBACK cut short", |_| vec![0x40, 1, 0], &[MALFORMED]),
    ("a packet larger than mqtt.packet_bytes_max", |v| publish(v, 0, "a", 0, &vec![0; 300 << 10]), &[0x95]),
];

/// Breaches that exist in 5.0 only.
const BREACHES_V5: &[Breach] = &[
    ("3.2.2-11", |v| publish(v, 4, "a", 1, b""), &[0x9B]),
    ("3.2.2-18", |v| publish_with(v, 0, "a", 0, &[0x23, 0, 1], b""), &[0x94]),
    ("3.3.2-8", |v| publish_with(v, 0, "a", 0, &[0x23, 0, 0], b""), &[0x94]),
    ("3.3.2-7", |v| publish_with(v, 0, "", 0, &[0x23, 0, 1], b""), &[PROTOCOL_ERROR, 0x94]),
    ("3.3.4-6", |v| publish_with(v, 0, "a", 0, &[0x0B, 1], b""), &[PROTOCOL_ERROR]),
    (
        "2.2.2.2: a property of CONNECT",
        |v| publish_with(v, 0, "a", 0, &[0x21, 0, 1], b""),
        &[MALFORMED, PROTOCOL_ERROR],
    ),
    ("2.2.2.2: no such property", |v| publish_with(v, 0, "a", 0, &[0x7F, 1], b""), &[MALFORMED]),
    ("2.2.2.2: twice", |v| publish_with(v, 0, "a", 0, &[1, 1, 1, 1], b""), &[PROTOCOL_ERROR]),
    ("2.2.2-1: no Property Length", |_| packet(0x82, &[&[0, 1]]), &[MALFORMED]),
    ("1.5.7-1", |v| publish_with(v, 0, "a", 0, b"\x26\0\x02\xC3\x28\0\x01v", b""), &[MALFORMED]),
    ("3.3.2-13", |v| publish_with(v, 0, "a", 0, b"\x08\0\x02\xC3\x28", b""), &[MALFORMED]),
    ("3.3.2-14", |v| publish_with(v, 0, "a", 0, b"\x08\0\x03a/+", b""), &[PROTOCOL_ERROR, MALFORMED, 0x90]),
    ("3.3.2-19", |v| publish_with(v, 0, "a", 0, b"\x03\0\x02\xC3\x28", b""), &[MALFORMED]),
    ("3.8.3-4", |v| subscribe(v, 1, &[("$share/g/t", 4)]), &[PROTOCOL_ERROR]),
    ("§3.8.2.1.2: 0", |v| subscribe_with(v, 1, &[0x0B, 0], &[("a", 0)]), &[PROTOCOL_ERROR]),
    ("§3.8.2.1.2: twice", |v| subscribe_with(v, 1, &[0x0B, 1, 0x0B, 2], &[("a", 0)]), &[PROTOCOL_ERROR]),
    ("§3.8.3.1: Retain Handling 3", |v| subscribe(v, 1, &[("a", 0x30)]), &[PROTOCOL_ERROR, MALFORMED]),
    ("§3.14.2.2.2", |_| packet(0xE0, &[&[0, 5, 0x11, 0, 0, 0, 9]]), &[PROTOCOL_ERROR]),
    (
        "§3.14.2.2: a property twice",
        |_| packet(0xE0, &[&[0, 8, 0x1F, 0, 1, b'a', 0x1F, 0, 1, b'b']]),
        &[PROTOCOL_ERROR],
    ),
];

#[test]
fn breaches_close_the_connection_with_their_reason() {
    let own = shared();
    let cases = BREACHES.iter().flat_map(|breach| BOTH.map(|version| (breach, version)));
    for ((what, bytes, reasons), version) in cases.chain(BREACHES_V5.iter().map(|breach| (breach, V5))) {
        let mut client = connect(&own.gateway, version, "breach");
        // Where the packet is large, it may be closed before all of it is written.
        let _ = client.try_send(&bytes(version));
        assert_closed(client, version, what, reasons);
    }
    let (status, metrics) = own.gateway.http_get("/metrics");
    assert_eq!(status, 200);
    let counted = metric(&metrics, "sensor_gateway_mqtt_protocol_errors_total");
    assert!(counted >= (2 * BREACHES.len() + BREACHES_V5.len()) as u64, "{counted}");
}

fn metric(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{metrics}")).trim().parse().expect("a counter is a number")
}

/// CONNECT packets that are refused: (statements, bytes, the return code of 3.1.1 or 0 for silence).
type Refused = (&'static str, fn(ProtocolVersion) -> Vec<u8>, u8);

fn with_flags(version: ProtocolVersion, flags: u8, rest: &[u8]) -> Vec<u8> {
    Connect { flags, rest: rest.to_vec(), ..Connect::new(version, "refused") }.bytes()
}

fn level(version: ProtocolVersion) -> u8 {
    if version == V5 { 5 } else { 4 }
}

const REFUSED: &[Refused] = &[
    ("3.1.0-1", |_| vec![0xC0, 0], 0),
    ("3.1.0-1", |v| publish(v, 0, "a", 0, b""), 0),
    ("3.1.2-1", |v| packet(0x10, &[&text("MQTX"), &[level(v), 2, 0, 9], &properties(v, &[]), &text("c")]), 1),
    ("3.1.2-2", |_| packet(0x10, &[&text("MQTT"), &[6, 2, 0, 9], &text("c")]), 1),
    ("3.1.2-3", |v| with_flags(v, 3, &[]), 0),
    ("3.1.2-9", |v| with_flags(v, 6, &[]), 0),
    ("3.1.2-11, 3.1.1 3.1.2-13", |v| with_flags(v, 0x0A, &[]), 0),
    ("3.1.1 3.1.2-14, 5.0 3.1.2-12", |v| Connect::new(v, "c").will("w", b"", 3, false, &[]).bytes(), 0),
    ("3.1.1 3.1.2-15, 5.0 3.1.2-13", |v| with_flags(v, 0x22, &[]), 0),
    ("3.1.1 3.1.2-18, 5.0 3.1.2-16", |v| with_flags(v, 2, &text("extra")), 0),
    ("3.1.1 3.1.2-19, 5.0 3.1.2-17", |v| with_flags(v, 0x82, &[]), 0),
    ("3.1.1 3.1.2-20, 5.0 3.1.2-18", |v| with_flags(v, 0x82, &[text("user"), text("extra")].concat()), 0),
    ("3.1.1 3.1.2-21, 5.0 3.1.2-19", |v| with_flags(v, 0xC2, &text("user")), 0),
    ("3.1.3-3", |v| packet(0x10, &[&text("MQTT"), &[level(v), 2, 0, 9], &properties(v, &[])]), 0),
    (
        "3.1.3-4",
        |v| packet(0x10, &[&text("MQTT"), &[level(v), 2, 0, 9], &properties(v, &[]), &text(b"\xC3\x28")]),
        0,
    ),
    ("3.1.1 3.1.3-9, 5.0 3.1.3-8", |v| Connect::new(v, "c".repeat(300)).bytes(), 2),
    (
        "3.1.1 3.1.3-10, 5.0 3.1.3-11",
        |v| with_flags(v, 6, &[properties(v, &[]), text(b"\xC3\x28"), text("")].concat()),
        0,
    ),
    ("3.1.1 3.1.3-11, 5.0 3.1.3-12", |v| with_flags(v, 0x82, &text(b"\xC3\x28")), 0),
    ("2.2.2-2: flags of CONNECT", |v| [&[0x11][..], &Connect::new(v, "c").bytes()[1..]].concat(), 0),
    ("a length of five bytes", |_| vec![0x10, 0x80, 0x80, 0x80, 0x80, 1], 0),
];

#[test]
fn a_bad_connect_is_refused_and_nothing_behind_it_is_handled() {
    let own = shared();
    let mut b = connect(&own.gateway, V3, "refused-watch");
    assert_eq!(subscribed(&mut b, V3, &[("refused/#", 0)]), [0]);
    let mut cases: Vec<(&str, ProtocolVersion, Vec<u8>, u8)> = REFUSED
        .iter()
        .flat_map(|(what, bytes, code)| BOTH.map(|version| (*what, version, bytes(version), *code)))
        .collect();
    let without_clean_session = Connect { flags: 0, ..Connect::new(V3, "") };
    cases.push(("3.1.1 3.1.3-8", V3, without_clean_session.bytes(), 2));
    cases.push(("3.1.1 3.1.2-22", V3, with_flags(V3, 0x42, &text("password")), 0));
    let v5 = |properties: &[u8]| Connect { properties: properties.to_vec(), ..Connect::new(V5, "c") }.bytes();
    for (what, properties) in [
        ("5.0 4.12.0-1: method", &b"\x15\0\x01m"[..]),
        ("5.0 §3.1.2.11.10: data without method", b"\x16\0\x01d"),
        ("5.0 §3.1.2.11.3: Receive Maximum 0", &[0x21, 0, 0]),
        ("5.0 §3.1.2.11.4: Maximum Packet Size 0", &[0x27, 0, 0, 0, 0]),
        ("5.0 §3.1.2.11.6: Request Response Information 2", &[0x19, 2]),
        ("5.0 3.1.4-1: a property twice", &[0x21, 0, 1, 0x21, 0, 1]),
        ("5.0 3.1.2-24: no room for CONNACK", &[0x27, 0, 0, 0, 5]),
    ] {
        cases.push((what, V5, v5(properties), 0));
    }
    cases.push(("5.0 3.2.2-12", V5, Connect::new(V5, "c").will("w", b"", 2, false, &[]).bytes(), 0));
    for (what, version, bytes, code) in cases {
        let mut client = RawMqtt::open(own.gateway.mqtt, version);
        // 3.1.1 3.1.4-5, 5.0 3.1.4-6: the retained PUBLISH behind it never appears.
        let behind = publish(version, 1, "refused/topic", 0, b"behind");
        let _ = client.try_send(&[bytes, behind].concat());
        let answer: Vec<Vec<u8>> = client.expect_close().into_iter().map(|frame| frame.bytes).collect();
        match (version, code) {
            (V3, 0) => {
                assert!(answer.is_empty(), "{what}: 3.1.1 closes in silence [3.1.4-1], got {answer:02x?}")
            }
            (V3, _) => assert_eq!(answer, [[0x20, 2, 0, code]], "{what}"),
            (V5, _) => {
                // 3.14.0-1: a CONNACK of 0x80 or above (3.2.2-6: Session Present 0) or nothing, never DISCONNECT. A version that
                // is not known is refused in the form of 3.1.1.
                let refused = |connack: &Vec<u8>| {
                    connack[0] == 0x20 && connack[2] == 0 && (connack[3] >= 0x80 || code == 1)
                };
                assert!(answer.len() <= 1 && answer.iter().all(refused), "{what}: got {answer:02x?}");
            }
        }
    }
    let mut a = connect(&own.gateway, V3, "refused-marker");
    a.send(&publish(V3, 0, "refused/marker", 0, b""));
    assert_eq!(take(&mut b, V3).topic(), "refused/marker");
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

/// 3.1.1 4.3.3-2: repeats are not delivered twice; after PUBCOMP the identifier is free.
#[test]
fn inbound_qos_2_of_3_1_1_is_exactly_once() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V3, "qos2");
    assert_eq!(pair.subscribe("qos2/#", 2), 1);
    for round in ["first", "second"] {
        pair.a.send(&publish(V3, 4, "qos2/t", 5, round.as_bytes()));
        assert_eq!(pair.a.read_packet().bytes, [0x50, 2, 0, 5]);
        pair.a.send(&publish(V3, 0xC, "qos2/t", 5, round.as_bytes()));
        assert_eq!(pair.a.read_packet().bytes, [0x50, 2, 0, 5]);
        pair.a.send(&ack(0x62, 5));
        assert_eq!(pair.a.read_packet().bytes, [0x70, 2, 0, 5]);
        let message = pair.take();
        assert_eq!((message.payload(), message.flags), (round, 2), "granted QoS 1, DUP 0");
        pair.expect_nothing_else();
    }
}

/// 3.1.1 4.3.2-2, 3.3.1-3; 5.0 4.3.2-5: after PUBACK the same identifier is a new message, whatever DUP says.
#[test]
fn qos_1_duplicates_are_new_messages_and_dup_is_not_passed_on() {
    let own = shared();
    for version in BOTH {
        let mut pair = Pair::new(&own.gateway, version, "dup");
        pair.subscribe("dup/t", 1);
        pair.publish(0, "dup/t", "same");
        pair.publish(8, "dup/t", "same");
        assert_eq!([pair.take().flags, pair.take().flags], [2, 2]);
        pair.expect_nothing_else();
    }
}

/// 3.1.1 3.8.4-6, 5.0 3.8.4-8: the lower of published and granted; 4.3.1-1, 4.3.2-1.
#[test]
fn delivery_qos_is_the_lower_one() {
    let own = shared();
    for version in BOTH {
        let mut pair = Pair::new(&own.gateway, version, "lower");
        for granted in 0..=2 {
            pair.subscribe("lower/t", granted);
            pair.a.send(&publish(version, 0, "lower/t", 0, b"q0"));
            pair.publish(0, "lower/t", "q1");
            let mut expected = vec![("q0".to_owned(), 0), ("q1".to_owned(), granted.min(1))];
            if version == V3 {
                pair.a.send(&publish(version, 4, "lower/t", 3, b"q2"));
                assert_eq!(pair.a.read_packet().bytes, [0x50, 2, 0, 3]);
                pair.a.send(&ack(0x62, 3));
                assert_eq!(pair.a.read_packet().bytes, [0x70, 2, 0, 3]);
                expected.push(("q2".to_owned(), granted.min(1)));
            }
            for expected in expected {
                let message = pair.take();
                assert_eq!(
                    (message.payload().to_owned(), message.flags >> 1),
                    expected,
                    "DUP 0, granted {granted}"
                );
            }
            pair.expect_nothing_else();
        }
    }
}

#[test]
fn filters_match_as_the_standard_has_it() {
    let own = shared();
    for version in BOTH {
        let mut pair = Pair::new(&own.gateway, version, "match");
        for (filter, matching, other) in [
            ("match/a/+", &["match/a/1", "match/a/"][..], &["match/a", "match/a/1/2", "match/b/1"][..]),
            ("match/b/#", &["match/b", "match/b/", "match/b/1/2"], &["match/bb"]),
            ("match/+/c", &["match//c", "match/x/c"], &["match/c"]),
            // 3.1.1 1.5.3-3, 5.0 1.5.4-3, 4.7.3-4
            ("match/\u{FEFF}a", &["match/\u{FEFF}a"], &["match/a"]),
            ("match/\u{E9}", &["match/\u{E9}"], &["match/e\u{301}", "match/\u{C9}", "/match/\u{E9}"]),
        ] {
            pair.subscribe(filter, 0);
            for topic in other.iter().chain(matching) {
                pair.publish(0, topic, filter);
            }
            for topic in matching {
                assert_eq!(pair.take().topic(), *topic, "3.3.2-3 for {filter}");
            }
            pair.expect_nothing_else();
            pair.b.send(&unsubscribe(version, 5, &[filter]));
            assert_eq!(pair.b.read_packet().bytes[0], 0xB0);
        }
        // 4.7.2-1
        pair.subscribe("$match/#", 0);
        pair.publish(0, "$match/x", "named");
        assert_eq!(pair.take().topic(), "$match/x");
        pair.b.send(&unsubscribe(version, 6, &["$match/#"]));
        assert_eq!(pair.b.read_packet().bytes[0], 0xB0);
        pair.subscribe("+/x", 0);
        pair.publish(0, "$match/x", "by wildcard");
        pair.expect_nothing_else();
    }
}

#[test]
fn wildcard_subscribers_do_not_see_dollar_topics() {
    // A gateway of its own: `#` sees what all others publish.
    let own = start(&[]);
    let mut pair = Pair::new(&own.gateway, V3, "dollar");
    pair.subscribe("#", 0);
    pair.publish(0, "$t/x", "hidden");
    pair.publish(0, "t/x", "seen");
    assert_eq!(pair.take().payload(), "seen");
    pair.expect_nothing_else();
}

/// 3.10.4-1 to -3: character by character; nothing new afterwards.
#[test]
fn unsubscribe_ends_exactly_that_subscription() {
    let own = shared();
    for version in BOTH {
        let mut pair = Pair::new(&own.gateway, version, "unsubscribe");
        pair.subscribe("unsubscribe/a/#", 1);
        pair.b.send(&unsubscribe(version, 2, &["unsubscribe/a/b", "unsubscribe/A/#"]));
        let answer = pair.b.read_packet().bytes;
        let expected: &[u8] = if version == V5 { &[0x11, 0x11] } else { &[] };
        assert_eq!(codes(&answer, version, 0xB0, 2), expected);
        pair.publish(0, "unsubscribe/a/b", "1");
        let open = received(&mut pair.b, version);
        pair.b.send(&unsubscribe(version, 3, &["unsubscribe/a/#"]));
        let expected: &[u8] = if version == V5 { &[0] } else { &[] };
        assert_eq!(codes(&pair.b.read_packet().bytes, version, 0xB0, 3), expected);
        pair.b.send(&ack(0x40, open.id));
        pair.publish(0, "unsubscribe/a/b", "2");
        pair.expect_nothing_else();
    }
}

/// 3.1.1 3.3.1-5 to -12, 3.8.4-3; 5.0 3.3.1-5 to -9, 3.8.4-4.
#[test]
fn retained_messages_are_kept_replaced_and_removed() {
    let own = shared();
    for version in BOTH {
        let base = format!("retained/{}", level(version));
        let mut pair = Pair::new(&own.gateway, version, "retained");
        let filter = format!("{base}/#");
        let topics: Vec<String> = ["t1", "t2", "t3"].iter().map(|topic| format!("{base}/{topic}")).collect();
        pair.publish(1, &topics[0], "old");
        pair.publish(1, &topics[0], "new");
        pair.a.send(&publish(version, 1, &topics[1], 0, b"at most once"));
        pair.publish(0, &topics[0], "not retained");
        pair.publish(1, &topics[2], "");
        for _ in 0..2 {
            // Again at the second SUBSCRIBE of the same filter.
            pair.subscribe(&filter, 1);
            let mut got: Vec<(String, String, u8)> = (0..2)
                .map(|_| pair.take())
                .map(|m| (m.topic().into(), m.payload().into(), m.flags))
                .collect();
            got.sort();
            let expected =
                [(topics[0].clone(), "new".into(), 3), (topics[1].clone(), "at most once".into(), 1)];
            assert_eq!(got, expected);
            pair.expect_nothing_else();
        }
        // Live: RETAIN 0 for an established subscription; the empty one is delivered and removes.
        pair.publish(1, &topics[1], "live");
        let message = pair.take();
        assert_eq!((message.payload(), message.flags), ("live", 2), "3.1.1 3.3.1-9, 5.0 3.3.1-12");
        pair.publish(1, &topics[1], "");
        let message = pair.take();
        assert_eq!((message.payload(), message.flags), ("", 2), "3.1.1 3.3.1-10, 5.0 3.3.1-6");
        pair.subscribe(&topics[1], 1);
        pair.expect_nothing_else();
        pair.b.send(&unsubscribe(version, 4, &[&filter, &topics[1]]));
        assert_eq!(pair.b.read_packet().bytes[0], 0xB0);
        // 3.1.1 3.1.2-7: not part of a session.
        let (old, _) = Connect::new(version, "retained-other").open(&own.gateway);
        old.drop_connection();
        pair.subscribe(&topics[0], 0);
        let message = pair.take();
        assert_eq!((message.payload(), message.flags), ("new", 1), "QoS is the granted one");
    }
}

/// 5.0 3.3.1-9 to -13.
#[test]
fn retain_handling_and_retain_as_published() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V5, "handling");
    pair.publish(1, "handling/t", "kept");
    for (options, first, second) in [(0x00, true, true), (0x10, true, false), (0x20, false, false)] {
        for expected in [first, second] {
            pair.subscribe("handling/t", options);
            if expected {
                assert_eq!(pair.take().payload(), "kept", "options {options:02x}");
            }
            pair.expect_nothing_else();
        }
        pair.b.send(&unsubscribe(V5, 4, &["handling/t"]));
        assert_eq!(pair.b.read_packet().bytes[0], 0xB0);
    }
    pair.subscribe("handling/live", 0x08 | 1);
    pair.publish(1, "handling/live", "1");
    pair.publish(0, "handling/live", "0");
    assert_eq!([pair.take().flags, pair.take().flags], [3, 2]);
}

/// 5.0 3.8.3-3.
#[test]
fn no_local_keeps_a_client_from_its_own_messages() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V5, "local");
    pair.subscribe("local/t", 4);
    pair.b.send(&publish(V5, 2, "local/t", 3, b"mine"));
    pair.b.expect_puback(3);
    pair.publish(0, "local/t", "theirs");
    assert_eq!(pair.take().payload(), "theirs");
    pair.expect_nothing_else();
}

/// 3.1.1 3.3.5-1; 5.0 3.3.4-2 to -5: one copy, the highest QoS, all identifiers. 3.8.4-3: the same filter replaces.
#[test]
fn overlapping_subscriptions() {
    let own = shared();
    for version in BOTH {
        let mut pair = Pair::new(&own.gateway, version, "overlap");
        for (filter, qos, identifier) in [("overlap/#", 0, 1), ("overlap/b", 2, 300), ("overlap/+", 0, 0)] {
            let property: &[u8] = match identifier {
                1 => &[0x0B, 1],
                300 => &[0x0B, 0xAC, 2],
                _ => &[],
            };
            let property = if version == V5 { property } else { &[] };
            pair.b.send(&subscribe_with(version, 8, property, &[(filter, qos)]));
            assert_eq!(codes(&pair.b.read_packet().bytes, version, 0x90, 8), [qos.min(1)]);
        }
        pair.publish(0, "overlap/b", "x");
        let message = pair.take();
        assert_eq!(message.qos(), 1);
        if version == V5 {
            let (one, two) = ([0x0B, 1, 0x0B, 0xAC, 2], [0x0B, 0xAC, 2, 0x0B, 1]);
            assert!(message.properties == one || message.properties == two, "{message:02x?}");
        }
        pair.expect_nothing_else();
        pair.subscribe("overlap/b", 0);
        pair.publish(0, "overlap/b", "y");
        assert_eq!(pair.take().qos(), 0, "the subscription was replaced");
        pair.expect_nothing_else();
    }
}

/// 5.0 3.3.2-4, -6, -15 to -18, -20: what goes with a message reaches the subscriber, live and retained.
#[test]
fn properties_are_passed_on() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V5, "properties");
    let passed = [
        &[1, 1][..],
        b"\x03\0\x04text",
        b"\x08\0\x05reply",
        b"\x09\0\x03\x00\xFF\x10",
        b"\x26\0\x01b\0\x011\x26\0\x01a\0\x012\x26\0\x01b\0\x013\x26\0\0\0\0",
    ]
    .concat();
    let expiry = [2, 0, 0, 0, 60];
    let sent = [&expiry[..], &passed].concat();
    pair.subscribe("properties/#", 1);
    pair.a.send(&publish_with(V5, 3, "properties/t", 2, &sent, b"x"));
    pair.a.expect_puback(2);
    assert_eq!(pair.take().properties, sent, "live, at once: the whole interval is left");
    pair.subscribe("properties/#", 1);
    let retained = pair.take().properties;
    assert_eq!((retained[0], &retained[5..]), (2, &passed[..]));
    let left_s = u32::from_be_bytes(retained[1..5].try_into().expect("four bytes"));
    assert!((1..=60).contains(&left_s), "{left_s}");
    // The same message for a 3.1.1 subscriber: no properties.
    let mut old = connect(&own.gateway, V3, "properties-old");
    old.send(&subscribe(V3, 2, &[("properties/t", 0)]));
    assert_eq!(old.read_packet().bytes[0], 0x90);
    assert_eq!(take(&mut old, V3).payload(), "x");
}

/// 5.0 3.3.2-5: a retained message, and one that waits for the window, are deleted when they expire; 3.3.2-6 else.
#[test]
fn messages_expire() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V5, "expire");
    let connect = Connect { properties: vec![0x21, 0, 1], ..Connect::new(V5, "expire-window") };
    let (mut narrow, _) = connect.open(&own.gateway);
    assert_eq!(subscribed(&mut narrow, V5, &[("expire/#", 1)]), [1]);
    pair.publish(0, "expire/open", "fills the window");
    let open = received(&mut narrow, V5);
    for (topic, expiry_s) in [("expire/soon", 1), ("expire/late", 100)] {
        pair.a.send(&publish_with(V5, 3, topic, 2, &[2, 0, 0, 0, expiry_s], b"x"));
        pair.a.expect_puback(2);
    }
    // The standard's own second, and one more for the machine.
    thread::sleep(Duration::from_millis(2_000));
    narrow.send(&ack(0x40, open.id));
    let message = take(&mut narrow, V5);
    assert_eq!(message.topic(), "expire/late");
    let left_s = u32::from_be_bytes(message.properties[1..5].try_into().expect("four bytes"));
    assert!((1..=98).contains(&left_s), "{left_s}");
    pair.subscribe("expire/+", 1);
    assert_eq!(pair.take().topic(), "expire/late");
    pair.expect_nothing_else();
}

/// 5.0 3.3.4-9, 3.3.4-10, 4.9.0-1 to -3, 2.2.1-4; 3.1.1 2.3.1-4: the window of the subscriber is kept, all else goes on.
#[test]
fn a_subscribers_receive_maximum_is_kept() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V5, "window");
    let (mut b, _) =
        Connect { properties: vec![0x21, 0, 2], ..Connect::new(V5, "window-two") }.open(&own.gateway);
    assert_eq!(subscribed(&mut b, V5, &[("window/t", 1)]), [1]);
    for i in 0..10 {
        pair.publish(0, "window/t", &i.to_string());
    }
    let mut open = vec![received(&mut b, V5), received(&mut b, V5)];
    b.expect_alive();
    assert_eq!(subscribed(&mut b, V5, &[("window/other", 0)]), [0]);
    pair.publish(0, "window/other", "at most once");
    assert_eq!(take(&mut b, V5).payload(), "at most once");
    for i in 2..10 {
        let done = open.remove(0);
        // PUBACK 0x80 is an ack as well.
        b.send(&packet(0x40, &[&done.id.to_be_bytes(), &[0x80]]));
        let next = received(&mut b, V5);
        assert_eq!(next.payload(), i.to_string());
        assert_ne!(next.id, open[0].id);
        open.push(next);
        b.expect_alive();
    }
}

/// 5.0 3.1.2-24, 3.1.2-25: too large = discarded, and it counts as sent.
#[test]
fn a_subscribers_maximum_packet_size_is_kept() {
    let own = shared();
    let mut pair = Pair::new(&own.gateway, V5, "size");
    let properties = vec![0x21, 0, 1, 0x27, 0, 0, 0, 100];
    let (mut b, _) = Connect { properties, ..Connect::new(V5, "size-small") }.open(&own.gateway);
    assert_eq!(subscribed(&mut b, V5, &[("size/t", 1)]), [1]);
    pair.publish(0, "size/t", &"x".repeat(200));
    pair.publish(0, "size/t", "fits");
    assert_eq!(take(&mut b, V5).payload(), "fits");
    b.expect_alive();
}

/// 5.0 3.3.4-7: more than Receive Maximum without PUBACK.
#[test]
fn the_gateways_receive_maximum_is_enforced() {
    let own = start(&["mqtt.receive_max=2"]);
    let (mut client, connack) = Connect::new(V5, "many").open(&own.gateway);
    assert!(connack.windows(3).any(|window| window == [0x21, 0, 2]), "announced: {connack:02x?}");
    let flood: Vec<u8> = (1..=200).flat_map(|id| publish(V5, 2, "many/t", id, b"x")).collect();
    let _ = client.try_send(&flood);
    let frames = client.expect_close();
    assert_eq!(frames.last().map(|frame| frame.bytes.clone()), Some(vec![0xE0, 1, 0x93]), "{frames:02x?}");
    // 3.1.1 has no such limit at QoS 1, and QoS 2 is bounded by the same number.
    let mut old = connect(&own.gateway, V3, "many-old");
    old.send(&(1..=200).flat_map(|id| publish(V3, 2, "many/t", id, b"x")).collect::<Vec<_>>());
    for id in 1..=200 {
        old.expect_puback(id);
    }
    let _ = old.try_send(&(1..=3).flat_map(|id| publish(V3, 4, "many/t", id, b"x")).collect::<Vec<_>>());
    assert!(old.expect_close().iter().all(|frame| frame.bytes[0] == 0x50), "PUBRECs at most");
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
            assert!(last.is_none_or(|last| last.bytes == [0xE0, 1, 0x8E]), "round {round}: {last:02x?}");
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

/// 3.1.1 4.6.0-6, 5.0 4.6.0-5: in order, at each QoS; also to a subscriber that acknowledges.
#[test]
fn messages_keep_their_order() {
    let own = shared();
    for (version, qos) in [(V3, 0), (V3, 1), (V5, 0), (V5, 1)] {
        let mut pair = Pair::new(&own.gateway, version, "order");
        pair.subscribe("order/+", qos);
        let mut all = Vec::new();
        for i in 1..=1000_u16 {
            all.extend(publish(version, qos << 1, format!("order/{}", i % 7), i, i.to_string().as_bytes()));
        }
        let sent = thread::scope(|scope| {
            let a = &mut pair.a;
            let sender = scope.spawn(move || {
                a.send(&all);
                for id in (1..=1000).filter(|_| qos == 1) {
                    a.expect_puback(id);
                }
            });
            for i in 1..=1000 {
                assert_eq!(take(&mut pair.b, version).payload(), i.to_string());
            }
            sender.join()
        });
        sent.expect("PUBACKs came in the order of the PUBLISH packets");
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
    assert_eq!(pair.a.read_packet().bytes, [0x40, 3, 0, 5, 0x90], "Topic Name invalid, mqtt.topic_bytes_max");
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
        let expected = if id % 3 == 0 { vec![0x40, 3, high, low, 0x87] } else { vec![0x40, 2, high, low] };
        assert_eq!(answer, expected);
    }
}

/// The gateway that stops says so (5.0 §3.14: Server shutting down), and what it took is acknowledged before.
#[test]
fn a_stopping_gateway_says_goodbye() {
    let own = start(&[]);
    let client = connect(&own.gateway, V5, "stop");
    let old = connect(&own.gateway, V3, "stop-old");
    wait_until("both connections to be counted", || {
        let (_, metrics) = own.gateway.http_get("/metrics");
        (metric(&metrics, "sensor_gateway_mqtt_connections") == 2).then_some(())
    });
    own.gateway.signal("TERM");
    assert_closed(client, V5, "stop", &[0x8B]);
    assert_closed(old, V3, "stop", &[]);
}

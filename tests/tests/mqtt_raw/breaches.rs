//! What breaks the protocol, and how it ends: tables along the statements.

use codecs::mqtt::ProtocolVersion;
use e2e_tests::RawMqtt;
use e2e_tests::wire::{
    BOTH, Connect, V3, V5, connect, packet, properties, publish, publish_with, shared, subscribe,
    subscribe_with, subscribed, take, text, unsubscribe,
};

use crate::assert_closed;

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

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
    let counted = own.gateway.metric("mqtt_protocol_errors_total");
    assert!(counted >= (2 * BREACHES.len() + BREACHES_V5.len()) as u64, "{counted}");
}

/// CONNECT packets that are refused: (statements, bytes, the return code of 3.1.1 or 0 for silence).
type Refused = (&'static str, fn(ProtocolVersion) -> Vec<u8>, u8);

fn with_flags(version: ProtocolVersion, flags: u8, rest: &[u8]) -> Vec<u8> {
    Connect { flags, rest: rest.to_vec(), ..Connect::new(version, "refused") }.bytes()
}

pub(crate) fn level(version: ProtocolVersion) -> u8 {
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

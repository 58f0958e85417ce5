//! For every rule a packet that breaks it, in each version that has the rule, and the statement that is named (A1-2).

use std::collections::BTreeSet;

use super::{connect, field, frame};
use crate::mqtt::ProtocolVersion::{V3_1_1, V5};
use crate::mqtt::{PACKET_SIZE_MAX, ProtocolVersion, ReasonCode, Rule, decode, frame_len};

struct Case {
    /// `None`: the breach shows before the version is known.
    version: Option<ProtocolVersion>,
    rule: Rule,
    statement: &'static str,
    bytes: Vec<u8>,
}

fn case(version: ProtocolVersion, rule: Rule, statement: &'static str, bytes: Vec<u8>) -> Case {
    Case { version: Some(version), rule, statement, bytes }
}

/// One packet that is wrong in both versions, with the statement that says so in each.
fn both(rule: Rule, v3_1_1: &'static str, v5: &'static str, bytes: Vec<u8>) -> [Case; 2] {
    [case(V3_1_1, rule, v3_1_1, bytes.clone()), case(V5, rule, v5, bytes)]
}

/// A CONNECT that is wrong in both versions; `payload` without properties.
fn both_connect(rule: Rule, v3_1_1: &'static str, v5: &'static str, flags: u8, payload: &[u8]) -> [Case; 2] {
    [
        case(V3_1_1, rule, v3_1_1, connect(4, flags, payload)),
        case(V5, rule, v5, connect(5, flags, &[&[0], payload].concat())),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(fixed_header());
    cases.extend(fields());
    cases.extend(topics());
    cases.extend(connects());
    cases.extend(connacks());
    cases.extend(publishes_and_acks());
    cases.extend(subscriptions());
    cases.extend(ends());
    cases.extend(properties());
    cases.extend(property_values());
    cases
}

fn fixed_header() -> Vec<Case> {
    use Rule::*;
    let mut cases = Vec::new();
    cases.extend(both(PacketTypeReserved, "3.1.1 §2.2.1", "MQTT-4.13.1-1", frame(0x00, &[])));
    cases.push(case(V3_1_1, AuthIn311, "3.1.1 §2.2.1", frame(0xF0, &[])));
    for bytes in
        [frame(0xC1, &[]), frame(0x41, &[0, 1]), frame(0x11, &[]), frame(0xD8, &[]), frame(0x22, &[0, 0])]
    {
        cases.extend(both(FixedHeaderFlags, "MQTT-2.2.2-2", "MQTT-2.1.3-1", bytes));
    }
    cases.push(case(V3_1_1, FixedHeaderFlags, "MQTT-2.2.2-1", frame(0xC1, &[])));
    cases.extend(both(PubRelFlags, "MQTT-3.6.1-1", "MQTT-3.6.1-1", frame(0x60, &[0, 1])));
    cases.extend(both(SubscribeFlags, "MQTT-3.8.1-1", "MQTT-3.8.1-1", frame(0x80, b"\0\x01\0\x01a\0")));
    cases.extend(both(UnsubscribeFlags, "MQTT-3.10.1-1", "MQTT-3.10.1-1", frame(0xA0, b"\0\x01\0\x01a")));
    cases.extend(both(DisconnectFlags, "MQTT-3.14.1-1", "MQTT-3.14.1-1", frame(0xE1, &[])));
    cases.extend(both(AuthFlags, "3.1.1 §2.2.1", "MQTT-3.15.1-1", frame(0xF1, &[])));
    cases.extend(both(
        RemainingLengthTooLong,
        "3.1.1 §2.2.3",
        "5.0 §1.5.5",
        vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1],
    ));
    for bytes in [vec![], vec![0xC0], vec![0xC0, 0x80], vec![0xC0, 0, 0], vec![0x40, 2, 0]] {
        cases.extend(both(FrameLengthMismatch, "3.1.1 §2.2.3", "5.0 §2.1.4", bytes));
    }
    cases.push(case(V5, VariableByteIntegerNotMinimal, "MQTT-1.5.5-1", vec![0xC0, 0x80, 0x00]));
    cases.push(case(
        V5,
        VariableByteIntegerNotMinimal,
        "MQTT-1.5.5-1",
        b"\x10\x8e\0\0\x04MQTT\x05\x02\0\x3c\0\0\x01c".to_vec(),
    ));
    cases.push(case(V5, VariableByteIntegerNotMinimal, "MQTT-1.5.5-1", frame(0x30, b"\0\x01a\x80\0")));
    cases.push(case(
        V5,
        VariableByteIntegerNotMinimal,
        "MQTT-1.5.5-1",
        frame(0x30, b"\0\x01a\x03\x81\0\x01"),
    ));
    cases.push(case(
        V5,
        VariableByteIntegerTooLong,
        "5.0 §1.5.5",
        frame(0x30, b"\0\x01a\xff\xff\xff\xff\x01"),
    ));
    cases
}

fn fields() -> Vec<Case> {
    use Rule::*;
    let mut cases = Vec::new();
    for bytes in [
        frame(0x30, &[]),
        frame(0x30, b"\0\x05a"),
        frame(0x32, b"\0\x01a\0"),
        frame(0x40, &[0]),
        frame(0x62, &[]),
        frame(0x82, &[1]),
        frame(0x90, &[]),
        frame(0xA2, &[0]),
        frame(0xB0, &[]),
        frame(0x20, &[0]),
    ] {
        cases.extend(both(Truncated, "MQTT-4.8.0-1", "MQTT-4.13.1-1", bytes));
    }
    cases.push(case(V3_1_1, Truncated, "MQTT-4.8.0-1", frame(0x82, b"\0\x01\0\x01a")));
    cases.push(case(V5, Truncated, "MQTT-4.13.1-1", frame(0x82, b"\0\x01\0\0\x01a")));
    for bytes in [frame(0xC0, &[0]), frame(0xD0, &[0])] {
        cases.extend(both(TrailingBytes, "MQTT-4.8.0-1", "MQTT-4.13.1-1", bytes));
    }
    for bytes in [
        frame(0x40, &[0, 1, 0]),
        frame(0x50, &[0, 1, 0, 0]),
        frame(0xB0, &[0, 1, 0]),
        frame(0xE0, &[0]),
        frame(0x20, &[0, 0, 0]),
    ] {
        cases.push(case(V3_1_1, TrailingBytes, "MQTT-4.8.0-1", bytes));
    }
    for bytes in [frame(0x40, &[0, 1, 0, 0, 0]), frame(0xE0, &[0, 0, 0]), frame(0x20, &[0, 0, 0, 0])] {
        cases.push(case(V5, TrailingBytes, "MQTT-4.13.1-1", bytes));
    }
    // Ill-formed text: an overlong form, a lone continuation, surrogates; 3.1.1 has no text without a rule of its own.
    for text in [&b"\xc3\x28"[..], b"\xed\xa0\x80", b"\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"] {
        let reason_string =
            frame(0x40, &[&[0, 1, 0x80, 3 + text.len() as u8, 31][..], &field(text)].concat());
        cases.push(case(V5, Utf8, "MQTT-1.5.4-1", reason_string));
        cases.push(case(V3_1_1, ClientIdUtf8, "MQTT-1.5.3-1", connect(4, 2, &field(text))));
        cases.push(case(V5, ClientIdUtf8, "MQTT-1.5.4-1", connect(5, 2, &[&[0][..], &field(text)].concat())));
    }
    cases.extend(both_connect(NullCharacter, "MQTT-1.5.3-2", "MQTT-1.5.4-2", 2, &field(b"a\0b")));
    cases.extend(both_connect(NullCharacter, "MQTT-1.5.3-2", "MQTT-1.5.4-2", 0x82, b"\0\x01c\0\x01\0"));
    cases.extend(both(PacketIdZero, "MQTT-2.3.1-1", "MQTT-2.2.1-3", frame(0x32, b"\0\x01a\0\0\0")));
    cases.extend(both(PacketIdZero, "MQTT-2.3.1-1", "MQTT-2.2.1-4", frame(0x34, b"\0\x01a\0\0\0")));
    cases.extend(both(PacketIdZero, "MQTT-2.3.1-1", "MQTT-2.2.1-3", frame(0x82, b"\0\0\0\0\x01a\0")));
    cases.extend(both(PacketIdZero, "MQTT-2.3.1-1", "MQTT-2.2.1-3", frame(0xA2, b"\0\0\0\0\x01a")));
    for first_byte in [0x40, 0x50, 0x62, 0x70] {
        cases.extend(both(AckPacketIdZero, "MQTT-2.3.1-6", "MQTT-2.2.1-5", frame(first_byte, &[0, 0])));
    }
    cases.extend(both(SubAckPacketIdZero, "MQTT-2.3.1-7", "MQTT-2.2.1-6", frame(0x90, &[0, 0, 0, 0])));
    cases.extend(both(SubAckPacketIdZero, "MQTT-2.3.1-7", "MQTT-2.2.1-6", frame(0xB0, &[0, 0])));
    cases
}

/// A SUBSCRIBE and an UNSUBSCRIBE with this filter, in both versions.
fn both_filter(rule: Rule, v3_1_1: &'static str, v5: &'static str, filter: &[u8]) -> Vec<Case> {
    let filter = field(filter);
    vec![
        case(V3_1_1, rule, v3_1_1, frame(0x82, &[&[0, 1][..], &filter, &[0]].concat())),
        case(V3_1_1, rule, v3_1_1, frame(0xA2, &[&[0, 1][..], &filter].concat())),
        case(V5, rule, v5, frame(0x82, &[&[0, 1, 0][..], &filter, &[0]].concat())),
        case(V5, rule, v5, frame(0xA2, &[&[0, 1, 0][..], &filter].concat())),
    ]
}

fn topics() -> Vec<Case> {
    use Rule::*;
    let mut cases = Vec::new();
    cases.push(case(V3_1_1, TopicEmpty, "MQTT-4.7.3-1", frame(0x30, b"\0\0x")));
    cases.push(case(V5, TopicEmpty, "MQTT-4.7.3-1", frame(0x30, b"\0\x01a\x03\x08\0\0x")));
    cases.extend(both_filter(TopicEmpty, "MQTT-4.7.3-1", "MQTT-4.7.3-1", b""));
    cases.extend(
        both_connect(TopicEmpty, "MQTT-4.7.3-1", "MQTT-4.7.3-1", 0x06, b"\0\x01c\0\0\0\x01p")
            .into_iter()
            .take(1),
    );
    cases.push(case(V5, TopicEmpty, "MQTT-4.7.3-1", connect(5, 0x06, b"\0\0\x01c\0\0\0\0\x01p")));
    cases.extend(both(TopicNullCharacter, "MQTT-4.7.3-2", "MQTT-4.7.3-2", frame(0x30, b"\0\x03a\0b\0")));
    cases.extend(both(TopicNullCharacter, "MQTT-1.5.3-2", "MQTT-1.5.4-2", frame(0x30, b"\0\x03+\0b\0")));
    cases.extend(both_filter(TopicNullCharacter, "MQTT-4.7.3-2", "MQTT-4.7.3-2", b"a\0b"));
    for topic in ["a/+", "#", "a+b", "sensors/#"] {
        let bytes = frame(0x30, &[&field(topic)[..], &[0]].concat());
        cases.extend(both(TopicWildcard, "MQTT-3.3.2-2", "MQTT-3.3.2-2", bytes.clone()));
        cases.extend(both(TopicWildcard, "MQTT-4.7.1-1", "MQTT-4.7.0-1", bytes));
    }
    cases.push(case(V3_1_1, WillTopicWildcard, "MQTT-4.7.1-1", connect(4, 0x06, b"\0\x01c\0\x01#\0\0")));
    cases.push(case(V5, WillTopicWildcard, "MQTT-4.7.0-1", connect(5, 0x06, b"\0\0\x01c\0\0\x01+\0\0")));
    for filter in ["a#", "a/#/b", "#/"] {
        cases.extend(both_filter(
            FilterMultiLevelWildcard,
            "MQTT-4.7.1-2",
            "MQTT-4.7.1-1",
            filter.as_bytes(),
        ));
    }
    for filter in ["a+", "a/b+/c", "+b"] {
        cases.extend(both_filter(
            FilterSingleLevelWildcard,
            "MQTT-4.7.1-3",
            "MQTT-4.7.1-2",
            filter.as_bytes(),
        ));
    }
    let v5 = |cases: Vec<Case>| cases.into_iter().filter(|case| case.version == Some(V5));
    cases.extend(v5(both_filter(ShareNameMissing, "", "MQTT-4.8.2-1", b"$share//t")));
    for filter in ["$share/g", "$share/g/", "$share/+/t"] {
        cases.extend(v5(both_filter(ShareNameInvalid, "", "MQTT-4.8.2-2", filter.as_bytes())));
    }
    cases
}

fn connects() -> Vec<Case> {
    use Rule::*;
    let mut cases = Vec::new();
    let versionless = |rule, statement, bytes| Case { version: None, rule, statement, bytes };
    for name in ["MQTX", "MQIsdp", "mqtt", ""] {
        let bytes = frame(0x10, &[&field(name)[..], &[4, 2, 0, 60, 0, 1, b'c']].concat());
        cases.push(versionless(ProtocolName, "MQTT-3.1.2-1", bytes));
    }
    for level in [0, 3, 6, 0x84] {
        cases.push(versionless(ProtocolLevel, "MQTT-3.1.2-2", connect(level, 2, b"\0\x01c")));
    }
    cases.push(versionless(ConnectTruncated, "MQTT-3.1.4-1", frame(0x10, b"\0\x04MQT")));
    cases.push(versionless(ConnectTruncated, "MQTT-3.1.4-1", frame(0x10, b"\0\x04MQTT")));
    for level in [V3_1_1, V5] {
        let bytes = frame(0x10, &[b"\0\x04MQTT", &[level.level(), 2, 0][..]].concat());
        cases.push(case(level, ConnectTruncated, "MQTT-3.1.4-1", bytes));
    }
    let c = b"\0\x01c";
    cases.extend(both_connect(ConnectReservedFlag, "MQTT-3.1.2-3", "MQTT-3.1.2-3", 0x03, c));
    cases.extend(both_connect(
        ConnectTrailingBytes,
        "MQTT-3.1.4-1",
        "MQTT-3.1.4-1",
        0xC2,
        b"\0\x01c\0\x01u\0\x01p\0",
    ));
    cases.extend(both_connect(WillFieldsMissing, "MQTT-3.1.2-9", "MQTT-3.1.2-9", 0x06, c));
    cases.push(case(V3_1_1, WillFieldsMissing, "MQTT-3.1.2-9", connect(4, 0x06, b"\0\x01c\0\x01t")));
    cases.push(case(V5, WillFieldsMissing, "MQTT-3.1.2-9", connect(5, 0x06, b"\0\0\x01c\0\0\x01t")));
    cases.extend(both_connect(WillQoSWithoutWill, "MQTT-3.1.2-13", "MQTT-3.1.2-11", 0x0A, c));
    cases.extend(both_connect(WillQoSWithoutWill, "MQTT-3.1.2-11", "MQTT-3.1.2-11", 0x12, c));
    cases.extend(both_connect(WillRetainWithoutWill, "MQTT-3.1.2-15", "MQTT-3.1.2-13", 0x22, c));
    cases.push(case(V3_1_1, WillQoS3, "MQTT-3.1.2-14", connect(4, 0x1E, b"\0\x01c\0\x01t\0\x01p")));
    cases.push(case(V5, WillQoS3, "MQTT-3.1.2-12", connect(5, 0x1E, b"\0\0\x01c\0\0\x01t\0\x01p")));
    cases.extend(both_connect(UserNameMissing, "MQTT-3.1.2-19", "MQTT-3.1.2-17", 0x82, c));
    cases.extend(both_connect(
        UserNameWithoutFlag,
        "MQTT-3.1.2-18",
        "MQTT-3.1.2-16",
        0x02,
        b"\0\x01c\0\x01u",
    ));
    cases.extend(both_connect(PasswordMissing, "MQTT-3.1.2-21", "MQTT-3.1.2-19", 0xC2, b"\0\x01c\0\x01u"));
    cases.extend(both_connect(
        PasswordWithoutFlag,
        "MQTT-3.1.2-20",
        "MQTT-3.1.2-18",
        0x82,
        b"\0\x01c\0\x01u\0\x01p",
    ));
    cases.push(case(V3_1_1, PasswordWithoutUserName, "MQTT-3.1.2-22", connect(4, 0x42, b"\0\x01c\0\x01p")));
    cases.extend(both_connect(ClientIdMissing, "MQTT-3.1.3-3", "MQTT-3.1.3-3", 0x02, b""));
    cases.extend(both_connect(ClientIdMissing, "MQTT-3.1.4-1", "MQTT-3.1.4-1", 0x02, b"\0\x05c"));
    cases.extend(both_connect(ClientIdUtf8, "MQTT-3.1.3-4", "MQTT-3.1.3-4", 0x02, b"\0\x02\xc3\x28"));
    cases.push(case(V3_1_1, WillTopicUtf8, "MQTT-3.1.3-10", connect(4, 6, b"\0\x01c\0\x02\xc3\x28\0\x01p")));
    cases.push(case(V5, WillTopicUtf8, "MQTT-3.1.3-11", connect(5, 6, b"\0\0\x01c\0\0\x02\xc3\x28\0\x01p")));
    cases.extend(both_connect(
        UserNameUtf8,
        "MQTT-3.1.3-11",
        "MQTT-3.1.3-12",
        0x82,
        b"\0\x01c\0\x02\xc3\x28",
    ));
    cases
}

fn connacks() -> Vec<Case> {
    use Rule::*;
    let mut cases = Vec::new();
    cases.extend(both(ConnAckFlags, "3.1.1 §3.2.2.1", "MQTT-3.2.2-1", frame(0x20, &[2, 0, 0])));
    cases.push(case(V3_1_1, SessionPresentOnFailure, "MQTT-3.2.2-4", frame(0x20, &[1, 5])));
    cases.push(case(V5, SessionPresentOnFailure, "MQTT-3.2.2-6", frame(0x20, &[1, 0x87, 0])));
    cases.push(case(V3_1_1, ConnAckCode, "3.1.1 §3.2.2.3", frame(0x20, &[0, 6])));
    cases.push(case(V5, ConnAckCode, "MQTT-3.2.2-8", frame(0x20, &[0, 0x05, 0])));
    cases
}

fn publishes_and_acks() -> Vec<Case> {
    use Rule::*;
    let mut cases = Vec::new();
    cases.extend(both(DupAtQoS0, "MQTT-3.3.1-2", "MQTT-3.3.1-2", frame(0x38, b"\0\x01a\0")));
    cases.extend(both(PublishQoS3, "MQTT-3.3.1-4", "MQTT-3.3.1-4", frame(0x36, b"\0\x01a\0\x01\0")));
    cases.extend(both(TopicUtf8, "MQTT-3.3.2-1", "MQTT-3.3.2-1", frame(0x30, b"\0\x02\xc3\x28\0")));
    cases.extend(both(TopicUtf8, "MQTT-1.5.3-1", "MQTT-1.5.4-1", frame(0x30, b"\0\x03\xed\xa0\x80\0")));
    for (rule, statement, first_byte, wrong) in [
        (PubAckCode, "MQTT-3.4.2-1", 0x40, 0x92),
        (PubRecCode, "MQTT-3.5.2-1", 0x50, 0x01),
        (PubRelCode, "MQTT-3.6.2-1", 0x62, 0x10),
        (PubCompCode, "MQTT-3.7.2-1", 0x70, 0x80),
    ] {
        cases.push(case(V5, rule, statement, frame(first_byte, &[0, 1, wrong])));
        cases.push(case(V5, rule, statement, frame(first_byte, &[0, 1, 0x55, 0])));
    }
    cases
}

fn subscriptions() -> Vec<Case> {
    use Rule::*;
    let mut cases = Vec::new();
    let ill_formed = b"\xc3\x28";
    for case in both_filter(SubscribeFilterUtf8, "MQTT-3.8.3-1", "MQTT-3.8.3-1", ill_formed) {
        cases.extend((case.bytes[0] == 0x82).then_some(case));
    }
    for case in both_filter(UnsubscribeFilterUtf8, "MQTT-3.10.3-1", "MQTT-3.10.3-1", ill_formed) {
        cases.extend((case.bytes[0] == 0xA2).then_some(case));
    }
    cases.push(case(V3_1_1, SubscribeEmpty, "MQTT-3.8.3-3", frame(0x82, &[0, 1])));
    cases.push(case(V5, SubscribeEmpty, "MQTT-3.8.3-2", frame(0x82, &[0, 1, 0])));
    cases.push(case(V3_1_1, UnsubscribeEmpty, "MQTT-3.10.3-2", frame(0xA2, &[0, 1])));
    cases.push(case(V5, UnsubscribeEmpty, "MQTT-3.10.3-2", frame(0xA2, &[0, 1, 0])));
    let options_v3 = |options| frame(0x82, &[0, 1, 0, 1, b'a', options]);
    let options_v5 = |options| frame(0x82, &[0, 1, 0, 0, 1, b'a', options]);
    for options in [0x04, 0x80, 0x10] {
        cases.push(case(V3_1_1, SubscriptionReservedBits, "MQTT-3.8.3-4", options_v3(options)));
    }
    for options in [0x40, 0x80] {
        cases.push(case(V5, SubscriptionReservedBits, "MQTT-3.8.3-5", options_v5(options)));
    }
    cases.push(case(V3_1_1, SubscriptionQoS3, "MQTT-3.8.3-4", options_v3(3)));
    cases.push(case(V5, SubscriptionQoS3, "5.0 §3.8.3.1", options_v5(3)));
    cases.push(case(V5, RetainHandling3, "5.0 §3.8.3.1", options_v5(0x30)));
    cases.push(case(V5, NoLocalOnShared, "MQTT-3.8.3-4", frame(0x82, b"\0\x01\0\0\x0a$share/g/t\x04")));
    cases.push(case(V3_1_1, SubAckCode, "MQTT-3.9.3-2", frame(0x90, &[0, 1, 3])));
    cases.push(case(V3_1_1, SubAckCode, "MQTT-3.9.3-2", frame(0x90, &[0, 1, 0, 0x87])));
    cases.push(case(V5, SubAckCode, "MQTT-3.9.3-2", frame(0x90, &[0, 1, 0, 0, 3])));
    cases.push(case(V3_1_1, SubAckEmpty, "MQTT-3.8.4-5", frame(0x90, &[0, 1])));
    cases.push(case(V5, SubAckEmpty, "MQTT-3.8.4-6", frame(0x90, &[0, 1, 0])));
    cases.push(case(V5, UnsubAckCode, "MQTT-3.11.3-2", frame(0xB0, &[0, 1, 0, 1])));
    cases.push(case(V5, UnsubAckEmpty, "MQTT-3.11.3-2", frame(0xB0, &[0, 1, 0])));
    cases
}

fn ends() -> Vec<Case> {
    use Rule::*;
    vec![
        case(V5, DisconnectCode, "MQTT-3.14.2-1", frame(0xE0, &[0x01])),
        case(V5, DisconnectCode, "MQTT-3.14.2-1", frame(0xE0, &[0x84, 0])),
        case(V5, AuthCode, "MQTT-3.15.2-1", frame(0xF0, &[0x55, 0])),
        case(V5, AuthMethodMissing, "5.0 §3.15.2.2.2", frame(0xF0, &[0x18, 0])),
        case(V5, AuthMethodMissing, "5.0 §3.15.2.2.2", frame(0xF0, &[0x00])),
    ]
}

/// A PUBLISH (5.0) with these raw properties.
fn publish_with(properties: &[u8]) -> Vec<u8> {
    frame(0x30, &[&[0, 1, b'a', properties.len() as u8], properties].concat())
}

fn properties() -> Vec<Case> {
    use Rule::*;
    let mut cases = vec![
        case(V5, PropertyLengthMissing, "MQTT-2.2.2-1", frame(0x30, b"\0\x01a")),
        case(V5, PropertyLengthMissing, "MQTT-2.2.2-1", frame(0x82, &[0, 1])),
        case(V5, PropertyLengthMissing, "MQTT-2.2.2-1", frame(0xB0, &[0, 1])),
        case(V5, PropertyLengthMissing, "MQTT-2.2.2-1", frame(0x20, &[0, 0])),
        case(V5, PropertyLengthMissing, "MQTT-2.2.2-1", connect(5, 2, b"")),
        case(V5, PropertiesTruncated, "5.0 §2.2.2.1", frame(0x30, b"\0\x01a\x05\x01\x01")),
        case(V5, PropertyTruncated, "5.0 §2.2.2.2", publish_with(&[2, 0, 0])),
        case(V5, PropertyTruncated, "5.0 §2.2.2.2", publish_with(&[9, 0, 2, 1])),
        case(V5, PropertyTruncated, "5.0 §2.2.2.2", publish_with(&[1])),
        case(V5, PropertyTruncated, "5.0 §2.2.2.2", publish_with(&[11, 0x80])),
        case(V5, PropertyUnknown, "5.0 §2.2.2.2", publish_with(&[4, 0])),
        case(V5, PropertyUnknown, "5.0 §2.2.2.2", publish_with(&[0])),
        case(V5, PropertyUnknown, "5.0 §2.2.2.2", publish_with(&[0xFF, 0x01])),
        case(V5, PropertyNotAllowed, "5.0 §2.2.2.2", publish_with(&[33, 0, 1])),
        case(V5, PropertyNotAllowed, "5.0 §2.2.2.2", frame(0x40, &[0, 1, 0, 2, 1, 1])),
        case(V5, PropertyNotAllowed, "5.0 §2.2.2.2", connect(5, 6, b"\0\0\x01c\x05\x11\0\0\0\0\0\x01t\0\0")),
        case(V5, PropertyTwice, "5.0 §2.2.2.2", publish_with(&[1, 0, 1, 0])),
        case(V5, PropertyTwice, "5.0 §2.2.2.2", frame(0x82, b"\0\x01\x04\x0b\x01\x0b\x02\0\x01a\0")),
        case(V5, VariableByteIntegerTooLong, "5.0 §1.5.5", publish_with(&[11, 0xFF, 0xFF, 0xFF, 0xFF, 1])),
    ];
    for (first, second) in [(&b"\xc3\x28"[..], &b"v"[..]), (b"n", b"\xc3\x28")] {
        let pair = [&[38][..], &field(first), &field(second)].concat();
        cases.push(case(V5, UserPropertyUtf8, "MQTT-1.5.7-1", publish_with(&pair)));
    }
    cases.push(case(V5, UserPropertyNullCharacter, "MQTT-1.5.7-1", publish_with(b"\x26\0\x01\0\0\x01v")));
    cases.push(case(V5, UserPropertyNullCharacter, "MQTT-1.5.4-2", publish_with(b"\x26\0\x01n\0\x01\0")));
    cases
}

fn property_values() -> Vec<Case> {
    use Rule::*;
    let connect_with =
        |properties: &[u8]| connect(5, 2, &[&[properties.len() as u8], properties, b"\0\x01c"].concat());
    let connack_with =
        |properties: &[u8]| frame(0x20, &[&[0, 0, properties.len() as u8], properties].concat());
    vec![
        case(V5, PayloadFormatIndicatorRange, "5.0 §3.3.2.3.2", publish_with(&[1, 2])),
        case(V5, TopicAliasZero, "MQTT-3.3.2-8", publish_with(&[35, 0, 0])),
        case(V5, ResponseTopicUtf8, "MQTT-3.3.2-13", publish_with(b"\x08\0\x02\xc3\x28")),
        case(V5, ResponseTopicWildcard, "MQTT-3.3.2-14", publish_with(b"\x08\0\x03a/+")),
        case(V5, ContentTypeUtf8, "MQTT-3.3.2-19", publish_with(b"\x03\0\x02\xc3\x28")),
        case(V5, SubscriptionIdentifierZero, "5.0 §3.8.2.1.2", publish_with(&[11, 0])),
        case(V5, SubscriptionIdentifierZero, "5.0 §3.8.2.1.2", frame(0x82, b"\0\x01\x02\x0b\0\0\x01a\0")),
        case(V5, ReceiveMaximumZero, "5.0 §3.1.2.11.3", connect_with(&[33, 0, 0])),
        case(V5, MaximumPacketSizeZero, "5.0 §3.1.2.11.4", connect_with(&[39, 0, 0, 0, 0])),
        case(V5, RequestResponseInformationRange, "5.0 §3.1.2.11.6", connect_with(&[25, 2])),
        case(V5, RequestProblemInformationRange, "5.0 §3.1.2.11.7", connect_with(&[23, 0xFF])),
        case(V5, AuthenticationDataWithoutMethod, "5.0 §3.1.2.11.10", connect_with(&[22, 0, 1, 7])),
        case(V5, MaximumQoSRange, "5.0 §3.2.2.3.4", connack_with(&[36, 2])),
        case(V5, RetainAvailableRange, "5.0 §3.2.2.3.5", connack_with(&[37, 2])),
        case(V5, WildcardSubscriptionAvailableRange, "5.0 §3.2.2.3.11", connack_with(&[40, 2])),
        case(V5, SubscriptionIdentifierAvailableRange, "5.0 §3.2.2.3.12", connack_with(&[41, 2])),
        case(V5, SharedSubscriptionAvailableRange, "5.0 §3.2.2.3.13", connack_with(&[42, 2])),
    ]
}

#[test]
fn each_malformed_packet_names_its_statement() {
    for Case { version, rule, statement, bytes } in cases() {
        let read_as = version.unwrap_or(V5);
        let error = match decode(&bytes, read_as) {
            Ok(packet) => panic!("{bytes:02x?} should break {rule:?} but is {packet:?}"),
            Err(error) => error,
        };
        assert_eq!(error.rule(), rule, "{bytes:02x?} read as {version:?}");
        assert_eq!(error.version(), version, "{bytes:02x?} {rule:?}");
        assert!(
            error.statements().contains(&statement),
            "{rule:?} of {version:?} should name {statement}: {error}"
        );
        assert!(error.to_string().contains(statement), "{error}");
    }
}

#[test]
fn every_rule_of_the_table_is_broken_by_some_packet_in_every_version_that_has_it() {
    let cases = cases();
    for &rule in Rule::ALL {
        // A length field has two bytes, and the limit is an argument of `frame_len`, tested below.
        if matches!(rule, Rule::TopicTooLong | Rule::PacketTooLarge) {
            continue;
        }
        for version in [V3_1_1, V5] {
            let covered =
                cases.iter().any(|case| case.rule == rule && case.version.is_none_or(|it| it == version));
            assert_eq!(covered, !rule.statements(version).is_empty(), "{rule:?} in {version}");
        }
    }
}

/// The numbered statements of either standard that say what the bytes of a packet may be. The others speak of what is
/// done with packets, or (MQTT-1.5.x-3, the order of the payload, what is legal) of what must be accepted: see `legal`.
const DECODED_3_1_1: &[&str] = &[
    "1.5.3-1", "1.5.3-2", "2.2.2-1", "2.2.2-2", "2.3.1-1", "2.3.1-6", "2.3.1-7", "3.1.2-1", "3.1.2-2",
    "3.1.2-3", "3.1.2-9", "3.1.2-11", "3.1.2-13", "3.1.2-14", "3.1.2-15", "3.1.2-18", "3.1.2-19", "3.1.2-20",
    "3.1.2-21", "3.1.2-22", "3.1.3-3", "3.1.3-4", "3.1.3-10", "3.1.3-11", "3.1.4-1", "3.2.2-4", "3.3.1-2",
    "3.3.1-4", "3.3.2-1", "3.3.2-2", "3.6.1-1", "3.8.1-1", "3.8.3-1", "3.8.3-3", "3.8.3-4", "3.8.4-5",
    "3.9.3-2", "3.10.1-1", "3.10.3-1", "3.10.3-2", "3.14.1-1", "4.7.1-1", "4.7.1-2", "4.7.1-3", "4.7.3-1",
    "4.7.3-2", "4.8.0-1",
];
const DECODED_5: &[&str] = &[
    "1.5.4-1", "1.5.4-2", "1.5.5-1", "1.5.7-1", "2.1.3-1", "2.2.1-3", "2.2.1-4", "2.2.1-5", "2.2.1-6",
    "2.2.2-1", "3.1.2-1", "3.1.2-2", "3.1.2-3", "3.1.2-9", "3.1.2-11", "3.1.2-12", "3.1.2-13", "3.1.2-16",
    "3.1.2-17", "3.1.2-18", "3.1.2-19", "3.1.3-3", "3.1.3-4", "3.1.3-11", "3.1.3-12", "3.1.4-1", "3.2.2-1",
    "3.2.2-6", "3.2.2-8", "3.3.1-2", "3.3.1-4", "3.3.2-1", "3.3.2-2", "3.3.2-8", "3.3.2-13", "3.3.2-14",
    "3.3.2-19", "3.4.2-1", "3.5.2-1", "3.6.1-1", "3.6.2-1", "3.7.2-1", "3.8.1-1", "3.8.3-1", "3.8.3-2",
    "3.8.3-4", "3.8.3-5", "3.8.4-6", "3.9.3-2", "3.10.1-1", "3.10.3-1", "3.10.3-2", "3.11.3-2", "3.14.1-1",
    "3.14.2-1", "3.15.1-1", "3.15.2-1", "4.7.0-1", "4.7.1-1", "4.7.1-2", "4.7.3-1", "4.7.3-2", "4.8.2-1",
    "4.8.2-2", "4.13.1-1",
];

#[test]
fn every_numbered_statement_about_bytes_has_a_case() {
    for (version, expected) in [(V3_1_1, DECODED_3_1_1), (V5, DECODED_5)] {
        let named: BTreeSet<&str> = cases()
            .iter()
            .filter(|case| case.version.is_none_or(|it| it == version))
            .filter_map(|case| case.statement.strip_prefix("MQTT-"))
            .collect();
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        assert_eq!(named, expected, "{version}");
    }
}

#[test]
fn the_header_is_judged_before_the_body_has_arrived() {
    let error = frame_len(&[0x32, 0x80, 0x80, 0x80, 0x01], 1 << 20).expect_err("2 MiB, and 1 MiB is allowed");
    assert_eq!(error.rule(), Rule::PacketTooLarge);
    assert_eq!(error.reason_code(), ReasonCode::PACKET_TOO_LARGE);
    assert_eq!(error.version(), None);
    for case in cases() {
        // What `frame_len` refuses, `decode` refuses by the same rule.
        if let Err(error) = frame_len(&case.bytes, PACKET_SIZE_MAX) {
            assert_eq!(error.rule(), case.rule, "{:02x?}", case.bytes);
        }
    }
}

#[test]
fn the_text_of_an_error_says_version_statement_sentence_and_code() {
    let error = decode(&frame(0x30, b"\0\x03a/+"), V3_1_1).expect_err("wildcard");
    assert_eq!(
        error.to_string(),
        "MQTT 3.1.1 [MQTT-3.3.2-2, MQTT-4.7.1-1]: the Topic Name of a PUBLISH contains a wildcard (0x90 Topic Name invalid)"
    );
    let error = frame_len(&[0x36], 100).expect_err("QoS 3");
    assert_eq!(
        error.to_string(),
        "MQTT [3.1.1: MQTT-3.3.1-4; 5.0: MQTT-3.3.1-4]: both QoS bits of the PUBLISH are set (0x81 Malformed Packet)"
    );
}

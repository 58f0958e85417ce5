//! Packets written byte by byte after the standards' tables, without the gateway's codec, and a gateway that the tests of
//! one file share.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use codecs::mqtt::ProtocolVersion;
use tempfile::TempDir;

use crate::{Gateway, RawMqtt, new_data_dir};

pub const V3: ProtocolVersion = ProtocolVersion::V3_1_1;
pub const V5: ProtocolVersion = ProtocolVersion::V5;
pub const BOTH: [ProtocolVersion; 2] = [V3, V5];

/// Small segments: a gateway starts in a moment.
pub const QUICK: [&str; 4] =
    ["--set", "journal.segment_bytes_max=8388608", "--set", "journal.frame_bytes_max=1048576"];

/// A gateway of its own for one test.
#[derive(Debug)]
pub struct Own {
    pub gateway: Gateway,
    pub dir: TempDir,
}

pub fn start(settings: &[&str]) -> Own {
    let dir = new_data_dir();
    let gateway = Gateway::start(dir.path(), &arguments(settings));
    Own { gateway, dir }
}

/// `section.key=value` as arguments, behind those of [`QUICK`].
pub fn arguments<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = QUICK.to_vec();
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    arguments
}

/// One gateway for all tests that run at the same time; it ends with the last of them.
pub fn shared() -> Arc<Own> {
    static SHARED: Mutex<Weak<Own>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let own = Arc::new(start(&[]));
        *shared = Arc::downgrade(&own);
        own
    })
}

/// A packet: first byte, remaining length, the parts.
pub fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = vec![first];
    bytes.extend(variable_byte_integer(body.len()));
    bytes.extend(body);
    bytes
}

pub fn variable_byte_integer(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value % 128) as u8;
        value /= 128;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

/// Two bytes of length and the bytes: text or binary data.
pub fn text(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// Property Length and properties, for 5.0 only.
pub fn properties(version: ProtocolVersion, properties: &[u8]) -> Vec<u8> {
    match version {
        ProtocolVersion::V3_1_1 => Vec::new(),
        ProtocolVersion::V5 => [&variable_byte_integer(properties.len()), properties].concat(),
    }
}

/// CONNECT with its usual fields, to be changed.
#[derive(Clone, Debug)]
pub struct Connect {
    pub version: ProtocolVersion,
    pub client: String,
    pub flags: u8,
    pub keep_alive_s: u16,
    pub properties: Vec<u8>,
    /// What follows the client id.
    pub rest: Vec<u8>,
}

impl Connect {
    pub fn new(version: ProtocolVersion, client: impl Into<String>) -> Self {
        Self { version, client: client.into(), flags: 2, keep_alive_s: 600, properties: vec![], rest: vec![] }
    }

    pub fn will(
        mut self,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
        will_properties: &[u8],
    ) -> Self {
        self.flags |= 4 | qos << 3 | u8::from(retain) << 5;
        self.rest.extend(properties(self.version, will_properties));
        self.rest.extend(text(topic));
        self.rest.extend(text(payload));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let level = if self.version == V5 { 5 } else { 4 };
        packet(
            0x10,
            &[
                &text("MQTT"),
                &[level, self.flags],
                &self.keep_alive_s.to_be_bytes(),
                &properties(self.version, &self.properties),
                &text(&self.client),
                &self.rest,
            ],
        )
    }

    /// Connects, and gives the CONNACK behind the client.
    pub fn open(&self, gateway: &Gateway) -> (RawMqtt, Vec<u8>) {
        let mut client = RawMqtt::open(gateway.mqtt, self.version);
        client.send(&self.bytes());
        let connack = client.read_packet().bytes;
        assert_eq!((connack[0], connack[3]), (0x20, 0), "a CONNACK that accepts: {connack:02x?}");
        (client, connack)
    }
}

pub fn connect(gateway: &Gateway, version: ProtocolVersion, client: &str) -> RawMqtt {
    Connect::new(version, client).open(gateway).0
}

/// PUBLISH; `flags` holds DUP, QoS and RETAIN. `id` is left out at QoS 0.
pub fn publish(
    version: ProtocolVersion,
    flags: u8,
    topic: impl AsRef<[u8]>,
    id: u16,
    payload: &[u8],
) -> Vec<u8> {
    publish_with(version, flags, topic, id, &[], payload)
}

pub fn publish_with(
    version: ProtocolVersion,
    flags: u8,
    topic: impl AsRef<[u8]>,
    id: u16,
    property_bytes: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let id = id.to_be_bytes();
    let id: &[u8] = if flags & 6 == 0 { &[] } else { &id };
    packet(0x30 | flags, &[&text(topic), id, &properties(version, property_bytes), payload])
}

pub fn subscribe(version: ProtocolVersion, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(version, id, &[], filters)
}

pub fn subscribe_with(
    version: ProtocolVersion,
    id: u16,
    property_bytes: &[u8],
    filters: &[(&str, u8)],
) -> Vec<u8> {
    let filters: Vec<u8> =
        filters.iter().flat_map(|(filter, options)| [&text(filter)[..], &[*options]].concat()).collect();
    packet(0x82, &[&id.to_be_bytes(), &properties(version, property_bytes), &filters])
}

pub fn unsubscribe(version: ProtocolVersion, id: u16, filters: &[&str]) -> Vec<u8> {
    let filters: Vec<u8> = filters.iter().flat_map(text).collect();
    packet(0xA2, &[&id.to_be_bytes(), &properties(version, &[]), &filters])
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP in its short form.
pub fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &[&id.to_be_bytes()])
}

/// The reason of a DISCONNECT of 5.0.
pub fn disconnect_reason(bytes: &[u8]) -> u8 {
    assert_eq!(bytes[0], 0xE0, "a DISCONNECT: {bytes:02x?}");
    let mut rest = &bytes[1..];
    if read_integer(&mut rest) == 0 { 0 } else { rest[0] }
}

/// Subscribes and gives the codes of the SUBACK.
pub fn subscribed(client: &mut RawMqtt, version: ProtocolVersion, filters: &[(&str, u8)]) -> Vec<u8> {
    client.send(&subscribe(version, 77, filters));
    codes(&client.read_packet().bytes, version, 0x90, 77)
}

/// The codes of a SUBACK or UNSUBACK, whose head is checked.
pub fn codes(bytes: &[u8], version: ProtocolVersion, first: u8, id: u16) -> Vec<u8> {
    let head = [&[first, (bytes.len() - 2) as u8][..], &id.to_be_bytes(), &properties(version, &[])].concat();
    assert_eq!(&bytes[..head.len()], head, "{bytes:02x?}");
    bytes[head.len()..].to_vec()
}

/// A PUBLISH as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// DUP, QoS, RETAIN.
    pub flags: u8,
    pub topic: Vec<u8>,
    pub id: u16,
    pub properties: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Received {
    pub fn topic(&self) -> &str {
        str::from_utf8(&self.topic).expect("a topic is UTF-8")
    }

    pub fn payload(&self) -> &str {
        str::from_utf8(&self.payload).expect("these tests send text")
    }

    pub fn qos(&self) -> u8 {
        self.flags >> 1 & 3
    }

    pub fn retain(&self) -> bool {
        self.flags & 1 == 1
    }
}

/// Reads the next packet, which must be a PUBLISH; does not acknowledge it.
pub fn received(client: &mut RawMqtt, version: ProtocolVersion) -> Received {
    let bytes = client.read_packet().bytes;
    parse_publish(&bytes, version)
}

/// Like [`received`], and acknowledges.
pub fn take(client: &mut RawMqtt, version: ProtocolVersion) -> Received {
    let message = received(client, version);
    if message.qos() == 1 {
        client.send(&ack(0x40, message.id));
    }
    message
}

pub fn parse_publish(bytes: &[u8], version: ProtocolVersion) -> Received {
    assert_eq!(bytes[0] >> 4, 3, "not a PUBLISH: {bytes:02x?}");
    let mut rest = &bytes[1..];
    let len = read_integer(&mut rest);
    assert_eq!(len, rest.len());
    let flags = bytes[0] & 15;
    let topic_len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    let topic = rest[2..2 + topic_len].to_vec();
    rest = &rest[2 + topic_len..];
    let mut id = 0;
    if flags & 6 != 0 {
        id = u16::from_be_bytes([rest[0], rest[1]]);
        assert_ne!(id, 0, "[MQTT-2.3.1-1, MQTT-2.2.1-4]");
        rest = &rest[2..];
    }
    let mut properties = Vec::new();
    if version == V5 {
        let len = read_integer(&mut rest);
        properties = rest[..len].to_vec();
        rest = &rest[len..];
    }
    Received { flags, topic, id, properties, payload: rest.to_vec() }
}

/// A Variable Byte Integer, which must be as short as can be [MQTT-1.5.5-1].
fn read_integer(rest: &mut &[u8]) -> usize {
    let len = 1 + rest.iter().take_while(|byte| **byte & 0x80 != 0).count();
    let value = rest[..len].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7F));
    assert_eq!(variable_byte_integer(value), &rest[..len], "a length in its shortest form");
    *rest = &rest[len..];
    value
}

/// A publisher and a subscriber of one version: what `expect_nothing_else` sends is seen by the subscriber behind all that
/// was published before, since the gateway keeps the order.
#[derive(Debug)]
pub struct Pair {
    pub version: ProtocolVersion,
    pub a: RawMqtt,
    pub b: RawMqtt,
    marker: String,
    markers: u32,
}

impl Pair {
    /// `name` must be unique in the test file.
    pub fn new(gateway: &Gateway, version: ProtocolVersion, name: &str) -> Self {
        let version_name = if version == V5 { 5 } else { 3 };
        let a = connect(gateway, version, &format!("{name}-a{version_name}"));
        let mut b = connect(gateway, version, &format!("{name}-b{version_name}"));
        let marker = format!("marker/{name}/{version_name}");
        assert_eq!(subscribed(&mut b, version, &[(&marker, 0)]), [0]);
        Self { version, a, b, marker, markers: 0 }
    }

    /// Publishes at QoS 1 and awaits the PUBACK. `flags` is added: 1 is RETAIN, 8 is DUP.
    pub fn publish(&mut self, flags: u8, topic: &str, payload: &str) {
        let bytes = publish(self.version, 2 | flags, topic, 9, payload.as_bytes());
        self.a.send(&bytes);
        self.a.expect_puback(9);
    }

    pub fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        subscribed(&mut self.b, self.version, &[(filter, options)])[0]
    }

    pub fn take(&mut self) -> Received {
        take(&mut self.b, self.version)
    }

    /// All that `b` got up to now has been read.
    pub fn expect_nothing_else(&mut self) {
        self.markers += 1;
        let payload = self.markers.to_string();
        let bytes = publish(self.version, 0, &self.marker, 0, payload.as_bytes());
        self.a.send(&bytes);
        let message = self.take();
        assert_eq!((message.topic(), message.payload()), (&*self.marker, &*payload), "something else came");
    }
}

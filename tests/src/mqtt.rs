//! An MQTT client that sends what it is told, good or bad, and shows every packet that comes back.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use codecs::mqtt::{
    Ack, Connect, Packet, PacketId, Properties, ProtocolVersion, Publish, QoS, decode, encode_connect,
    encode_publish, frame_len,
};

use crate::wait::DEADLINE;

const PACKET_SIZE_MAX: usize = 1 << 20;

/// One packet as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub bytes: Vec<u8>,
    version: ProtocolVersion,
}

impl Frame {
    pub fn packet(&self) -> Packet<'_> {
        decode(&self.bytes, self.version).unwrap_or_else(|error| panic!("{error}: {:02x?}", self.bytes))
    }
}

/// One connection, blocking, with [`DEADLINE`] on every read.
#[derive(Debug)]
pub struct RawMqtt {
    stream: TcpStream,
    version: ProtocolVersion,
    received: Vec<u8>,
}

impl RawMqtt {
    /// A TCP connection on which nothing was said yet. `version` is how answers are read.
    pub fn open(address: SocketAddr, version: ProtocolVersion) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_read_timeout(Some(DEADLINE)).expect("the deadline is not zero");
        stream.set_nodelay(true).expect("a TCP socket takes this option");
        Self { stream, version, received: Vec::new() }
    }

    /// Connects as a clean client and awaits the CONNACK that accepts it.
    pub fn connect(address: SocketAddr, version: ProtocolVersion, client_id: &str) -> Self {
        let mut client = Self::open(address, version);
        client.send_connect(client_id);
        let answer = client.read_packet();
        let Packet::ConnAck(connack) = answer.packet() else { panic!("not a CONNACK: {answer:?}") };
        assert_eq!(connack.reason_code.value(), 0, "{connack:?}");
        client
    }

    pub fn send_connect(&mut self, client_id: &str) {
        let connect = Connect {
            version: self.version,
            clean_start: true,
            keep_alive_s: 600,
            client_id,
            will: None,
            user_name: None,
            password: None,
            properties: Properties::EMPTY,
        };
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &connect).expect("a plain CONNECT");
        self.send(&bytes);
    }

    /// Any bytes at all.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the gateway reads");
    }

    /// Like [`RawMqtt::send`], for when the gateway may close while it is sent to.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// PUBLISH; `packet_id` 0 means QoS 0, else QoS 1.
    pub fn send_publish(&mut self, topic: &str, packet_id: u16, payload: &[u8]) {
        let bytes = self.publish_bytes(topic, packet_id, payload);
        self.send(&bytes);
    }

    /// The bytes of that PUBLISH, to be changed or cut before they are sent.
    pub fn publish_bytes(&self, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
        let packet_id = PacketId::new(packet_id);
        let publish = Publish {
            dup: false,
            qos: if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce },
            retain: false,
            topic,
            packet_id,
            properties: Properties::EMPTY,
            payload,
        };
        let mut bytes = Vec::new();
        encode_publish(&mut bytes, self.version, &publish).expect("a plain PUBLISH");
        bytes
    }

    /// SUBSCRIBE to one filter with QoS 0 or 1 and packet id 1; awaits the SUBACK and gives its code.
    pub fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        let properties: &[u8] = if self.version == ProtocolVersion::V5 { &[0] } else { &[] };
        let filter_len = u16::try_from(filter.len()).expect("a short filter").to_be_bytes();
        let body = [&[0, 1], properties, &filter_len, filter.as_bytes(), &[qos]].concat();
        assert!(body.len() < 128, "a short filter");
        self.send(&[&[0x82, body.len() as u8], &body[..]].concat());
        let answer = self.read_packet();
        assert_eq!(answer.bytes[0], 0x90, "not a SUBACK: {answer:?}");
        *answer.bytes.last().expect("a packet is not empty")
    }

    /// The next packet; panics if the connection is closed instead.
    pub fn read_packet(&mut self) -> Frame {
        self.next_packet().unwrap_or_else(|| panic!("the gateway closed instead of answering"))
    }

    /// The next packet, or `None` when the gateway has closed the connection.
    pub fn next_packet(&mut self) -> Option<Frame> {
        let mut buffer = [0; 4096];
        loop {
            let len = frame_len(&self.received, PACKET_SIZE_MAX).unwrap_or_else(|error| {
                panic!("the gateway sent no packet: {error}: {:02x?}", self.received)
            });
            if let Some(len) = len {
                let rest = self.received.split_off(len);
                let bytes = std::mem::replace(&mut self.received, rest);
                return Some(Frame { bytes, version: self.version });
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("neither a packet nor the end of the connection: {error}"),
            }
        }
    }

    /// The next packet must be the PUBACK of this id, with success.
    pub fn expect_puback(&mut self, packet_id: u16) {
        let frame = self.read_packet();
        let id = PacketId::new(packet_id).expect("a packet id is not 0");
        match frame.packet() {
            Packet::PubAck(Ack { packet_id, reason_code, .. }) => {
                assert_eq!(packet_id, id);
                // 0x10, "no matching subscribers", is a success too.
                assert!(reason_code.value() < 0x80, "{reason_code:?}");
            }
            other => panic!("not a PUBACK: {other:?}"),
        }
    }

    /// The gateway must close; gives the packets that came before, a DISCONNECT with its reason perhaps.
    pub fn expect_close(mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next_packet()).collect()
    }

    /// Shows that the connection lives: a PINGREQ is answered, and nothing else comes before.
    pub fn expect_alive(&mut self) {
        self.send(&[0xC0, 0]);
        let frame = self.read_packet();
        assert_eq!(frame.packet(), Packet::PingResp);
    }

    /// Closes without DISCONNECT.
    pub fn drop_connection(self) {
        // Fails where the gateway was quicker; it is closed then, too.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

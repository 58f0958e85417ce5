//! The few packets of MQTT 3.1.1 that a publisher needs, encoded by hand: the tool shall cost little beside the server,
//! and shall not share a mistake with the server's codec.

use super::error::LoadError;

/// Longest fixed header: first byte and four bytes of length.
const HEADER_BYTES_MAX: usize = 5;
/// The keep-alive that is asked for: longer than any pause of a run, so no PINGREQ is needed.
const KEEP_ALIVE_S: u16 = 3_600;

pub(super) fn connect(out: &mut Vec<u8>, client_id: &str) {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0b0000_0010];
    body.extend_from_slice(&KEEP_ALIVE_S.to_be_bytes());
    push_text(&mut body, client_id);
    out.push(0x10);
    push_length(out, body.len());
    out.extend_from_slice(&body);
}

/// SUBSCRIBE with packet id 1 and QoS 0.
pub(super) fn subscribe(out: &mut Vec<u8>, filter: &str) {
    out.push(0x82);
    push_length(out, 2 + 2 + filter.len() + 1);
    out.extend_from_slice(&[0, 1]);
    push_text(out, filter);
    out.push(0);
}

/// PUBLISH with QoS 1 if there is a packet id.
pub(super) fn publish(out: &mut Vec<u8>, topic: &str, packet_id: Option<u16>, payload: &[u8]) {
    let packet_id_len = if packet_id.is_some() { 2 } else { 0 };
    out.push(if packet_id.is_some() { 0x32 } else { 0x30 });
    push_length(out, 2 + topic.len() + packet_id_len + payload.len());
    push_text(out, topic);
    if let Some(packet_id) = packet_id {
        out.extend_from_slice(&packet_id.to_be_bytes());
    }
    out.extend_from_slice(payload);
}

pub(super) fn pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xC0, 0]);
}

pub(super) fn disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xE0, 0]);
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    // Topics and client ids of this tool are far below 64 KiB.
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn push_length(out: &mut Vec<u8>, mut length: usize) {
    while length > 127 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// What a server sends to this tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    ConnAck { code: u8 },
    PubAck { packet_id: u16 },
    SubAck { code: u8 },
    Publish,
    PingResp,
}

/// The packet at the start of `bytes` and its length, if it is there as a whole.
#[inline]
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Incoming, usize)>, LoadError> {
    if let [0x40, 2, high, low, ..] = bytes {
        return Ok(Some((Incoming::PubAck { packet_id: u16::from_be_bytes([*high, *low]) }, 4)));
    }
    let Some((&first_byte, rest)) = bytes.split_first() else { return Ok(None) };
    let mut length = 0;
    let mut header = 1;
    loop {
        let Some(&byte) = rest.get(header - 1) else { return Ok(None) };
        length |= usize::from(byte & 0x7F) << (7 * (header - 1));
        header += 1;
        if byte < 0x80 {
            break;
        }
        if header == HEADER_BYTES_MAX {
            return Err(LoadError::UnexpectedPacket { first_byte });
        }
    }
    let Some(body) = bytes.get(header..header + length) else { return Ok(None) };
    let incoming = match (first_byte, body) {
        (0x20, &[_, code]) => Incoming::ConnAck { code },
        (0x90, &[_, _, code]) => Incoming::SubAck { code },
        (0x30..=0x3F, _) => Incoming::Publish,
        (0xD0, &[]) => Incoming::PingResp,
        _ => return Err(LoadError::UnexpectedPacket { first_byte }),
    };
    Ok(Some((incoming, header + length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::mqtt::{Packet, PacketId, ProtocolVersion, QoS, decode, frame_len};

    #[test]
    fn the_codec_reads_what_is_sent() {
        let mut out = Vec::new();
        connect(&mut out, "load-1");
        subscribe(&mut out, "feed/#");
        publish(&mut out, "obs/a/b", Some(9), &[7; 300]);
        publish(&mut out, "obs/a/b", None, b"x");
        pingreq(&mut out);
        disconnect(&mut out);
        let mut rest = &out[..];
        let mut packets = Vec::new();
        while let Some(len) = frame_len(rest, 1 << 20).unwrap() {
            packets.push(decode(&rest[..len], ProtocolVersion::V3_1_1).unwrap());
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
        assert!(
            matches!(packets[0], Packet::Connect(connect) if connect.client_id == "load-1" && connect.clean_start)
        );
        let Packet::Publish(publish) = packets[2] else { panic!("{:?}", packets[2]) };
        assert_eq!(
            (publish.qos, publish.packet_id, publish.payload.len()),
            (QoS::AtLeastOnce, PacketId::new(9), 300)
        );
        assert!(matches!(packets[3], Packet::Publish(publish) if publish.qos == QoS::AtMostOnce));
        assert!(matches!(packets[1], Packet::Subscribe(_)));
        assert_eq!(packets[4..], [Packet::PingReq, decode(&[0xE0, 0], ProtocolVersion::V3_1_1).unwrap()]);
    }

    #[test]
    fn packets_are_read_whole_or_not_at_all() {
        let stream = [0x20, 2, 0, 0, 0x40, 2, 1, 2, 0x90, 3, 0, 1, 0, 0xD0, 0];
        let mut found = Vec::new();
        let mut start = 0;
        for end in 0..=stream.len() {
            while let Some((incoming, len)) = parse(&stream[start..end]).unwrap() {
                found.push(incoming);
                start += len;
            }
        }
        assert_eq!(
            found,
            [
                Incoming::ConnAck { code: 0 },
                Incoming::PubAck { packet_id: 258 },
                Incoming::SubAck { code: 0 },
                Incoming::PingResp
            ]
        );
        assert!(parse(&[0x50, 2, 0, 1]).is_err());
        assert!(parse(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]).is_err());
    }
}

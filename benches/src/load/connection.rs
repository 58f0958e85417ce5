//! One connection: its socket, what is in flight on it, and what it publishes next.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::error::LoadError;
use super::options::LoadOptions;
use super::payload::PayloadSource;
use super::wire::{self, Incoming};

/// Bytes encoded before they are written; then the next connection has its turn.
const FILL_BYTES: usize = 64 << 10;

/// Packet identifiers in flight with the time each was sent. Identifiers go round, so a message keeps its own until all
/// others had their turn.
#[derive(Debug)]
pub(super) struct Window {
    slots: Vec<Slot>,
    next_id: u16,
    in_flight: usize,
    in_flight_max: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// 0: free.
    packet_id: u16,
    sent_ns: u64,
}

impl Window {
    pub(super) fn new(in_flight_max: usize) -> Self {
        let slots = vec![Slot::default(); in_flight_max.next_power_of_two()];
        Self { slots, next_id: 1, in_flight: 0, in_flight_max }
    }

    fn slot(&mut self, packet_id: u16) -> &mut Slot {
        let mask = self.slots.len() - 1;
        &mut self.slots[usize::from(packet_id) & mask]
    }

    fn take(&mut self, sent_ns: u64) -> Option<u16> {
        let packet_id = self.next_id;
        if self.in_flight == self.in_flight_max || self.slot(packet_id).packet_id != 0 {
            return None;
        }
        *self.slot(packet_id) = Slot { packet_id, sent_ns };
        self.in_flight += 1;
        self.next_id = packet_id.checked_add(1).unwrap_or(1);
        Some(packet_id)
    }

    /// When the message was sent; `None` if no such message is in flight.
    fn acknowledge(&mut self, packet_id: u16) -> Option<u64> {
        let slot = self.slot(packet_id);
        if packet_id == 0 || slot.packet_id != packet_id {
            return None;
        }
        slot.packet_id = 0;
        let sent_ns = slot.sent_ns;
        self.in_flight -= 1;
        Some(sent_ns)
    }
}

/// What the events of one read amounted to.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) acks: u64,
    pub(super) deliveries: u64,
}

/// What a connection is for.
#[derive(Debug)]
pub(super) enum Role {
    Publisher(Box<Publisher>),
    Subscriber,
}

#[derive(Debug)]
pub(super) struct Publisher {
    topic: String,
    source: PayloadSource,
    scratch: Vec<u8>,
    /// `None`: QoS 0.
    window: Option<Window>,
    /// Times at which messages of a paced run are due, counted by the driver: these may be sent now.
    pub(super) owed: u64,
    /// Messages sent in this phase.
    pub(super) sent: u64,
}

#[derive(Debug)]
pub(super) struct Connection {
    number: usize,
    pub(super) socket: TcpStream,
    pub(super) role: Role,
    out: Vec<u8>,
    written: usize,
    /// The beginning of a packet whose rest has not come yet.
    partial: Vec<u8>,
    /// CONNACK, and for subscribers SUBACK, has come.
    pub(super) ready: bool,
    /// The PINGRESP to the last PINGREQ has come.
    pub(super) answered: bool,
}

/// Whether a connection has more to send at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// It had its turn and could go on.
    More,
    /// It waits for acks, for room in its socket or for its next beat.
    Waits,
}

impl Connection {
    /// Connects and sends CONNECT, for numbers from the publishers' count on also SUBSCRIBE.
    pub(super) fn open(address: SocketAddr, options: &LoadOptions, number: usize) -> Result<Self, LoadError> {
        let failed = |source| LoadError::Connect { connection: number, address: address.to_string(), source };
        let role = if number < options.connections {
            Role::Publisher(Box::new(Publisher {
                topic: options.topic_of(number),
                source: PayloadSource::new(options.payload, options.readings, number)
                    .map_err(LoadError::Options)?,
                scratch: Vec::new(),
                window: (options.qos > 0).then(|| Window::new(options.in_flight)),
                owed: 0,
                sent: 0,
            }))
        } else {
            Role::Subscriber
        };
        let mut out = Vec::new();
        wire::connect(&mut out, &format!("load-{}-{number}", std::process::id()));
        // Blocking, so that connects come no faster than the server takes them.
        let mut socket = std::net::TcpStream::connect(address).map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        socket.write_all(&out).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        out.clear();
        Ok(Self {
            number,
            socket: TcpStream::from_std(socket),
            role,
            out,
            written: 0,
            partial: Vec::new(),
            ready: false,
            answered: false,
        })
    }

    /// Everything that was encoded has gone to the socket.
    pub(super) fn is_flushed(&self) -> bool {
        self.written == self.out.len()
    }

    pub(super) fn ping(&mut self) -> Result<(), LoadError> {
        self.answered = false;
        wire::pingreq(&mut self.out);
        self.flush()
    }

    pub(super) fn disconnect(&mut self) {
        wire::disconnect(&mut self.out);
        // The run is over; whether the server still reads this does not matter.
        let _ = self.flush();
    }

    /// Encodes what may be sent now (`budget` messages at most) and writes it. `due_ns` tells for the n-th message of a
    /// paced phase when it was due; latency counts from there.
    pub(super) fn pump(
        &mut self,
        budget: &mut u64,
        now_ns: u64,
        now_us: i64,
        due_ns: impl Fn(u64) -> Option<u64>,
    ) -> Result<Pumped, LoadError> {
        let Role::Publisher(publisher) = &mut self.role else { return Ok(Pumped::Waits) };
        if self.written < self.out.len() {
            self.flush()?;
            return Ok(Pumped::Waits);
        }
        let mut pumped = Pumped::Waits;
        while *budget > 0 && publisher.owed > 0 {
            if self.out.len() >= FILL_BYTES {
                pumped = Pumped::More;
                break;
            }
            let packet_id = match &mut publisher.window {
                Some(window) => match window.take(due_ns(publisher.sent).unwrap_or(now_ns)) {
                    Some(packet_id) => Some(packet_id),
                    None => break,
                },
                None => None,
            };
            *budget -= 1;
            publisher.owed -= 1;
            publisher.sent += 1;
            let payload = publisher.source.next(now_us, &mut publisher.scratch);
            wire::publish(&mut self.out, &publisher.topic, packet_id, payload);
        }
        self.flush()?;
        Ok(if self.is_flushed() { pumped } else { Pumped::Waits })
    }

    /// Writes until all is gone or the socket is full.
    pub(super) fn flush(&mut self) -> Result<(), LoadError> {
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(self.closed()),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads all there is. `on_ack` is told when each acknowledged message was sent.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        options: &LoadOptions,
        mut on_ack: impl FnMut(u64),
    ) -> Result<Received, LoadError> {
        let mut received = Received::default();
        loop {
            let kept = self.partial.len();
            if kept == buffer.len() {
                return Err(LoadError::UnexpectedPacket { first_byte: self.partial[0] });
            }
            buffer[..kept].copy_from_slice(&self.partial);
            self.partial.clear();
            let count = match self.socket.read(&mut buffer[kept..]) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.partial.extend_from_slice(&buffer[..kept]);
                    return Ok(received);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(_) => return Err(self.closed()),
            };
            let mut rest = &buffer[..kept + count];
            while let Some((incoming, len)) = wire::parse(rest)? {
                rest = &rest[len..];
                self.take_packet(incoming, options, &mut received, &mut on_ack)?;
            }
            self.partial.extend_from_slice(rest);
            if count > 0 && kept + count < buffer.len() {
                // A short read of a stream socket means that it is empty; the next event will come.
                return Ok(received);
            }
        }
    }

    fn take_packet(
        &mut self,
        incoming: Incoming,
        options: &LoadOptions,
        received: &mut Received,
        on_ack: &mut impl FnMut(u64),
    ) -> Result<(), LoadError> {
        match (incoming, &mut self.role) {
            (Incoming::PubAck { packet_id }, Role::Publisher(publisher)) => {
                let sent_ns = publisher.window.as_mut().and_then(|window| window.acknowledge(packet_id));
                on_ack(sent_ns.ok_or(LoadError::UnexpectedPacket { first_byte: 0x40 })?);
                received.acks += 1;
            }
            (Incoming::Publish, Role::Subscriber) => received.deliveries += 1,
            (Incoming::PingResp, _) => self.answered = true,
            (Incoming::ConnAck { code: 0 }, Role::Publisher(_)) => self.ready = true,
            (Incoming::ConnAck { code: 0 }, Role::Subscriber) => {
                wire::subscribe(&mut self.out, &options.subscribe);
                self.flush()?;
            }
            (Incoming::SubAck { code: 0..=2 }, Role::Subscriber) => self.ready = true,
            (Incoming::ConnAck { code } | Incoming::SubAck { code }, _) => {
                return Err(LoadError::Refused { connection: self.number, code });
            }
            (Incoming::PubAck { .. }, Role::Subscriber) => {
                return Err(LoadError::UnexpectedPacket { first_byte: 0x40 });
            }
            (Incoming::Publish, Role::Publisher(_)) => {
                return Err(LoadError::UnexpectedPacket { first_byte: 0x30 });
            }
        }
        Ok(())
    }

    fn closed(&self) -> LoadError {
        let published = match &self.role {
            Role::Publisher(publisher) => publisher.sent,
            Role::Subscriber => 0,
        };
        LoadError::Closed { connection: self.number, published }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_go_round_and_never_meet_one_in_flight() {
        let mut window = Window::new(100);
        let mut in_flight = std::collections::VecDeque::new();
        for turn in 0..200_000_u64 {
            if let Some(packet_id) = window.take(turn) {
                assert!(packet_id != 0 && !in_flight.contains(&(packet_id, turn)));
                in_flight.push_back((packet_id, turn));
            } else {
                let (packet_id, sent) = in_flight.pop_front().unwrap();
                assert_eq!(window.acknowledge(packet_id), Some(sent));
                assert_eq!(window.acknowledge(packet_id), None);
            }
            assert!(in_flight.len() <= 100);
        }
        assert_eq!(window.acknowledge(0), None);
    }
}

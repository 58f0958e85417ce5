//! Connections: bytes in both directions, cut where the simulation likes, and a poll loop that reports changes once.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gateway::engine::simulated::{Network, SocketEvents};
use gateway::mqtt::Socket;

/// What the peer's kernel takes before it is read.
const WINDOW_BYTES: usize = 16 << 10;

#[derive(Debug, Default)]
struct Wire {
    /// Sent by the client, not yet at the gateway.
    on_the_way: VecDeque<u8>,
    to_gateway: VecDeque<u8>,
    from_gateway: VecDeque<u8>,
    /// The client closed or broke off.
    ended: bool,
    reset: bool,
    gateway_closed: bool,
    readable: bool,
    writable: bool,
    read_closed: bool,
}

/// The client's end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    number: u32,
    wire: Arc<Mutex<Wire>>,
}

impl Link {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        self.wire().on_the_way.extend(bytes);
    }

    /// Up to so many bytes arrive at the gateway; how many did.
    pub(super) fn arrive(&self, count: usize) -> usize {
        let mut wire = self.wire();
        let count = count.min(wire.on_the_way.len());
        let bytes: Vec<u8> = wire.on_the_way.drain(..count).collect();
        wire.to_gateway.extend(bytes);
        wire.readable |= count > 0;
        count
    }

    pub(super) fn on_the_way(&self) -> usize {
        self.wire().on_the_way.len()
    }

    /// What the gateway has sent, at most so much of it.
    pub(super) fn take(&self, count: usize) -> Vec<u8> {
        let mut wire = self.wire();
        let count = count.min(wire.from_gateway.len());
        let bytes = wire.from_gateway.drain(..count).collect();
        wire.writable |= count > 0;
        bytes
    }

    pub(super) fn has_bytes(&self) -> bool {
        !self.wire().from_gateway.is_empty()
    }

    /// The client goes: in good order behind its last byte, or with a reset that loses what was not read.
    pub(super) fn end(&self, reset: bool) {
        let mut wire = self.wire();
        wire.ended = true;
        wire.reset = reset;
        wire.read_closed = true;
        wire.readable = true;
    }

    /// The gateway closed, or is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.wire().gateway_closed
    }
}

/// The gateway's end.
struct SimSocket(Link);

impl Read for SimSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.wire();
        if wire.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if wire.to_gateway.is_empty() && !wire.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.to_gateway.read(buffer)
    }
}

impl io::Write for SimSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.wire();
        if wire.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(WINDOW_BYTES.saturating_sub(wire.from_gateway.len()));
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.from_gateway.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.0.wire().gateway_closed = true;
    }
}

impl Socket for SimSocket {
    fn shutdown_write(&mut self) {
        self.0.wire().gateway_closed = true;
    }

    fn peer_ip(&self) -> IpAddr {
        address(self.0.number)
    }

    fn tcp_stream(&mut self) -> Option<&mut mio::net::TcpStream> {
        None
    }
}

fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number))
}

/// All connections of a gateway's life.
#[derive(Debug, Default)]
pub(super) struct SimNetwork {
    links: BTreeMap<IpAddr, Link>,
    connections: u32,
}

impl SimNetwork {
    pub(super) fn connect(&mut self) -> (Link, Box<dyn Socket>) {
        self.connections += 1;
        let link = Link { number: self.connections, wire: Arc::default() };
        self.links.insert(address(link.number), link.clone());
        (link.clone(), Box::new(SimSocket(link)))
    }

    pub(super) fn clear(&mut self) {
        self.links.clear();
    }
}

impl Network for SimNetwork {
    fn register(&mut self, peer: IpAddr) {
        if let Some(link) = self.links.get(&peer) {
            let mut wire = link.wire();
            wire.readable |= !wire.to_gateway.is_empty();
            wire.writable = true;
            wire.read_closed |= wire.ended;
        }
    }

    fn events(&mut self, peer: IpAddr) -> Option<SocketEvents> {
        let mut wire = self.links.get(&peer)?.wire();
        let events = SocketEvents {
            readable: std::mem::take(&mut wire.readable),
            writable: std::mem::take(&mut wire.writable),
            read_closed: std::mem::take(&mut wire.read_closed),
        };
        (events.readable || events.writable || events.read_closed).then_some(events)
    }
}

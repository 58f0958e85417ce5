//! A byte stream as a shard needs it; a simulated one in tests.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown};

use mio::net::TcpStream;

/// Non-blocking: `WouldBlock` says that readiness will be reported again.
pub trait Socket: io::Read + io::Write + Send {
    /// The other side reads an end of stream once it has read what was written.
    fn shutdown_write(&mut self);

    fn peer_ip(&self) -> IpAddr;

    /// For the poll loop; `None` where there is none.
    fn tcp_stream(&mut self) -> Option<&mut TcpStream>;
}

impl Socket for TcpStream {
    fn shutdown_write(&mut self) {
        // The peer may be gone already; then there is nobody to tell.
        let _ = self.shutdown(Shutdown::Write);
    }

    fn peer_ip(&self) -> IpAddr {
        self.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |addr| addr.ip())
    }

    fn tcp_stream(&mut self) -> Option<&mut TcpStream> {
        Some(self)
    }
}

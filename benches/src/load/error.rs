use std::io;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{0}")]
    Options(String),
    #[error("the server did not start: {0}")]
    Start(String),
    #[error("connection {connection} to {address}: {source}")]
    Connect { connection: usize, address: String, source: io::Error },
    #[error("the server closed connection {connection} after {published} messages; see its log")]
    Closed { connection: usize, published: u64 },
    #[error("the server refused connection {connection}: CONNACK code {code}")]
    Refused { connection: usize, code: u8 },
    #[error("the server sent what no server sends here: first byte {first_byte:#04x}")]
    UnexpectedPacket { first_byte: u8 },
    #[error("nothing came from the server for {seconds} s with {in_flight} messages unacknowledged")]
    Stalled { seconds: u64, in_flight: u64 },
    #[error("the server was not quiet after {seconds} s: {what}")]
    NotQuiet { seconds: u64, what: String },
    #[error("http://{address}{path}: {reason}")]
    Http { address: String, path: &'static str, reason: String },
    #[error("/proc of process {pid}: {source}; has it ended?")]
    Process { pid: u32, source: io::Error },
    #[error(transparent)]
    Io(#[from] io::Error),
}

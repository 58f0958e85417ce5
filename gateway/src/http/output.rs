//! Where an answer is written before it is sent.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Largest answer. With [`super::QUERIES_MAX`] at a time this bounds the memory of the interface; whoever wants more asks
/// in parts (`from`, `to`), or uses `sensor-gateway query`, which streams.
pub(super) const ANSWER_BYTES_MAX: usize = 32 << 20;

/// An answer that grows up to [`ANSWER_BYTES_MAX`], and no further once the server stops.
#[derive(Debug)]
pub(super) struct AnswerBuffer {
    bytes: Vec<u8>,
    stopping: Arc<AtomicBool>,
    overflowed: bool,
}

impl AnswerBuffer {
    pub(super) fn new(stopping: Arc<AtomicBool>) -> Self {
        Self { bytes: Vec::new(), stopping, overflowed: false }
    }

    pub(super) fn overflowed(&self) -> bool {
        self.overflowed
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Write for AnswerBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(io::Error::other("the gateway is stopping"));
        }
        if self.bytes.len() + bytes.len() > ANSWER_BYTES_MAX {
            self.overflowed = true;
            return Err(io::Error::other("the answer is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

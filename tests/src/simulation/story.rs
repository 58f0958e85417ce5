//! What happened, as lines for a reader and as one number for the test that a seed repeats.

use std::sync::atomic::{AtomicU64, Ordering};

const PRIME: u64 = 0x0100_0000_01b3;

#[derive(Debug)]
pub(super) struct Story {
    is_told: bool,
    hash: AtomicU64,
}

impl Story {
    pub(super) fn new(is_told: bool) -> Self {
        Self { is_told, hash: AtomicU64::new(0xcbf2_9ce4_8422_2325) }
    }

    /// FNV-1a over every line, told or not.
    pub(super) fn tell(&self, line: impl FnOnce() -> String) {
        let line = line();
        let hash = line.bytes().fold(self.hash.load(Ordering::Relaxed), |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(PRIME)
        });
        self.hash.store(hash, Ordering::Relaxed);
        if self.is_told {
            println!("{line}");
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.load(Ordering::Relaxed)
    }
}

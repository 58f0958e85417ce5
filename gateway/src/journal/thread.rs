//! When the writer writes, and its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::lane::WRITE_AT_ONCE_BYTES;
use super::stamp::Stamps;
use super::writer::{JournalWriter, WriterStep};
use crate::clock::{Clock, TimeFloor};
use crate::health::{Health, Trouble};
use crate::log::{LogError, Prepared};

/// How long the writer sleeps at most before it looks whether space has come back or it is to stop.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// The writer with what decides when it writes: the gap between syncs, and space that is missing.
#[derive(Debug)]
pub struct WriterTurns {
    writer: JournalWriter,
    stamps: Stamps,
    health: Arc<Health>,
    sync_gap_us: u64,
    last_sync_us: u64,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterTurn {
    /// Something was done; there may be more.
    Again,
    /// Little waits, and the gap between two syncs is not over.
    InGap { left_us: u64 },
    /// Something waits, and there is no space for it.
    Blocked,
    /// Nothing waits.
    Idle,
    /// The gateway stops, and nothing waits that could be written.
    Ended,
}

impl WriterTurns {
    pub fn new(writer: JournalWriter, health: Arc<Health>, sync_gap_us: u64, floor: Arc<TimeFloor>) -> Self {
        let stamps = writer.stamps(floor);
        Self { writer, stamps, health, sync_gap_us, last_sync_us: 0 }
    }

    /// Writes what waits if it is time, and makes a small step towards the next segment.
    pub fn turn(&mut self, clock: &dyn Clock, stopping: bool) -> Result<WriterTurn, LogError> {
        if let Some(left_us) = self.gap_left_us(clock, stopping) {
            return Ok(WriterTurn::InGap { left_us });
        }
        self.writer.lanes.writer_busy();
        let step = self.writer.step(self.stamps.next(clock))?;
        self.health.set(Trouble::JournalFull, step == WriterStep::Blocked);
        if step == WriterStep::Wrote {
            self.last_sync_us = clock.monotonic_us();
            self.writer.release_processed();
        }
        let more_to_prepare = self.writer.prepare_step()? == Prepared::Progress;
        Ok(match step {
            WriterStep::Wrote => WriterTurn::Again,
            // What waits was never acknowledged.
            WriterStep::Blocked if stopping => WriterTurn::Ended,
            WriterStep::Blocked | WriterStep::Idle if more_to_prepare => WriterTurn::Again,
            WriterStep::Idle if stopping => WriterTurn::Ended,
            WriterStep::Blocked => {
                self.writer.release_processed();
                WriterTurn::Blocked
            }
            WriterStep::Idle => WriterTurn::Idle,
        })
    }

    fn gap_left_us(&self, clock: &dyn Clock, stopping: bool) -> Option<u64> {
        let waiting = self.writer.lanes.waiting_bytes();
        if waiting == 0 || waiting >= WRITE_AT_ONCE_BYTES || stopping {
            return None;
        }
        let elapsed_us = clock.monotonic_us().saturating_sub(self.last_sync_us);
        self.sync_gap_us.checked_sub(elapsed_us).filter(|left_us| *left_us > 0)
    }
}

/// The writer's thread: sleeps while nothing waits, keeps the gap between syncs unless much waits, prepares segments in
/// between. Returns when `stop` is set and nothing waits any more.
pub fn run_writer(mut turns: WriterTurns, clock: &dyn Clock, stop: &AtomicBool) -> Result<(), LogError> {
    let lanes = turns.writer.lanes.clone();
    lanes.set_writer(std::thread::current());
    loop {
        match turns.turn(clock, stop.load(Ordering::Acquire))? {
            WriterTurn::Again => {}
            WriterTurn::InGap { left_us } => {
                lanes.writer_in_gap();
                if lanes.waiting_bytes() < WRITE_AT_ONCE_BYTES {
                    std::thread::park_timeout(Duration::from_micros(left_us));
                }
                lanes.writer_busy();
            }
            WriterTurn::Blocked => std::thread::park_timeout(PAUSE_MAX),
            WriterTurn::Idle => {
                lanes.writer_idle();
                // A batch handed over before the line above did not wake this thread: look once more.
                if lanes.waiting_bytes() == 0 {
                    std::thread::park_timeout(PAUSE_MAX * 10);
                }
                lanes.writer_busy();
            }
            WriterTurn::Ended => return Ok(()),
        }
    }
}

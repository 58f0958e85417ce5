//! The keeper's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};

use super::{Keeper, KeeperBallast, KeeperError};
use crate::clock::Clock;
use crate::health::{Health, Trouble};
use crate::observation::ObservationFrame;

/// How long the keeper sleeps at most before it looks what is due.
const IDLE: Duration = Duration::from_millis(50);
/// After a flush or commit that found no space.
const RETRY_PAUSE_US: u64 = 1_000_000;
/// The pipeline may hold so long for a flush without anybody being told.
const FULL_US_MAX: u64 = 1_000_000;

/// What decides when the keeper works: ages, space that is missing, memory that is full.
#[derive(Debug)]
pub struct KeeperTurns {
    time: FrameTime,
    retry_at_us: u64,
    failing: bool,
    full_since_us: Option<u64>,
}

impl KeeperTurns {
    /// Goes on from the frames that the keeper was opened with: a clock that was set back before a restart must not make
    /// them young either.
    pub fn new(keeper: &Keeper, clock: &dyn Clock) -> Self {
        Self {
            time: FrameTime { frame_us: keeper.newest_frame_us(), applied_us: clock.monotonic_us() },
            retry_at_us: 0,
            failing: false,
            full_since_us: None,
        }
    }

    /// Folds a frame, if there is one, and does what is due.
    pub fn turn(
        &mut self,
        keeper: &mut Keeper,
        ballast: &mut KeeperBallast,
        frame: Option<&Arc<ObservationFrame>>,
        clock: &dyn Clock,
        health: &Health,
    ) -> Result<(), KeeperError> {
        if let Some(frame) = frame {
            keeper.apply(frame)?;
            self.time = FrameTime { frame_us: frame.info.time_us, applied_us: clock.monotonic_us() };
        }
        let now_us = clock.monotonic_us();
        let full_for_us = full_for_us(&mut self.full_since_us, keeper.is_full(), now_us);
        health.set(Trouble::StoreBehind, full_for_us > FULL_US_MAX);
        keeper.tell_clock(clock);
        health.set(Trouble::ClockLeapt, keeper.clock_has_leapt());
        health.watch(now_us);
        keeper.empty_wal_again(now_us)?;
        // Also while nothing can be flushed: what it gives back may be what is missing.
        keeper.sweep(now_us, self.failing);
        if now_us < self.retry_at_us {
            return Ok(());
        }
        match keeper.step(self.time.now_us(clock)) {
            Ok(()) => {
                self.failing = false;
                ballast.restore(now_us);
            }
            // The pipeline holds, its queue fills, the journal's buffers run out, nobody is acknowledged.
            Err(error) if error.is_backpressure() => {
                keeper.hold();
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::debug!("no flush is possible: {error}");
                }
                // With the ballast's space it may succeed at once.
                let pause_us = if ballast.give_away(now_us) { 0 } else { RETRY_PAUSE_US };
                self.retry_at_us = now_us + pause_us;
            }
            Err(error) => return Err(error),
        }
        health.set(Trouble::DiskFull, self.failing || ballast.is_given_away());
        Ok(())
    }
}

/// The keeper's thread. Ends when the pipeline's end of the queue is gone, or when `stop` is set and the queue is empty.
pub fn run_keeper(
    keeper: &mut Keeper,
    ballast: &mut KeeperBallast,
    clock: &dyn Clock,
    frames: &Receiver<Arc<ObservationFrame>>,
    health: &Health,
    stop: &AtomicBool,
) -> Result<(), KeeperError> {
    let mut turns = KeeperTurns::new(keeper, clock);
    loop {
        let frame = match frames.recv_timeout(IDLE) {
            Ok(frame) => Some(frame),
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Acquire) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        turns.turn(keeper, ballast, frame.as_ref(), clock, health)?;
    }
}

/// For how long something has been so; `since_us` remembers it from call to call.
fn full_for_us(since_us: &mut Option<u64>, is_full: bool, now_us: u64) -> u64 {
    if !is_full {
        *since_us = None;
        return 0;
    }
    now_us.saturating_sub(*since_us.get_or_insert(now_us))
}

/// Ages are measured from frame times, which never go back; a clock that is set back must not make everything young.
#[derive(Clone, Copy, Debug)]
struct FrameTime {
    frame_us: i64,
    applied_us: u64,
}

impl FrameTime {
    fn now_us(self, clock: &dyn Clock) -> i64 {
        let since_us = clock.monotonic_us().saturating_sub(self.applied_us) as i64;
        clock.receive_time_us().max(self.frame_us.saturating_add(since_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory that stays full is told after a while, and no longer than it is so (A1-7).
    #[test]
    fn fullness_is_measured_from_its_beginning() {
        let mut since_us = None;
        assert_eq!(full_for_us(&mut since_us, true, 10), 0);
        assert_eq!(full_for_us(&mut since_us, true, 30), 20);
        assert_eq!(full_for_us(&mut since_us, false, 40), 0);
        assert_eq!(full_for_us(&mut since_us, true, 50), 0);
        let health = Health::default();
        health.set(Trouble::StoreBehind, true);
        assert!(health.reasons()[0].contains("store.rows_in_memory_max"), "{:?}", health.reasons());
    }
}

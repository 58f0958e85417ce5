//! Time: stands still unless the simulation moves it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use gateway::clock::Clock;

/// 2026-11-21T01:00:00Z.
const START_US: i64 = 1_795_222_800_000_000;

/// A wall clock never goes further back than this: what was true when it was sent must not lie in the future by more than
/// `pipeline.clock_skew_max_s` when it comes.
pub(super) const BACK_US_MAX: i64 = 200_000_000;

#[derive(Debug)]
pub(super) struct SimClock {
    monotonic_us: AtomicU64,
    wall_us: AtomicI64,
    wall_max_us: AtomicI64,
}

impl SimClock {
    pub(super) fn new() -> Self {
        Self {
            monotonic_us: AtomicU64::new(1_000_000),
            wall_us: AtomicI64::new(START_US),
            wall_max_us: AtomicI64::new(START_US),
        }
    }

    pub(super) fn advance(&self, us: u64) {
        self.monotonic_us.fetch_add(us, Ordering::Relaxed);
        self.set_wall(us as i64);
        // A whole millisecond is the time of dated readings only, so that nobody takes an undated one for them.
        if self.now_us() % 1_000 == 0 {
            self.set_wall(1);
        }
    }

    /// Somebody sets the wall clock.
    pub(super) fn set_wall(&self, by_us: i64) {
        let max_us = self.wall_max_us.load(Ordering::Relaxed);
        let wall_us = (self.wall_us.load(Ordering::Relaxed) + by_us).max(max_us - BACK_US_MAX);
        self.wall_us.store(wall_us, Ordering::Relaxed);
        self.wall_max_us.store(max_us.max(wall_us), Ordering::Relaxed);
    }

    /// The furthest that the wall clock ever was.
    pub(super) fn latest_us(&self) -> i64 {
        self.wall_max_us.load(Ordering::Relaxed)
    }

    pub(super) fn now_us(&self) -> i64 {
        self.wall_us.load(Ordering::Relaxed)
    }
}

impl Clock for SimClock {
    fn receive_time_us(&self) -> i64 {
        self.now_us()
    }

    fn monotonic_us(&self) -> u64 {
        self.monotonic_us.load(Ordering::Relaxed)
    }
}

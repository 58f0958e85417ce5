//! Receive times: they follow the clock and never go back.

use crate::clock::Clock;

/// While the wall clock is behind the last stamp (it was set back, or the last run had a later one), time goes on at one part
/// of this many: the clock catches up, stamps stay apart, and ages that are measured by them go on.
const BEHIND_PARTS: i64 = 2;

#[derive(Debug)]
pub(super) struct Stamps {
    last_us: i64,
    monotonic_us: u64,
}

impl Stamps {
    /// `last_us` is the last stamp of the log.
    pub(super) fn new(last_us: i64) -> Self {
        Self { last_us, monotonic_us: u64::MAX }
    }

    pub(super) fn next(&mut self, clock: &dyn Clock) -> i64 {
        let monotonic_us = clock.monotonic_us();
        let elapsed_us = monotonic_us.saturating_sub(self.monotonic_us) as i64;
        self.last_us = clock.receive_time_us().max(self.last_us.saturating_add(elapsed_us / BEHIND_PARTS));
        self.monotonic_us = monotonic_us;
        self.last_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Set {
        wall_us: i64,
        monotonic_us: u64,
    }

    impl Clock for Set {
        fn receive_time_us(&self) -> i64 {
            self.wall_us
        }

        fn monotonic_us(&self) -> u64 {
            self.monotonic_us
        }
    }

    /// B1-2: the wall clock an hour back (here: 1,000 µs), in a run and between two.
    #[test]
    fn stamps_go_on_slowly_while_the_clock_is_behind() {
        let mut stamps = Stamps::new(i64::MIN);
        let mut at = |wall_us, monotonic_us| stamps.next(&Set { wall_us, monotonic_us });
        assert_eq!(at(5_000, 100), 5_000);
        assert_eq!(at(5_100, 200), 5_100);
        assert_eq!(at(4_200, 300), 5_150);
        assert_eq!(at(4_201, 301), 5_150, "never back");
        assert_eq!(at(5_800, 1_900), 5_949);
        assert_eq!(at(6_100, 2_200), 6_100, "the clock has caught up");
        let mut stamps = Stamps::new(9_000);
        assert_eq!(stamps.next(&Set { wall_us: 100, monotonic_us: 50 }), 9_000, "behind the last run");
        assert_eq!(stamps.next(&Set { wall_us: 110, monotonic_us: 60 }), 9_005);
    }
}

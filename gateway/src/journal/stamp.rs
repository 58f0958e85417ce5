//! Stamps of frames: they follow the clock and never go back. Beside them, how far the receive time is behind.

use crate::clock::Clock;
use crate::log::Stamp;

/// While the wall clock is behind the last stamp (it was set back, or the last run had a later one), time goes on at one part
/// of this many: the clock catches up, stamps stay apart, and ages that are measured by them go on.
const BEHIND_PARTS: i64 = 2;

/// A clock that is set back by up to this much is waited for: receive times are the stamps, which keep their order and are caught
/// up with in twice the time. One that is set back further was wrong: receive times follow it at once, until it has caught up.
const WAITED_FOR_MAX_S: u32 = 3 * 3_600;

#[derive(Debug)]
pub struct Stamps {
    last: Stamp,
    monotonic_us: u64,
}

impl Stamps {
    /// `last` is the last stamp of the log.
    pub(super) fn new(last: Stamp) -> Self {
        Self { last, monotonic_us: u64::MAX }
    }

    pub fn next(&mut self, clock: &dyn Clock) -> Stamp {
        let monotonic_us = clock.monotonic_us();
        let wall_us = clock.receive_time_us();
        let elapsed_us = monotonic_us.saturating_sub(self.monotonic_us) as i64;
        let time_us = wall_us.max(self.last.time_us.saturating_add(elapsed_us / BEHIND_PARTS));
        let behind_s = u32::try_from(time_us.saturating_sub(wall_us) / 1_000_000).unwrap_or(u32::MAX);
        let is_followed = behind_s > WAITED_FOR_MAX_S || self.last.behind_s > 0;
        self.last = Stamp { time_us, behind_s: if is_followed { behind_s } else { 0 } };
        self.monotonic_us = monotonic_us;
        self.last
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
        let mut stamps = Stamps::new(Stamp::from(i64::MIN));
        let mut at = |wall_us, monotonic_us| stamps.next(&Set { wall_us, monotonic_us }).received_us();
        assert_eq!(at(5_000, 100), 5_000);
        assert_eq!(at(5_100, 200), 5_100);
        assert_eq!(at(4_200, 300), 5_150);
        assert_eq!(at(4_201, 301), 5_150, "never back");
        assert_eq!(at(5_800, 1_900), 5_949);
        assert_eq!(at(6_100, 2_200), 6_100, "the clock has caught up");
        let mut stamps = Stamps::new(Stamp::from(9_000));
        assert_eq!(
            stamps.next(&Set { wall_us: 100, monotonic_us: 50 }),
            Stamp::from(9_000),
            "behind the last run"
        );
        assert_eq!(stamps.next(&Set { wall_us: 110, monotonic_us: 60 }), Stamp::from(9_005));
    }

    /// B1-2, P2: a clock that says 2099 for a moment is not what messages are judged by afterwards.
    #[test]
    fn b1_2_receive_times_come_back_from_a_far_leap_and_stamps_do_not() {
        const HOUR_US: i64 = 3_600_000_000;
        let mut stamps = Stamps::new(Stamp::from(i64::MIN));
        let mut monotonic_us = 0;
        let mut after = |stamps: &mut Stamps, wall_us, us| {
            monotonic_us += us;
            let stamp = stamps.next(&Set { wall_us, monotonic_us });
            (stamp.time_us, stamp.received_us())
        };
        let now_us = 500_000 * HOUR_US;
        let far_us = now_us + 640_000 * HOUR_US;
        assert_eq!(after(&mut stamps, now_us, 1), (now_us, now_us));
        assert_eq!(after(&mut stamps, far_us, 1), (far_us, far_us));
        let (stamp_us, received_us) = after(&mut stamps, now_us, 1_000_000);
        assert_eq!(stamp_us, far_us + 500_000, "never back");
        assert!((now_us..now_us + 1_000_000).contains(&received_us), "{}", received_us - now_us);
        // Over a restart.
        let mut stamps = Stamps::new(Stamp { time_us: stamp_us, behind_s: 640_000 * 3_600 });
        let (_, received_us) = after(&mut stamps, now_us + 5_000_000, 1);
        assert!((now_us + 5_000_000..now_us + 6_000_000).contains(&received_us));
        // Near the end it does not jump ahead to the stamps again.
        for left_us in [4 * HOUR_US, 2 * HOUR_US, 10_000_000, 400_000] {
            let (stamp_us, received_us) = after(&mut stamps, far_us + 500_000 - left_us, 0);
            assert_eq!(stamp_us, far_us + 500_000);
            assert!((stamp_us - left_us..stamp_us - left_us + 1_000_000).contains(&received_us));
        }
        let late_us = far_us + HOUR_US;
        assert_eq!(after(&mut stamps, late_us, 1), (late_us, late_us), "caught up");
        assert_eq!(after(&mut stamps, late_us - 3 * HOUR_US, 0), (late_us, late_us), "waited for");
        let wall_us = late_us - 90 * 365 * 24 * HOUR_US;
        let received_us = after(&mut stamps, wall_us, 0).1;
        assert!((wall_us..wall_us + 1_000_000).contains(&received_us), "followed");
    }
}

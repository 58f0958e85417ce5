//! Stamps of frames: they follow the clock and never go back. Beside them, how far the receive time is behind.

use std::sync::Arc;

use crate::clock::{Clock, TimeFloor};
use crate::log::Stamp;

/// While the wall clock is behind the last stamp (it was set back, or the last run had a later one), time goes on at one part
/// of this many: the clock catches up, stamps stay apart, and ages that are measured by them go on.
const BEHIND_PARTS: i64 = 2;

/// A clock that is set back by up to this much is waited for: receive times are the stamps, which keep their order and are caught
/// up with in twice the time. One that is set back further was wrong: receive times follow it at once, until it has caught up.
/// Below the [`TimeFloor`] it is the clock that is wrong now, and it is waited for however far it is behind.
const WAITED_FOR_MAX_S: u32 = 3 * 3_600;

#[derive(Debug)]
pub struct Stamps {
    last: Stamp,
    monotonic_us: u64,
    floor: Arc<TimeFloor>,
    /// The time instead of the wall clock's, while that is below the floor.
    instead_us: Option<i64>,
}

impl Stamps {
    /// `last` is the last stamp of the log.
    pub(super) fn new(last: Stamp, floor: Arc<TimeFloor>) -> Self {
        Self { last, monotonic_us: u64::MAX, floor, instead_us: None }
    }

    pub fn next(&mut self, clock: &dyn Clock) -> Stamp {
        let monotonic_us = clock.monotonic_us();
        let elapsed_us = monotonic_us.saturating_sub(self.monotonic_us) as i64;
        let wall_us = self.believed_us(clock.receive_time_us(), elapsed_us);
        let time_us = wall_us.max(self.last.time_us.saturating_add(elapsed_us / BEHIND_PARTS));
        let behind_s = u32::try_from(time_us.saturating_sub(wall_us) / 1_000_000).unwrap_or(u32::MAX);
        let is_followed = behind_s > WAITED_FOR_MAX_S || self.last.behind_s > 0;
        self.last = Stamp { time_us, behind_s: if is_followed { behind_s } else { 0 } };
        self.monotonic_us = monotonic_us;
        self.last
    }

    /// The wall clock; below the floor a time that goes on slowly from the last receive time.
    fn believed_us(&mut self, wall_us: i64, elapsed_us: i64) -> i64 {
        let floor_us = self.floor.floor_us();
        if wall_us >= floor_us {
            self.instead_us = None;
            return wall_us;
        }
        let instead_us = match self.instead_us {
            Some(before_us) => before_us.saturating_add(elapsed_us / BEHIND_PARTS),
            None => {
                let from_us = self.floor.nearest_us(self.last.received_us());
                tracing::warn!(
                    behind_s = (from_us - wall_us) / 1_000_000,
                    "the machine's clock is further behind the data than it can be; receive times do not follow it, and go on at \
                     half pace until it is right: set it (date, timedatectl)"
                );
                from_us
            }
        };
        self.instead_us = Some(instead_us);
        instead_us
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

    /// Where nothing expires.
    fn any() -> Arc<TimeFloor> {
        Arc::new(TimeFloor::new(0))
    }

    const HOUR_US: i64 = 3_600_000_000;

    /// B1-2, P2: a flat battery or a boot before the time server answers must not date readings where they expire at once.
    #[test]
    fn b1_2_p2_receive_times_do_not_follow_a_clock_that_is_behind_the_floor() {
        let now_us = 500_000 * HOUR_US;
        let floor = Arc::new(TimeFloor::new(24 * HOUR_US));
        floor.tell(now_us);
        let at = |stamps: &mut Stamps, wall_us, monotonic_us| stamps.next(&Set { wall_us, monotonic_us });
        // A restart in 1970, behind a sound run; then the clock is right.
        let mut stamps = Stamps::new(Stamp::from(now_us + 70), floor.clone());
        assert_eq!(at(&mut stamps, 5, 100), Stamp::from(now_us + 70));
        assert_eq!(at(&mut stamps, 9, 300), Stamp::from(now_us + 170), "half pace");
        assert_eq!(at(&mut stamps, 9, 100_000), Stamp::from(now_us + 50_020));
        let hours_later_us = now_us + 2 * HOUR_US;
        assert_eq!(at(&mut stamps, hours_later_us, 100_001), Stamp::from(hours_later_us));
        // What can be right is followed, one microsecond less is not.
        let floor_us = now_us - 24 * HOUR_US;
        let followed = at(&mut stamps, floor_us, 100_002).received_us();
        assert!((floor_us..floor_us + 1_000_000).contains(&followed), "{}", followed - floor_us);
        let waited = at(&mut stamps, floor_us - 1, 100_002).received_us();
        assert!((followed..followed + 1_000_000).contains(&waited), "{}", waited - followed);
        // The last run ended in 2099, and stamps stay there.
        let far_us = now_us + 640_000 * HOUR_US;
        let mut stamps = Stamps::new(Stamp::from(far_us), floor.clone());
        for (monotonic_us, passed_us) in [(7, 0), (10_000_007, 5_000_000)] {
            let stamp = at(&mut stamps, 5, monotonic_us);
            assert_eq!(stamp.time_us, far_us + passed_us);
            let from_us = now_us + passed_us;
            assert!((from_us..from_us + 1_000_000).contains(&stamp.received_us()));
        }
        // An empty log.
        let mut stamps = Stamps::new(Stamp::from(i64::MIN), floor);
        assert_eq!(at(&mut stamps, 5, 7), Stamp::from(floor_us));
    }

    /// B1-2: the wall clock an hour back (here: 1,000 µs), in a run and between two.
    #[test]
    fn stamps_go_on_slowly_while_the_clock_is_behind() {
        let mut stamps = Stamps::new(Stamp::from(i64::MIN), any());
        let mut at = |wall_us, monotonic_us| stamps.next(&Set { wall_us, monotonic_us }).received_us();
        assert_eq!(at(5_000, 100), 5_000);
        assert_eq!(at(5_100, 200), 5_100);
        assert_eq!(at(4_200, 300), 5_150);
        assert_eq!(at(4_201, 301), 5_150, "never back");
        assert_eq!(at(5_800, 1_900), 5_949);
        assert_eq!(at(6_100, 2_200), 6_100, "the clock has caught up");
        let mut stamps = Stamps::new(Stamp::from(9_000), any());
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
        let mut stamps = Stamps::new(Stamp::from(i64::MIN), any());
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
        let mut stamps = Stamps::new(Stamp { time_us: stamp_us, behind_s: 640_000 * 3_600 }, any());
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

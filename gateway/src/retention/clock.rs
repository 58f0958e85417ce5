//! The time by which observations and books expire. What it takes away is gone, so it does not follow a clock that leaps: it runs
//! with the wall clock only where that has not gone further than time has passed.

const HOUR_US: i64 = 3_600_000_000;

/// What a start goes on with, and how far it may be ahead of that.
///
/// Across a run the monotonic clock says how much time has passed; across a stop nobody does. So the wall clock is believed up to
/// `leap_max_us` ahead of *the time of the last commit plus the time that this run has taken*. Further ahead it is not followed:
/// the time goes on evenly from that commit, and [`has_leapt`](Self::has_leapt) says so until the wall clock is back.
#[derive(Debug)]
pub struct RetentionClock {
    leap_max_us: i64,
    /// Time at the first look of this run, and the monotonic clock there.
    base: Option<(i64, u64)>,
    /// Never goes back; [`i64::MIN`] = not known yet.
    now_us: i64,
    committed_us: i64,
    has_leapt: bool,
}

impl RetentionClock {
    /// `committed_us`: as a commit had it, [`i64::MIN`] = none has; then the wall clock of the first look is believed.
    pub fn new(committed_us: i64, leap_max_us: i64) -> Self {
        Self { leap_max_us, base: None, now_us: committed_us, committed_us, has_leapt: false }
    }

    pub fn tell(&mut self, wall_us: i64, monotonic_us: u64) {
        let start_us = if self.now_us == i64::MIN { wall_us } else { self.now_us };
        let (base_us, base_monotonic_us) = *self.base.get_or_insert((start_us, monotonic_us));
        let passed_us = i64::try_from(monotonic_us.saturating_sub(base_monotonic_us)).unwrap_or(i64::MAX);
        let even_us = base_us.saturating_add(passed_us);
        self.has_leapt = wall_us > even_us.saturating_add(self.leap_max_us);
        self.now_us = self.now_us.max(if self.has_leapt { even_us } else { wall_us });
    }

    pub fn now_us(&self) -> i64 {
        self.now_us
    }

    /// The wall clock is too far ahead: by what it says now nothing expires.
    pub fn has_leapt(&self) -> bool {
        self.has_leapt
    }

    /// A commit is due, so that the next start knows the time.
    pub fn wants_commit(&self) -> bool {
        self.now_us.saturating_sub(self.committed_us) >= HOUR_US
    }

    pub fn committed(&mut self, committed_us: i64) {
        self.committed_us = committed_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 24 * HOUR_US;

    fn day(days: i64) -> u64 {
        (days * DAY_US) as u64
    }

    /// B1-2, B1-7: the clock of 2099 for one look, for long, over a restart, and over many.
    #[test]
    fn b1_7_a_clock_that_leaps_takes_nothing_away() {
        let now_us = 20_000 * DAY_US;
        let far_us = now_us + 27_000 * DAY_US;
        let mut clock = RetentionClock::new(i64::MIN, DAY_US);
        clock.tell(now_us, 50);
        assert_eq!((clock.now_us(), clock.has_leapt()), (now_us, false), "the first look is believed");
        clock.tell(far_us, 50 + 1_000);
        assert_eq!((clock.now_us(), clock.has_leapt()), (now_us + 1_000, true), "time goes on evenly");
        clock.tell(far_us + 3 * DAY_US, 50 + day(3));
        assert_eq!((clock.now_us(), clock.has_leapt()), (now_us + 3 * DAY_US, true));
        for restart in 0..10 {
            clock = RetentionClock::new(clock.now_us(), DAY_US);
            clock.tell(far_us, restart);
            assert_eq!((clock.now_us(), clock.has_leapt()), (now_us + 3 * DAY_US, true), "gains nothing");
        }
        clock.tell(now_us + 3 * DAY_US + HOUR_US, 20);
        assert_eq!((clock.now_us(), clock.has_leapt()), (now_us + 3 * DAY_US + HOUR_US, false), "set right");
        clock.tell(now_us, 30);
        assert_eq!(clock.now_us(), now_us + 3 * DAY_US + HOUR_US, "never back");
    }

    #[test]
    fn b1_7_small_leaps_are_followed_and_do_not_add_up() {
        let mut clock = RetentionClock::new(DAY_US, DAY_US);
        clock.tell(DAY_US + 20 * HOUR_US, 0);
        assert_eq!((clock.now_us(), clock.has_leapt()), (DAY_US + 20 * HOUR_US, false), "a stop of 20 hours");
        clock.tell(DAY_US + 40 * HOUR_US, 1);
        assert_eq!((clock.now_us(), clock.has_leapt()), (DAY_US + 20 * HOUR_US, true), "and 20 more");
        // What an operator allows who knows that the gateway was off.
        let mut clock = RetentionClock::new(DAY_US, 40 * DAY_US);
        clock.tell(31 * DAY_US, 0);
        assert_eq!((clock.now_us(), clock.has_leapt()), (31 * DAY_US, false));
    }

    #[test]
    fn b1_7_the_time_is_committed_once_an_hour() {
        let mut clock = RetentionClock::new(i64::MIN, DAY_US);
        clock.tell(DAY_US, 0);
        assert!(clock.wants_commit(), "none has it yet");
        clock.committed(DAY_US);
        clock.tell(DAY_US + HOUR_US - 1, (HOUR_US - 1) as u64);
        assert!(!clock.wants_commit());
        clock.tell(DAY_US + HOUR_US, HOUR_US as u64);
        assert!(clock.wants_commit());
    }
}

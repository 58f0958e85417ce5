//! What retention may take away, and what it must leave: the model's own word on it, from the clock and the settings alone.

use std::sync::Arc;

use super::clock::SimClock;

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// Of its readings devices say nothing that is nearer to its end: while it is on its way the clock may be set forward.
const SAID_BEFORE_US: i64 = HOUR_US / 2;
/// Rows lie in files for so long after they stopped being shown.
const REMOVED_AFTER_US: i64 = HOUR_US;
/// The keeper has looked at the clock since then, where a gateway had nothing to do.
const LOOKED_US: i64 = 5_000_000;

/// Readings of the environment go after some days, all others stay.
#[derive(Clone, Debug)]
pub(super) struct Expiry {
    clock: Arc<SimClock>,
    kept_us: Option<i64>,
}

impl Expiry {
    pub(super) fn new(clock: Arc<SimClock>, kept_days: Option<u32>) -> Self {
        Self { clock, kept_us: kept_days.map(|days| i64::from(days) * DAY_US) }
    }

    fn kept_us(&self, datastream: &str) -> Option<i64> {
        let is_limited = ["/pm2_5", "/noise"].iter().any(|property| datastream.ends_with(property));
        self.kept_us.filter(|_| is_limited)
    }

    /// Nothing has to show it any more.
    pub(super) fn may_be_gone(&self, datastream: &str, time_us: i64) -> bool {
        self.kept_us(datastream).is_some_and(|kept_us| time_us < self.clock.latest_us() - kept_us)
    }

    /// Nothing may show it any more, where nothing waits.
    pub(super) fn must_be_gone(&self, datastream: &str, time_us: i64) -> bool {
        self.kept_us(datastream).is_some_and(|kept_us| time_us < self.clock.now_us() - LOOKED_US - kept_us)
    }

    /// No file needs to hold it any more.
    pub(super) fn may_be_removed(&self, datastream: &str, time_us: i64) -> bool {
        let kept_us = self.kept_us(datastream);
        kept_us.is_some_and(|kept_us| time_us < self.clock.latest_us() - kept_us - REMOVED_AFTER_US)
    }

    /// The oldest time that a device may still speak of.
    pub(super) fn oldest_said_us(&self, datastream: &str) -> i64 {
        self.kept_us(datastream).map_or(i64::MIN, |kept_us| self.clock.now_us() - kept_us + SAID_BEFORE_US)
    }

    /// A time that is refused, if there is one.
    pub(super) fn refused_us(&self) -> Option<i64> {
        self.kept_us.map(|kept_us| self.clock.now_us() - kept_us - HOUR_US)
    }

    pub(super) fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    pub(super) fn is_limited(&self) -> bool {
        self.kept_us.is_some()
    }
}

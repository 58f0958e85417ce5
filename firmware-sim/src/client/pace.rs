//! When the next message of a client is due.

use std::time::Duration;

use tokio::time::Instant;

/// How far a client that was held up may run behind its rate; what it missed beyond that is left out, not caught up.
const BACKLOG_MAX: Duration = Duration::from_secs(1);

/// Even spacing of messages, or none.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    interval: Option<Duration>,
    /// Part of an interval by which this client starts later, so that clients do not send in step.
    lead: Duration,
    next: Instant,
}

impl Pace {
    /// `messages_per_s`: `None` is as fast as the window allows. `phase` from 0 to 1 spreads the clients over an interval.
    pub(crate) fn new(messages_per_s: Option<f64>, phase: f64) -> Self {
        let interval = messages_per_s
            .and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok())
            .filter(|interval| !interval.is_zero());
        let lead = interval.map_or(Duration::ZERO, |interval| interval.mul_f64(phase.clamp(0.0, 1.0)));
        Self { interval, lead, next: Instant::now() + lead }
    }

    /// Starts counting now; time without a connection is no backlog.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.next = self.next.max(now + self.lead);
        self.lead = Duration::ZERO;
    }

    /// How many messages are due, at most `room`; they count as sent.
    pub(crate) fn due(&mut self, now: Instant, room: usize) -> usize {
        let Some(interval) = self.interval else { return room };
        if now > self.next + BACKLOG_MAX {
            self.next = now - BACKLOG_MAX;
        }
        let mut due = 0;
        while due < room && self.next <= now {
            self.next += interval;
            due += 1;
        }
        due
    }

    pub(crate) fn next_due(&self, now: Instant) -> Instant {
        if self.interval.is_none() { now } else { self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_spaced_evenly_and_a_hold_up_is_caught_up_for_one_second_only() {
        let mut pace = Pace::new(Some(10.0), 0.0);
        let start = pace.next;
        assert_eq!(pace.due(start, 100), 1);
        assert_eq!(pace.due(start + Duration::from_millis(50), 100), 0);
        assert_eq!(pace.due(start + Duration::from_millis(350), 100), 3);
        assert_eq!(pace.due(start + Duration::from_secs(3600), 100), 11);
    }

    #[test]
    fn without_a_rate_the_window_decides() {
        assert_eq!(Pace::new(None, 0.5).due(Instant::now(), 7), 7);
    }
}

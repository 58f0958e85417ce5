//! When the messages of a paced run are due: every connection at its own even beat, the beats spread at random.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::Waker;

/// A fixed seed: every run has the same beats.
const SEED: u64 = 0x5EED_BEA7;

/// Message k of a phase is sent by connection `k % connections`.
#[derive(Debug)]
pub(super) struct Schedule {
    interval_ns: u64,
    /// Ascending, one per connection.
    phases_ns: Vec<u64>,
}

impl Schedule {
    pub(super) fn new(connections: usize, messages_per_s: f64) -> Self {
        let interval_ns = ((connections as f64 / messages_per_s * 1e9) as u64).max(1);
        let mut state = SEED;
        let mut phases_ns: Vec<u64> =
            (0..connections).map(|_| next_random(&mut state) % interval_ns).collect();
        phases_ns.sort_unstable();
        Self { interval_ns, phases_ns }
    }

    /// When the n-th message of one connection is due, from the start of the phase.
    pub(super) fn due_ns(&self, connection: usize, n: u64) -> u64 {
        self.phases_ns[connection] + n * self.interval_ns
    }

    /// Messages due by then, over all connections.
    fn due_count(&self, elapsed_ns: u64) -> u64 {
        let rounds = elapsed_ns / self.interval_ns;
        let within = elapsed_ns % self.interval_ns;
        rounds * self.phases_ns.len() as u64 + self.phases_ns.partition_point(|&phase| phase <= within) as u64
    }

    fn due_of_message(&self, message: u64) -> u64 {
        let connections = self.phases_ns.len() as u64;
        self.due_ns((message % connections) as usize, message / connections)
    }
}

/// SplitMix64's step: good enough to spread beats.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A thread that sleeps until each message is due and wakes the driver: a poll's own timeout counts in milliseconds,
/// which would send the messages in bunches.
#[derive(Debug)]
pub(super) struct Pacer {
    due: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    pub(super) fn start(schedule: Arc<Schedule>, started: Instant, waker: Arc<Waker>) -> Self {
        let due = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (due, stop) = (due.clone(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let count = schedule.due_count(started.elapsed().as_nanos() as u64);
                    if due.swap(count, Ordering::Relaxed) != count && waker.wake().is_err() {
                        return;
                    }
                    let next = Duration::from_nanos(schedule.due_of_message(count));
                    thread::sleep(next.saturating_sub(started.elapsed()));
                }
            })
        };
        Self { due, stop, thread: Some(thread) }
    }

    /// Messages that are due by now.
    pub(super) fn due(&self) -> u64 {
        self.due.load(Ordering::Relaxed)
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends after at most one interval; a panic there is of no more interest here.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_and_due_times_agree() {
        let schedule = Schedule::new(7, 1_000.0);
        assert_eq!(schedule.interval_ns, 7_000_000);
        for message in 0..50 {
            let due_ns = schedule.due_of_message(message);
            assert!(schedule.due_count(due_ns) > message);
            assert!(due_ns == 0 || schedule.due_count(due_ns - 1) <= message);
        }
        assert_eq!(schedule.due_count(1_000_000_000 * 7 - 1), 7_000);
    }
}

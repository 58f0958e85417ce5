//! Time from outside: stages take `now` as a parameter, threads get it from a [`Clock`].

use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The two times that a gateway needs.
pub trait Clock: Debug + Send + Sync {
    /// Receive time: µs since 1970 UTC. Follows the wall clock, but runs evenly: small differences are slewed.
    fn receive_time_us(&self) -> i64;

    /// For time-outs: µs since some start, never set.
    fn monotonic_us(&self) -> u64;
}

/// What the wall clock can say at the least. The time by which data expire never believes a far leap ahead and is committed once an
/// hour, so a wall clock far behind it is wrong (a flat battery, a boot before the time server answers), not right again.
///
/// Where nothing ever expires no such time is kept, and any wall clock is believed.
#[derive(Debug)]
pub struct TimeFloor {
    known_us: AtomicI64,
    apart_max_us: i64,
}

impl TimeFloor {
    /// `apart_max_us`: how far the wall clock may be from the time that is known.
    pub fn new(apart_max_us: i64) -> Self {
        Self { known_us: AtomicI64::new(i64::MIN), apart_max_us }
    }

    /// Time of [`crate::retention::RetentionClock`]; [`i64::MIN`] = not known.
    pub fn tell(&self, known_us: i64) {
        self.known_us.fetch_max(known_us, Ordering::AcqRel);
    }

    /// [`i64::MIN`] = not known.
    pub fn floor_us(&self) -> i64 {
        self.known_us.load(Ordering::Acquire).saturating_sub(self.apart_max_us)
    }

    /// A time to go on with below the floor: `time_us` where that can be right, else the nearest that is known.
    pub fn nearest_us(&self, time_us: i64) -> i64 {
        let known_us = self.known_us.load(Ordering::Acquire);
        match time_us > known_us.saturating_add(self.apart_max_us) {
            true => known_us,
            false => time_us.max(known_us.saturating_sub(self.apart_max_us)),
        }
    }
}

/// A wall clock that differs by less is followed slowly; one that differs by more was set, and is followed at once.
const STEP_MIN_US: i64 = 1_000_000;
/// At most this much is made good per second of running time.
const SLEW_US_PER_S: i64 = 500;

/// The machine's clocks: boot clock plus an offset that follows the wall clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    state: Mutex<Slew>,
}

#[derive(Clone, Copy, Debug)]
struct Slew {
    offset_us: i64,
    adjusted_at_us: u64,
}

impl SystemClock {
    pub fn new() -> Self {
        Self { start: Instant::now(), state: Mutex::new(Slew { offset_us: wall_us(), adjusted_at_us: 0 }) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn receive_time_us(&self) -> i64 {
        let now_us = self.monotonic_us();
        let Ok(mut slew) = self.state.lock() else { return wall_us() };
        let elapsed_us = now_us.saturating_sub(slew.adjusted_at_us) as i64;
        if elapsed_us >= 1_000_000 {
            let difference_us = wall_us() - (slew.offset_us + now_us as i64);
            let slew_max_us = SLEW_US_PER_S * (elapsed_us / 1_000_000);
            slew.offset_us += if difference_us.abs() >= STEP_MIN_US {
                tracing::warn!(
                    step_us = difference_us,
                    "the wall clock was set {}",
                    what_follows(difference_us)
                );
                difference_us
            } else {
                difference_us.clamp(-slew_max_us, slew_max_us)
            };
            slew.adjusted_at_us = now_us;
        }
        slew.offset_us + now_us as i64
    }

    fn monotonic_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}

/// As `journal::Stamps` does it.
fn what_follows(step_us: i64) -> &'static str {
    match step_us {
        0.. => "forward; receive times follow it",
        _ => {
            "back; receive times go on at half its pace until it has caught up with them, or follow it where it is more than \
             three hours behind them and can be right (retention.clock_leap_max_hours)"
        }
    }
}

fn wall_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// Does the machine's clock follow a time server? `None` where the kernel does not say.
pub fn synchronised() -> Option<bool> {
    // SAFETY: all fields of `timex` are integers, for which zero bits are a value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `timex` is ours and whole; with `modes` 0 the call only reads the kernel's state into it.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return None;
    }
    Some(state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0)
}

//! What keeps the gateway from working as it should: states with cause and remedy, told by `/ready`, `/metrics`, the console
//! and the log.

mod budget;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::Serialize;

pub use budget::{Budget, Budgets, Lag};

/// A state that ends by itself when its cause is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Trouble {
    /// No segment of the journal is ready: nothing is acknowledged.
    JournalFull = 1,
    /// The observation log cannot grow: what is acknowledged waits in the journal.
    ObservationLogFull = 2,
    /// No flush or commit is possible, or only with the ballast's space.
    DiskFull = 4,
    /// The store's memory is full, and a flush or the comparison of late rows takes long.
    StoreBehind = 8,
    /// Messages of clients wait for the journal for a second and longer.
    ClientsWait = 16,
    /// Some clients may publish nothing more that is decoded, because of what they have in quarantine.
    QuarantineFull = 32,
    /// The wall clock went further than time has passed, so nothing expires by it.
    ClockLeapt = 64,
    /// A store file is not what was written.
    StoreFileDamaged = 128,
    /// Nobody may publish anything more that is decoded, because of what is in quarantine.
    QuarantineExhausted = 256,
}

/// What is said of a state.
struct Words {
    trouble: Trouble,
    /// The word of `/ready`, the metrics and the console.
    state: &'static str,
    /// The gateway is not ready while it lasts.
    blocks: bool,
    /// Which budget tells how long the rest lasts.
    budget: &'static str,
    cause: &'static str,
    remedy: &'static str,
}

const WORDS: [Words; 9] = [
    Words {
        trouble: Trouble::JournalFull,
        state: "journal_full",
        blocks: true,
        budget: "journal",
        cause: "the journal has no segment ready and no space for one (the disk is full, or journal.log_bytes_max is used \
                up), so nothing is acknowledged",
        remedy: "free some space in the data directory or raise journal.log_bytes_max",
    },
    Words {
        trouble: Trouble::ObservationLogFull,
        state: "observation_log_full",
        blocks: true,
        budget: "observation_log",
        cause: "the observation log cannot grow (the disk is full, or journal.log_bytes_max is used up), so messages wait in \
                the journal",
        remedy: "free some space in the data directory or raise journal.log_bytes_max",
    },
    Words {
        trouble: Trouble::DiskFull,
        state: "disk_full",
        blocks: true,
        budget: "disk",
        cause: "the disk is full, so the store flushes with the last reserve or not at all, and observations wait in the \
                observation log",
        remedy: "free some space in the data directory",
    },
    Words {
        trouble: Trouble::StoreBehind,
        state: "store_behind",
        blocks: true,
        budget: "rows_in_memory",
        cause: "the store's memory is full and its disk does not keep up, so messages wait in the journal",
        remedy: "send less, use a faster disk, or raise store.rows_in_memory_max and store.late_rows_max",
    },
    Words {
        trouble: Trouble::QuarantineExhausted,
        state: "quarantine_exhausted",
        blocks: true,
        budget: "quarantine",
        cause: "the quarantine has more than twice its budget (or more clients than can be told apart have filled it), so what \
                anybody publishes under obs/ is refused",
        remedy: "see `quarantine list`, correct the payload or the mapping and replay, or erase; or raise quarantine.bytes_max",
    },
    Words {
        trouble: Trouble::ClientsWait,
        state: "clients_wait",
        blocks: false,
        budget: "hold_pool",
        cause: "the journal takes in less than clients send, so their messages wait for it unacknowledged",
        remedy: "see what else is told here; without anything else: send less, or use a faster disk",
    },
    Words {
        trouble: Trouble::QuarantineFull,
        state: "quarantine_full",
        blocks: false,
        budget: "quarantine",
        cause: "clients have used up their share of the quarantine (or all of it together), so what they publish under obs/ \
                is refused; others are served",
        remedy: "see `quarantine list`, correct the payload or the mapping and replay, or erase; or raise \
                 quarantine.client_bytes_max or quarantine.bytes_max",
    },
    Words {
        trouble: Trouble::ClockLeapt,
        state: "clock_leapt",
        blocks: false,
        budget: "disk",
        cause: "the machine's clock is further ahead than time has passed since the last commit (it leapt, or the gateway was off \
                for longer than retention.clock_leap_max_hours), so nothing expires by it",
        remedy: "set the clock right; if it is right, start once with a higher retention.clock_leap_max_hours",
    },
    Words {
        trouble: Trouble::StoreFileDamaged,
        state: "store_file_damaged",
        blocks: false,
        budget: "disk",
        cause: "the bytes of a store file are not those that were written (the log names the file), so values in it may be \
                wrong; it is served as it is and merged with no other",
        remedy: "put the file back from a backup, see docs/operations/damage.md, and check the disk",
    },
];

/// A state that is there now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    pub state: &'static str,
    pub cause: &'static str,
    pub remedy: &'static str,
    /// The gateway is not ready because of it.
    pub blocks: bool,
    /// How long it has lasted.
    pub for_s: u64,
    /// The budget that it is about.
    pub budget: &'static str,
    /// For how long the rest of that budget lasts at the present rate; `None` = it is not filling.
    pub hours_left: Option<f64>,
}

/// Between two log lines that say that the same state begins.
const LINE_PAUSE_US: u64 = 60_000_000;
/// Between two looks.
const LOOK_US: u64 = 250_000;
/// A state that is gone for so long has ended.
const GONE_US: u64 = 1_000_000;

/// The troubles of now.
#[derive(Debug, Default)]
pub struct Health {
    present: AtomicU32,
    courses: Mutex<[Course; WORDS.len()]>,
    budgets: OnceLock<Box<dyn Budgets>>,
    next_look_us: AtomicU64,
}

/// How one state has gone so far.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    since_us: Option<u64>,
    seen_us: u64,
    /// The log was told that it began, and not yet that it ended.
    is_told: bool,
    next_line_us: u64,
}

/// What a look at a state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Begins,
    Ends { lasted_us: u64 },
}

impl Course {
    fn look(&mut self, is_present: bool, now_us: u64) -> Change {
        if is_present {
            self.seen_us = now_us;
            self.since_us.get_or_insert(now_us);
            if !self.is_told && now_us >= self.next_line_us {
                self.is_told = true;
                self.next_line_us = now_us + LINE_PAUSE_US;
                return Change::Begins;
            }
            return Change::None;
        }
        let Some(since_us) = self.since_us else { return Change::None };
        if now_us.saturating_sub(self.seen_us) < GONE_US {
            return Change::None;
        }
        self.since_us = None;
        if !std::mem::take(&mut self.is_told) {
            return Change::None;
        }
        Change::Ends { lasted_us: self.seen_us - since_us }
    }
}

impl Health {
    pub fn set(&self, trouble: Trouble, present: bool) {
        if present {
            self.present.fetch_or(trouble as u32, Ordering::Relaxed);
        } else if self.present.load(Ordering::Relaxed) & trouble as u32 != 0 {
            self.present.fetch_and(!(trouble as u32), Ordering::Relaxed);
        }
    }

    pub fn has(&self, trouble: Trouble) -> bool {
        self.present.load(Ordering::Relaxed) & trouble as u32 != 0
    }

    /// What the hours left are taken from; set once, at start.
    pub fn set_budgets(&self, budgets: impl Budgets + 'static) {
        // A second one would be a bug of the start-up code; the first stays.
        let _ = self.budgets.set(Box::new(budgets));
    }

    pub fn budgets(&self) -> Option<&dyn Budgets> {
        self.budgets.get().map(Box::as_ref)
    }

    /// Called now and then by a thread that never waits for clients: takes samples of the budgets, and tells the log of
    /// states that begin and end. A state that comes and goes is told once a minute.
    pub fn watch(&self, now_us: u64) {
        if now_us < self.next_look_us.load(Ordering::Relaxed) {
            return;
        }
        self.next_look_us.store(now_us + LOOK_US, Ordering::Relaxed);
        if let Some(budgets) = self.budgets.get() {
            budgets.sample(now_us);
            let is_exhausted = budgets.quarantine_is_exhausted();
            self.set(Trouble::QuarantineExhausted, is_exhausted);
            // Which says that others are served.
            self.set(Trouble::QuarantineFull, !is_exhausted && budgets.clients_refused() > 0);
        }
        let mut courses = self.courses.lock().unwrap_or_else(PoisonError::into_inner);
        for (words, course) in WORDS.iter().zip(courses.iter_mut()) {
            let Words { state, cause, remedy, .. } = words;
            match course.look(self.has(words.trouble), now_us) {
                Change::None => {}
                Change::Begins => {
                    let hours_left = self.hours_left(words.budget);
                    // Waiting for a busy machine is no warning; what it waits for is one, and is told.
                    if words.trouble == Trouble::ClientsWait {
                        tracing::info!(state, hours_left, "{cause}: {remedy}");
                    } else {
                        tracing::warn!(state, hours_left, "{cause}: {remedy}");
                    }
                }
                Change::Ends { lasted_us } => {
                    tracing::info!(
                        state,
                        lasted_s = lasted_us / 1_000_000,
                        "{state} has ended; work goes on"
                    );
                }
            }
        }
    }

    /// What is wrong now, the worst first.
    pub fn states(&self, now_us: u64) -> Vec<State> {
        let courses = *self.courses.lock().unwrap_or_else(PoisonError::into_inner);
        let present = WORDS.iter().zip(courses).filter(|(words, _)| self.has(words.trouble));
        present
            .map(|(words, course)| State {
                state: words.state,
                cause: words.cause,
                remedy: words.remedy,
                blocks: words.blocks,
                for_s: course.since_us.map_or(0, |since_us| now_us.saturating_sub(since_us) / 1_000_000),
                budget: words.budget,
                hours_left: self.hours_left(words.budget),
            })
            .collect()
    }

    /// One sentence for each state in which the gateway is not ready: state, cause, remedy.
    pub fn reasons(&self) -> Vec<String> {
        let blocking = WORDS.iter().filter(|words| words.blocks && self.has(words.trouble));
        blocking.map(|words| format!("{}: {}", words.cause, words.remedy)).collect()
    }

    /// All states there can be, each with whether it is there.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, bool)> {
        WORDS.iter().map(|words| (words.state, self.has(words.trouble)))
    }

    fn hours_left(&self, budget: &str) -> Option<f64> {
        let budgets = self.budgets.get()?.all();
        budgets.into_iter().find(|other| other.budget == budget)?.hours_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B1-3: a line when a state begins, one when it ends; a state that flickers fills no log.
    #[test]
    fn b1_3_states_are_told_when_they_begin_and_end_and_not_more_often() {
        const SECOND: u64 = 1_000_000;
        let mut course = Course::default();
        assert_eq!(course.look(false, 0), Change::None);
        assert_eq!(course.look(true, SECOND), Change::Begins);
        assert_eq!(course.look(true, 2 * SECOND), Change::None);
        assert_eq!(course.look(false, 2 * SECOND + 1), Change::None, "perhaps it is back at once");
        assert_eq!(course.look(true, 4 * SECOND), Change::None);
        assert_eq!(course.look(false, 6 * SECOND), Change::Ends { lasted_us: 3 * SECOND });
        let mut lines = 0;
        for turn in 0..100 {
            for (is_present, at_us) in [(true, 10 + 3 * turn), (false, 12 + 3 * turn)] {
                lines += u32::from(course.look(is_present, at_us * SECOND) != Change::None);
            }
        }
        assert!((8..=12).contains(&lines), "two in a minute: {lines} in five");
        assert_eq!(course.look(true, 1_000 * SECOND), Change::Begins);
    }

    #[derive(Debug)]
    struct Quarantine {
        is_exhausted: bool,
    }

    impl Budgets for Quarantine {
        fn sample(&self, _: u64) {}

        fn all(&self) -> Vec<Budget> {
            Vec::new()
        }

        fn lags(&self) -> Vec<Lag> {
            Vec::new()
        }

        fn clients_refused(&self) -> u64 {
            3
        }

        fn quarantine_is_exhausted(&self) -> bool {
            self.is_exhausted
        }
    }

    /// B1-3: some clients refused is one thing, everybody refused another.
    #[test]
    fn b1_3_a_quarantine_that_refuses_everybody_makes_the_gateway_not_ready() {
        for (is_exhausted, state) in [(false, "quarantine_full"), (true, "quarantine_exhausted")] {
            let health = Health::default();
            health.set_budgets(Quarantine { is_exhausted });
            health.watch(1_000_000);
            let states: Vec<_> =
                health.states(1_000_000).iter().map(|state| (state.state, state.blocks)).collect();
            assert_eq!(states, [(state, is_exhausted)]);
            assert_eq!(health.reasons().len(), usize::from(is_exhausted));
        }
    }

    #[test]
    fn b1_3_only_what_blocks_makes_the_gateway_not_ready() {
        let health = Health::default();
        health.set(Trouble::ClientsWait, true);
        assert!(health.reasons().is_empty());
        health.set(Trouble::JournalFull, true);
        health.watch(5_000_000);
        assert_eq!(health.reasons().len(), 1);
        let states = health.states(8_000_000);
        let words: Vec<_> = states.iter().map(|state| (state.state, state.blocks, state.for_s)).collect();
        assert_eq!(words, [("journal_full", true, 3), ("clients_wait", false, 3)]);
        assert_eq!(health.all().filter(|(_, is_present)| *is_present).count(), 2);
    }
}

//! Seeds of the tests that choose instants by chance: a run prints its seed, and the environment brings it back.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

pub use gateway::disk::Random;

/// Seed of a run of kills that is to be repeated.
pub const SEED_VARIABLE: &str = "KILL_SEED";

/// A number in the environment.
pub fn environment_number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: expected a number")))
}

/// [`SEED_VARIABLE`], or another one each time; it is printed, so that a failing run can be repeated.
pub fn kill_seed() -> u64 {
    let seed =
        environment_number(SEED_VARIABLE).unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("{SEED_VARIABLE}={seed}");
    seed
}

/// At least `from`, less than `to`.
pub fn milliseconds(random: &mut Random, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + random.below(to - from))
}

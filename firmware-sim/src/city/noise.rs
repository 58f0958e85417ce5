//! Chance as a function: the same question has the same answer in every run, in any order, for the past and for now.
//!
//! All signals of the city are functions of (seed, station, time); so two runs that cover the same hours say the same.

use crate::random::Random;

/// A number that depends on all three, from 0 up to and without 1.
pub(super) fn unit(seed: u64, stream: u64, index: i64) -> f64 {
    random(seed, stream, index).unit()
}

/// The generator of one station, purpose and time.
pub(super) fn random(seed: u64, stream: u64, index: i64) -> Random {
    let mixed = Random::new(seed, stream).next_u64();
    Random::new(mixed, index.cast_unsigned())
}

/// From −1 to 1; wanders over some `period_s` without jumps.
pub(super) fn smooth(seed: u64, stream: u64, time_s: f64, period_s: f64) -> f64 {
    let place = time_s / period_s;
    let index = place.floor();
    let part = place - index;
    let weight = part * part * (3.0 - 2.0 * part);
    let at = |index: f64| unit(seed, stream, index as i64) * 2.0 - 1.0;
    at(index) * (1.0 - weight) + at(index + 1.0) * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooth_noise_has_no_jumps_and_uses_its_range() {
        let values: Vec<f64> = (0..10_000).map(|step| smooth(5, 9, f64::from(step), 50.0)).collect();
        assert!(values.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.08));
        assert!(values.iter().any(|value| *value > 0.7) && values.iter().any(|value| *value < -0.7));
    }
}

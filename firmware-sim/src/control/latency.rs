//! How long PUBACKs took, in buckets: bounded memory, no lock, quantiles to within an eighth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per power of two: the width of one is at most an eighth of what it holds.
const STEPS: usize = 8;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Up to 2^40 µs, twelve days; longer waits count as that.
const BUCKETS: usize = STEPS * (40 - STEP_BITS as usize + 1);

/// Counts in the making.
#[derive(Debug)]
pub struct AckLatency([AtomicU64; BUCKETS]);

impl Default for AckLatency {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl AckLatency {
    pub(crate) fn record(&self, latency: Duration) {
        let bucket = bucket(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        self.0[bucket].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn so_far(&self) -> Latencies {
        Latencies(self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect())
    }
}

/// Up to 7 µs one bucket each; from there on the leading bit and the three behind it.
fn bucket(us: u64) -> usize {
    if us < STEPS as u64 {
        return us as usize;
    }
    let exponent = us.ilog2();
    let step = (us >> (exponent - STEP_BITS)) as usize % STEPS;
    ((exponent - STEP_BITS + 1) as usize * STEPS + step).min(BUCKETS - 1)
}

/// The greatest value that a bucket holds.
fn bucket_max_us(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = (bucket / STEPS - 1) as u32;
    (((STEPS + bucket % STEPS) as u64 + 1) << shift) - 1
}

/// Counts at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    /// What came after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.0.iter().copied().chain(std::iter::repeat(0));
        Self(self.0.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect())
    }

    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The latency that this share (0 to 1) of the acknowledgements kept below, in µs; at most an eighth too high. `None`
    /// without acknowledgements.
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        let rank = (self.count() as f64 * share.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        let holds_it = |count: &u64| {
            seen += count;
            seen >= rank
        };
        self.0.iter().position(holds_it).map(bucket_max_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_at_most_an_eighth_too_high() {
        for us in (0..2000).chain([12_345, 999_999, 1 << 33]) {
            let latency = AckLatency::default();
            latency.record(Duration::from_micros(us));
            let found = latency.so_far().quantile_us(0.5).expect("one was recorded");
            assert!(found >= us && found <= us + us / 8, "{us}: {found}");
        }
    }

    #[test]
    fn half_is_half_and_earlier_ones_can_be_left_out() {
        let latency = AckLatency::default();
        assert_eq!(latency.so_far().quantile_us(0.5), None);
        (0..99).for_each(|_| latency.record(Duration::from_micros(5)));
        let earlier = latency.so_far();
        latency.record(Duration::from_secs(3_600_000_000));
        assert_eq!(latency.so_far().quantile_us(0.5), Some(5));
        assert_eq!(latency.so_far().quantile_us(0.99), Some(5));
        assert!(latency.so_far().quantile_us(1.0).is_some_and(|us| us > 1 << 39));
        assert_eq!(latency.so_far().since(&earlier).count(), 1);
    }
}

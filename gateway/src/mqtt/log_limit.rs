//! One log line per client and period, however often it repeats its mistake.

use std::net::IpAddr;

use hashbrown::HashMap;

/// Clients that are remembered; while there are so many within one period, others are only counted.
const REMEMBERED_MAX: usize = 1_024;
/// The same client is named again after this time.
const PERIOD_US: u64 = 60_000_000;

/// Who was logged when.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    seen: HashMap<(IpAddr, Option<Box<str>>), u64>,
}

impl LogLimit {
    /// True where a line may be written now.
    pub(super) fn admits(&mut self, peer: IpAddr, client: Option<&str>, now_us: u64) -> bool {
        let key = (peer, client.map(Box::from));
        if let Some(at_us) = self.seen.get(&key)
            && now_us.saturating_sub(*at_us) < PERIOD_US
        {
            return false;
        }
        if self.seen.len() >= REMEMBERED_MAX {
            self.seen.retain(|_, at_us| now_us.saturating_sub(*at_us) < PERIOD_US);
            if self.seen.len() >= REMEMBERED_MAX {
                // A flood of names: silence is right, the counters go on.
                return false;
            }
        }
        self.seen.insert(key, now_us);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_client_and_period_and_a_bounded_memory() {
        let peer = IpAddr::from([127, 0, 0, 1]);
        let mut limit = LogLimit::default();
        assert!(limit.admits(peer, None, 0));
        assert!(limit.admits(peer, Some("a"), 0));
        assert!(!limit.admits(peer, Some("a"), PERIOD_US - 1));
        assert!(limit.admits(peer, Some("a"), PERIOD_US));
        for i in 0..10_000 {
            limit.admits(peer, Some(&format!("c{i}")), PERIOD_US);
        }
        assert!(limit.seen.len() <= REMEMBERED_MAX);
        assert!(
            limit.admits(peer, Some("later"), 3 * PERIOD_US),
            "a flood silences others for one period only"
        );
    }
}

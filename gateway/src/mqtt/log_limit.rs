//! One log line per client and period, however often it repeats its mistake.

use std::net::IpAddr;

use hashbrown::HashMap;

/// Clients that are remembered; when there are more, the oldest memory goes first.
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

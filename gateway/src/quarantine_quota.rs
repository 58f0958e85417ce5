//! How much of each client lies in quarantine, and who may add no more (design P2, P7).
//!
//! What was acknowledged is never dropped, so a client whose garbage has used up its share is refused *before* its message
//! is journaled. The keeper adds when it folds quarantined entries and releases when they are settled or erased; a start
//! begins with the catalogue's sums. A refusal lags behind by what is journaled and not folded yet.
//!
//! Shards ask [`QuarantineQuota::version`] per wake-up, one load; only when it has moved does a connection ask for its
//! client by name.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Whoever has nothing in quarantine may go on while the total is full, so that strangers' garbage stops nobody. But a client id is
/// cheap, and each fresh one would bring some more: at this many times `quarantine.bytes_max` nobody may add any more.
const TOTAL_FACTOR_MAX: u64 = 2;

/// Clients that are told apart. Further ones count in the total alone.
pub const QUOTA_CLIENTS_MAX: usize = 100_000;

/// Which of the two budgets is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaRefusal {
    /// The client's own share (`quarantine.client_bytes_max`).
    Client,
    /// What all clients have together (`quarantine.bytes_max`), to which this client has added; or twice that, whoever it was.
    Total,
}

/// Bytes in quarantine, as [`crate::catalogue::QuarantineEntry::bytes`] counts them.
#[derive(Debug)]
pub struct QuarantineQuota {
    client_bytes_max: u64,
    bytes_max: u64,
    clients_max: usize,
    /// Moves whenever the answer for some client may have changed; starts at 1, so that 0 is "never asked".
    version: AtomicU64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    clients: HashMap<Box<str>, u64, RandomState>,
    bytes: u64,
}

impl Held {
    /// Then those who are no strangers may add nothing either.
    fn takes_no_stranger(&self, quota: &QuarantineQuota) -> bool {
        self.bytes >= quota.bytes_max.saturating_mul(TOTAL_FACTOR_MAX)
            || self.bytes >= quota.bytes_max && self.clients.len() >= quota.clients_max
    }
}

impl QuarantineQuota {
    /// `held`: bytes of each client, from the catalogue.
    pub fn new(client_bytes_max: u64, bytes_max: u64, held: impl IntoIterator<Item = (String, u64)>) -> Self {
        Self::with_clients_max(client_bytes_max, bytes_max, QUOTA_CLIENTS_MAX, held)
    }

    fn with_clients_max(
        client_bytes_max: u64,
        bytes_max: u64,
        clients_max: usize,
        held: impl IntoIterator<Item = (String, u64)>,
    ) -> Self {
        let quota = Self {
            client_bytes_max,
            bytes_max,
            clients_max,
            version: AtomicU64::new(1),
            held: Mutex::default(),
        };
        held.into_iter().for_each(|(client, bytes)| quota.add(&client, bytes));
        quota
    }

    /// Entries of this client were folded.
    pub fn add(&self, client: &str, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut held = self.held();
        held.bytes += bytes;
        let (total, is_room) = (held.bytes, held.clients.len() < self.clients_max);
        let (before, after) = match held.clients.get_mut(client) {
            Some(of_client) => {
                *of_client += bytes;
                (*of_client - bytes, *of_client)
            }
            None if is_room => {
                held.clients.insert(client.into(), bytes);
                (0, bytes)
            }
            None => (0, 0),
        };
        self.moved((before, after), (total - bytes, total));
    }

    /// Entries of this client were settled or erased.
    pub fn release(&self, client: &str, bytes: u64) {
        let mut held = self.held();
        let total_before = held.bytes;
        held.bytes = held.bytes.saturating_sub(bytes);
        let total = held.bytes;
        let (before, after) = match held.clients.get_mut(client) {
            Some(of_client) => {
                let before = *of_client;
                *of_client = before.saturating_sub(bytes);
                (before, *of_client)
            }
            None => (0, 0),
        };
        if before > 0 && after == 0 {
            held.clients.remove(client);
        }
        self.moved((before, after), (total_before, total));
    }

    /// A new version where somebody's answer may be another one now.
    fn moved(&self, client: (u64, u64), total: (u64, u64)) {
        let crosses = |(before, after): (u64, u64), max| (before >= max) != (after >= max);
        let is_full = total.1 >= self.bytes_max;
        if crosses(client, self.client_bytes_max)
            || crosses(total, self.bytes_max)
            || crosses(total, self.bytes_max.saturating_mul(TOTAL_FACTOR_MAX))
            || is_full && (client.0 == 0) != (client.1 == 0)
        {
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Answers of [`refusal`](Self::refusal) hold for as long as this number does.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Why this client may add nothing now. Who has nothing in quarantine is served whatever others did, up to
    /// [`TOTAL_FACTOR_MAX`]; only where more clients than [`QUOTA_CLIENTS_MAX`] have filled the total can the two not be told apart.
    pub fn refusal(&self, client: &str) -> Option<QuotaRefusal> {
        let held = self.held();
        let is_full = held.bytes >= self.bytes_max;
        match held.clients.get(client) {
            Some(bytes) if *bytes >= self.client_bytes_max => Some(QuotaRefusal::Client),
            Some(_) if is_full => Some(QuotaRefusal::Total),
            None if held.takes_no_stranger(self) => Some(QuotaRefusal::Total),
            _ => None,
        }
    }

    /// Of all clients.
    pub fn bytes(&self) -> u64 {
        self.held().bytes
    }

    /// Of all clients, at most.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Clients that are refused for either reason. Goes through all of them: for those who look once in a while.
    pub fn clients_refused(&self) -> u64 {
        let held = self.held();
        let is_full = held.bytes >= self.bytes_max;
        let refused = |bytes: &&u64| is_full || **bytes >= self.client_bytes_max;
        held.clients.values().filter(refused).count() as u64
    }

    /// Whether nobody may add any more, known client or not.
    pub fn is_exhausted(&self) -> bool {
        self.held().takes_no_stranger(self)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Every change is whole before anything could panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(held: &[(&str, u64)]) -> QuarantineQuota {
        let held = held.iter().map(|(client, bytes)| ((*client).to_owned(), *bytes));
        QuarantineQuota::with_clients_max(100, 250, 3, held)
    }

    /// B1-3: the share of one client is its own affair.
    #[test]
    fn b1_3_a_client_over_its_share_is_refused_and_others_are_not() {
        let quota = quota(&[("garbage", 99)]);
        let version = quota.version();
        assert_eq!(quota.refusal("garbage"), None);
        quota.add("other", 50);
        assert_eq!(quota.version(), version, "nobody's answer has changed");
        quota.add("garbage", 1);
        assert_ne!(quota.version(), version);
        assert_eq!(quota.refusal("garbage"), Some(QuotaRefusal::Client));
        assert_eq!((quota.refusal("other"), quota.refusal("honest")), (None, None));
        assert_eq!(quota.clients_refused(), 1);
        let version = quota.version();
        quota.release("garbage", 60);
        assert_ne!(quota.version(), version, "settled: it may go on");
        assert_eq!(quota.refusal("garbage"), None);
        assert_eq!((quota.bytes(), quota.clients_refused()), (90, 0));
    }

    /// B1-3, P2: a full total drops nothing; whoever has added to it waits until it is settled.
    #[test]
    fn b1_3_a_full_total_refuses_those_who_hold_some_of_it() {
        let quota = quota(&[("a", 99), ("b", 99)]);
        assert_eq!(quota.refusal("b"), None);
        quota.add("c", 52);
        assert_eq!(quota.refusal("a"), Some(QuotaRefusal::Total));
        assert_eq!(quota.clients_refused(), 3);
        let version = quota.version();
        quota.release("b", 99);
        assert_ne!(quota.version(), version);
        assert_eq!((quota.refusal("a"), quota.refusal("b")), (None, None));
    }

    /// B1-3, P8: as long as a client id costs nothing, each fresh one has a share of its own; all together have a bound.
    #[test]
    fn b1_3_fresh_client_ids_cannot_go_beyond_twice_the_total() {
        let quota = QuarantineQuota::new(100, 250, []);
        let taken = (0..1_000).take_while(|number| {
            let client = format!("fresh-{number}");
            let is_taken = quota.refusal(&client).is_none();
            if is_taken {
                quota.add(&client, 40);
            }
            is_taken
        });
        assert_eq!(taken.count(), 13);
        assert!(quota.is_exhausted(), "which /ready tells");
        assert_eq!(quota.bytes(), 520, "twice the total, and what the last one brought");
        assert_eq!(quota.refusal("honest"), Some(QuotaRefusal::Total));
        let version = quota.version();
        quota.release("fresh-0", 40);
        assert_ne!(quota.version(), version, "connections ask again");
        assert!(!quota.is_exhausted());
        assert_eq!(quota.refusal("honest"), None, "room for those who have added nothing");
        assert_eq!(quota.refusal("fresh-1"), Some(QuotaRefusal::Total));
    }

    #[test]
    fn clients_beyond_the_table_count_in_the_total() {
        let quota = quota(&[("a", 10), ("b", 10), ("c", 10)]);
        quota.add("d", 200);
        assert_eq!(quota.refusal("d"), None, "its own bytes are not known");
        assert_eq!(quota.bytes(), 230);
        quota.add("e", 20);
        assert_eq!(quota.refusal("d"), Some(QuotaRefusal::Total));
        quota.release("d", 200);
        assert_eq!((quota.refusal("d"), quota.bytes()), (None, 50));
        quota.release("a", 1_000);
        assert_eq!(quota.bytes(), 0, "never below nothing");
    }

    /// While the total is full, a first entry changes its client's answer, and so does the last one that goes.
    #[test]
    fn a_first_and_a_last_entry_move_the_version_of_a_full_quota() {
        let quota = quota(&[("a", 250)]);
        let version = quota.version();
        quota.add("new", 1);
        assert_ne!(quota.version(), version);
        assert_eq!(quota.refusal("new"), Some(QuotaRefusal::Total));
        let version = quota.version();
        quota.release("new", 1);
        assert_ne!(quota.version(), version);
        assert_eq!(quota.refusal("new"), None);
    }
}

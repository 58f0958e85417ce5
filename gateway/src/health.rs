//! What keeps the gateway from working as it should, told by `/ready`.

use std::sync::atomic::{AtomicU32, Ordering};

/// A state that ends by itself when its cause is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Trouble {
    /// No segment of the journal is ready: nothing is acknowledged.
    JournalSpace = 1,
    /// The observation log cannot grow: what is acknowledged waits in the journal.
    ObservationSpace = 2,
    /// No flush or commit is possible, or only with the ballast's space.
    StoreSpace = 4,
    /// The store's memory is full, and a flush or the comparison of late rows takes long.
    StoreFull = 8,
    /// Messages of clients wait for the journal for a second and longer.
    ClientsWait = 16,
}

/// The troubles of now.
#[derive(Debug, Default)]
pub struct Health(AtomicU32);

impl Health {
    pub fn set(&self, trouble: Trouble, present: bool) {
        if present {
            self.0.fetch_or(trouble as u32, Ordering::Relaxed);
        } else if self.0.load(Ordering::Relaxed) & trouble as u32 != 0 {
            self.0.fetch_and(!(trouble as u32), Ordering::Relaxed);
        }
    }

    pub fn has(&self, trouble: Trouble) -> bool {
        self.0.load(Ordering::Relaxed) & trouble as u32 != 0
    }

    /// One sentence for each: state, cause, remedy.
    pub fn reasons(&self) -> Vec<String> {
        let present = self.0.load(Ordering::Relaxed);
        [
            (Trouble::JournalSpace, "the journal has no segment ready, so nothing is acknowledged: free some space in the data directory or raise journal.log_bytes_max"),
            (Trouble::ObservationSpace, "the observation log cannot grow, so messages wait in the journal: free some space in the data directory or raise journal.log_bytes_max"),
            (Trouble::StoreSpace, "the disk is full, so the store flushes with the last reserve or not at all, and observations wait in the observation log: free some space in the data directory"),
            (Trouble::StoreFull, "the store's memory is full and its disk does not keep up, so messages wait in the journal: send less, use a faster disk, or raise store.rows_in_memory_max and store.late_rows_max"),
            (Trouble::ClientsWait, "the journal takes in less than clients send, so they wait for their acknowledgements: send less, or see what else is told here"),
        ]
        .into_iter()
        .filter(|(trouble, _)| present & *trouble as u32 != 0)
        .map(|(_, sentence)| sentence.to_owned())
        .collect()
    }
}

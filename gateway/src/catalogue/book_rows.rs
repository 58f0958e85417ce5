//! The rows of the books as they are kept (`docs/format/books.md`).

use bytemuck::{Pod, Zeroable};

/// Stands for the names that found no room in an hour: agency, client or station "(other)".
pub const OTHER_ID: u32 = u32::MAX;

pub type HourDigest = [u8; 32];

/// Whose messages and observations are counted. 0 = none, [`OTHER_ID`] = "(other)".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BookKey {
    pub agency: u32,
    pub client: u32,
    pub station: u32,
}

/// Counts of one key in one hour, or a sum of such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookCounts {
    pub decoded: u64,
    pub partial: u64,
    pub quarantined_messages: u64,
    pub ignored: u64,
    pub inserted: u64,
    pub corrected: u64,
    pub outranked: u64,
    pub duplicate: u64,
    pub unresolved: u64,
    pub quarantined_readings: u64,
}

impl BookCounts {
    pub const LEN: usize = 10;

    /// In the order of the fields, of the columns and of the digest.
    pub fn to_array(self) -> [u64; Self::LEN] {
        [
            self.decoded,
            self.partial,
            self.quarantined_messages,
            self.ignored,
            self.inserted,
            self.corrected,
            self.outranked,
            self.duplicate,
            self.unresolved,
            self.quarantined_readings,
        ]
    }

    pub fn from_array(counts: [u64; Self::LEN]) -> Self {
        let [
            decoded,
            partial,
            quarantined_messages,
            ignored,
            inserted,
            corrected,
            outranked,
            duplicate,
            unresolved,
            quarantined_readings,
        ] = counts;
        Self {
            decoded,
            partial,
            quarantined_messages,
            ignored,
            inserted,
            corrected,
            outranked,
            duplicate,
            unresolved,
            quarantined_readings,
        }
    }

    pub fn add(&mut self, other: &Self) {
        let (a, b) = (self.to_array(), other.to_array());
        *self = Self::from_array(std::array::from_fn(|at| a[at] + b[at]));
    }

    /// Messages that the pipeline is through with.
    pub fn messages(&self) -> u64 {
        self.decoded + self.partial + self.quarantined_messages + self.ignored
    }

    pub fn observations(&self) -> u64 {
        self.inserted
            + self.corrected
            + self.outranked
            + self.duplicate
            + self.unresolved
            + self.quarantined_readings
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookRow {
    /// Hours since 1970 UTC.
    pub hour: i64,
    pub key: BookKey,
    pub counts: BookCounts,
}

/// An hour is the range `first_message_no .. next_message_no` of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookHour {
    pub hour: i64,
    pub first_message_no: u64,
    pub next_message_no: u64,
    /// Set when the hour is closed; its rows never change again.
    pub digest: Option<HourDigest>,
}

/// Late rows that wait for their outcomes and are counted at one place, with consecutive `obs_no`; 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct UnresolvedRun {
    pub first_obs_no: u64,
    pub hour: i64,
    pub count: u32,
    pub agency: u32,
    pub client: u32,
    pub station: u32,
}

/// The sums over all hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookTotals {
    pub counts: BookCounts,
    /// Rows that reached the store's committed files.
    pub flushed: u64,
    /// Of these, rows that retention took out of the files.
    pub expired: u64,
    /// Messages that are missing in the journal, which an operator accepted. They are in none of the counts.
    pub lost: u64,
}

/// What changed since the last commit, in absolute values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BooksDelta {
    pub totals: BookTotals,
    pub rows: Vec<BookRow>,
    pub hours: Vec<BookHour>,
    /// All of them, in order; `None` leaves them as they are.
    pub unresolved: Option<Vec<UnresolvedRun>>,
}

/// What the books go on with after a start: the hours that are open, and the end of the chain of closed ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BooksSnapshot {
    pub totals: BookTotals,
    pub last_closed: Option<(i64, HourDigest)>,
    /// Open hours and their rows.
    pub hours: Vec<BookHour>,
    pub rows: Vec<BookRow>,
    pub unresolved: Vec<UnresolvedRun>,
}

/// Rows to be summed. `None` = any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookQuery {
    /// Hours `from_hour .. to_hour`.
    pub from_hour: Option<i64>,
    pub to_hour: Option<i64>,
    pub agency: Option<u32>,
    pub client: Option<u32>,
    pub stations: Option<Vec<u32>>,
}

impl BookQuery {
    pub fn includes_key(&self, key: &BookKey) -> bool {
        self.agency.is_none_or(|agency| agency == key.agency)
            && self.client.is_none_or(|client| client == key.client)
            && self.stations.as_ref().is_none_or(|stations| stations.contains(&key.station))
    }

    pub fn includes_hour(&self, hour: i64) -> bool {
        self.from_hour.is_none_or(|from| hour >= from) && self.to_hour.is_none_or(|to| hour < to)
    }

    pub fn names_nobody(&self) -> bool {
        self.agency.is_none() && self.client.is_none() && self.stations.is_none()
    }
}

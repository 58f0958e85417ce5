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
    /// The columns of every table that has counts, in their order.
    pub const COLUMNS: [&str; Self::LEN] = [
        "decoded",
        "partial",
        "quarantined_messages",
        "ignored",
        "inserted",
        "corrected",
        "outranked",
        "duplicate",
        "unresolved",
        "quarantined_readings",
    ];

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

/// What settlements changed: differences to the counts of the hour in which the messages came, and how much it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettledCounts {
    /// In the order of [`BookCounts::to_array`].
    pub changes: [i64; BookCounts::LEN],
    /// Replays that changed something.
    pub messages: u64,
    /// Rows that they brought.
    pub readings: u64,
    /// Messages, and readings, that stay counted as quarantined and are erased.
    pub erased_messages: u64,
    pub erased_readings: u64,
}

impl SettledCounts {
    pub const LEN: usize = BookCounts::LEN + 4;

    /// In the order of the fields and of the columns.
    pub fn to_array(self) -> [i64; Self::LEN] {
        let mut array = [0; Self::LEN];
        array[..BookCounts::LEN].copy_from_slice(&self.changes);
        let counts = [self.messages, self.readings, self.erased_messages, self.erased_readings];
        array[BookCounts::LEN..].iter_mut().zip(counts).for_each(|(place, count)| *place = count as i64);
        array
    }

    pub fn from_array(array: [i64; Self::LEN]) -> Self {
        let (changes, counts) = array.split_at(BookCounts::LEN);
        let mut settled = Self {
            messages: counts[0] as u64,
            readings: counts[1] as u64,
            erased_messages: counts[2] as u64,
            erased_readings: counts[3] as u64,
            ..Self::default()
        };
        settled.changes.copy_from_slice(changes);
        settled
    }

    pub fn add(&mut self, other: &Self) {
        let (a, b) = (self.to_array(), other.to_array());
        *self = Self::from_array(std::array::from_fn(|at| a[at] + b[at]));
    }

    pub fn subtract(&mut self, other: &Self) {
        let (a, b) = (self.to_array(), other.to_array());
        *self = Self::from_array(std::array::from_fn(|at| a[at] - b[at]));
    }

    /// Adds to one of the counts.
    pub fn change(&mut self, change: impl FnOnce(&mut BookCounts), sign: i64) {
        let mut counts = BookCounts::default();
        change(&mut counts);
        self.changes.iter_mut().zip(counts.to_array()).for_each(|(sum, count)| *sum += sign * count as i64);
    }

    /// The counts as they are after the settlements.
    pub fn applied_to(&self, counts: &BookCounts) -> BookCounts {
        let counts = counts.to_array();
        BookCounts::from_array(std::array::from_fn(|at| (counts[at] as i64 + self.changes[at]).max(0) as u64))
    }
}

/// One settlement: what an operator's change made of one entry of the quarantine. It is dated and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettlementRow {
    /// 1, 2, …
    pub settlement_no: u64,
    /// Of the control record in the journal.
    pub record_no: u64,
    /// When, µs since 1970 UTC.
    pub settled_us: i64,
    pub position: u64,
    pub ordinal: u32,
    /// The book hour of the message.
    pub hour: i64,
    pub erased: bool,
    pub from: BookKey,
    /// [`crate::observation::MessageOutcome`] as u8.
    pub from_outcome: u8,
    /// Readings in quarantine.
    pub from_readings: u64,
    pub to: BookKey,
    pub to_outcome: u8,
    pub to_readings: u64,
    /// Rows that it brought.
    pub rows: u64,
    /// Of everything above and of the settlement before (`docs/format/books.md`).
    pub digest: HourDigest,
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
    pub settled: SettledCounts,
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
    /// In order.
    pub settlements: Vec<SettlementRow>,
    /// What frames up to `settled_frame_no` changed since the commit before, by hour and key.
    pub settled: Vec<(i64, BookKey, SettledCounts)>,
    pub settled_frame_no: u64,
    /// Rows of replayed messages that wait, all of them; `None` leaves them as they are.
    pub settled_unresolved: Option<Vec<UnresolvedRun>>,
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
    pub settled_unresolved: Vec<UnresolvedRun>,
    /// Number and digest of the last settlement.
    pub last_settlement: Option<(u64, HourDigest)>,
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

//! The catalogue of a simulation: in memory, shared by its handles, each commit one atomic step.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::book_rows::{
    BookCounts, BookHour, BookKey, BookQuery, BookRow, BooksSnapshot, SettledCounts, SettlementRow,
    UnresolvedRun,
};
use super::commit::{Commit, DatastreamState, Snapshot};
use super::quarantine_rows::{
    QuarantineItem, QuarantineOrder, QuarantinePage, QuarantineTotals, QuarantineWalk,
};
use super::{Catalogue, CatalogueError, Checkpoint, History};
use crate::observation::{Definition, ResendMark, RetainedChange};
use crate::store::FileEntry;

/// How the next commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// As on a full disk: nothing is committed, a later try may succeed.
    NoSpace,
    /// The process died before the commit reached the disk.
    Lost,
    /// The process died after the commit reached the disk and before it was told so.
    DoneAndLost,
}

/// Clones are handles of the same catalogue: keep one, drop the gateway, give it to the next one.
#[derive(Clone, Debug, Default)]
pub struct MemoryCatalogue {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    faults: VecDeque<Option<CommitFault>>,
    commits: u64,
    /// A reader's view keeps commits in the write-ahead log.
    wal_is_read: bool,
    tables: Tables,
    /// What `tables` were before the commits that stand in the write-ahead log; `None`: none do.
    before_wal: Option<Box<Tables>>,
}

#[derive(Clone, Debug, Default)]
struct Tables {
    checkpoint: Checkpoint,
    agencies: BTreeMap<u32, Definition>,
    clients: BTreeMap<u32, Definition>,
    symbols: BTreeMap<u32, Definition>,
    stations: BTreeMap<u32, Definition>,
    datastreams: BTreeMap<u32, Definition>,
    files: BTreeMap<u64, FileEntry>,
    lost_files: BTreeMap<u64, FileEntry>,
    totals: super::BookTotals,
    hours: BTreeMap<i64, BookHour>,
    forgotten_to_hour: Option<i64>,
    rows: BTreeMap<(i64, BookKey), BookCounts>,
    unresolved: Vec<UnresolvedRun>,
    settlements: BTreeMap<u64, SettlementRow>,
    /// By hour, key and frame.
    settled: BTreeMap<(i64, BookKey, u64), SettledCounts>,
    settled_unresolved: Vec<UnresolvedRun>,
    datastream_states: BTreeMap<u32, DatastreamState>,
    retained: BTreeMap<Vec<u8>, RetainedChange>,
    resend_marks: Vec<ResendMark>,
    quarantine: BTreeMap<(u64, u32), Arc<QuarantineItem>>,
    quarantine_totals: QuarantineTotals,
}

impl MemoryCatalogue {
    /// The commits after the next `after` fail in this way, once.
    pub fn fail_commit(&self, after: usize, fault: CommitFault) {
        let mut state = self.state();
        if state.faults.len() <= after {
            state.faults.resize(after + 1, None);
        }
        state.faults[after] = Some(fault);
    }

    /// Whether some reader's view keeps commits in the write-ahead log.
    pub fn read_wal(&self, is_read: bool) {
        self.state().wal_is_read = is_read;
    }

    /// The write-ahead log is damaged, and the gateway gone: its commits were never made.
    pub fn lose_wal(&self) {
        let mut state = self.state();
        if let Some(tables) = state.before_wal.take() {
            state.tables = *tables;
        }
    }

    /// How many commits were carried out.
    pub fn commits(&self) -> u64 {
        self.state().commits
    }

    // The state is whole whenever the lock is free, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalogue for MemoryCatalogue {
    fn load(&mut self) -> Result<Snapshot, CatalogueError> {
        Ok(self.state().tables.snapshot())
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), CatalogueError> {
        let mut state = self.state();
        match state.faults.pop_front().flatten() {
            None => {
                state.apply(commit);
                Ok(())
            }
            Some(CommitFault::NoSpace) => Err(CatalogueError::NoSpace {
                path: PathBuf::from("(memory)"),
                reason: "simulated".to_owned(),
            }),
            Some(CommitFault::Lost) => Err(CatalogueError::Failed),
            Some(CommitFault::DoneAndLost) => {
                state.apply(commit);
                Err(CatalogueError::Failed)
            }
        }
    }

    fn empty_wal(&mut self, _wait: Duration) -> Result<bool, CatalogueError> {
        let mut state = self.state();
        if !state.wal_is_read {
            state.before_wal = None;
        }
        Ok(state.before_wal.is_none())
    }

    fn history(&self) -> Result<Box<dyn History>, CatalogueError> {
        Ok(Box::new(self.clone()))
    }
}

impl State {
    fn apply(&mut self, commit: &Commit) {
        self.commits += 1;
        let Self { tables, before_wal, .. } = self;
        before_wal.get_or_insert_with(|| Box::new(tables.clone()));
        tables.apply(commit);
    }
}

impl Tables {
    fn apply(&mut self, commit: &Commit) {
        self.checkpoint = commit.checkpoint.clone();
        for definition in &commit.definitions {
            let (table, id) = match definition {
                Definition::Agency { id, .. } => (&mut self.agencies, *id),
                Definition::Client { id, .. } => (&mut self.clients, *id),
                Definition::Symbol { id, .. } => (&mut self.symbols, *id),
                Definition::Station { id, .. } => (&mut self.stations, *id),
                Definition::Datastream { id, .. } => (&mut self.datastreams, *id),
            };
            table.insert(id, definition.clone());
        }
        for file_no in &commit.files_removed {
            self.files.remove(file_no);
        }
        for file in &commit.files_lost {
            self.files.remove(&file.file_no);
            self.lost_files.insert(file.file_no, file.clone());
        }
        self.files.extend(commit.files_added.iter().map(|file| (file.file_no, file.clone())));
        self.totals = commit.books.totals;
        self.rows.extend(commit.books.rows.iter().map(|row| ((row.hour, row.key), row.counts)));
        self.hours.extend(commit.books.hours.iter().map(|hour| (hour.hour, *hour)));
        if let Some(before) = commit.forget_books_before {
            let closed = || self.hours.values().filter(|hour| hour.digest.is_some()).map(|hour| hour.hour);
            let last_closed = closed().max().unwrap_or(i64::MIN);
            if let Some(last) = closed().filter(|hour| *hour < before && *hour < last_closed).max() {
                self.forgotten_to_hour = Some(last);
                self.hours.retain(|hour, _| *hour > last);
                self.rows.retain(|(hour, _), _| *hour > last);
            }
        }
        if let Some(runs) = &commit.books.unresolved {
            self.unresolved.clone_from(runs);
        }
        let books = &commit.books;
        self.settlements.extend(books.settlements.iter().map(|row| (row.settlement_no, *row)));
        let settled = books.settled.iter();
        self.settled
            .extend(settled.map(|(hour, key, counts)| ((*hour, *key, books.settled_frame_no), *counts)));
        if let Some(runs) = &books.settled_unresolved {
            self.settled_unresolved.clone_from(runs);
        }
        self.datastream_states.extend(commit.datastream_states.iter().cloned());
        for change in &commit.retained {
            if change.payload.is_empty() {
                self.retained.remove(&change.topic);
            } else {
                self.retained.insert(change.topic.clone(), change.clone());
            }
        }
        if let Some(marks) = &commit.resend_marks {
            self.resend_marks.clone_from(marks);
        }
        self.quarantine(commit);
    }

    fn quarantine(&mut self, commit: &Commit) {
        let totals = &mut self.quarantine_totals;
        for item in &commit.quarantine.items {
            let key = (item.entry.position, item.entry.ordinal);
            if let std::collections::btree_map::Entry::Vacant(place) = self.quarantine.entry(key) {
                place.insert(item.clone());
                totals.entries += 1;
                totals.bytes += item.entry.bytes();
            }
        }
        for change in &commit.quarantine.changes {
            let key = (change.position, change.ordinal);
            let Some(item) = self.quarantine.get_mut(&key) else { continue };
            totals.bytes -= item.entry.bytes();
            match &change.remaining {
                Some(remaining) => {
                    let item = Arc::make_mut(item);
                    remaining.change(item);
                    totals.bytes += item.entry.bytes();
                }
                None => {
                    self.quarantine.remove(&key);
                    totals.entries -= 1;
                }
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let tables = [&self.agencies, &self.clients, &self.symbols, &self.stations, &self.datastreams];
        let last_closed = self.hours.values().rev().find_map(|hour| Some((hour.hour, hour.digest?)));
        // Hours close in order, so the open ones lie behind the last closed one.
        let open = |hour: i64| last_closed.is_none_or(|(closed, _)| hour > closed);
        Snapshot {
            checkpoint: self.checkpoint.clone(),
            definitions: tables.into_iter().flat_map(|table| table.values().cloned()).collect(),
            files: self.files.values().cloned().collect(),
            lost_files: self.lost_files.values().cloned().collect(),
            books: BooksSnapshot {
                totals: self.totals,
                last_closed,
                hours: self.hours.values().filter(|hour| open(hour.hour)).copied().collect(),
                rows: self
                    .rows
                    .iter()
                    .filter(|((hour, _), _)| open(*hour))
                    .map(|((hour, key), counts)| BookRow { hour: *hour, key: *key, counts: *counts })
                    .collect(),
                unresolved: self.unresolved.clone(),
                settled_unresolved: self.settled_unresolved.clone(),
                last_settlement: self
                    .settlements
                    .values()
                    .next_back()
                    .map(|row| (row.settlement_no, row.digest)),
            },
            datastream_states: self
                .datastream_states
                .iter()
                .map(|(id, state)| (*id, state.clone()))
                .collect(),
            retained: self.retained.values().cloned().collect(),
            resend_marks: self.resend_marks.clone(),
            quarantine: self.quarantine_totals,
            quarantine_of_clients: {
                let mut clients: BTreeMap<&str, u64> = BTreeMap::new();
                for item in self.quarantine.values() {
                    *clients.entry(&item.entry.client).or_default() += item.entry.bytes();
                }
                clients.into_iter().map(|(client, bytes)| (client.to_owned(), bytes)).collect()
            },
        }
    }
}

impl History for MemoryCatalogue {
    fn book_sums(&mut self, query: &BookQuery) -> Result<BookCounts, CatalogueError> {
        let mut sum = BookCounts::default();
        for ((hour, key), counts) in &self.state().tables.rows {
            if query.includes_hour(*hour) && query.includes_key(key) {
                sum.add(counts);
            }
        }
        Ok(sum)
    }

    fn book_hours(&mut self, from_hour: i64, limit: usize) -> Result<Vec<BookHour>, CatalogueError> {
        Ok(self.state().tables.hours.range(from_hour..).take(limit).map(|(_, hour)| *hour).collect())
    }

    fn book_rows(&mut self, hour: i64) -> Result<Vec<BookRow>, CatalogueError> {
        let state = &self.state().tables;
        let rows = state.rows.range((hour, BookKey::default())..(hour + 1, BookKey::default()));
        Ok(rows.map(|((hour, key), counts)| BookRow { hour: *hour, key: *key, counts: *counts }).collect())
    }

    fn settled_sums(&mut self, query: &BookQuery, frame_no: u64) -> Result<SettledCounts, CatalogueError> {
        let mut sum = SettledCounts::default();
        let state = &self.state().tables;
        for ((hour, key, frame), counts) in &state.settled {
            let is_kept = state.forgotten_to_hour.is_none_or(|last| *hour > last);
            if is_kept && *frame <= frame_no && query.includes_hour(*hour) && query.includes_key(key) {
                sum.add(counts);
            }
        }
        Ok(sum)
    }

    fn settlements(&mut self, after_no: u64, limit: usize) -> Result<Vec<SettlementRow>, CatalogueError> {
        let state = &self.state().tables;
        Ok(state.settlements.range(after_no + 1..).take(limit).map(|(_, row)| *row).collect())
    }

    fn last_settlement_no(&mut self) -> Result<u64, CatalogueError> {
        Ok(self.state().tables.settlements.keys().next_back().copied().unwrap_or(0))
    }

    fn forgotten_to_hour(&mut self) -> Result<Option<i64>, CatalogueError> {
        Ok(self.state().tables.forgotten_to_hour)
    }

    fn has_book_row(&mut self, hour: i64, key: &BookKey) -> Result<bool, CatalogueError> {
        Ok(self.state().tables.rows.contains_key(&(hour, *key)))
    }

    fn quarantine_page(&mut self, walk: &QuarantineWalk<'_>) -> Result<QuarantinePage, CatalogueError> {
        let state = &self.state().tables;
        let behind = |(key, _): &(&(u64, u32), &Arc<QuarantineItem>)| {
            walk.behind.is_none_or(|behind| match walk.order {
                QuarantineOrder::NewestFirst => **key < behind,
                QuarantineOrder::OldestFirst => **key > behind,
            })
        };
        let mut items: Vec<_> =
            state.quarantine.iter().filter(behind).map(|(_, item)| item.clone()).collect();
        if walk.order == QuarantineOrder::NewestFirst {
            items.reverse();
        }
        let mut items = items.iter().map(|item| {
            let mut item = item.as_ref().clone();
            if !walk.payloads {
                (item.payload, item.properties, item.refused) = (Vec::new(), Vec::new(), Vec::new());
            }
            item
        });
        walk.collect(|| Ok(items.next()), |_| Ok(()))
    }

    fn quarantine_show(&mut self, position: u64) -> Result<Vec<QuarantineItem>, CatalogueError> {
        let state = &self.state().tables;
        let items = state.quarantine.range((position, 0)..=(position, u32::MAX));
        Ok(items.map(|(_, item)| item.as_ref().clone()).collect())
    }

    fn quarantine_totals(&mut self) -> Result<QuarantineTotals, CatalogueError> {
        Ok(self.state().tables.quarantine_totals)
    }
}

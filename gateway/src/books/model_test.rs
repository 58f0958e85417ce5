//! The books against a dull recount: random frames, outcomes, settlements, commits, failing commits and restarts, on both
//! catalogues (A1-6, B1-5, P6).

use std::collections::{BTreeMap, BTreeSet};

use bytemuck::Zeroable;
use proptest::prelude::*;

use super::*;
use crate::catalogue::{
    BookCounts, BookKey, Catalogue, Checkpoint, Commit, CommitFault, MemoryCatalogue, SettledCounts,
    SqliteCatalogue,
};
use crate::observation::{
    Classification, Definition, FrameInfo, MessageEntry, MessageOutcome, ObservationFrame, Outcome,
    OutcomeKind, Remaining, Row, Settled, Settlement,
};
use crate::record::BookedEntry;
use crate::registry::Registry;

const NAMES: u32 = 3;

#[derive(Clone, Debug)]
enum Action {
    /// A frame of messages, minutes after the one before, with outcomes for some rows that wait.
    Frame {
        minutes: i64,
        messages: Vec<(u32, u32, u32, u8, u8, Vec<u8>)>,
        outcomes: usize,
        kind: u8,
        /// So many of the entries in quarantine are settled: erased, or replayed with these rows.
        settled: Vec<Option<Vec<u8>>>,
    },
    /// A commit at this frame, with so many rows in new files.
    Commit {
        flushed: u64,
    },
    /// A commit, told of only after another frame.
    SlowCommit {
        flushed: u64,
    },
    /// The commit fails in this way; the process dies where it would.
    FailedCommit(u8),
    Restart,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let name = 0..=NAMES;
    let message = (name.clone(), name.clone(), name, 0..4_u8, 0..3_u8, prop::collection::vec(0..3_u8, 0..4));
    let settled =
        prop::collection::vec(prop::option::weighted(0.8, prop::collection::vec(0..3_u8, 0..3)), 0..3);
    let frame = (0..40_i64, prop::collection::vec(message, 0..8), 0..10_usize, 0..4_u8, settled).prop_map(
        |(minutes, messages, outcomes, kind, settled)| Action::Frame {
            minutes,
            messages,
            outcomes,
            kind,
            settled,
        },
    );
    let action = prop_oneof![
        8 => frame,
        2 => (0..9_u64).prop_map(|flushed| Action::Commit { flushed }),
        1 => (0..9_u64).prop_map(|flushed| Action::SlowCommit { flushed }),
        1 => (0..3_u8).prop_map(Action::FailedCommit),
        1 => Just(Action::Restart),
    ];
    prop::collection::vec(action, 1..60)
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    for id in 1..=NAMES {
        registry.apply(&Definition::Agency { id, code: format!("agency-{id}") });
        registry.apply(&Definition::Client { id, name: format!("client-{id}") });
        // Stations of different agencies share their codes.
        registry.apply(&Definition::Station { id, agency: id, code: format!("station-{}", id % 2) });
    }
    registry
}

/// The observation log and the recount: every row once, in a list.
#[derive(Default)]
struct Model {
    frames: Vec<ObservationFrame>,
    time_us: i64,
    message_no: u64,
    obs_no: u64,
    waiting: BTreeSet<u64>,
    flushed: u64,
    /// Entries in quarantine, as the books have them.
    open: Vec<BookedEntry>,
}

impl Model {
    fn frame(&mut self, action: &Action) -> ObservationFrame {
        let Action::Frame { minutes, messages, outcomes, kind, settled } = action else { unreachable!() };
        self.time_us += minutes * 60_000_000;
        let mut frame = ObservationFrame {
            frame_no: self.frames.len() as u64 + 1,
            first_obs_no: self.obs_no + 1,
            ..ObservationFrame::default()
        };
        let resolved: Vec<u64> = self.waiting.iter().rev().step_by(2).take(*outcomes).copied().collect();
        for (at, obs_no) in resolved.into_iter().enumerate() {
            self.waiting.remove(&obs_no);
            let kind = (kind + at as u8) % 4;
            frame.outcomes.push(Outcome { obs_no, kind, ..Outcome::zeroed() });
        }
        let first_message_no = self.message_no + 1;
        for (agency, client, station, outcome, quarantined, rows) in messages {
            self.message_no += 1;
            let message = frame.messages.len() as u32;
            frame.messages.push(MessageEntry {
                message_no: self.message_no,
                receive_time_us: self.time_us,
                client: *client,
                agency: *agency,
                station: *station,
                row_count: rows.len() as u16,
                quarantined_readings: u16::from(*quarantined),
                outcome: *outcome,
                ..MessageEntry::zeroed()
            });
            for classification in rows {
                self.obs_no += 1;
                frame.rows.push(Row { message, classification: *classification, ..Row::zeroed() });
                if *classification == Classification::Unresolved as u8 {
                    self.waiting.insert(self.obs_no);
                }
            }
        }
        for rows in settled {
            if !self.open.is_empty() {
                let entry = self.open.remove(self.open.len() / 2);
                self.settle(entry, rows.as_deref(), &mut frame);
            }
        }
        for message in
            frame.messages.iter().filter(|message| !message.is_replayed() && is_open(message.outcome))
        {
            self.open.push(BookedEntry {
                position: message.message_no,
                receive_time_us: message.receive_time_us,
                agency: message.agency,
                client: message.client,
                station: message.station,
                readings: message.quarantined_readings,
                outcome: message.outcome,
                ..BookedEntry::default()
            });
        }
        frame.info = FrameInfo {
            first_message_no,
            next_message_no: self.message_no + 1,
            time_us: self.time_us,
            ..FrameInfo::default()
        };
        self.frames.push(frame.clone());
        frame
    }

    /// Erases an entry, or replays it with these rows under a client that became known meanwhile. Of an entry with several
    /// readings one stays.
    fn settle(&mut self, entry: BookedEntry, rows: Option<&[u8]>, frame: &mut ObservationFrame) {
        let remaining = (entry.readings > 1).then(|| Remaining {
            outcome: MessageOutcome::Partial as u8,
            readings: 1,
            offset: 0,
            reason: "not_json".to_owned(),
            sentence: String::new(),
            refused: vec![1],
        });
        let settled = match rows {
            None => Settled::Erased,
            Some(rows) => {
                let (agency, client, station) = (entry.agency, 1, entry.station);
                if let Some(remaining) = &remaining {
                    let (outcome, readings) = (remaining.outcome, remaining.readings);
                    self.open.push(BookedEntry { client, outcome, readings, ..entry });
                }
                let message = frame.messages.len() as u32;
                if !rows.is_empty() {
                    frame.messages.push(MessageEntry {
                        message_no: entry.position,
                        receive_time_us: entry.receive_time_us,
                        client,
                        agency,
                        station,
                        row_count: rows.len() as u16,
                        replayed: 1,
                        ..MessageEntry::zeroed()
                    });
                }
                for classification in rows {
                    self.obs_no += 1;
                    frame.rows.push(Row { message, classification: *classification, ..Row::zeroed() });
                    if *classification == Classification::Unresolved as u8 {
                        self.waiting.insert(self.obs_no);
                    }
                }
                Settled::Replayed { agency, client, station, rows: rows.len() as u32, remaining }
            }
        };
        let record_no = self.obs_no + 1_000;
        let client = "client".to_owned();
        frame.settlements.push(Settlement { record_no, settled_us: self.time_us, entry, client, settled });
    }

    /// What the settlements changed, counted again: the differences, in the order of the counts.
    fn resettle(&self) -> BTreeMap<(i64, BookKey), SettledCounts> {
        let outcomes: BTreeMap<u64, OutcomeKind> = self
            .frames
            .iter()
            .flat_map(|frame| &frame.outcomes)
            .map(|outcome| (outcome.obs_no, outcome.outcome_kind()))
            .collect();
        let mut books: BTreeMap<(i64, BookKey), SettledCounts> = BTreeMap::new();
        let at = |outcome: u8| usize::from(outcome);
        for frame in &self.frames {
            for settlement in &frame.settlements {
                let entry = &settlement.entry;
                let hour = entry.receive_time_us / 3_600_000_000;
                let from = BookKey { agency: entry.agency, client: entry.client, station: entry.station };
                let of = books.entry((hour, from)).or_default();
                let Settled::Replayed { agency, client, station, rows, remaining } = &settlement.settled
                else {
                    of.erased_messages += u64::from(entry.outcome == MessageOutcome::Quarantined as u8);
                    of.erased_readings += u64::from(entry.readings);
                    continue;
                };
                if !settlement.changes_books() {
                    continue;
                }
                of.changes[at(entry.outcome)] -= 1;
                of.changes[9] -= i64::from(entry.readings);
                let key = BookKey { agency: *agency, client: *client, station: *station };
                let to = books.entry((hour, key)).or_default();
                to.messages += 1;
                to.readings += u64::from(*rows);
                to.changes[at(remaining.as_ref().map_or(0, |remaining| remaining.outcome))] += 1;
                to.changes[9] += remaining.as_ref().map_or(0, |remaining| i64::from(remaining.readings));
            }
            for (obs_no, row) in (frame.first_obs_no..).zip(&frame.rows) {
                let message = &frame.messages[row.message as usize];
                if !message.is_replayed() {
                    continue;
                }
                let MessageEntry { agency, client, station, .. } = *message;
                let place = (message.receive_time_us / 3_600_000_000, BookKey { agency, client, station });
                let column = match (row.classified(), outcomes.get(&obs_no)) {
                    (Classification::Inserted, _) | (_, Some(OutcomeKind::Inserted)) => 4,
                    (_, Some(OutcomeKind::Corrected)) => 5,
                    (_, Some(OutcomeKind::Outranked)) => 6,
                    (Classification::Duplicate, _) | (_, Some(OutcomeKind::Duplicate)) => 7,
                    (Classification::Unresolved, None) => 8,
                };
                books.entry(place).or_default().changes[column] += 1;
            }
        }
        books
    }

    /// Counts everything again from the first frame on, settlements aside.
    fn recount(&self) -> BTreeMap<(i64, BookKey), BookCounts> {
        let outcomes: BTreeMap<u64, OutcomeKind> = self
            .frames
            .iter()
            .flat_map(|frame| &frame.outcomes)
            .map(|outcome| (outcome.obs_no, outcome.outcome_kind()))
            .collect();
        let mut books: BTreeMap<(i64, BookKey), BookCounts> = BTreeMap::new();
        for frame in &self.frames {
            let place = |message: &MessageEntry| {
                let MessageEntry { agency, client, station, .. } = *message;
                (message.receive_time_us / 3_600_000_000, BookKey { agency, client, station })
            };
            for message in frame.messages.iter().filter(|message| !message.is_replayed()) {
                let counts = books.entry(place(message)).or_default();
                *match message.message_outcome() {
                    MessageOutcome::Decoded => &mut counts.decoded,
                    MessageOutcome::Partial => &mut counts.partial,
                    MessageOutcome::Quarantined => &mut counts.quarantined_messages,
                    MessageOutcome::Ignored => &mut counts.ignored,
                } += 1;
                counts.quarantined_readings += u64::from(message.quarantined_readings);
            }
            for (obs_no, row) in (frame.first_obs_no..).zip(&frame.rows) {
                if frame.messages[row.message as usize].is_replayed() {
                    continue;
                }
                let counts = books.entry(place(&frame.messages[row.message as usize])).or_default();
                *match (row.classified(), outcomes.get(&obs_no)) {
                    (Classification::Inserted, _) | (_, Some(OutcomeKind::Inserted)) => &mut counts.inserted,
                    (Classification::Duplicate, _) | (_, Some(OutcomeKind::Duplicate)) => {
                        &mut counts.duplicate
                    }
                    (_, Some(OutcomeKind::Corrected)) => &mut counts.corrected,
                    (_, Some(OutcomeKind::Outranked)) => &mut counts.outranked,
                    (Classification::Unresolved, None) => &mut counts.unresolved,
                } += 1;
            }
        }
        books
    }
}

fn is_open(outcome: u8) -> bool {
    [MessageOutcome::Partial as u8, MessageOutcome::Quarantined as u8].contains(&outcome)
}

/// Whether a filter means a row of the recount.
type Includes = Box<dyn Fn(i64, &BookKey) -> bool>;

/// Every filter that the names allow, with a few ranges of hours.
fn filters(newest_hour: i64) -> Vec<(LedgerFilter, Includes)> {
    let mut filters: Vec<(LedgerFilter, Includes)> = Vec::new();
    for id in 1..=NAMES {
        let agency = LedgerFilter { agency: Some(format!("agency-{id}")), ..LedgerFilter::default() };
        let client = LedgerFilter { client: Some(format!("client-{id}")), ..LedgerFilter::default() };
        filters.push((agency, Box::new(move |_, key| key.agency == id)));
        filters.push((client, Box::new(move |_, key| key.client == id)));
    }
    let station = LedgerFilter { station: Some("station-1".to_owned()), ..LedgerFilter::default() };
    filters.push((station, Box::new(|_, key| key.station % 2 == 1)));
    for from in [0, newest_hour / 2, newest_hour] {
        let to = from + 3;
        let hours = LedgerFilter {
            from_us: Some(from * HOUR_US),
            to_us: Some(to * HOUR_US),
            agency: Some("agency-1".to_owned()),
            ..LedgerFilter::default()
        };
        filters.push((hours, Box::new(move |hour, key| (from..to).contains(&hour) && key.agency == 1)));
    }
    filters
}

fn check(books: &Books, catalogue: &dyn Catalogue, model: &Model, registry: &Registry) {
    let (recount, resettled) = (model.recount(), model.resettle());
    let mut history = catalogue.history().unwrap();
    let mut all = filters(model.time_us / HOUR_US);
    all.push((LedgerFilter::default(), Box::new(|_, _| true)));
    let durable = model.message_no + 5;
    for (filter, includes) in all {
        let ledger = books.ledger(&filter, registry, durable).complete(history.as_mut()).unwrap();
        let mut sum = BookCounts::default();
        for ((_, _), counts) in recount.iter().filter(|((hour, key), _)| includes(*hour, key)) {
            sum.add(counts);
        }
        let mut settled = SettledCounts::default();
        for (_, counts) in resettled.iter().filter(|((hour, key), _)| includes(*hour, key)) {
            settled.add(counts);
        }
        let sum = settled.applied_to(&sum);
        let told = SettledCounts {
            messages: ledger.settled.messages,
            readings: ledger.settled.readings,
            erased_messages: ledger.settled.erased_messages,
            erased_readings: ledger.settled.erased_readings,
            ..settled
        };
        assert_eq!(told, settled, "{filter:?}");
        let (messages, observations) = (ledger.messages, ledger.observations);
        let found = BookCounts {
            decoded: messages.decoded,
            partial: messages.partial,
            quarantined_messages: messages.quarantined,
            ignored: messages.ignored,
            inserted: observations.inserted,
            corrected: observations.corrected,
            outranked: observations.outranked,
            duplicate: observations.duplicate,
            unresolved: observations.unresolved,
            quarantined_readings: observations.quarantined,
        };
        assert_eq!(found, sum, "{filter:?}");
        let parts = sum.decoded + sum.partial + sum.quarantined_messages + sum.ignored;
        assert_eq!(messages.received, parts + messages.pending);
        assert_eq!(observations.total, sum.to_array()[4..].iter().sum::<u64>());
        if filter == LedgerFilter::default() {
            assert_eq!((ledger.durable, ledger.processed), (durable, model.message_no));
            assert_eq!(messages.received, durable, "nothing is missing and nothing is counted twice");
            assert_eq!(observations.flushed, Some(model.flushed));
        }
    }
    assert_eq!(books.unresolved_rows(), model.waiting.len());
    assert_eq!(books.unknown_outcomes(), 0);
}

/// Digests and rows of all closed hours, recomputed.
fn check_chain(catalogue: &dyn Catalogue, model: &Model, registry: &Registry) {
    let mut history = catalogue.history().unwrap();
    let recount = model.recount();
    let mut previous = [0; 32];
    for hour in history.book_hours(i64::MIN, usize::MAX).unwrap() {
        let Some(digest) = hour.digest else { break };
        let rows = history.book_rows(hour.hour).unwrap();
        for row in &rows {
            assert_eq!(recount[&(row.hour, row.key)], row.counts, "closed hours do not change");
        }
        previous = hour_digest(&previous, &hour, &rows, registry);
        assert_eq!(digest, previous);
    }
    let mut previous = [0; 32];
    for (number, row) in (1..).zip(history.settlements(0, usize::MAX).unwrap()) {
        assert_eq!(row.settlement_no, number);
        previous = settlement_digest(&previous, &row, registry);
        assert_eq!(row.digest, previous);
    }
}

struct Run<'a> {
    model: Model,
    books: Books,
    registry: Registry,
    open: &'a dyn Fn() -> Box<dyn Catalogue>,
    catalogue: Box<dyn Catalogue>,
}

impl Run<'_> {
    fn restart(&mut self) {
        self.catalogue = (self.open)();
        let snapshot = self.catalogue.load().unwrap();
        self.books = Books::new(100, &snapshot.checkpoint, &snapshot.books);
        // The log from anywhere at or before the checkpoint.
        let from = snapshot.checkpoint.observation_frame_no.saturating_sub(2) as usize;
        for frame in &self.model.frames[from..] {
            self.books.apply(frame);
        }
        self.model.flushed = snapshot.books.totals.flushed;
    }

    fn commit(&mut self, flushed: u64) -> Commit {
        let checkpoint = Checkpoint {
            observation_frame_no: self.books.frame_no(),
            next_message_no: self.books.processed() + 1,
            ..Checkpoint::default()
        };
        Commit { checkpoint, books: self.books.delta(&self.registry, flushed, 0), ..Commit::default() }
    }

    fn step(&mut self, action: &Action, fault: &dyn Fn(u8) -> bool) {
        match action {
            Action::Frame { .. } => {
                let frame = self.model.frame(action);
                self.books.apply(&frame);
            }
            Action::Commit { flushed } | Action::SlowCommit { flushed } => {
                let commit = self.commit(*flushed);
                self.catalogue.commit(&commit).unwrap();
                if let Action::SlowCommit { .. } = action {
                    let messages = vec![(1, 1, 1, 0, 0, vec![0, 2])];
                    let settled = vec![Some(vec![2, 0]), None];
                    let next = Action::Frame { minutes: 50, messages, outcomes: 3, kind: 0, settled };
                    let frame = self.model.frame(&next);
                    self.books.apply(&frame);
                    check(&self.books, self.catalogue.as_ref(), &self.model, &self.registry);
                }
                self.books.committed(&commit.books);
                self.model.flushed += flushed;
            }
            Action::FailedCommit(kind) => {
                let commit = self.commit(1);
                if fault(*kind) {
                    let error = self.catalogue.commit(&commit).unwrap_err();
                    if !error.is_backpressure() {
                        self.restart();
                    }
                }
            }
            Action::Restart => self.restart(),
        }
    }
}

fn run(actions: &[Action], open: &dyn Fn() -> Box<dyn Catalogue>, fault: &dyn Fn(u8) -> bool) {
    let books = Books::new(100, &Checkpoint::default(), &Default::default());
    let mut run = Run { model: Model::default(), books, registry: registry(), open, catalogue: open() };
    for action in actions {
        run.step(action, fault);
        check(&run.books, run.catalogue.as_ref(), &run.model, &run.registry);
    }
    check_chain(run.catalogue.as_ref(), &run.model, &run.registry);
    assert!(run.books.hours_in_memory() <= run.model.frames.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a1_6_books_equal_a_recount_in_memory(actions in actions()) {
        let handle = MemoryCatalogue::default();
        let open = || Box::new(handle.clone()) as Box<dyn Catalogue>;
        let fault = |kind| {
            let faults = [CommitFault::NoSpace, CommitFault::Lost, CommitFault::DoneAndLost];
            handle.fail_commit(0, faults[usize::from(kind)]);
            true
        };
        run(&actions, &open, &fault);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a1_6_books_equal_a_recount_in_sqlite(actions in actions()) {
        let dir = tempfile::tempdir().unwrap();
        let open = || Box::new(SqliteCatalogue::open(dir.path()).unwrap()) as Box<dyn Catalogue>;
        run(&actions, &open, &|_| false);
    }
}

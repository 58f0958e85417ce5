//! Random frames, outcomes, flushes, failures, crashes and queries against a map that does everything the dull way.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::disk::{Crash, SimDisk};
use crate::observation::OutcomeKind;
use crate::store::Order;

const DAY_US: i64 = 86_400_000_000;

#[derive(Clone, Debug)]
enum Action {
    Frame(Vec<Reading>),
    /// Classify; the outcomes wait until `Outcomes`.
    Classify,
    /// The next so many outcomes reach the log, together with some new rows.
    Outcomes(usize, Vec<Reading>),
    Flush(FlushEnd),
    Compact(CompactionEnd),
    Restart(Crash),
    Query(Query),
}

#[derive(Clone, Copy, Debug)]
enum FlushEnd {
    Committed,
    Abandoned,
    CrashBeforeCommit(Crash),
    CrashAfterCommit(Crash),
}

#[derive(Clone, Copy, Debug)]
enum CompactionEnd {
    Committed,
    /// A flush is committed between the merge and its own commit.
    CommittedBehindFlush,
    CrashBeforeCommit(Crash),
    CrashAfterCommit(Crash),
}

#[derive(Debug)]
struct Model {
    world: World,
    disk: SimDisk,
    store: Store,
    stored: Stored,
    /// Late rows by obs_no.
    late: BTreeMap<u64, Reading>,
    watermarks: BTreeMap<u32, Reading>,
    outcomes: Vec<Outcome>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let world = World::new(Arc::new(disk.clone()));
        let store = world.start();
        Self {
            world,
            disk,
            store,
            stored: Stored::new(),
            late: BTreeMap::new(),
            watermarks: BTreeMap::new(),
            outcomes: Vec::new(),
        }
    }

    /// As the pipeline classifies.
    fn classification(&mut self, reading: &Reading) -> Classification {
        match self.watermarks.get(&reading.datastream) {
            Some(last) if last == reading => Classification::Duplicate,
            Some(last) if last.time_us >= reading.time_us => Classification::Unresolved,
            _ => {
                self.watermarks.insert(reading.datastream, reading.clone());
                Classification::Inserted
            }
        }
    }

    fn frame(&mut self, readings: &[Reading], outcomes: &[Outcome]) {
        let rows: Vec<_> =
            readings.iter().map(|reading| (reading.clone(), self.classification(reading))).collect();
        let first_obs_no = self.world.next_obs_no;
        self.world.frame(&mut self.store, &rows, outcomes);
        for outcome in outcomes {
            let reading = self.late.remove(&outcome.obs_no).unwrap();
            if matches!(outcome.outcome_kind(), OutcomeKind::Inserted | OutcomeKind::Corrected) {
                self.insert(&reading, outcome.obs_no, outcome.revision);
            }
        }
        for (obs_no, (reading, classification)) in (first_obs_no..).zip(&rows) {
            match classification {
                Classification::Inserted => self.insert(reading, obs_no, 0),
                Classification::Duplicate => {}
                Classification::Unresolved => {
                    self.late.insert(obs_no, reading.clone());
                }
            }
        }
    }

    fn insert(&mut self, reading: &Reading, obs_no: u64, revision: u32) {
        let revisions =
            self.stored.entry((reading.time_us, reading.datastream, reading.ordinal)).or_default();
        revisions.push(expected(reading, obs_no, revision));
    }

    fn classify(&mut self) {
        let got = self.store.classify_due(0, true).unwrap();
        if !self.outcomes.is_empty() {
            assert_eq!(got, None, "a second batch while one is out");
            return;
        }
        let mut stored = self.stored.clone();
        let mut expected_outcomes = Vec::new();
        for (obs_no, reading) in &self.late {
            let revisions = stored.entry((reading.time_us, reading.datastream, reading.ordinal)).or_default();
            let row = expected(reading, *obs_no, revisions.len() as u32);
            let same = |other: &StoredRow| {
                (&other.value, &other.unit, &other.status) == (&row.value, &row.unit, &row.status)
            };
            let (kind, revision) = match revisions.len() {
                _ if revisions.iter().any(same) => (OutcomeKind::Duplicate, 0),
                0 => (OutcomeKind::Inserted, 0),
                count => (OutcomeKind::Corrected, count as u32),
            };
            if kind != OutcomeKind::Duplicate {
                revisions.push(row);
            }
            expected_outcomes.push((*obs_no, kind, revision));
        }
        self.outcomes = got.unwrap_or_default();
        let got =
            self.outcomes.iter().map(|outcome| (outcome.obs_no, outcome.outcome_kind(), outcome.revision));
        assert_eq!(got.collect::<Vec<_>>(), expected_outcomes);
    }

    fn flush(&mut self, end: FlushEnd) {
        let Some(flush) = self.store.flush(0, true).unwrap() else { return };
        if let FlushEnd::Committed | FlushEnd::CrashAfterCommit(_) = end {
            self.world.files.extend(flush.files_added.iter().cloned());
            self.world.cursor = flush.cursor;
        }
        match end {
            FlushEnd::Committed => self.store.committed(flush),
            FlushEnd::Abandoned => self.store.abandoned(flush),
            FlushEnd::CrashBeforeCommit(crash) | FlushEnd::CrashAfterCommit(crash) => self.restart(crash),
        }
    }

    fn compact(&mut self, end: CompactionEnd) {
        let Some(compaction) = self.store.compactor().unwrap().step().unwrap() else { return };
        if let CompactionEnd::CommittedBehindFlush = end {
            self.flush(FlushEnd::Committed);
        }
        if !matches!(end, CompactionEnd::CrashBeforeCommit(_)) {
            self.world.exchange(&compaction);
        }
        match end {
            CompactionEnd::Committed | CompactionEnd::CommittedBehindFlush => {
                // A scan that began before sees what it saw, whatever is removed meanwhile.
                let query = Query { revisions: true, ..Query::default() };
                let before = self.store.reader().scan(&query);
                self.store.compacted(compaction);
                (0..2).for_each(|second| self.store.sweep(second * 1_000_000, false));
                let before: Vec<StoredRow> = before.collect::<Result<_, _>>().unwrap();
                assert_eq!(before, super::query(&self.store, &query));
                self.store.sweep(2_000_000, false);
            }
            CompactionEnd::CrashBeforeCommit(crash) | CompactionEnd::CrashAfterCommit(crash) => {
                self.restart(crash);
            }
        }
    }

    fn restart(&mut self, crash: Crash) {
        self.disk.crash(crash);
        self.disk.restart();
        self.store = self.world.start();
        // Outcomes that did not reach the log are gone.
        self.outcomes.clear();
    }

    fn check(&self, query: &Query) {
        let wanted = |row: &&StoredRow| {
            (query.from_us..query.to_us).contains(&row.time_us)
                && (query.datastreams.is_empty() || query.datastreams.contains(&row.datastream))
        };
        let rows_of = |revisions: &Vec<StoredRow>| -> Vec<StoredRow> {
            let from = if query.revisions { 0 } else { revisions.len() - 1 };
            revisions[from..].iter().filter(wanted).cloned().collect()
        };
        let mut rows: Vec<StoredRow> = self.stored.values().flat_map(rows_of).collect();
        if query.order == Order::NewestFirst {
            rows.sort_by_key(|row| std::cmp::Reverse(row.time_us));
        }
        rows.truncate(query.limit.unwrap_or(usize::MAX));
        assert_eq!(super::query(&self.store, query), rows);
        let counts = self.store.reader().counts();
        let stored: usize = self.stored.values().map(Vec::len).sum();
        assert_eq!(counts.rows_in_files + counts.rows_in_memory, stored as u64);
        assert_eq!(counts.rows_unresolved, self.late.len() as u64);
    }
}

/// Few keys and values, so that they meet; two days with many rows, others with few.
fn any_reading() -> impl Strategy<Value = Reading> {
    let time = prop_oneof![
        4 => (0i64..40).prop_map(|minute| 5 * DAY_US + minute * 60_000_000),
        2 => (0i64..40).prop_map(|minute| 6 * DAY_US + minute * 60_000_000),
        1 => (0i64..9).prop_map(|day| day * DAY_US),
    ];
    let value = prop_oneof![
        6 => (0..3).prop_map(|number| StoredValue::Number(f64::from(number))),
        1 => any::<bool>().prop_map(StoredValue::Boolean),
        1 => prop_oneof!["", "a", "bc"].prop_map(|text: String| StoredValue::Text(text.into())),
        1 => Just(StoredValue::Null),
    ];
    let small = prop_oneof![9 => Just(0u16), 1 => Just(1)];
    let seq = prop_oneof![Just(None), (0..5u64).prop_map(Some)];
    (0..DATASTREAMS, time, small, value, 0..2u32, seq).prop_map(
        |(datastream, time_us, ordinal, value, unit, seq)| Reading {
            datastream,
            time_us,
            ordinal,
            value,
            unit,
            status: 3 * (seq == Some(4)) as u32,
            seq,
        },
    )
}

fn any_query() -> impl Strategy<Value = Query> {
    let datastreams = prop_oneof![Just(vec![]), prop::collection::vec(0..DATASTREAMS + 1, 1..4)];
    let bound =
        || prop_oneof![(0i64..10 * DAY_US), (0i64..40).prop_map(|minute| 5 * DAY_US + minute * 60_000_000)];
    let range = prop_oneof![Just((i64::MIN, i64::MAX)), (bound(), bound())];
    let limit = prop_oneof![3 => Just(None), 1 => (0..20usize).prop_map(Some)];
    let order = prop_oneof![Just(Order::OldestFirst), Just(Order::NewestFirst)];
    (datastreams, range, limit, any::<bool>(), order).prop_map(
        |(datastreams, (from_us, to_us), limit, revisions, order)| Query {
            datastreams,
            from_us,
            to_us,
            limit,
            revisions,
            order,
        },
    )
}

fn any_action() -> impl Strategy<Value = Action> {
    let readings = || prop::collection::vec(any_reading(), 0..25);
    let crash = || prop_oneof![Just(Crash::Kill), Just(Crash::PowerLoss)];
    let end = prop_oneof![
        4 => Just(FlushEnd::Committed),
        1 => Just(FlushEnd::Abandoned),
        1 => crash().prop_map(FlushEnd::CrashBeforeCommit),
        1 => crash().prop_map(FlushEnd::CrashAfterCommit),
    ];
    let compaction = prop_oneof![
        4 => Just(CompactionEnd::Committed),
        2 => Just(CompactionEnd::CommittedBehindFlush),
        1 => crash().prop_map(CompactionEnd::CrashBeforeCommit),
        1 => crash().prop_map(CompactionEnd::CrashAfterCommit),
    ];
    prop_oneof![
        5 => readings().prop_map(Action::Frame),
        2 => Just(Action::Classify),
        3 => (1..12usize, readings()).prop_map(|(count, readings)| Action::Outcomes(count, readings)),
        2 => end.prop_map(Action::Flush),
        1 => compaction.prop_map(Action::Compact),
        1 => crash().prop_map(Action::Restart),
        3 => any_query().prop_map(Action::Query),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// A1-6: whatever happens, each reading is stored exactly once, late rows become what the rule says, and a query gives
    /// exactly the rows that it asks for.
    #[test]
    fn a1_6_the_store_is_what_the_model_says(
        seed in any::<u64>(),
        actions in prop::collection::vec(any_action(), 1..40),
    ) {
        let mut model = Model::new(seed);
        for action in actions {
            match action {
                Action::Frame(readings) => model.frame(&readings, &[]),
                Action::Classify => model.classify(),
                Action::Outcomes(count, readings) => {
                    let count = count.min(model.outcomes.len());
                    let outcomes: Vec<_> = model.outcomes.drain(..count).collect();
                    model.frame(&readings, &outcomes);
                }
                Action::Flush(end) => model.flush(end),
                Action::Compact(end) => model.compact(end),
                Action::Restart(crash) => model.restart(crash),
                Action::Query(query) => model.check(&query),
            }
        }
        model.check(&all_revisions());
        model.restart(Crash::PowerLoss);
        model.check(&all_revisions());
        model.check(&Query::default());
    }
}

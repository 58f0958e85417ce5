//! The books, case by case (A1-6); `model_test.rs` compares them with a recount.

use bytemuck::Zeroable;

use super::*;
use crate::catalogue::{BookRow, Catalogue, Checkpoint, Commit, History, MemoryCatalogue};
use crate::observation::{
    Classification, Definition, FrameInfo, MessageEntry, MessageOutcome, ObservationFrame, Outcome,
    OutcomeKind, Row,
};
use crate::registry::Registry;

const HOUR: i64 = HOUR_US;

fn registry() -> Registry {
    let mut registry = Registry::default();
    for (id, code) in [(1, "H24.05"), (2, "H25")] {
        registry.apply(&Definition::Agency { id, code: code.to_owned() });
        registry.apply(&Definition::Client { id, name: format!("client-{id}") });
    }
    for (id, agency, code) in [(1, 1, "KHI003"), (2, 2, "KHI003"), (3, 1, "NUO001")] {
        registry.apply(&Definition::Station { id, agency, code: code.to_owned() });
    }
    registry
}

/// One message of agency, client and station with rows of these classes.
struct Sent(i64, u32, u32, u32, MessageOutcome, u16, Vec<Classification>);

#[derive(Default)]
struct Log {
    frame_no: u64,
    message_no: u64,
    obs_no: u64,
}

impl Log {
    fn frame(&mut self, sent: &[Sent], outcomes: &[(u64, OutcomeKind)]) -> ObservationFrame {
        let mut frame = ObservationFrame { first_obs_no: self.obs_no + 1, ..ObservationFrame::default() };
        let first_message_no = self.message_no + 1;
        for Sent(time_us, agency, client, station, outcome, quarantined_readings, classes) in sent {
            self.message_no += 1;
            frame.info.time_us = *time_us;
            for class in classes {
                let (message, classification) = (frame.messages.len() as u32, *class as u8);
                frame.rows.push(Row { message, classification, ..Row::zeroed() });
                self.obs_no += 1;
            }
            frame.messages.push(MessageEntry {
                message_no: self.message_no,
                receive_time_us: *time_us,
                client: *client,
                agency: *agency,
                station: *station,
                row_count: classes.len() as u16,
                quarantined_readings: *quarantined_readings,
                outcome: *outcome as u8,
                ..MessageEntry::zeroed()
            });
        }
        frame.outcomes = outcomes
            .iter()
            .map(|(obs_no, kind)| Outcome { obs_no: *obs_no, kind: *kind as u8, ..Outcome::zeroed() })
            .collect();
        self.frame_no += 1;
        frame.frame_no = self.frame_no;
        let time_us = frame.info.time_us;
        let next_message_no = self.message_no + 1;
        frame.info = FrameInfo { first_message_no, next_message_no, time_us, ..FrameInfo::default() };
        frame
    }
}

fn books() -> Books {
    Books::new(10_000, &Checkpoint::default(), &Default::default())
}

fn commit(books: &mut Books, catalogue: &mut MemoryCatalogue, registry: &Registry, flushed: u64) {
    let delta = books.delta(registry, flushed, 0);
    let checkpoint = Checkpoint {
        observation_frame_no: books.frame_no(),
        next_message_no: books.processed() + 1,
        ..Checkpoint::default()
    };
    catalogue.commit(&Commit { checkpoint, books: delta.clone(), ..Commit::default() }).unwrap();
    books.committed(&delta);
}

fn some_frame(log: &mut Log) -> ObservationFrame {
    use Classification::{Duplicate, Inserted, Unresolved};
    let sent = [
        Sent(1, 1, 1, 1, MessageOutcome::Decoded, 0, vec![Inserted, Inserted, Unresolved]),
        Sent(1, 1, 1, 1, MessageOutcome::Partial, 2, vec![Unresolved]),
        Sent(1, 2, 2, 2, MessageOutcome::Quarantined, 0, vec![]),
        Sent(1, 1, 2, 3, MessageOutcome::Decoded, 0, vec![Duplicate, Unresolved, Unresolved]),
        Sent(1, 0, 1, 0, MessageOutcome::Ignored, 0, vec![]),
    ];
    log.frame(&sent, &[])
}

#[test]
fn a1_6_the_ledger_has_the_shape_of_the_contract() {
    let (registry, mut catalogue, mut log, mut books) =
        (registry(), MemoryCatalogue::default(), Log::default(), books());
    books.apply(&some_frame(&mut log));
    books.apply(&log.frame(&[], &[(3, OutcomeKind::Corrected), (6, OutcomeKind::Outranked)]));
    commit(&mut books, &mut catalogue, &registry, 3);
    let ledger = books.ledger(&LedgerFilter::default(), &registry, 7).complete(&mut catalogue).unwrap();
    assert_eq!(
        serde_json::to_string(&ledger).unwrap(),
        concat!(
            r#"{"durable":7,"processed":5,"#,
            r#""messages":{"received":7,"decoded":2,"partial":1,"quarantined":1,"ignored":1,"pending":2},"#,
            r#""observations":{"total":9,"inserted":2,"corrected":1,"outranked":1,"duplicate":1,"unresolved":2,"#,
            r#""quarantined":2,"flushed":3},"#,
            r#""settled":{"messages":0,"readings":0,"erased_messages":0,"erased_readings":0},"lost":0,"expired":0}"#
        )
    );
    let filter = LedgerFilter { station: Some("KHI003".to_owned()), ..LedgerFilter::default() };
    let ledger = books.ledger(&filter, &registry, 7).complete(&mut catalogue).unwrap();
    assert_eq!(
        serde_json::to_string(&ledger).unwrap(),
        concat!(
            r#"{"durable":7,"processed":5,"#,
            r#""messages":{"received":3,"decoded":1,"partial":1,"quarantined":1,"ignored":0,"pending":0},"#,
            r#""observations":{"total":6,"inserted":2,"corrected":1,"outranked":0,"duplicate":0,"unresolved":1,"#,
            r#""quarantined":2,"flushed":null},"#,
            r#""settled":{"messages":0,"readings":0,"erased_messages":0,"erased_readings":0},"lost":null,"expired":null}"#
        )
    );
}

#[test]
fn filters_narrow_both_groups() {
    let (registry, mut catalogue, mut log, mut books) =
        (registry(), MemoryCatalogue::default(), Log::default(), books());
    books.apply(&some_frame(&mut log));
    let mut sums = |filter: LedgerFilter| {
        let ledger = books.ledger(&filter, &registry, 6).complete(&mut catalogue).unwrap();
        (ledger.messages.received, ledger.observations.total)
    };
    let text = |text: &str| Some(text.to_owned());
    let any = LedgerFilter::default;
    assert_eq!(sums(any()), (6, 9));
    assert_eq!(sums(LedgerFilter { agency: text("H24.05"), ..any() }), (3, 9));
    assert_eq!(sums(LedgerFilter { client: text("client-2"), ..any() }), (2, 3));
    assert_eq!(sums(LedgerFilter { agency: text("H24.05"), client: text("client-2"), ..any() }), (1, 3));
    assert_eq!(sums(LedgerFilter { station: text("H25/KHI003"), ..any() }), (1, 0));
    assert_eq!(sums(LedgerFilter { agency: text("H24.05"), station: text("KHI003"), ..any() }), (2, 6));
    assert_eq!(sums(LedgerFilter { client: text("client-3"), ..any() }), (0, 0));
    assert_eq!(sums(LedgerFilter { station: text("H26/KHI003"), ..any() }), (0, 0));
    // One message is pending: it belongs to the newest hour or a later one.
    assert_eq!(sums(LedgerFilter { from_us: Some(HOUR - 1), ..any() }), (6, 9));
    assert_eq!(sums(LedgerFilter { from_us: Some(HOUR), ..any() }), (1, 0));
    assert_eq!(sums(LedgerFilter { to_us: Some(1), ..any() }), (6, 9));
    assert_eq!(sums(LedgerFilter { to_us: Some(0), ..any() }), (0, 0));
}

#[test]
fn an_hour_closes_when_it_is_over_and_resolved_and_then_lies_in_the_catalogue() {
    let (registry, mut catalogue, mut log, mut books) =
        (registry(), MemoryCatalogue::default(), Log::default(), books());
    let row = |time_us, class| Sent(time_us, 1, 1, 1, MessageOutcome::Decoded, 0, vec![class]);
    books.apply(&log.frame(&[row(1, Classification::Unresolved)], &[]));
    commit(&mut books, &mut catalogue, &registry, 0);
    books.apply(&log.frame(&[row(HOUR, Classification::Inserted)], &[]));
    books.apply(&log.frame(&[row(2 * HOUR, Classification::Inserted)], &[]));
    commit(&mut books, &mut catalogue, &registry, 0);
    assert_eq!(books.hours_in_memory(), 3, "an unresolved row keeps its hour and those behind it open");
    books.apply(&log.frame(&[], &[(1, OutcomeKind::Duplicate)]));
    let lost = books.delta(&registry, 0, 0);
    drop(lost);
    assert_eq!(books.hours_in_memory(), 3, "a closed hour leaves the memory only when it is committed");
    commit(&mut books, &mut catalogue, &registry, 0);
    assert_eq!(books.hours_in_memory(), 1);

    let hours = catalogue.book_hours(i64::MIN, 10).unwrap();
    let ranges: Vec<_> =
        hours.iter().map(|hour| (hour.hour, hour.first_message_no, hour.next_message_no)).collect();
    assert_eq!(ranges, [(0, 1, 2), (1, 2, 3), (2, 3, 4)]);
    let rows: Vec<Vec<BookRow>> = (0..2).map(|hour| catalogue.book_rows(hour).unwrap()).collect();
    assert_eq!(rows[0][0].counts.duplicate, 1);
    let first = hour_digest(&[0; 32], &hours[0], &rows[0], &registry);
    let second = hour_digest(&first, &hours[1], &rows[1], &registry);
    assert_eq!(hours.iter().map(|hour| hour.digest).collect::<Vec<_>>(), [Some(first), Some(second), None]);
    let mut forged = rows[0].clone();
    forged[0].counts.duplicate = 0;
    assert_ne!(hour_digest(&[0; 32], &hours[0], &forged, &registry), first);

    // A message with a time before the closed hours is booked in the first open one; an outcome told twice is nothing.
    books.apply(&log.frame(&[row(5, Classification::Inserted)], &[(1, OutcomeKind::Inserted)]));
    assert_eq!(books.unknown_outcomes(), 1);
    commit(&mut books, &mut catalogue, &registry, 0);
    assert_eq!(catalogue.book_rows(0).unwrap(), rows[0]);
    assert_eq!(catalogue.book_rows(2).unwrap()[0].counts.inserted, 2);
}

#[test]
fn the_digest_of_an_hour_is_the_documented_one() {
    // docs/format/books.md, worked example.
    let key = crate::catalogue::BookKey { agency: 1, client: 1, station: 1 };
    let counts = crate::catalogue::BookCounts { decoded: 2, inserted: 3, ..Default::default() };
    let hour =
        crate::catalogue::BookHour { hour: 498_585, first_message_no: 1, next_message_no: 3, digest: None };
    let digest = hour_digest(&[0; 32], &hour, &[BookRow { hour: hour.hour, key, counts }], &registry());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, EXAMPLE_DIGEST);
    let page = include_str!("../../../docs/format/books.md");
    assert!(page.contains(EXAMPLE_DIGEST), "the page shows another digest");
}

const EXAMPLE_DIGEST: &str = "2d121240da7a91780178fe156012342dc1059549e6df46f8c0641380557b89db";

#[test]
fn keys_beyond_the_bound_are_counted_under_other() {
    let registry = registry();
    let mut catalogue = MemoryCatalogue::default();
    let mut books = Books::new(2, &Checkpoint::default(), &Default::default());
    let sent: Vec<Sent> = (0..1_000)
        .map(|at| {
            let (agency, client, station) = (at % 7, at % 50, at);
            Sent(1, agency, client, station, MessageOutcome::Decoded, 0, vec![Classification::Inserted])
        })
        .collect();
    books.apply(&Log::default().frame(&sent, &[]));
    let delta = books.delta(&registry, 0, 0);
    assert!(delta.rows.len() <= 3 * 2 + 1, "{} rows", delta.rows.len());
    let other = |agency: Option<&str>| LedgerFilter {
        agency: agency.map(str::to_owned),
        client: Some(OTHER_NAME.to_owned()),
        ..LedgerFilter::default()
    };
    let mut sum = |filter: &LedgerFilter| {
        books.ledger(filter, &registry, 0).complete(&mut catalogue).unwrap().observations.total
    };
    assert_eq!(sum(&LedgerFilter::default()), 1_000);
    assert!(sum(&other(None)) > 900);
    assert!(sum(&other(Some(OTHER_NAME))) > 0);
}

//! Both catalogues give back what was committed, and fail whole (A1-6).

mod quarantine;

use std::sync::Arc;

use rusqlite::Connection;

use super::*;
use crate::observation::{Definition, Remaining, ResendMark, ResultKind, RetainedChange};
use crate::record::BookedEntry;
use crate::store::FileEntry;

fn both() -> (tempfile::TempDir, Vec<Box<dyn Catalogue>>) {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = SqliteCatalogue::open(dir.path()).unwrap();
    (dir, vec![Box::new(sqlite), Box::new(MemoryCatalogue::default())])
}

fn item(position: u64, ordinal: u32, payload: usize) -> Arc<QuarantineItem> {
    let entry = QuarantineEntry {
        position,
        ordinal,
        receive_time_us: position as i64 * 1_000_000,
        offset: 3,
        readings: 0,
        reason: if position.is_multiple_of(2) { "not_json" } else { "bad_time" }.to_owned(),
        sentence: "expected a value".to_owned(),
        topic: format!("obs/H24.05/S{}", position % 3),
        client: format!("client-{}", position % 2),
        agency: "H24.05".to_owned(),
        payload_bytes: payload as u32,
    };
    let booked = BookedEntry {
        position,
        ordinal,
        receive_time_us: entry.receive_time_us,
        agency: 1,
        client: 2,
        station: u32::MAX,
        readings: 0,
        outcome: 2,
        ..BookedEntry::default()
    };
    Arc::new(QuarantineItem {
        entry,
        booked,
        settled: false,
        flags: 0b1_0001,
        packet_id: u16::MAX,
        properties: vec![3, 0],
        refused: vec![position as u8],
        payload: vec![position as u8; payload],
    })
}

fn settlement(number: u64, key: BookKey) -> SettlementRow {
    SettlementRow {
        settlement_no: number,
        record_no: number + 1,
        settled_us: -1,
        position: number + 2,
        ordinal: 3,
        hour: -4,
        erased: number.is_multiple_of(2),
        from: key,
        from_outcome: 2,
        from_readings: 5,
        to: BookKey { station: 6, ..key },
        to_outcome: 1,
        to_readings: 7,
        rows: 8,
        digest: [number as u8; 32],
    }
}

/// A commit with something in every list, different for each number, reaching the ends of the number ranges.
fn commit(number: u64) -> Commit {
    let id = number as u32;
    let counts = BookCounts::from_array(std::array::from_fn(|at| number * 100 + at as u64));
    let settled = SettledCounts::from_array(std::array::from_fn(|at| at as i64 - 3 * number as i64));
    let key = BookKey { agency: id, client: id + 1, station: OTHER_ID };
    let state = DatastreamState {
        watermark_us: -(number as i64),
        kind: ResultKind::Text,
        value: u64::MAX - number,
        text: "Đo mực nước".to_owned(),
        ordinal: u16::MAX,
        quality: 9,
        flags: 2,
        rank: 3,
        unit: 3,
        status: u32::MAX,
        seq_plus_1: number + 1,
        revision: 2,
        position: number,
        result_time_us: i64::MAX,
        last_undated_us: i64::MIN,
        observations: number,
    };
    let retained = |topic: &[u8], payload: &[u8]| RetainedChange {
        message_no: number,
        receive_time_us: 5,
        qos: 1,
        topic: topic.to_vec(),
        properties: vec![1, 2],
        payload: payload.to_vec(),
    };
    let file = |file_no: u64| FileEntry {
        file_no,
        path: format!("store/{file_no}.parquet"),
        row_count: 7,
        bytes: 8,
        time_min_us: -9,
        time_max_us: 9,
        datastream_min: 0,
        datastream_max: u32::MAX,
        crc32c: u32::MAX,
    };
    let is_lost = number > 2 && !number.is_multiple_of(2);
    Commit {
        forget_books_before: None,
        checkpoint: Checkpoint {
            observation_frame_no: number,
            next_obs_no: number + 1,
            next_record_no: number + 2,
            next_message_no: number + 3,
            store: Default::default(),
        },
        definitions: vec![
            Definition::Datastream {
                id,
                station: 1,
                property: "pm2_5".to_owned(),
                period_s: 60,
                domain: "environment".to_owned(),
                unit: 1,
            },
            Definition::Station { id: id + 1, agency: 1, code: format!("S{number}") },
            Definition::Agency { id: id + 1, code: format!("A{number}") },
            Definition::Client { id: id + 1, name: format!("C{number}") },
            Definition::Symbol { id: id + 1, text: "m3/s".to_owned() },
        ],
        files_added: vec![file(number)],
        files_removed: if is_lost { Vec::new() } else { vec![number.wrapping_sub(2)] },
        files_lost: if is_lost { vec![file(number - 2)] } else { Vec::new() },
        books: BooksDelta {
            totals: BookTotals { counts, settled, flushed: number, expired: number + 1, lost: number + 2 },
            rows: vec![BookRow { hour: number as i64, key, counts }],
            hours: vec![BookHour {
                hour: number as i64,
                first_message_no: number,
                next_message_no: number + 5,
                digest: number.is_multiple_of(2).then_some([number as u8; 32]),
            }],
            unresolved: Some(vec![UnresolvedRun {
                first_obs_no: number,
                hour: number as i64,
                count: 3,
                agency: key.agency,
                client: key.client,
                station: key.station,
            }]),
            settlements: vec![settlement(2 * number, key), settlement(2 * number + 1, key)],
            settled: vec![(number as i64, key, settled)],
            settled_frame_no: number,
            settled_unresolved: Some(vec![UnresolvedRun {
                first_obs_no: number + 1,
                hour: number as i64,
                count: 1,
                agency: key.agency,
                client: key.client,
                station: key.station,
            }]),
        },
        datastream_states: vec![(id, state)],
        retained: vec![
            retained(b"a/b", b"on"),
            retained(format!("a/{number}").as_bytes(), b"x"),
            retained(format!("a/{}", number.wrapping_sub(1)).as_bytes(), b""),
        ],
        resend_marks: number
            .is_multiple_of(3)
            .then(|| vec![ResendMark { key: number, content: u64::MAX, message_no: 1, time_us: -1 }]),
        quarantine: QuarantineDelta {
            items: vec![item(number, 0, 10), item(number, 1, 20)],
            changes: Vec::new(),
        },
    }
}

#[test]
fn a1_6_both_catalogues_give_back_the_same_after_every_commit() {
    let (dir, mut catalogues) = both();
    assert_eq!(catalogues[0].load().unwrap(), Snapshot::default());
    assert_eq!(catalogues[1].load().unwrap(), Snapshot::default());
    for number in 1..12 {
        let snapshots: Vec<Snapshot> = catalogues
            .iter_mut()
            .map(|catalogue| {
                catalogue.commit(&commit(number)).unwrap();
                // Values are absolute: a commit that is repeated changes nothing.
                catalogue.commit(&commit(number)).unwrap();
                catalogue.load().unwrap()
            })
            .collect();
        assert_eq!(snapshots[0], snapshots[1], "after commit {number}");
        let expected = commit(number);
        assert_eq!(snapshots[0].checkpoint, expected.checkpoint);
        assert_eq!(snapshots[0].datastream_states.last(), expected.datastream_states.last());
        assert_eq!(snapshots[0].retained.len(), 2, "a/b and the newest");
        assert_eq!(snapshots[0].files.len(), 2.min(number as usize));
        assert_eq!(snapshots[0].lost_files.len() as u64, number.saturating_sub(1) / 2);
    }
    let before = catalogues[0].load().unwrap();
    drop(catalogues);
    assert_eq!(SqliteCatalogue::open(dir.path()).unwrap().load().unwrap(), before, "after a restart");
}

#[test]
fn definitions_come_back_in_an_order_that_the_registry_takes() {
    let (_dir, mut catalogues) = both();
    let station = |id, agency| Definition::Station { id, agency, code: "KHI003".to_owned() };
    for catalogue in &mut catalogues {
        let definitions = vec![
            station(2, 2),
            station(1, 1),
            Definition::Agency { id: 2, code: "H25".to_owned() },
            Definition::Agency { id: 1, code: "H24.05".to_owned() },
        ];
        catalogue.commit(&Commit { definitions, ..Commit::default() }).unwrap();
        let mut registry = crate::registry::Registry::default();
        for definition in catalogue.load().unwrap().definitions {
            registry.apply(&definition);
        }
        assert_eq!(registry.station_id(1, "KHI003"), Some(1));
        assert_eq!(registry.station_id(2, "KHI003"), Some(2));
        assert_eq!(&**registry.agency(2), "H25");
    }
}

/// Every other format, before anything is written, with the build that reads it (B1-6).
#[test]
fn b1_6_another_format_is_refused_in_one_sentence() {
    for (step, age) in [(1, "newer"), (-1, "older")] {
        let dir = tempfile::tempdir().unwrap();
        let mut catalogue = SqliteCatalogue::open(dir.path()).unwrap();
        catalogue.commit(&commit(1)).unwrap();
        drop(catalogue);
        let path = dir.path().join(CATALOGUE_FILE);
        let connection = Connection::open(&path).unwrap();
        let known: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        let found = known + step;
        connection.pragma_update(None, "user_version", found).unwrap();
        // The number stands in the write-ahead log, as after a crash.
        let copy = tempfile::tempdir().unwrap();
        for name in [CATALOGUE_FILE, "catalogue.db-wal"] {
            std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        drop(connection);
        let files = || {
            let read = |name| std::fs::read(copy.path().join(name)).unwrap();
            let names = std::fs::read_dir(copy.path()).unwrap().count();
            (read(CATALOGUE_FILE), read("catalogue.db-wal"), names)
        };
        let before = files();
        let error = SqliteCatalogue::open(copy.path()).unwrap_err();
        assert!(matches!(error, CatalogueError::OtherFormat { .. }), "{error}");
        let sentence = format!(
            "written in format {found}, this build reads format {known}: start the {age} build that wrote it"
        );
        assert!(error.to_string().ends_with(&sentence), "{error}");
        assert!(files() == before, "what is refused stays as it was");
        let error = CatalogueCut::open(copy.path(), false).unwrap_err();
        assert!(error.to_string().ends_with(&sentence), "{error}");
    }
}

/// A catalogue that was closed has no write-ahead log; to look at it makes none, whatever the directory is called (B1-6).
#[test]
fn b1_6_looking_at_a_closed_catalogue_makes_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("dữ liệu 100%?#&");
    std::fs::create_dir(&data_dir).unwrap();
    SqliteCatalogue::open(&data_dir).unwrap().commit(&commit(1)).unwrap();
    let names = || std::fs::read_dir(&data_dir).unwrap().count();
    assert_eq!(names(), 1);
    let cut = CatalogueCut::open(&data_dir, false).unwrap();
    assert_eq!(cut.snapshot().unwrap().checkpoint, commit(1).checkpoint);
    drop(cut);
    assert_eq!(names(), 1);
}

#[test]
fn a_file_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(CATALOGUE_FILE);
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE photos (id)").unwrap();
    assert!(matches!(SqliteCatalogue::open(dir.path()), Err(CatalogueError::Foreign { .. })));
    std::fs::write(&path, vec![7; 8192]).unwrap();
    assert!(matches!(SqliteCatalogue::open(dir.path()), Err(CatalogueError::Foreign { .. })));
}

#[test]
fn a_full_disk_pushes_back_and_work_goes_on_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let mut catalogue = SqliteCatalogue::open(dir.path()).unwrap();
    catalogue.commit(&commit(1)).unwrap();
    let before = catalogue.load().unwrap();
    let pages: i64 = catalogue.connection().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let limit = |catalogue: &SqliteCatalogue, pages: i64| {
        catalogue.connection().pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    };
    limit(&catalogue, pages);
    let mut large = commit(2);
    large.quarantine = QuarantineDelta { items: vec![item(2, 0, 100_000)], ..QuarantineDelta::default() };
    for _ in 0..2 {
        let error = catalogue.commit(&large).unwrap_err();
        assert!(matches!(error, CatalogueError::NoSpace { .. }) && error.is_backpressure(), "{error}");
        assert_eq!(catalogue.load().unwrap(), before, "nothing of it is there");
    }
    limit(&catalogue, 1 << 20);
    catalogue.commit(&large).unwrap();
    assert_eq!(catalogue.load().unwrap().checkpoint, large.checkpoint);
}

#[test]
fn another_writer_is_backpressure_and_damage_ends_the_commits() {
    let dir = tempfile::tempdir().unwrap();
    let mut catalogue = SqliteCatalogue::open(dir.path()).unwrap();
    catalogue.connection().busy_timeout(Duration::ZERO).unwrap();
    let other = Connection::open(dir.path().join(CATALOGUE_FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = catalogue.commit(&commit(1)).unwrap_err();
    assert!(matches!(error, CatalogueError::Busy { .. }), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    catalogue.commit(&commit(1)).unwrap();
    other.execute_batch("DROP TABLE book_totals").unwrap();
    assert!(matches!(catalogue.commit(&commit(2)), Err(CatalogueError::Sqlite { .. })));
    other.execute_batch("CREATE TABLE book_totals (a)").unwrap();
    assert!(matches!(catalogue.commit(&commit(2)), Err(CatalogueError::Failed)));
}

#[test]
fn a_history_sees_what_was_committed_after_it_was_opened() {
    let (_dir, mut catalogues) = both();
    for catalogue in &mut catalogues {
        let mut history = catalogue.history().unwrap();
        for number in 1..5 {
            catalogue.commit(&commit(number)).unwrap();
        }
        let mut expected = BookCounts::default();
        expected.add(&commit(2).books.rows[0].counts);
        expected.add(&commit(3).books.rows[0].counts);
        let query = BookQuery { from_hour: Some(2), to_hour: Some(4), ..BookQuery::default() };
        assert_eq!(history.book_sums(&query).unwrap(), expected);
        let query = BookQuery { stations: Some(vec![1, OTHER_ID]), client: Some(4), ..query };
        assert_eq!(history.book_sums(&query).unwrap(), commit(3).books.rows[0].counts);
        let query = BookQuery { agency: Some(2), ..query };
        assert_eq!(history.book_sums(&query).unwrap(), BookCounts::default());
        assert_eq!(history.book_hours(2, 2).unwrap(), [commit(2).books.hours[0], commit(3).books.hours[0]]);
        assert_eq!(history.book_rows(3).unwrap(), commit(3).books.rows);
        // Settlements, by the frame that brought them (B1-5).
        let any = BookQuery::default();
        let settled = |number: u64| commit(number).books.settled[0].2;
        let mut expected = settled(1);
        expected.add(&settled(2));
        assert_eq!(history.settled_sums(&any, 2).unwrap(), expected);
        let query = BookQuery { client: Some(4), ..any };
        assert_eq!(history.settled_sums(&query, u64::MAX).unwrap(), settled(3));
        assert_eq!(history.settled_sums(&query, 2).unwrap(), SettledCounts::default());
        assert_eq!(
            history.settlements(6, 2).unwrap(),
            [commit(3).books.settlements[1], commit(4).books.settlements[0]]
        );
        assert_eq!(history.last_settlement_no().unwrap(), 9);
        let BookRow { hour, key, .. } = commit(2).books.rows[0];
        assert!(history.has_book_row(hour, &key).unwrap() && !history.has_book_row(hour + 1, &key).unwrap());
    }
}

#[test]
fn simulated_commits_fail_whole_or_are_done_whole() {
    let handle = MemoryCatalogue::default();
    let mut catalogue = handle.clone();
    catalogue.commit(&commit(1)).unwrap();
    handle.fail_commit(1, CommitFault::NoSpace);
    catalogue.commit(&commit(2)).unwrap();
    assert!(catalogue.commit(&commit(3)).unwrap_err().is_backpressure());
    assert_eq!(catalogue.load().unwrap().checkpoint, commit(2).checkpoint);
    handle.fail_commit(0, CommitFault::Lost);
    assert!(!catalogue.commit(&commit(3)).unwrap_err().is_backpressure());
    drop(catalogue);
    let mut catalogue = handle.clone();
    assert_eq!(catalogue.load().unwrap().checkpoint, commit(2).checkpoint);
    handle.fail_commit(0, CommitFault::DoneAndLost);
    catalogue.commit(&commit(3)).unwrap_err();
    assert_eq!(catalogue.load().unwrap().checkpoint, commit(3).checkpoint);
    assert_eq!(handle.commits(), 3);
}

/// F6: a database without our tables is new in an empty directory, and a lost catalogue beside logs or store files.
#[test]
fn b1_6_an_empty_catalogue_beside_logs_or_store_files_is_refused() {
    for beside in ["journal/0.seg", "observations/0.seg", "store/mixed/run-1.parquet"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CATALOGUE_FILE);
        Connection::open(&path).unwrap().execute_batch("VACUUM").unwrap();
        let file = dir.path().join(beside);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "").unwrap();
        let refused = SqliteCatalogue::open(dir.path());
        assert!(matches!(refused, Err(CatalogueError::Empty { .. })), "{beside}: {refused:?}");
        let refused = SqliteCatalogue::open_copy(dir.path());
        assert!(matches!(refused, Err(CatalogueError::Empty { .. })), "{beside}: {refused:?}");
        std::fs::remove_file(&file).unwrap();
        std::fs::remove_dir(file.parent().unwrap()).unwrap();
        assert!(SqliteCatalogue::open(dir.path()).is_ok(), "{beside}");
    }
}

/// F2: damage to a write-ahead log that was emptied takes nothing back; a reader's view keeps the log from being emptied.
#[test]
fn b1_1_what_was_brought_out_of_the_write_ahead_log_is_not_taken_back() {
    let (dir, mut catalogues) = both();
    let handle = MemoryCatalogue::default();
    catalogues[1] = Box::new(handle.clone());
    let reader = Connection::open(dir.path().join(CATALOGUE_FILE)).unwrap();
    let read = |is_read| {
        reader.execute_batch(if is_read { "BEGIN; SELECT * FROM checkpoint" } else { "COMMIT" }).unwrap();
        handle.read_wal(is_read);
    };
    for catalogue in &mut catalogues {
        assert!(catalogue.empty_wal(Duration::ZERO).unwrap());
        catalogue.commit(&commit(1)).unwrap();
        assert!(catalogue.empty_wal(Duration::ZERO).unwrap());
    }
    read(true);
    for catalogue in &mut catalogues {
        catalogue.commit(&commit(2)).unwrap();
        assert!(!catalogue.empty_wal(Duration::ZERO).unwrap(), "somebody reads");
    }
    // As of a kill -9, and the log is gone: the second commit was never made.
    let taken_back = |without_log: u64| {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join(CATALOGUE_FILE), copy.path().join(CATALOGUE_FILE)).unwrap();
        let snapshot = SqliteCatalogue::open(copy.path()).unwrap().load().unwrap();
        assert_eq!(snapshot.checkpoint, commit(without_log).checkpoint);
    };
    taken_back(1);
    read(false);
    assert!(catalogues.iter_mut().all(|catalogue| catalogue.empty_wal(Duration::ZERO).unwrap()));
    let log = dir.path().join("catalogue.db-wal");
    assert_eq!(std::fs::metadata(log).unwrap().len(), 0);
    taken_back(2);
    handle.lose_wal();
    assert_eq!(handle.clone().load().unwrap().checkpoint, commit(2).checkpoint);
    read(true);
    catalogues[1].commit(&commit(3)).unwrap();
    handle.lose_wal();
    assert_eq!(handle.clone().load().unwrap().checkpoint, commit(2).checkpoint);
}

/// B1-7: hours before the limit go but for the last closed one; their sums and the end of their chain stay; what settlements
/// changed in them is in no narrowed sum any more.
#[test]
fn b1_7_both_catalogues_forget_the_same_hours_and_keep_their_sums() {
    for (before, forgotten_to) in [(1, None), (3, Some(2)), (7, Some(6)), (8, Some(6)), (100, Some(6))] {
        let (dir, mut catalogues) = both();
        let mut seen = Vec::new();
        for catalogue in &mut catalogues {
            // Hours 1 to 9, of which those with an even number are closed.
            (1..9).for_each(|number| catalogue.commit(&commit(number)).unwrap());
            let forgetting = Commit { forget_books_before: Some(before), ..commit(9) };
            catalogue.commit(&forgetting).unwrap();
            // Once more takes nothing twice.
            catalogue.commit(&forgetting).unwrap();
            let mut history = catalogue.history().unwrap();
            assert_eq!(history.forgotten_to_hour().unwrap(), forgotten_to, "before {before}");
            let hours = history.book_hours(i64::MIN, 100).unwrap();
            let first = forgotten_to.map_or(1, |last| last + 1);
            assert_eq!(
                hours.iter().map(|hour| hour.hour).collect::<Vec<_>>(),
                (first..=9).collect::<Vec<_>>()
            );
            assert!((1..=9).all(|hour| history.book_rows(hour).unwrap().is_empty() == (hour < first)));
            let sums = history.book_sums(&BookQuery::default()).unwrap();
            let settled = history.settled_sums(&BookQuery::default(), u64::MAX >> 1).unwrap();
            let mut expected = SettledCounts::default();
            (first..=9).for_each(|number| expected.add(&commit(number as u64).books.settled[0].2));
            assert_eq!(settled, expected, "before {before}");
            seen.push((sums, settled, catalogue.load().unwrap()));
        }
        assert_eq!(seen[0], seen[1], "before {before}");
        drop(catalogues);
        let removals = CatalogueCut::open(dir.path(), false).unwrap().removals().unwrap();
        let mut all = removals.counts;
        all.add(&seen[0].0);
        let mut expected = BookCounts::default();
        (1..=9).for_each(|number| expected.add(&commit(number).books.rows[0].counts));
        assert_eq!(all, expected, "nothing is lost from the sums, before {before}");
        let anchor = forgotten_to.map(|hour| (hour, [hour as u8; 32]));
        assert_eq!(removals.anchor, anchor, "before {before}");
    }
}

//! Every fault that `journal verify` knows, planted once: its code is told, with meaning and remedy.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use e2e_tests::{Gateway, crc32c, mosquitto_pub, new_data_dir, rewrite_frame, sensor_gateway};
use gateway::verify::Fault;
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use super::{Flipped, SETTINGS, contents, fold_write_ahead_log, is_fine, journal, publish, segments, verify};

/// In a frame: the kind of its first record, and of an observation frame what it covers (docs/format/log.md).
const TIME: usize = 56;
const FIRST_RECORD_KIND: usize = 64 + 4;
const NEXT_MESSAGE_NO: usize = 64 + 8 + 8;

/// A data directory with something of everything: two starts, all outcomes, quarantine, a settlement.
struct Base {
    directory: tempfile::TempDir,
    data_dir: PathBuf,
    planted: BTreeSet<&'static str>,
}

impl Base {
    fn new() -> Self {
        let directory = new_data_dir();
        let data_dir = directory.path().join("data");
        for round in 0..2 {
            let gateway = Gateway::start(&data_dir, &SETTINGS);
            publish(&gateway, round * 40..round * 40 + 40);
            // The newest value is a correction.
            for value in ["1", "2"] {
                let payload = format!(
                    r#"{{"time":17000{round}9999,"readings":[{{"property":"flow","value":{value}}}]}}"#
                );
                mosquitto_pub(gateway.mqtt, &["-q", "1", "-t", "obs/A/NEWEST", "-s"], payload.as_bytes());
            }
            let kept = format!("kept/{round}");
            mosquitto_pub(gateway.mqtt, &["-q", "1", "-r", "-t", &kept, "-s"], b"kept by the gateway");
            gateway.wait_until_flushed(u64::from(round) * 43 + 43);
            let directory = data_dir.to_string_lossy();
            let position = (round * 43 + 10).to_string();
            sensor_gateway(&["quarantine", "erase", &position, "--data-dir", &directory]).success();
            gateway.wait_until_flushed(u64::from(round) * 43 + 43);
            gateway.terminate();
        }
        is_fine(&data_dir);
        Self { directory, data_dir, planted: BTreeSet::new() }
    }

    /// Plants it in a copy and verifies that: the code is among what is found, and a person reads what it means.
    fn plant(&mut self, fault: Fault, change: impl FnOnce(&Path)) {
        let copy = self.directory.path().join("copy");
        let _ = fs::remove_dir_all(&copy);
        let status = std::process::Command::new("cp").arg("-a").arg(&self.data_dir).arg(&copy).status();
        assert!(status.is_ok_and(|status| status.success()));
        change(&copy);
        let (exit_code, report) = verify(&copy);
        let findings = report["findings"].as_array().expect("a list");
        let found = findings.iter().find(|finding| finding["code"] == fault.code());
        assert!(exit_code == 1 && found.is_some(), "{}: {exit_code} {report:#}", fault.code());
        let text = journal(&copy, &["verify", "--all"]).stdout;
        for said in [&format!("[{}]", fault.code()), fault.means(), fault.remedy(), "damage.md"] {
            assert!(text.contains(said), "{said:?} in {text}");
        }
        self.planted.insert(fault.code());
    }

    fn sql(&mut self, fault: Fault, sql: &str) {
        self.plant(fault, |copy| assert_ne!(execute(copy, sql), 0, "{sql}"));
    }
}

fn execute(data_dir: &Path, sql: &str) -> usize {
    let catalogue = rusqlite::Connection::open(data_dir.join("catalogue.db")).expect("a catalogue");
    catalogue.execute(sql, []).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn store_file(data_dir: &Path) -> PathBuf {
    contents(&data_dir.join("store")).into_keys().next().expect("a store file")
}

/// Of a log: the first segment, or the last.
fn segment(log: &Path, is_last: bool) -> (PathBuf, Vec<(u64, u64)>) {
    let mut segments = segments(log);
    if is_last { segments.pop().expect("a segment") } else { segments.remove(0) }
}

fn remove_log(log: &Path) {
    segments(log).into_iter().for_each(|(path, _)| fs::remove_file(path).expect("removed"));
}

fn resize(path: &Path, by: i64) {
    let file = OpenOptions::new().write(true).open(path).expect("the file is there");
    let length = file.metadata().expect("it has a length").len();
    file.set_len(length.checked_add_signed(by).expect("still a length")).expect("it can be resized");
}

/// A bit that stays flipped.
fn flip(path: &Path, offset: u64) {
    std::mem::forget(Flipped::new(path, offset, 3));
}

/// Changes the last frame of a log.
fn rewrite_last(log: &Path, change: impl FnOnce(&mut [u8])) {
    let (path, frames) = segment(log, true);
    let (offset, _) = *frames.last().expect("a frame");
    rewrite_frame(&path, offset as usize, change);
}

/// The store file with all of its rows twice, and a catalogue that says so.
fn double_rows(data_dir: &Path) {
    let path = store_file(data_dir);
    let input = File::open(&path).expect("it can be opened");
    let metadata = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .parse_and_finish(&input)
        .expect("a Parquet file");
    let named = metadata.file_metadata().key_value_metadata().cloned();
    let properties = Arc::new(WriterProperties::builder().set_key_value_metadata(named).build());
    let schema = metadata.file_metadata().schema_descr().root_schema_ptr();
    let doubled = path.with_extension("doubled");
    let output = File::create(&doubled).expect("it can be made");
    let mut writer = SerializedFileWriter::new(output, schema, properties).expect("a writer");
    let index = metadata.page_index().expect("it has one");
    for _ in 0..2 {
        for (group_no, group) in metadata.row_groups().iter().enumerate() {
            let mut written = writer.next_row_group().expect("a row group");
            for (column_no, column) in group.columns().iter().enumerate() {
                let column = ColumnCloseResult {
                    bytes_written: column.compressed_size() as u64,
                    rows_written: group.num_rows() as u64,
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: index.column_index(group_no, column_no).cloned(),
                    offset_index: index.offset_index(group_no, column_no).cloned(),
                };
                written.append_column(&input, column).expect("a column");
            }
            written.close().expect("a whole row group");
        }
    }
    writer.close().expect("a whole file");
    fs::rename(&doubled, &path).expect("renamed");
    book_file(data_dir, &path);
    execute(data_dir, "UPDATE files SET row_count = row_count * 2");
}

/// Makes the catalogue say of a store file what it is now: what a build with a bug might have written.
fn book_file(data_dir: &Path, path: &Path) {
    let bytes = fs::read(path).expect("it can be read");
    let name = path.strip_prefix(data_dir).expect("below it").to_string_lossy();
    let (length, checksum) = (bytes.len(), crc32c(&[&bytes]));
    let sql = format!("UPDATE files SET bytes = {length}, crc32c = {checksum} WHERE path = '{name}'");
    assert_eq!(execute(data_dir, &sql), 1);
}

#[test]
fn b1_6_every_fault_is_found_and_told_by_its_code() {
    let mut base = Base::new();
    plant_in_logs(&mut base);
    plant_at_the_ends_of_logs(&mut base);
    plant_in_the_store(&mut base);
    plant_in_the_catalogue(&mut base);
    let all: BTreeSet<&str> = Fault::ALL.iter().map(|fault| fault.code()).collect();
    assert_eq!(base.planted, all, "what was planted (left), what verify knows (right)");
}

fn plant_in_logs(base: &mut Base) {
    base.plant(Fault::AcceptedDamage, |copy| {
        fs::write(copy.join("journal/accepted-damage"), "no list\n").expect("written");
    });
    // A start writes the last frame anew in the segment that it goes on with: this one is a copy that nobody needs.
    base.plant(Fault::FrameDamaged, |copy| {
        let (path, frames) = segment(&copy.join("journal"), false);
        flip(&path, frames.last().expect("a frame").0 + 100);
    });
    base.plant(Fault::FramesMissing, |copy| {
        let (path, frames) = segment(&copy.join("journal"), false);
        flip(&path, frames[frames.len() / 2].0 + 100);
    });
    base.plant(Fault::FrameTime, |copy| {
        rewrite_last(&copy.join("journal"), |frame| frame[TIME..TIME + 8].fill(0));
    });
    base.plant(Fault::RecordMalformed, |copy| {
        rewrite_last(&copy.join("journal"), |frame| frame[FIRST_RECORD_KIND] = 99);
    });
    base.plant(Fault::ObservationFrame, |copy| {
        rewrite_last(&copy.join("observations"), |frame| frame[FIRST_RECORD_KIND] = 99);
    });
    base.plant(Fault::ObservationGap, |copy| {
        rewrite_last(&copy.join("observations"), |frame| frame[NEXT_MESSAGE_NO] += 5);
    });
    base.plant(Fault::LogUnreadable, |copy| {
        let (path, _) = segment(&copy.join("observations"), false);
        let of_journal = copy.join("journal").join(path.file_name().expect("a name"));
        fs::copy(&path, of_journal).expect("copied");
    });
    for bytes in [4_096, -4_096, -5_000] {
        base.plant(Fault::SegmentLength, |copy| resize(&segment(&copy.join("journal"), false).0, bytes));
    }
    base.plant(Fault::SegmentHeader, |copy| flip(&segment(&copy.join("journal"), false).0, 50));
}

fn plant_at_the_ends_of_logs(base: &mut Base) {
    base.plant(Fault::JournalBehind, |copy| remove_log(&copy.join("journal")));
    base.plant(Fault::ObservationsBehind, |copy| remove_log(&copy.join("observations")));
    // The first segment is gone, and the catalogue of long ago wants what stood there.
    base.plant(Fault::JournalMissing, |copy| {
        remove_log(&copy.join("observations"));
        fs::remove_file(segment(&copy.join("journal"), false).0).expect("removed");
        execute(copy, "UPDATE checkpoint SET next_message_no = 1, observation_frame_no = 0");
    });
    base.plant(Fault::ObservationsMissing, |copy| {
        fs::remove_file(segment(&copy.join("observations"), false).0).expect("removed");
        execute(copy, "UPDATE checkpoint SET store = json_set(store, '$.refold_from_record_no', 1)");
    });
}

fn plant_in_the_store(base: &mut Base) {
    base.plant(Fault::FileMissing, |copy| fs::remove_file(store_file(copy)).expect("removed"));
    base.plant(Fault::FileLength, |copy| resize(&store_file(copy), -1));
    base.plant(Fault::FileLength, |copy| resize(&store_file(copy), 1));
    base.plant(Fault::FileChecksum, |copy| flip(&store_file(copy), 100));
    base.plant(Fault::FileUnreadable, |copy| {
        let path = store_file(copy);
        let mut bytes = fs::read(&path).expect("it can be read");
        let end = bytes.len();
        // Length of the footer.
        bytes[end - 8..end - 4].fill(0xFF);
        fs::write(&path, bytes).expect("written");
        book_file(copy, &path);
    });
    base.plant(Fault::FileOrder, double_rows);
    base.plant(Fault::RowTwice, |copy| {
        let path = store_file(copy);
        let twin = path.to_string_lossy().replace(".parquet", "0.parquet");
        fs::copy(&path, &twin).expect("copied");
        let name = |path: &str| Path::new(path).strip_prefix(copy).expect("below it").to_string_lossy().into_owned();
        let sql = format!(
            "INSERT INTO files (file_no, path, row_count, bytes, time_min_us, time_max_us, datastream_min, datastream_max, \
             crc32c, row_crc32c) SELECT 999, '{}', row_count, bytes, time_min_us, time_max_us, datastream_min, datastream_max, crc32c, 0 \
             FROM files WHERE path = '{}'",
            name(&twin),
            name(&path.to_string_lossy())
        );
        assert_eq!(execute(copy, &sql), 1);
    });
}

fn plant_in_the_catalogue(base: &mut Base) {
    base.plant(Fault::CatalogueMissing, |copy| {
        fs::remove_file(copy.join("catalogue.db")).expect("removed");
    });
    // The header of a page in the middle.
    base.plant(Fault::CatalogueDamaged, |copy| {
        fold_write_ahead_log(copy);
        flip(&copy.join("catalogue.db"), 8 * 4_096);
    });
    for (fault, sql) in [
        (
            Fault::BooksRecount,
            "UPDATE book_rows SET inserted = inserted + 1, duplicate = duplicate - 1 WHERE duplicate > 0",
        ),
        (Fault::BooksSum, "UPDATE book_totals SET duplicate = duplicate + 1"),
        (Fault::BooksSum, "UPDATE removals SET lost = 5"),
        (Fault::BooksChain, "UPDATE book_hours SET closed = 1, digest = zeroblob(32)"),
        (Fault::BooksChain, "UPDATE settlements SET settled_us = settled_us + 1"),
        (Fault::BooksStore, "UPDATE book_totals SET flushed = flushed - 1"),
        (Fault::CatalogueRow, "UPDATE quarantine SET payload = zeroblob(length(payload))"),
        (Fault::CatalogueRow, "UPDATE retained SET payload = x'21'"),
        (Fault::CatalogueReference, "DELETE FROM stations WHERE id = 1"),
        (Fault::StateWatermark, "UPDATE datastream_states SET watermark_us = watermark_us - 1"),
        (Fault::FileBounds, "UPDATE files SET time_min_us = time_min_us - 1"),
        (Fault::FileRows, "UPDATE files SET row_count = row_count + 1"),
        (Fault::FileReference, "UPDATE checkpoint SET next_message_no = next_message_no - 20"),
        (
            Fault::QuarantineSum,
            "DELETE FROM quarantine WHERE position = (SELECT max(position) FROM quarantine)",
        ),
    ] {
        base.sql(fault, sql);
    }
}

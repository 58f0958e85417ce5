//! What `docs/operations/damage.md` says of a store file that is gone, word for word: given up, sent again, and everything is
//! there once (B1-6, P2, P3, P6).

use std::fs;
use std::path::{Path, PathBuf};

use e2e_tests::{Gateway, Row, assert_balanced, new_data_dir, sensor_gateway};

use super::{SETTINGS, Sender, is_fine, verify};

/// Ten readings each of two datastreams, one of them texts, at times of their own.
fn round(number: u64) -> Vec<String> {
    let time = |at: u64| 1_700_000_000 + 100 * number + at;
    (0..10)
        .map(|at| {
            format!(
                r#"{{"time":{},"readings":[{{"property":"water_level","value":{at}}},{{"property":"pm2_5","value":"bảo trì {at}"}}]}}"#,
                time(at)
            )
        })
        .collect()
}

fn correction(round: u64, at: u64, value: f64) -> String {
    let time = 1_700_000_000 + 100 * round + at;
    format!(r#"{{"time":{time},"readings":[{{"property":"water_level","value":{value}}}]}}"#)
}

fn store_files(data_dir: &Path) -> Vec<(u64, PathBuf)> {
    let folders = fs::read_dir(data_dir.join("store")).expect("a store").flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).expect("a folder").flatten());
    let mut files: Vec<(u64, PathBuf)> = files
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let number = name.strip_prefix("run-")?.strip_suffix(".parquet")?.parse().ok()?;
            Some((number, file.path()))
        })
        .collect();
    files.sort();
    files
}

/// What counts of a row: not when and how often it came.
fn values(rows: &[Row]) -> Vec<String> {
    let columns = ["datastream", "phenomenon_time", "result", "revision"];
    let mut values: Vec<String> =
        rows.iter().map(|row| columns.map(|column| row[column].clone()).join(" ")).collect();
    values.sort();
    values
}

/// A directory with four files: two rounds, corrections of the first, a third round. Gives what was sent.
fn filled(data_dir: &Path) -> (Vec<String>, Vec<String>) {
    let gateway = Gateway::start(data_dir, &SETTINGS);
    let mut sender = Sender::new(&gateway, 0);
    let parts = [round(1), round(2), vec![correction(1, 3, 77.0), correction(2, 9, 78.0)], round(3)];
    for part in &parts {
        sender.send_all(part);
        gateway.wait_until_flushed(sender.sent);
    }
    let rows = gateway.query_csv(&["--revisions"]);
    assert_eq!(rows.len(), 62);
    gateway.terminate();
    is_fine(data_dir);
    (parts.concat(), values(&rows))
}

fn accept(files: &[u64]) -> Vec<String> {
    files.iter().flat_map(|file| ["--accept-lost-file".to_owned(), file.to_string()]).collect()
}

/// Starts without the files, sends everything again and looks whether everything is there once.
fn given_up_and_sent_again(data_dir: &Path, files: &[u64], sent: &[String], rows: &[String]) {
    let accept = accept(files);
    let accept: Vec<&str> = accept.iter().map(String::as_str).collect();
    let gateway = Gateway::start(data_dir, &[&SETTINGS[..], &accept].concat());
    assert_eq!(gateway.stderr().matches("as --accept-lost-file asked for").count(), files.len());
    let report = is_fine(data_dir);
    assert!(report["notes"].to_string().contains("were given up"), "{report:#}");
    assert!(gateway.query_csv(&["--revisions"]).len() < rows.len());
    let mut sender = Sender::new(&gateway, sent.len() as u64);
    sender.send_all(sent);
    assert_balanced(&gateway.wait_until_flushed(2 * sent.len() as u64));
    assert_eq!(values(&gateway.query_csv(&["--revisions"])), rows, "files {files:?}");
    is_fine(data_dir);
    // Once more: now everything is a duplicate.
    sender.send_all(sent);
    assert_balanced(&gateway.wait_until_flushed(3 * sent.len() as u64));
    assert_eq!(values(&gateway.query_csv(&["--revisions"])), rows, "files {files:?}");
    gateway.terminate();
    is_fine(data_dir);
    // Without the option, and with it for a second time.
    for arguments in [SETTINGS.to_vec(), [&SETTINGS[..], &accept].concat()] {
        let gateway = Gateway::start(data_dir, &arguments);
        assert_eq!(values(&gateway.query_csv(&["--revisions"])), rows);
        gateway.terminate();
        is_fine(data_dir);
    }
}

#[test]
fn b1_6_what_a_lost_file_held_comes_back_once() {
    // The first has earlier values of corrections, the last the newest values; then all of them.
    for lost in [&[0][..], &[3], &[2], &[0, 1, 2, 3]] {
        let directory = new_data_dir();
        let data_dir = directory.path().join("data");
        let (sent, rows) = filled(&data_dir);
        let files = store_files(&data_dir);
        assert_eq!(files.len(), 4, "{files:?}");
        for at in lost {
            fs::remove_file(&files[*at].1).expect("the file can be removed");
        }
        let (code, report) = verify(&data_dir);
        assert_eq!((code, &report["findings"][0]["code"]), (1, &"file_missing".into()), "{report:#}");
        let numbers: Vec<u64> = lost.iter().map(|at| files[*at].0).collect();
        given_up_and_sent_again(&data_dir, &numbers, &sent, &rows);
    }
}

#[test]
fn b1_6_a_cut_file_is_given_up_and_kept_beside_and_a_whole_one_is_not() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let (sent, rows) = filled(&data_dir);
    let files = store_files(&data_dir);
    let refused = |number: u64| {
        let number = number.to_string();
        let data_dir = data_dir.to_string_lossy();
        let arguments =
            ["run", "--data-dir", &data_dir, "--accept-lost-file", &number, "--mqtt-listen", "127.0.0.1:0"];
        let output = sensor_gateway(&[&arguments[..], &["--http-listen", "127.0.0.1:0"]].concat());
        assert_eq!(output.code, Some(2), "{}", output.stderr);
        assert!(output.stderr.contains("loss_not_accepted"), "{}", output.stderr);
    };
    refused(files[1].0);
    refused(4_711);
    is_fine(&data_dir);
    let (number, path) = &files[1];
    let bytes = fs::read(path).expect("a store file");
    fs::write(path, &bytes[..bytes.len() / 2]).expect("the file can be cut");
    given_up_and_sent_again(&data_dir, &[*number], &sent, &rows);
    assert_eq!(fs::read(path.with_extension("parquet.lost")).expect("it is kept"), bytes[..bytes.len() / 2]);
}

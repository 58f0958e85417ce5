//! A damaged store file stays damaged, and is found, however long the gateway runs on with it (B1-6, P2).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use e2e_tests::{Gateway, new_data_dir, wait_until};
use serde_json::Value;

use super::{Flipped, SETTINGS, Sender, is_fine, verify};

/// The value that stands in the damaged file; its bytes occur nowhere else.
const VALUE: f64 = 0.477_762_123_4;
const DAY_S: u64 = 86_400;

/// A message, and a file of its own.
fn send(sender: &mut Sender, gateway: &Gateway, time_s: u64, value: f64) {
    sender.send(&format!(
        r#"{{"time":{time_s},"readings":[{{"property":"water_level","value":{value}}},{{"property":"pm2_5","value":{value}}}]}}"#
    ));
    gateway.wait_until_flushed(sender.sent);
}

/// The store file that has [`VALUE`], and where.
fn place_of_value(data_dir: &Path) -> (PathBuf, u64) {
    let folders = fs::read_dir(data_dir.join("store")).expect("a store").flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).expect("a folder").flatten());
    let places = files.filter_map(|file| {
        let bytes = fs::read(file.path()).expect("a store file");
        let at = bytes.windows(8).position(|bytes| bytes == VALUE.to_le_bytes())?;
        Some((file.path(), at as u64))
    });
    places.into_iter().next().expect("plain doubles in one of the files")
}

fn state(gateway: &Gateway) -> Option<Value> {
    let (status, body) = gateway.http_get("/ready");
    assert_eq!(status, 200, "it serves all the same: {body}");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    let states = ready["states"].as_array().expect("a list");
    states.iter().find(|state| state["state"] == "store_file_damaged").cloned()
}

/// Verify names the file, and only it.
fn assert_found(data_dir: &Path, file: &Path) {
    let (code, report) = verify(data_dir);
    assert_eq!(code, 1, "{report:#}");
    let findings = report["findings"].as_array().expect("a list");
    let of_file = |finding: &Value| {
        let path = finding["file"].as_str().expect("a path");
        file.ends_with(path) && finding["code"] == "file_checksum"
    };
    assert!(findings.iter().any(of_file), "{report:#}");
}

fn assert_told_once(gateway: &Gateway) {
    assert_eq!(gateway.stderr().matches("\"file_checksum\"").count(), 1, "{}", gateway.stderr());
    assert!(gateway.http_get("/metrics").1.contains(r#"sensor_gateway_state{state="store_file_damaged"} 1"#));
}

#[test]
fn b1_6_a_damaged_file_is_not_merged_and_is_one_again_when_it_is_put_back() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &SETTINGS);
    let mut sender = Sender::new(&gateway, 0);
    (1..=4).for_each(|number| {
        let value = if number == 2 { VALUE } else { number as f64 };
        send(&mut sender, &gateway, 1_700_000_000 + number, value);
    });
    gateway.terminate();
    is_fine(&data_dir);

    let (file, offset) = place_of_value(&data_dir);
    let flipped = Flipped::new(&file, offset + 3, 2);
    assert_found(&data_dir, &file);
    let gateway = Gateway::start(&data_dir, &SETTINGS);
    let mut sender = Sender::new(&gateway, 4);
    (5..=24).for_each(|number| send(&mut sender, &gateway, 1_700_000_000 + number, number as f64));
    wait_until("the state that says so", || state(&gateway));
    wait_until("the others to be merged", || {
        let files = gateway.metric("store_files");
        (files < 10).then_some(())
    });
    assert!(file.exists());
    assert_told_once(&gateway);
    assert_found(&data_dir, &file);
    // Put back beside the running gateway.
    drop(flipped);
    wait_until("the state to end", || state(&gateway).is_none().then_some(()));
    is_fine(&data_dir);
    let rows = gateway.query_csv(&["--datastream", "A/S/water_level"]);
    assert_eq!(rows.len(), 24);
    assert_eq!(rows[1]["result"].parse::<f64>().expect("a number"), VALUE);
    gateway.terminate();
    is_fine(&data_dir);
}

#[test]
fn b1_6_retention_does_not_write_a_damaged_file_anew() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let gateway = Gateway::start(&data_dir, &SETTINGS);
    send(&mut Sender::new(&gateway, 0), &gateway, now_s - 20 * DAY_S, VALUE);
    gateway.terminate();

    let (file, offset) = place_of_value(&data_dir);
    let _flipped = Flipped::new(&file, offset + 3, 2);
    // Half of its rows.
    let settings = [&SETTINGS[..], &["--set", "retention.environment_days=10"]].concat();
    let gateway = Gateway::start(&data_dir, &settings);
    wait_until("the state that says so", || state(&gateway));
    assert_told_once(&gateway);
    assert_eq!(gateway.ledger()["expired"], 0);
    assert!(gateway.query_csv(&["--datastream", "A/S/pm2_5"]).is_empty(), "hidden all the same");
    assert_found(&data_dir, &file);
    gateway.terminate();
    assert_found(&data_dir, &file);
}

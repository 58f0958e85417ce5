//! B1-7, promises P2, P3, P6 on the real binary: what has expired goes, is counted once and comes never again; a clock that leaps
//! takes nothing away; the books forget hours and still balance; segments of the logs go when their holders let go.
//!
//! - [`rows`]: `retention.<domain>_days`, with `kill -9` around it.
//! - [`clock`]: the wall clock at 2086, for a while and over restarts.
//! - [`books`]: `retention.books_days`, and a replay into forgotten hours.
//! - [`segments`]: `log_segments` of `/metrics`.

mod books;
mod clock;
mod rows;
mod segments;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{Gateway, RawMqtt, Row, new_data_dir, parse_csv, sensor_gateway};
use serde_json::Value;

const DAY_S: i64 = 86_400;

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs() as i64
}

struct Directory {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Directory {
    fn new() -> Self {
        let directory = new_data_dir();
        let path = directory.path().join("data");
        Self { _directory: directory, path }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }
}

/// A command on a directory, with the gateway's settings where none runs.
fn run(data_dir: &Path, args: &[&str], settings: &[&str]) -> String {
    let data_dir = data_dir.to_str().expect("the path is text");
    sensor_gateway(&[args, &["--data-dir", data_dir], settings].concat()).success()
}

fn json(data_dir: &Path, args: &[&str], settings: &[&str]) -> Value {
    let text = run(data_dir, &[args, &["--format", "json"]].concat(), settings);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn rows(data_dir: &Path, settings: &[&str]) -> Vec<Row> {
    parse_csv(&run(data_dir, &["query", "--revisions", "--format", "csv"], settings))
}

fn publish_all(gateway: &Gateway, client: &str, messages: &[(String, String)]) {
    let mut connection = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, client);
    for some in messages.chunks(100) {
        let mut bytes = Vec::new();
        for (id, (topic, payload)) in (1_u16..).zip(some) {
            bytes.extend(connection.publish_bytes(topic, id, payload.as_bytes()));
        }
        connection.send(&bytes);
        (1_u16..).zip(some).for_each(|(id, _)| connection.expect_puback(id));
    }
}

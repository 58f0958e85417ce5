//! A1-8: `query`, `ledger`, `quarantine list|show` say the same beside a running gateway, without one, and over HTTP.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{Gateway, RawMqtt, new_data_dir, sensor_gateway, sensor_gateway_command};
use serde_json::Value;

const SETTINGS: [&str; 4] =
    ["--set", "journal.segment_bytes_max=4194304", "--set", "store.flush_interval_ms=200"];

/// Command lines that must not depend on whether a gateway runs.
const COMMANDS: [&str; 19] = [
    "query",
    "query --format json",
    "query --format ndjson",
    "query --format table",
    "query --revisions",
    "query --limit 3",
    "query --datastream A",
    "query --datastream A/S1",
    "query --datastream A/S1/pm2_5 --from 2024-11-21T01:06:00Z --to 2024-11-21T01:08:00Z",
    "query --datastream A/none",
    "ledger",
    "ledger --format json",
    "ledger --format json --client first",
    "ledger --format json --station A/S2",
    "ledger --format json --agency none",
    "quarantine list",
    "quarantine list --format json",
    "quarantine list --format csv --client second --limit 1",
    "quarantine show 11 --format json",
];

fn run(data_dir: &str, command: &str) -> String {
    let args: Vec<&str> = command.split(' ').chain(["--data-dir", data_dir]).collect();
    sensor_gateway(&args).success()
}

fn publish_all(gateway: &Gateway) -> u64 {
    let mut sent = 0;
    for (client_id, station) in [("first", "S1"), ("second", "S2")] {
        let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V5, client_id);
        let topic = format!("obs/A/{station}");
        let time = |minute: u16| format!("2024-11-21T01:{minute:02}:00Z");
        for number in 1..=10_u16 {
            // Number 10 corrects number 9; every third one is no JSON.
            let payload = if number % 3 == 0 && number < 9 {
                format!("ERROR {number}")
            } else {
                let time = time(number.min(9));
                format!(
                    r#"{{"time":"{time}","seq":{number},"readings":[{{"property":"pm2_5","value":{number}.5}}]}}"#
                )
            };
            client.send_publish(&topic, number, payload.as_bytes());
            client.expect_puback(number);
            sent += 1;
        }
        client.send_publish(&format!("obs/A/{station}/pm2_5/x"), 11, b"\xff\x00");
        client.expect_puback(11);
        sent += 1;
    }
    sent
}

#[test]
fn a1_8_commands_say_the_same_with_and_without_a_gateway() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let data_dir_text = data_dir.to_string_lossy().into_owned();
    let gateway = Gateway::start(&data_dir, &SETTINGS);
    let sent = publish_all(&gateway);
    let ledger = gateway.wait_until_flushed(sent);
    assert_eq!(ledger["messages"]["quarantined"], 6, "{ledger}");

    let beside: Vec<String> = COMMANDS.iter().map(|command| run(&data_dir_text, command)).collect();
    over_http(&gateway, &data_dir_text);
    gateway.terminate();
    for (command, beside) in COMMANDS.iter().zip(&beside) {
        assert_eq!(
            run(&data_dir_text, command),
            *beside,
            "{command}: without a gateway (left), beside one (right)"
        );
    }
    // Asking left nothing behind that a start minds.
    let gateway = Gateway::start(&data_dir, &SETTINGS);
    for (command, beside) in COMMANDS.iter().zip(&beside) {
        assert_eq!(run(&data_dir_text, command), *beside, "{command}: after a restart");
    }
    gateway.kill9();
    for (command, beside) in COMMANDS.iter().zip(&beside) {
        assert_eq!(run(&data_dir_text, command), *beside, "{command}: after kill -9");
    }
    what_they_say(&beside);
}

/// The answers compared above are not just equally empty.
fn what_they_say(answers: &[String]) {
    let answer = |command: &str| -> &str {
        let place = COMMANDS.iter().position(|known| *known == command).expect("a command of the list");
        &answers[place]
    };
    let lines = |command: &str| answer(command).lines().count();
    // Eight readings of ten, of which one corrects another, for two stations.
    assert_eq!((lines("query"), lines("query --revisions")), (1 + 14, 1 + 16));
    assert_eq!(lines("query --limit 3"), 1 + 3);
    assert_eq!(lines("query --format ndjson"), 14);
    assert_eq!(lines("query --datastream A/S1"), 1 + 7);
    assert_eq!(
        lines("query --datastream A/S1/pm2_5 --from 2024-11-21T01:06:00Z --to 2024-11-21T01:08:00Z"),
        1 + 1
    );
    assert_eq!(lines("query --datastream A/none"), 1);
    assert_eq!(
        answer("query").lines().next(),
        Some(
            "datastream,phenomenon_time,result_time,kind,result,unit,period_s,quality,status,revision,seq,position"
        )
    );
    let json = |command: &str| -> Value { serde_json::from_str(answer(command)).expect("JSON") };
    assert_eq!(json("query --format json").as_array().map(Vec::len), Some(14));
    assert_eq!(json("ledger --format json")["messages"]["received"], 22);
    assert_eq!(json("ledger --format json --client first")["messages"]["received"], 11);
    assert_eq!(json("ledger --format json --station A/S2")["observations"]["corrected"], 1);
    assert_eq!(json("ledger --format json --agency none")["messages"]["received"], 0);
    assert_eq!(json("quarantine list --format json").as_array().map(Vec::len), Some(6));
    assert_eq!(lines("quarantine list --format csv --client second --limit 1"), 1 + 1);
    let shown = json("quarantine show 11 --format json");
    assert_eq!(shown[0]["payload_hex"], "ff00", "{shown}");
    assert_eq!(shown[0]["reason"], "topic_invalid", "{shown}");
}

fn over_http(gateway: &Gateway, data_dir: &str) {
    for (path, command) in [
        ("/api/v1/observations?format=csv", "query --format csv"),
        (
            "/api/v1/observations?format=ndjson&datastream=A/S1/pm2_5&limit=2",
            "query --format ndjson --datastream A/S1/pm2_5 --limit 2",
        ),
        (
            "/api/v1/observations?format=json&from=2024-11-21T01:06:00Z",
            "query --format json --from 2024-11-21T01:06:00Z",
        ),
        ("/api/v1/ledger", "ledger --format json"),
        ("/api/v1/ledger?client=second", "ledger --format json --client second"),
    ] {
        let (status, body) = gateway.http_get(path);
        assert_eq!(status, 200, "{path}: {body}");
        assert_eq!(body, run(data_dir, command), "{path} and {command}");
    }
}

#[test]
fn a1_8_the_example_configuration_is_accepted() {
    let directory = new_data_dir();
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, sensor_gateway(&["config", "example"]).success()).expect("writable");
    sensor_gateway(&["config", "check", &file.to_string_lossy()]).success();
}

/// The log lies on a disk that is full: nothing can be said, and everything else goes on (B1-2).
#[test]
fn b1_2_a_log_that_cannot_be_written_ends_nothing() {
    let directory = new_data_dir();
    let arguments = ["--mqtt-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let mut gateway = sensor_gateway_command(&["run", "--data-dir", &directory.path().to_string_lossy()])
        .args(arguments)
        .args(SETTINGS)
        .stdout(Stdio::piped())
        .stderr(File::options().write(true).open("/dev/full").expect("Linux has it"))
        .spawn()
        .expect("the gateway can be run");
    let mut ready = String::new();
    BufReader::new(gateway.stdout.take().expect("it is piped")).read_line(&mut ready).expect("a line comes");
    let mqtt =
        ready.split_once("mqtt=").and_then(|(_, rest)| rest.split(' ').next()).expect(&ready).to_owned();
    let mut client = RawMqtt::connect(mqtt.parse().expect("an address"), ProtocolVersion::V5, "c");
    // Each breach is a line of the log.
    RawMqtt::connect(mqtt.parse().expect("an address"), ProtocolVersion::V5, "breach").send(b"\x00\x00");
    client.send_publish("obs/A/S/rain", 1, b"0.2");
    client.expect_puback(1);
    let asked = Command::new("kill").args(["-TERM", &gateway.id().to_string()]).status();
    assert!(asked.is_ok_and(|status| status.success()));
    assert_eq!(gateway.wait().expect("it can be waited for").code(), Some(0));
    let rows = run(&directory.path().to_string_lossy(), "query");
    assert_eq!(rows.lines().count(), 2, "{rows}");
}

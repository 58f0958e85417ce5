//! B1-3, B1-5: control records while the journal is full. A replay in whose middle the disk becomes full waits, and goes on by
//! itself; one whose gateway dies there is ended by the next one. Each message is settled once.

use std::collections::HashSet;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::thread::sleep;
use std::time::Duration;

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{Gateway, RawMqtt, SmallDisk, binary, wait_until};
use serde_json::Value;

const SMALL: [&str; 10] = [
    "--set",
    "journal.segment_bytes_max=4194304",
    "--set",
    "journal.log_bytes_max=67108864",
    "--set",
    "store.flush_interval_ms=300",
    "--set",
    "store.flush_rows_max=10000",
    "--set",
    "store.rows_in_memory_max=10000",
];
/// Refuses what was measured in 2024.
const STRICT: [&str; 2] = ["--set", "pipeline.backfill_max_days=1"];
/// With their payloads more than the journal has ready, so that a replay cannot end without space.
const MESSAGES: usize = 12_000;
const PAYLOAD_BYTES: usize = 2_500;
const FIRST_S: i64 = 1_732_000_000;

struct Machine {
    disk: SmallDisk,
    wrapper: Vec<String>,
}

impl Machine {
    fn new() -> Self {
        let disk = SmallDisk::new_real(192);
        let wrapper = disk.wrapper();
        Self { disk, wrapper }
    }

    fn start(&self, settings: &[&str]) -> Gateway {
        let wrapper: Vec<&str> = self.wrapper.iter().map(String::as_str).collect();
        Gateway::start_wrapped(&wrapper, &self.disk.data_dir(), &[&SMALL[..], settings].concat())
    }

    /// A command that sees the file system.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.wrapper[0]);
        command.args(&self.wrapper[1..]).arg(binary("sensor-gateway")).args(args);
        command.arg("--data-dir").arg(self.disk.data_dir()).stdin(Stdio::null());
        command
    }

    fn replay(&self) -> Child {
        let mut command = self.command(&["quarantine", "replay", "--all", "--format", "json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command can be run")
    }

    fn verify(&self) {
        let output = self.command(&["journal", "verify"]).output().expect("the command can be run");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

fn fill_quarantine(gateway: &Gateway) {
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "box");
    let padding = "x".repeat(PAYLOAD_BYTES);
    for from in (0..MESSAGES).step_by(100) {
        let mut bytes = Vec::new();
        for id in 1..=100_u16 {
            let number = from as i64 + i64::from(id);
            let payload = format!(
                r#"{{"time":{},"padding":"{padding}","readings":[{{"property":"flow","value":{number}}}]}}"#,
                FIRST_S + number
            );
            bytes.extend(client.publish_bytes("obs/A/S", id, payload.as_bytes()));
        }
        client.send(&bytes);
        (1..=100).for_each(|id| client.expect_puback(id));
    }
    let ledger = gateway.wait_until_flushed(MESSAGES as u64);
    assert_eq!(ledger["messages"]["quarantined"], MESSAGES, "{ledger}");
}

fn settled(gateway: &Gateway) -> u64 {
    gateway.ledger()["settled"]["messages"].as_u64().expect("a count")
}

/// Readings of a client that sends as fast as it is acknowledged, until it is cut off or `stop` is set; gives how many
/// messages were acknowledged.
fn start_flood(gateway: &Gateway, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let stop = stop.clone();
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "flood");
    std::thread::spawn(move || {
        let mut acked = 0;
        for number in 0.. {
            if stop.load(Ordering::Acquire) {
                break;
            }
            let readings: Vec<String> =
                (0..100).map(|at| format!(r#"{{"property":"p{at}","value":{number}}}"#)).collect();
            let padding = "x".repeat(30_000);
            let time = FIRST_S + number;
            let payload =
                format!(r#"{{"time":{time},"padding":"{padding}","readings":[{}]}}"#, readings.join(","));
            let publish = client.publish_bytes("obs/F/S", 1, payload.as_bytes());
            if client.try_send(&publish).is_err() || client.next_packet().is_none() {
                break;
            }
            acked += 1;
        }
        acked
    })
}

fn has_state(gateway: &Gateway, name: &str) -> bool {
    let (_, body) = gateway.http_get("/ready");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    ready["states"].as_array().expect("a list").iter().any(|state| state["state"] == name)
}

fn is_running(command: &mut Child) -> bool {
    command.try_wait().expect("the command can be waited for").is_none()
}

/// Up to the moment when a replay has settled something and waits for space.
fn replay_that_waits(machine: &Machine, gateway: &Gateway) -> (Child, u64) {
    let mut replay = machine.replay();
    wait_until("the replay to settle something", || {
        assert!(is_running(&mut replay), "it ended before the disk was full");
        (settled(gateway) > 0).then_some(())
    });
    // It does nothing while somebody else writes.
    gateway.signal("STOP");
    machine.disk.fill();
    gateway.signal("CONT");
    wait_until("a state that says so", || (gateway.http_get("/ready").0 == 503).then_some(()));
    // What the ballast gave.
    machine.disk.fill();
    let mut before = u64::MAX;
    let stopped_at = wait_until("the replay to stand still", || {
        // Many times what a batch takes.
        sleep(Duration::from_millis(700));
        let now = settled(gateway);
        (std::mem::replace(&mut before, now) == now).then_some(now)
    });
    assert!(0 < stopped_at && stopped_at < MESSAGES as u64, "{stopped_at} settled: in its middle");
    assert!(is_running(&mut replay), "it waits");
    let (status, body) = gateway.http_get("/ready");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status, 503, "{body}");
    assert!(ready["reasons"].to_string().contains("free some space"), "the remedy is said: {body}");
    assert_eq!(gateway.http_get("/health").0, 200);
    (replay, stopped_at)
}

fn assert_settled_once(machine: &Machine, gateway: &Gateway) {
    gateway.wait_until_flushed(MESSAGES as u64);
    let ledger = gateway.ledger_where("client=box");
    assert_eq!(ledger["messages"]["decoded"], MESSAGES, "{ledger}");
    assert_eq!(ledger["messages"]["quarantined"], 0, "{ledger}");
    assert_eq!(
        (&ledger["settled"]["messages"], &ledger["settled"]["readings"]),
        (&MESSAGES.into(), &MESSAGES.into())
    );
    assert_eq!(ledger["observations"]["inserted"], MESSAGES, "{ledger}");
    let (status, body) =
        gateway.http_get("/api/v1/observations?datastream=A/S/flow&format=csv&revisions=true");
    assert_eq!(status, 200, "{body}");
    let rows = e2e_tests::parse_csv(&body);
    let times: HashSet<&str> = rows.iter().map(|row| row["phenomenon_time"].as_str()).collect();
    assert_eq!((rows.len(), times.len()), (MESSAGES, MESSAGES), "each once");
    machine.verify();
}

#[test]
fn b1_3_b1_5_a_replay_waits_while_the_disk_is_full_and_goes_on_by_itself() {
    let machine = Machine::new();
    let gateway = machine.start(&STRICT);
    fill_quarantine(&gateway);
    gateway.terminate();
    let gateway = machine.start(&[]);
    let stop = Arc::new(AtomicBool::new(false));
    let flood = start_flood(&gateway, &stop);
    let (replay, stopped_at) = replay_that_waits(&machine, &gateway);
    // No segment, or no buffer because the pipeline holds: either way it takes nothing in.
    wait_until("the journal to be full", || {
        ["journal_full", "clients_wait"].iter().any(|state| has_state(&gateway, state)).then_some(())
    });
    // There is one at a time: who asks meanwhile is told so.
    let other = machine.replay().wait_with_output().expect("the command can be waited for");
    let stderr = String::from_utf8_lossy(&other.stderr);
    assert!(other.status.code() == Some(2) && stderr.contains("under way"), "{:?} {stderr}", other.status);
    assert_eq!(settled(&gateway), stopped_at);

    machine.disk.free();
    let output = replay.wait_with_output().expect("the command can be waited for");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    wait_until("/ready", || (gateway.http_get("/ready").0 == 200).then_some(()));
    stop.store(true, Ordering::Release);
    let acked = flood.join().expect("the flood ends");
    assert_settled_once(&machine, &gateway);
    let flooded = gateway.ledger_where("client=flood");
    assert!(flooded["messages"]["decoded"].as_u64() >= Some(acked), "{acked} acknowledged: {flooded}");
    gateway.terminate();
    machine.verify();
}

#[test]
fn b1_3_b1_5_kill_9_while_a_replay_waits_for_space() {
    let machine = Machine::new();
    let gateway = machine.start(&STRICT);
    fill_quarantine(&gateway);
    gateway.terminate();
    let gateway = machine.start(&[]);
    let (mut replay, stopped_at) = replay_that_waits(&machine, &gateway);
    gateway.kill9();
    let ended = replay.wait().expect("the command can be waited for");
    assert_ne!(ended.code(), Some(0), "it says that it did not end");
    machine.disk.free();
    // The control records that were durable are settled at the start.
    let gateway = machine.start(&[]);
    assert!(settled(&gateway) >= stopped_at);
    let output = machine.replay().wait_with_output().expect("the command can be waited for");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_settled_once(&machine, &gateway);
    gateway.terminate();
    machine.verify();
}

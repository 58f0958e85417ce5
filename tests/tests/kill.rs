//! A1-10, promises P1, P2, P3, P6: `kill -9` at random points under load. Every acknowledged reading is in the store
//! exactly once, and the books are what a count of the journal says that shares no code with the gateway.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use e2e_tests::{
    Gateway, JournalCount, Simulator, Sums, new_data_dir, sensor_gateway_command, verify, wait_until,
};
use serde_json::Value;

/// Kills of a gateway that accepts connections.
const KILLS_UNDER_LOAD: usize = 20;
/// Besides: after each of these kills, one more while the gateway is still recovering.
const KILL_IN_RECOVERY_EVERY: usize = 3;
/// Large enough that no segment is used again before it was counted, small enough for a quick start.
const SEGMENT_BYTES: &str = "journal.segment_bytes_max=33554432";
/// Commits of the store are among what is killed.
const FLUSH_INTERVAL: &str = "store.flush_interval_ms=300";
/// Seed of a run that is to be repeated.
const SEED_VARIABLE: &str = "KILL_SEED";

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from))
    }
}

fn seed() -> u64 {
    let chosen = std::env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok());
    chosen.unwrap_or_else(|| RandomState::new().build_hasher().finish())
}

#[test]
fn a1_10_what_was_acked_is_stored_once_whenever_the_gateway_is_killed() {
    let seed = seed();
    println!("{SEED_VARIABLE}={seed}");
    let mut random = Random(seed);
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let settings = ["--set", SEGMENT_BYTES, "--set", FLUSH_INTERVAL];

    let mut gateway = Gateway::start(&data_dir, &settings);
    let (mqtt, http) = (gateway.mqtt.to_string(), gateway.http.to_string());
    let same_ports = [&settings[..], &["--mqtt-listen", &mqtt, "--http-listen", &http]].concat();
    let loads = start_loads(directory.path(), &mqtt, seed);

    let mut journal = JournalCount::default();
    let mut kills = 0;
    for round in 0..KILLS_UNDER_LOAD {
        wait_for_load(&gateway);
        sleep(random.milliseconds(0, 700));
        gateway.kill9();
        kills += 1;
        journal.add(&data_dir.join("journal"));
        if round % KILL_IN_RECOVERY_EVERY == 0 {
            kill_in_recovery(&data_dir, &same_ports, random.milliseconds(0, 400));
            kills += 1;
            journal.add(&data_dir.join("journal"));
        }
        gateway = Gateway::start(&data_dir, &same_ports);
    }

    // The clients end when all that they sent is acknowledged.
    sleep(random.milliseconds(500, 1_000));
    let truths = loads.map(Simulator::stop);
    let received = gateway.ledger()["messages"]["received"].as_u64().expect("a count");
    let ledger = gateway.wait_until_flushed(received);
    let ledgers_of_clients: Vec<(String, Value)> = {
        gateway.signal("STOP");
        journal.add(&data_dir.join("journal"));
        gateway.signal("CONT");
        let of_client = |client: String| {
            let ledger = gateway.ledger_where(&format!("client={client}"));
            (client, ledger)
        };
        journal.clients().into_iter().map(of_client).collect()
    };
    gateway.terminate();

    println!("{kills} kills, {ledger}");
    assert_books(&ledger, journal.sums(None), "all clients");
    assert!(ledgers_of_clients.len() >= 7, "every client was heard");
    for (client, ledger) in &ledgers_of_clients {
        assert_books(ledger, journal.sums(Some(client)), client);
    }
    for truth in &truths {
        let report = verify(truth, &data_dir);
        println!("{}: {report}", truth.display());
        assert!(
            report["rows_required"].as_u64().is_some_and(|rows| rows > 1_000),
            "there was a load: {report}"
        );
        assert!(has_resends(truth), "kills made clients send again");
    }
}

/// Dated readings with every fault there is, and undated ones: in JSON, where their sequence number tells them apart, and as
/// bare values, where only DUP, the packet id and the order do. What order cannot tell (`pipeline::resend`, "What is left")
/// is possible where the first message that is lost has the id, topic and value of one before it; so that the simulator's
/// count is the only right one, that client has more packet ids than it uses. `exactly_once.rs` has the reuse of ids.
fn start_loads(directory: &Path, mqtt: &str, seed: u64) -> [Simulator; 4] {
    let seed = (seed % 1_000_000).to_string();
    let start = |name: &str, agency: &str, options: &str| {
        let common = ["run", "--broker", mqtt, "--seed", &seed, "--client-prefix", name, "--agency", agency];
        let always = "--resend-after-reconnect --duplicates 0.1 --garbage 0.03";
        let options = always.split(' ').chain(options.split(' '));
        let args: Vec<&str> = common.into_iter().chain(options).collect();
        Simulator::start(&directory.join(format!("{name}.ndjson")), &args)
    };
    let unordered =
        "--clients 2 --stations 15 --rate 2000 --in-flight 50 --reorder 0.1 --corrections 0.05 --gaps 0.02";
    [
        start("json", "H24.05", &format!("--format json {unordered}")),
        start("flatbuffers", "H24.06", &format!("--format flatbuffers {unordered}")),
        start(
            "undated",
            "H24.07",
            "--format json --undated --clients 2 --stations 10 --rate 300 --in-flight 50",
        ),
        start("bare", "H24.08", "--format bare --clients 1 --stations 5 --rate 300 --in-flight 20000"),
    ]
}

/// Waits until clients are back and publish: what was received since the start grows.
fn wait_for_load(gateway: &Gateway) {
    let received = || gateway.ledger()["messages"]["received"].as_u64().expect("a count");
    let before = received();
    wait_until("messages of the clients", || (received() > before + 10).then_some(()));
}

/// Starts a gateway and kills it after `delay`, most likely before it is ready.
fn kill_in_recovery(data_dir: &Path, settings: &[&str], delay: Duration) {
    let mut child = sensor_gateway_command(&["run", "--data-dir", &data_dir.to_string_lossy()])
        .args(settings)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary can be run");
    sleep(delay);
    assert_eq!(
        child.try_wait().expect("the child can be waited for"),
        None,
        "it recovers or runs until it is killed"
    );
    child.kill().expect("it can be killed");
    child.wait().expect("the child can be waited for");
}

fn has_resends(truth: &Path) -> bool {
    let text = std::fs::read_to_string(truth).expect("the truth ledger is there");
    text.lines().any(|line| line.starts_with("{\"resent\":"))
}

/// A ledger and the count, and the ledger in itself.
fn assert_books(ledger: &Value, sums: Sums, whose: &str) {
    let message = |name: &str| ledger["messages"][name].as_u64().expect("a count");
    let observation = |name: &str| ledger["observations"][name].as_u64().expect("a count");
    let counted = Sums {
        received: message("received"),
        decoded: message("decoded"),
        quarantined: message("quarantined"),
        ignored: message("ignored"),
        readings: observation("total"),
        readings_quarantined: observation("quarantined"),
    };
    assert_eq!(counted, sums, "{whose}: the books (left) and the journal (right); {ledger}");
    assert_eq!((message("partial"), message("pending")), (0, 0), "{whose}: {ledger}");
    let parts = ["inserted", "corrected", "outranked", "duplicate", "unresolved", "quarantined"];
    assert_eq!(
        parts.iter().map(|name| observation(name)).sum::<u64>(),
        observation("total"),
        "{whose}: {ledger}"
    );
}

//! A1-10, B1-2, promises P1, P2, P3, P6: `kill -9` at random instants under load, in every stage. Every acknowledged reading is
//! in the store exactly once, and the books are what a count of the journal says that shares no code with the gateway.
//!
//! Each kill is one of [`Blow`]: random instants alone rarely hit the moments between two steps of a flush or a compaction,
//! so some are tied to a system call by strace. `KILL_SEED=…` repeats a run's choices; the long form is
//!
//! ```text
//! KILLS=1000 cargo test --profile e2e -p e2e-tests --test kill -- --nocapture
//! ```
//!
//! `journal verify` looks at the directory after every kill. Kills come in rounds of a data directory each; behind a round the
//! books are held against the journal and `firmware-sim verify` says whether anything is missing, doubled or altered.

use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e_tests::{
    Gateway, JournalCount, Random, Simulator, Sums, assert_balanced, assert_verified, count,
    environment_number, kill_seed, milliseconds, new_data_dir, sensor_gateway_command, verify, wait_until,
};
use serde_json::Value;

/// Kills in CI.
const KILLS: usize = 33;
/// How many there are to be instead.
const KILLS_VARIABLE: &str = "KILLS";
/// A call that does not come in this time is not waited for: the kill then comes at this instant.
const CALL_WAIT: Duration = Duration::from_secs(2);

/// A way to kill.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// At a random instant under load: accepting, appending, decoding, classifying, whatever it is.
    UnderLoad,
    /// While it starts: most likely before it is ready.
    Starting,
    /// While it drains after SIGTERM.
    Draining,
    /// Just before it makes one of these system calls.
    AtCall(&'static str),
}

/// One after the other. The calls are: a store file gets its name (flush, compaction, segment); what was replaced goes; a sync
/// (database, store file, segment, directory); a write (journal and observation log, database, store file); a file is made or
/// opened; an answer or an ack leaves; a client is accepted.
const BLOWS: [Blow; 11] = [
    Blow::UnderLoad,
    Blow::Starting,
    Blow::AtCall("rename,renameat,renameat2"),
    Blow::UnderLoad,
    Blow::Draining,
    Blow::AtCall("fdatasync,fsync"),
    Blow::AtCall("pwrite64,pwritev,pwritev2"),
    Blow::UnderLoad,
    Blow::AtCall("unlink,unlinkat"),
    Blow::AtCall("openat"),
    Blow::AtCall("accept4"),
];
/// Large enough that no segment is used again before it was counted, small enough for a quick start.
const SEGMENT_BYTES: &str = "journal.segment_bytes_max=33554432";
/// Commits of the store are among what is killed.
const FLUSH_INTERVAL: &str = "store.flush_interval_ms=300";
#[test]
fn a1_10_what_was_acked_is_stored_once_whenever_the_gateway_is_killed() {
    let seed = kill_seed();
    let mut random = Random::new(seed);
    let kills = environment_number(KILLS_VARIABLE).unwrap_or(KILLS as u64) as usize;
    let mut done = 0;
    while done < kills {
        let blows = &BLOWS[..BLOWS.len().min(kills - done)];
        done += blows.len();
        println!("round of {} kills, {done} of {kills} behind it", blows.len());
        round(blows, seed.wrapping_add(done as u64), &mut random);
    }
}

/// Kills under load; `journal verify` after each, the books and `firmware-sim verify` behind the last.
fn round(blows: &[Blow], seed: u64, random: &mut Random) {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let settings = ["--set", SEGMENT_BYTES, "--set", FLUSH_INTERVAL];
    let gateway = Gateway::start(&data_dir, &settings);
    let (mqtt, http) = (gateway.mqtt.to_string(), gateway.http.to_string());
    let same_ports = [&settings[..], &["--mqtt-listen", &mqtt, "--http-listen", &http]].concat();
    let loads = start_loads(directory.path(), &mqtt, seed);

    let mut journal = JournalCount::default();
    let mut running = Some(gateway);
    for (kill, blow) in blows.iter().enumerate() {
        let mut start = || running.take().unwrap_or_else(|| Gateway::start(&data_dir, &same_ports));
        match *blow {
            Blow::UnderLoad => {
                let gateway = start();
                wait_for_load(&gateway);
                // The instant of the kill is what chance decides.
                sleep(milliseconds(random, 0, 700));
                gateway.kill9();
            }
            Blow::Draining => {
                let gateway = start();
                wait_for_load(&gateway);
                gateway.signal("TERM");
                // Somewhere in the draining.
                sleep(milliseconds(random, 0, 120));
                gateway.kill9();
            }
            Blow::Starting => kill_in_recovery(&data_dir, &same_ports, milliseconds(random, 0, 400)),
            Blow::AtCall(calls) => kill_at_call(&data_dir, &same_ports, calls, random.next_u64()),
        }
        journal.add(&data_dir.join("journal"));
        assert_verified(&data_dir);
        println!("kill {} of the round: {blow:?}", kill + 1);
    }
    let gateway = Gateway::start(&data_dir, &same_ports);
    wait_for_load(&gateway);

    // The clients end when all that they sent is acknowledged.
    sleep(milliseconds(random, 500, 1_000));
    let truths = loads.map(Simulator::stop);
    let ledger = gateway.wait_until_flushed(gateway.received());
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
    assert_verified(&data_dir);

    println!("{ledger}");
    assert_books(&ledger, journal.sums(None), "all clients");
    assert!(ledgers_of_clients.len() >= 7, "every client was heard");
    for (client, ledger) in &ledgers_of_clients {
        assert_books(ledger, journal.sums(Some(client)), client);
    }
    for truth in &truths {
        let report = verify(truth, &data_dir);
        println!("{}: {report}", truth.display());
        assert!(
            report["rows_required"].as_u64().is_some_and(|rows| rows > 500),
            "there was a load: {report}"
        );
        assert!(has_resends(truth), "kills made clients send again");
    }
}

/// Dated readings with every fault there is, and undated ones: in JSON, where their sequence number tells them apart, and as
/// bare values, where only DUP, the packet id and the order do. What order cannot tell (`pipeline::resend`, "What is left")
/// is possible where the first message that is lost has the id, topic and value of one before it; so that the simulator's
/// count is the only right one, that client has more packet ids than it uses. `exactly_once/redelivery.rs` has the reuse of ids.
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
        "--clients 2 --stations 15 --rate 1000 --in-flight 50 --reorder 0.1 --corrections 0.05 --gaps 0.02";
    [
        start("json", "H24.05", &format!("--format json {unordered}")),
        start("flatbuffers", "H24.06", &format!("--format flatbuffers {unordered}")),
        start(
            "undated",
            "H24.07",
            "--format json --undated --clients 2 --stations 10 --rate 200 --in-flight 50",
        ),
        start("bare", "H24.08", "--format bare --clients 1 --stations 5 --rate 200 --in-flight 20000"),
    ]
}

/// Waits until clients are back and publish: what was received since the start grows.
fn wait_for_load(gateway: &Gateway) {
    let before = gateway.received();
    wait_until("messages of the clients", || (gateway.received() > before + 10).then_some(()));
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

/// Starts a gateway that is killed just before one of these system calls, some time after it was started.
fn kill_at_call(data_dir: &Path, settings: &[&str], calls: &str, random: u64) {
    // Each thread counts its own calls; rare ones (a rename) come a few times in a second, writes hundreds of times.
    let nth = match calls {
        "fdatasync,fsync" => 1 + random % 60,
        "pwrite64,pwritev,pwritev2" => 1 + random % 400,
        "openat" => 30 + random % 200,
        "accept4" => 1 + random % 6,
        _ => 1 + random % 6,
    };
    let trace = format!("trace={calls}");
    let inject = format!("inject={calls}:signal=KILL:when={nth}");
    let wrapper =
        ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    match Gateway::try_start(&wrapper, data_dir, settings) {
        Ok(mut gateway) => {
            let started = Instant::now();
            while gateway.is_running() && started.elapsed() < CALL_WAIT {
                sleep(Duration::from_millis(10));
            }
            gateway.kill9();
        }
        // Killed before it was ready: no exit code.
        Err(output) => assert_eq!(output.code, None, "it starts, or is killed: {}", output.stderr),
    }
}

fn has_resends(truth: &Path) -> bool {
    let text = std::fs::read_to_string(truth).expect("the truth ledger is there");
    text.lines().any(|line| line.starts_with("{\"resent\":"))
}

/// A ledger and the count, and the ledger in itself.
fn assert_books(ledger: &Value, sums: Sums, whose: &str) {
    let message = |name: &str| count(ledger, "messages", name);
    let observation = |name: &str| count(ledger, "observations", name);
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
    assert_balanced(ledger);
}

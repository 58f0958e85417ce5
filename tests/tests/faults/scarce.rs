//! Too little memory, too few descriptors.

use std::net::TcpStream;

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{Gateway, RawMqtt, Simulator, new_data_dir, try_http_get, wait_until};

use super::load::{DATED, assert_balanced, assert_nothing_lost, same_ports, start_load, wait_for_load};

/// The address space becomes smaller from start to start, until nothing works any more. Each time the gateway either works,
/// or ends and says that memory is missing; what was acknowledged is there when memory is.
#[test]
fn b1_2_with_too_little_memory_it_works_or_says_so_and_loses_nothing() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let settings = ["--set", "store.flush_interval_ms=300", "--set", "mqtt.shards=1"];
    let gateway = Gateway::start(&data_dir, &settings);
    let ports = same_ports(&gateway);
    let again: Vec<&str> = settings.into_iter().chain(ports.iter().map(String::as_str)).collect();
    let load = start_load(directory.path(), &gateway, "DATED", DATED);
    wait_for_load(&gateway, 1_000);
    gateway.kill9();

    let (mut worked, mut refused) = (0, 0);
    for mib in [1_024_u64, 512, 256, 192, 160, 128, 96, 64, 48, 32] {
        let limit = format!("--as={}", mib << 20);
        match Gateway::try_start(&["prlimit", &limit, "--"], &data_dir, &again) {
            Ok(mut gateway) => {
                let mut before = None;
                let went_on = wait_until("messages, or the end of the gateway", || {
                    if !gateway.is_running() {
                        return Some(false);
                    }
                    let now = ask_received(&gateway)?;
                    (now > *before.get_or_insert(now) + 500).then_some(true)
                });
                worked += u64::from(went_on);
                if went_on {
                    gateway.kill9();
                } else {
                    refused += 1;
                    assert_says_memory(mib, &gateway.stderr());
                }
            }
            Err(output) => {
                refused += 1;
                assert_says_memory(mib, &output.stderr);
            }
        }
    }
    println!("{worked} limits were enough, {refused} were not");
    assert!(worked > 0 && refused > 0, "the limits go from enough to too little");

    let gateway = Gateway::start(&data_dir, &again);
    wait_for_load(&gateway, 500);
    let truth = Simulator::stop(load);
    assert_balanced(&gateway);
    gateway.terminate();
    assert_nothing_lost(&truth, &data_dir, 1_000);
}

/// `None` where the gateway gives no answer any more.
fn ask_received(gateway: &Gateway) -> Option<u64> {
    let (status, body) = try_http_get(gateway.http, "/api/v1/ledger")?;
    let ledger: serde_json::Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
    ledger["messages"]["received"].as_u64()
}

fn assert_says_memory(mib: u64, stderr: &str) {
    let lower = stderr.to_lowercase();
    assert!(lower.contains("memory") || lower.contains("os error 11"), "{mib} MiB: it says why:\n{stderr}");
}

/// Hundreds of clients come where the limit has room for few: those that are in go on, flushes and questions find their
/// files, and when some leave others come in.
#[test]
fn b1_2_when_descriptors_run_out_files_have_theirs_and_clients_wait() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let settings = ["--set", "store.flush_interval_ms=200", "--set", "journal.segment_bytes_max=4194304"];
    let wrapper = ["prlimit", "--nofile=256:256", "--"];
    let gateway = Gateway::start_wrapped(&wrapper, &data_dir, &settings);
    let load = start_load(directory.path(), &gateway, "DATED", DATED);
    wait_for_load(&gateway, 500);

    // The kernel takes all of them; the gateway has room for 160 of the 256.
    let crowd: Vec<TcpStream> =
        (0..400).map(|_| TcpStream::connect(gateway.mqtt).expect("the backlog has room")).collect();
    wait_until("a word about descriptors", || gateway.stderr().contains("descriptors").then_some(()));
    // Flushes, compactions and questions need files; the segments are small, so the logs do, too.
    let flushes = || gateway.metric("store_flushes_total");
    let before = flushes();
    wait_until("flushes beside the crowd", || (flushes() > before + 5).then_some(()));
    wait_for_load(&gateway, 500);
    assert!(!gateway.query_csv(&["--limit", "1"]).is_empty(), "questions are answered");

    drop(crowd);
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "later");
    client.send_publish("obs/A/S/flow", 1, b"1");
    client.expect_puback(1);
    let truth = Simulator::stop(load);
    assert_balanced(&gateway);
    gateway.terminate();
    assert_nothing_lost(&truth, &data_dir, 1_000);
}

#[test]
fn b1_2_a_limit_of_descriptors_that_is_no_use_is_refused_with_the_remedy() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let wrapper = ["prlimit", "--nofile=64:64", "--"];
    let refused = Gateway::try_start(&wrapper, &data_dir, &[]).expect_err("64 are too few");
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("ulimit -n"), "{}", refused.stderr);
}

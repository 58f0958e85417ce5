//! The smallest budgets that the configuration allows, and budgets made smaller than what is on the disk: every start succeeds,
//! whenever it is killed, and nothing is lost.

use e2e_tests::{Gateway, Simulator, new_data_dir};

use super::load::{DATED, assert_balanced, assert_nothing_lost, same_ports, start_load, wait_for_load};

const STARTS: u64 = 8;
const LARGE: [&str; 4] =
    ["--set", "journal.segment_bytes_max=33554432", "--set", "store.flush_interval_ms=3600000"];
const SMALLEST: [&str; 12] = [
    "--set",
    "journal.segment_bytes_max=4194304",
    "--set",
    "journal.log_bytes_max=67108864",
    "--set",
    "store.rows_in_memory_max=10000",
    "--set",
    "store.flush_rows_max=10000",
    "--set",
    "store.late_rows_max=1000",
    "--set",
    "mqtt.shards=1",
];

#[test]
fn b1_2_a_crash_loop_with_the_smallest_budgets_loses_nothing() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    // Both logs begin larger than what they may have afterwards, with more rows than may then be in memory.
    let gateway = Gateway::start(&data_dir, &LARGE);
    let ports = same_ports(&gateway);
    let load = start_load(directory.path(), &gateway, "DATED", &DATED.replace("--rate 1500", "--rate 6000"));
    wait_for_load(&gateway, 15_000);
    gateway.kill9();
    let again: Vec<&str> = SMALLEST.into_iter().chain(ports.iter().map(String::as_str)).collect();
    for start in 0..STARTS {
        let gateway = Gateway::start(&data_dir, &again);
        // Some are killed at once, with all of the tail before them.
        if start % 3 != 0 {
            wait_for_load(&gateway, 700 * start);
        }
        gateway.kill9();
    }
    let gateway = Gateway::start(&data_dir, &again);
    let truth = Simulator::stop(load);
    assert_balanced(&gateway);
    gateway.terminate();
    assert_nothing_lost(&truth, &data_dir, 10_000);
}

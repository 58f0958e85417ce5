//! `SIGSTOP`, then `SIGCONT`: nothing is lost, clients go on or come back. Two seconds in CI;
//! `STOP_SECONDS=60` makes it the minute of the issue, long enough for every Keep Alive to be over.

use std::thread::sleep;
use std::time::Duration;

use e2e_tests::{Gateway, RawMqtt, Simulator, new_data_dir, wait_until};

use super::load::{DATED, UNDATED, assert_balanced, assert_nothing_lost, start_load, wait_for_load};

fn pause() -> Duration {
    let seconds = std::env::var("STOP_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

#[test]
fn b1_2_a_stopped_gateway_goes_on_where_it_was() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let gateway = Gateway::start(&data_dir, &["--set", "store.flush_interval_ms=300"]);
    let loads = [("DATED", DATED), ("UNDATED", UNDATED)]
        .map(|(name, options)| start_load(directory.path(), &gateway, name, options));
    // A client that says nothing, and has a Keep Alive that a minute is within.
    let mut quiet = RawMqtt::connect(gateway.mqtt, codecs::mqtt::ProtocolVersion::V3_1_1, "quiet");
    for _ in 0..3 {
        wait_for_load(&gateway, 500);
        gateway.signal("STOP");
        // The fault itself: so long the process stands still.
        sleep(pause());
        gateway.signal("CONT");
    }
    wait_for_load(&gateway, 500);
    quiet.expect_alive();
    wait_until("/ready", || (gateway.http_get("/ready").0 == 200).then_some(()));
    let truths = loads.map(Simulator::stop);
    assert_balanced(&gateway);
    gateway.terminate();
    for truth in &truths {
        assert_nothing_lost(truth, &data_dir, 200);
    }
}

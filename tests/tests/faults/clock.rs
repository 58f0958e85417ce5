//! The wall clock is set an hour forward and two back, under load and over a restart.

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{Gateway, RawMqtt, Row, Simulator, WallClock, new_data_dir, wait_until};

use super::load::{
    DATED, UNDATED, assert_balanced, assert_nothing_lost, same_ports, start_load, wait_for_load,
};

/// In the order of their messages.
fn by_position(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|row| row["position"].parse::<u64>().expect("a number"));
    rows
}

#[test]
fn b1_2_the_wall_clock_jumps_an_hour_forward_and_two_back() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let clock = WallClock::new(&directory.path().join("wall-clock"), 0);
    // Stations keep the right time, so to a gateway two hours behind their readings come from the future.
    let settings = ["--set", "store.flush_interval_ms=300", "--set", "pipeline.clock_skew_max_s=10000"];
    let mut gateway = clock.start_gateway(&data_dir, &settings);
    let ports = same_ports(&gateway);
    let again: Vec<&str> = settings.into_iter().chain(ports.iter().map(String::as_str)).collect();
    let loads = [("DATED", DATED), ("UNDATED", UNDATED)]
        .map(|(name, options)| start_load(directory.path(), &gateway, name, options));

    // One undated reading behind each jump, in the order of their values.
    let mut sent = 0_u16;
    let mut undated = |gateway: &Gateway| {
        let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "bare");
        for _ in 0..20 {
            sent += 1;
            client.send_publish("obs/BARE/S/flow", sent, sent.to_string().as_bytes());
            client.expect_puback(sent);
        }
    };
    undated(&gateway);
    for offset_s in [3_600, -3_600, 0, 3_600] {
        wait_for_load(&gateway, 300);
        clock.set(offset_s);
        wait_for_load(&gateway, 2_000);
        undated(&gateway);
        // Ages run on the monotonic clock: what is due is classified and flushed all the same.
        let flushed = || gateway.ledger()["observations"]["flushed"].as_u64().expect("a count");
        let before = flushed();
        wait_until("flushes", || (flushed() > before + 1_000).then_some(()));
    }
    // A restart far behind what the last run has stamped.
    gateway.kill9();
    clock.set(-3_600);
    gateway = clock.start_gateway(&data_dir, &again);
    wait_for_load(&gateway, 300);
    undated(&gateway);

    let truths = loads.map(Simulator::stop);
    let ledger = assert_balanced(&gateway);
    let rows = by_position(gateway.query_csv(&["--revisions"]));
    let received_at: Vec<i64> = rows.iter().map(|row| microseconds(&row["result_time"])).collect();
    assert!(received_at.is_sorted(), "receive times never go back");
    // A book hour is the hour of the receive time: the hours from the first to the last are the whole.
    const HOUR_US: i64 = 3_600_000_000;
    let (first, last) = (received_at[0] / HOUR_US, received_at[received_at.len() - 1] / HOUR_US);
    let of_hour = |hour: i64| {
        let rfc3339 = |hour: i64| codecs::time::format_rfc3339(hour * HOUR_US);
        let of_hour = gateway.ledger_where(&format!("from={}&to={}", rfc3339(hour), rfc3339(hour + 1)));
        of_hour["messages"]["received"].as_u64().expect("a count")
    };
    assert!(last > first, "the clock went over at least one hour");
    assert_eq!(ledger["messages"]["received"], (first..=last).map(of_hour).sum::<u64>(), "hour by hour");

    let bare: Vec<&Row> = rows.iter().filter(|row| row["datastream"] == "BARE/S/flow").collect();
    let values: Vec<u16> = bare.iter().map(|row| row["result"].parse().expect("a number")).collect();
    assert_eq!(values, (1..=sent).collect::<Vec<_>>(), "every undated reading, once, in order");
    let times: Vec<i64> = bare.iter().map(|row| microseconds(&row["phenomenon_time"])).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "strictly increasing: {times:?}");
    gateway.terminate();
    for truth in &truths {
        assert_nothing_lost(truth, &data_dir, 200);
    }
}

/// To be compared as numbers: fractions have as many digits as they need.
fn microseconds(time: &str) -> i64 {
    codecs::time::parse_rfc3339(time).expect("a time of the gateway")
}

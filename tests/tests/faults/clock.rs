//! The wall clock is set an hour forward and two back, to 2099 and back, and to 1970 and back, under load and over restarts.

use std::path::Path;

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{
    Gateway, RawMqtt, Row, Simulator, WallClock, assert_verified, count, new_data_dir, sensor_gateway,
    wait_until,
};
use gateway::clock::{Clock, SystemClock};
use serde_json::Value;

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

/// Seconds from now to some day in 2099 or 2100.
const FAR_S: i64 = 73 * 365 * 86_400;
/// Between the two clocks.
const BETWEEN: &str = "2080-01-01T00:00:00Z";

/// Undated readings of one datastream and garbage on one topic, told apart by their numbers.
struct Bare {
    sent: u16,
}

impl Bare {
    fn send(&mut self, gateway: &Gateway) {
        let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "bare");
        for _ in 0..10 {
            self.sent += 1;
            client.send_publish("obs/BARE/S/flow", self.sent, self.sent.to_string().as_bytes());
            client.expect_puback(self.sent);
        }
        client.send_publish("obs/BARE/G", 60_000, b"{oops");
        client.expect_puback(60_000);
    }
}

/// Until receive times have followed the clock, which looks at the machine's once a second.
fn wait_for_clock(gateway: &Gateway, is_far: bool) {
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "probe");
    let mut sent = 0;
    wait_until("the clock to be followed", || {
        sent += 1;
        client.send_publish("obs/PROBE/S/flow", sent, sent.to_string().as_bytes());
        client.expect_puback(sent);
        gateway.wait_until_processed();
        let rows = by_position(gateway.query_csv(&["--datastream", "PROBE/S/flow"]));
        let newest = rows.last().expect("it is stored");
        ((newest["result_time"].as_str() > BETWEEN) == is_far).then_some(())
    });
}

fn quarantined(gateway: &Gateway) -> u64 {
    gateway.wait_until_processed();
    count(&gateway.ledger(), "messages", "quarantined") + count(&gateway.ledger(), "messages", "partial")
}

/// How many entries or messages a command gives, a line or an element each.
fn given(data_dir: &Path, args: &[&str]) -> usize {
    let data_dir = data_dir.to_str().expect("the path is text");
    let text = sensor_gateway(&[args, &["--data-dir", data_dir]].concat()).success();
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Array(entries)) => entries.len(),
        _ => text.lines().count(),
    }
}

/// B1-2, P2: a clock that was in 2099 for a moment, and for a moment around a `kill -9`.
#[test]
fn b1_2_p2_a_wall_clock_that_was_in_2099_is_not_what_messages_are_judged_by_afterwards() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let clock = WallClock::new(&directory.path().join("wall-clock"), 0);
    let settings = ["--set", "store.flush_interval_ms=300"];
    let mut gateway = clock.start_gateway(&data_dir, &settings);
    let ports = same_ports(&gateway);
    let again: Vec<&str> = settings.into_iter().chain(ports.iter().map(String::as_str)).collect();
    // No corrections: a value that is replayed behind its own correction is in force again, as the last that was said.
    let dated = DATED.split(" --corrections").next().expect("there is a first part");
    let loads = [("DATED", dated), ("UNDATED", UNDATED)]
        .map(|(name, options)| start_load(directory.path(), &gateway, name, options));
    let mut bare = Bare { sent: 0 };
    // Garbage, before the clock leaps, in 2099, and behind that: once each time.
    let mut rounds = [0, 0];
    let mut in_round = |gateway: &Gateway, is_far: bool| {
        bare.send(gateway);
        rounds[usize::from(is_far)] += 1;
    };
    let assert_good_readings_are_stored = |gateway: &Gateway, when: &str| {
        let before = quarantined(gateway);
        wait_for_load(gateway, 1_000);
        assert_eq!(quarantined(gateway), before, "{when}");
    };
    in_round(&gateway, false);
    assert_good_readings_are_stored(&gateway, "before the leap");
    clock.set(FAR_S);
    wait_for_clock(&gateway, true);
    in_round(&gateway, true);
    wait_for_load(&gateway, 300);
    clock.set(0);
    wait_for_clock(&gateway, false);
    assert_good_readings_are_stored(&gateway, "set right");
    in_round(&gateway, false);
    gateway.kill9();
    gateway = clock.start_gateway(&data_dir, &again);
    in_round(&gateway, false);
    assert_good_readings_are_stored(&gateway, "killed behind the leap");
    clock.set(FAR_S);
    wait_for_clock(&gateway, true);
    in_round(&gateway, true);
    gateway.kill9();
    clock.set(0);
    gateway = clock.start_gateway(&data_dir, &again);
    in_round(&gateway, false);
    assert_good_readings_are_stored(&gateway, "killed in 2099");

    let truths = loads.map(Simulator::stop);
    gateway.wait_until_processed();
    // What came in 2099 was judged by that. It came before it was replayed, so it is judged by today now.
    let list = |period: &[&str]| {
        given(&data_dir, &[&["quarantine", "list", "--limit", "9999", "--format", "json"], period].concat())
    };
    let (sane, far) = (list(&["--to", BETWEEN]), list(&["--from", BETWEEN]));
    assert_eq!(sane, rounds[0], "garbage only");
    assert!(far > rounds[1], "good readings of that time were refused");
    assert_eq!(list(&[]), sane + far);
    let dump =
        |period: &[&str]| given(&data_dir, &[&["journal", "dump", "--format", "ndjson"], period].concat());
    let (sane, far) = (dump(&["--to", BETWEEN]), dump(&["--from", BETWEEN]));
    assert_eq!((dump(&[]), far > 0), (sane + far, true));
    given(&data_dir, &["quarantine", "replay", "--all"]);
    let ledger = assert_balanced(&gateway);
    assert_eq!(
        count(&ledger, "messages", "quarantined") as usize,
        rounds[0] + rounds[1],
        "garbage stays: {ledger}"
    );

    let rows = by_position(gateway.query_csv(&["--revisions", "--datastream", "BARE/S/flow"]));
    let values: Vec<u16> = rows.iter().map(|row| row["result"].parse().expect("a number")).collect();
    assert_eq!(values, (1..=bare.sent).collect::<Vec<_>>(), "every undated reading, once");
    let far = rows.iter().filter(|row| row["phenomenon_time"].as_str() > BETWEEN);
    assert_eq!(
        far.count(),
        10 * rounds[1],
        "undated readings that came in 2099 have its time, and no others"
    );
    for row in &rows {
        let apart_us = microseconds(&row["phenomenon_time"]) - microseconds(&row["result_time"]);
        assert!((0..1_000_000).contains(&apart_us), "{row:?}");
    }
    gateway.terminate();
    for truth in &truths {
        assert_nothing_lost(truth, &data_dir, 200);
    }
    assert_verified(&data_dir);
}

/// B1-2, B1-7, P2: a flat battery, or a boot before the time server answers, where observations expire. What is acknowledged then
/// must not get times at which it has expired, nor a replay take sound receive times there.
#[test]
fn b1_2_p2_a_wall_clock_that_falls_to_1970_dates_nothing_where_it_has_expired() {
    let directory = new_data_dir();
    let data_dir = directory.path().join("data");
    let clock = WallClock::new(&directory.path().join("wall-clock"), 0);
    let now_us = || SystemClock::new().receive_time_us();
    let start_us = now_us();
    let to_1970_s = 86_400 - start_us / 1_000_000;
    let keep = ["--set", "store.flush_interval_ms=200", "--set", "retention.environment_days=10"];
    let mut gateway = clock.start_gateway(&data_dir, &keep);
    let mut sent = 0_u16;
    let mut send = |gateway: &Gateway| {
        let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "bare");
        for _ in 0..10 {
            sent += 2;
            client.send_publish("obs/BARE/S/no2", sent - 1, sent.to_string().as_bytes());
            client.expect_puback(sent - 1);
            let time = codecs::time::format_rfc3339(start_us + i64::from(sent));
            let dated = format!(r#"{{"time":"{time}","readings":[{{"property":"pm2_5","value":1}}]}}"#);
            client.send_publish("obs/BARE/S", sent, dated.as_bytes());
            client.expect_puback(sent);
        }
        assert_balanced(gateway);
    };
    let told = |gateway: &Gateway| {
        let log = gateway.stderr();
        log.lines().filter(|line| line.contains("WARN") && line.contains("further behind")).count()
    };
    send(&gateway);
    // An hour ahead, which is too much today.
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V3_1_1, "ahead");
    let time = codecs::time::format_rfc3339(start_us + 3_600_000_000);
    let ahead = format!(r#"{{"time":"{time}","readings":[{{"property":"pm10","value":1}}]}}"#);
    client.send_publish("obs/BARE/S", 1, ahead.as_bytes());
    client.expect_puback(1);
    assert_balanced(&gateway);
    // In a run.
    clock.set(to_1970_s);
    wait_until("the log to say so", || {
        send(&gateway);
        (told(&gateway) > 0).then_some(())
    });
    send(&gateway);
    assert_eq!(told(&gateway), 1, "once");
    // Over restarts, to 1970 and to a few days back.
    for offset_s in [to_1970_s, -5 * 86_400] {
        gateway.kill9();
        clock.set(offset_s);
        let allowed = [&keep[..], &["--set", "pipeline.clock_skew_max_s=10000"]].concat();
        gateway = clock.start_gateway(&data_dir, &allowed);
        send(&gateway);
        assert_eq!(told(&gateway), 1, "once");
        given(&data_dir, &["quarantine", "replay", "--all"]);
        send(&gateway);
    }
    gateway.kill9();
    clock.set(0);
    gateway = clock.start_gateway(&data_dir, &keep);
    send(&gateway);
    assert_eq!(told(&gateway), 0, "it is right");
    let ledger = assert_balanced(&gateway);
    assert_eq!((&ledger["expired"], count(&ledger, "messages", "quarantined")), (&Value::from(0), 0));
    let rows = gateway.query_csv(&["--revisions"]);
    let of = |property: &str| {
        let is_of = |row: &&Row| row["datastream"].ends_with(property);
        rows.iter().filter(is_of).count()
    };
    let each = usize::from(sent / 2);
    assert_eq!((of("/no2"), of("/pm2_5"), of("/pm10")), (each, each, 1), "all that was acknowledged");
    for row in &rows {
        let received_us = microseconds(&row["result_time"]);
        assert!((start_us - 1_000_000..=now_us() + 1_000_000).contains(&received_us), "{row:?}");
    }
    gateway.terminate();
    assert_verified(&data_dir);
}

/// To be compared as numbers: fractions have as many digits as they need.
fn microseconds(time: &str) -> i64 {
    codecs::time::parse_rfc3339(time).expect("a time of the gateway")
}

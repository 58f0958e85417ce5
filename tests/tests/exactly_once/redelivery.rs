//! Readings that come again, late or corrected (A1-10).

use e2e_tests::Gateway;

use crate::scenario::{Books, SETTINGS, Scenario, T1, T2, T3, Times, write_row};

#[test]
fn a1_10_a_dated_reading_is_one_row_however_often_and_by_whom_it_is_sent() {
    let mut scenario = Scenario::start();
    let payload =
        format!(r#"{{"time":"{T1}","readings":[{{"property":"pm2_5","value":38.4,"unit":"ug/m3"}}]}}"#);
    let packet_id = scenario.publish("obs/A/S", &payload);
    scenario.publish("obs/A/S", &payload);
    scenario.connect_as("station");
    scenario.publish_dup("obs/A/S", &payload, packet_id);
    scenario.connect_as("a-gateway-of-the-vendor");
    scenario.publish("obs/A/S", &payload);
    // The same reading in the other form.
    scenario.publish("obs/A/S/pm2_5", &format!(r#"{{"value":38.4,"time":"{T1}"}}"#));
    scenario.check(
        &["A/S/pm2_5 2024-11-21T01:05:00Z number 38.4 ug/m3"],
        Books { decoded: 5, inserted: 1, duplicate: 4, ..Books::default() },
    );
}

#[test]
fn a1_10_corrections_are_revisions_and_earlier_ones_stay_findable() {
    let mut scenario = Scenario::start();
    let pm2_5 = |time: &str, rest: &str| format!(r#"{{"property":"pm2_5","time":"{time}",{rest}}}"#);
    for rest in [
        r#""value":38.4"#,
        r#""value":39"#,
        // Equal to an earlier revision: nothing new.
        r#""value":38.4"#,
        r#""value":39,"unit":"ug/m3""#,
        // The same amount in another unit.
        r#""value":0.039,"unit":"mg/m3""#,
        // Another status is another content; another kind, too.
        r#""value":39,"status":"02""#,
        r#""value":null,"status":"03""#,
        r#""value":null,"status":"03""#,
    ] {
        scenario.reading(&pm2_5(T1, rest));
    }
    // Behind the watermark.
    for rest in [r#""value":1"#, r#""value":2"#] {
        scenario.reading(&pm2_5(T3, rest));
        scenario.reading(&pm2_5(T2, rest));
    }
    let in_force = {
        scenario.gateway.wait_until_flushed(12);
        let rows = scenario.gateway.query_csv(&["--datastream", "A/S/pm2_5"]);
        rows.iter().map(|row| write_row(row, Times::Written)).collect::<Vec<_>>()
    };
    assert_eq!(
        in_force,
        [
            "A/S/pm2_5 2024-11-21T01:05:00Z null  ug/m3 s03 r3",
            "A/S/pm2_5 2024-11-21T01:06:00Z number 2 ug/m3 r1",
            "A/S/pm2_5 2024-11-21T01:07:00Z number 2 ug/m3 r1",
        ]
    );
    scenario.check(
        &[
            "A/S/pm2_5 2024-11-21T01:05:00Z number 38.4 ug/m3",
            "A/S/pm2_5 2024-11-21T01:05:00Z number 39 ug/m3 r1",
            "A/S/pm2_5 2024-11-21T01:05:00Z number 39 ug/m3 s02 r2",
            "A/S/pm2_5 2024-11-21T01:05:00Z null  ug/m3 s03 r3",
            "A/S/pm2_5 2024-11-21T01:06:00Z number 1 ug/m3",
            "A/S/pm2_5 2024-11-21T01:06:00Z number 2 ug/m3 r1",
            "A/S/pm2_5 2024-11-21T01:07:00Z number 1 ug/m3",
            "A/S/pm2_5 2024-11-21T01:07:00Z number 2 ug/m3 r1",
        ],
        Books { decoded: 12, inserted: 3, corrected: 5, duplicate: 4, ..Books::default() },
    );
}

#[test]
fn a1_10_late_and_unordered_readings_find_their_place() {
    let mut scenario = Scenario::start();
    for (time, value) in [(T3, 3), (T1, 1), (T2, 2), (T1, 1), (T3, 3), (T2, 2)] {
        scenario
            .reading(&format!(r#"{{"property":"water_level","value":{value},"unit":"m","time":"{time}"}}"#));
    }
    // Years late, in one message with a new one, for two datastreams.
    scenario.publish(
        "obs/A/S",
        r#"{"time":"2024-11-21T01:08:00Z","readings":[
            {"property":"water_level","value":4},
            {"property":"water_level","value":0.5,"time":"2012-02-29T23:59:59.999999Z"},
            {"property":"rain","value":0.2}]}"#,
    );
    scenario.check(
        &[
            "A/S/rain 2024-11-21T01:08:00Z number 0.2 mm",
            "A/S/water_level 2012-02-29T23:59:59.999999Z number 0.5 m",
            "A/S/water_level 2024-11-21T01:05:00Z number 1 m",
            "A/S/water_level 2024-11-21T01:06:00Z number 2 m",
            "A/S/water_level 2024-11-21T01:07:00Z number 3 m",
            "A/S/water_level 2024-11-21T01:08:00Z number 4 m",
        ],
        Books { decoded: 7, inserted: 6, duplicate: 3, ..Books::default() },
    );
}

#[test]
fn a1_10_different_values_of_one_message_at_one_time_are_kept_apart() {
    let mut scenario = Scenario::start();
    let message = |values: &[&str]| {
        let readings: Vec<String> =
            values.iter().map(|value| format!(r#"{{"property":"plate_count","value":{value}}}"#)).collect();
        format!(r#"{{"time":"{T1}","readings":[{}]}}"#, readings.join(","))
    };
    // The same value twice in one message says it twice.
    scenario.publish("obs/A/S", &message(&["1", "2", "1", "3"]));
    scenario.publish("obs/A/S", &message(&["1", "2", "1", "3"]));
    scenario.publish("obs/A/S", &message(&["1"]));
    scenario.check(
        &[
            "A/S/plate_count 2024-11-21T01:05:00Z number 1",
            "A/S/plate_count 2024-11-21T01:05:00Z number 2",
            "A/S/plate_count 2024-11-21T01:05:00Z number 3",
        ],
        Books { decoded: 3, inserted: 3, duplicate: 6, ..Books::default() },
    );
}

/// A client with three packet ids reports the same value again and again. Two acks do not reach it, and its newest message,
/// with the first id again, does not reach the gateway.
#[test]
fn a1_10_a_new_undated_reading_is_kept_though_an_old_one_had_its_id_and_value() {
    let mut scenario = Scenario::start();
    let topic = "obs/A/S/rain";
    for _ in 0..3 {
        scenario.publish(topic, "0");
    }
    scenario.gateway.kill9();
    scenario.gateway = Gateway::start(&scenario.data_dir, &SETTINGS);
    scenario.connect_as("station");
    for id in [2, 3, 1] {
        scenario.publish_dup(topic, "0", id);
    }
    scenario.check_states(
        &["A/S/rain number 0 mm"; 4],
        Books { decoded: 6, inserted: 4, duplicate: 2, ..Books::default() },
        Times::LeftOut,
    );
}

#[test]
fn a1_10_undated_readings_are_resent_only_with_dup_and_all_else_equal() {
    let mut scenario = Scenario::start();
    let topic = "obs/A/S/pm2_5";
    scenario.publish(topic, "38.4");
    // A value that truly repeats.
    let second = scenario.publish(topic, "38.4");
    // Lost ack: the same packet once more on a new connection.
    scenario.connect_as("station");
    scenario.publish_dup(topic, "38.4", second);
    scenario.publish_dup(topic, "38.4", second);
    // DUP alone proves nothing.
    scenario.publish_dup(topic, "38.5", second);
    scenario.publish_dup(topic, "38.5", second + 1);
    scenario.publish_dup("obs/A/S/pm10", "38.5", second + 1);
    scenario.connect_as("another-station");
    scenario.publish_dup(topic, "38.4", second);
    // Equal to the last one with this packet id, but without DUP.
    scenario.client.send_publish(topic, second, b"38.4");
    scenario.client.expect_puback(second);
    scenario.sent.push((topic.to_owned(), b"38.4".to_vec()));
    let scenario = scenario.check_states(
        &[
            "A/S/pm10 number 38.5 ug/m3",
            "A/S/pm2_5 number 38.4 ug/m3",
            "A/S/pm2_5 number 38.4 ug/m3",
            "A/S/pm2_5 number 38.4 ug/m3",
            "A/S/pm2_5 number 38.4 ug/m3",
            "A/S/pm2_5 number 38.5 ug/m3",
            "A/S/pm2_5 number 38.5 ug/m3",
        ],
        Books { decoded: 9, inserted: 7, duplicate: 2, ..Books::default() },
        Times::LeftOut,
    );
    // Their times are those of receipt, and no two are the same.
    let rows = scenario.rows();
    let mut times: Vec<&str> = rows
        .iter()
        .filter(|row| row["datastream"] == "A/S/pm2_5")
        .map(|row| row["phenomenon_time"].as_str())
        .collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), 6);
}

#[test]
fn a1_10_a_dup_is_recognised_after_kill9_between_journal_and_ack() {
    let mut scenario = Scenario::start();
    let packet_id = scenario.publish("obs/A/S/pm2_5", "38.4");
    scenario.gateway.kill9();
    scenario.gateway = Gateway::start(&scenario.data_dir, &SETTINGS);
    scenario.connect_as("station");
    scenario.publish_dup("obs/A/S/pm2_5", "38.4", packet_id);
    scenario.check_states(
        &["A/S/pm2_5 number 38.4 ug/m3"],
        Books { decoded: 2, inserted: 1, duplicate: 1, ..Books::default() },
        Times::LeftOut,
    );
}

#[test]
fn a1_10_undated_readings_with_a_sequence_number_are_one_row_each() {
    let mut scenario = Scenario::start();
    let message = |seq: u64, value: &str| {
        format!(
            r#"{{"seq":{seq},"readings":[{{"property":"pm2_5","value":{value}}},{{"property":"rain","value":0}}]}}"#
        )
    };
    scenario.publish("obs/A/S", &message(1, "38.4"));
    scenario.publish("obs/A/S", &message(2, "38.4"));
    scenario.connect_as("another-way");
    scenario.publish("obs/A/S", &message(1, "38.4"));
    scenario.publish("obs/A/S", &message(2, "38.4"));
    // The same number of another station.
    scenario.publish("obs/A/S2", &message(2, "38.4"));
    let books = Books { decoded: 5, inserted: 6, duplicate: 4, ..Books::default() };
    scenario
        .check_states(
            &[
                "A/S/pm2_5 number 38.4 ug/m3 q1",
                "A/S/pm2_5 number 38.4 ug/m3 q2",
                "A/S/rain number 0 mm q1",
                "A/S/rain number 0 mm q2",
                "A/S2/pm2_5 number 38.4 ug/m3 q2",
                "A/S2/rain number 0 mm q2",
            ],
            books,
            Times::LeftOut,
        )
        .check_resend(books);
}

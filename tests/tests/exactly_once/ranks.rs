//! Sources of different rank (B1-4): operator > text file, the legal record > live MQTT.

use serde_json::Value;

use crate::scenario::{Books, Scenario, T1, T2, T3, Times, write_row};

const RANKS: &str = "pipeline.ranks=operator-* = 30, text-file = 20";

fn level(time: &str, value: &str) -> String {
    format!(r#"{{"time":"{time}","readings":[{{"property":"water_level","value":{value},"unit":"m"}}]}}"#)
}

/// The text file has other roundings than live MQTT, comes after it or before it, and live MQTT sends everything again.
#[test]
fn b1_4_a_source_of_higher_rank_against_live_mqtt_with_other_rounding() {
    let mut scenario = Scenario::start_with(&[RANKS]);
    let mut send = |client: &str, readings: &[(&str, &str)]| {
        scenario.connect_as(client);
        for (time, value) in readings {
            scenario.publish("obs/A/S", &level(time, value));
        }
        scenario.settle();
    };
    let live = [(T1, "1.274"), (T2, "1.3")];
    send("station", &live);
    // 1.274 is corrected; 1.3 is confirmed, and from now on guarded.
    send("text-file", &[(T1, "1.27"), (T2, "1.3"), (T3, "1.31")]);
    // Live again: re-sends of what it said; other roundings of what the file said.
    send("station", &live);
    send("station", &[(T1, "1.2741"), (T2, "1.3004"), (T3, "1.312")]);
    send("text-file", &[(T1, "1.27"), (T2, "1.3"), (T3, "1.31")]);
    // The operator puts back what live MQTT said first; the file is below him now, too.
    send("operator-7", &[(T1, "1.274")]);
    send("text-file", &[(T1, "1.27"), (T1, "1.28")]);
    let in_force: Vec<String> =
        scenario.gateway.query_csv(&[]).iter().map(|row| write_row(row, Times::Written)).collect();
    assert_eq!(
        in_force,
        [
            "A/S/water_level 2024-11-21T01:05:00Z number 1.274 m r2",
            "A/S/water_level 2024-11-21T01:06:00Z number 1.3 m r1",
            "A/S/water_level 2024-11-21T01:07:00Z number 1.31 m",
        ]
    );
    let latest: Value = serde_json::from_str(&scenario.gateway.http_get("/api/v1/latest").1).expect("JSON");
    assert_eq!(latest["observations"][0]["result"], 1.31, "the feed was not moved: {latest}");
    assert_eq!(scenario.retained("feed/v1/water/A/S/water_level")["result"], 1.31);
    scenario.check(
        &[
            "A/S/water_level 2024-11-21T01:05:00Z number 1.274 m",
            "A/S/water_level 2024-11-21T01:05:00Z number 1.27 m r1",
            "A/S/water_level 2024-11-21T01:05:00Z number 1.274 m r2",
            "A/S/water_level 2024-11-21T01:06:00Z number 1.3 m",
            "A/S/water_level 2024-11-21T01:06:00Z number 1.3 m r1",
            "A/S/water_level 2024-11-21T01:07:00Z number 1.31 m",
        ],
        Books { decoded: 16, inserted: 3, corrected: 3, outranked: 4, duplicate: 6, ..Books::default() },
    );
}

/// At the newest time: a lower rank moves neither feed nor latest, a higher one both.
#[test]
fn b1_4_at_the_newest_time_only_a_higher_rank_is_in_force() {
    let mut scenario = Scenario::start_with(&[RANKS]);
    let mut expected = Vec::new();
    for (client, value, in_force) in [
        ("text-file", "2.5", 2.5),
        ("station", "2.51", 2.5),
        ("operator-1", "2.6", 2.6),
        ("text-file", "2.7", 2.6),
    ] {
        scenario.connect_as(client);
        scenario.publish("obs/A/S", &level(T1, value));
        scenario.settle();
        expected.push(value);
        assert_eq!(scenario.retained("feed/v1/water/A/S/water_level")["result"], in_force, "{client}");
        let latest: Value =
            serde_json::from_str(&scenario.gateway.http_get("/api/v1/latest").1).expect("JSON");
        assert_eq!(latest["observations"][0]["result"], in_force, "{client}: {latest}");
    }
    scenario.check(
        &[
            "A/S/water_level 2024-11-21T01:05:00Z number 2.5 m",
            "A/S/water_level 2024-11-21T01:05:00Z number 2.6 m r1",
        ],
        Books { decoded: 4, inserted: 1, corrected: 1, outranked: 2, ..Books::default() },
    );
}

//! The hard cases of design §4.2, each with its books (B1-4).

use serde_json::Value;

use crate::scenario::{Books, Scenario, T1, T2, T3, Times, write_row};

/// `2024-11-{day}T{hour}:{minute}:00Z`.
fn at(day: u32, minute_of_day: u32) -> String {
    format!("2024-11-{day:02}T{:02}:{:02}:00Z", minute_of_day / 60, minute_of_day % 60)
}

fn level(time: &str, value: &str) -> String {
    format!(r#"{{"time":"{time}","readings":[{{"property":"water_level","value":{value},"unit":"m"}}]}}"#)
}

/// Dated, numbered and undated, each sent again with DUP on the same connection and on the next one.
#[test]
fn b1_4_dup_resends_are_duplicates() {
    let mut scenario = Scenario::start();
    let dated = level(T1, "1.5");
    let numbered = r#"{"seq":7,"readings":[{"property":"rain","value":0.2}]}"#;
    let undated = r#"{"readings":[{"property":"pm2_5","value":38.4}]}"#;
    let ids: Vec<u16> =
        [&*dated, numbered, undated].map(|payload| scenario.publish("obs/A/S", payload)).into();
    for _ in 0..2 {
        for (payload, id) in [&*dated, numbered, undated].into_iter().zip(&ids) {
            scenario.publish_dup("obs/A/S", payload, *id);
        }
        scenario.connect_as("station");
    }
    scenario.check_states(
        &["A/S/pm2_5 number 38.4 ug/m3", "A/S/rain number 0.2 mm q7", "A/S/water_level number 1.5 m"],
        Books { decoded: 9, inserted: 3, duplicate: 6, ..Books::default() },
        Times::LeftOut,
    );
}

#[test]
fn b1_4_resends_from_another_connection_and_another_client_are_duplicates() {
    let mut scenario = Scenario::start();
    let readings = [(T1, "1"), (T2, "2"), (T3, "3")];
    for client in ["station", "station", "its-edge-box", "the-archive"] {
        scenario.connect_as(client);
        for (time, value) in readings {
            scenario.publish("obs/A/S", &level(time, value));
        }
    }
    scenario.check(
        &[
            "A/S/water_level 2024-11-21T01:05:00Z number 1 m",
            "A/S/water_level 2024-11-21T01:06:00Z number 2 m",
            "A/S/water_level 2024-11-21T01:07:00Z number 3 m",
        ],
        Books { decoded: 12, inserted: 3, duplicate: 9, ..Books::default() },
    );
}

/// Two days of three stations came live; the whole of it comes again out of archives, in payloads of an hour, the other way
/// round, before and after a restart.
#[test]
fn b1_4_whole_days_of_backfill_already_there_are_duplicates() {
    let mut scenario = Scenario::start();
    let value = |station: u32, day: u32, minute: u32| station * 10_000 + day * 100 + minute % 97;
    let mut expected = Vec::new();
    for day in [19, 20] {
        for minute in (0..1_440).step_by(10) {
            for station in 1..=3 {
                let value = value(station, day, minute);
                scenario.publish(&format!("obs/A/S{station}"), &level(&at(day, minute), &value.to_string()));
                expected.push(format!("A/S{station}/water_level {} number {value} m", at(day, minute)));
            }
        }
    }
    let live = scenario.sent.len() as u64;
    assert_eq!(live, 2 * 144 * 3);
    scenario.connect_as("archive");
    for day in [20, 19] {
        for hour in (0..24).rev() {
            for station in 1..=3 {
                let readings: Vec<String> = (0..6)
                    .map(|ten| {
                        let minute = hour * 60 + ten * 10;
                        let value = value(station, day, minute);
                        format!(
                            r#"{{"property":"water_level","value":{value},"time":"{}"}}"#,
                            at(day, minute)
                        )
                    })
                    .collect();
                let payload = format!(r#"{{"readings":[{}]}}"#, readings.join(","));
                scenario.publish(&format!("obs/A/S{station}"), &payload);
            }
        }
    }
    scenario.check(
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
        Books { decoded: live + 144, inserted: live, duplicate: live, ..Books::default() },
    );
}

/// Corrections, and the superseded values once more: at once, after the flush, after a restart.
#[test]
fn b1_4_a_late_resend_of_a_superseded_value_changes_nothing() {
    let mut scenario = Scenario::start();
    let sent = ["1.20", "1.27", "1.25"];
    for time in [T2, T1] {
        for value in sent {
            scenario.publish("obs/A/S", &level(time, value));
        }
    }
    scenario.publish("obs/A/S", &level(T2, "1.20"));
    scenario.settle();
    scenario.connect_as("station");
    scenario.publish("obs/A/S", &level(T2, "1.27"));
    scenario.publish("obs/A/S", &level(T1, "1.2"));
    let expected = [
        "A/S/water_level 2024-11-21T01:05:00Z number 1.2 m",
        "A/S/water_level 2024-11-21T01:05:00Z number 1.27 m r1",
        "A/S/water_level 2024-11-21T01:05:00Z number 1.25 m r2",
        "A/S/water_level 2024-11-21T01:06:00Z number 1.2 m",
        "A/S/water_level 2024-11-21T01:06:00Z number 1.27 m r1",
        "A/S/water_level 2024-11-21T01:06:00Z number 1.25 m r2",
    ];
    let books = Books { decoded: 9, inserted: 2, corrected: 4, duplicate: 3, ..Books::default() };
    let mut scenario = scenario.check_states(&expected, books, Times::Written);
    scenario.connect_as("station");
    scenario.publish("obs/A/S", &level(T1, "1.27"));
    let books = Books { decoded: 10, duplicate: 4, ..books };
    scenario.settle();
    let in_force: Vec<String> =
        scenario.gateway.query_csv(&[]).iter().map(|row| write_row(row, Times::Written)).collect();
    assert_eq!(in_force, [expected[2], expected[5]]);
    scenario.check_states(&expected, books, Times::Written).check_resend(books);
}

/// The newest value is corrected: feed and `/api/v1/latest` show it, also after a restart, and a late re-send of the first
/// value or a correction of an older time moves neither.
#[test]
fn b1_4_the_newest_value_follows_its_correction_and_never_goes_back() {
    let mut scenario = Scenario::start();
    let expect = |scenario: &Scenario, time: &str, value: f64, revision: Option<u64>, when: &str| {
        let (status, latest) = scenario.gateway.http_get("/api/v1/latest?station=A/S");
        assert_eq!(status, 200, "{latest}");
        let latest: Value = serde_json::from_str(&latest).expect("JSON");
        let retained = scenario.retained("feed/v1/water/A/S/water_level");
        for told in [&latest["observations"][0], &retained] {
            let found = (told["phenomenonTime"].as_str(), told["result"].as_f64(), told["revision"].as_u64());
            assert_eq!(found, (Some(time), Some(value), revision), "{when}: {told}");
            assert_eq!(told.get("late"), None, "{when}: {told}");
        }
    };
    for (time, value) in [(T1, "1"), (T3, "3"), (T2, "2")] {
        scenario.publish("obs/A/S", &level(time, value));
    }
    scenario.settle();
    expect(&scenario, T3, 3.0, None, "before the correction");
    scenario.publish("obs/A/S", &level(T3, "3.5"));
    scenario.settle();
    expect(&scenario, T3, 3.5, Some(1), "corrected");
    scenario.publish("obs/A/S", &level(T3, "3"));
    scenario.publish("obs/A/S", &level(T2, "2.5"));
    scenario.settle();
    expect(&scenario, T3, 3.5, Some(1), "after a re-send of what is superseded and a correction behind it");
    let expected = [
        "A/S/water_level 2024-11-21T01:05:00Z number 1 m",
        "A/S/water_level 2024-11-21T01:06:00Z number 2 m",
        "A/S/water_level 2024-11-21T01:06:00Z number 2.5 m r1",
        "A/S/water_level 2024-11-21T01:07:00Z number 3 m",
        "A/S/water_level 2024-11-21T01:07:00Z number 3.5 m r1",
    ];
    let books = Books { decoded: 6, inserted: 3, corrected: 2, duplicate: 1, ..Books::default() };
    let mut scenario = scenario.check_states(&expected, books, Times::Written);
    expect(&scenario, T3, 3.5, Some(1), "after kill -9");
    scenario.connect_as("station");
    scenario.publish("obs/A/S", &level("2024-11-21T01:08:00Z", "4"));
    scenario.settle();
    expect(&scenario, "2024-11-21T01:08:00Z", 4.0, None, "a newer time");
}

/// Ten days, the last first, then the others in no order.
#[test]
fn b1_4_days_out_of_order_find_their_place() {
    let mut scenario = Scenario::start();
    let mut expected = Vec::new();
    for day in [20, 14, 17, 11, 19, 12, 16, 13, 18, 15] {
        for minute in [720, 0, 1_430, 10] {
            let value = day * 10_000 + minute;
            scenario.publish("obs/A/S", &level(&at(day, minute), &value.to_string()));
            expected.push(format!("A/S/water_level {} number {value} m", at(day, minute)));
        }
    }
    scenario.settle();
    let rows = scenario.gateway.query_csv(&["--datastream", "A/S/water_level"]);
    let times: Vec<&str> = rows.iter().map(|row| row["phenomenon_time"].as_str()).collect();
    assert!(times.is_sorted() && times.len() == 40, "{times:?}");
    scenario.check(
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
        Books { decoded: 40, inserted: 40, ..Books::default() },
    );
}

/// The acks of the last two are lost with the connection: they come again with DUP on the next one.
#[test]
fn b1_4_undated_readings_resent_after_a_reconnect_are_one_row() {
    let mut scenario = Scenario::start();
    let ids: Vec<u16> =
        ["1", "2", "3", "4"].iter().map(|value| scenario.publish("obs/A/S/rain", value)).collect();
    scenario.connect_as("station");
    scenario.publish_dup("obs/A/S/rain", "3", ids[2]);
    scenario.publish_dup("obs/A/S/rain", "4", ids[3]);
    scenario.publish("obs/A/S/rain", "5");
    scenario.check_states(
        &[
            "A/S/rain number 1 mm",
            "A/S/rain number 2 mm",
            "A/S/rain number 3 mm",
            "A/S/rain number 4 mm",
            "A/S/rain number 5 mm",
        ],
        Books { decoded: 7, inserted: 5, duplicate: 2, ..Books::default() },
        Times::LeftOut,
    );
}

/// No rain again and again, with the same few packet identifiers: every one is a reading.
#[test]
fn b1_4_undated_readings_that_truly_repeat_are_all_kept() {
    let mut scenario = Scenario::start();
    for round in 0..20_u16 {
        let id = 1 + round % 2;
        scenario.client.send_publish("obs/A/S/rain", id, b"0");
        scenario.client.expect_puback(id);
        scenario.sent.push(("obs/A/S/rain".to_owned(), b"0".to_vec()));
        if round % 5 == 4 {
            scenario.connect_as("station");
        }
    }
    scenario.settle();
    assert_eq!(scenario.gateway.metric("unkeyed_messages_total"), 20, "they are counted as unkeyed");
    let scenario = scenario.check_states(
        &["A/S/rain number 0 mm"; 20],
        Books { decoded: 20, inserted: 20, ..Books::default() },
        Times::LeftOut,
    );
    let rows = scenario.rows();
    let mut times: Vec<&str> = rows.iter().map(|row| row["phenomenon_time"].as_str()).collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), 20, "strictly increasing times");
}

/// The first of the two is corrected later; the second stays, whoever sends both again.
#[test]
fn b1_4_two_values_at_one_time_in_one_message_are_two_rows() {
    let mut scenario = Scenario::start();
    let both = |first: &str| {
        format!(
            r#"{{"time":"{T1}","readings":[{{"property":"plate_count","value":{first}}},{{"property":"plate_count","value":9}}]}}"#
        )
    };
    scenario.publish("obs/A/S", &both("4"));
    scenario.publish("obs/A/S", &both("4"));
    scenario.publish("obs/A/S", &both("5"));
    // Behind a newer time, as a late row.
    scenario.publish(
        "obs/A/S",
        &format!(r#"{{"time":"{T2}","readings":[{{"property":"plate_count","value":1}}]}}"#),
    );
    scenario.connect_as("archive");
    scenario.publish("obs/A/S", &both("5"));
    scenario.check(
        &[
            "A/S/plate_count 2024-11-21T01:05:00Z number 4",
            "A/S/plate_count 2024-11-21T01:05:00Z number 5 r1",
            "A/S/plate_count 2024-11-21T01:05:00Z number 9",
            "A/S/plate_count 2024-11-21T01:06:00Z number 1",
        ],
        Books { decoded: 5, inserted: 3, corrected: 1, duplicate: 5, ..Books::default() },
    );
}

/// It is kept in quarantine and touches nothing: the readings after it are new, not late, and stand on the feed.
#[test]
fn b1_4_a_reading_of_2099_is_quarantined_and_moves_nothing() {
    let mut scenario = Scenario::start();
    scenario.publish("obs/A/S", &level(T1, "1"));
    scenario.publish("obs/A/S", &level("2099-01-01T00:00:00Z", "99"));
    scenario.publish("obs/A/S", &level(T2, "2"));
    scenario.settle();
    assert_eq!(scenario.retained("feed/v1/water/A/S/water_level")["result"], 2);
    let datastreams: Value =
        serde_json::from_str(&scenario.gateway.http_get("/api/v1/datastreams").1).expect("JSON");
    assert_eq!(datastreams[0]["phenomenon_time"], T2, "{datastreams}");
    let days = std::fs::read_dir(scenario.data_dir.join("store")).expect("there is a store");
    let days: Vec<String> =
        days.map(|day| day.expect("it can be read").file_name().to_string_lossy().into_owned()).collect();
    assert!(!days.iter().any(|day| day.starts_with("2099")), "{days:?}");
    let list = scenario.quarantine();
    assert_eq!((list.len(), list[0]["reason"].as_str()), (1, Some("time_out_of_range")), "{list:?}");
    assert!(list[0]["sentence"].as_str().is_some_and(|text| text.contains("2099-01-01")), "{list:?}");
    scenario.check(
        &[
            "A/S/water_level 2024-11-21T01:05:00Z number 1 m",
            "A/S/water_level 2024-11-21T01:06:00Z number 2 m",
        ],
        Books { decoded: 2, quarantined: 1, inserted: 2, quarantined_readings: 1, ..Books::default() },
    );
}

/// One message of a thousand readings with absurd times and one good one: one row, one entry in quarantine that counts them,
/// one partition.
#[test]
fn b1_4_a_thousand_absurd_times_are_one_entry() {
    let mut scenario = Scenario::start();
    let absurd = (0..1_000).map(|at| match at % 2 {
        0 => format!(r#"{{"property":"rain","value":{at},"time":"{}-01-01T00:00:00Z"}}"#, 2100 + at),
        _ => format!(r#"{{"property":"rain","value":{at},"time":"{}-01-01T00:00:00Z"}}"#, 1000 + at / 2),
    });
    let good = format!(r#"{{"property":"rain","value":1,"time":"{T1}"}}"#);
    let readings: Vec<String> = absurd.chain([good]).collect();
    scenario.publish("obs/A/S", &format!(r#"{{"readings":[{}]}}"#, readings.join(",")));
    scenario.settle();
    let list = scenario.quarantine();
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!(
        (list[0]["reason"].as_str(), list[0]["readings"].as_u64()),
        (Some("time_out_of_range"), Some(1_000))
    );
    scenario.check(
        &["A/S/rain 2024-11-21T01:05:00Z number 1 mm"],
        Books { partial: 1, inserted: 1, quarantined_readings: 1_000, ..Books::default() },
    );
}

/// A station's clock is an hour ahead, then jumps back and goes over the same times with other values: those are corrections
/// of what it said before, times between are new, and the feed stays where it was until time passes it.
#[test]
fn b1_4_a_station_whose_clock_jumps_back() {
    let mut scenario = Scenario::start();
    for (minute, value) in
        [(600, 1), (610, 2), (620, 3), (600, 11), (605, 12), (610, 13), (620, 3), (630, 14)]
    {
        scenario.publish("obs/A/S", &level(&at(20, minute), &value.to_string()));
        if minute == 605 {
            scenario.settle();
            assert_eq!(scenario.retained("feed/v1/water/A/S/water_level")["result"], 3);
        }
    }
    scenario.settle();
    assert_eq!(scenario.retained("feed/v1/water/A/S/water_level")["result"], 14);
    // Said again with another value: a correction; with the same one (3 at 10:20): a duplicate.
    scenario.check(
        &[
            "A/S/water_level 2024-11-20T10:00:00Z number 1 m",
            "A/S/water_level 2024-11-20T10:00:00Z number 11 m r1",
            "A/S/water_level 2024-11-20T10:05:00Z number 12 m",
            "A/S/water_level 2024-11-20T10:10:00Z number 2 m",
            "A/S/water_level 2024-11-20T10:10:00Z number 13 m r1",
            "A/S/water_level 2024-11-20T10:20:00Z number 3 m",
            "A/S/water_level 2024-11-20T10:30:00Z number 14 m",
        ],
        Books { decoded: 8, inserted: 5, corrected: 2, duplicate: 1, ..Books::default() },
    );
}

//! Values, units, names and times mean what the contract says, and what means nothing is kept with its reason (A1-10).

use e2e_tests::sensor_gateway;
use serde_json::Value;

use crate::scenario::{Books, Scenario, T1};

#[test]
fn a1_10_values_are_stored_in_the_unit_of_the_property() {
    let mut scenario = Scenario::start();
    let cases = [
        ("pm2_5", "µg/m³", "38.4", "38.4 ug/m3"),
        ("pm10", "mg/m3", "0.5", "500 ug/m3"),
        ("air_temperature", "degF", "212", "100 Cel"),
        ("air_temperature;height=2", "°F", "50", "10 Cel"),
        ("air_temperature;height=10", "oC", "-3.5", "-3.5 Cel"),
        ("water_level", "ft", "10", "3.048 m"),
        ("water_level;gauge=2", "cm", "127", "1.27 m"),
        ("wind_speed", "km/h", "36", "10 m/s"),
        ("air_pressure", "Pa", "101325", "1013.25 hPa"),
        ("rain", "in", "1", "25.4 mm"),
        // Unknown, or not convertible by the two units alone: passed through as sent, never guessed.
        ("pm2_5;sensor=2", "furlong", "3", "3 furlong"),
        ("no2", "ppb", "12", "12 [ppb]"),
        ("no_such_property", "°C", "4", "4 Cel"),
        ("no_such_property;n=2", "blips", "4", "4 blips"),
        // None at all: the catalogue's.
        ("humidity_of_nothing", "", "4", "4"),
        ("co", "", "4", "4 ug/m3"),
    ];
    let mut expected = Vec::new();
    for (property, unit, sent, stored) in cases {
        scenario
            .reading(&format!(r#"{{"property":"{property}","value":{sent},"unit":"{unit}","time":"{T1}"}}"#));
        expected.push(format!("A/S/{property} {T1} number {stored}"));
    }
    let count = cases.len() as u64;
    scenario.check(
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
        Books { decoded: count, inserted: count, ..Books::default() },
    );
}

#[test]
fn a1_10_every_kind_of_result_period_status_and_qualifier_goes_the_whole_way() {
    let mut scenario = Scenario::start();
    let cases = [
        (r#""property":"lamp_state","value":true"#, "lamp_state", "boolean true"),
        (r#""property":"door_state","value":false,"status":"00""#, "door_state", "boolean false s00"),
        (r#""property":"pump_state","value":"on""#, "pump_state", "text on"),
        (r#""property":"note","value":"a, \"b\"\nc Trạm""#, "note", "text a, \"b\"\nc Trạm"),
        (r#""property":"note;n=2","value":"""#, "note;n=2", "text"),
        (r#""property":"smoke","value":null,"status":"03""#, "smoke", "null  s03"),
        (r#""property":"a","value":1e300"#, "a", "number 1e300"),
        (r#""property":"b","value":0.30000000000000004"#, "b", "number 0.30000000000000004"),
        (r#""property":"c","value":-12345678.9"#, "c", "number -12345678.9"),
        (r#""property":"d","value":9007199254740991"#, "d", "number 9007199254740991"),
        (r#""property":"flow","value":12,"period_s":60"#, "flow", "number 12 {veh}/h p60"),
        (r#""property":"flow","value":13"#, "flow", "number 13 {veh}/h"),
        (r#""property":"flow","value":14,"period_s":3600"#, "flow", "number 14 {veh}/h p3600"),
        (
            r#""property":"flow","value":15,"tags":{"lane":1,"class":"motorcycle"}"#,
            "flow;class=motorcycle;lane=1",
            "number 15 {veh}/h",
        ),
    ];
    let mut expected = Vec::new();
    for (members, datastream, stored) in cases {
        scenario.reading(&format!(r#"{{{members},"time":"{T1}"}}"#));
        expected.push(format!("A/S/{datastream} {T1} {stored}"));
    }
    // The same qualifiers in other places and another order.
    scenario.reading(&format!(r#"{{"property":"flow;lane=1;class=motorcycle","value":15,"time":"{T1}"}}"#));
    scenario.reading(&format!(
        r#"{{"property":"flow;lane=1","value":15,"time":"{T1}","tags":{{"class":"motorcycle"}}}}"#
    ));
    let count = cases.len() as u64;
    scenario.check(
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
        Books { decoded: count + 2, inserted: count, duplicate: 2, ..Books::default() },
    );
}

#[test]
fn a1_10_vietnamese_names_are_one_name_however_they_are_composed() {
    let composed = "Tr\u{1ea1}m_H\u{e0}_N\u{1ed9}i";
    let decomposed = "Tra\u{323}m_Ha\u{300}_No\u{323}\u{302}i";
    let mut scenario = Scenario::start();
    let payload = format!(r#"{{"value":1.5,"time":"{T1}"}}"#);
    scenario.publish(&format!("obs/\u{110}N/{decomposed}/m\u{1b0}a"), &payload);
    scenario.publish(&format!("obs/\u{110}N/{composed}/mu\u{31b}a"), &payload);
    scenario.gateway.wait_until_flushed(2);
    for asked in [composed, decomposed] {
        let rows = scenario.gateway.query_csv(&["--datastream", &format!("\u{110}N/{asked}/m\u{1b0}a")]);
        assert_eq!(rows.len(), 1, "{asked}");
    }
    scenario.check(
        &[&format!("\u{110}N/{composed}/m\u{1b0}a {T1} number 1.5")],
        Books { decoded: 2, inserted: 1, duplicate: 1, ..Books::default() },
    );
}

#[test]
fn a1_10_one_instant_may_be_written_in_many_ways() {
    let mut scenario = Scenario::start();
    // 2024-11-21T01:05:00.25Z
    let forms = [
        r#""2024-11-21T08:05:00.25+07:00""#,
        r#""2024-11-21T01:05:00.25Z""#,
        r#""2024-11-21t01:05:00.250000z""#,
        r#""2024-11-20 20:05:00.25-05:00""#,
        "1732151100.25",
        "1732151100250",
        "1732151100250000",
        "1732151100250000000",
    ];
    for form in forms {
        scenario.publish(
            "obs/A/S",
            &format!(r#"{{"time":{form},"readings":[{{"property":"rain","value":1}}]}}"#),
        );
    }
    // A reading's own time goes before the message's.
    let both =
        format!(r#"{{"time":"{T1}","readings":[{{"property":"rain","value":1,"time":1732151100.25}}]}}"#);
    scenario.publish("obs/A/S", &both);
    scenario.check(
        &["A/S/rain 2024-11-21T01:05:00.250Z number 1 mm"],
        Books { decoded: 9, inserted: 1, duplicate: 8, ..Books::default() },
    );
}

#[test]
fn a1_10_what_cannot_be_decoded_is_booked_and_kept() {
    let mut scenario = Scenario::start();
    let good = format!(r#"{{"property":"rain","value":1,"time":"{T1}"}}"#);
    // One good reading, one far in the future, one before all archives.
    scenario.reading(&format!(
        r#"{good},{{"property":"rain","value":2,"time":"2190-01-01T00:00:00Z"}},
           {{"property":"rain","value":3,"time":"1950-01-01T00:00:00Z"}}"#
    ));
    scenario.reading(r#"{"property":"rain","value":NaN}"#);
    scenario.publish("obs/A/S", "ERROR 17");
    scenario.publish("obs/A/S/rain", "38,4");
    scenario.publish("obs/A/S/rain/extra", "38.4");
    scenario.publish("obs/A/station with blanks", "{}");
    scenario.publish("city/lamp/1", "on");
    scenario.gateway.wait_until_flushed(7);
    let data_dir = scenario.data_dir.to_string_lossy().into_owned();
    let list = sensor_gateway(&["quarantine", "list", "--data-dir", &data_dir, "--format", "json"]).success();
    let list: Value = serde_json::from_str(&list).expect("the list is JSON");
    let reasons: Vec<&str> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["reason"].as_str().expect("a reason"))
        .collect();
    // Newest first.
    assert_eq!(
        reasons,
        ["topic_invalid", "topic_invalid", "not_json", "format_unknown", "bad_number", "time_out_of_range"]
    );
    scenario.check(
        &["A/S/rain 2024-11-21T01:05:00Z number 1 mm"],
        Books {
            partial: 1,
            quarantined: 5,
            ignored: 1,
            inserted: 1,
            quarantined_readings: 3,
            ..Books::default()
        },
    );
}

//! Readings at 10 Hz with stamps of whole seconds (B1-4): what is kept, what is a re-send, and what nobody can tell.

use crate::scenario::{Books, Scenario, T1, T2};

const KEEP: &str = "pipeline.same_time_keep=A/*/acceleration*";

fn acceleration(time: &str, value: &str, seq: Option<u32>) -> String {
    let seq = seq.map_or(String::new(), |seq| format!(r#""seq":{seq},"#));
    format!(r#"{{"time":"{time}",{seq}"readings":[{{"property":"acceleration","value":{value}}}]}}"#)
}

/// With sequence numbers every reading is told apart, equal values too; everything comes twice.
#[test]
fn b1_4_ten_readings_in_a_second_with_sequence_numbers_are_ten_rows() {
    let mut scenario = Scenario::start_with(&[KEEP]);
    let mut expected = Vec::new();
    for (second, time) in [T1, T2].into_iter().enumerate() {
        for tenth in 0..10 {
            // Values repeat within the second.
            let (value, seq) = (tenth % 4, second as u32 * 10 + tenth);
            scenario.publish("obs/A/S", &acceleration(time, &value.to_string(), Some(seq)));
            expected.push(format!("A/S/acceleration {time} number {value} q{seq}"));
        }
    }
    scenario.check(
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
        Books { decoded: 20, inserted: 20, ..Books::default() },
    );
}

/// Without them the value decides: seven different values are seven rows, and the three that say the same again count as
/// re-sends, for nothing tells them from one.
#[test]
fn b1_4_without_sequence_numbers_equal_values_of_a_second_are_one_row() {
    let mut scenario = Scenario::start_with(&[KEEP]);
    for value in ["1", "2", "3", "2", "4", "5", "1", "6", "7", "2"] {
        scenario.publish("obs/A/S", &acceleration(T1, value, None));
    }
    let expected: Vec<String> =
        (1..=7).map(|value| format!("A/S/acceleration {T1} number {value}")).collect();
    scenario.check(
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
        Books { decoded: 10, inserted: 7, duplicate: 3, ..Books::default() },
    );
}

/// A datastream that no pattern names takes the same readings for corrections.
#[test]
fn b1_4_without_the_setting_they_are_corrections() {
    let mut scenario = Scenario::start_with(&[KEEP]);
    for value in ["1", "2", "3"] {
        scenario.publish(
            "obs/A/S",
            &format!(r#"{{"time":"{T1}","readings":[{{"property":"vibration","value":{value}}}]}}"#),
        );
    }
    scenario.check(
        &[
            "A/S/vibration 2024-11-21T01:05:00Z number 1",
            "A/S/vibration 2024-11-21T01:05:00Z number 2 r1",
            "A/S/vibration 2024-11-21T01:05:00Z number 3 r2",
        ],
        Books { decoded: 3, inserted: 1, corrected: 2, ..Books::default() },
    );
}

//! One message to rows: classes, ordinals, re-sends, units, quarantine (A1-6).

use std::sync::{Arc, RwLock};

use codecs::property_catalogue::Domain;
use proptest::prelude::*;

use super::decode::{MessageDecoder, TimeBounds};
use super::dictionary::{Dictionary, DictionaryLimits};
use super::hot::HotRow;
use super::resend::ResendWindow;
use crate::observation::{Classification, MessageOutcome, ObservationFrame, Quality, ResultKind, Row};
use crate::record::{Message, QOS_1};
use crate::registry::Registry;
use crate::retention::RetentionSpans;
use crate::rules::{Ranks, SameTime};

const NOW_US: i64 = 1_790_000_000_000_000;
const SECOND_US: i64 = 1_000_000;
const LIMITS: DictionaryLimits = DictionaryLimits {
    clients_max: 100,
    agencies_max: 10,
    stations_per_agency_max: 10,
    datastreams_per_station_max: 10,
    datastreams_max: 50,
    symbols_max: 20,
};

struct Bench {
    decoder: MessageDecoder,
    frame: ObservationFrame,
    next_message_no: u64,
    now_us: i64,
}

impl Bench {
    fn new() -> Self {
        Self::keeping(RetentionSpans::default())
    }

    fn keeping(retention: RetentionSpans) -> Self {
        let registry = Arc::new(RwLock::new(Registry::default()));
        let (backfill_max_us, clock_skew_max_us) = (10 * 86_400 * SECOND_US, 300 * SECOND_US);
        let bounds = TimeBounds { backfill_max_us, clock_skew_max_us, retention };
        Self {
            decoder: MessageDecoder::new(
                Dictionary::new(registry, LIMITS),
                Vec::new(),
                ResendWindow::new(100),
                bounds,
                Ranks::default(),
                SameTime::default(),
            ),
            frame: ObservationFrame::default(),
            next_message_no: 1,
            now_us: NOW_US,
        }
    }

    /// Sends a message and gives its rows.
    fn send(&mut self, topic: &str, payload: &str) -> Vec<Row> {
        self.send_as(topic, payload, 1, false)
    }

    fn send_as(&mut self, topic: &str, payload: &str, packet_id: u16, dup: bool) -> Vec<Row> {
        let first = self.frame.rows.len();
        let message = Message {
            dup,
            client: b"box",
            topic: topic.as_bytes(),
            payload: payload.as_bytes(),
            ..Message::of_flags(QOS_1, packet_id)
        };
        self.decoder.decode(&message, self.next_message_no, self.now_us, &mut self.frame);
        self.next_message_no += 1;
        self.frame.rows[first..].to_vec()
    }

    fn outcome(&self) -> MessageOutcome {
        self.frame.messages.last().expect("a message was sent").message_outcome()
    }

    fn reason(&self) -> &str {
        &self.frame.quarantined.last().expect("something is quarantined").reason
    }
}

fn at(seconds: i64, value: &str) -> String {
    let time = codecs::time::format_rfc3339(NOW_US + seconds * SECOND_US);
    format!(r#"{{"time":"{time}","readings":[{{"property":"water_level","value":{value},"unit":"m"}}]}}"#)
}

fn classes(rows: &[Row]) -> Vec<Classification> {
    rows.iter().map(Row::classified).collect()
}

#[test]
fn newer_is_inserted_equal_is_duplicate_else_unresolved() {
    let mut bench = Bench::new();
    assert_eq!(classes(&bench.send("obs/a/s", &at(0, "1.5"))), [Classification::Inserted]);
    assert_eq!(classes(&bench.send("obs/a/s", &at(0, "1.5"))), [Classification::Duplicate]);
    assert_eq!(classes(&bench.send("obs/a/s", &at(0, "1.6"))), [Classification::Unresolved]);
    assert_eq!(classes(&bench.send("obs/a/s", &at(-5, "1.5"))), [Classification::Unresolved]);
    assert_eq!(classes(&bench.send("obs/a/s", &at(1, "-0.0"))), [Classification::Inserted]);
    assert_eq!(classes(&bench.send("obs/a/s", &at(1, "0"))), [Classification::Duplicate]);
}

#[test]
fn two_values_at_one_time_in_one_message_get_ordinals() {
    let mut bench = Bench::new();
    let payload = format!(
        r#"{{"time":"{}","readings":[{{"property":"x","value":1}},{{"property":"x","value":2}},{{"property":"x","value":1}}]}}"#,
        codecs::time::format_rfc3339(NOW_US)
    );
    let rows = bench.send("obs/a/s", &payload);
    assert_eq!(rows.iter().map(|row| row.ordinal).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(
        classes(&rows),
        [Classification::Inserted, Classification::Inserted, Classification::Duplicate]
    );
    // Sent again: the same keys; the one at the watermark is known at once, the other one the store has to look up.
    let rows = bench.send("obs/a/s", &payload);
    assert_eq!(rows.iter().map(|row| row.ordinal).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(
        classes(&rows),
        [Classification::Unresolved, Classification::Duplicate, Classification::Duplicate]
    );
}

#[test]
fn undated_readings_get_rising_times_and_their_resends_are_recognised() {
    let mut bench = Bench::new();
    let first = bench.send_as("obs/a/s/rain", "1.5", 7, false);
    let second = bench.send_as("obs/a/s/rain", "1.5", 8, false);
    assert_eq!(classes(&first), [Classification::Inserted]);
    assert_eq!(classes(&second), [Classification::Inserted], "a reading that truly repeats is new");
    assert!(second[0].time_us > first[0].time_us);
    assert_eq!(classes(&bench.send_as("obs/a/s/rain", "1.5", 8, true)), [Classification::Duplicate]);
    assert_eq!(
        classes(&bench.send_as("obs/a/s/rain", "1.6", 8, true)),
        [Classification::Inserted],
        "other content"
    );
    assert_eq!(bench.frame.messages[0].unkeyed, 1);
}

#[test]
fn undated_readings_with_a_sequence_number_are_recognised_without_dup() {
    let mut bench = Bench::new();
    let payload = r#"{"seq":5,"value":0}"#;
    assert_eq!(classes(&bench.send_as("obs/a/s/flow", payload, 1, false)), [Classification::Inserted]);
    assert_eq!(classes(&bench.send_as("obs/a/s/flow", payload, 9, false)), [Classification::Duplicate]);
    assert_eq!(classes(&bench.send_as("obs/a/s/speed", payload, 10, false)), [Classification::Inserted]);
    assert_eq!(bench.frame.messages[0].unkeyed, 0);
}

#[test]
fn units_become_canonical_and_unknown_ones_pass_through_marked() {
    let mut bench = Bench::new();
    let rows = bench.send("obs/a/s/water_level", r#"{"value":250,"unit":"cm"}"#);
    assert_eq!(rows[0].number(), 2.5);
    let rows = bench.send("obs/a/s/water_level", r#"{"value":3,"unit":"furlong"}"#);
    assert_eq!(rows[0].number(), 3.0);
    assert_eq!(rows[0].flags & Row::FLAG_UNIT_UNKNOWN, Row::FLAG_UNIT_UNKNOWN);
    let text = bench.decoder.dictionary.symbol_text(rows[0].unit);
    assert_eq!(&*text, "furlong");
}

#[test]
fn quality_is_of_the_value_and_the_source() {
    let mut bench = Bench::new();
    let quality = |rows: Vec<Row>| rows[0].quality;
    assert_eq!(quality(bench.send("obs/a/s/pm2_5", r#"{"value":38.4,"unit":"ug/m3"}"#)), Quality::Pass as u8);
    assert_eq!(
        quality(bench.send("obs/a/s/pm2_5", r#"{"value":-38.4,"unit":"ug/m3"}"#)),
        Quality::Suspect as u8
    );
    assert_eq!(quality(bench.send("obs/a/s/pm2_5", r#"{"value":38.4,"status":"02"}"#)), Quality::Fail as u8);
    assert_eq!(quality(bench.send("obs/a/s/pm2_5", r#"{"value":null}"#)), Quality::Missing as u8);
    assert_eq!(quality(bench.send("obs/a/s/gadget", "1")), Quality::NotEvaluated as u8);
}

#[test]
fn all_kinds_of_results() {
    let mut bench = Bench::new();
    let rows = bench
        .send("obs/a/s", r#"{"readings":[{"property":"a","value":true},{"property":"b","value":"mở"}]}"#);
    assert_eq!(
        rows.iter().map(Row::result_kind).collect::<Vec<_>>(),
        [ResultKind::Boolean, ResultKind::Text]
    );
    let span = rows[1].text_span();
    assert_eq!(&bench.frame.texts[span.offset as usize..][..span.len as usize], "mở".as_bytes());
}

/// B1-7: what would not be kept is not taken in, so that nothing comes again that retention took away.
#[test]
fn b1_7_a_reading_older_than_its_domain_is_kept_is_quarantined() {
    let mut bench =
        Bench::keeping(RetentionSpans::of_days(|domain| u32::from(domain == Domain::Environment)));
    let day_s = 86_400;
    assert_eq!(bench.send("obs/a/s", &at(-day_s - 1, "1")).len(), 1, "of another domain");
    let pm2_5 = |seconds: i64| {
        let time_us = NOW_US + seconds * SECOND_US;
        format!(r#"{{"time":{time_us},"readings":[{{"property":"pm2_5","value":1}}]}}"#)
    };
    assert_eq!(bench.send("obs/a/s", &pm2_5(1 - day_s)).len(), 1);
    assert!(bench.send("obs/a/s", &pm2_5(-day_s - 1)).is_empty());
    assert_eq!((bench.outcome(), bench.reason()), (MessageOutcome::Quarantined, "retention"));
    assert!(bench.frame.quarantined.last().unwrap().sentence.contains("retention.environment_days"));
}

#[test]
fn bad_messages_and_bad_readings_are_quarantined_with_a_reason() {
    let mut bench = Bench::new();
    assert!(bench.send("obs/a/s", "hello").is_empty());
    assert_eq!((bench.outcome(), bench.reason()), (MessageOutcome::Quarantined, "format_unknown"));
    assert!(bench.send("obs/a", "1").is_empty());
    assert_eq!((bench.outcome(), bench.reason()), (MessageOutcome::Quarantined, "topic_invalid"));
    assert!(bench.send("obs/a/s", &at(301, "1")).is_empty());
    assert_eq!((bench.outcome(), bench.reason()), (MessageOutcome::Quarantined, "time_out_of_range"));
    assert!(bench.send("obs/a/s", &at(-10 * 86_400 - 1, "1")).is_empty());
    assert_eq!(bench.reason(), "time_out_of_range");
    let rows =
        bench.send("obs/a/s", r#"{"readings":[{"property":"a","value":1},{"property":"","value":1}]}"#);
    assert_eq!((rows.len(), bench.outcome()), (1, MessageOutcome::Partial));
    assert_eq!(bench.frame.messages.last().map(|message| message.quarantined_readings), Some(1));
    assert!(bench.send("city/lamp", "on").is_empty());
    assert_eq!(bench.outcome(), MessageOutcome::Ignored);
}

#[test]
fn names_are_bounded() {
    let mut bench = Bench::new();
    for station in 0..10 {
        assert_eq!(bench.send(&format!("obs/a/s{station}/x"), "1").len(), 1);
    }
    assert!(bench.send("obs/a/s10/x", "1").is_empty());
    assert_eq!(bench.reason(), "registry_limit");
    for property in 0..9 {
        assert_eq!(bench.send(&format!("obs/a/s0/p{property}"), "1").len(), 1);
    }
    assert!(bench.send("obs/a/s0/p9", "1").is_empty());
    assert_eq!(bench.reason(), "registry_limit");
    assert_eq!(bench.send("obs/b/s0/x", "1").len(), 1, "others notice nothing");
}

/// B1-2: a clock that was far ahead when an undated reading came does not date those that come later.
#[test]
fn b1_2_undated_times_come_back_with_the_clock_and_stay_apart() {
    let mut bench = Bench::new();
    let send = |bench: &mut Bench, now_us: i64| {
        bench.now_us = now_us;
        let row = bench.send("obs/a/s/flow", "7")[0];
        (row.time_us - NOW_US, row.classified())
    };
    let far_us = NOW_US + 73 * 365 * 86_400 * SECOND_US;
    assert_eq!(send(&mut bench, NOW_US), (0, Classification::Inserted));
    assert_eq!(send(&mut bench, NOW_US), (1, Classification::Inserted), "strictly increasing");
    assert_eq!(send(&mut bench, far_us), (far_us - NOW_US, Classification::Inserted));
    // Late: the store compares, and gives each an ordinal where times should meet.
    let late = Classification::Unresolved;
    assert_eq!(send(&mut bench, NOW_US + SECOND_US), (SECOND_US, late));
    assert_eq!(send(&mut bench, NOW_US + SECOND_US), (SECOND_US + 1, late), "strictly increasing again");
    assert_eq!(send(&mut bench, NOW_US), (SECOND_US + 2, late), "a little back is waited for");
    let dated = bench.send("obs/a/s", &at(0, "1"));
    assert_eq!(classes(&dated), [Classification::Inserted], "another datastream");
}

proptest! {
    /// Hot rows that are rebuilt from the observation log classify like the ones that made it (P3 across a restart).
    #[test]
    fn rebuilt_hot_rows_classify_alike(
        before in prop::collection::vec((0i64..6, 0u8..3, 0u8..2), 1..30),
        after in prop::collection::vec((0i64..6, 0u8..3, 0u8..2), 1..30),
    ) {
        let payload = |(seconds, value, kind): (i64, u8, u8)| match kind {
            0 => at(seconds, &value.to_string()),
            _ => format!(r#"{{"readings":[{{"property":"water_level","value":{value}}}]}}"#),
        };
        let mut live = Bench::new();
        for message in before {
            live.send_as("obs/a/s", &payload(message), 0, false);
        }
        let mut registry = Registry::default();
        live.frame.definitions.iter().for_each(|definition| registry.apply(definition));
        let mut rebuilt = Bench::new();
        rebuilt.decoder.dictionary = Dictionary::new(Arc::new(RwLock::new(registry)), LIMITS);
        let original = &live.decoder.hot[0];
        let mut hot = HotRow::new(original.datastream_unit, original.plausible, false);
        for row in &live.frame.rows {
            hot.fold(row, live.frame.messages[row.message as usize].message_no, false);
        }
        rebuilt.decoder.hot = vec![hot];
        rebuilt.next_message_no = live.next_message_no;
        for message in after {
            let payload = payload(message);
            let expected = live.send_as("obs/a/s", &payload, 0, false);
            let got = rebuilt.send_as("obs/a/s", &payload, 0, false);
            prop_assert_eq!(classes(&expected), classes(&got));
            prop_assert_eq!(expected[0].time_us, got[0].time_us);
        }
    }
}

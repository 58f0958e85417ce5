//! A quarantined message once more: what it brings, under which times and ordinals, and what stays (B1-5).

use std::sync::{Arc, RwLock};

use proptest::prelude::*;

use super::decode::{MessageDecoder, TimeBounds};
use super::dictionary::{Dictionary, DictionaryLimits};
use super::reading_set::ReadingSet;
use super::resend::ResendWindow;
use crate::log::Stamp;
use crate::observation::{Classification, MessageOutcome, ObservationFrame, Quarantined, Row, Settled};
use crate::record::{BookedEntry, Message, QOS_1};
use crate::registry::Registry;
use crate::retention::RetentionSpans;
use crate::rules::{Ranks, SameTime};

const NOW_US: i64 = 1_790_000_000_000_000;
const DAY_US: i64 = 86_400_000_000;

fn decoder(backfill_days: i64, datastreams_per_station_max: u32) -> MessageDecoder {
    let limits = DictionaryLimits {
        clients_max: 100,
        agencies_max: 10,
        stations_per_agency_max: 10,
        datastreams_per_station_max,
        datastreams_max: 50,
        symbols_max: 20,
    };
    let bounds = TimeBounds {
        backfill_max_us: backfill_days * DAY_US,
        clock_skew_max_us: 0,
        retention: RetentionSpans::default(),
    };
    let dictionary = Dictionary::new(Arc::new(RwLock::new(Registry::default())), limits);
    let window = ResendWindow::new(100);
    MessageDecoder::new(dictionary, Vec::new(), window, bounds, Ranks::default(), SameTime::default())
}

fn message<'a>(topic: &'a str, payload: &'a str, dup: bool) -> Message<'a> {
    Message {
        dup,
        client: b"box",
        topic: topic.as_bytes(),
        payload: payload.as_bytes(),
        ..Message::of_flags(QOS_1, 7)
    }
}

fn receive(
    decoder: &mut MessageDecoder,
    message: &Message<'_>,
    message_no: u64,
) -> (Quarantined, BookedEntry) {
    let mut frame = ObservationFrame::default();
    decoder.decode(message, message_no, NOW_US, &mut frame);
    let quarantined = frame.quarantined.pop().expect("it is refused");
    let entry = BookedEntry {
        position: message_no,
        receive_time_us: NOW_US,
        readings: quarantined.readings,
        outcome: frame.messages[0].outcome,
        ..BookedEntry::default()
    };
    (quarantined, entry)
}

/// What is left, and the rows: time behind the receipt, ordinal, value, class.
type Replayed = (Option<u16>, Vec<(i64, u16, f64, Classification)>);

fn replay(
    decoder: &mut MessageDecoder,
    message: &Message<'_>,
    quarantined: &Quarantined,
    entry: &BookedEntry,
) -> Replayed {
    let mut frame = ObservationFrame::default();
    let settled = decoder.replay(entry, &quarantined.refused, message, NOW_US, &mut frame);
    let Settled::Replayed { rows, remaining, .. } = settled else { panic!("it was replayed") };
    assert_eq!(rows as usize, frame.rows.len());
    let row = |row: &Row| (row.time_us - NOW_US, row.ordinal, row.number(), row.classified());
    (remaining.map(|remaining| remaining.readings), frame.rows.iter().map(row).collect())
}

#[test]
fn b1_5_undated_readings_get_the_receive_time_and_none_hides_another() {
    use Classification::{Inserted, Unresolved};
    let mut strict = decoder(10, 0);
    let first = message("obs/A/S/p", "7", false);
    let refused: Vec<_> = (1..=3).map(|number| receive(&mut strict, &first, number)).collect();
    let mut open = decoder(10, 10);
    let rows: Vec<_> = refused.iter().map(|(item, entry)| replay(&mut open, &first, item, entry).1).collect();
    assert_eq!(
        rows,
        [[(0, 0, 7.0, Inserted)], [(0, 0, 7.0, Unresolved)], [(0, 0, 7.0, Unresolved)]],
        "the store decides"
    );
    // Sent again under DUP before anything was decoded: one reading.
    let again = message("obs/A/S/p", "8", true);
    let (item, entry) = receive(&mut strict, &again, 4);
    assert_eq!(replay(&mut open, &again, &item, &entry).1[0].3, Unresolved);
    let (item, entry) = receive(&mut strict, &again, 5);
    assert_eq!(replay(&mut open, &again, &item, &entry).1[0].3, Classification::Duplicate);
}

#[test]
fn b1_5_only_refused_readings_are_added_behind_what_is_stored() {
    let old = (NOW_US - 100 * DAY_US) / 1_000_000;
    let now = NOW_US / 1_000_000;
    let payload = format!(
        r#"{{"time":{now},"readings":[{{"property":"a","value":NaN}},{{"property":"a","value":1}},
           {{"property":"b","value":2,"time":{old}}},{{"property":"c","value":3}}]}}"#
    );
    let message = message("obs/A/S", &payload, false);
    let mut decoder = decoder(10, 10);
    let (item, entry) = receive(&mut decoder, &message, 9);
    assert_eq!((item.readings, item.refused.as_slice()), (2, &[0b101][..]));
    assert_eq!(entry.outcome, MessageOutcome::Partial as u8);
    // The same bounds: nothing changes.
    assert_eq!(replay(&mut decoder, &message, &item, &entry), (Some(2), vec![]));
    let mut mended = self::decoder(1_000, 10);
    let (left, rows) = replay(&mut mended, &message, &item, &entry);
    assert_eq!(left, Some(1), "NaN stays");
    assert_eq!(rows, [(-100 * DAY_US, 0, 2.0, Classification::Inserted)]);
}

#[test]
fn b1_5_a_second_value_at_one_time_of_a_message_comes_behind_the_stored_one() {
    let now = NOW_US / 1_000_000;
    // The first reading was refused, the second one is stored under ordinal 0.
    let payload = format!(
        r#"{{"time":{now},"readings":[{{"property":"a","value":5}},{{"property":"a","value":6}},{{"property":"a","value":6}}]}}"#
    );
    let message = message("obs/A/S", &payload, false);
    let mut decoder = decoder(10, 10);
    let mut frame = ObservationFrame::default();
    decoder.decode(&message, 9, NOW_US, &mut frame);
    let entry = BookedEntry {
        position: 9,
        receive_time_us: NOW_US,
        readings: 2,
        outcome: MessageOutcome::Partial as u8,
        ..BookedEntry::default()
    };
    let mut frame = ObservationFrame::default();
    decoder.replay(&entry, &[0b101], &message, NOW_US, &mut frame);
    let rows: Vec<_> = frame.rows.iter().map(|row| (row.ordinal, row.number(), row.classified())).collect();
    assert_eq!(rows, [(1, 5.0, Classification::Unresolved), (0, 6.0, Classification::Duplicate)]);
}

/// P2: what came while the clock was in 2099 can be replayed once it is right, and what came at a right time keeps that.
#[test]
fn b1_5_no_message_came_later_than_it_is_replayed() {
    let now = NOW_US / 1_000_000;
    let payload = format!(r#"{{"time":{now},"readings":[{{"property":"a","value":5}}]}}"#);
    let dated = message("obs/A/S", &payload, false);
    let mut decoder = decoder(10, 10);
    let far = Stamp { time_us: NOW_US + 27_000 * DAY_US, behind_s: 5 };
    let mut frame = ObservationFrame::default();
    decoder.decode(&dated, 9, far, &mut frame);
    assert_eq!((frame.rows.len(), frame.quarantined[0].reason.as_str()), (0, "time_out_of_range"));
    let entry = BookedEntry {
        position: 9,
        receive_time_us: far.received_us(),
        behind_s: far.behind_s,
        readings: 1,
        outcome: MessageOutcome::Quarantined as u8,
        ..BookedEntry::default()
    };
    assert_eq!(entry.received_before(i64::MAX), far);
    let mut frame = ObservationFrame::default();
    let asked_us = NOW_US + 2_000_007;
    decoder.replay(&entry, &[], &dated, asked_us, &mut frame);
    assert_eq!(frame.rows.len(), 1, "{:?}", frame.settlements);
    let message = frame.messages[0];
    assert_eq!(message.stamp_us(), far.time_us, "the hour of the books stays");
    assert!((asked_us - 1_000_000..=asked_us).contains(&message.receive_time_us));
}

/// P2: what came while the gateway's clock was days behind, or a station's ahead, is taken in by a replay once that time has come.
#[test]
fn b1_5_a_replay_takes_what_was_measured_up_to_its_own_time() {
    let reading = |days: i64| {
        let time = (NOW_US + days * DAY_US) / 1_000_000;
        format!(r#"{{"property":"a","value":{days},"time":{time}}}"#)
    };
    let payload = format!(r#"{{"readings":[{},{},{}]}}"#, reading(-11), reading(3), reading(5));
    let message = message("obs/A/S", &payload, false);
    let mut decoder = decoder(10, 10);
    let (item, entry) = receive(&mut decoder, &message, 9);
    assert_eq!(item.readings, 3);
    let mut after = |days: i64| {
        let mut frame = ObservationFrame::default();
        let settled = decoder.replay(&entry, &item.refused, &message, NOW_US + days * DAY_US, &mut frame);
        let Settled::Replayed { remaining, .. } = settled else { panic!("it was replayed") };
        let received_at: Vec<i64> = frame.messages.iter().map(|message| message.receive_time_us).collect();
        assert!(received_at.iter().all(|time_us| *time_us == NOW_US), "the receive time stays");
        let values: Vec<f64> = frame.rows.iter().map(Row::number).collect();
        (remaining.map(|remaining| remaining.readings), values)
    };
    assert_eq!(after(2), (Some(3), vec![]), "not yet");
    assert_eq!(after(4), (Some(2), vec![3.0]), "one is too old by the receive time, one not yet there");
}

proptest! {
    /// P2, P3: the number of a reading is its place in the payload, however many before it a build can read: a mend of some never
    /// makes a stored one out of a refused one.
    #[test]
    fn b1_5_numbers_of_readings_are_places_in_the_payload(
        elements in prop::collection::vec(0usize..ELEMENTS.len(), 1..40),
        is_unusual in any::<bool>(),
    ) {
        let list: Vec<&str> = elements.iter().map(|element| ELEMENTS[*element].0).collect();
        // An escape in the name of a member is for the reader of unusual shapes.
        let name = if is_unusual { "\\u0072eadings" } else { "readings" };
        let payload = format!(r#"{{"time":{},"{name}":[{}]}}"#, NOW_US / 1_000_000, list.join(","));
        let message = message("obs/A/S", &payload, false);
        let mut frame = ObservationFrame::default();
        decoder(10, 10).decode(&message, 1, NOW_US, &mut frame);
        let refused: Vec<usize> = (0..elements.len()).filter(|at| !ELEMENTS[elements[*at]].1).collect();
        if refused.is_empty() || refused.len() == elements.len() {
            return Ok(());
        }
        let found = ReadingSet::from_bytes(&frame.quarantined[0].refused);
        let found: Vec<usize> = (0..elements.len()).filter(|at| found.contains(*at as u16)).collect();
        prop_assert_eq!(found, refused);
    }
}

/// Elements of a list, and whether this build takes them.
const ELEMENTS: [(&str, bool); 8] = [
    (r#"{"property":"a","value":1}"#, true),
    (r#"{"property":"b","value":null}"#, true),
    (r#"{"property":"a","value":NaN}"#, false),
    (r#"{"property":"a","value":1,"time":"yesterday"}"#, false),
    (r#"{"property":"a","value":1,"time":1}"#, false),
    (r#"{"property":"","value":1}"#, false),
    (r#"{"value":1}"#, false),
    (r#"{"property":"a"}"#, false),
];

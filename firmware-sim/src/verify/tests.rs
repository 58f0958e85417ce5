//! A1-9: each kind of disagreement is planted and must be found, and nothing else may be.

use super::*;
use crate::ledger::{Format, Kind, Sent, Session};
use crate::message::Reading;

const STATION: &str = "H24.05/KHI001";

/// A ledger under construction.
#[derive(Default)]
struct Truth {
    lines: Vec<Line>,
    messages: u64,
}

impl Truth {
    fn new() -> Self {
        Self { lines: vec![Line::Session(Session::new("run", Some(1)))], messages: 0 }
    }

    fn sent(&mut self, time_us: Option<i64>, seq: Option<u64>, reading: Reading) -> u64 {
        self.messages += 1;
        self.lines.push(Line::Sent(Sent {
            sent: self.messages,
            client: "c".into(),
            packet: self.messages,
            topic: format!("obs/{STATION}"),
            format: Format::Json,
            qos: 1,
            kind: Kind::Reading,
            time_us,
            seq,
            readings: vec![reading],
        }));
        self.messages
    }

    fn acked(&mut self, time_us: Option<i64>, seq: Option<u64>, reading: Reading) {
        let number = self.sent(time_us, seq, reading);
        self.lines.push(Line::Acked(number));
    }

    fn report(&self, rows: Vec<Row>) -> Report {
        self.report_of(rows, Revisions::All)
    }

    fn report_of(&self, rows: Vec<Row>, revisions: Revisions) -> Report {
        let lines = self.lines.iter().cloned().map(Ok::<_, LedgerError>);
        verify(lines, rows.into_iter().map(Ok::<_, RowsError>), revisions).expect("a sound ledger")
    }
}

fn pm(number: f64) -> Reading {
    Reading::number("pm2_5", number, "ug/m3").with_status(Some("00"))
}

fn row(time_us: i64, number: f64, seq: Option<u64>) -> Row {
    Row {
        datastream: format!("{STATION}/pm2_5"),
        time_us,
        value: Value::Number(number),
        unit: "ug/m3".to_owned(),
        status: "00".to_owned(),
        period_s: 0,
        revision: 0,
        seq,
    }
}

fn revision(row: Row, revision: u32) -> Row {
    Row { revision, ..row }
}

/// Ten readings, all acknowledged, and their rows.
fn ten() -> (Truth, Vec<Row>) {
    let mut truth = Truth::new();
    let mut rows = Vec::new();
    for minute in 0..10_u32 {
        let (time_us, number) = (i64::from(minute) * 60_000_000, f64::from(minute) / 10.0);
        truth.acked(Some(time_us), Some(u64::from(minute)), pm(number));
        rows.push(row(time_us, number, Some(u64::from(minute))));
    }
    (truth, rows)
}

/// (lost, doubled, altered, unexpected)
fn counts(report: &Report) -> (u64, u64, u64, u64) {
    (report.lost.count, report.doubled.count, report.altered.count, report.unexpected.count)
}

#[test]
fn rows_as_sent_are_fine() {
    let (truth, rows) = ten();
    let report = truth.report(rows);
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.rows_required, report.rows_compared, report.readings_acked), (10, 10, 10));
}

#[test]
fn a_lost_reading_is_found() {
    let (truth, mut rows) = ten();
    rows.remove(3);
    let report = truth.report(rows);
    assert_eq!(counts(&report), (1, 0, 0, 0), "{report}");
    assert!(
        report.lost.examples[0].contains("H24.05/KHI001/pm2_5 at 1970-01-01T00:03:00Z: 0.3 ug/m3"),
        "{report}"
    );
}

#[test]
fn examples_are_few_and_counts_are_whole() {
    let (truth, _) = ten();
    let report = truth.report(Vec::new());
    assert_eq!(counts(&report), (10, 0, 0, 0), "{report}");
    assert_eq!(report.lost.examples.len(), EXAMPLES_MAX);
}

#[test]
fn a_doubled_reading_is_found_with_and_without_a_revision_of_its_own() {
    for number in [0, 1] {
        let (truth, mut rows) = ten();
        rows.push(revision(rows[3].clone(), number));
        let report = truth.report(rows);
        assert_eq!(counts(&report), (0, 1, 0, 0), "{report}");
    }
}

#[test]
fn an_altered_reading_is_found_whatever_was_altered() {
    let alterations: [fn(&mut Row); 6] = [
        |row| row.value = Value::Number(0.300_000_000_000_000_04),
        |row| row.value = Value::Null,
        |row| row.value = Value::Text("0.3".to_owned()),
        |row| row.unit = "mg/m3".to_owned(),
        |row| row.status = String::new(),
        |row| row.seq = Some(99),
    ];
    for (index, alter) in alterations.into_iter().enumerate() {
        let (truth, mut rows) = ten();
        alter(&mut rows[3]);
        let report = truth.report(rows);
        assert_eq!(counts(&report), (0, 0, 1, 0), "alteration {index}: {report}");
    }
}

#[test]
fn an_unexpected_row_is_found_and_rows_of_other_stations_are_none() {
    let (truth, mut rows) = ten();
    rows.push(row(600_000_000, 1.0, None));
    rows.push(Row { datastream: format!("{STATION}/pm10"), ..rows[0].clone() });
    rows.push(Row { period_s: 3600, ..rows[0].clone() });
    rows.push(Row { datastream: "H24.05/KHI0011/pm2_5".to_owned(), ..rows[0].clone() });
    let report = truth.report(rows);
    assert_eq!(counts(&report), (0, 0, 0, 3), "{report}");
    assert_eq!(report.rows_of_other_stations, 1);
}

#[test]
fn what_was_not_acknowledged_may_be_there_once_or_not() {
    let (mut truth, mut rows) = ten();
    truth.sent(Some(600_000_000), Some(10), pm(1.0));
    assert!(truth.report(rows.clone()).is_clean());
    rows.push(row(600_000_000, 1.0, Some(10)));
    let report = truth.report(rows.clone());
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.rows_unacked, 1);
    rows.push(row(600_000_000, 1.0, Some(10)));
    assert_eq!(counts(&truth.report(rows)), (0, 1, 0, 0));
}

#[test]
fn a_repetition_is_no_second_row_and_may_have_a_sequence_number_of_its_own() {
    let (mut truth, mut rows) = ten();
    truth.acked(Some(0), Some(0), pm(0.0));
    truth.acked(Some(60_000_000), Some(77), pm(0.1));
    assert!(truth.report(rows.clone()).is_clean());
    rows[1].seq = Some(77);
    assert!(truth.report(rows.clone()).is_clean());
    rows.push(revision(rows[0].clone(), 1));
    assert_eq!(counts(&truth.report(rows)), (0, 1, 0, 0));
}

/// A key that said 1, then 2, then 1 again: two revisions, the second in force.
fn corrected() -> (Truth, Vec<Row>) {
    let mut truth = Truth::new();
    for (seq, number) in [(1, 1.0), (2, 2.0), (3, 1.0)] {
        truth.acked(Some(0), Some(seq), pm(number));
    }
    (truth, vec![row(0, 1.0, Some(1)), revision(row(0, 2.0, Some(2)), 1)])
}

#[test]
fn corrections_are_revisions_with_the_latest_new_value_in_force() {
    let (truth, rows) = corrected();
    let report = truth.report(rows.clone());
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.rows_required, 2);

    // The earlier value is gone; the correction is gone; a third revision repeats the first value; the wrong one in force.
    assert_eq!(counts(&truth.report(rows[1..].to_vec())), (1, 0, 0, 0));
    assert_eq!(counts(&truth.report(rows[..1].to_vec())), (1, 0, 0, 0));
    let again = revision(row(0, 1.0, Some(3)), 2);
    let report = truth.report([rows.clone(), vec![again]].concat());
    assert_eq!((report.doubled.count, report.altered.count), (1, 1), "{report}");
    let swapped = vec![revision(rows[0].clone(), 1), revision(rows[1].clone(), 0)];
    assert_eq!(counts(&truth.report(swapped)), (0, 0, 1, 0));
}

#[test]
fn two_rows_with_one_revision_are_doubled() {
    let (truth, rows) = corrected();
    let both = rows.into_iter().map(|row| revision(row, 0)).collect();
    assert_eq!(truth.report(both).doubled.count, 1);
}

#[test]
fn with_rows_in_force_only_the_last_value_is_looked_for() {
    let (truth, rows) = corrected();
    for revisions in [Revisions::InForce, Revisions::Unknown] {
        let report = truth.report_of(rows[1..].to_vec(), revisions);
        assert!(report.is_clean() && report.only_in_force, "{report}");
    }
    let report = truth.report_of(rows[..1].to_vec(), Revisions::InForce);
    assert_eq!(counts(&report), (0, 0, 1, 0), "the outdated value in force: {report}");
    assert_eq!(counts(&truth.report_of(Vec::new(), Revisions::InForce)), (1, 0, 0, 0));
    assert!(!truth.report_of(rows, Revisions::Unknown).only_in_force);
}

#[test]
fn an_unacknowledged_correction_may_be_in_force_or_not() {
    let mut truth = Truth::new();
    truth.acked(Some(0), Some(1), pm(1.0));
    truth.sent(Some(0), Some(2), pm(2.0));
    let first = row(0, 1.0, Some(1));
    let second = revision(row(0, 2.0, Some(2)), 1);
    assert!(truth.report(vec![first.clone()]).is_clean());
    assert!(truth.report(vec![first.clone(), second.clone()]).is_clean());
    assert!(truth.report_of(vec![second], Revisions::InForce).is_clean());
    assert!(truth.report_of(vec![first], Revisions::InForce).is_clean());
}

#[test]
fn numbers_are_compared_after_conversion_to_the_catalogue_s_unit() {
    let mut truth = Truth::new();
    truth.acked(Some(0), None, Reading::number("water_level", 127.0, "cm"));
    truth.acked(Some(0), None, Reading::number("pm2_5", 38.4, "µg/m³"));
    truth.acked(Some(0), None, Reading::number("oddity", 2.5, "furlong"));
    let of = |property: &str, number: f64, unit: &str| Row {
        datastream: format!("{STATION}/{property}"),
        unit: unit.to_owned(),
        status: String::new(),
        ..row(0, number, None)
    };
    let rows = vec![of("water_level", 1.27, "m"), of("pm2_5", 38.4, "ug/m3"), of("oddity", 2.5, "furlong")];
    let report = truth.report(rows.clone());
    assert!(report.is_clean(), "{report}");
    let unconverted = of("water_level", 127.0, "m");
    assert_eq!(counts(&truth.report([vec![unconverted], rows[1..].to_vec()].concat())), (0, 0, 1, 0));
}

#[test]
fn undated_readings_with_a_sequence_number_are_one_row_however_often_sent() {
    let mut truth = Truth::new();
    truth.acked(None, Some(1), pm(1.0));
    truth.acked(None, Some(1), pm(1.0));
    truth.acked(None, Some(2), pm(1.0));
    truth.sent(None, Some(3), pm(3.0));
    let rows = vec![row(5, 1.0, Some(1)), row(9, 1.0, Some(2))];
    assert!(truth.report(rows.clone()).is_clean());
    let with = |extra: Row| truth.report([rows.clone(), vec![extra]].concat());
    assert!(with(row(11, 3.0, Some(3))).is_clean());
    assert_eq!(counts(&with(row(10, 1.0, Some(1)))), (0, 1, 0, 0));
    assert_eq!(counts(&with(row(10, 9.0, Some(4)))), (0, 0, 0, 1));
    assert_eq!(counts(&truth.report(rows[1..].to_vec())), (1, 0, 0, 0));
    let altered = vec![row(5, 1.5, Some(1)), rows[1].clone()];
    assert_eq!(counts(&truth.report(altered)), (0, 0, 1, 0));
}

#[test]
fn undated_readings_without_a_sequence_number_are_counted() {
    let mut truth = Truth::new();
    truth.acked(None, None, pm(1.0));
    truth.acked(None, None, pm(1.0));
    truth.acked(None, None, pm(2.0));
    truth.sent(None, None, pm(2.0));
    let rows = vec![row(1, 1.0, None), row(2, 1.0, None), row(3, 2.0, None)];
    assert!(truth.report(rows.clone()).is_clean());
    assert!(truth.report([rows.clone(), vec![row(4, 2.0, None)]].concat()).is_clean());
    assert_eq!(counts(&truth.report([rows.clone(), vec![row(4, 1.0, None)]].concat())), (0, 1, 0, 0));
    assert_eq!(counts(&truth.report([rows.clone(), vec![row(4, 7.0, None)]].concat())), (0, 0, 0, 1));
    assert_eq!(counts(&truth.report(rows[1..].to_vec())), (1, 0, 0, 0));
    let altered = vec![rows[0].clone(), row(2, 1.1, None), rows[2].clone()];
    assert_eq!(counts(&truth.report(altered)), (0, 0, 1, 0));
}

#[test]
fn a_ledger_whose_numbers_do_not_fit_is_refused() {
    let mut truth = Truth::new();
    truth.lines.push(Line::Acked(1));
    let lines = truth.lines.into_iter().map(Ok::<_, LedgerError>);
    let error = verify(lines, Vec::<Result<Row, RowsError>>::new(), Revisions::All).expect_err("refused");
    assert!(error.to_string().contains("before it was sent"), "{error}");
}

#[test]
fn sessions_number_their_messages_anew() {
    let (mut truth, rows) = ten();
    truth.lines.push(Line::Session(Session::new("run", Some(1))));
    truth.messages = 0;
    truth.acked(Some(700_000_000), Some(1), pm(7.0));
    assert_eq!(counts(&truth.report(rows.clone())), (1, 0, 0, 0));
    let whole = [rows, vec![row(700_000_000, 7.0, Some(1))]].concat();
    assert!(truth.report(whole).is_clean());
}

/// A2-1: a gateway takes nothing from a clock that is years off; a row of it would be an invention.
#[test]
fn misdated_readings_are_expected_nowhere() {
    let (mut truth, mut rows) = ten();
    let long_ago_us = 946_684_800_000_000;
    truth.acked(Some(long_ago_us), None, pm(1.0));
    let Some(Line::Sent(sent)) = truth.lines.iter_mut().rev().find(|line| matches!(line, Line::Sent(_)))
    else {
        panic!("it was just sent");
    };
    sent.kind = Kind::Misdated;
    let report = truth.report(rows.clone());
    assert_eq!((counts(&report), report.messages_garbage), ((0, 0, 0, 0), 1));
    rows.push(row(long_ago_us, 1.0, None));
    assert_eq!(counts(&truth.report(rows)), (0, 0, 0, 1));
}

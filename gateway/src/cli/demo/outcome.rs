//! The end of the demo: the store is opened anew, as after any restart, and answers for itself.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use codecs::payload::Value;
use firmware_sim::ledger::Reader;
use firmware_sim::message;
use firmware_sim::verify::{Comparison, Finding, Report, Revisions, Row, VerifyError};

use super::screen::Screen;
use super::words::{counted, cut, grouped, wrapped};
use crate::books::{Ledger, LedgerFilter};
use crate::cli::{Access, Backend, Exit, Failure};
use crate::config::Config;
use crate::query::{GatewayView, ObservationQuery, ObservationRow};

/// Prints the books and what the comparison found; fails with [`Exit::CheckFailed`] where something is wrong, and where there
/// was nothing to compare: an empty proof is none. `runs`: of this directory, this one included.
pub(super) fn show(
    config: Arc<Config>,
    backend: &dyn Backend,
    truth: &Path,
    runs: u64,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    screen.say("The gateway has ended. Its data are opened anew and compared with what the stations sent.");
    let view = backend.open_offline(config, Access::Read)?;
    let ledger = view
        .ledger(&LedgerFilter::default())
        .map_err(|error| Failure::environment(format!("the books: {error}")))?;
    let report = verify(view.as_ref(), truth)?;
    screen.print(&basis(runs));
    screen.print(&messages(&ledger, &report));
    screen.print(&observations(&ledger));
    let wrong = imbalances(&ledger, &report);
    for sentence in &wrong {
        screen.say(&format!("The books are wrong: {sentence}."));
    }
    screen.print(&comparison(&report));
    judge(&report, wrong, screen)
}

fn judge(report: &Report, mut wrong: Vec<String>, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let findings = [
        ("lost", &report.lost),
        ("doubled", &report.doubled),
        ("altered", &report.altered),
        ("unexpected", &report.unexpected),
    ];
    let found = findings.iter().filter(|(_, finding)| finding.count > 0);
    wrong.extend(found.map(|(name, finding)| format!("{} {name}", counted(finding.count, "reading"))));
    if report.unexpected.count > 0 {
        screen.say("Unexpected rows are there when another client publishes for stations of the demo.");
    }
    if !wrong.is_empty() {
        return Err(Failure::new(
            Exit::CheckFailed,
            format!("The demo found something wrong: {}.", wrong.join("; ")),
        ));
    }
    if report.rows_required == 0 {
        return Err(Failure::new(
            Exit::CheckFailed,
            "Nothing is proved: no reading was acknowledged before the end. Let the demo run a little longer.",
        ));
    }
    screen.say(&format!(
        "Proved: nothing lost, nothing doubled, nothing altered. Of the acknowledged readings {} had to be in the store, and \
         there they are, each once. The books balance.",
        grouped(report.rows_required)
    ));
    Ok(())
}

fn verify(view: &dyn GatewayView, truth: &Path) -> Result<Report, Failure> {
    let failed = |error: VerifyError| Failure::environment(format!("{}: {error}", truth.display()));
    let ledger = Reader::open(truth).map_err(|error| failed(error.into()))?;
    let mut comparison = Comparison::new(ledger).map_err(failed)?;
    let query = ObservationQuery { revisions: true, ..ObservationQuery::default() };
    view.observations(&query, &mut |row| {
        comparison.row(&compared(row));
        ControlFlow::Continue(())
    })
    .map_err(|error| Failure::environment(format!("the rows of the store: {error}")))?;
    Ok(comparison.finish(Revisions::All))
}

fn compared(row: &ObservationRow<'_>) -> Row {
    Row {
        datastream: row.datastream.to_owned(),
        time_us: row.phenomenon_time_us,
        value: match row.result {
            Value::Number(number) => message::Value::Number(number),
            Value::Boolean(boolean) => message::Value::Boolean(boolean),
            Value::Text(text) => message::Value::Text(text.to_owned()),
            Value::Null => message::Value::Null,
        },
        unit: row.unit.unwrap_or_default().to_owned(),
        status: row.status.unwrap_or_default().to_owned(),
        period_s: row.period_s.unwrap_or(0),
        revision: row.revision,
        seq: row.seq,
    }
}

/// What the figures below it are of.
fn basis(runs: u64) -> String {
    let text = match runs {
        0 | 1 => "All figures are of this run, the first one of its directory.".to_owned(),
        runs => format!("All figures are of all {runs} runs of this directory together."),
    };
    format!("\n{}", wrapped(&text, ""))
}

/// `= name   1,234`, where the sign is said.
fn line(out: &mut String, sign: &str, name: &str, count: u64, remark: &str) {
    let text = format!("  {sign:<1} {name:<22}{:>14}   {remark}", grouped(count));
    let _ = writeln!(out, "{}", text.trim_end());
}

/// sent = acknowledged + …, received = decoded + ….
fn messages(ledger: &Ledger, report: &Report) -> String {
    let messages = &ledger.messages;
    let mut out = "\nMessages\n".to_owned();
    let unacked = report.messages_sent.saturating_sub(report.messages_acked);
    line(&mut out, "", "sent", report.messages_sent, "by the stations");
    line(&mut out, "=", "acknowledged", report.messages_acked, "on disk before that was said");
    line(&mut out, "+", "not acknowledged", unacked, "still on their way when a run ended");
    out.push('\n');
    line(&mut out, "", "received", messages.received, "by the gateway");
    line(&mut out, "=", "decoded", messages.decoded, "every reading became a row");
    line(&mut out, "+", "partial", messages.partial, "some of their readings did");
    line(&mut out, "+", "quarantined", messages.quarantined, "unreadable; kept with the reason");
    line(&mut out, "+", "ignored", messages.ignored, "on other topics");
    line(&mut out, "+", "pending", messages.pending, "not looked at yet");
    let more = messages.received.saturating_sub(report.messages_acked);
    if more > 0 {
        let text = format!(
            "{} more received than acknowledged: sent again after a lost connection, sent by other clients, or received when \
             the acknowledgement could not be delivered.",
            counted(more, "message")
        );
        out.push_str(&wrapped(&text, "    "));
        out.push('\n');
    }
    out
}

/// total = inserted + ….
fn observations(ledger: &Ledger) -> String {
    let observations = &ledger.observations;
    let mut out = "Observations\n".to_owned();
    line(&mut out, "", "total", observations.total, "readings in those messages");
    line(&mut out, "=", "inserted", observations.inserted, "new rows");
    line(&mut out, "+", "corrected", observations.corrected, "new revisions of known rows");
    line(&mut out, "+", "outranked", observations.outranked, "a better source has the row");
    line(&mut out, "+", "duplicate", observations.duplicate, "known already, not stored again");
    line(&mut out, "+", "unresolved", observations.unresolved, "not compared with the store yet");
    line(&mut out, "+", "quarantined", observations.quarantined, "unreadable; kept with the reason");
    out
}

/// What `verify` found, in plain words.
fn comparison(report: &Report) -> String {
    let mut out = "Sent and acknowledged readings against the rows of the store (verify)\n".to_owned();
    line(&mut out, "", "rows required", report.rows_required, "acknowledged, repetitions left out");
    line(&mut out, "", "rows compared", report.rows_compared, "of the demo's stations");
    let mut found = |name: &str, finding: &Finding, remark: &str| {
        line(&mut out, "", name, finding.count, remark);
        for example in &finding.examples {
            out.push_str(&cut(&format!("      {example}")));
            out.push('\n');
        }
    };
    found("lost", &report.lost, "acknowledged, but not in the store");
    found("doubled", &report.doubled, "more often in the store than sent");
    found("altered", &report.altered, "not as they were sent");
    found("unexpected", &report.unexpected, "in the store, but never sent");
    out
}

/// What does not add up in the books of a gateway that has ended in order.
fn imbalances(ledger: &Ledger, report: &Report) -> Vec<String> {
    let messages = &ledger.messages;
    let observations = &ledger.observations;
    let messages_sum =
        messages.decoded + messages.partial + messages.quarantined + messages.ignored + messages.pending;
    let observations_sum = observations.inserted
        + observations.corrected
        + observations.outranked
        + observations.duplicate
        + observations.unresolved
        + observations.quarantined;
    let stored = observations.inserted + observations.corrected;
    let flushed = observations.flushed.unwrap_or(0);
    let acked = report.messages_acked;
    let mut wrong = Vec::new();
    let mut check = |is_fine: bool, sentence: String| {
        if !is_fine {
            wrong.push(sentence);
        }
    };
    check(
        messages_sum == messages.received,
        format!("messages sum to {messages_sum}, received were {}", messages.received),
    );
    check(
        observations_sum == observations.total,
        format!("observations sum to {observations_sum}, their total is {}", observations.total),
    );
    check(
        acked <= messages.received,
        format!("{acked} messages were acknowledged, but only {} received", messages.received),
    );
    let left = |count: u64, one: &str, many: &str| {
        if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
    };
    let pending = left(messages.pending, "message is pending", "messages are pending");
    check(messages.pending == 0, pending);
    let unresolved =
        left(observations.unresolved, "observation is unresolved", "observations are unresolved");
    check(observations.unresolved == 0, unresolved);
    check(flushed == stored, format!("{stored} observations were stored, but {flushed} are in files"));
    wrong
}

#[cfg(test)]
mod tests {
    use super::super::words::COLUMNS_MAX;
    use super::*;
    use crate::books::{MessageLedger, ObservationLedger, SettledLedger};

    fn balanced() -> (Ledger, Report) {
        let ledger = Ledger {
            lost: Some(0),
            expired: Some(0),
            durable: 10,
            processed: 10,
            messages: MessageLedger {
                received: 10,
                decoded: 7,
                partial: 1,
                quarantined: 1,
                ignored: 1,
                pending: 0,
            },
            observations: ObservationLedger {
                total: 15,
                inserted: 9,
                corrected: 2,
                outranked: 1,
                duplicate: 2,
                unresolved: 0,
                quarantined: 1,
                flushed: Some(11),
            },
            settled: SettledLedger::default(),
        };
        let report = Report { messages_sent: 11, messages_acked: 9, rows_required: 11, ..Report::default() };
        (ledger, report)
    }

    fn judged(report: &Report, wrong: Vec<String>) -> (String, Result<(), Failure>) {
        let mut out = Vec::new();
        let result = judge(report, wrong, &mut Screen::new(&mut out, false));
        (String::from_utf8(out).expect("text"), result)
    }

    #[test]
    fn each_line_that_does_not_add_up_is_told() {
        let (ledger, report) = balanced();
        assert_eq!(imbalances(&ledger, &report), [""; 0]);
        let told = |change: fn(&mut Ledger)| {
            let (mut ledger, report) = balanced();
            change(&mut ledger);
            imbalances(&ledger, &report).join("; ")
        };
        assert_eq!(told(|ledger| ledger.messages.decoded = 6), "messages sum to 9, received were 10");
        assert_eq!(
            told(|ledger| ledger.observations.duplicate = 3),
            "observations sum to 16, their total is 15"
        );
        assert_eq!(
            told(|ledger| ledger.observations.flushed = None),
            "11 observations were stored, but 0 are in files"
        );
        let pending = |ledger: &mut Ledger| {
            ledger.messages.pending = 1;
            ledger.messages.decoded = 6;
        };
        assert_eq!(told(pending), "1 message is pending");
        let lost = |ledger: &mut Ledger| {
            ledger.messages.received = 8;
            ledger.messages.decoded = 5;
        };
        assert_eq!(told(lost), "9 messages were acknowledged, but only 8 received");
    }

    #[test]
    fn the_tables_are_aligned_and_fit_a_terminal_of_80_columns() {
        let (mut ledger, mut report) = balanced();
        ledger.messages.received = 1_234_567_890;
        report.lost = Finding { count: 1, examples: vec!["an example ".repeat(20)] };
        let text = messages(&ledger, &report) + &observations(&ledger) + &comparison(&report) + &basis(3);
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS_MAX, "{line}");
        }
        let numbers_end = |name: &str| {
            let line = text.lines().find(|line| line.contains(name)).expect("in a table");
            line.find(|character: char| character.is_ascii_digit())
                .map(|start| line[start..].find(' ').unwrap_or(line.len() - start) + start)
        };
        assert_eq!(numbers_end("= decoded"), numbers_end("  received"));
        assert_eq!(numbers_end("= decoded"), numbers_end("+ duplicate"));
        assert!(text.contains("1,234,567,881 messages more received"), "{text}");
        assert!(text.contains("all 3 runs"), "{text}");
    }

    #[test]
    fn an_empty_proof_is_no_success() {
        let (out, result) = judged(&Report::default(), vec![]);
        let failure = result.expect_err("nothing was compared");
        assert_eq!(failure.exit, Exit::CheckFailed);
        assert!(failure.sentence.starts_with("Nothing is proved"), "{failure}");
        assert!(!out.contains("Proved"), "{out}");
    }

    #[test]
    fn each_kind_of_finding_fails_the_demo() {
        let (_, fine) = balanced();
        let (out, result) = judged(&fine, vec![]);
        assert_eq!(result, Ok(()));
        assert!(out.contains("nothing lost"), "{out}");
        let found = Finding { count: 2, examples: vec![] };
        for (name, report) in [
            ("lost", Report { lost: found.clone(), ..fine.clone() }),
            ("doubled", Report { doubled: found.clone(), ..fine.clone() }),
            ("altered", Report { altered: found.clone(), ..fine.clone() }),
            ("unexpected", Report { unexpected: found.clone(), ..fine.clone() }),
        ] {
            let failure = judged(&report, vec![]).1.expect_err("something was found");
            assert_eq!(failure.exit, Exit::CheckFailed);
            assert!(failure.sentence.contains(&format!("2 readings {name}")), "{failure}");
        }
        assert!(judged(&fine, vec!["books".to_owned()]).1.is_err());
    }
}

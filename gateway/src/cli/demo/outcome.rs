//! The end of the demo: the store is opened anew, as after any restart, and answers for itself.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use codecs::payload::Value;
use firmware_sim::ledger::Reader;
use firmware_sim::message;
use firmware_sim::verify::{Comparison, Report, Revisions, Row, VerifyError};

use super::screen::{Screen, grouped};
use crate::books::{Ledger, LedgerFilter};
use crate::cli::{Backend, Exit, Failure};
use crate::config::Config;
use crate::query::{GatewayView, ObservationQuery, ObservationRow};

/// Prints the books and what the comparison found; fails with [`Exit::CheckFailed`] where something is wrong.
pub(super) fn show(
    config: Arc<Config>,
    backend: &dyn Backend,
    truth: &Path,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    screen.say("The gateway has ended. Its data are opened anew and compared with what was sent.");
    let view = backend.open_offline(config)?;
    let ledger = view
        .ledger(&LedgerFilter::default())
        .map_err(|error| Failure::environment(format!("the books: {error}")))?;
    let report = verify(view.as_ref(), truth)?;
    screen.say(&books(&ledger, &report));
    screen.say("Every reading that was sent against the rows of the store:");
    screen.say(&report.to_string());

    let mut wrong = imbalances(&ledger, &report);
    if wrong.is_empty() {
        screen.say("books: balanced");
    } else {
        wrong.iter().for_each(|sentence| screen.say(&format!("books: {sentence}")));
    }
    if !report.is_clean() {
        wrong.push("readings and rows differ".to_owned());
    }
    if report.unexpected.count > 0 {
        screen.say(
            "Rows that were never sent are there when another client publishes for the demo's stations.",
        );
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(Exit::CheckFailed, format!("the demo found something wrong: {}", wrong.join("; "))))
    }
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

/// Two tables; what is indented sums to the line above it.
fn books(ledger: &Ledger, report: &Report) -> String {
    let messages = &ledger.messages;
    let observations = &ledger.observations;
    let lines = [
        ("\nMessages", None),
        ("  sent by the devices", Some(report.messages_sent)),
        ("  acknowledged", Some(report.messages_acked)),
        ("  received", Some(messages.received)),
        ("    decoded", Some(messages.decoded)),
        ("    partial", Some(messages.partial)),
        ("    quarantined", Some(messages.quarantined)),
        ("    ignored", Some(messages.ignored)),
        ("    pending", Some(messages.pending)),
        ("Observations", None),
        ("  total", Some(observations.total)),
        ("    inserted", Some(observations.inserted)),
        ("    corrected", Some(observations.corrected)),
        ("    outranked", Some(observations.outranked)),
        ("    duplicate", Some(observations.duplicate)),
        ("    unresolved", Some(observations.unresolved)),
        ("    quarantined", Some(observations.quarantined)),
        ("  flushed", observations.flushed),
    ];
    let mut out = String::new();
    for (name, count) in lines {
        let count = count.map_or(String::new(), grouped);
        out += format!("{name:<24}{count:>14}").trim_end();
        out.push('\n');
    }
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
    check(messages.pending == 0, format!("{} messages are pending", messages.pending));
    check(observations.unresolved == 0, format!("{} observations are unresolved", observations.unresolved));
    check(flushed == stored, format!("{stored} observations were stored, {flushed} flushed"));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::{MessageLedger, ObservationLedger};

    fn balanced() -> (Ledger, Report) {
        let ledger = Ledger {
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
        };
        (ledger, Report { messages_sent: 11, messages_acked: 9, ..Report::default() })
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
            "11 observations were stored, 0 flushed"
        );
        let pending = |ledger: &mut Ledger| {
            ledger.messages.pending = 1;
            ledger.messages.decoded = 6;
        };
        assert_eq!(told(pending), "1 messages are pending");
        let lost = |ledger: &mut Ledger| {
            ledger.messages.received = 8;
            ledger.messages.decoded = 5;
        };
        assert_eq!(told(lost), "9 messages were acknowledged, but only 8 received");
    }
}

//! One answer for every door.

use std::io::{self, Write};
use std::ops::ControlFlow;

use codecs::time::format_rfc3339;

use super::quarantine;
use super::render::{CellTable, RowWriter, printable};
use super::{DatastreamInfo, Format, GatewayView, QueryError, Request};
use crate::books::Ledger;

/// Where an answer goes.
pub trait Output: Write {
    /// Something beside the answer that the one who asks should know: how far it is, or that there is more.
    fn note(&mut self, sentence: &str) -> io::Result<()>;
}

/// For those who take the answer alone.
#[derive(Debug)]
pub struct Quiet<W>(pub W);

impl<W: Write> Write for Quiet<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Output for Quiet<W> {
    fn note(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

/// Asks `view` and writes the whole answer, which ends with a line feed.
pub fn answer(view: &dyn GatewayView, request: &Request, out: &mut dyn Output) -> Result<(), QueryError> {
    match request {
        Request::Observations(query, format) => {
            let mut rows = RowWriter::new(*format, out);
            let mut written = Ok(());
            view.observations(query, &mut |row| {
                written = rows.row(row);
                if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            written?;
            rows.finish()?;
        }
        Request::Ledger(filter, format) => write_ledger(&view.ledger(filter)?, *format, out)?,
        Request::Datastreams(filter, format) => write_datastreams(&view.datastreams(filter)?, *format, out)?,
        Request::QuarantineList(filter, format) => quarantine::list(view, filter, *format, out)?,
        Request::QuarantineShow(position, format) => {
            quarantine::write_items(*position, &view.quarantine_show(*position)?, *format, out)?;
        }
        Request::QuarantineExport(filter, format) => quarantine::export(view, filter, *format, out)?,
        Request::QuarantineSettle(request, format) => quarantine::settle(view, request, *format, out)?,
    }
    Ok(())
}

pub(super) fn write_json(value: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

fn write_ledger(ledger: &Ledger, format: Format, out: &mut dyn Write) -> io::Result<()> {
    if format != Format::Table {
        return write_json(ledger, out);
    }
    let messages = &ledger.messages;
    let observations = &ledger.observations;
    writeln!(out, "durable {}, processed {}", ledger.durable, ledger.processed)?;
    if let Some(lost) = ledger.lost.filter(|lost| *lost > 0) {
        writeln!(
            out,
            "lost messages: {lost} (they were missing in the journal, which run --accept-gap accepted)"
        )?;
    }
    if let Some(expired) = ledger.expired.filter(|expired| *expired > 0) {
        writeln!(out, "{expired} of the stored observations have expired and are removed")?;
    }
    for (title, lines) in [
        (
            "messages",
            vec![
                ("received", Some(messages.received)),
                ("decoded", Some(messages.decoded)),
                ("partial", Some(messages.partial)),
                ("quarantined", Some(messages.quarantined)),
                ("ignored", Some(messages.ignored)),
                ("pending", Some(messages.pending)),
            ],
        ),
        (
            "observations",
            vec![
                ("total", Some(observations.total)),
                ("inserted", Some(observations.inserted)),
                ("corrected", Some(observations.corrected)),
                ("outranked", Some(observations.outranked)),
                ("duplicate", Some(observations.duplicate)),
                ("unresolved", Some(observations.unresolved)),
                ("quarantined", Some(observations.quarantined)),
                ("flushed", observations.flushed),
            ],
        ),
        (
            "settled",
            vec![
                ("messages", Some(ledger.settled.messages)),
                ("readings", Some(ledger.settled.readings)),
                ("erased messages", Some(ledger.settled.erased_messages)),
                ("erased readings", Some(ledger.settled.erased_readings)),
            ],
        ),
    ] {
        writeln!(out, "\n{title}")?;
        for (name, count) in lines {
            match count {
                Some(count) => writeln!(out, "  {name:<16} {count:>16}")?,
                None => writeln!(out, "  {name:<16} {:>16}", "-")?,
            }
        }
    }
    Ok(())
}

/// Datastreams as they are listed.
pub fn write_datastreams(
    datastreams: &[DatastreamInfo],
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    if format != Format::Table {
        return write_json(&datastreams, out);
    }
    let mut table = CellTable::new(&["datastream", "period_s", "domain", "unit", "phenomenon_time"]);
    for datastream in datastreams {
        let cells = vec![
            printable(&datastream.datastream),
            datastream.period_s.map_or(String::new(), |period| period.to_string()),
            printable(&datastream.domain),
            printable(datastream.unit.as_deref().unwrap_or_default()),
            datastream.phenomenon_time_us.map_or(String::new(), format_rfc3339),
        ];
        table.row(cells, out)?;
    }
    table.finish(out)
}

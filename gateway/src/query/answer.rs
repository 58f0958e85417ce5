//! One answer for every door.

use std::io::{self, Write};
use std::ops::ControlFlow;

use codecs::time::format_rfc3339;
use serde_json::json;

use super::render::{CellTable, RowWriter, printable, write_csv_line};
use super::{DatastreamInfo, Format, GatewayView, QueryError, Request};
use crate::books::Ledger;
use crate::catalogue::{QuarantineEntry, QuarantineItem};

const QUARANTINE_COLUMNS: [&str; 10] = [
    "position",
    "receive_time",
    "agency",
    "client",
    "topic",
    "reason",
    "offset",
    "readings",
    "payload_bytes",
    "sentence",
];

/// Asks `view` and writes the whole answer, which ends with a line feed.
pub fn answer(view: &dyn GatewayView, request: &Request, out: &mut dyn Write) -> Result<(), QueryError> {
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
        Request::QuarantineList(filter, format) => {
            write_quarantine_list(&view.quarantine_list(filter)?, *format, out)?;
        }
        Request::QuarantineShow(position, format) => {
            write_quarantine_items(*position, &view.quarantine_show(*position)?, *format, out)?;
        }
    }
    Ok(())
}

fn write_json(value: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
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
            "{lost} messages are lost: they were missing in the journal, which run --accept-gap accepted"
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
    ] {
        writeln!(out, "\n{title}")?;
        for (name, count) in lines {
            match count {
                Some(count) => writeln!(out, "  {name:<12} {count:>16}")?,
                None => writeln!(out, "  {name:<12} {:>16}", "-")?,
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

/// An entry as it is listed.
pub fn quarantine_json(entry: &QuarantineEntry) -> serde_json::Map<String, serde_json::Value> {
    let values = [
        json!(entry.position),
        json!(format_rfc3339(entry.receive_time_us)),
        json!(entry.agency),
        json!(entry.client),
        json!(entry.topic),
        json!(entry.reason),
        json!(entry.offset),
        json!(entry.readings),
        json!(entry.payload_bytes),
        json!(entry.sentence),
    ];
    QUARANTINE_COLUMNS.iter().map(|column| (*column).to_owned()).zip(values).collect()
}

fn quarantine_cells(entry: &QuarantineEntry) -> Vec<String> {
    vec![
        entry.position.to_string(),
        format_rfc3339(entry.receive_time_us),
        entry.agency.clone(),
        entry.client.clone(),
        entry.topic.clone(),
        entry.reason.clone(),
        entry.offset.to_string(),
        entry.readings.to_string(),
        entry.payload_bytes.to_string(),
        entry.sentence.clone(),
    ]
}

fn write_quarantine_list(entries: &[QuarantineEntry], format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => write_json(&entries.iter().map(quarantine_json).collect::<Vec<_>>(), out),
        Format::Ndjson => entries.iter().try_for_each(|entry| write_json(&quarantine_json(entry), out)),
        Format::Csv => {
            writeln!(out, "{}", QUARANTINE_COLUMNS.join(","))?;
            entries.iter().try_for_each(|entry| write_csv_line(&quarantine_cells(entry), out))
        }
        Format::Table => {
            let mut table = CellTable::new(&QUARANTINE_COLUMNS);
            for entry in entries {
                table.row(quarantine_cells(entry).iter().map(|cell| printable(cell)).collect(), out)?;
            }
            table.finish(out)
        }
    }
}

fn write_quarantine_items(
    position: u64,
    items: &[QuarantineItem],
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    if format != Format::Table {
        let objects: Vec<_> = items
            .iter()
            .map(|item| {
                let mut object = quarantine_json(&item.entry);
                match std::str::from_utf8(&item.payload) {
                    Ok(text) => object.insert("payload".to_owned(), json!(text)),
                    Err(_) => object.insert("payload_hex".to_owned(), json!(hex(&item.payload))),
                };
                object
            })
            .collect();
        return write_json(&objects, out);
    }
    if items.is_empty() {
        return writeln!(out, "nothing of message {position} is in quarantine");
    }
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        for (column, cell) in QUARANTINE_COLUMNS.iter().zip(quarantine_cells(&item.entry)) {
            writeln!(out, "{column:<14} {}", printable(&cell))?;
        }
        match std::str::from_utf8(&item.payload) {
            Ok(text) => writeln!(out, "{:<14} {}", "payload", printable(text))?,
            Err(_) => writeln!(out, "{:<14} {}", "payload_hex", hex(&item.payload))?,
        }
    }
    Ok(())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

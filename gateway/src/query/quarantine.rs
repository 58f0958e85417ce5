//! The quarantine as it is listed, shown, exported and settled.

use std::io::{self, Write};
use std::ops::ControlFlow;

use codecs::time::format_rfc3339;
use serde_json::json;

use super::answer::{Output, write_json};
use super::render::{CellTable, printable, write_csv_line};
use super::{Format, GatewayView, QueryError};
use crate::catalogue::{QuarantineEntry, QuarantineFilter, QuarantineItem};
use crate::settle::{Change, SettleReport, SettleRequest};

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

/// Entries, newest first, and whether there are more.
pub(super) fn list(
    view: &dyn GatewayView,
    filter: &QuarantineFilter,
    format: Format,
    out: &mut dyn Output,
) -> Result<(), QueryError> {
    let one_more = QuarantineFilter { limit: filter.limit + 1, ..filter.clone() };
    let mut entries = view.quarantine_list(&one_more)?;
    let more = entries.len() > filter.limit;
    entries.truncate(filter.limit);
    write_quarantine_list(&entries, format, out)?;
    if more {
        out.note(&format!(
            "these are the newest {}, and there are more: narrow it, raise --limit, or take `quarantine export`",
            entries.len()
        ))?;
    }
    Ok(())
}

/// Columns of an export behind those of a list.
const EXPORT_COLUMNS: [&str; 2] = ["payload_hex", "payload_text"];

/// Everything that a filter means, oldest first: one line each, with the payload in hex (its exact bytes) and as text where it is
/// one.
pub(super) fn export(
    view: &dyn GatewayView,
    filter: &QuarantineFilter,
    format: Format,
    out: &mut dyn Output,
) -> Result<(), QueryError> {
    if format == Format::Csv {
        writeln!(out, "{},{}", QUARANTINE_COLUMNS.join(","), EXPORT_COLUMNS.join(","))?;
    }
    let mut exported = 0_u64;
    view.quarantine_export(filter, &mut |item| {
        exported += 1;
        let text = std::str::from_utf8(&item.payload).ok();
        match format {
            Format::Csv => {
                let mut cells = quarantine_cells(&item.entry);
                cells.push(hex(&item.payload));
                cells.push(text.unwrap_or_default().to_owned());
                write_csv_line(&cells, out)?;
            }
            _ => {
                let mut object = quarantine_json(&item.entry);
                object.insert(EXPORT_COLUMNS[0].to_owned(), json!(hex(&item.payload)));
                object.insert(EXPORT_COLUMNS[1].to_owned(), json!(text));
                write_json(&object, out)?;
            }
        }
        Ok(())
    })?;
    Ok(out.note(&entries(exported))?)
}

fn entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

/// Replays or erases, tells how far it is, and sums up.
pub(super) fn settle(
    view: &dyn GatewayView,
    request: &SettleRequest,
    format: Format,
    out: &mut dyn Output,
) -> Result<(), QueryError> {
    let mut told = Ok(());
    let report = view.settle(request, &mut |report| {
        told = out.note(&format!("{} looked at", entries(report.looked_at)));
        if told.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    told?;
    Ok(write_report(&report?, request.change, format, out)?)
}

fn write_report(
    report: &SettleReport,
    change: Change,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    if format != Format::Table {
        return write_json(report, out);
    }
    if report.dry_run {
        writeln!(out, "dry run: nothing is changed")?;
    }
    let mut lines = vec![("looked at", report.looked_at)];
    match change {
        Change::Replay => lines.extend([
            ("decoded", report.decoded),
            ("partly decoded", report.partial),
            ("still refused", report.refused),
            ("readings", report.readings),
        ]),
        Change::Erase => lines.push(("erased", report.erased)),
    }
    if report.impossible > 0 {
        lines.push(("not possible", report.impossible));
    }
    for (name, count) in lines {
        writeln!(out, "{name:<16} {count:>12}")?;
    }
    if !report.reasons.is_empty() {
        writeln!(out, "\nwhat stays, by reason")?;
        for (reason, count) in &report.reasons {
            writeln!(out, "  {:<24} {count:>12}", printable(reason))?;
        }
    }
    if report.impossible > 0 {
        writeln!(out, "\nnot possible: they no longer fit into journal.frame_bytes_max")?;
    }
    Ok(())
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

pub(super) fn write_items(
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

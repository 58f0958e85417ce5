//! What is asked of a gateway: rows, books, quarantine, as anybody may ask through HTTP or the command line.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use codecs::payload::Value;
use gateway::books::{Ledger, LedgerFilter};
use gateway::catalogue::{Catalogue, MemoryCatalogue, QUARANTINE_LIST_MAX, QuarantineFilter};
use gateway::query::{GatewayView, ObservationQuery, QueryError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowSeen {
    pub(super) datastream: String,
    pub(super) time_us: i64,
    pub(super) revision: u32,
    pub(super) position: u64,
    pub(super) result_time_us: i64,
    /// Value, unit and status.
    pub(super) content: String,
    pub(super) seq: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QuarantineSeen {
    pub(super) position: u64,
    pub(super) ordinal: u32,
    pub(super) reason: String,
    pub(super) topic: String,
    pub(super) client: String,
    pub(super) payload: Vec<u8>,
}

/// The answers of one moment.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// All revisions, in the order of the query.
    pub(super) rows: Vec<RowSeen>,
    pub(super) in_force: Vec<RowSeen>,
    pub(super) ledger: Ledger,
    pub(super) clients: BTreeMap<String, Ledger>,
    pub(super) quarantine: Vec<QuarantineSeen>,
    /// By client, as the share of it counts them.
    pub(super) quarantine_bytes: BTreeMap<String, u64>,
    pub(super) closed_hours: BTreeMap<i64, String>,
    /// Of the files that the catalogue names.
    pub(super) rows_in_files: u64,
}

impl Asked {
    /// Rows and sums only.
    pub(super) fn in_between(view: &dyn GatewayView) -> Result<Self, QueryError> {
        Ok(Self {
            rows: rows(view, true)?,
            in_force: rows(view, false)?,
            ledger: view.ledger(&LedgerFilter::default())?,
            clients: BTreeMap::new(),
            quarantine: Vec::new(),
            quarantine_bytes: BTreeMap::new(),
            closed_hours: BTreeMap::new(),
            rows_in_files: 0,
        })
    }

    /// Everything; the books of `clients` one by one.
    pub(super) fn all(
        view: &Arc<dyn GatewayView>,
        catalogue: &MemoryCatalogue,
        clients: &[String],
    ) -> Result<Self, QueryError> {
        let mut asked = Self::in_between(&**view)?;
        let files = catalogue.clone().load().map(|snapshot| snapshot.files).unwrap_or_default();
        asked.rows_in_files = files.iter().map(|file| file.row_count).sum();
        for client in clients {
            let filter = LedgerFilter { client: Some(client.clone()), ..LedgerFilter::default() };
            asked.clients.insert(client.clone(), view.ledger(&filter)?);
        }
        let filter = QuarantineFilter { limit: QUARANTINE_LIST_MAX, ..QuarantineFilter::default() };
        for entry in view.quarantine_list(&filter)? {
            *asked.quarantine_bytes.entry(entry.client.clone()).or_default() += entry.bytes();
            let items = view.quarantine_show(entry.position)?;
            let item = items.into_iter().find(|item| item.entry.ordinal == entry.ordinal);
            asked.quarantine.push(QuarantineSeen {
                position: entry.position,
                ordinal: entry.ordinal,
                reason: entry.reason,
                topic: entry.topic,
                client: entry.client,
                payload: item.map(|item| item.payload).unwrap_or_default(),
            });
        }
        let hours = catalogue.history().and_then(|mut history| history.book_hours(i64::MIN, usize::MAX));
        for hour in hours.unwrap_or_default() {
            if let Some(digest) = hour.digest {
                asked.closed_hours.insert(hour.hour, format!("{digest:?}"));
            }
        }
        Ok(asked)
    }
}

fn rows(view: &dyn GatewayView, revisions: bool) -> Result<Vec<RowSeen>, QueryError> {
    let mut rows = Vec::new();
    view.observations(&ObservationQuery { revisions, ..ObservationQuery::default() }, &mut |row| {
        rows.push(RowSeen {
            datastream: row.datastream.to_owned(),
            time_us: row.phenomenon_time_us,
            revision: row.revision,
            position: row.position,
            result_time_us: row.result_time_us,
            content: content(
                &match row.result {
                    Value::Number(number) => number.to_string(),
                    Value::Boolean(value) => value.to_string(),
                    Value::Text(text) => format!("{text:?}"),
                    Value::Null => "null".to_owned(),
                },
                row.unit,
                row.status,
            ),
            seq: row.seq,
        });
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

/// A reading's content as the model writes it.
pub(super) fn content(value: &str, unit: Option<&str>, status: Option<&str>) -> String {
    format!("{value} {} {}", unit.unwrap_or("-"), status.unwrap_or("-"))
}

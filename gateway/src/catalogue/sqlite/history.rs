//! Queries over what is committed, on a connection of their own.

use std::path::PathBuf;

use rusqlite::{Connection, Row, params};

use super::load::number;
use crate::catalogue::{
    BookCounts, BookHour, BookKey, BookQuery, BookRow, CatalogueError, History, QuarantineEntry,
    QuarantineFilter, QuarantineItem, QuarantineTotals,
};

#[derive(Debug)]
pub(super) struct SqliteHistory {
    connection: Connection,
    path: PathBuf,
}

impl SqliteHistory {
    pub(super) fn new(connection: Connection, path: PathBuf) -> Self {
        Self { connection, path }
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, CatalogueError> {
        read(&self.connection).map_err(|error| CatalogueError::of_sqlite(&self.path, error))
    }
}

impl History for SqliteHistory {
    fn book_sums(&mut self, query: &BookQuery) -> Result<BookCounts, CatalogueError> {
        self.read(|connection| book_sums(connection, query))
    }

    fn book_hours(&mut self, from_hour: i64, limit: usize) -> Result<Vec<BookHour>, CatalogueError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(|connection| {
            connection
                .prepare_cached("SELECT * FROM book_hours WHERE hour >= ? ORDER BY hour LIMIT ?")?
                .query_map([from_hour, limit], book_hour)?
                .collect()
        })
    }

    fn book_rows(&mut self, hour: i64) -> Result<Vec<BookRow>, CatalogueError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT * FROM book_rows WHERE hour = ? ORDER BY agency, client, station")?
                .query_map([hour], book_row)?
                .collect()
        })
    }

    fn quarantine_list(&mut self, filter: &QuarantineFilter) -> Result<Vec<QuarantineEntry>, CatalogueError> {
        self.read(|connection| quarantine_list(connection, filter))
    }

    fn quarantine_show(&mut self, position: u64) -> Result<Vec<QuarantineItem>, CatalogueError> {
        let Ok(position) = i64::try_from(position) else { return Ok(Vec::new()) };
        self.read(|connection| {
            connection
                .prepare_cached("SELECT * FROM quarantine WHERE position = ? ORDER BY ordinal")?
                .query_map([position], |row| {
                    Ok(QuarantineItem { entry: quarantine_entry(row)?, payload: row.get(12)? })
                })?
                .collect()
        })
    }

    fn quarantine_totals(&mut self) -> Result<QuarantineTotals, CatalogueError> {
        self.read(quarantine_totals)
    }
}

fn book_sums(connection: &Connection, query: &BookQuery) -> rusqlite::Result<BookCounts> {
    // Numbers only, so the text is safe; absent conditions must not stand in the way of the key.
    let mut conditions = vec![
        format!("hour >= {}", query.from_hour.unwrap_or(i64::MIN)),
        format!("hour < {}", query.to_hour.unwrap_or(i64::MAX)),
    ];
    if let Some(agency) = query.agency {
        conditions.push(format!("agency = {agency}"));
    }
    if let Some(client) = query.client {
        conditions.push(format!("client = {client}"));
    }
    if let Some(stations) = &query.stations {
        let stations: Vec<String> = stations.iter().map(u32::to_string).collect();
        conditions.push(format!("station IN ({})", stations.join(", ")));
    }
    let sql = format!(
        "SELECT sum(decoded), sum(partial), sum(quarantined_messages), sum(ignored), sum(inserted), sum(corrected), \
         sum(outranked), sum(duplicate), sum(unresolved), sum(quarantined_readings), count(*) FROM book_rows WHERE {}",
        conditions.join(" AND ")
    );
    connection.query_row(&sql, [], |row| {
        if row.get::<_, i64>(10)? == 0 { Ok(BookCounts::default()) } else { counts(row, 0) }
    })
}

fn quarantine_list(
    connection: &Connection,
    filter: &QuarantineFilter,
) -> rusqlite::Result<Vec<QuarantineEntry>> {
    let mut statement = connection.prepare_cached(
        "SELECT position, ordinal, receive_time_us, byte_offset, readings, reason, sentence, topic, client, agency, \
         payload_bytes FROM quarantine WHERE (?1 IS NULL OR reason = ?1) AND (?2 IS NULL OR client = ?2) \
         AND (?3 IS NULL OR agency = ?3) AND (?4 IS NULL OR receive_time_us >= ?4) \
         AND (?5 IS NULL OR receive_time_us < ?5) AND (position, ordinal) < (?6, ?7) ORDER BY position DESC, ordinal DESC",
    )?;
    // A range of the key, so that a late page is found as quickly as the first.
    let (position, ordinal) = filter.before.unwrap_or((u64::MAX, u32::MAX));
    let position = i64::try_from(position).unwrap_or(i64::MAX);
    let values =
        params![filter.reason, filter.client, filter.agency, filter.from_us, filter.to_us, position, ordinal];
    let mut entries = Vec::new();
    let mut rows = statement.query(values)?;
    while entries.len() < filter.limit() {
        let Some(row) = rows.next()? else { break };
        let entry = quarantine_entry(row)?;
        if filter.includes_topic(&entry.topic) {
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn quarantine_entry(row: &Row<'_>) -> rusqlite::Result<QuarantineEntry> {
    Ok(QuarantineEntry {
        position: number(row, 0)?,
        ordinal: row.get(1)?,
        receive_time_us: row.get(2)?,
        offset: row.get(3)?,
        readings: row.get(4)?,
        reason: row.get(5)?,
        sentence: row.get(6)?,
        topic: row.get(7)?,
        client: row.get(8)?,
        agency: row.get(9)?,
        payload_bytes: row.get(10)?,
    })
}

pub(super) fn quarantine_totals(connection: &Connection) -> rusqlite::Result<QuarantineTotals> {
    connection.query_row("SELECT * FROM quarantine_totals", [], |row| {
        Ok(QuarantineTotals {
            entries: number(row, 1)?,
            bytes: number(row, 2)?,
            dropped_entries: number(row, 3)?,
            dropped_bytes: number(row, 4)?,
        })
    })
}

pub(super) fn book_hour(row: &Row<'_>) -> rusqlite::Result<BookHour> {
    Ok(BookHour {
        hour: row.get(0)?,
        first_message_no: number(row, 1)?,
        next_message_no: number(row, 2)?,
        digest: row.get(4)?,
    })
}

pub(super) fn book_row(row: &Row<'_>) -> rusqlite::Result<BookRow> {
    let key = BookKey { agency: row.get(1)?, client: row.get(2)?, station: row.get(3)? };
    Ok(BookRow { hour: row.get(0)?, key, counts: counts(row, 4)? })
}

/// Ten columns from `first` on.
pub(super) fn counts(row: &Row<'_>, first: usize) -> rusqlite::Result<BookCounts> {
    let mut counts = [0; BookCounts::LEN];
    for (at, count) in counts.iter_mut().enumerate() {
        *count = number(row, first + at)?;
    }
    Ok(BookCounts::from_array(counts))
}

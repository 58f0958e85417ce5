//! Queries over what is committed, on a connection of their own.

use std::path::PathBuf;

use rusqlite::{Connection, Row, params};

use super::load::number;
use super::quarantine;
use crate::catalogue::{
    BookCounts, BookHour, BookKey, BookQuery, BookRow, CatalogueError, History, QuarantineItem,
    QuarantinePage, QuarantineTotals, QuarantineWalk, SettledCounts, SettlementRow,
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

    fn settled_sums(&mut self, query: &BookQuery, frame_no: u64) -> Result<SettledCounts, CatalogueError> {
        self.read(|connection| settled_sums(connection, query, frame_no))
    }

    fn settlements(&mut self, after_no: u64, limit: usize) -> Result<Vec<SettlementRow>, CatalogueError> {
        self.read(|connection| settlements(connection, after_no, limit))
    }

    fn last_settlement_no(&mut self) -> Result<u64, CatalogueError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT coalesce(max(settlement_no), 0) FROM settlements")?
                .query_row([], |row| number(row, 0))
        })
    }

    fn forgotten_to_hour(&mut self) -> Result<Option<i64>, CatalogueError> {
        self.read(|connection| {
            connection.prepare_cached("SELECT anchor_hour FROM removals")?.query_row([], |row| row.get(0))
        })
    }

    fn has_book_row(&mut self, hour: i64, key: &BookKey) -> Result<bool, CatalogueError> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT 1 FROM book_rows WHERE hour = ? AND agency = ? AND client = ? AND station = ?",
                )?
                .exists(params![hour, key.agency, key.client, key.station])
        })
    }

    fn quarantine_page(&mut self, walk: &QuarantineWalk<'_>) -> Result<QuarantinePage, CatalogueError> {
        self.read(|connection| quarantine::page(connection, walk))
    }

    fn quarantine_show(&mut self, position: u64) -> Result<Vec<QuarantineItem>, CatalogueError> {
        self.read(|connection| quarantine::show(connection, position))
    }

    fn quarantine_totals(&mut self) -> Result<QuarantineTotals, CatalogueError> {
        self.read(quarantine_totals)
    }
}

fn book_sums(connection: &Connection, query: &BookQuery) -> rusqlite::Result<BookCounts> {
    let sql = format!(
        "SELECT {}, count(*) FROM book_rows WHERE {}",
        BookCounts::COLUMNS.map(sum_of).join(", "),
        conditions(query)
    );
    connection.query_row(&sql, [], |row| {
        if row.get::<_, i64>(10)? == 0 { Ok(BookCounts::default()) } else { counts(row, 0) }
    })
}

fn sum_of(column: &str) -> String {
    format!("sum({column})")
}

fn settled_sums(
    connection: &Connection,
    query: &BookQuery,
    frame_no: u64,
) -> rusqlite::Result<SettledCounts> {
    let sql = format!(
        "SELECT {}, sum(messages), sum(readings), sum(erased_messages), sum(erased_readings) FROM settled_rows \
         WHERE frame_no <= {} AND hour > coalesce((SELECT anchor_hour FROM removals), -9223372036854775808) AND {}",
        BookCounts::COLUMNS.map(sum_of).join(", "),
        i64::try_from(frame_no).unwrap_or(i64::MAX),
        conditions(query)
    );
    connection.query_row(&sql, [], |row| {
        let mut sums = [0; SettledCounts::LEN];
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum = row.get::<_, Option<i64>>(at)?.unwrap_or(0);
        }
        Ok(SettledCounts::from_array(sums))
    })
}

/// Numbers only, so the text is safe; absent conditions must not stand in the way of the key.
fn conditions(query: &BookQuery) -> String {
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
    conditions.join(" AND ")
}

pub(super) fn settlements(
    connection: &Connection,
    after_no: u64,
    limit: usize,
) -> rusqlite::Result<Vec<SettlementRow>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached("SELECT * FROM settlements WHERE settlement_no > ? ORDER BY settlement_no LIMIT ?")?
        .query_map([after_no as i64, limit], settlement_row)?
        .collect()
}

fn settlement_row(row: &Row<'_>) -> rusqlite::Result<SettlementRow> {
    let key = |first: usize| -> rusqlite::Result<BookKey> {
        Ok(BookKey { agency: row.get(first)?, client: row.get(first + 1)?, station: row.get(first + 2)? })
    };
    Ok(SettlementRow {
        settlement_no: number(row, 0)?,
        record_no: number(row, 1)?,
        settled_us: row.get(2)?,
        position: number(row, 3)?,
        ordinal: row.get(4)?,
        hour: row.get(5)?,
        erased: row.get(6)?,
        from: key(7)?,
        from_outcome: row.get(10)?,
        from_readings: number(row, 11)?,
        to: key(12)?,
        to_outcome: row.get(15)?,
        to_readings: number(row, 16)?,
        rows: number(row, 17)?,
        digest: row.get(18)?,
    })
}

pub(super) fn quarantine_totals(connection: &Connection) -> rusqlite::Result<QuarantineTotals> {
    connection.query_row("SELECT * FROM quarantine_totals", [], |row| {
        Ok(QuarantineTotals { entries: number(row, 1)?, bytes: number(row, 2)? })
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

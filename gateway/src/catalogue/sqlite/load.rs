//! Reading the whole snapshot.

use rusqlite::{Connection, OptionalExtension, Row};

use super::check::BookRemovals;
use super::history::{book_hour, book_row, counts, quarantine_totals};
use crate::catalogue::{
    BookTotals, BooksSnapshot, Checkpoint, DatastreamState, HourDigest, SettledCounts, Snapshot,
};
use crate::observation::{Definition, ResultKind, RetainedChange};
use crate::store::FileEntry;

pub(super) fn snapshot(connection: &Connection) -> rusqlite::Result<Snapshot> {
    Ok(Snapshot {
        checkpoint: checkpoint(connection)?,
        definitions: definitions(connection)?,
        files: all(connection, "SELECT * FROM files ORDER BY file_no", file)?,
        lost_files: all(connection, "SELECT * FROM lost_files ORDER BY file_no", file)?,
        books: books(connection)?,
        datastream_states: all(
            connection,
            "SELECT * FROM datastream_states ORDER BY datastream",
            datastream_state,
        )?,
        retained: all(connection, "SELECT * FROM retained ORDER BY topic", retained)?,
        resend_marks: entries(connection, "SELECT marks FROM resend_marks")?,
        quarantine: quarantine_totals(connection)?,
        quarantine_of_clients: all(
            connection,
            "SELECT client, SUM(bytes) FROM quarantine GROUP BY client ORDER BY client",
            |row| Ok((row.get(0)?, number(row, 1)?)),
        )?,
    })
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], read)?.collect()
}

pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)? as u64)
}

fn checkpoint(connection: &Connection) -> rusqlite::Result<Checkpoint> {
    let read = |row: &Row<'_>| {
        Ok(Checkpoint {
            observation_frame_no: number(row, 1)?,
            next_obs_no: number(row, 2)?,
            next_record_no: number(row, 3)?,
            next_message_no: number(row, 4)?,
            store: row.get(5)?,
        })
    };
    Ok(connection.query_row("SELECT * FROM checkpoint", [], read).optional()?.unwrap_or_default())
}

fn definitions(connection: &Connection) -> rusqlite::Result<Vec<Definition>> {
    let mut definitions = all(connection, "SELECT * FROM agencies ORDER BY id", |row| {
        Ok(Definition::Agency { id: row.get(0)?, code: row.get(1)? })
    })?;
    definitions.extend(all(connection, "SELECT * FROM clients ORDER BY id", |row| {
        Ok(Definition::Client { id: row.get(0)?, name: row.get(1)? })
    })?);
    definitions.extend(all(connection, "SELECT * FROM symbols ORDER BY id", |row| {
        Ok(Definition::Symbol { id: row.get(0)?, text: row.get(1)? })
    })?);
    definitions.extend(all(connection, "SELECT * FROM stations ORDER BY id", |row| {
        Ok(Definition::Station { id: row.get(0)?, agency: row.get(1)?, code: row.get(2)? })
    })?);
    definitions.extend(all(connection, "SELECT * FROM datastreams ORDER BY id", |row| {
        Ok(Definition::Datastream {
            id: row.get(0)?,
            station: row.get(1)?,
            property: row.get(2)?,
            period_s: row.get(3)?,
            domain: row.get(4)?,
            unit: row.get(5)?,
        })
    })?);
    Ok(definitions)
}

fn file(row: &Row<'_>) -> rusqlite::Result<FileEntry> {
    Ok(FileEntry {
        file_no: number(row, 0)?,
        path: row.get(1)?,
        row_count: number(row, 2)?,
        bytes: number(row, 3)?,
        time_min_us: row.get(4)?,
        time_max_us: row.get(5)?,
        datastream_min: row.get(6)?,
        datastream_max: row.get(7)?,
        crc32c: row.get(8)?,
    })
}

fn books(connection: &Connection) -> rusqlite::Result<BooksSnapshot> {
    let totals = connection
        .query_row("SELECT * FROM book_totals", [], |row| {
            Ok(BookTotals { counts: counts(row, 1)?, flushed: number(row, 11)?, ..BookTotals::default() })
        })
        .optional()?
        .unwrap_or_default();
    let (lost, expired) = connection
        .query_row("SELECT lost, expired FROM removals", [], |row| Ok((number(row, 0)?, number(row, 1)?)))?;
    let mut totals = BookTotals { lost, expired, ..totals };
    let settled: Vec<i64> = entries(connection, "SELECT counts FROM settled_totals")?;
    if let Ok(settled) = settled.try_into() {
        totals.settled = SettledCounts::from_array(settled);
    }
    let last_settlement = connection
        .query_row(
            "SELECT settlement_no, digest FROM settlements ORDER BY settlement_no DESC LIMIT 1",
            [],
            |row| Ok((number(row, 0)?, row.get::<_, HourDigest>(1)?)),
        )
        .optional()?;
    let last_closed = connection
        .query_row("SELECT hour, digest FROM book_hours WHERE closed ORDER BY hour DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get::<_, HourDigest>(1)?))
        })
        .optional()?;
    // Hours close in order, so the open ones lie behind the last closed one.
    let open = last_closed.map_or(i64::MIN, |(hour, _)| hour + 1);
    let behind = |sql: &str| sql.replace('?', &open.to_string());
    Ok(BooksSnapshot {
        totals,
        last_closed,
        hours: all(connection, &behind("SELECT * FROM book_hours WHERE hour >= ? ORDER BY hour"), book_hour)?,
        rows: all(
            connection,
            &behind("SELECT * FROM book_rows WHERE hour >= ? ORDER BY hour, agency, client, station"),
            book_row,
        )?,
        unresolved: entries(connection, "SELECT runs FROM book_unresolved")?,
        settled_unresolved: entries(connection, "SELECT runs FROM settled_unresolved")?,
        last_settlement,
    })
}

/// What retention took out of the books.
pub(super) fn removals(connection: &Connection) -> rusqlite::Result<BookRemovals> {
    connection.query_row("SELECT * FROM removals", [], |row| {
        let anchor = match (row.get(3)?, row.get(4)?) {
            (Some(hour), Some(digest)) => Some((hour, digest)),
            _ => None,
        };
        Ok(BookRemovals { counts: counts(row, 5)?, anchor })
    })
}

fn datastream_state(row: &Row<'_>) -> rusqlite::Result<(u32, DatastreamState)> {
    let state = DatastreamState {
        watermark_us: row.get(1)?,
        kind: ResultKind::from_u8(row.get(2)?),
        value: number(row, 3)?,
        text: row.get(4)?,
        ordinal: row.get(5)?,
        quality: row.get(6)?,
        flags: row.get(7)?,
        unit: row.get(8)?,
        status: row.get(9)?,
        seq_plus_1: number(row, 10)?,
        revision: row.get(11)?,
        position: number(row, 12)?,
        result_time_us: row.get(13)?,
        last_undated_us: row.get(14)?,
        observations: number(row, 15)?,
        rank: row.get(16)?,
    };
    Ok((row.get(0)?, state))
}

fn retained(row: &Row<'_>) -> rusqlite::Result<RetainedChange> {
    Ok(RetainedChange {
        topic: row.get(0)?,
        message_no: number(row, 1)?,
        receive_time_us: row.get(2)?,
        qos: row.get(3)?,
        properties: row.get(4)?,
        payload: row.get(5)?,
    })
}

/// Entries of a fixed size that lie in one blob.
fn entries<T: bytemuck::Pod>(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<T>> {
    let bytes: Option<Vec<u8>> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    let bytes = bytes.unwrap_or_default();
    Ok(bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect())
}

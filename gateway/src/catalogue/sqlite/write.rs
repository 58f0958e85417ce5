//! One commit: every table in one transaction.

use rusqlite::{Connection, OptionalExtension, params};

use super::row_sums::{seal, write_row};
use crate::catalogue::{
    BookCounts, BooksDelta, Commit, DatastreamState, QuarantineChange, QuarantineDelta, RemainingEntry,
    SettledCounts,
};
use crate::observation::{Definition, ResendMark, RetainedChange};
use crate::store::FileEntry;

pub(super) fn commit(connection: &Connection, commit: &Commit) -> rusqlite::Result<()> {
    definitions(connection, &commit.definitions)?;
    let gone: Vec<u64> = commit.files_lost.iter().map(|file| file.file_no).collect();
    remove_files(connection, &commit.files_removed)?;
    remove_files(connection, &gone)?;
    add_files(connection, "files", &commit.files_added)?;
    add_files(connection, "lost_files", &commit.files_lost)?;
    books(connection, &commit.books)?;
    settlements(connection, &commit.books)?;
    if let Some(hour) = commit.forget_books_before {
        forget_books(connection, hour)?;
    }
    datastream_states(connection, &commit.datastream_states)?;
    retained(connection, &commit.retained)?;
    if let Some(marks) = &commit.resend_marks {
        resend_marks(connection, marks)?;
    }
    quarantine(connection, &commit.quarantine)?;
    let checkpoint = &commit.checkpoint;
    connection.prepare_cached(&write_row("INSERT OR REPLACE", "checkpoint", 6))?.execute(params![
        1,
        checkpoint.observation_frame_no as i64,
        checkpoint.next_obs_no as i64,
        checkpoint.next_record_no as i64,
        checkpoint.next_message_no as i64,
        checkpoint.store,
    ])?;
    Ok(())
}

fn definitions(connection: &Connection, definitions: &[Definition]) -> rusqlite::Result<()> {
    for definition in definitions {
        match definition {
            Definition::Agency { id, code } => connection
                .prepare_cached(&write_row("INSERT OR REPLACE", "agencies", 2))?
                .execute(params![id, code])?,
            Definition::Client { id, name } => connection
                .prepare_cached(&write_row("INSERT OR REPLACE", "clients", 2))?
                .execute(params![id, name])?,
            Definition::Symbol { id, text } => connection
                .prepare_cached(&write_row("INSERT OR REPLACE", "symbols", 2))?
                .execute(params![id, text])?,
            Definition::Station { id, agency, code } => connection
                .prepare_cached(&write_row("INSERT OR REPLACE", "stations", 3))?
                .execute(params![id, agency, code])?,
            Definition::Datastream { id, station, property, period_s, domain, unit } => connection
                .prepare_cached(&write_row("INSERT OR REPLACE", "datastreams", 6))?
                .execute(params![id, station, property, period_s, domain, unit])?,
        };
    }
    Ok(())
}

fn remove_files(connection: &Connection, removed: &[u64]) -> rusqlite::Result<()> {
    let mut remove = connection.prepare_cached("DELETE FROM files WHERE file_no = ?")?;
    for file_no in removed {
        remove.execute([*file_no as i64])?;
    }
    Ok(())
}

fn add_files(connection: &Connection, table: &str, added: &[FileEntry]) -> rusqlite::Result<()> {
    if added.is_empty() {
        return Ok(());
    }
    let mut add = connection.prepare_cached(&write_row("INSERT OR REPLACE", table, 9))?;
    for file in added {
        add.execute(params![
            file.file_no as i64,
            file.path,
            file.row_count as i64,
            file.bytes as i64,
            file.time_min_us,
            file.time_max_us,
            file.datastream_min,
            file.datastream_max,
            file.crc32c,
        ])?;
    }
    Ok(())
}

fn books(connection: &Connection, delta: &BooksDelta) -> rusqlite::Result<()> {
    let mut row = connection.prepare_cached(&write_row("INSERT OR REPLACE", "book_rows", 14))?;
    for item in &delta.rows {
        let mut values = [0; 14];
        values[0] = item.hour;
        values[1] = i64::from(item.key.agency);
        values[2] = i64::from(item.key.client);
        values[3] = i64::from(item.key.station);
        for (value, count) in values[4..].iter_mut().zip(item.counts.to_array()) {
            *value = count as i64;
        }
        row.execute(values)?;
    }
    let mut hour = connection.prepare_cached(&write_row("INSERT OR REPLACE", "book_hours", 5))?;
    for item in &delta.hours {
        hour.execute(params![
            item.hour,
            item.first_message_no as i64,
            item.next_message_no as i64,
            item.digest.is_some(),
            item.digest.as_ref().map(<[u8; 32]>::as_slice),
        ])?;
    }
    if let Some(runs) = &delta.unresolved {
        let bytes: &[u8] = bytemuck::cast_slice(runs);
        connection
            .prepare_cached(&write_row("INSERT OR REPLACE", "book_unresolved", 2))?
            .execute(params![1, bytes])?;
    }
    connection
        .prepare_cached("UPDATE removals SET lost = ?, expired = ?")?
        .execute([delta.totals.lost as i64, delta.totals.expired as i64])?;
    seal(connection, "removals", "id = 1", &[])?;
    let mut values = [1; 12];
    for (value, count) in values[1..].iter_mut().zip(delta.totals.counts.to_array()) {
        *value = count as i64;
    }
    values[11] = delta.totals.flushed as i64;
    connection.prepare_cached(&write_row("INSERT OR REPLACE", "book_totals", 12))?.execute(values)?;
    Ok(())
}

fn settlements(connection: &Connection, delta: &BooksDelta) -> rusqlite::Result<()> {
    let mut settlement = connection.prepare_cached(&write_row("INSERT OR REPLACE", "settlements", 19))?;
    for row in &delta.settlements {
        settlement.execute(params![
            row.settlement_no as i64,
            row.record_no as i64,
            row.settled_us,
            row.position as i64,
            row.ordinal,
            row.hour,
            row.erased,
            row.from.agency,
            row.from.client,
            row.from.station,
            row.from_outcome,
            row.from_readings as i64,
            row.to.agency,
            row.to.client,
            row.to.station,
            row.to_outcome,
            row.to_readings as i64,
            row.rows as i64,
            row.digest.as_slice(),
        ])?;
    }
    let mut settled = connection.prepare_cached(&write_row("INSERT OR REPLACE", "settled_rows", 19))?;
    for (hour, key, counts) in &delta.settled {
        let mut values = [0; 5 + SettledCounts::LEN];
        values[0] = *hour;
        values[1] = i64::from(key.agency);
        values[2] = i64::from(key.client);
        values[3] = i64::from(key.station);
        values[4] = delta.settled_frame_no as i64;
        values[5..].copy_from_slice(&counts.to_array());
        settled.execute(values)?;
    }
    if let Some(runs) = &delta.settled_unresolved {
        let bytes: &[u8] = bytemuck::cast_slice(runs);
        connection
            .prepare_cached(&write_row("INSERT OR REPLACE", "settled_unresolved", 2))?
            .execute(params![1, bytes])?;
    }
    if !delta.settled.is_empty() {
        let totals = delta.totals.settled.to_array();
        let bytes: &[u8] = bytemuck::cast_slice(&totals);
        connection
            .prepare_cached(&write_row("INSERT OR REPLACE", "settled_totals", 2))?
            .execute(params![1, bytes])?;
    }
    Ok(())
}

/// The last closed hour stays whatever its age: the chain goes on from it.
fn forget_books(connection: &Connection, before: i64) -> rusqlite::Result<()> {
    let sql = "SELECT max(hour) FROM book_hours WHERE closed AND hour < ?1 \
               AND hour < (SELECT max(hour) FROM book_hours WHERE closed)";
    let last: Option<i64> = connection.prepare_cached(sql)?.query_row([before], |row| row.get(0))?;
    let Some(last) = last else { return Ok(()) };
    let sums = BookCounts::COLUMNS.map(|name| {
        format!("{name} = {name} + (SELECT coalesce(sum({name}), 0) FROM book_rows WHERE hour <= ?1)")
    });
    let sql = format!(
        "UPDATE removals SET anchor_hour = ?1, anchor_digest = (SELECT digest FROM book_hours WHERE hour = ?1), {}",
        sums.join(", ")
    );
    connection.prepare_cached(&sql)?.execute([last])?;
    seal(connection, "removals", "id = 1", &[])?;
    connection.prepare_cached("DELETE FROM book_rows WHERE hour <= ?")?.execute([last])?;
    connection.prepare_cached("DELETE FROM book_hours WHERE hour <= ?")?.execute([last])?;
    Ok(())
}

fn datastream_states(connection: &Connection, states: &[(u32, DatastreamState)]) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached(&write_row("INSERT OR REPLACE", "datastream_states", 17))?;
    for (datastream, state) in states {
        statement.execute(params![
            datastream,
            state.watermark_us,
            state.kind as u8,
            state.value as i64,
            state.text,
            state.ordinal,
            state.quality,
            state.flags,
            state.unit,
            state.status,
            state.seq_plus_1 as i64,
            state.revision,
            state.position as i64,
            state.result_time_us,
            state.last_undated_us,
            state.observations as i64,
            state.rank,
        ])?;
    }
    Ok(())
}

fn retained(connection: &Connection, changes: &[RetainedChange]) -> rusqlite::Result<()> {
    let mut set = connection.prepare_cached(&write_row("INSERT OR REPLACE", "retained", 6))?;
    let mut remove = connection.prepare_cached("DELETE FROM retained WHERE topic = ?")?;
    for change in changes {
        if change.payload.is_empty() {
            remove.execute([&change.topic])?;
        } else {
            set.execute(params![
                change.topic,
                change.message_no as i64,
                change.receive_time_us,
                change.qos,
                change.properties,
                change.payload,
            ])?;
        }
    }
    Ok(())
}

fn resend_marks(connection: &Connection, marks: &[ResendMark]) -> rusqlite::Result<()> {
    let bytes: &[u8] = bytemuck::cast_slice(marks);
    connection
        .prepare_cached(&write_row("INSERT OR REPLACE", "resend_marks", 2))?
        .execute(params![1, bytes])?;
    Ok(())
}

fn quarantine(connection: &Connection, delta: &QuarantineDelta) -> rusqlite::Result<()> {
    let (mut entries, mut bytes) = (0, 0);
    let mut add = connection.prepare_cached(&write_row("INSERT OR IGNORE", "quarantine", 23))?;
    for item in &delta.items {
        let entry = &item.entry;
        let size = entry.bytes() as i64;
        let booked = &item.booked;
        let added = add.execute(params![
            entry.position as i64,
            entry.ordinal,
            entry.receive_time_us,
            booked.behind_s,
            entry.offset,
            entry.readings,
            entry.reason,
            entry.sentence,
            entry.topic,
            entry.client,
            entry.agency,
            entry.payload_bytes,
            size,
            booked.outcome,
            booked.agency,
            booked.client,
            booked.station,
            item.settled,
            item.flags,
            item.packet_id,
            item.properties,
            item.refused,
            item.payload,
        ])?;
        entries += added as i64;
        bytes += added as i64 * size;
    }
    for change in &delta.changes {
        let (less_entries, more_bytes) = quarantine_change(connection, change)?;
        entries -= less_entries;
        bytes += more_bytes;
    }
    if entries != 0 || bytes != 0 {
        connection
            .prepare_cached("UPDATE quarantine_totals SET entries = entries + ?, bytes = bytes + ?")?
            .execute([entries, bytes])?;
        seal(connection, "quarantine_totals", "id = 1", &[])?;
    }
    Ok(())
}

/// How many entries left, and by how many bytes the quarantine grew.
fn quarantine_change(connection: &Connection, change: &QuarantineChange) -> rusqlite::Result<(i64, i64)> {
    let key = params![change.position as i64, change.ordinal];
    let before: Option<(i64, i64)> = connection
        .prepare_cached(
            "SELECT bytes, length(CAST(reason AS BLOB)) + length(CAST(sentence AS BLOB)) FROM quarantine \
             WHERE position = ? AND ordinal = ?",
        )?
        .query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // Already gone: this commit is carried out once more.
    let Some((bytes, texts)) = before else { return Ok((0, 0)) };
    let Some(RemainingEntry { booked, settled, remaining }) = &change.remaining else {
        connection
            .prepare_cached("DELETE FROM quarantine WHERE position = ? AND ordinal = ?")?
            .execute(key)?;
        return Ok((1, -bytes));
    };
    let grown = (remaining.reason.len() + remaining.sentence.len()) as i64 - texts;
    connection
        .prepare_cached(
            "UPDATE quarantine SET byte_offset = ?, readings = ?, reason = ?, sentence = ?, bytes = bytes + ?, outcome = ?, \
             book_agency = ?, book_client = ?, book_station = ?, settled = max(settled, ?), refused = ? \
             WHERE position = ? AND ordinal = ?",
        )?
        .execute(params![
            remaining.offset,
            remaining.readings,
            remaining.reason,
            remaining.sentence,
            grown,
            booked.outcome,
            booked.agency,
            booked.client,
            booked.station,
            settled,
            remaining.refused,
            change.position as i64,
            change.ordinal,
        ])?;
    seal(
        connection,
        "quarantine",
        "position = ? AND ordinal = ?",
        &[&(change.position as i64), &change.ordinal],
    )?;
    Ok((0, grown))
}

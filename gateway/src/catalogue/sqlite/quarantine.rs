//! Reading the quarantine: walks along its key or along one of its indexes, a bounded piece at a time.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::load::number;
use crate::catalogue::{QuarantineEntry, QuarantineItem, QuarantineOrder, QuarantinePage, QuarantineWalk};
use crate::record::BookedEntry;

const COLUMNS: &str = "position, ordinal, receive_time_us, byte_offset, readings, reason, sentence, topic, client, \
                       agency, payload_bytes, outcome, book_agency, book_client, book_station, settled, flags, packet_id, behind_s";

pub(super) fn page(connection: &Connection, walk: &QuarantineWalk<'_>) -> rusqlite::Result<QuarantinePage> {
    let Some((sql, values)) = select(connection, walk)? else { return Ok(QuarantinePage::default()) };
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    walk.collect(
        || rows.next()?.map(item).transpose(),
        |item| if walk.payloads { take_payload(connection, item) } else { Ok(()) },
    )
}

pub(super) fn show(connection: &Connection, position: u64) -> rusqlite::Result<Vec<QuarantineItem>> {
    let Ok(position) = i64::try_from(position) else { return Ok(Vec::new()) };
    let mut items: Vec<QuarantineItem> = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM quarantine WHERE position = ? ORDER BY ordinal"))?
        .query_map([position], item)?
        .collect::<rusqlite::Result<_>>()?;
    items.iter_mut().try_for_each(|item| take_payload(connection, item))?;
    Ok(items)
}

/// The statement of a walk. One condition at most goes along an index, and what else is asked for is looked at row by row: so
/// every step of a statement gives a row, and [`QuarantineWalk::looked_at_max`] bounds them. `None`: there is nothing.
fn select(
    connection: &Connection,
    walk: &QuarantineWalk<'_>,
) -> rusqlite::Result<Option<(String, Vec<Value>)>> {
    let filter = walk.filter;
    let mut conditions: Vec<&str> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let as_key = |(position, ordinal): (u64, u32)| {
        [Value::from(i64::try_from(position).unwrap_or(i64::MAX)), Value::from(ordinal)]
    };
    let by_name =
        [("client = ?", &filter.client), ("reason = ?", &filter.reason), ("agency = ?", &filter.agency)];
    if let Some(position) = filter.position {
        let Ok(position) = i64::try_from(position) else { return Ok(None) };
        conditions.push("position = ?");
        values.push(position.into());
    } else if let Some((condition, Some(name))) = by_name.into_iter().find(|(_, name)| name.is_some()) {
        conditions.push(condition);
        values.push(name.clone().into());
    }
    if let Some(before) = filter.before {
        conditions.push("(position, ordinal) < (?, ?)");
        values.extend(as_key(before));
    }
    if let Some(to_us) = filter.to_us {
        let Some(last) = last_before(connection, to_us)? else { return Ok(None) };
        conditions.push("position <= ?");
        values.push(last.into());
    }
    let order = match walk.order {
        QuarantineOrder::NewestFirst => {
            if let Some(behind) = walk.behind {
                conditions.push("(position, ordinal) < (?, ?)");
                values.extend(as_key(behind));
            }
            "DESC"
        }
        QuarantineOrder::OldestFirst => {
            if let Some(from_us) = filter.from_us {
                // A receive time is never later than the stamp.
                let sql = "SELECT position FROM quarantine WHERE receive_time_us + 1000000 * behind_s >= ? \
                           ORDER BY receive_time_us + 1000000 * behind_s, position LIMIT 1";
                let Some(first) = one(connection, sql, from_us)? else { return Ok(None) };
                conditions.push("position >= ?");
                values.push(first.into());
            }
            if let Some(behind) = walk.behind {
                conditions.push("(position, ordinal) > (?, ?)");
                values.extend(as_key(behind));
            }
            "ASC"
        }
    };
    let conditions =
        if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let sql =
        format!("SELECT {COLUMNS} FROM quarantine {conditions} ORDER BY position {order}, ordinal {order}");
    Ok(Some((sql, values)))
}

/// Nothing behind this position was received before `to_us`: the last one whose stamp is before it, or whose receive time is not
/// its stamp.
fn last_before(connection: &Connection, to_us: i64) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT position FROM quarantine WHERE receive_time_us + 1000000 * behind_s < ? \
               ORDER BY receive_time_us + 1000000 * behind_s DESC, position DESC LIMIT 1";
    let by_stamp = one(connection, sql, to_us)?;
    let sql = "SELECT max(position) FROM quarantine WHERE behind_s > 0";
    let by_time: Option<i64> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(by_stamp.max(by_time))
}

fn one(connection: &Connection, sql: &str, value: i64) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached(sql)?.query_row([value], |row| row.get(0)).optional()
}

fn take_payload(connection: &Connection, item: &mut QuarantineItem) -> rusqlite::Result<()> {
    let key = params![item.entry.position as i64, item.entry.ordinal];
    (item.properties, item.refused, item.payload) = connection
        .prepare_cached(
            "SELECT properties, refused, payload FROM quarantine WHERE position = ? AND ordinal = ?",
        )?
        .query_row(key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(())
}

/// Without what [`take_payload`] reads.
fn item(row: &Row<'_>) -> rusqlite::Result<QuarantineItem> {
    let entry = QuarantineEntry {
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
    };
    let booked = BookedEntry {
        position: entry.position,
        ordinal: entry.ordinal,
        receive_time_us: entry.receive_time_us,
        behind_s: row.get(18)?,
        agency: row.get(12)?,
        client: row.get(13)?,
        station: row.get(14)?,
        readings: entry.readings,
        outcome: row.get(11)?,
        ..BookedEntry::default()
    };
    Ok(QuarantineItem {
        booked,
        settled: row.get(15)?,
        flags: row.get(16)?,
        packet_id: row.get(17)?,
        properties: Vec::new(),
        refused: Vec::new(),
        payload: Vec::new(),
        entry,
    })
}

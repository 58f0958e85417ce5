//! The catalogue as `journal verify` sees it: one read transaction, the tables' own consistency, and what others compare with.
//! Nothing is changed, not even SQLite's own index files where no gateway has them open.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use codecs::property_catalogue::Domain;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::history::{book_hour, book_row, settlements};
use super::load::{number, snapshot};
use super::row_sums::{add_function, wrong_rows};
use super::{BUSY_TIMEOUT, SCHEMA, is_empty};
use crate::catalogue::{
    BookCounts, BookHour, BookRow, CATALOGUE_FILE, CatalogueError, HourDigest, OTHER_ID, SettledCounts,
    SettlementRow, Snapshot,
};

/// What `PRAGMA integrity_check` names at most.
const PROBLEMS_MAX: usize = 100;

/// A consistent cut of the catalogue.
#[derive(Debug)]
pub struct CatalogueCut {
    connection: Connection,
    path: PathBuf,
}

/// The quarantine recounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuarantineCount {
    pub entries: u64,
    pub bytes: u64,
    /// Different messages, and readings of theirs.
    pub positions: u64,
    pub readings: u64,
}

/// What retention took out of the books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookRemovals {
    pub counts: BookCounts,
    /// The last hour that is gone, and its digest: the chain goes on from there.
    pub anchor: Option<(i64, HourDigest)>,
}

impl CatalogueCut {
    /// `beside_gateway`: a gateway has the catalogue open; else the caller holds the directory's lock.
    pub fn open(data_dir: &Path, beside_gateway: bool) -> Result<Self, CatalogueError> {
        let path = data_dir.join(CATALOGUE_FILE);
        let on_sqlite = |error| CatalogueError::of_sqlite(&path, error);
        let connection = if beside_gateway { beside(&path) } else { alone(&path) }.map_err(on_sqlite)?;
        if is_empty(&connection, &path)? {
            return Err(CatalogueError::Empty { path: path.clone() });
        }
        add_function(&connection).map_err(on_sqlite)?;
        connection.execute_batch("BEGIN").map_err(on_sqlite)?;
        // The first read is what fixes the cut.
        connection.query_row("SELECT count(*) FROM checkpoint", [], |_| Ok(())).map_err(on_sqlite)?;
        Ok(Self { connection, path })
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, CatalogueError> {
        read(&self.connection).map_err(|error| CatalogueError::of_sqlite(&self.path, error))
    }

    /// What SQLite itself finds wrong with the file's pages and indices.
    pub fn problems(&self) -> Result<Vec<String>, CatalogueError> {
        self.read(|connection| {
            let sql = format!("PRAGMA integrity_check({PROBLEMS_MAX})");
            let mut statement = connection.prepare(&sql)?;
            let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
            lines.filter(|line| line.as_ref().map_or(true, |line| line != "ok")).collect()
        })
    }

    /// Rows that are not what was written: table, and which.
    pub fn wrong_rows(&self) -> Result<Vec<(String, String)>, CatalogueError> {
        self.read(wrong_rows)
    }

    /// The names of tables and indices that are not as this build makes them.
    pub fn wrong_tables(&self) -> Result<Vec<String>, CatalogueError> {
        self.read(|connection| {
            let fresh = Connection::open_in_memory()?;
            fresh.execute_batch(SCHEMA)?;
            let (mut expected, mut found) = (tables(&fresh)?, tables(connection)?);
            let all = expected.clone();
            expected.retain(|table| !found.contains(table));
            found.retain(|table| !all.contains(table));
            Ok(expected.into_iter().chain(found).map(|(name, _)| name).collect())
        })
    }

    pub fn snapshot(&self) -> Result<Snapshot, CatalogueError> {
        self.read(snapshot)
    }

    /// Rows whose references or numbers cannot be: table, and what is wrong with it.
    pub fn broken_rows(&self) -> Result<Vec<(&'static str, String)>, CatalogueError> {
        self.read(|connection| {
            let mut broken = Vec::new();
            for (table, sql) in checks() {
                let mut statement = connection.prepare(&sql)?;
                for row in statement.query_map([], |row| row.get::<_, String>(0))? {
                    broken.push((table, row?));
                }
            }
            Ok(broken)
        })
    }

    /// Rows of all tables.
    pub fn row_count(&self) -> Result<u64, CatalogueError> {
        self.read(|connection| {
            let mut tables = connection.prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            )?;
            let names: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            let mut rows = 0;
            for name in names {
                // Our own names, from our own schema.
                rows += connection
                    .query_row(&format!("SELECT count(*) FROM \"{name}\""), [], |row| number(row, 0))?;
            }
            Ok(rows)
        })
    }

    /// All hours of the books, in order.
    pub fn book_hours(&self) -> Result<Vec<BookHour>, CatalogueError> {
        self.read(|connection| {
            connection.prepare("SELECT * FROM book_hours ORDER BY hour")?.query_map([], book_hour)?.collect()
        })
    }

    pub fn book_rows(&self, hour: i64) -> Result<Vec<BookRow>, CatalogueError> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT * FROM book_rows WHERE hour = ? ORDER BY agency, client, station")?
                .query_map([hour], book_row)?
                .collect()
        })
    }

    /// What settlements changed, by book hour.
    pub fn settled_by_hour(&self) -> Result<BTreeMap<i64, SettledCounts>, CatalogueError> {
        self.read(|connection| {
            let mut by_hour: BTreeMap<i64, SettledCounts> = BTreeMap::new();
            let mut statement = connection.prepare("SELECT * FROM settled_rows")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let mut counts = [0; SettledCounts::LEN];
                for (at, count) in counts.iter_mut().enumerate() {
                    *count = row.get(5 + at)?;
                }
                by_hour.entry(row.get(0)?).or_default().add(&SettledCounts::from_array(counts));
            }
            Ok(by_hour)
        })
    }

    /// Settlements behind this number, in order.
    pub fn settlements(&self, after_no: u64, limit: usize) -> Result<Vec<SettlementRow>, CatalogueError> {
        self.read(|connection| settlements(connection, after_no, limit))
    }

    pub fn removals(&self) -> Result<BookRemovals, CatalogueError> {
        self.read(super::load::removals)
    }

    pub fn quarantine(&self) -> Result<QuarantineCount, CatalogueError> {
        self.read(|connection| {
            let sql = "SELECT count(*), coalesce(sum(bytes), 0), count(DISTINCT position), coalesce(sum(readings), 0) \
                       FROM quarantine";
            connection.query_row(sql, [], |row| {
                Ok(QuarantineCount {
                    entries: number(row, 0)?,
                    bytes: number(row, 1)?,
                    positions: number(row, 2)?,
                    readings: number(row, 3)?,
                })
            })
        })
    }
}

/// Name and definition. `quote` tells a text from the bytes of a text, and has a word for the definition that the index of a
/// UNIQUE column does not have.
fn tables(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = connection.prepare(
        "SELECT name, quote(type) || quote(name) || quote(tbl_name) || quote(sql) FROM sqlite_schema",
    )?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The gateway's own connection keeps the index of the write-ahead log.
fn beside(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Nobody else has it: the index of a write-ahead log that a crash left is made in memory, and nothing is checkpointed. Without
/// such a log SQLite is told that nothing changes, else it would make an empty one.
pub(super) fn alone(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if !std::fs::metadata(log).is_ok_and(|log| log.len() > 0) {
        return Connection::open_with_flags(uri(path) + "?immutable=1", flags);
    }
    let connection = Connection::open_with_flags_and_vfs(uri(path), flags, c"unix-none")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    Ok(connection)
}

fn uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(uri, "%{byte:02x}");
        }
    }
    uri
}

/// Numbers that cannot be, and rows that do not fit the hours or the checkpoint.
const IMPOSSIBLE: [(&str, &str); 11] = [
    (
        "book_rows",
        "SELECT 'hour ' || hour || ' has rows and is not among the hours' FROM book_rows \
         WHERE hour NOT IN (SELECT hour FROM book_hours) GROUP BY hour LIMIT 20",
    ),
    (
        "book_hours",
        "SELECT 'hour ' || hour || ' is closed and has no digest, or has one and is open' FROM book_hours \
         WHERE (closed <> 0) <> (digest IS NOT NULL) OR closed NOT IN (0, 1) \
         OR (digest IS NOT NULL AND length(digest) <> 32) LIMIT 20",
    ),
    (
        "book_hours",
        "SELECT 'hour ' || hour || ' ends before it begins' FROM book_hours \
         WHERE next_message_no < first_message_no OR first_message_no < 1 LIMIT 20",
    ),
    (
        "files",
        "SELECT 'file ' || file_no || ' (' || path || ') has impossible numbers' FROM files WHERE row_count < 1 \
         OR bytes < 1 OR time_min_us > time_max_us OR datastream_min > datastream_max OR file_no < 1 LIMIT 20",
    ),
    (
        "files",
        "SELECT path || ' is named ' || count(*) || ' times' FROM files GROUP BY path HAVING count(*) > 1 LIMIT 20",
    ),
    (
        "datastream_states",
        "SELECT 'datastream ' || datastream || ': its value comes from message ' || position || \
         ', which the checkpoint does not cover' FROM datastream_states, checkpoint \
         WHERE position >= next_message_no LIMIT 20",
    ),
    (
        "datastream_states",
        "SELECT 'datastream ' || datastream || ': kind, quality or counts are impossible' FROM datastream_states \
         WHERE kind NOT BETWEEN 0 AND 3 OR quality NOT IN (1, 2, 3, 4, 9) OR observations < 1 \
         OR ordinal NOT BETWEEN 0 AND 65535 LIMIT 20",
    ),
    (
        "retained",
        "SELECT 'the retained message of message ' || message_no || ' is behind the checkpoint' \
         FROM retained, checkpoint WHERE message_no >= next_message_no LIMIT 20",
    ),
    (
        "quarantine",
        "SELECT 'message ' || position || ' is behind the checkpoint' FROM quarantine, checkpoint \
         WHERE position >= next_message_no LIMIT 20",
    ),
    (
        "quarantine",
        "SELECT 'message ' || position || ': its payload has ' || length(payload) || ' bytes and it says ' || \
         payload_bytes FROM quarantine WHERE length(payload) <> payload_bytes LIMIT 20",
    ),
    (
        "checkpoint",
        "SELECT 'its numbers are impossible' FROM checkpoint WHERE next_obs_no < 1 OR next_record_no < 1 \
         OR next_message_no < 1 OR observation_frame_no < 0",
    ),
];

/// Table and a query that gives a sentence for each row that is wrong.
fn checks() -> Vec<(&'static str, String)> {
    let missing = |table: &'static str, column: &str, of: &str, none: &str| {
        let sql = format!(
            "SELECT 'row ' || rowid || ': its {column} ' || {column} || ' is not in {of}' FROM {table} \
             WHERE {column} NOT IN (SELECT id FROM {of}) {none} LIMIT 20"
        );
        (table, sql)
    };
    let or_none = |column: &str| format!("AND {column} <> 0");
    let mut checks = vec![
        missing("stations", "agency", "agencies", ""),
        missing("datastreams", "station", "stations", ""),
        missing("datastreams", "unit", "symbols", &or_none("unit")),
        missing("datastream_states", "datastream", "datastreams", ""),
        missing("datastream_states", "unit", "symbols", &or_none("unit")),
        missing("datastream_states", "status", "symbols", &or_none("status")),
    ];
    for (column, of) in [("agency", "agencies"), ("client", "clients"), ("station", "stations")] {
        let sql = format!(
            "SELECT 'hour ' || hour || ': its {column} ' || {column} || ' is not in {of}' FROM book_rows \
             WHERE {column} NOT IN (0, {OTHER_ID}) AND {column} NOT IN (SELECT id FROM {of}) LIMIT 20"
        );
        checks.push(("book_rows", sql));
    }
    for (table, first) in
        [("agencies", 1), ("clients", 1), ("symbols", 1), ("stations", 1), ("datastreams", 0)]
    {
        let sql = format!(
            "SELECT 'it has ' || count(*) || ' rows and its highest number is ' || max(id) || ': numbers are missing' \
             FROM {table} HAVING count(*) > 0 AND max(id) <> count(*) - 1 + {first}"
        );
        checks.push((table, sql));
    }
    let domains: Vec<String> = Domain::ALL.iter().map(|domain| format!("'{}'", domain.as_str())).collect();
    checks.push((
        "datastreams",
        format!(
            "SELECT 'datastream ' || id || ': there is no domain ' || domain FROM datastreams WHERE domain NOT IN ({}) \
             LIMIT 20",
            domains.join(", ")
        ),
    ));
    checks.extend(IMPOSSIBLE.map(|(table, sql)| (table, sql.to_owned())));
    checks
}

//! `catalogue.db`: SQLite in WAL mode with `synchronous=FULL`, so that a commit is durable when it returns.
//!
//! `PRAGMA application_id` says that it is ours, `PRAGMA user_version` is the format. The tables stand in `schema.sql`.

mod check;
mod history;
mod load;
mod quarantine;
mod row_sums;
mod write;

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{CATALOGUE_FILE, Catalogue, CatalogueError, Commit, History, Snapshot};
use crate::log::{JOURNAL_DIR, OBSERVATIONS_DIR};
use crate::store::STORE_DIR;
pub use check::{BookRemovals, CatalogueCut, QuarantineCount};
use history::SqliteHistory;

/// "SGWc".
const APPLICATION_ID: i64 = 0x5347_5763;

/// Another number for every change of the tables or of the store's files; a build reads this one only. Numbers below were given
/// away while there was no 1.0.
const FORMAT_VERSION: i64 = 9;
const SCHEMA: &str = include_str!("schema.sql");

/// How long a commit waits for another process that holds the write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The page cache of one connection.
const CACHE_KIB: i64 = 8 * 1024;
/// The write-ahead log is cut back to this after a checkpoint of SQLite's own.
const WAL_BYTES_KEPT: i64 = 64 << 20;
/// Pages that one commit gives back at most.
const VACUUM_PAGES: u32 = 4_096;
/// More than there are different statements.
const STATEMENTS_CACHED: usize = 64;

#[derive(Debug)]
pub struct SqliteCatalogue {
    connection: Connection,
    path: PathBuf,
    /// `path` is the URI of a copy in memory.
    is_copy: bool,
    /// A commit failed in a way that says nothing about what is on the disk.
    failed: bool,
}

impl SqliteCatalogue {
    /// Opens the catalogue of a data directory, makes it if there is none. The caller holds the directory's lock.
    pub fn open(data_dir: &Path) -> Result<Self, CatalogueError> {
        let path = data_dir.join(CATALOGUE_FILE);
        if path.exists() {
            // Without writing: opened for writing, even a file that is refused gets its write-ahead log folded in.
            let connection = check::alone(&path).map_err(|error| CatalogueError::of_sqlite(&path, error))?;
            refuse_empty(&connection, &path)?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = connect(&path, flags)?;
        prepare(&mut connection, &path)?;
        Ok(Self { connection, path, is_copy: false, failed: false })
    }

    /// A copy in memory of the catalogue of a data directory, which is only read: commits go to the copy. The caller has made
    /// sure that nobody else writes.
    pub fn open_copy(data_dir: &Path) -> Result<Self, CatalogueError> {
        let original = data_dir.join(CATALOGUE_FILE);
        let on_sqlite = |error| CatalogueError::of_sqlite(&original, error);
        // Connections of this process that give the same name share what is in it, for as long as one of them is open.
        let name = RandomState::new().hash_one(&original);
        let copy = format!("file:/catalogue-{name:016x}?vfs=memdb");
        let path = PathBuf::from(&copy);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = connect(&path, flags)?;
        if original.exists() {
            let source = check::alone(&original).map_err(on_sqlite)?;
            if !refuse_empty(&source, &original)? {
                source.execute("VACUUM INTO ?1", [&copy]).map_err(on_sqlite)?;
            }
        }
        prepare(&mut connection, &path)?;
        Ok(Self { connection, path, is_copy: true, failed: false })
    }

    /// Free pages go back to the file system, some at a time.
    fn give_back_pages(&self) {
        let sql = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
        let freed = self.connection.prepare(&sql).and_then(|mut statement| {
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        });
        if let Err(error) = freed {
            tracing::warn!(%error, "free pages of the catalogue stay where they are until the next removal");
        }
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Catalogue for SqliteCatalogue {
    fn load(&mut self) -> Result<Snapshot, CatalogueError> {
        // One read transaction: the tables of one commit.
        let read = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            load::snapshot(&transaction)
        };
        read(&mut self.connection).map_err(|error| CatalogueError::of_sqlite(&self.path, error))
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), CatalogueError> {
        if self.failed {
            return Err(CatalogueError::Failed);
        }
        let write = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            write::commit(&transaction, commit)?;
            transaction.commit()
        };
        write(&mut self.connection).map_err(|error| {
            let error = CatalogueError::of_sqlite(&self.path, error);
            self.failed = !error.is_backpressure();
            error
        })?;
        if commit.forget_books_before.is_some() {
            self.give_back_pages();
        }
        Ok(())
    }

    fn empty_wal(&mut self, wait: Duration) -> Result<bool, CatalogueError> {
        if self.failed {
            return Err(CatalogueError::Failed);
        }
        let empty = |connection: &Connection| {
            connection.busy_timeout(wait)?;
            let is_busy =
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
            connection.busy_timeout(BUSY_TIMEOUT)?;
            Ok(!is_busy?)
        };
        match empty(&self.connection).map_err(|error| CatalogueError::of_sqlite(&self.path, error)) {
            Err(error) if error.is_backpressure() => Ok(false),
            Err(error) => {
                // A second try may look as if it had succeeded.
                self.failed = true;
                Err(error)
            }
            is_empty => is_empty,
        }
    }

    fn history(&self) -> Result<Box<dyn History>, CatalogueError> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_URI, self.is_copy);
        let connection = connect(&self.path, flags)?;
        Ok(Box::new(SqliteHistory::new(connection, self.path.clone())))
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, CatalogueError> {
    let connect = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        Ok(connection)
    };
    connect().map_err(|error| CatalogueError::of_sqlite(path, error))
}

/// Whether nothing is in it yet; else it is a catalogue of this build's format, or refused.
fn is_empty(connection: &Connection, path: &Path) -> Result<bool, CatalogueError> {
    let on_sqlite = |error| CatalogueError::of_sqlite(path, error);
    let read =
        |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(on_sqlite);
    match (read("application_id")?, read("user_version")?) {
        (APPLICATION_ID, FORMAT_VERSION) => return Ok(false),
        (APPLICATION_ID, found) => {
            return Err(CatalogueError::OtherFormat { path: path.to_owned(), found, known: FORMAT_VERSION });
        }
        (0, 0) => {}
        _ => return Err(CatalogueError::Foreign { path: path.to_owned() }),
    }
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(on_sqlite)?;
    if tables == 0 { Ok(true) } else { Err(CatalogueError::Foreign { path: path.to_owned() }) }
}

/// The same; one without tables is new only where nothing else of a gateway lies beside it: tools that repair databases leave such
/// files, and a start on one would remove all store files, which nothing names.
fn refuse_empty(connection: &Connection, path: &Path) -> Result<bool, CatalogueError> {
    let is_empty = is_empty(connection, path)?;
    let has_files = |name: &&str| {
        let files = std::fs::read_dir(path.with_file_name(name));
        files.is_ok_and(|mut files| files.next().is_some())
    };
    if is_empty && [JOURNAL_DIR, OBSERVATIONS_DIR, STORE_DIR].iter().any(has_files) {
        return Err(CatalogueError::Empty { path: path.to_owned() });
    }
    Ok(is_empty)
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), CatalogueError> {
    let is_empty = is_empty(connection, path)?;
    let mut configure = || {
        row_sums::add_function(connection)?;
        if is_empty {
            // Only a file without tables takes it: so what retention frees can be given back.
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, |_| Ok(()))?;
        if is_empty { make_tables(connection) } else { Ok(()) }
    };
    configure().map_err(|error| CatalogueError::of_sqlite(path, error))
}

fn make_tables(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    for table in ["removals", "quarantine_totals"] {
        row_sums::seal(&transaction, table, "id = 1", &[])?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT_VERSION)?;
    transaction.commit()
}

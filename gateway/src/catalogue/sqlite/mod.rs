//! `catalogue.db`: SQLite in WAL mode with `synchronous=FULL`, so that a commit is durable when it returns.
//!
//! `PRAGMA application_id` says that it is ours, `PRAGMA user_version` is the format. The tables stand in `schema.sql`.

mod check;
mod history;
mod load;
mod quarantine;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{CATALOGUE_FILE, Catalogue, CatalogueError, Commit, History, Snapshot};
pub use check::{BookRemovals, CatalogueCut, QuarantineCount};
use history::SqliteHistory;

/// "SGWc".
const APPLICATION_ID: i64 = 0x5347_5763;

/// Each takes the database one format further; the first makes format 1 of an empty file.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    QUARANTINE_BY_CLIENT,
    include_str!("rank.sql"),
    include_str!("checks_and_removals.sql"),
    include_str!("settlements.sql"),
];
/// The quota's sums at start read this instead of the payloads' pages.
const QUARANTINE_BY_CLIENT: &str = "CREATE INDEX quarantine_by_client ON quarantine (client, bytes);";
const FORMAT_VERSION: i64 = MIGRATIONS.len() as i64;

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
    /// A commit failed in a way that says nothing about what is on the disk.
    failed: bool,
}

impl SqliteCatalogue {
    /// Opens the catalogue of a data directory, makes it if there is none, brings an older format up to date.
    pub fn open(data_dir: &Path) -> Result<Self, CatalogueError> {
        let path = data_dir.join(CATALOGUE_FILE);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = connect(&path, flags)?;
        prepare(&mut connection, &path)?;
        Ok(Self { connection, path, failed: false })
    }

    /// Free pages go back to the file system, some at a time. A catalogue that an older build made keeps them for itself.
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

    fn history(&self) -> Result<Box<dyn History>, CatalogueError> {
        let connection =
            connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
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

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), CatalogueError> {
    let on_sqlite = |error| CatalogueError::of_sqlite(path, error);
    let read =
        |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(on_sqlite);
    let (application, found) = (read("application_id")?, read("user_version")?);
    if application == APPLICATION_ID {
        if found > FORMAT_VERSION {
            return Err(CatalogueError::TooNew { path: path.to_owned(), found, known: FORMAT_VERSION });
        }
    } else {
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(on_sqlite)?;
        if application != 0 || found != 0 || tables != 0 {
            return Err(CatalogueError::Foreign { path: path.to_owned() });
        }
    }
    let mut configure = || {
        if application == 0 {
            // Only a file without tables takes it: so what retention frees can be given back.
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, |_| Ok(()))?;
        migrate(connection, found)
    };
    configure().map_err(on_sqlite)
}

fn migrate(connection: &mut Connection, found: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in MIGRATIONS.iter().skip(found.max(0) as usize) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT_VERSION)?;
    transaction.commit()
}

//! A checksum in every row of every table, its last column: SQLite itself notices what breaks a page, and no more. `journal
//! verify` compares them; whoever edits a row with another program leaves one that does not fit.
//!
//! The sum is the CRC-32C of the row's other values in the order of its columns, each as one byte for its type (0 NULL, 1 integer,
//! 2 real, 3 text, 4 blob), its length in bytes (u64), and its bytes; numbers are little endian.

use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ToSql};

/// The last column of every table.
const COLUMN: &str = "row_crc32c";
/// The function of SQL that makes its value from the others; a connection that writes or compares has it.
const FUNCTION: &str = "row_crc";
/// Rows of one table that are named at most.
const WRONG_ROWS_MAX: u32 = 20;

/// Makes the function known to a connection.
pub(super) fn add_function(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function(FUNCTION, -1, flags, |context| {
        let values = (0..context.len()).map(|at| context.get_raw(at));
        Ok(i64::from(values.fold(0, add)))
    })
}

fn add(sum: u32, value: ValueRef<'_>) -> u32 {
    let with = |kind: u8, bytes: &[u8]| {
        let sum = crc32c::crc32c_append(sum, &[kind]);
        let sum = crc32c::crc32c_append(sum, &(bytes.len() as u64).to_le_bytes());
        crc32c::crc32c_append(sum, bytes)
    };
    match value {
        ValueRef::Null => with(0, &[]),
        ValueRef::Integer(number) => with(1, &number.to_le_bytes()),
        ValueRef::Real(number) => with(2, &number.to_bits().to_le_bytes()),
        ValueRef::Text(text) => with(3, text),
        ValueRef::Blob(bytes) => with(4, bytes),
    }
}

/// A statement that writes a whole row of so many values and their sum. `verb`: `INSERT OR REPLACE`, for instance.
pub(super) fn write_row(verb: &str, table: &str, values: usize) -> String {
    let values: Vec<String> = (1..=values).map(|at| format!("?{at}")).collect();
    let values = values.join(", ");
    format!("{verb} INTO {table} VALUES ({values}, {FUNCTION}({values}))")
}

/// Makes the sums anew of rows that a statement changed.
pub(super) fn seal(
    connection: &Connection,
    table: &str,
    condition: &str,
    parameters: &[&dyn ToSql],
) -> rusqlite::Result<()> {
    let columns = columns(connection, table)?;
    let sql = format!("UPDATE {table} SET {COLUMN} = {FUNCTION}({columns}) WHERE {condition}");
    connection.prepare_cached(&sql)?.execute(parameters)?;
    Ok(())
}

/// Rows whose sum is not that of their values: table, and which.
pub(super) fn wrong_rows(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut tables =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    let tables: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut wrong = Vec::new();
    for table in tables {
        let columns = columns(connection, &table)?;
        let first = columns.split(',').next().unwrap_or_default();
        // Our own names, from our own schema; the first column is the key, or its beginning.
        let sql = format!(
            "SELECT '{first} ' || substr(quote({first}), 1, 100) FROM {table} WHERE {COLUMN} <> {FUNCTION}({columns}) \
             LIMIT {WRONG_ROWS_MAX}"
        );
        for row in connection.prepare(&sql)?.query_map([], |row| row.get::<_, String>(0))? {
            wrong.push((table.clone(), row?));
        }
    }
    Ok(wrong)
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<String> {
    connection
        .prepare_cached("SELECT group_concat(name, ', ') FROM pragma_table_info(?) WHERE name <> ?")?
        .query_row([table, COLUMN], |row| row.get(0))
}

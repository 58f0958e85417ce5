//! The store's Parquet files: schema, encoding, reading.

mod check;
mod column;
mod levels;
mod read;
mod schema;
mod write;

pub(super) use check::check_content;
pub(super) use read::{FooterCache, read_file};
pub(super) use write::{WriterParts, Written, write_file};

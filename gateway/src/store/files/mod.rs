//! The store's Parquet files: schema, encoding, reading.

mod column;
mod levels;
mod read;
mod schema;
mod write;

pub(super) use read::{FooterCache, read_file};
pub(super) use write::{WriterParts, write_file};

//! Destinations other than the store: each reads the observation log at its own cursor.

mod quarantine;

#[cfg(test)]
mod quarantine_test;

pub use quarantine::{PENDING_BYTES_MAX, Quarantine, QuarantineExport, QuarantineListing, QuarantineShowing};

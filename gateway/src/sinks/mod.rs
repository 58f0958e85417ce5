//! Destinations other than the store: each reads the observation log at its own cursor.

mod quarantine;
mod quota;

#[cfg(test)]
mod quarantine_test;

pub use quarantine::{
    LOOKED_AT_MAX, PENDING_BYTES_MAX, Quarantine, QuarantineExport, QuarantineListing, QuarantineShowing,
};
pub use quota::{QUOTA_CLIENTS_MAX, QuarantineQuota, QuotaRefusal};

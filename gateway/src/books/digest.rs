//! The digests of closed hours and of settlements; their canonical forms stand in `docs/format/books.md`.

use sha2::{Digest, Sha256};

use super::OTHER_NAME;
use crate::catalogue::{BookHour, BookKey, BookRow, HourDigest, OTHER_ID, SettlementRow};
use crate::registry::Registry;

/// `rows` are all rows of the hour in the order of their keys; `previous` is the digest of the closed hour before, zeros
/// for the first.
pub fn hour_digest(
    previous: &HourDigest,
    hour: &BookHour,
    rows: &[BookRow],
    registry: &Registry,
) -> HourDigest {
    let mut sha = Sha256::new();
    sha.update(previous);
    sha.update(hour.hour.to_le_bytes());
    sha.update(hour.first_message_no.to_le_bytes());
    sha.update(hour.next_message_no.to_le_bytes());
    sha.update((rows.len() as u64).to_le_bytes());
    for row in rows {
        names(&mut sha, &row.key, registry);
        for count in row.counts.to_array() {
            sha.update(count.to_le_bytes());
        }
    }
    sha.finalize().into()
}

/// The digest of a settlement, whose own is passed over; `previous` is that of the settlement before, zeros for the first.
pub fn settlement_digest(previous: &HourDigest, row: &SettlementRow, registry: &Registry) -> HourDigest {
    let mut sha = Sha256::new();
    sha.update(previous);
    for number in [row.settlement_no, row.record_no, row.settled_us as u64, row.position] {
        sha.update(number.to_le_bytes());
    }
    sha.update(row.ordinal.to_le_bytes());
    sha.update(row.hour.to_le_bytes());
    sha.update([u8::from(row.erased)]);
    for (key, outcome, readings) in
        [(&row.from, row.from_outcome, row.from_readings), (&row.to, row.to_outcome, row.to_readings)]
    {
        names(&mut sha, key, registry);
        sha.update([outcome]);
        sha.update(readings.to_le_bytes());
    }
    sha.update(row.rows.to_le_bytes());
    sha.finalize().into()
}

fn names(sha: &mut Sha256, key: &BookKey, registry: &Registry) {
    for name in [
        name(key.agency, registry.agency_count(), |id| registry.agency(id)),
        name(key.client, registry.client_count(), |id| registry.client(id)),
        name(key.station, registry.station_count(), |id| &registry.station(id).code),
    ] {
        sha.update((name.len() as u32).to_le_bytes());
        sha.update(name.as_bytes());
    }
}

/// An id that the registry does not know gives an empty name, like 0.
fn name<'a>(id: u32, count: u32, known: impl FnOnce(u32) -> &'a str) -> &'a str {
    match id {
        OTHER_ID => OTHER_NAME,
        id if id < count => known(id),
        _ => "",
    }
}

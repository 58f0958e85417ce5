//! The ledger: the answer of the books in the words of the outside contract.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{HOUR_US, hour_of};
use crate::catalogue::{BookCounts, BookQuery, CatalogueError, History, OTHER_ID, SettledCounts};
use crate::registry::Registry;

/// `None` = any. A name that nobody has matches nothing; "(other)" matches what found no room in its hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerFilter {
    pub agency: Option<String>,
    pub client: Option<String>,
    /// Code of the station, of whichever agency where `agency` is not given; `{agency}/{station}` names one.
    pub station: Option<String>,
    /// Receive time, µs since 1970 UTC: whole hours from the one that holds `from_us` …
    pub from_us: Option<i64>,
    /// … up to the one that holds the last µs before `to_us`.
    pub to_us: Option<i64>,
}

pub(super) enum Scope {
    Everything,
    Nothing,
    Rows(BookQuery),
}

impl LedgerFilter {
    pub(super) fn scope(&self, registry: &Registry) -> Scope {
        if *self == Self::default() {
            return Scope::Everything;
        }
        self.query(registry).map_or(Scope::Nothing, Scope::Rows)
    }

    fn query(&self, registry: &Registry) -> Option<BookQuery> {
        let id = |name: &str, id: Option<u32>| if name == super::OTHER_NAME { Some(OTHER_ID) } else { id };
        let mut query = BookQuery {
            from_hour: self.from_us.map(hour_of),
            to_hour: self.to_us.map(|to| to.div_euclid(HOUR_US) + i64::from(to.rem_euclid(HOUR_US) != 0)),
            ..BookQuery::default()
        };
        if let Some(code) = &self.agency {
            query.agency = Some(id(code, registry.agency_id(code))?);
        }
        if let Some(name) = &self.client {
            query.client = Some(id(name, registry.client_id(name))?);
        }
        if let Some(station) = &self.station {
            let stations = match station.split_once('/') {
                _ if station == super::OTHER_NAME => vec![OTHER_ID],
                Some((agency, code)) => vec![registry.station_id(registry.agency_id(agency)?, code)?],
                None => (0..registry.agency_count())
                    .filter(|agency| query.agency.is_none_or(|wanted| wanted == *agency))
                    .filter_map(|agency| registry.station_id(agency, station))
                    .collect(),
            };
            if stations.is_empty() {
                return None;
            }
            query.stations = Some(stations);
        }
        Some(query)
    }
}

/// A ledger that may lack closed hours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerPart {
    pub(super) durable: u64,
    pub(super) processed: u64,
    pub(super) pending: u64,
    pub(super) counts: BookCounts,
    pub(super) flushed: Option<u64>,
    pub(super) expired: Option<u64>,
    pub(super) lost: Option<u64>,
    /// The closed hours to be added.
    pub(super) older: Option<BookQuery>,
    /// What settlements changed.
    pub(super) settled: SettledCounts,
    /// Where there is a query: what is to be added, but for hours that are forgotten; and the frame of the log up to which the
    /// catalogue has the rest.
    pub(super) settled_by_hour: BTreeMap<i64, SettledCounts>,
    pub(super) settled_to_frame_no: u64,
    pub(super) settled_query: Option<BookQuery>,
}

impl LedgerPart {
    /// Adds the closed hours; they never change, so nothing that happened meanwhile matters.
    pub fn complete(mut self, history: &mut dyn History) -> Result<Ledger, CatalogueError> {
        if let Some(query) = &self.older {
            self.counts.add(&history.book_sums(query)?);
        }
        if let Some(query) = &self.settled_query {
            let forgotten_to = history.forgotten_to_hour()?;
            let kept = self.settled_by_hour.iter().filter(|(hour, _)| Some(**hour) > forgotten_to);
            kept.for_each(|(_, counts)| self.settled.add(counts));
            // By the frame that brought them, so that a commit meanwhile changes nothing.
            self.settled.add(&history.settled_sums(query, self.settled_to_frame_no)?);
        }
        let counts = &self.settled.applied_to(&self.counts);
        Ok(Ledger {
            durable: self.durable,
            processed: self.processed,
            lost: self.lost,
            expired: self.expired,
            messages: MessageLedger {
                received: counts.messages() + self.pending,
                decoded: counts.decoded,
                partial: counts.partial,
                quarantined: counts.quarantined_messages,
                ignored: counts.ignored,
                pending: self.pending,
            },
            observations: ObservationLedger {
                total: counts.observations(),
                inserted: counts.inserted,
                corrected: counts.corrected,
                outranked: counts.outranked,
                duplicate: counts.duplicate,
                unresolved: counts.unresolved,
                quarantined: counts.quarantined_readings,
                flushed: self.flushed,
            },
            settled: SettledLedger {
                messages: self.settled.messages,
                readings: self.settled.readings,
                erased_messages: self.settled.erased_messages,
                erased_readings: self.settled.erased_readings,
            },
        })
    }
}

/// The answer of `GET /api/v1/ledger`. In both groups the parts sum to the first member (`flushed` aside).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Messages durable in the journal.
    pub durable: u64,
    /// Messages covered by the frames that these counts are made of.
    pub processed: u64,
    pub messages: MessageLedger,
    pub observations: ObservationLedger,
    pub settled: SettledLedger,
    /// Messages that are missing in the journal, which an operator accepted; in no count below: `durable` = `messages.received`
    /// + `lost`. `null` in a narrowed ledger.
    pub lost: Option<u64>,
    /// Rows that retention took out of the store: stored = inserted + corrected − `expired`. `null` in a narrowed ledger.
    pub expired: Option<u64>,
}

/// What operators settled afterwards; the counts above have it in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SettledLedger {
    /// Replays of quarantined messages that changed something.
    pub messages: u64,
    /// Rows that they brought.
    pub readings: u64,
    /// Of the quarantined messages and readings, those that are erased: nobody can replay them any more.
    pub erased_messages: u64,
    pub erased_readings: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MessageLedger {
    pub received: u64,
    pub decoded: u64,
    pub partial: u64,
    pub quarantined: u64,
    pub ignored: u64,
    /// Durable and not processed. Not narrowed by names: 0 where a name is asked for.
    pub pending: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ObservationLedger {
    pub total: u64,
    pub inserted: u64,
    pub corrected: u64,
    pub outranked: u64,
    pub duplicate: u64,
    pub unresolved: u64,
    pub quarantined: u64,
    /// Rows in the store's committed files; `null` in a narrowed ledger, since files hold rows of many hours and stations.
    pub flushed: Option<u64>,
}

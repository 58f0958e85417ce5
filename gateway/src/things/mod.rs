//! Agencies, stations and communes as people ask for them: names and places from the operator's files ([`Directory`]),
//! what sends from the registry, how fresh it is from the datastreams' states.
//!
//! Lists are ordered by agency and code, and a page begins behind the key of the last item of the page before, so that
//! what registers itself meanwhile neither repeats nor hides an item. Registry and states are shared with the pipeline and
//! the keeper: they are locked for a bounded number of copies at a time, never while an answer is written.

mod csv;
mod directory;
#[cfg(test)]
pub(crate) mod fake;
mod filter;
mod index;
mod latest;
mod search;
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use serde::{Serialize, Serializer};

pub use directory::{AgencyFacts, Commune, Directory, Place, StationFacts, ThingsError};
pub use filter::ThingFilter;
pub use latest::{LatestFilter, LatestPage};

use crate::catalogue::DatastreamState;
use crate::keeper::{Shared, lock};
use crate::parameters::cursor;
use crate::registry::SharedRegistry;
use index::{Entry, Index};

/// Stations whose datastreams' states are copied under one lock.
const STATIONS_AT_ONCE: usize = 256;

/// Ages of the newest phenomenonTime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    pub fresh_max_s: u32,
    pub late_max_s: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StationState {
    Fresh,
    Late,
    Silent,
}

/// One station, as `GET /api/v1/stations` tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StationInfo {
    pub agency: Arc<str>,
    pub station: Arc<str>,
    pub name: Option<String>,
    pub name_en: Option<String>,
    pub commune: Option<CommuneName>,
    pub longitude: Option<f64>,
    pub latitude: Option<f64>,
    /// Sorted.
    pub domains: Vec<Arc<str>>,
    pub datastreams: usize,
    /// Of the newest observation, µs since 1970 UTC.
    #[serde(rename = "phenomenon_time", serialize_with = "as_rfc3339")]
    pub phenomenon_time_us: Option<i64>,
    pub state: StationState,
    /// The newest value of a datastream has the quality 3 (suspect) or 4 (fail).
    pub suspect: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CommuneName {
    pub code: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StationPage {
    pub stations: Vec<StationInfo>,
    /// The cursor of the next page; `None` = this is the last one.
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgencyInfo {
    pub agency: Arc<str>,
    pub name: Option<String>,
    pub name_en: Option<String>,
    pub stations: usize,
}

/// Where a page begins and how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Key of the last item of the page before.
    pub after: Option<Vec<String>>,
    pub limit: usize,
}

#[derive(Debug)]
pub struct Things {
    directory: Directory,
    registry: SharedRegistry,
    /// By datastream.
    states: Shared<Vec<DatastreamState>>,
    freshness: Freshness,
    index: RwLock<Index>,
}

impl Things {
    pub fn new(
        directory: Directory,
        registry: SharedRegistry,
        states: Shared<Vec<DatastreamState>>,
        freshness: Freshness,
    ) -> Self {
        let index = RwLock::new(Index::new(&directory));
        Self { directory, registry, states, freshness, index }
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn registry(&self) -> &SharedRegistry {
        &self.registry
    }

    /// The index with everything that is registered by now. Only those who ask share it.
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        if !index.is_behind(&self.registry) {
            return index;
        }
        drop(index);
        self.index.write().unwrap_or_else(PoisonError::into_inner).refresh(&self.registry, &self.directory);
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: `page.after` is no key of a station.
    pub fn stations(&self, filter: &ThingFilter, page: &Page, now_us: i64) -> Option<StationPage> {
        let index = self.index();
        let start = match page.after.as_deref() {
            None => 0,
            Some([agency, code]) => index.after(agency, code),
            Some(_) => return None,
        };
        let filter = filter.prepare(&index);
        let mut wanted: Vec<&Entry> = index.entries[start..]
            .iter()
            .filter(|entry| filter.includes(entry))
            .take(page.limit + 1)
            .collect();
        let more = wanted.len() > page.limit;
        wanted.truncate(page.limit);
        let next = wanted.last().filter(|_| more).map(|last| cursor(&[&last.agency, &last.code]));
        let mut stations = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(STATIONS_AT_ONCE) {
            let newest: Vec<Newest> = {
                let states = lock(&self.states);
                some.iter().map(|entry| Newest::of(entry, &states)).collect()
            };
            stations.extend(
                some.iter().zip(newest).map(|(entry, newest)| self.station(&index, entry, newest, now_us)),
            );
        }
        Some(StationPage { stations, next })
    }

    fn station(&self, index: &Index, entry: &Entry, newest: Newest, now_us: i64) -> StationInfo {
        let facts = entry.facts.as_deref();
        let place = facts.and_then(|facts| facts.place);
        let commune = facts.and_then(|facts| facts.commune.as_deref());
        let mut domains: Vec<Arc<str>> =
            entry.domains.iter().filter_map(|no| index.domains.get(usize::from(*no)).cloned()).collect();
        domains.sort();
        let age_us = newest.time_us.map(|time_us| now_us.saturating_sub(time_us));
        let within = |max_s: u32| age_us.is_some_and(|age_us| age_us <= i64::from(max_s) * 1_000_000);
        StationInfo {
            agency: entry.agency.clone(),
            station: entry.code.clone(),
            name: facts.map(|facts| facts.name.clone()),
            name_en: facts.and_then(|facts| facts.name_en.clone()),
            commune: commune
                .map(|commune| CommuneName { code: commune.code.clone(), name: commune.name.clone() }),
            longitude: place.map(|place| place.longitude),
            latitude: place.map(|place| place.latitude),
            domains,
            datastreams: entry.datastreams.len(),
            phenomenon_time_us: newest.time_us,
            state: if within(self.freshness.fresh_max_s) {
                StationState::Fresh
            } else if within(self.freshness.late_max_s) {
                StationState::Late
            } else {
                StationState::Silent
            },
            suspect: newest.suspect,
        }
    }

    /// All agencies that are named anywhere, in the order of their codes.
    pub fn agencies(&self) -> Vec<AgencyInfo> {
        let index = self.index();
        let mut counts: std::collections::BTreeMap<Arc<str>, usize> =
            self.directory.agencies().map(|agency| (agency.clone(), 0)).collect();
        for entry in &index.entries {
            *counts.entry(entry.agency.clone()).or_default() += 1;
        }
        counts
            .into_iter()
            .map(|(agency, stations)| {
                let facts = self.directory.agency(&agency);
                AgencyInfo {
                    name: facts.map(|facts| facts.name.clone()),
                    name_en: facts.and_then(|facts| facts.name_en.clone()),
                    agency,
                    stations,
                }
            })
            .collect()
    }

    /// The registry's numbers of a station's datastreams; `None` = there is no such station.
    pub fn datastreams_of(&self, agency: &str, station: &str) -> Option<Vec<u32>> {
        self.index().find(agency, station).map(|entry| entry.datastreams.clone())
    }
}

/// What the states of a station's datastreams come to.
#[derive(Clone, Copy, Debug)]
struct Newest {
    time_us: Option<i64>,
    suspect: bool,
}

impl Newest {
    fn of(entry: &Entry, states: &[DatastreamState]) -> Self {
        let mut newest = Self { time_us: None, suspect: false };
        for state in entry.datastreams.iter().filter_map(|id| states.get(*id as usize)) {
            if state.watermark_us != i64::MIN {
                newest.time_us = newest.time_us.max(Some(state.watermark_us));
                newest.suspect |= matches!(state.quality, 3 | 4);
            }
        }
        newest
    }
}

fn as_rfc3339<S: Serializer>(time_us: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    time_us.map(codecs::time::format_rfc3339).serialize(serializer)
}

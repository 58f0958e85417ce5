//! All stations in the order of their names, with what a filter looks at. Registry and directory together: a station that
//! never sent is there by the operator's word, one that nobody described by its readings.

use std::sync::{Arc, PoisonError};

use super::directory::{Directory, StationFacts};
use super::search::folded;
use crate::registry::SharedRegistry;

/// Names that are copied under one lock of the registry, so that the pipeline never waits long to define one.
const COPIED_AT_ONCE: usize = 16_384;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) agency: Arc<str>,
    pub(super) code: Arc<str>,
    pub(super) facts: Option<Arc<StationFacts>>,
    /// Numbers in [`Index::domains`].
    pub(super) domains: Vec<u16>,
    /// The registry's numbers.
    pub(super) datastreams: Vec<u32>,
    /// Code and names, folded, one per line.
    pub(super) search: Box<str>,
}

/// Bounded by what may register itself (`pipeline.datastreams_max`) and by the operator's file.
#[derive(Debug)]
pub(super) struct Index {
    /// By agency and code.
    pub(super) entries: Vec<Entry>,
    pub(super) domains: Vec<Arc<str>>,
    /// Place in `entries` by the registry's number of a station; number 0 is nobody's.
    places: Vec<usize>,
    datastreams_seen: usize,
}

impl Index {
    /// The stations of the operator's file.
    pub(super) fn new(directory: &Directory) -> Self {
        let mut entries: Vec<Entry> = directory
            .stations()
            .map(|(agency, code)| entry(directory, agency.clone(), code.clone()))
            .collect();
        entries.sort_by(|a, b| (&a.agency, &a.code).cmp(&(&b.agency, &b.code)));
        Self { entries, domains: Vec::new(), places: vec![usize::MAX], datastreams_seen: 0 }
    }

    /// Does the registry know more than this?
    pub(super) fn is_behind(&self, registry: &SharedRegistry) -> bool {
        let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
        registry.station_count() as usize > self.places.len()
            || registry.datastreams().len() > self.datastreams_seen
    }

    /// Takes over what was registered since.
    pub(super) fn refresh(&mut self, registry: &SharedRegistry, directory: &Directory) {
        let mut stations: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        loop {
            let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
            let from = self.places.len() + stations.len();
            let to = (registry.station_count() as usize).min(from + COPIED_AT_ONCE);
            if from >= to {
                break;
            }
            stations.extend((from..to).map(|id| {
                let station = registry.station(id as u32);
                (registry.agency(station.agency).clone(), station.code.clone())
            }));
        }
        if !stations.is_empty() {
            self.add_stations(stations, directory);
        }
        loop {
            let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
            let datastreams = registry.datastreams();
            let to = datastreams.len().min(self.datastreams_seen + COPIED_AT_ONCE);
            if self.datastreams_seen >= to {
                break;
            }
            for (id, datastream) in datastreams.iter().enumerate().take(to).skip(self.datastreams_seen) {
                // Its station was defined before it, perhaps after the stations were copied: then next time.
                let Some(place) = self.places.get(datastream.station as usize) else { return };
                let domain = match self.domains.iter().position(|domain| *domain == datastream.domain) {
                    Some(domain) => domain,
                    None => {
                        self.domains.push(datastream.domain.clone());
                        self.domains.len() - 1
                    }
                };
                if let Some(entry) = self.entries.get_mut(*place) {
                    entry.datastreams.push(id as u32);
                    let domain = domain as u16;
                    if !entry.domains.contains(&domain) {
                        entry.domains.push(domain);
                    }
                }
                self.datastreams_seen = id + 1;
            }
        }
    }

    fn add_stations(&mut self, stations: Vec<(Arc<str>, Arc<str>)>, directory: &Directory) {
        let first_id = self.places.len();
        // Numbers travel with the entries through the sorting.
        let mut ids = vec![None; self.entries.len()];
        for (id, place) in self.places.iter().enumerate() {
            if let Some(held) = ids.get_mut(*place) {
                *held = Some(id);
            }
        }
        let mut known: Vec<(Entry, Option<usize>)> =
            std::mem::take(&mut self.entries).into_iter().zip(ids).collect();
        let described = known.len();
        for (offset, (agency, code)) in stations.into_iter().enumerate() {
            let id = first_id + offset;
            let found = known[..described]
                .binary_search_by(|(entry, _)| (&*entry.agency, &*entry.code).cmp(&(&*agency, &*code)));
            match found {
                Ok(place) => known[place].1 = Some(id),
                Err(_) => known.push((entry(directory, agency, code), Some(id))),
            }
        }
        known.sort_by(|(a, _), (b, _)| (&a.agency, &a.code).cmp(&(&b.agency, &b.code)));
        let last_id = known.iter().filter_map(|(_, id)| *id).max().unwrap_or(0);
        self.places = vec![usize::MAX; last_id + 1];
        for (place, (_, id)) in known.iter().enumerate() {
            if let Some(id) = id {
                self.places[*id] = place;
            }
        }
        self.entries = known.into_iter().map(|(entry, _)| entry).collect();
    }

    /// Where the entries behind this name begin.
    pub(super) fn after(&self, agency: &str, code: &str) -> usize {
        self.entries.partition_point(|entry| (&*entry.agency, &*entry.code) <= (agency, code))
    }

    /// Where the entries from this name on begin.
    pub(super) fn from(&self, agency: &str, code: &str) -> usize {
        self.entries.partition_point(|entry| (&*entry.agency, &*entry.code) < (agency, code))
    }

    pub(super) fn find(&self, agency: &str, code: &str) -> Option<&Entry> {
        self.entries
            .get(self.from(agency, code))
            .filter(|entry| (&*entry.agency, &*entry.code) == (agency, code))
    }

    pub(super) fn domain_no(&self, domain: &str) -> Option<u16> {
        self.domains.iter().position(|known| **known == *domain).map(|at| at as u16)
    }
}

fn entry(directory: &Directory, agency: Arc<str>, code: Arc<str>) -> Entry {
    let facts = directory.station(&agency, &code).cloned();
    let mut search = folded(&code);
    if let Some(facts) = &facts {
        for name in std::iter::once(&facts.name).chain(&facts.name_en) {
            search.push('\n');
            search.push_str(&folded(name));
        }
    }
    Entry { agency, code, facts, domains: Vec::new(), datastreams: Vec::new(), search: search.into() }
}

//! Names to numbers on the pipeline's side: look-ups without a lock, definitions at first sight, bounds on all of them.

use std::hash::BuildHasher;
use std::sync::Arc;

use codecs::property_catalogue::{self, Domain};
use codecs::units;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};

use super::mapping::{TopicMeaning, topic_meaning};
use crate::observation::Definition;
use crate::registry::SharedRegistry;

/// Topics whose meaning is remembered; when there are more, the memory starts anew.
const TOPICS_REMEMBERED_MAX: usize = 65_536;
/// Units as sent that are remembered.
const UNITS_MAX: usize = 1_024;

/// How many names there may be: what a stranger can make grow, and how far.
#[derive(Clone, Debug)]
pub struct DictionaryLimits {
    pub clients_max: u32,
    pub agencies_max: u32,
    pub stations_per_agency_max: u32,
    pub datastreams_per_station_max: u32,
    pub datastreams_max: u32,
    /// Statuses and units.
    pub symbols_max: u32,
}

/// A name that would go over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryLimit {
    pub what: &'static str,
    pub most: u32,
}

/// What a topic leads to, in numbers.
#[derive(Clone, Debug)]
pub enum Route {
    Observations { agency: u32, station: u32, property: Option<Arc<str>> },
    Invalid { agency: u32, sentence: Arc<str> },
    Limit { agency: u32, limit: RegistryLimit },
}

/// What is known of a unit as sent.
#[derive(Clone, Copy, Debug)]
pub struct SentUnit {
    /// Number of this spelling.
    pub id: u32,
    pub canonical: Option<&'static str>,
}

#[derive(Debug)]
pub struct Dictionary {
    registry: SharedRegistry,
    limits: DictionaryLimits,
    hasher: RandomState,
    topics: HashMap<Box<[u8]>, Route, RandomState>,
    clients: HashMap<Box<[u8]>, u32, RandomState>,
    last_client: (Box<[u8]>, u32),
    datastreams: HashTable<u32>,
    datastream_keys: Vec<DatastreamKey>,
    symbols: HashMap<Box<str>, u32, RandomState>,
    units: HashMap<Box<str>, SentUnit, RandomState>,
    next_unit: u32,
    stations_of_agency: Vec<u32>,
    datastreams_of_station: Vec<u32>,
}

#[derive(Debug)]
struct DatastreamKey {
    station: u32,
    period_s: u32,
    property: Box<str>,
}

impl Dictionary {
    /// Starts from what the registry holds.
    pub fn new(registry: SharedRegistry, limits: DictionaryLimits) -> Self {
        let mut dictionary = Self {
            registry: registry.clone(),
            limits,
            hasher: RandomState::default(),
            topics: HashMap::default(),
            clients: HashMap::default(),
            last_client: (Box::default(), 0),
            datastreams: HashTable::new(),
            datastream_keys: Vec::new(),
            symbols: HashMap::default(),
            units: HashMap::default(),
            next_unit: 0,
            stations_of_agency: Vec::new(),
            datastreams_of_station: Vec::new(),
        };
        let known = registry.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        for id in 1..known.client_count() {
            dictionary.clients.insert(known.client(id).as_bytes().into(), id);
        }
        for id in 1..known.symbol_count() {
            dictionary.symbols.insert((&**known.symbol(id)).into(), id);
        }
        for id in 1..known.station_count() {
            dictionary.count_station(known.station(id).agency);
        }
        for datastream in known.datastreams() {
            dictionary.remember_datastream(datastream.station, datastream.period_s, &datastream.property);
        }
        dictionary
    }

    /// The route of a topic under `obs/`.
    pub fn route(&mut self, topic: &[u8], definitions: &mut Vec<Definition>) -> &Route {
        // Looked up twice on a hit: the borrow checker does not let a found entry be returned past the insertion.
        if !self.topics.contains_key(topic) {
            if self.topics.len() >= TOPICS_REMEMBERED_MAX {
                self.topics.clear();
            }
            let route = self.make_route(topic, definitions);
            self.topics.insert(topic.into(), route);
        }
        &self.topics[topic]
    }

    fn make_route(&mut self, topic: &[u8], definitions: &mut Vec<Definition>) -> Route {
        let Ok(text) = std::str::from_utf8(topic) else {
            return Route::Invalid { agency: 0, sentence: "the topic is not UTF-8".into() };
        };
        match topic_meaning(text) {
            TopicMeaning::Observations { agency, station, property } => {
                let agency_id = match self.agency(&agency, definitions) {
                    Ok(id) => id,
                    Err(limit) => return Route::Limit { agency: 0, limit },
                };
                match self.station(agency_id, &station, definitions) {
                    Ok(station) => {
                        Route::Observations { agency: agency_id, station, property: property.map(Into::into) }
                    }
                    Err(limit) => Route::Limit { agency: agency_id, limit },
                }
            }
            TopicMeaning::Invalid { agency, sentence } => {
                let agency = agency.and_then(|agency| self.known_agency(&agency)).unwrap_or(0);
                Route::Invalid { agency, sentence: sentence.into() }
            }
            TopicMeaning::Ordinary => {
                Route::Invalid { agency: 0, sentence: "the topic is not under obs/".into() }
            }
        }
    }

    fn known_agency(&self, code: &str) -> Option<u32> {
        self.registry.read().unwrap_or_else(std::sync::PoisonError::into_inner).agency_id(code)
    }

    fn agency(&mut self, code: &str, definitions: &mut Vec<Definition>) -> Result<u32, RegistryLimit> {
        if let Some(id) = self.known_agency(code) {
            return Ok(id);
        }
        let id = self.registry.read().unwrap_or_else(std::sync::PoisonError::into_inner).agency_count();
        if id >= self.limits.agencies_max {
            return Err(RegistryLimit { what: "agencies", most: self.limits.agencies_max });
        }
        self.define(Definition::Agency { id, code: code.to_owned() }, definitions);
        Ok(id)
    }

    fn station(
        &mut self,
        agency: u32,
        code: &str,
        definitions: &mut Vec<Definition>,
    ) -> Result<u32, RegistryLimit> {
        let registry = self.registry.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(id) = registry.station_id(agency, code) {
            return Ok(id);
        }
        let id = registry.station_count();
        drop(registry);
        let count = self.stations_of_agency.get(agency as usize).copied().unwrap_or(0);
        if count >= self.limits.stations_per_agency_max {
            return Err(RegistryLimit {
                what: "stations of this agency",
                most: self.limits.stations_per_agency_max,
            });
        }
        self.count_station(agency);
        self.define(Definition::Station { id, agency, code: code.to_owned() }, definitions);
        Ok(id)
    }

    /// The number of a client; 0 ("other") when there are too many.
    pub fn client(&mut self, name: &[u8], definitions: &mut Vec<Definition>) -> u32 {
        if *self.last_client.0 == *name {
            return self.last_client.1;
        }
        let id = match self.clients.get(name) {
            Some(id) => *id,
            None => {
                let id =
                    self.registry.read().unwrap_or_else(std::sync::PoisonError::into_inner).client_count();
                if id >= self.limits.clients_max {
                    return 0;
                }
                self.clients.insert(name.into(), id);
                self.define(
                    Definition::Client { id, name: String::from_utf8_lossy(name).into_owned() },
                    definitions,
                );
                id
            }
        };
        self.last_client = (name.into(), id);
        id
    }

    /// The number of a status or unit.
    pub fn symbol(&mut self, text: &str, definitions: &mut Vec<Definition>) -> Result<u32, RegistryLimit> {
        if text.is_empty() {
            return Ok(0);
        }
        if let Some(id) = self.symbols.get(text) {
            return Ok(*id);
        }
        let id = self.symbols.len() as u32 + 1;
        if id > self.limits.symbols_max {
            return Err(RegistryLimit {
                what: "different statuses and units",
                most: self.limits.symbols_max,
            });
        }
        self.symbols.insert(text.into(), id);
        self.define(Definition::Symbol { id, text: text.to_owned() }, definitions);
        Ok(id)
    }

    /// The domain that a reading's datastream has, or would get.
    pub fn domain(&self, station: u32, property: &str, period_s: u32) -> Arc<str> {
        if let Some(id) = self.find_datastream(station, property, period_s) {
            let registry = self.registry.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            return registry.datastream(id).domain.clone();
        }
        let entry = property_catalogue::property(codecs::name::base(property));
        entry.map_or(Domain::Other, |entry| entry.domain).as_str().into()
    }

    /// What the unit table says of a unit as sent.
    pub fn unit(&mut self, sent: &str) -> SentUnit {
        if let Some(unit) = self.units.get(sent) {
            return *unit;
        }
        if self.units.len() >= UNITS_MAX {
            self.units.clear();
        }
        // Never given twice, also when the memory started anew: hot rows remember them.
        let unit = SentUnit { id: self.next_unit, canonical: units::normalise(sent) };
        self.next_unit = self.next_unit.wrapping_add(1);
        self.units.insert(sent.into(), unit);
        unit
    }

    /// The number of a known datastream.
    #[inline]
    pub fn find_datastream(&self, station: u32, property: &str, period_s: u32) -> Option<u32> {
        let hash = self.datastream_hash(station, property, period_s);
        self.datastreams
            .find(hash, |id| {
                let key = &self.datastream_keys[*id as usize];
                key.station == station && key.period_s == period_s && *key.property == *property
            })
            .copied()
    }

    /// Makes a datastream; gives its number and its unit. A property outside the catalogue has no unit of its own: each of its
    /// readings keeps the one it came with, whatever came before it.
    pub fn make_datastream(
        &mut self,
        station: u32,
        property: &str,
        period_s: u32,
        definitions: &mut Vec<Definition>,
    ) -> Result<(u32, u32), RegistryLimit> {
        let id = self.datastream_keys.len() as u32;
        let of_station = self.datastreams_of_station.get(station as usize).copied().unwrap_or(0);
        if of_station >= self.limits.datastreams_per_station_max {
            return Err(RegistryLimit {
                what: "datastreams of this station",
                most: self.limits.datastreams_per_station_max,
            });
        }
        if id >= self.limits.datastreams_max {
            return Err(RegistryLimit { what: "datastreams", most: self.limits.datastreams_max });
        }
        let entry = property_catalogue::property(codecs::name::base(property));
        let unit = self.symbol(entry.and_then(|entry| entry.unit).unwrap_or(""), definitions)?;
        let domain = entry.map_or(Domain::Other, |entry| entry.domain);
        self.remember_datastream(station, period_s, property);
        let definition = Definition::Datastream {
            id,
            station,
            property: property.to_owned(),
            period_s,
            domain: domain.as_str().to_owned(),
            unit,
        };
        self.define(definition, definitions);
        Ok((id, unit))
    }

    /// Looks at a datastream's name.
    pub fn with_datastream_name<T>(&self, id: u32, look: impl FnOnce(&str) -> T) -> T {
        look(&self.registry.read().unwrap_or_else(std::sync::PoisonError::into_inner).datastream(id).name)
    }

    /// The text of a symbol.
    pub fn symbol_text(&self, id: u32) -> Arc<str> {
        self.registry.read().unwrap_or_else(std::sync::PoisonError::into_inner).symbol(id).clone()
    }

    fn datastream_hash(&self, station: u32, property: &str, period_s: u32) -> u64 {
        self.hasher.hash_one((u64::from(station) << 32 | u64::from(period_s), property))
    }

    fn remember_datastream(&mut self, station: u32, period_s: u32, property: &str) {
        let id = self.datastream_keys.len() as u32;
        let hash = self.datastream_hash(station, property, period_s);
        self.datastream_keys.push(DatastreamKey { station, period_s, property: property.into() });
        let (keys, hasher) = (&self.datastream_keys, &self.hasher);
        self.datastreams.insert_unique(hash, id, |id| {
            let key = &keys[*id as usize];
            hasher.hash_one((u64::from(key.station) << 32 | u64::from(key.period_s), &*key.property))
        });
        count(&mut self.datastreams_of_station, station);
    }

    fn count_station(&mut self, agency: u32) {
        count(&mut self.stations_of_agency, agency);
    }

    fn define(&self, definition: Definition, definitions: &mut Vec<Definition>) {
        self.registry.write().unwrap_or_else(std::sync::PoisonError::into_inner).apply(&definition);
        definitions.push(definition);
    }
}

fn count(counts: &mut Vec<u32>, index: u32) {
    let index = index as usize;
    if counts.len() <= index {
        counts.resize(index + 1, 0);
    }
    counts[index] += 1;
}

//! Names and their numbers: agencies, stations, datastreams, clients, symbols (statuses and units).
//!
//! Append-only and dense: the pipeline makes a [`Definition`] at first sight, the definition travels in the observation
//! frame that first uses it, the catalogue keeps it. Number 0 of agencies, stations, clients and symbols means "none".

use std::sync::{Arc, RwLock};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::observation::Definition;

/// Shared by the stages; the pipeline writes at first sight of a name, the others take a read lock once per frame or request.
pub type SharedRegistry = Arc<RwLock<Registry>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    pub agency: u32,
    pub code: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datastream {
    pub station: u32,
    /// Property with its qualifiers, canonical.
    pub property: Arc<str>,
    /// 0 = instantaneous.
    pub period_s: u32,
    pub domain: Arc<str>,
    /// Symbol of the canonical unit.
    pub unit: u32,
    /// `{agency}/{station}/{property}`: the name of the outside contract. Datastreams that differ only in their period
    /// share it.
    pub name: Arc<str>,
}

#[derive(Clone, Debug)]
pub struct Registry {
    agencies: Vec<Arc<str>>,
    clients: Vec<Arc<str>>,
    datastreams: Vec<Datastream>,
    stations: Vec<Station>,
    symbols: Vec<Arc<str>>,
    agency_ids: HashMap<Arc<str>, u32, RandomState>,
    client_ids: HashMap<Arc<str>, u32, RandomState>,
    datastream_ids: HashMap<Arc<str>, Vec<u32>, RandomState>,
    station_ids: HashMap<(u32, Arc<str>), u32, RandomState>,
    symbol_ids: HashMap<Arc<str>, u32, RandomState>,
}

impl Default for Registry {
    fn default() -> Self {
        let none: Arc<str> = "".into();
        Self {
            agencies: vec![none.clone()],
            clients: vec![none.clone()],
            datastreams: Vec::new(),
            stations: vec![Station { agency: 0, code: none.clone() }],
            symbols: vec![none],
            agency_ids: HashMap::default(),
            client_ids: HashMap::default(),
            datastream_ids: HashMap::default(),
            station_ids: HashMap::default(),
            symbol_ids: HashMap::default(),
        }
    }
}

impl Registry {
    /// Takes over a definition. Known ids are left as they are, so that a replay may repeat them; an id must be known or
    /// the next one.
    pub fn apply(&mut self, definition: &Definition) {
        match definition {
            Definition::Agency { id, code } => {
                define(&mut self.agencies, &mut self.agency_ids, *id, code);
            }
            Definition::Client { id, name } => {
                define(&mut self.clients, &mut self.client_ids, *id, name);
            }
            Definition::Symbol { id, text } => {
                define(&mut self.symbols, &mut self.symbol_ids, *id, text);
            }
            Definition::Station { id, agency, code } => {
                if self.stations.len() == *id as usize {
                    let code: Arc<str> = code.as_str().into();
                    self.station_ids.insert((*agency, code.clone()), *id);
                    self.stations.push(Station { agency: *agency, code });
                }
            }
            Definition::Datastream { id, station, property, period_s, domain, unit } => {
                if self.datastreams.len() == *id as usize {
                    let name: Arc<str> = self.datastream_name(*station, property).into();
                    self.datastream_ids.entry(name.clone()).or_default().push(*id);
                    self.datastreams.push(Datastream {
                        station: *station,
                        property: property.as_str().into(),
                        period_s: *period_s,
                        domain: domain.as_str().into(),
                        unit: *unit,
                        name,
                    });
                }
            }
        }
    }

    pub fn datastream_name(&self, station: u32, property: &str) -> String {
        // A station or agency that is not there would be damage to the catalogue, which must not end `journal verify`.
        let station = self.stations.get(station as usize).unwrap_or(&self.stations[0]);
        let agency = self.agencies.get(station.agency as usize).unwrap_or(&self.agencies[0]);
        format!("{agency}/{}/{property}", station.code)
    }

    pub fn agency(&self, id: u32) -> &Arc<str> {
        &self.agencies[id as usize]
    }

    pub fn client(&self, id: u32) -> &Arc<str> {
        &self.clients[id as usize]
    }

    pub fn symbol(&self, id: u32) -> &Arc<str> {
        &self.symbols[id as usize]
    }

    pub fn station(&self, id: u32) -> &Station {
        &self.stations[id as usize]
    }

    pub fn datastream(&self, id: u32) -> &Datastream {
        &self.datastreams[id as usize]
    }

    pub fn datastreams(&self) -> &[Datastream] {
        &self.datastreams
    }

    pub fn agency_id(&self, code: &str) -> Option<u32> {
        self.agency_ids.get(code).copied()
    }

    pub fn client_id(&self, name: &str) -> Option<u32> {
        self.client_ids.get(name).copied()
    }

    pub fn symbol_id(&self, text: &str) -> Option<u32> {
        self.symbol_ids.get(text).copied()
    }

    pub fn station_id(&self, agency: u32, code: &str) -> Option<u32> {
        self.station_ids.get(&(agency, Arc::from(code))).copied()
    }

    /// All datastreams of that name, one for each period.
    pub fn datastream_ids(&self, name: &str) -> &[u32] {
        self.datastream_ids.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn agency_count(&self) -> u32 {
        self.agencies.len() as u32
    }

    pub fn client_count(&self) -> u32 {
        self.clients.len() as u32
    }

    pub fn station_count(&self) -> u32 {
        self.stations.len() as u32
    }

    pub fn symbol_count(&self) -> u32 {
        self.symbols.len() as u32
    }
}

fn define(names: &mut Vec<Arc<str>>, ids: &mut HashMap<Arc<str>, u32, RandomState>, id: u32, name: &str) {
    if names.len() == id as usize {
        let name: Arc<str> = name.into();
        names.push(name.clone());
        ids.insert(name, id);
    }
}

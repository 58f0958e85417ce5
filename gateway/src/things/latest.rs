//! The newest observation of each datastream, as its feed says it, with its names beside.

use std::sync::PoisonError;

use super::filter::ThingFilter;
use super::{Page, Things};
use crate::feeds::{LastValue, write_named_observation};
use crate::keeper::lock;
use crate::parameters::cursor;

/// Datastreams whose states are copied, and whose names are looked up, under one lock.
const DATASTREAMS_AT_ONCE: usize = 256;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatestFilter {
    /// `domain` is that of the datastream.
    pub things: ThingFilter,
    pub property: Option<String>,
}

/// Each observation is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestPage {
    pub observations: Vec<String>,
    pub next: Option<String>,
}

impl Things {
    /// Ordered by agency, station, property, period. `None`: `page.after` is no key of a datastream.
    pub fn latest(&self, filter: &LatestFilter, page: &Page) -> Option<LatestPage> {
        let index = self.index();
        let (start, after) = match page.after.as_deref() {
            None => (0, None),
            Some([agency, code, property, period]) => (
                index.from(agency, code),
                Some((agency, code, property.as_str(), period.parse::<u32>().ok()?)),
            ),
            Some(_) => return None,
        };
        let prepared = filter.things.prepare(&index);
        let mut pending: Vec<u32> = Vec::new();
        let mut latest =
            Collected { observations: Vec::new(), last_key: None, limit: page.limit, more: false };
        for entry in index.entries[start..].iter().filter(|entry| prepared.includes(entry)) {
            let behind = after.filter(|(agency, code, ..)| {
                (**agency).as_str() == &*entry.agency && (**code).as_str() == &*entry.code
            });
            let mut keys: Vec<(std::sync::Arc<str>, u32, u32)> = {
                let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
                entry
                    .datastreams
                    .iter()
                    .map(|id| (*id, registry.datastream(*id)))
                    .filter(|(_, datastream)| {
                        filter.things.domain.as_deref().is_none_or(|domain| domain == &*datastream.domain)
                            && filter
                                .property
                                .as_deref()
                                .is_none_or(|property| property == &*datastream.property)
                    })
                    .map(|(id, datastream)| (datastream.property.clone(), datastream.period_s, id))
                    .collect()
            };
            keys.sort();
            pending.extend(
                keys.iter()
                    .filter(|(property, period_s, _)| {
                        behind.is_none_or(|(_, _, of, at)| (&**property, *period_s) > (of, at))
                    })
                    .map(|(.., id)| *id),
            );
            while pending.len() >= DATASTREAMS_AT_ONCE && !latest.more {
                let rest = pending.split_off(DATASTREAMS_AT_ONCE);
                self.add(&pending, &mut latest);
                pending = rest;
            }
            if latest.more {
                break;
            }
        }
        self.add(&pending, &mut latest);
        let next = latest.last_key.filter(|_| latest.more);
        Some(LatestPage { observations: latest.observations, next })
    }

    fn add(&self, datastreams: &[u32], latest: &mut Collected) {
        for some in datastreams.chunks(DATASTREAMS_AT_ONCE) {
            let values: Vec<(u32, LastValue)> = {
                let states = lock(&self.states);
                some.iter()
                    .filter_map(|id| Some((*id, LastValue::of_state(states.get(*id as usize)?)?)))
                    .collect()
            };
            let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
            for (id, value) in values {
                if latest.observations.len() == latest.limit {
                    latest.more = true;
                    return;
                }
                let datastream = registry.datastream(id);
                let station = registry.station(datastream.station);
                let mut json = String::with_capacity(320);
                write_named_observation(&mut json, &registry, datastream, &value, false);
                latest.observations.push(json);
                if latest.observations.len() == latest.limit {
                    let period = datastream.period_s.to_string();
                    latest.last_key = Some(cursor(&[
                        registry.agency(station.agency),
                        &station.code,
                        &datastream.property,
                        &period,
                    ]));
                }
            }
        }
    }
}

struct Collected {
    observations: Vec<String>,
    /// Cursor of the last one that the page takes.
    last_key: Option<String>,
    limit: usize,
    more: bool,
}

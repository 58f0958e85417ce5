//! A small city, for tests.

use std::sync::{Arc, Mutex, RwLock};

use super::{Directory, Freshness, Things};
use crate::catalogue::DatastreamState;
use crate::observation::{Definition, ResultKind};
use crate::registry::{Registry, SharedRegistry};

/// 2026-11-21T01:05:00Z.
const TIME_US: i64 = 1_795_223_100_000_000;

const STATIONS: &str = "agency,station,name,name_en,commune,latitude,longitude\n\
    H24.05,KHI003,Trạm không khí Ngô Quyền,Ngo Quyen air,11329,20.86,106.69\n\
    H24.05,NEVER,Trạm Đồ Sơn,,11455,20.71,106.78\n\
    H24.06,TRIEU1,Hòn Dấu,Hon Dau tide,,20.67,106.82\n";
const AGENCIES: &str = "agency,name,name_en\nH24.05,Sở Nông nghiệp và Môi trường,\nH24.09,Sở Y tế,Health\n";

/// Names of [`city`]: datastreams `H24.05/KHI003/pm2_5`, `…/door`, `…/note`, `H24.06/TRIEU1/water_level`, `X/lonely/pm2_5`.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    for (id, code) in [(1, "H24.05"), (2, "H24.06"), (3, "X")] {
        registry.apply(&Definition::Agency { id, code: code.to_owned() });
    }
    for (id, agency, code) in [(1, 1, "KHI003"), (2, 2, "TRIEU1"), (3, 3, "lonely")] {
        registry.apply(&Definition::Station { id, agency, code: code.to_owned() });
    }
    for (id, text) in [(1, "ug/m3"), (2, "m")] {
        registry.apply(&Definition::Symbol { id, text: text.to_owned() });
    }
    for (id, station, property, domain, unit) in [
        (0, 1, "pm2_5", "environment", 1),
        (1, 1, "door", "other", 0),
        (2, 1, "note", "other", 0),
        (3, 2, "water_level", "water", 2),
        (4, 3, "pm2_5", "environment", 1),
    ] {
        registry.apply(&Definition::Datastream {
            id,
            station,
            property: property.to_owned(),
            period_s: 0,
            domain: domain.to_owned(),
            unit,
        });
    }
    registry
}

pub(crate) fn state(time_us: i64, kind: ResultKind, value: u64, quality: u8, unit: u32) -> DatastreamState {
    DatastreamState {
        watermark_us: time_us,
        kind,
        value,
        text: if kind == ResultKind::Text { "mưa \"to\"".to_owned() } else { String::new() },
        ordinal: 0,
        quality,
        flags: 0,
        rank: 0,
        unit,
        status: 0,
        seq_plus_1: 1043,
        revision: 0,
        position: 93_112,
        result_time_us: TIME_US + 214_000,
        last_undated_us: 0,
        observations: 1,
    }
}

pub(crate) fn states() -> Vec<DatastreamState> {
    vec![
        state(TIME_US, ResultKind::Number, 38.4_f64.to_bits(), 1, 1),
        state(i64::MIN, ResultKind::Null, 0, 0, 0),
        state(TIME_US - 10_000_000, ResultKind::Text, 0, 2, 0),
        state(TIME_US - 3_600_000_000, ResultKind::Number, 1.27_f64.to_bits(), 3, 2),
        state(TIME_US - 90_000_000_000, ResultKind::Number, 7.0_f64.to_bits(), 1, 1),
    ]
}

pub(crate) fn directory() -> Directory {
    let mut directory = Directory::of_communes().expect("the communes that come with the gateway");
    directory.read_agencies("agencies.csv", AGENCIES).expect("agencies");
    directory.read_stations("stations.csv", STATIONS).expect("stations");
    directory
}

pub(crate) fn city() -> Things {
    city_of(Arc::new(RwLock::new(registry())), states())
}

pub(crate) fn city_of(registry: SharedRegistry, states: Vec<DatastreamState>) -> Things {
    let freshness = Freshness { fresh_max_s: 900, late_max_s: 7_200 };
    Things::new(directory(), registry, Arc::new(Mutex::new(states)), freshness)
}

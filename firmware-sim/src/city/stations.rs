//! The stations of a city. Station n is the same whatever the number of stations: a larger city only has more of them.

use std::collections::HashMap;

use super::kinds::{
    Agency, BACH_LONG_VI, CAT_HAI, COASTAL_COMMUNES, DO_SON, HON_DAU, KindFacts, RIVER_GAUGES, StationKind,
};
use super::noise;
use super::places::{Commune, communes, without_accents};
use super::sky::Place;
use crate::ledger::Format;
use crate::message::Text;
use crate::payload::TimeStyle;
use crate::random::Random;
use crate::sim::FormatChoice;

/// Most stations of one city; each takes about a kilobyte.
pub const STATIONS_MAX: usize = 100_000;
/// A commune of twice this area has three turns where a small one has one.
const AREA_KM2_PER_TURN: f64 = 60.0;
/// Streams of chance from here on belong to stations, 256 for each.
const STREAM_STATIONS: u64 = 1 << 16;
const STREAMS_PER_STATION: u64 = 256;
/// The shuffling of communes, one stream per kind.
const STREAM_SHUFFLE: u64 = 1 << 12;

/// One station.
#[derive(Clone, Debug, PartialEq)]
pub struct Station {
    /// In the city, from 0.
    pub index: usize,
    pub kind: StationKind,
    pub agency: Agency,
    /// Unique within the agency.
    pub code: String,
    /// Vietnamese.
    pub name: String,
    pub name_en: String,
    /// Official code of the commune, its former district, and whether it lies on an island.
    pub commune: String,
    pub region: String,
    pub is_island: bool,
    pub latitude: f64,
    pub longitude: f64,
    pub interval_s: u32,
    pub format: Format,
    /// It sends bare values, has no clock and stores nothing: what it can't send at once is gone.
    pub has_no_clock: bool,
    /// Of its kind, from 0: two neighbours in this order may have their sensors swapped.
    pub(super) number: usize,
    pub(super) place: Place,
    pub(super) time_style: TimeStyle,
    /// From 0 to 1: how this station differs from others of its kind.
    pub(super) character: f64,
    pub(super) topic_agency: Text,
    pub(super) topic_station: Text,
}

impl Station {
    /// A stream of chance of this station.
    pub(super) fn stream(&self, purpose: u64) -> u64 {
        STREAM_STATIONS + self.index as u64 * STREAMS_PER_STATION + purpose
    }

    pub(super) fn facts(&self) -> KindFacts {
        self.kind.facts()
    }

    pub(super) fn interval_us(&self) -> i64 {
        i64::from(self.interval_s) * 1_000_000
    }
}

/// The first `count` stations of a seed.
pub(super) fn stations(
    seed: u64,
    count: usize,
    interval_scale: f64,
    format: Option<FormatChoice>,
) -> Vec<Station> {
    let communes = communes();
    let candidates = StationKind::ALL.map(|kind| candidates(seed, kind, &communes));
    let mut numbers = [0; StationKind::ALL.len()];
    let mut turns: HashMap<(StationKind, usize), usize> = HashMap::new();
    (0..count)
        .map(|index| {
            let kind_at = next_kind(&numbers, index);
            let number = numbers[kind_at];
            numbers[kind_at] += 1;
            let kind = StationKind::ALL[kind_at];
            let of_kind = &candidates[kind_at];
            let commune_at = of_kind[number % of_kind.len()];
            let turn = turns.entry((kind, commune_at)).or_default();
            *turn += 1;
            let commune = &communes[commune_at];
            let mut station = station(seed, index, kind, number, commune, *turn);
            station.interval_s =
                (f64::from(kind.facts().interval_s) * interval_scale).round().max(1.0) as u32;
            station.format = format.map_or(station.format, |format| format.of_station(index));
            station.has_no_clock &= station.format == Format::Bare;
            name_known(&mut station, &communes);
            station
        })
        .collect()
}

/// The kind that is furthest behind its share.
fn next_kind(numbers: &[usize], index: usize) -> usize {
    let lack =
        |at: usize| StationKind::ALL[at].facts().weight * (index + 1) as f64 / 100.0 - numbers[at] as f64;
    (0..numbers.len()).max_by(|left, right| lack(*left).total_cmp(&lack(*right))).unwrap_or_default()
}

/// Communes where stations of a kind may stand, in the order in which they get theirs.
fn candidates(seed: u64, kind: StationKind, communes: &[Commune]) -> Vec<usize> {
    let fits = |commune: &Commune| match kind {
        StationKind::TideGauge => COASTAL_COMMUNES.contains(&commune.code.as_str()),
        StationKind::RiverGauge => !commune.is_island,
        StationKind::AirReference | StationKind::Drain => commune.is_ward,
        StationKind::Traffic | StationKind::Pumps => commune.code != BACH_LONG_VI,
        _ => true,
    };
    // A large commune gets its turn more often than a small one.
    let copies = |index: usize| 1 + (communes[index].area_km2 / AREA_KM2_PER_TURN) as usize;
    let fitting = (0..communes.len()).filter(|index| fits(&communes[*index]));
    let mut order: Vec<usize> = fitting.flat_map(|index| std::iter::repeat_n(index, copies(index))).collect();
    let mut random = Random::new(seed, STREAM_SHUFFLE + kind as u64);
    for at in (1..order.len()).rev() {
        order.swap(at, random.between(0, at as u64) as usize);
    }
    // Every city of some size has a few stations on the islands, and the tide gauge at Hòn Dấu.
    let first = match kind {
        StationKind::RainGauge | StationKind::AirSensor => CAT_HAI,
        StationKind::Weather => BACH_LONG_VI,
        StationKind::TideGauge => DO_SON,
        _ => return order,
    };
    if let Some(at) = order.iter().position(|index| communes[*index].code == first) {
        order.swap(0, at);
    }
    order
}

fn station(
    seed: u64,
    index: usize,
    kind: StationKind,
    number: usize,
    commune: &Commune,
    turn: usize,
) -> Station {
    let facts = kind.facts();
    let mut random = noise::random(seed, STREAM_STATIONS + index as u64 * STREAMS_PER_STATION, 0);
    let place = scattered(commune, &mut random);
    let (latitude, longitude) = place.coordinates();
    // The first of a commune needs no number.
    let suffix = if turn > 1 { format!(" {turn}") } else { String::new() };
    let code = format!("{}{:03}", facts.code, number + 1);
    let styles =
        [TimeStyle::LocalText, TimeStyle::UtcText, TimeStyle::EpochMilliseconds, TimeStyle::EpochSeconds];
    let format = match (random.unit(), kind) {
        // One value per message is for simple boxes.
        (chance, StationKind::Lighting | StationKind::RainGauge | StationKind::TideGauge) if chance < 0.3 => {
            Format::Bare
        }
        (chance, _) if chance < 0.6 => Format::Json,
        _ => Format::Flatbuffers,
    };
    Station {
        index,
        kind,
        agency: facts.agency,
        topic_agency: facts.agency.code.into(),
        topic_station: code.clone().into(),
        code,
        name: format!("{} {}{suffix}", facts.name, commune.name),
        name_en: format!("{} {}{suffix}", facts.name_en, without_accents(&commune.name)),
        commune: commune.code.clone(),
        region: commune.region.clone(),
        is_island: commune.is_island,
        latitude,
        longitude,
        interval_s: facts.interval_s,
        has_no_clock: kind == StationKind::Lighting,
        format,
        number,
        place,
        time_style: styles[random.between(0, 3) as usize],
        character: random.unit(),
    }
}

fn scattered(commune: &Commune, random: &mut Random) -> Place {
    let (distance_km, angle) =
        (commune.radius_km * random.unit().sqrt(), std::f64::consts::TAU * random.unit());
    Place {
        east_km: commune.middle.east_km + distance_km * angle.cos(),
        north_km: commune.middle.north_km + distance_km * angle.sin(),
    }
}

/// Gauges that exist have their own names.
fn name_known(station: &mut Station, communes: &[Commune]) {
    let facts = station.facts();
    if station.kind == StationKind::TideGauge && station.number == 0 {
        let (name, latitude, longitude) = HON_DAU;
        (station.latitude, station.longitude) = (latitude, longitude);
        station.place = Place::new(latitude, longitude);
        station.name = format!("{} {name}", facts.name);
        station.name_en = format!("{} {}", facts.name_en, without_accents(name));
    }
    let Some(known) = RIVER_GAUGES.get(station.number).filter(|_| station.kind == StationKind::RiverGauge)
    else {
        return;
    };
    if let Some(commune) = communes.iter().find(|commune| commune.code == known.commune) {
        station.place = commune.middle;
        (station.latitude, station.longitude) = commune.middle.coordinates();
        (station.commune, station.region) = (commune.code.clone(), commune.region.clone());
        station.is_island = commune.is_island;
        station.name = format!("{} {} (sông {})", facts.name, known.name, known.river);
        let (name, river) = (without_accents(known.name), without_accents(known.river));
        station.name_en = format!("{} {name} ({river} river)", facts.name_en);
    }
}

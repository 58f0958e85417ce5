//! A city as a whole; its parts have their tests beside them.

mod broker;
mod faults;
mod storms;

use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::client::Planned;
use crate::csv::CsvReader;
use crate::ledger::{Format, Kind};
use crate::message::{Reading, Value};
use crate::time;
use codecs::{property_catalogue, units};

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3600 * SECOND_US;

/// 21 November 2026, 08:00 in Hải Phòng.
fn start_us() -> i64 {
    time::parse("2026-11-21T08:00:00+07:00").expect("legal")
}

fn config() -> CityConfig {
    CityConfig { stations: 120, seed: 7, connections: 6, ..CityConfig::default() }
}

fn city(config: CityConfig) -> City {
    City::new(config).expect("a good configuration")
}

/// By connection: when a message was sent, and which.
type SentByBox = Vec<Vec<(i64, Planned)>>;

/// What all connections send while the clock goes from `from_us` to `until_us`, with the time of sending.
fn sent(city: &City, control: &Arc<CityControl>, from_us: i64, until_us: i64) -> SentByBox {
    let course = Course { from_us, begun_us: from_us, speed: None };
    let boxes = city.edge_boxes(course, control);
    boxes.into_iter().map(|mut edge_box| drive(&mut edge_box, from_us, until_us)).collect()
}

fn drive(edge_box: &mut EdgeBox, from_us: i64, until_us: i64) -> Vec<(i64, Planned)> {
    let mut now_us = from_us;
    let mut sent = Vec::new();
    while now_us < until_us {
        if edge_box.is_cut_off(now_us) {
            now_us += SECOND_US;
            continue;
        }
        match edge_box.wait_us(now_us) {
            0 => match edge_box.next(now_us) {
                Some(planned) => sent.push((now_us, planned)),
                None => break,
            },
            wait_us => now_us += wait_us.min(SECOND_US as u64) as i64,
        }
    }
    sent
}

/// All messages of some hours, in no order that means anything.
fn messages(config: CityConfig, from_us: i64, hours: i64) -> Vec<Planned> {
    let sent = sent(&city(config), &CityControl::new(), from_us, from_us + hours * HOUR_US);
    sent.into_iter().flatten().map(|(_, planned)| planned).collect()
}

/// Payloads of every topic and time.
fn by_key(messages: &[Planned]) -> BTreeMap<(String, Option<i64>), Vec<u8>> {
    let dated = messages.iter().filter(|planned| planned.encoded.message.time_us.is_some());
    dated
        .map(|planned| {
            let encoded = &planned.encoded;
            ((encoded.topic.clone(), encoded.message.time_us), encoded.payload.clone())
        })
        .collect()
}

/// A2-1: the same seed says the same, over however many connections; another seed something else.
#[test]
fn a_city_is_repeatable_by_seed() {
    let config = CityConfig { faults: CityFaults::SOME, ..config() };
    let first = by_key(&messages(config.clone(), start_us(), 2));
    assert!(first.len() > 2000, "{}", first.len());
    assert_eq!(first, by_key(&messages(CityConfig { connections: 31, ..config.clone() }, start_us(), 2)));
    assert_ne!(first, by_key(&messages(CityConfig { seed: 8, ..config }, start_us(), 2)));
}

/// A2-1: a later start that goes over the same hours again sends duplicates, never contradictions.
#[test]
fn a_second_run_says_the_same_of_the_same_time() {
    let config = CityConfig { faults: CityFaults { duplicates: 0.0, ..CityFaults::SOME }, ..config() };
    let first = by_key(&messages(config.clone(), start_us(), 4));
    let second = by_key(&messages(config, start_us() + HOUR_US + 17 * SECOND_US, 4));
    let both = second.iter().filter(|(key, _)| first.contains_key(*key));
    let mut count = 0;
    for (key, payload) in both {
        assert_eq!(first[key], *payload, "{key:?}");
        count += 1;
    }
    assert!(count > 2000, "{count}");
}

#[test]
fn a_larger_city_has_the_same_stations_and_more() {
    let small = city(config());
    let large = city(CityConfig { stations: 3000, ..config() });
    assert_eq!(large.stations()[..120], *small.stations());
    let mut codes = HashSet::new();
    for station in large.stations() {
        assert!(codes.insert((station.agency.code, station.code.clone())), "{}", station.code);
        assert!((20.0..21.4).contains(&station.latitude), "{}", station.name);
        assert!((105.9..107.9).contains(&station.longitude), "{}", station.name);
    }
    let names: HashSet<&str> = large.stations().iter().map(|station| station.name.as_str()).collect();
    assert_eq!(names.len(), 3000, "names tell stations apart");
    assert!(names.contains("Trạm mưa Lê Chân 2") && names.contains("Trạm hải văn Hòn Dấu"));
    for kind in StationKind::ALL {
        assert!(small.stations().iter().any(|station| station.kind == kind), "{kind:?}");
    }
    assert!(small.stations().iter().filter(|station| station.is_island).count() >= 3);
}

/// A2-1: every station on one connection, islands on their own, and never more connections than allowed.
#[test]
fn every_station_has_one_connection() {
    let city = city(CityConfig { stations: 900, ..config() });
    for connections in [1, 2, 3, 10, 29, 60, 2000] {
        let boxes = layout::deal(city.stations(), connections);
        assert!(boxes.len() <= connections && boxes.iter().all(|one| !one.is_empty()));
        let mut all: Vec<usize> = boxes.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..900).collect::<Vec<_>>(), "{connections}");
        if connections >= 3 {
            for one in &boxes {
                let islands: HashSet<bool> =
                    one.iter().map(|index| city.stations()[*index].is_island).collect();
                assert_eq!(islands.len(), 1, "islands have their own boxes");
            }
        }
        if connections >= 29 {
            for one in &boxes {
                let regions: HashSet<&str> =
                    one.iter().map(|index| city.stations()[*index].region.as_str()).collect();
                assert_eq!(regions.len(), 1, "a box serves one region");
            }
        }
    }
}

/// A2-1: the files that the gateway reads.
#[test]
fn things_files_parse() {
    let folder = tempfile::tempdir().expect("a directory");
    let city = city(CityConfig { stations: 500, ..config() });
    city.write_things(&folder.path().join("things")).expect("written");
    let read = |name: &str| -> Vec<Vec<String>> {
        let text = std::fs::read(folder.path().join("things").join(name)).expect("there");
        let mut reader = CsvReader::new(text.as_slice());
        std::iter::from_fn(|| reader.record().expect("good")).collect()
    };
    let agencies = read(AGENCIES_FILE);
    assert_eq!(agencies[0], ["agency", "name", "name_en"]);
    let known: HashSet<&str> = agencies[1..].iter().map(|fields| fields[0].as_str()).collect();
    assert_eq!(known.len(), AGENCIES.len());
    let stations = read(STATIONS_FILE);
    assert_eq!(stations[0].join(","), "agency,station,name,name_en,commune,latitude,longitude");
    assert_eq!(stations.len(), 501);
    let communes: HashSet<String> = places::communes().into_iter().map(|commune| commune.code).collect();
    for fields in &stations[1..] {
        assert_eq!(fields.len(), 7);
        assert!(known.contains(fields[0].as_str()) && communes.contains(&fields[4]), "{fields:?}");
        assert!(fields[5].parse::<f64>().is_ok() && fields[6].parse::<f64>().is_ok(), "{fields:?}");
    }
    assert!(agencies.iter().any(|fields| fields[1].contains(", ")), "a comma in a name is quoted");
}

/// A2-1: catalogue codes, UCUM units that the gateway knows, and values that are plausible in every season.
#[test]
fn a_sound_city_says_plausible_things() {
    let city = city(CityConfig { stations: 200, ..config() });
    let mut properties = HashSet::new();
    for station in city.stations() {
        let mut instrument = Instrument::new(Sky { seed: 7 }, station.clone());
        for step in 0..60 {
            let time_us = start_us() - step * (6 * 24 + 7) * HOUR_US - station.index as i64 * 60 * SECOND_US;
            for reading in instrument.measure(time_us) {
                let base = reading.property.split(';').next().unwrap_or_default();
                let entry = property_catalogue::property(base).expect("in the catalogue");
                assert!(
                    codecs::name::PropertyName::from_canonical(&reading.property).is_some(),
                    "{reading:?}"
                );
                properties.insert(base.to_owned());
                let Value::Number(number) = reading.value else { continue };
                let (unit, target) = (reading.unit.as_deref().expect("a unit"), entry.unit.expect("a unit"));
                let number = units::conversion(unit, target).expect("convertible").apply(number);
                let (low, high) = entry.plausible.expect("a range");
                assert!((low..=high).contains(&number), "{}: {reading:?}", station.name);
            }
        }
    }
    assert!(properties.len() > 25, "{properties:?}");
}

/// Every form of payload, with and without faults, says what the ledger says.
#[test]
fn the_truth_says_what_the_payload_says() {
    let faults = CityFaults {
        clocks: 0.3,
        silent: 0.1,
        stuck: 0.2,
        swapped: 0.3,
        units: 0.3,
        batteries: 0.3,
        garbage: 0.1,
        duplicates: 0.1,
    };
    let all = messages(CityConfig { faults, ..config() }, start_us(), 2);
    let formats: HashSet<_> = all.iter().filter_map(crate::truth::check).collect();
    assert_eq!(formats.len(), 3);
    assert!(
        all.iter().any(|planned| planned.encoded.message.time_us.is_none() && planned.format == Format::Bare)
    );
}

/// The past is sent as it was, nothing comes from the future, and no key comes twice.
#[test]
fn the_past_is_covered_up_to_now_and_not_beyond() {
    let control = CityControl::new();
    let city = city(CityConfig { interval_scale: 2.0, ..config() });
    let course = Course { from_us: start_us() - 6 * HOUR_US, begun_us: start_us(), speed: None };
    let mut keys = HashSet::new();
    let mut oldest_us = i64::MAX;
    for mut edge_box in city.edge_boxes(course, &control) {
        let first_minute = drive(&mut edge_box, start_us(), start_us() + 60 * SECOND_US);
        for (now_us, planned) in first_minute {
            let message = planned.encoded.message;
            let Some(time_us) = message.time_us else { continue };
            assert!(time_us <= now_us, "{} from the future", message.station);
            oldest_us = oldest_us.min(time_us);
            for reading in message.readings {
                assert!(keys.insert((
                    message.agency.clone(),
                    message.station.clone(),
                    reading.property,
                    time_us
                )));
            }
        }
    }
    assert!(control.run().summary().messages_sent == 0 && keys.len() > 20_000, "{}", keys.len());
    assert!((oldest_us - course.from_us).abs() < 2 * HOUR_US);
    assert_eq!(control.boxes_behind.load(Ordering::Relaxed), 0);
}

/// A2-1: several thousand at once. All those that measure every ten minutes or oftener speak within ten minutes.
#[test]
fn thousands_of_stations_send_at_once() {
    let city = city(CityConfig { stations: 5000, connections: 64, ..config() });
    let course = Course { from_us: start_us() - 600 * SECOND_US, begun_us: start_us(), speed: None };
    let mut heard = HashSet::new();
    for mut edge_box in city.edge_boxes(course, &CityControl::new()) {
        for (_, planned) in drive(&mut edge_box, start_us(), start_us() + SECOND_US) {
            heard.insert(planned.encoded.topic.split('/').nth(2).expect("a station").to_owned());
        }
    }
    for station in city.stations().iter().filter(|station| station.interval_s <= 600) {
        // A cabinet without a store tells only what it measures now.
        assert!(heard.contains(&station.code) || station.has_no_clock, "{}", station.code);
    }
    assert!(heard.len() > 4000, "{}", heard.len());
}

/// A2-3: a run that begins where another had sent everything leaves nothing out and repeats nothing, also where the broker
/// held the first one back, and a message was made and never handed over.
#[test]
fn a_run_goes_on_where_another_one_stopped() {
    let city = city(CityConfig { format: Some(FormatChoice::Json), ..config() });
    let keys = |sent: &SentByBox| -> Vec<(String, Option<u64>)> {
        let all = sent.iter().flatten().map(|(_, planned)| &planned.encoded);
        all.map(|encoded| (encoded.topic.clone(), encoded.message.seq)).collect()
    };
    let (stop_us, end_us) = (start_us() + HOUR_US, start_us() + 2 * HOUR_US);
    let mut undisturbed = keys(&sent(&city, &CityControl::new(), start_us(), end_us));
    let control = CityControl::new();
    assert_eq!(control.sent_until_us(), None);
    let course = Course { from_us: start_us(), begun_us: start_us(), speed: None };
    let mut boxes = city.edge_boxes(course, &control);
    assert_eq!(control.sent_until_us(), Some(start_us()));
    let first: SentByBox = boxes.iter_mut().map(|one| drive(one, start_us(), stop_us)).collect();
    let held_until_us = stop_us + 60 * SECOND_US;
    for edge_box in &mut boxes {
        // As a client does whose window is full: it looks after storms, and takes no message.
        edge_box.wait_us(held_until_us);
        assert!(!edge_box.is_cut_off(held_until_us + 2 * SECOND_US));
    }
    let sent_until_us = control.sent_until_us().expect("it has begun");
    assert!((stop_us..held_until_us).contains(&sent_until_us), "{}", sent_until_us - stop_us);
    let course = Course { from_us: sent_until_us, begun_us: held_until_us, speed: None };
    let second = city.edge_boxes(course, &CityControl::new());
    let second: SentByBox =
        second.into_iter().map(|mut one| drive(&mut one, held_until_us, end_us)).collect();
    let mut both = [keys(&first), keys(&second)].concat();
    both.sort();
    undisturbed.sort();
    assert_eq!(both, undisturbed);
}

#[test]
fn speed_is_for_the_past_only() {
    let course = Course { from_us: start_us() - HOUR_US, begun_us: start_us(), speed: Some(60.0) };
    let after = |seconds: i64| course.position_us(start_us() + seconds * SECOND_US) - start_us();
    assert_eq!(after(0), -HOUR_US);
    assert_eq!(after(30), -HOUR_US + 30 * 60 * SECOND_US);
    assert_eq!(after(3600), HOUR_US);
}

fn number(readings: &[Reading], property: &str) -> f64 {
    let reading = readings.iter().find(|reading| reading.property == property).expect("measured");
    let Value::Number(number) = reading.value else { panic!("{reading:?}") };
    number
}

fn instrument(city: &City, kind: StationKind) -> Instrument {
    let station = city.stations().iter().find(|station| station.kind == kind).expect("there is one");
    Instrument::new(Sky { seed: 7 }, station.clone())
}

/// A2-1: motorcycles rush in the morning of a working day, and dust with them when an inversion holds.
#[test]
fn rush_hours_and_nights_differ() {
    let city = city(config());
    let mut traffic = instrument(&city, StationKind::Traffic);
    let friday_us = time::parse("2026-11-20T00:00:00+07:00").expect("legal");
    let mut flow = |hour: f64| {
        number(
            &traffic.measure(friday_us + (hour * HOUR_US as f64) as i64),
            "flow;class=motorcycle;direction=in;lane=1",
        )
    };
    assert!(flow(7.25) > 4.0 * flow(3.0), "{} {}", flow(7.25), flow(3.0));
    let mut air = instrument(&city, StationKind::AirReference);
    let sky = Sky { seed: 7 };
    let mean = |air: &mut Instrument, wanted: &dyn Fn(f64) -> bool| {
        let hours = (0..24 * 60).map(|hour| friday_us - hour * HOUR_US);
        let chosen: Vec<f64> = hours
            .filter(|time_us| wanted(sky.inversion(*time_us as f64 / 1e6)))
            .map(|time_us| number(&air.measure(time_us), "pm2_5"))
            .collect();
        assert!(chosen.len() > 50, "{}", chosen.len());
        chosen.iter().sum::<f64>() / chosen.len() as f64
    };
    let (under_lid, without) = (mean(&mut air, &|lid| lid > 0.5), mean(&mut air, &|lid| lid == 0.0));
    assert!(under_lid > 1.3 * without, "{under_lid} {without}");
}

/// A2-1: pumps are on when the basin is full and off when it is not, and do not flutter between.
#[test]
fn pumps_follow_the_water() {
    let city = city(config());
    let mut pumps = instrument(&city, StationKind::Pumps);
    let (mut on, mut off, mut switches, mut before) = (Vec::new(), Vec::new(), 0, None);
    for step in 0..14 * 288 {
        let readings = pumps.measure(start_us() - step * 300 * SECOND_US);
        let level = number(&readings, "water_level");
        let Value::Boolean(is_on) = readings[0].value else { panic!("{:?}", readings[0]) };
        switches += i32::from(before.is_some_and(|before| before != is_on));
        before = Some(is_on);
        if is_on { on.push(level) } else { off.push(level) }
    }
    assert!(!on.is_empty() && !off.is_empty(), "{} {}", on.len(), off.len());
    let least_on = on.iter().copied().fold(f64::MAX, f64::min);
    let most_off = off.iter().copied().fold(f64::MIN, f64::max);
    assert!(least_on > 0.45 && most_off < 0.7, "{least_on} {most_off}");
    assert!((2..200).contains(&switches), "{switches}");
}

#[test]
fn nonsense_is_refused_in_one_sentence() {
    let refused = |config: CityConfig| City::new(config).expect_err("refused").to_string();
    assert!(refused(CityConfig { stations: 0, ..config() }).contains("stations"));
    assert!(refused(CityConfig { connections: 0, ..config() }).contains("connections"));
    assert!(refused(CityConfig { interval_scale: 0.0, ..config() }).contains("interval"));
    assert!(refused(CityConfig { speed: Some(-1.0), ..config() }).contains("speed"));
    let faults = CityFaults { stuck: 2.0, ..CityFaults::default() };
    assert!(refused(CityConfig { faults, ..config() }).contains("0 to 1"));
    let future = city(CityConfig { from_us: Some(now_us() + HOUR_US), ..config() });
    assert!(future.run(&CityControl::new()).expect_err("refused").to_string().contains("future"));
}

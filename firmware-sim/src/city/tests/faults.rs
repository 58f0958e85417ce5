//! A2-1: every fault is visible in what is sent, and only where it was asked for.

use super::*;
use crate::ledger::{Episode, Fault};

/// (station, number of the measurement) → what was said.
type Said = BTreeMap<(String, u64), (Option<i64>, Vec<Reading>, Kind)>;

const HOURS: i64 = 12;

fn said(faults: CityFaults) -> Said {
    let all =
        messages(CityConfig { faults, format: Some(FormatChoice::Json), ..config() }, start_us(), HOURS);
    all.into_iter()
        .filter(|planned| matches!(planned.kind, Kind::Reading | Kind::Misdated))
        .map(|planned| {
            let message = planned.encoded.message;
            let seq = message.seq.expect("numbered");
            ((message.station.to_string(), seq), (message.time_us, message.readings, planned.kind))
        })
        .collect()
}

#[test]
fn without_faults_nothing_is_wrong() {
    let sound = said(CityFaults::default());
    assert!(sound.values().all(|(_, _, kind)| *kind == Kind::Reading));
    for ((station, seq), _) in sound.iter().filter(|((_, seq), _)| *seq > 0) {
        let has_more = sound.contains_key(&(station.clone(), seq + 1))
            || sound.contains_key(&(station.clone(), seq - 1));
        assert!(has_more, "{station} {seq} stands alone");
    }
}

#[test]
fn wrong_clocks_show_in_the_times_alone() {
    let (sound, wrong) =
        (said(CityFaults::default()), said(CityFaults { clocks: 1.0, ..CityFaults::default() }));
    let mut offsets_min = HashSet::new();
    let mut misdated = 0;
    for (key, (time_us, readings, kind)) in &wrong {
        let (right_us, right_readings, _) = &sound[key];
        assert_eq!(readings, right_readings);
        let offset_us = time_us.expect("dated") - right_us.expect("dated");
        offsets_min.insert(offset_us / (60 * SECOND_US));
        if *kind == Kind::Misdated {
            misdated += 1;
            // Beyond the twenty years that a gateway takes.
            assert!(offset_us < -20 * 366 * 24 * HOUR_US);
        } else {
            // No more ahead than a gateway takes.
            assert!((-7 * HOUR_US..=4 * 60 * SECOND_US).contains(&offset_us), "{offset_us}");
        }
    }
    assert!(misdated > 0 && misdated < wrong.len() / 2, "{misdated}");
    assert!(
        offsets_min.contains(&-420) && offsets_min.iter().any(|minutes| (1..=4).contains(minutes)),
        "{offsets_min:?}"
    );
}

#[test]
fn silent_stations_leave_gaps_in_the_numbers() {
    assert!(said(CityFaults { silent: 1.0, ..CityFaults::default() }).is_empty());
    let (sound, some) =
        (said(CityFaults::default()).len(), said(CityFaults { silent: 0.3, ..CityFaults::default() }).len());
    assert!((sound / 2..sound * 9 / 10).contains(&some), "{some} of {sound}");
}

#[test]
fn stuck_sensors_repeat_themselves() {
    let stuck = said(CityFaults { stuck: 1.0, ..CityFaults::default() });
    let of_station: Vec<_> =
        stuck.iter().filter(|((station, _), _)| station == "KTV001").map(|(_, said)| &said.1).collect();
    assert!(of_station.len() > 60);
    let changes = of_station.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!((1..=3).contains(&changes), "a new value with each six hours only: {changes}");
}

#[test]
fn swapped_stations_have_each_others_values() {
    let (sound, swapped) =
        (said(CityFaults::default()), said(CityFaults { swapped: 1.0, ..CityFaults::default() }));
    let mut compared = 0;
    for ((station, seq), (_, readings, _)) in &swapped {
        let other = match station.as_str() {
            "BUI001" => "BUI002",
            "BUI002" => "BUI001",
            _ => continue,
        };
        assert_eq!(*readings, sound[&(other.to_owned(), *seq)].1);
        compared += 1;
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn changed_units_are_told_or_not() {
    let (sound, changed) =
        (said(CityFaults::default()), said(CityFaults { units: 1.0, ..CityFaults::default() }));
    let (mut told, mut untold) = (0, 0);
    for (key, (_, readings, _)) in &changed {
        for (reading, right) in readings.iter().zip(&sound[key].1) {
            let (Value::Number(number), Value::Number(right_number)) = (&reading.value, &right.value) else {
                continue;
            };
            if reading.unit != right.unit {
                told += 1;
            } else if (number - right_number).abs() > 1.0 {
                untold += 1;
            }
        }
    }
    assert!(told > 1000 && untold > 1000, "{told} {untold}");
}

#[test]
fn a_dying_battery_falls_and_then_its_station_is_silent() {
    let (sound, dying) =
        (said(CityFaults::default()), said(CityFaults { batteries: 1.0, ..CityFaults::default() }));
    let count = |said: &Said, name: &str| said.keys().filter(|(station, _)| station == name).count();
    // A traffic counter hangs on the grid, a rain gauge on its battery, which lives for four hours of six.
    assert_eq!(count(&dying, "GTH001"), count(&sound, "GTH001"));
    let share = count(&dying, "MUA001") as f64 / count(&sound, "MUA001") as f64;
    assert!((0.55..0.8).contains(&share), "{share}");
    let voltages: Vec<f64> = dying
        .iter()
        .filter(|((station, _), _)| station == "MUA001")
        .map(|(_, (_, readings, _))| number(readings, "battery_voltage"))
        .collect();
    let low = voltages.iter().copied().fold(f64::MAX, f64::min);
    assert!(low < 10.0, "{low}");
    let falls = voltages.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(falls + 5 > voltages.len(), "{voltages:?}");
}

#[test]
fn garbage_and_duplicates_come_as_often_as_asked_for() {
    let faults = CityFaults { garbage: 0.2, duplicates: 0.1, ..CityFaults::default() };
    let all = messages(CityConfig { faults, ..config() }, start_us(), 3);
    let share = |kind| all.iter().filter(|planned| planned.kind == kind).count() as f64 / all.len() as f64;
    assert!((0.06..0.2).contains(&share(Kind::Garbage)), "{}", share(Kind::Garbage));
    assert!((0.06..0.12).contains(&share(Kind::Duplicate)), "{}", share(Kind::Duplicate));
}

/// A2-1: the truth ledger covers all of it. Whatever differs from a sound city lies in an episode of its station that says so.
#[test]
fn every_fault_has_its_line_in_the_ledger() {
    let faults = CityFaults {
        clocks: 0.3,
        silent: 0.15,
        stuck: 0.15,
        swapped: 0.15,
        units: 0.15,
        batteries: 0.3,
        ..CityFaults::default()
    };
    let (sound, wrong) = (said(CityFaults::default()), said(faults));
    let told =
        episodes(CityConfig { faults, format: Some(FormatChoice::Json), ..config() }, &CityControl::new());
    let is_told = |station: &str, time_us: i64, fault: Fault| {
        let lasts =
            |one: &&Episode| one.from_us <= time_us && one.until_us.is_none_or(|until_us| time_us < until_us);
        let ends_with = |name: &String| name.ends_with(&format!("/{station}"));
        told.iter().filter(lasts).any(|one| one.fault == fault && one.station.iter().any(ends_with))
    };
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (key, (right_us, right, _)) in &sound {
        let (station, right_us) = (key.0.as_str(), right_us.expect("dated"));
        let has = |faults: &[Fault]| faults.iter().any(|fault| is_told(station, right_us, *fault));
        let Some((time_us, readings, kind)) = wrong.get(key) else {
            assert!(has(&[Fault::Silent, Fault::DeadBattery]), "{key:?} is missing");
            *counts.entry("missing").or_default() += 1;
            continue;
        };
        assert!(!has(&[Fault::Silent, Fault::DeadBattery]), "{key:?} was sent");
        let is_changed = readings != right;
        let changes = [Fault::Stuck, Fault::Swapped, Fault::ToldUnit, Fault::UntoldUnit, Fault::LowBattery];
        assert!(!is_changed || has(&changes), "{key:?} is changed");
        let is_told_unit = readings.iter().zip(right).any(|(one, other)| one.unit != other.unit);
        // A neighbour may have other sensors.
        assert!(!is_told_unit || has(&[Fault::ToldUnit, Fault::Swapped]), "{key:?} has another unit");
        *counts.entry("changed").or_default() += u32::from(is_changed);
        let offset_us = time_us.expect("dated") - right_us;
        assert_eq!(*kind == Kind::Misdated, has(&[Fault::ClockReset]), "{key:?}");
        assert_eq!(offset_us > 0, has(&[Fault::ClockAhead]), "{key:?}");
        let behind = [Fault::ClockBehind, Fault::ClockSlow, Fault::ClockReset];
        assert!(offset_us >= 0 || has(&behind), "{key:?} is {offset_us} off");
        *counts.entry("misdated").or_default() += u32::from(offset_us != 0);
    }
    assert!(counts.len() == 3 && counts.values().all(|count| *count > 500), "{counts:?}");
    // One line for each, and a swap says with whom.
    let mut lines: Vec<_> = told.iter().map(|one| (one.fault as u8, &one.station, one.from_us)).collect();
    let all = lines.len();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), all);
    let swaps: Vec<&Episode> = told.iter().filter(|one| one.fault == Fault::Swapped).collect();
    assert!(!swaps.is_empty() && swaps.iter().all(|one| one.with.is_some() && one.with != one.station));
}

/// What the ledger is told in twelve hours.
fn episodes(config: CityConfig, control: &Arc<CityControl>) -> Vec<Episode> {
    let course = Course { from_us: start_us(), begun_us: start_us(), speed: None };
    let boxes = city(config).edge_boxes(course, control);
    boxes
        .into_iter()
        .flat_map(|mut edge_box| {
            drive(&mut edge_box, start_us(), start_us() + HOURS * HOUR_US);
            edge_box.take_episodes(true)
        })
        .collect()
}

/// A2-1: a storm has its line, once for the whole city, and so has what stations without a memory lost in it.
#[test]
fn storms_and_what_they_cost_are_in_the_ledger() {
    let control = CityControl::new();
    let (from_us, until_us) = (start_us() + HOUR_US, start_us() + 3 * HOUR_US);
    control.start_storm(Storm { region: Region::All, from_us, until_us });
    let told = episodes(config(), &control);
    let storms: Vec<&Episode> = told.iter().filter(|one| one.fault == Fault::Storm).collect();
    assert_eq!(storms, [&Episode::storm("all".to_owned(), from_us, Some(until_us))]);
    let missed: Vec<&Episode> = told.iter().filter(|one| one.fault == Fault::Missed).collect();
    assert!(!missed.is_empty());
    assert_eq!(missed.iter().filter_map(|one| one.measurements).sum::<u64>(), control.missed());
    for one in missed {
        let until = one.until_us.expect("it ended");
        assert!(from_us - HOUR_US <= one.from_us && until <= until_us + HOUR_US, "{one:?}");
    }
}

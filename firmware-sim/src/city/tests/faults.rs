//! A2-1: every fault is visible in what is sent, and only where it was asked for.

use super::*;

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

//! A2-1: a storm holds back, loses nothing that can be stored, and is followed by everything at once, oldest first.

use super::*;

const STORM_US: i64 = 3 * HOUR_US;

fn storm(region: Region) -> Storm {
    Storm { region, from_us: start_us() + HOUR_US, until_us: start_us() + HOUR_US + STORM_US }
}

/// With and without a storm over six hours.
fn both(config: &CityConfig, region: Region) -> (SentByBox, SentByBox) {
    let city = city(config.clone());
    let until_us = start_us() + 6 * HOUR_US;
    let calm = sent(&city, &CityControl::new(), start_us(), until_us);
    let control = CityControl::new();
    assert_eq!(control.start_storm(storm(region)), Some(0));
    (calm, sent(&city, &control, start_us(), until_us))
}

fn keys(sent: &SentByBox) -> Vec<(String, Option<u64>)> {
    let all = sent.iter().flatten().map(|(_, planned)| &planned.encoded);
    let mut keys: Vec<_> = all.map(|encoded| (encoded.topic.clone(), encoded.message.seq)).collect();
    keys.sort();
    keys
}

#[test]
fn a_storm_loses_nothing_and_re_sends_oldest_first() {
    let config = CityConfig { format: Some(FormatChoice::Json), ..config() };
    let (calm, stormy) = both(&config, Region::All);
    assert_eq!(keys(&calm), keys(&stormy));
    let storm = storm(Region::All);
    for edge_box in &stormy {
        assert!(
            edge_box.iter().all(|(now_us, _)| !(storm.from_us..storm.until_us).contains(now_us)),
            "nothing goes out"
        );
        let flood = edge_box
            .iter()
            .filter(|(now_us, _)| (storm.until_us..storm.until_us + 2 * SECOND_US).contains(now_us));
        let times: Vec<i64> =
            flood.map(|(_, planned)| planned.encoded.message.time_us.expect("dated")).collect();
        assert!(times.len() > 50, "all at once: {}", times.len());
        // Measured at a round time and sent up to five minutes later, so the order is that of sending.
        assert!(times.windows(2).all(|pair| pair[1] > pair[0] - 300 * SECOND_US));
        assert!(
            times[0] < storm.from_us + HOUR_US && *times.last().expect("some") > storm.until_us - HOUR_US
        );
    }
}

#[test]
fn a_storm_over_a_region_leaves_the_others_alone() {
    let config = CityConfig { format: Some(FormatChoice::Json), connections: 2, ..config() };
    let region = Region::parse("Lê Chân").expect("a district");
    let city = city(config.clone());
    let hit: HashSet<&str> = city
        .stations()
        .iter()
        .filter(|station| region.holds(&station.region, station.is_island))
        .map(|station| station.code.as_str())
        .collect();
    assert!(!hit.is_empty() && hit.len() < 20, "{hit:?}");
    let (calm, stormy) = both(&config, region.clone());
    assert_eq!(keys(&calm), keys(&stormy));
    let storm = storm(region);
    let during =
        stormy.iter().flatten().filter(|(now_us, _)| (storm.from_us..storm.until_us).contains(now_us));
    let mut others = 0;
    for (_, planned) in during {
        assert!(!hit.contains(&*planned.encoded.message.station), "{}", planned.encoded.topic);
        others += 1;
    }
    assert!(others > 1000, "{others}");
}

#[test]
fn what_waits_is_counted_by_storm() {
    let city = city(CityConfig { format: Some(FormatChoice::Json), connections: 3, ..config() });
    let control = CityControl::new();
    let number = control.start_storm(storm(Region::Islands)).expect("the first");
    let course = Course { from_us: start_us(), begun_us: start_us(), speed: None };
    let mut boxes = city.edge_boxes(course, &control);
    let waiting = || (control.storms()[number].waiting, control.waiting(), control.connections_cut_off());
    let mut go_until =
        |until_us: i64, from_us: i64| boxes.iter_mut().for_each(|one| drop(drive(one, from_us, until_us)));
    go_until(start_us() + HOUR_US / 2, start_us());
    assert_eq!(waiting(), (0, 0, 0));
    let middle_us = start_us() + HOUR_US + STORM_US / 2;
    go_until(middle_us, start_us() + HOUR_US / 2);
    let (by_storm, all, cut_off) = waiting();
    assert!(by_storm > 20 && by_storm <= all && cut_off >= 1, "{by_storm} {all} {cut_off}");
    control.end_storm_at(number, middle_us);
    go_until(middle_us + 10 * SECOND_US, middle_us);
    assert_eq!((waiting().0, waiting().2), (0, 0));
}

/// A cabinet without a clock can't tell later what it measured when.
#[test]
fn what_cannot_be_stored_is_missed_and_counted() {
    let (calm, stormy) = both(&config(), Region::All);
    let undated = |sent: &SentByBox| {
        sent.iter().flatten().filter(|(_, planned)| planned.encoded.message.time_us.is_none()).count()
    };
    assert!(undated(&stormy) < undated(&calm) * 3 / 4, "{} {}", undated(&stormy), undated(&calm));
    let control = CityControl::new();
    control.start_storm(storm(Region::All));
    sent(&city(config()), &control, start_us(), start_us() + 6 * HOUR_US);
    assert!(control.missed() > 0);
}

#[test]
fn storms_are_bounded() {
    let control = CityControl::new();
    let made = (0..STORMS_MAX + 5).filter_map(|_| control.start_storm(storm(Region::All))).count();
    assert_eq!((made, control.storms().len()), (STORMS_MAX, STORMS_MAX));
}

/// A run that begins in a storm: the past before it comes first, the hours since then when it is over.
#[test]
fn a_storm_may_be_older_than_the_run() {
    let city = city(CityConfig { format: Some(FormatChoice::Json), ..config() });
    let control = CityControl::new();
    let (from_us, until_us) = (start_us() - 2 * HOUR_US, start_us() + 60 * SECOND_US);
    control.start_storm(Storm { region: Region::All, from_us, until_us });
    let course = Course { from_us: start_us() - 6 * HOUR_US, begun_us: start_us(), speed: None };
    for mut edge_box in city.edge_boxes(course, &control) {
        let sent = drive(&mut edge_box, start_us(), until_us + 10 * SECOND_US);
        let times = |during: bool| -> Vec<i64> {
            let chosen = sent.iter().filter(|(now_us, _)| (*now_us < until_us) == during);
            chosen.map(|(_, planned)| planned.encoded.message.time_us.expect("dated")).collect()
        };
        let (during, after) = (times(true), times(false));
        assert!(during.len() > 50 && after.len() > 20, "{} {}", during.len(), after.len());
        assert!(during.iter().all(|time_us| *time_us < from_us));
        assert!(after.iter().all(|time_us| *time_us > from_us - 300 * SECOND_US));
        assert!(during.windows(2).chain(after.windows(2)).all(|pair| pair[1] > pair[0] - 300 * SECOND_US));
    }
    assert_eq!((control.boxes_behind.load(Ordering::Relaxed), control.storms()[0].waiting), (0, 0));
}

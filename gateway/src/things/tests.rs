//! A2-5: stations and newest observations by filter, page by page.

use std::sync::{Arc, RwLock};

use super::fake::{city, city_of, directory, registry, states};
use super::*;
use crate::observation::Definition;
use crate::parameters::{Bbox, Given, Parameter};
use crate::registry::Registry;

/// A minute after the newest observation.
const NOW_US: i64 = 1_795_223_160_000_000;

fn first(limit: usize) -> Page {
    Page { after: None, limit }
}

fn filter(field: &str, value: &str) -> ThingFilter {
    let parameters = [(field.to_owned(), value.to_owned())];
    let allowed: [&Parameter; 6] = ThingFilter::PARAMETERS;
    ThingFilter::of(&Given::new(&parameters, &allowed).unwrap()).unwrap()
}

fn codes(things: &Things, filter: &ThingFilter) -> Vec<String> {
    let page = things.stations(filter, &first(100), NOW_US).unwrap();
    assert_eq!(page.next, None);
    page.stations.iter().map(|station| station.station.to_string()).collect()
}

/// The page behind a cursor.
fn behind(next: Option<String>, limit: usize) -> Page {
    let parameters = [("after".to_owned(), next.expect("there is more"))];
    let given = Given::new(&parameters, &[&crate::parameters::AFTER]).unwrap();
    Page { after: given.cursor(&crate::parameters::AFTER).unwrap(), limit }
}

#[test]
fn a2_5_stations_are_registry_and_directory_together() {
    let page = city().stations(&ThingFilter::default(), &first(10), NOW_US).unwrap();
    let json = serde_json::to_value(&page).unwrap();
    assert_eq!(json["next"], serde_json::Value::Null);
    assert_eq!(
        json["stations"][0],
        serde_json::json!({
            "agency": "H24.05", "station": "KHI003", "name": "Trạm không khí Ngô Quyền", "name_en": "Ngo Quyen air",
            "commune": {"code": "11329", "name": "Ngô Quyền"}, "longitude": 106.69, "latitude": 20.86,
            "domains": ["environment", "other"], "datastreams": 3, "phenomenon_time": "2026-11-21T01:05:00Z",
            "state": "fresh", "suspect": false,
        })
    );
    let told: Vec<_> = page
        .stations
        .iter()
        .map(|station| (&*station.station, station.state, station.suspect, station.name.is_some()))
        .collect();
    assert_eq!(
        told,
        [
            ("KHI003", StationState::Fresh, false, true),
            ("NEVER", StationState::Silent, false, true),
            ("TRIEU1", StationState::Late, true, true),
            ("lonely", StationState::Silent, false, false),
        ]
    );
    assert_eq!(json["stations"][1]["phenomenon_time"], serde_json::Value::Null);
    assert_eq!(json["stations"][3]["longitude"], serde_json::Value::Null);
}

#[test]
fn a2_5_every_filter_narrows() {
    let city = city();
    for (field, value, wanted) in [
        ("agency", "H24.06", vec!["TRIEU1"]),
        ("agency", "nobody", vec![]),
        ("station", "KHI003", vec!["KHI003"]),
        ("station", "H24.05/KHI003", vec!["KHI003"]),
        ("station", "X/KHI003", vec![]),
        ("domain", "environment", vec!["KHI003", "lonely"]),
        ("domain", "safety", vec![]),
        ("commune", "11329", vec!["KHI003"]),
        ("q", "ngo quyen", vec!["KHI003"]),
        ("q", "NGÔ Quyền", vec!["KHI003"]),
        ("q", "do son", vec!["NEVER"]),
        ("q", "hon dau", vec!["TRIEU1"]),
        ("q", "LONE", vec!["lonely"]),
        ("q", "tide air", vec![]),
        ("bbox", "106.6,20.8,106.7,20.9", vec!["KHI003"]),
        ("bbox", "106.69,20.86,106.69,20.86", vec!["KHI003"]),
        ("bbox", "0,0,1,1", vec![]),
    ] {
        assert_eq!(codes(&city, &filter(field, value)), wanted, "{field}={value}");
    }
    let both = ThingFilter {
        bbox: Some(Bbox {
            longitude_min: 106.0,
            latitude_min: 20.0,
            longitude_max: 107.0,
            latitude_max: 21.0,
        }),
        ..filter("domain", "water")
    };
    assert_eq!(codes(&city, &both), ["TRIEU1"]);
}

#[test]
fn a2_5_pages_neither_repeat_nor_hide_a_station_that_comes_in_between() {
    let registry: SharedRegistry = Arc::new(RwLock::new(registry()));
    let city = city_of(registry.clone(), states());
    let page = city.stations(&ThingFilter::default(), &first(2), NOW_US).unwrap();
    assert_eq!(page.stations.len(), 2);
    {
        let mut registry = registry.write().unwrap();
        // One before the cursor, one behind it.
        for (id, agency, code) in [(4, 1, "AAA"), (5, 2, "ZZZ")] {
            registry.apply(&Definition::Station { id, agency, code: code.to_owned() });
        }
    }
    let page = city.stations(&ThingFilter::default(), &behind(page.next, 2), NOW_US).unwrap();
    let told: Vec<&str> = page.stations.iter().map(|station| &*station.station).collect();
    assert_eq!(told, ["TRIEU1", "ZZZ"]);
    let page = city.stations(&ThingFilter::default(), &behind(page.next, 2), NOW_US).unwrap();
    let told: Vec<&str> = page.stations.iter().map(|station| &*station.station).collect();
    assert_eq!((told, page.next), (vec!["lonely"], None));
    assert_eq!(codes(&city, &ThingFilter::default()), ["AAA", "KHI003", "NEVER", "TRIEU1", "ZZZ", "lonely"]);
    // The datastreams stayed with their stations.
    assert_eq!(city.datastreams_of("H24.06", "TRIEU1"), Some(vec![3]));
    assert_eq!(city.datastreams_of("H24.05", "NEVER"), Some(vec![]));
    assert_eq!(city.datastreams_of("H24.05", "nobody"), None);
    let wrong = Page { after: Some(vec!["one".to_owned()]), limit: 1 };
    assert_eq!(city.stations(&ThingFilter::default(), &wrong, NOW_US), None);
    assert_eq!(city.latest(&LatestFilter::default(), &wrong), None);
}

#[test]
fn a2_5_the_index_keeps_up_with_a_growing_registry() {
    let registry: SharedRegistry = Arc::new(RwLock::new(Registry::default()));
    registry.write().unwrap().apply(&Definition::Agency { id: 1, code: "A".to_owned() });
    let city = city_of(registry.clone(), Vec::new());
    let mut datastreams = 0;
    for round in 0..3_u32 {
        for at in 0..100_u32 {
            let id = 1 + round * 100 + at;
            let code = format!("S{:04}", id * 7919 % 10_007);
            let mut registry = registry.write().unwrap();
            registry.apply(&Definition::Station { id, agency: 1, code });
            for property in ["a", "b"] {
                registry.apply(&Definition::Datastream {
                    id: datastreams,
                    station: id,
                    property: property.to_owned(),
                    period_s: 0,
                    domain: "other".to_owned(),
                    unit: 0,
                });
                datastreams += 1;
            }
        }
        let page = city.stations(&filter("agency", "A"), &first(1_000), NOW_US).unwrap();
        assert_eq!(page.stations.len(), 100 * (round as usize + 1));
        assert!(page.stations.is_sorted_by_key(|station| station.station.clone()));
        assert!(page.stations.iter().all(|station| station.datastreams == 2));
        for station in &page.stations {
            let registry = registry.read().unwrap();
            for id in city.datastreams_of("A", &station.station).unwrap() {
                let of = registry.datastream(id).station;
                assert_eq!(registry.station(of).code, station.station);
            }
        }
    }
}

fn names(page: &LatestPage) -> Vec<String> {
    page.observations
        .iter()
        .map(|json| {
            serde_json::from_str::<serde_json::Value>(json).unwrap()["datastream"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[test]
fn a2_5_the_latest_observations_have_the_form_of_the_feed_and_their_names() {
    let city = city();
    let page = city.latest(&LatestFilter::default(), &first(10)).unwrap();
    assert_eq!(
        names(&page),
        ["H24.05/KHI003/note", "H24.05/KHI003/pm2_5", "H24.06/TRIEU1/water_level", "X/lonely/pm2_5"]
    );
    let json: serde_json::Value = serde_json::from_str(&page.observations[1]).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "datastream": "H24.05/KHI003/pm2_5", "phenomenonTime": "2026-11-21T01:05:00Z",
            "resultTime": "2026-11-21T01:05:00.214Z", "result": 38.4, "unit": "ug/m3", "quality": 1, "seq": 1042,
            "position": 93112, "agency": "H24.05", "station": "KHI003", "property": "pm2_5", "domain": "environment",
        })
    );
    let json: serde_json::Value = serde_json::from_str(&page.observations[0]).unwrap();
    assert_eq!(json["result"], "mưa \"to\"");

    let mut told = Vec::new();
    let mut page = city.latest(&LatestFilter::default(), &first(1)).unwrap();
    loop {
        assert_eq!(page.observations.len(), 1);
        told.extend(names(&page));
        if page.next.is_none() {
            break;
        }
        page = city.latest(&LatestFilter::default(), &behind(page.next, 1)).unwrap();
    }
    assert_eq!(told.len(), 4, "{told:?}");

    let of = |filter: LatestFilter| names(&city.latest(&filter, &first(10)).unwrap());
    let pm = LatestFilter { property: Some("pm2_5".to_owned()), ..LatestFilter::default() };
    assert_eq!(of(pm), ["H24.05/KHI003/pm2_5", "X/lonely/pm2_5"]);
    let domain = LatestFilter { things: filter("domain", "other"), property: None };
    assert_eq!(of(domain), ["H24.05/KHI003/note"], "the domain is the datastream's, not the station's");
}

#[test]
fn a2_5_agencies_and_communes() {
    let city = city();
    let told: Vec<_> = city
        .agencies()
        .into_iter()
        .map(|agency| (agency.agency.to_string(), agency.name.is_some(), agency.stations))
        .collect();
    let wanted = [("H24.05", true, 2), ("H24.06", false, 1), ("H24.09", true, 0), ("X", false, 1)];
    assert_eq!(told, wanted.map(|(code, named, stations)| (code.to_owned(), named, stations)));
    assert_eq!(directory().communes().len(), 114);
    let commune = directory().commune("11329").cloned().unwrap();
    assert_eq!((commune.name.as_str(), commune.full_name.as_str()), ("Ngô Quyền", "Phường Ngô Quyền"));
}

#[test]
fn a2_5_a_bad_line_of_the_directory_names_file_line_column_and_why() {
    for (line, sentence) in [
        ("A,S,,,,,", "s.csv:2: name: it is empty"),
        (",S,n,,,,", "s.csv:2: agency: the agency is empty"),
        ("A,a b,n,,,,", "s.csv:2: station: the station has the character ' '"),
        ("A,S,n,,1,,", "s.csv:2: commune: there is no commune \"1\""),
        ("A,S,n,,,91,1", "s.csv:2: latitude: expected degrees from -90 to 90, found \"91\""),
        ("A,S,n,,,NaN,1", "s.csv:2: latitude: expected degrees"),
        ("A,S,n,,,1,", "s.csv:2: longitude: it is empty and the latitude is not"),
        ("A,S,n,,,,1", "s.csv:2: latitude: it is empty and the longitude is not"),
        ("A,S,n,,,,\nA,S,n,,,,", "s.csv:3: station: this station stands in the file twice"),
    ] {
        let text = format!("agency,station,name,name_en,commune,latitude,longitude\n{line}\n");
        let error = directory().read_stations("s.csv", &text).unwrap_err().to_string();
        assert!(error.starts_with(sentence), "{line}: {error}");
    }
    let missing =
        Directory::load(std::path::Path::new("/nowhere/s.csv"), std::path::Path::new("")).unwrap_err();
    assert!(missing.to_string().starts_with("/nowhere/s.csv: "), "{missing}");
}

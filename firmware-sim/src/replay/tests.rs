//! Every layout against rows of its file that were read by eye, from the extract in `firmware-sim/data`.

use super::*;
use crate::message::Value;
use crate::time::{format_utc, format_with_offset};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

fn series(name: &str) -> Series {
    load_file(&data().join(name)).expect("readable").expect("a known layout")
}

fn time(message: &Message) -> String {
    format_utc(message.time_us.expect("recorded messages are dated"))
}

fn topic(message: &Message) -> String {
    format!("{}/{}", message.agency, message.station)
}

/// `property=value unit status period` of every reading.
fn said(message: &Message) -> Vec<String> {
    let each = |reading: &Reading| {
        let mut text = format!("{}={}", reading.property, reading.value);
        for part in [reading.unit.as_deref(), reading.status.as_deref()].into_iter().flatten() {
            text += &format!(" {part}");
        }
        if let Some(period_s) = reading.period_s {
            text += &format!(" /{period_s}");
        }
        text
    };
    message.readings.iter().map(each).collect()
}

fn at<'a>(series: &'a Series, when: &str) -> Vec<&'a Message> {
    series.messages.iter().filter(|message| time(message) == when).collect()
}

#[test]
fn beijing() {
    let series = series("air/beijing_aotizhongxin_2014.csv");
    assert_eq!((series.layout, series.messages.len()), (Layout::Beijing, 672));
    let first = &series.messages[0];
    assert_eq!((topic(first).as_str(), first.seq), ("BJMEMC/Aotizhongxin", Some(7345)));
    assert_eq!(
        format_with_offset(first.time_us.expect("dated"), first.utc_offset_s),
        "2014-01-01T00:00:00+08:00"
    );
    assert_eq!(
        said(first),
        [
            "pm2_5=20 ug/m3 /3600",
            "pm10=90 ug/m3 /3600",
            "so2=18 ug/m3 /3600",
            "no2=62 ug/m3 /3600",
            "co=null ug/m3 /3600",
            "o3=null ug/m3 /3600",
            "air_temperature=-1.5 Cel",
            "air_pressure=1007.3 hPa",
            "dew_point=-12.5 Cel",
            "rain=0 mm /3600",
            "wind_speed=0.6 m/s",
            "wind_direction_text=\"SSE\"",
        ]
    );
}

#[test]
fn hanoi_keeps_missing_invalid_and_the_hour_that_came_twice() {
    let series = series("air/hanoi_pm25_2018.csv");
    assert_eq!(series.layout, Layout::Hanoi);
    assert_eq!(topic(&series.messages[0]), "US-STATE/Hanoi");
    // 2018-01-04 16:00 in Hanoi.
    assert_eq!(
        said(at(&series, "2018-01-04T09:00:00Z")[0]),
        [
            "pm2_5=null UG/M3 Missing /3600",
            "pm2_5_nowcast=84.5 UG/M3",
            "air_quality_index=166",
            "air_quality_category=\"Unhealthy\"",
        ]
    );
    assert_eq!(
        said(at(&series, "2018-01-04T16:00:00Z")[0]),
        [
            "pm2_5=74 UG/M3 Invalid /3600",
            "pm2_5_nowcast=null UG/M3",
            "air_quality_index=null",
            "air_quality_category=null",
        ]
    );
    assert_eq!(said(at(&series, "2018-09-02T22:00:00Z")[0])[0], "pm2_5=-2 UG/M3 Valid /3600");
    assert!(at(&series, "2018-03-10T19:00:00Z").is_empty(), "02:00 does not exist");
    let twice = at(&series, "2018-03-10T20:00:00Z");
    let values: Vec<String> = twice.iter().map(|message| said(message)[0].clone()).collect();
    assert_eq!(values, ["pm2_5=43 UG/M3 Valid /3600", "pm2_5=44.1 UG/M3 Valid /3600"]);
}

#[test]
fn openaq() {
    let series = series("air/openaq_europe_2019_long.csv");
    assert_eq!((series.layout, series.messages.len()), (Layout::OpenAq, 600));
    let first = &series.messages[0];
    assert_eq!((topic(first).as_str(), time(first).as_str()), ("OPENAQ/BETR801", "2019-06-18T06:00:00Z"));
    assert_eq!(said(first), ["pm2_5=18 µg/m³"]);
    assert!(series.messages.iter().any(|message| topic(message) == "OPENAQ/London-Westminster"));
    assert!(time(&series.messages[1]) < time(first), "newest first");
}

#[test]
fn usgs_json() {
    let flags = series("water/usgs_iv_mult_flags.json");
    assert_eq!((flags.layout, flags.messages.len()), (Layout::UsgsJson, 438));
    let first = &flags.messages[0];
    assert_eq!(topic(first), "USGS/01542500");
    assert_eq!(
        format_with_offset(first.time_us.expect("dated"), first.utc_offset_s),
        "2019-01-24T00:00:00-05:00"
    );
    assert_eq!(said(first), ["discharge=2230 ft3/s P"]);
    let ice = flags.messages.iter().filter(|message| said(message) == ["discharge=null ft3/s P,Ice"]).count();
    let estimates = flags.messages.iter().filter(|message| said(message)[0].ends_with("P,e")).count();
    assert_eq!((ice, estimates), (39, 7));

    let two = series("water/usgs_iv_two_sites_two_params_iv.json");
    assert_eq!(two.messages.len(), 186);
    assert_eq!(said(&two.messages[0]), ["discharge=974 ft3/s P", "water_level=6.55 ft P"]);
    assert_eq!(topic(&two.messages[93]), "USGS/01541200");

    let change = series("water/usgs_iv_startdst.json");
    let offsets: Vec<i32> = change.messages.iter().map(|message| message.utc_offset_s / 3600).collect();
    assert!(offsets.contains(&-5) && offsets.contains(&-4), "the offset changes inside the series");
}

#[test]
fn usgs_csv() {
    let series = series("water/usgs_01589330_5min_2018-06.csv");
    assert_eq!((series.layout, topic(&series.messages[0]).as_str()), (Layout::UsgsCsv, "USGS/01589330"));
    assert_eq!(
        said(at(&series, "2018-06-01T04:00:00Z")[0]),
        ["discharge=23.9 ft3/s A", "water_level=0.93 ft A"]
    );
    assert_eq!(
        said(at(&series, "2018-06-03T22:05:00Z")[0]),
        ["discharge=1360 ft3/s A", "water_level=6.17 ft A"]
    );
}

#[test]
fn sea_levels() {
    let kotzebue = series("water/kotzebue_sea_level_hourly_2018-2019.csv");
    assert_eq!((kotzebue.layout, kotzebue.messages.len()), (Layout::Kotzebue, 672));
    assert_eq!(said(at(&kotzebue, "2018-09-05T21:00:00Z")[0]), ["water_level=0.4785 m"]);
    let noaa = series("water/noaa_8461490_6min_2013-01.csv");
    assert_eq!((noaa.layout, topic(&noaa.messages[0]).as_str()), (Layout::Noaa, "NOAA-COOPS/8461490"));
    assert_eq!(said(at(&noaa, "2013-01-01T00:06:00Z")[0]), ["water_level=-0.783 m"]);
}

#[test]
fn airport_weather_in_imperial_units() {
    let series = series("weather/nyc_ewr_hourly_2013_h1.csv");
    assert_eq!((series.layout, series.messages.len()), (Layout::Airport, 504));
    assert_eq!(
        said(at(&series, "2013-01-01T06:00:00Z")[0]),
        [
            "air_temperature=39.02 [degF]",
            "dew_point=26.06 [degF]",
            "relative_humidity=59.37 %",
            "wind_direction=270 deg",
            "wind_speed=10.357019999999999 [mi_i]/h",
            "wind_gust=null [mi_i]/h",
            "rain=0 [in_i] /3600",
            "air_pressure=1012 mbar",
            "visibility=10 [mi_i]",
        ]
    );
}

#[test]
fn buoys() {
    let weather = series("weather/ndbc_41002_10min_2018.txt");
    assert_eq!((weather.layout, weather.messages.len()), (Layout::Buoy, 600));
    assert_eq!(topic(&weather.messages[0]), "NDBC/41002");
    let first = said(at(&weather, "2018-08-01T15:10:00Z")[0]);
    assert_eq!(
        first[..4],
        ["wind_direction=160 deg", "wind_speed=6 m/s", "wind_gust=7 m/s", "wave_height=null m"]
    );
    assert_eq!(
        first[7..10],
        ["air_pressure=1022.9 hPa", "air_temperature=null Cel", "water_temperature=28 Cel"]
    );
    assert_eq!(said(at(&weather, "2018-08-01T15:00:00Z")[0])[12], "air_pressure_tendency=0.6 hPa");
    let rain = series("weather/ndbc_bdvf1_rain_hourly_2018.txt");
    assert_eq!((rain.messages.len(), topic(&rain.messages[0]).as_str()), (1038, "NDBC/bdvf1"));
    assert_eq!(said(at(&rain, "2018-08-01T14:00:00Z")[0]), ["rain=0 mm /3600"]);
}

#[test]
fn interstate_hours_repeat_as_recorded() {
    let series = series("traffic/i94_hourly_2012-10_2014-02.csv");
    assert_eq!(
        (series.layout, topic(&series.messages[0]).as_str()),
        (Layout::Interstate, "MNDOT/I94-ATR301")
    );
    // 01:00 came twice on 2012-11-04; both rows mean the first.
    let twice = at(&series, "2012-11-04T06:00:00Z");
    assert_eq!(
        said(twice[0]),
        [
            "flow=730 veh/h /3600",
            "air_temperature=275.6 K",
            "rain=0 mm /3600",
            "snow=0 mm /3600",
            "cloud_cover=90 %",
            "weather=\"Clouds\"",
            "weather_description=\"overcast clouds\"",
        ]
    );
    assert_eq!(said(twice[1])[1], "air_temperature=275.77 K");
    assert_eq!(said(at(&series, "2014-01-31T09:00:00Z")[0])[1], "air_temperature=0 K");
    let holidays: Vec<_> = series.messages.iter().filter(|message| message.readings.len() == 8).collect();
    assert_eq!(said(holidays[0])[7], "holiday=\"Veterans Day\"");
}

#[test]
fn detectors() {
    for (name, when, value) in [
        ("occupancy_6005", "2015-09-01T18:45:00Z", "occupancy=3.06 %"),
        ("speed_6005", "2015-08-31T23:22:00Z", "speed=90 [mi_i]/h"),
        ("traveltime_387", "2015-07-10T19:24:00Z", "travel_time=564 s"),
    ] {
        let series = series(&format!("traffic/twincities_{name}.csv"));
        assert_eq!(series.layout, Layout::Detector);
        assert_eq!(topic(&series.messages[0]), format!("MNDOT/{}", name.rsplit('_').next().expect("one")));
        assert_eq!(said(at(&series, when)[0]), [value]);
    }
}

/// The extract is small, whole, and nothing in it is passed over but its papers.
#[test]
fn the_extract_loads_as_a_whole() {
    let loaded = load(&[data()]).expect("loads");
    assert_eq!(loaded.series.len(), 16);
    for path in &loaded.passed_over {
        // `geo` is the city's, not recorded.
        let folders = ["LICENSES", "geo", "geo/licences"];
        let is_in = |name: &&str| path.parent().is_some_and(|folder| folder.ends_with(name));
        let is_paper = path.ends_with("README.md") || folders.iter().any(is_in);
        assert!(is_paper, "{}", path.display());
    }
    let bytes: u64 =
        loaded.series.iter().map(|series| std::fs::metadata(&series.path).expect("there").len()).sum();
    assert!(bytes < 1_500_000, "{bytes}");
    for message in loaded.series.iter().flat_map(|series| &series.messages) {
        let names = [&message.agency, &message.station];
        let properties = message.readings.iter().map(|reading| &reading.property);
        for name in names.into_iter().chain(properties) {
            assert_eq!(crate::message::legal_name(name), **name);
        }
    }
}

#[test]
fn what_is_unknown_is_said_with_what_is_known() {
    let directory = tempfile::tempdir().expect("a directory");
    let unknown = directory.path().join("x.csv");
    std::fs::write(&unknown, "a,b,c\n1,2,3\n").expect("written");
    let error = load(std::slice::from_ref(&unknown)).expect_err("refused").to_string();
    assert!(error.contains("no known layout") && error.contains("OpenAQ"), "{error}");
    // In a folder it is passed over, but a folder without any series is refused.
    let error = load(&[directory.path().to_owned()]).expect_err("refused").to_string();
    assert!(error.contains("no recorded series"), "{error}");

    let nameless = directory.path().join("detector.csv");
    std::fs::write(&nameless, "timestamp,value\n2015-09-01 13:45:00,3.06\n").expect("written");
    let error = load(&[nameless]).expect_err("refused").to_string();
    assert!(error.contains("occupancy, speed, traveltime"), "{error}");

    let broken = directory.path().join("noaa.csv");
    std::fs::write(&broken, "station,time_utc,water_level_m_mhw\n1,2013-01-01T00:00:00Z,wet\n")
        .expect("written");
    let error = load(&[broken]).expect_err("refused").to_string();
    assert!(error.contains("line 2") && error.contains("`wet`"), "{error}");
}

#[test]
fn shifted_series_end_now_and_keep_their_distances() {
    let mut series = series("water/noaa_8461490_6min_2013-01.csv");
    let before: Vec<i64> = series.messages.iter().filter_map(|message| message.time_us).collect();
    let now_us = crate::time::parse("2026-11-21T01:05:00.7Z").expect("legal");
    shift_to(&mut series, now_us);
    let after: Vec<i64> = series.messages.iter().filter_map(|message| message.time_us).collect();
    assert_eq!(after.last().copied().map(format_utc).as_deref(), Some("2026-11-21T01:05:00Z"));
    assert!(before.windows(2).zip(after.windows(2)).all(|(b, a)| b[1] - b[0] == a[1] - a[0]));
}

#[test]
fn a_part_of_the_whole_has_its_share_of_each_series_and_stations_stay_in_order() {
    let loaded = load(&[data()]).expect("loads");
    let kotzebue: Vec<Message> = series("water/kotzebue_sea_level_hourly_2018-2019.csv").messages;
    let total: usize = loaded.series.iter().map(|series| series.messages.len()).sum();
    let mut messages = interleaved(loaded.series);
    assert_eq!(messages.len(), total);
    messages.truncate(total / 10);
    let hands = dealt(messages, 3);
    let of_kotzebue: Vec<&Message> =
        hands.iter().flatten().filter(|message| message.station == "kotzebue").collect();
    assert!((60..=75).contains(&of_kotzebue.len()), "{}", of_kotzebue.len());
    assert!(of_kotzebue.iter().zip(&kotzebue).all(|(dealt, recorded)| **dealt == *recorded));
    assert_eq!(
        hands.iter().filter(|hand| hand.iter().any(|message| message.station == "kotzebue")).count(),
        1
    );
    let Value::Number(_) = of_kotzebue[0].readings[0].value else { panic!("a level is a number") };
}

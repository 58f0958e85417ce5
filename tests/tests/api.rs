//! A2-5: the API over the real binary: directory, freshness, newest values, series, raw messages, quarantine.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use codecs::mqtt::ProtocolVersion;
use e2e_tests::{Gateway, RawMqtt, new_data_dir, sensor_gateway};
use serde_json::{Value, json};

const STATIONS: &str = "agency,station,name,name_en,commune,latitude,longitude\n\
    H24.05,KHI003,Trạm không khí Ngô Quyền,,11329,20.866,106.704\n\
    H24.05,NEVER,Trạm Đồ Sơn,Do Son,11455,20.712,106.779\n";

fn get(gateway: &Gateway, path: &str) -> Value {
    let (status, body) = gateway.http_get(path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
}

fn start(data_dir: &Path, stations_file: &Path) -> Gateway {
    let stations = format!("things.stations_file={}", stations_file.display());
    Gateway::start(data_dir, &["--set", &stations, "--set", "store.flush_interval_ms=200"])
}

fn publish(client: &mut RawMqtt, packet_id: u16, topic: &str, payload: &[u8]) {
    client.send_publish(topic, packet_id, payload);
    client.expect_puback(packet_id);
}

#[test]
fn a2_5_a_small_city_is_told_and_survives_a_restart() {
    let data_dir = new_data_dir();
    let stations_file = data_dir.path().join("stations.csv");
    fs::write(&stations_file, STATIONS).expect("the file can be written");
    let gateway = start(data_dir.path(), &stations_file);
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V5, "box-1");
    let topic = "obs/H24.05/KHI003";
    let readings = r#"{"seq":1,"readings":[{"property":"pm2_5","value":38.4,"unit":"ug/m3"},{"property":"note","value":"mưa"}]}"#;
    publish(&mut client, 1, topic, readings.as_bytes());
    publish(&mut client, 2, topic, b"ERROR \xff");
    publish(&mut client, 3, "obs/H24.06/TRIEU1/water_level", b"1.27");
    gateway.wait_until_flushed(3);

    let first = get(&gateway, "/api/v1/stations");
    let told: Vec<(&str, &str, &Value)> = first["stations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|station| {
            let text = |name: &str| station[name].as_str().expect("a text");
            (text("station"), text("state"), &station["name"])
        })
        .collect();
    let named = json!("Trạm không khí Ngô Quyền");
    assert_eq!(
        told,
        [
            ("KHI003", "fresh", &named),
            ("NEVER", "silent", &json!("Trạm Đồ Sơn")),
            ("TRIEU1", "fresh", &Value::Null),
        ]
    );
    let found = get(&gateway, "/api/v1/stations?q=ngo%20quyen&bbox=106,20,107,21&commune=11329");
    assert_eq!(found["stations"].as_array().map(Vec::len), Some(1));

    let latest = get(&gateway, "/api/v1/latest?station=H24.05/KHI003");
    assert_eq!(latest["observations"][0]["result"], "mưa");
    assert_eq!(latest["observations"][1]["datastream"], "H24.05/KHI003/pm2_5");
    assert_eq!(latest["observations"][1]["result"], 38.4);

    let messages = get(&gateway, "/api/v1/messages?station=H24.05/KHI003");
    assert_eq!(messages["recycled"], 0);
    assert_eq!(messages["messages"].as_array().map(Vec::len), Some(1));
    assert_eq!(messages["messages"][0]["payload_text"], readings);
    assert_eq!(messages["messages"][0]["client"], "box-1");
    assert_eq!(messages["messages"][0]["position"], 1);

    let quarantine = get(&gateway, "/api/v1/quarantine?limit=1");
    assert_eq!(quarantine["entries"][0]["position"], 2);
    assert_eq!(quarantine["next"], Value::Null);
    let item = get(&gateway, "/api/v1/quarantine/2");
    assert_eq!(item["items"][0]["payload_hex"], "4552524f5220ff");
    assert_eq!(item["items"][0]["payload_text"], Value::Null);

    gateway.kill9();
    let gateway = start(data_dir.path(), &stations_file);
    assert_eq!(get(&gateway, "/api/v1/latest?station=H24.05/KHI003"), latest);
    assert_eq!(get(&gateway, "/api/v1/messages?station=H24.05/KHI003")["messages"], messages["messages"]);
    assert_eq!(get(&gateway, "/api/v1/quarantine/2"), item);
}

/// 30 days of a value per minute: every one of them is in a bucket, and the buckets are days of Việt Nam.
#[test]
fn a2_5_a_month_of_minutes_is_down_sampled_without_losing_one() {
    let data_dir = new_data_dir();
    let gateway = Gateway::start(data_dir.path(), &["--set", "store.flush_interval_ms=200"]);
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V5, "box-1");
    // 2024-10-31T17:00:00Z: 1 November in Việt Nam.
    let start_s = 1_730_394_000_i64;
    for half_day in 0..60 {
        let readings: Vec<String> = (0..720)
            .map(|minute| {
                let at = half_day * 720 + minute;
                format!(r#"{{"property":"pm2_5","value":{at},"time":{}}}"#, start_s + at * 60)
            })
            .collect();
        let payload = format!(r#"{{"readings":[{}]}}"#, readings.join(","));
        publish(&mut client, 1 + half_day as u16, "obs/A/S", payload.as_bytes());
    }
    gateway.wait_until_flushed(60);
    let period = "from=2024-10-31T17:00:00Z&to=2024-11-30T17:00:00Z";
    let days = get(&gateway, &format!("/api/v1/series?datastream=A/S/pm2_5&{period}&points=30"));
    assert_eq!(days["bucket_ms"], 86_400_000);
    assert_eq!(days["count"], json!(vec![1_440; 30]));
    assert_eq!(days["time_ms"][0], start_s * 1_000);
    assert_eq!((&days["min"][29], &days["max"][29]), (&json!(41_760.0), &json!(43_199.0)));
    let fine = get(&gateway, &format!("/api/v1/series?datastream=A/S/pm2_5&{period}&points=1000"));
    let counts = fine["count"].as_array().expect("a column");
    assert!(counts.len() <= 1_000);
    assert_eq!(counts.iter().filter_map(Value::as_u64).sum::<u64>(), 43_200);
    let line = get(&gateway, &format!("/api/v1/series?datastream=A/S/pm2_5&{period}&points=500&method=lttb"));
    assert_eq!(line["value"].as_array().map(Vec::len), Some(500));
    assert_eq!((&line["value"][0], &line["value"][499]), (&json!(0.0), &json!(43_199.0)));
}

#[test]
fn a2_5_a_wrong_directory_is_an_error_at_the_start() {
    let data_dir = new_data_dir();
    let stations_file = data_dir.path().join("stations.csv");
    fs::write(&stations_file, STATIONS.replace("20.712", "north")).expect("the file can be written");
    let path = stations_file.display().to_string();
    let output = sensor_gateway(&[
        "run",
        "--data-dir",
        &data_dir.path().join("data").display().to_string(),
        "--mqtt-listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
        "--set",
        &format!("things.stations_file={path}"),
    ]);
    assert_eq!(output.code, Some(2), "{}", output.stderr);
    let sentence = format!("{path}:3: latitude: expected degrees from -90 to 90, found \"north\"");
    assert!(output.stderr.contains(&sentence), "{}", output.stderr);
}

/// What no catalogue knows is in the unit that it was sent in.
#[test]
fn a2_5_a_series_of_an_unknown_property_has_its_values_and_their_unit() {
    let data_dir = new_data_dir();
    let gateway = Gateway::start(data_dir.path(), &[]);
    let mut client = RawMqtt::connect(gateway.mqtt, ProtocolVersion::V5, "box-1");
    for (id, (property, unit)) in
        (1..).zip([("zz", r#","unit":"Cel""#), ("wobbles", r#","unit":"wobble""#), ("plain", "")])
    {
        publish(
            &mut client,
            id,
            &format!("obs/U/u/{property}"),
            format!(r#"{{"value":5{unit}}}"#).as_bytes(),
        );
    }
    gateway.wait_until_flushed(3);
    for (property, unit) in [("zz", json!("Cel")), ("wobbles", json!("wobble")), ("plain", Value::Null)] {
        let series = get(&gateway, &format!("/api/v1/series?datastream=U/u/{property}"));
        assert_eq!(
            (&series["count"], &series["last"], &series["unit"]),
            (&json!([1]), &json!([5.0]), &unit),
            "{series}"
        );
    }
}

/// P7: more connections than there may be, each with half a request, are cut off; whoever asks gets an answer.
#[test]
fn p7_half_requests_keep_nobody_from_being_answered() {
    let data_dir = new_data_dir();
    let gateway = Gateway::start(data_dir.path(), &[]);
    let half: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(gateway.http).expect("loopback takes connections");
            stream.write_all(b"GET /health HTT").expect("the socket has room");
            stream
        })
        .collect();
    assert_eq!(gateway.http_get("/health").0, 200);
    drop(half);
}

//! A2-4, A2-6: the console in a real browser, on a gateway that a simulated city and some rude devices publish to.
//!
//! The checks are in `tests/browser`; here is what they look at. With `CONSOLE_SCREENSHOTS=DIR` the run also takes the
//! pictures of the README: `CONSOLE_SCREENSHOTS=docs/images cargo test --profile e2e -p e2e-tests --test console`.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codecs::mqtt::Packet;
use e2e_tests::wire::{V5, connect, publish};
use e2e_tests::{Gateway, Simulator, binary, mosquitto_pub, new_data_dir, repository, wait_until};
use rumqttc::{Client, MqttOptions, QoS};
use serde_json::{Value, json};

/// Enough that markers share places, few enough that their past is published in seconds.
const STATIONS: &str = "300";
const AGENCY: &str = "H24.61";
const CHARTED_PROPERTY: &str = "flow;class=motorcycle;direction=in;lane=1";
/// Would run wherever a text of a device became markup.
const HOSTILE: &str = "<img src=x onerror=hostile=1>";
const HOSTILE_NAME: &str = "<img src=x onerror=hostile=1> hostile";
const PLANTED_CLIENT: &str = "planted-1";
const PLANTED: &str = r#"{"seq":1,"readings":[{"property":"pm2_5","value":38.4.1,"unit":"ug/m3"}]}"#;
const PLANTED_TOPIC: &str = "obs/H24.05/PLANTED";

#[test]
fn a2_6_every_page_in_a_browser() {
    let dir = new_data_dir();
    let things = dir.path().join("things");
    write_things(&things);
    let stations = things.join("stations.csv");
    let agencies = things.join("agencies.csv");
    let gateway = Gateway::start(
        &dir.path().join("data"),
        &[
            "--set",
            &format!("things.stations_file={}", stations.display()),
            "--set",
            &format!("things.agencies_file={}", agencies.display()),
        ],
    );
    let broker = gateway.mqtt.to_string();
    let city = ["city", "--broker", &broker, "--stations", STATIONS, "--from", "26h", "--some-faults"];
    let _city = Simulator::start(&dir.path().join("truth.ndjson"), &city);
    publish_rudeness(gateway.mqtt);
    publish_states(gateway.mqtt);
    let live = Live::start(gateway.mqtt);
    let charted = wait_for_the_past(&gateway);
    let warned = warned_gateway(&dir.path().join("warned"));

    let plan = dir.path().join("plan.json");
    fs::write(&plan, plan_of(&charted, &warned).to_string()).unwrap();
    let mut browser = Command::new("node");
    browser
        .arg(repository().join("tests/browser/run.mjs"))
        .arg(format!("http://{}", gateway.http))
        .arg(&plan);
    if let Some(dir) = std::env::var_os("CONSOLE_SCREENSHOTS") {
        browser.arg(repository().join(dir));
    }
    let output = browser.output().unwrap_or_else(|error| panic!("node: {error}; run tests/setup.sh"));
    live.stop();
    let told = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    println!("{told}");
    assert!(output.status.success(), "{}\n{told}\n{stderr}", output.status);
    assert!(told.contains(" passed, 0 failed"), "the checks came to their end: {told}");
}

/// A gateway that refuses a client, since that has filled its share of the quarantine with garbage (B1-3).
fn warned_gateway(data_dir: &Path) -> Gateway {
    let gateway = Gateway::start(data_dir, &["--set", "quarantine.client_bytes_max=8192"]);
    let mut rude = connect(&gateway, V5, "rude");
    wait_until("the client to be refused", || {
        rude.send(&publish(V5, 2, "obs/A/RUDE", 1, &[b'?'; 600]));
        let frame = rude.next_packet().expect("a 5.0 client stays");
        let Packet::PubAck(ack) = frame.packet() else { panic!("no PUBACK") };
        (ack.reason_code.value() == 0x97).then_some(())
    });
    wait_until("/ready to say so", || {
        gateway.http_get("/ready").1.contains("\"quarantine_full\"").then_some(())
    });
    gateway
}

/// The city's own files, and a station whose name is a trap.
fn write_things(dir: &Path) {
    let output = Command::new(binary("firmware-sim"))
        .args(["city", "--stations", STATIONS, "--things-only", "--things-out"])
        .arg(dir)
        .output()
        .expect("firmware-sim can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = dir.join("stations.csv");
    let mut stations = fs::read_to_string(&path).unwrap();
    writeln!(stations, "H24.05,HOSTILE,{HOSTILE_NAME},,11329,20.8581,106.6972").unwrap();
    writeln!(stations, "H24.05,LIVE,Trạm đo liên tục,Live gauge,11329,20.8541,106.6902").unwrap();
    writeln!(stations, "{AGENCY},STATES,Trạm bơm thử,Test pump,11329,20.8501,106.6802").unwrap();
    fs::write(path, stations).unwrap();
}

/// What cannot be decoded, and what tries to be more than text.
fn publish_rudeness(mqtt: SocketAddr) {
    for (client, topic, payload) in [
        (PLANTED_CLIENT, PLANTED_TOPIC, PLANTED),
        (PLANTED_CLIENT, "obs/H24.05/PLANTED/pm2_5", "chưa đo được"),
        (HOSTILE, &format!("obs/{HOSTILE}/x"), HOSTILE),
        (HOSTILE, "obs/H24.05/HOSTILE", r#"{"readings":[{"property":"pm2_5","value":"x","status":7}]}"#),
        (
            "hostile",
            "obs/H24.05/HOSTILE",
            &format!(
                r#"{{"readings":[{{"property":"pm2_5","value":38.4,"unit":"ug/m3","status":"{HOSTILE}"}},
                   {{"property":"hostile","value":"{HOSTILE}"}}]}}"#
            ),
        ),
    ] {
        mosquitto_pub(mqtt, &["-q", "1", "-i", client, "-t", topic, "-s"], payload.as_bytes());
    }
}

/// A pump that runs and stops every two minutes.
fn publish_states(mqtt: SocketAddr) {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let readings: Vec<_> = (0..20)
        .map(|step| json!({"property": "pump_state", "value": step % 2 == 0, "time": now_s - 120 * (20 - step)}))
        .collect();
    let payload = json!({ "seq": 1, "readings": readings }).to_string();
    mosquitto_pub(mqtt, &["-q", "1", "-t", &format!("obs/{AGENCY}/STATES"), "-s"], payload.as_bytes());
}

/// Waits until the city has told its past and goes on live; gives a station with a curve.
fn wait_for_the_past(gateway: &Gateway) -> String {
    let ask = |path: &str| -> Value {
        let (status, body) = gateway.http_get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    };
    wait_until("the city's past", || {
        let stations = ask("/api/v1/stations?limit=1000");
        let stations = stations["stations"].as_array().unwrap();
        let fresh = stations.iter().filter(|station| station["state"] == "fresh").count();
        let ledger = gateway.ledger();
        (fresh > stations.len() / 2 && ledger["messages"]["pending"] == 0).then_some(())
    });
    let latest = ask(&format!("/api/v1/latest?property={CHARTED_PROPERTY}&limit=1"));
    let observation = &latest["observations"][0];
    format!("{}/{}", observation["agency"].as_str().unwrap(), observation["station"].as_str().unwrap())
}

fn plan_of(charted: &str, warned: &Gateway) -> Value {
    json!({
        "agency": AGENCY,
        "charted": { "station": charted, "property": CHARTED_PROPERTY },
        "states": { "station": format!("{AGENCY}/STATES"), "property": "pump_state" },
        "warned": { "base": format!("http://{}", warned.http), "state": "quarantine_full" },
        "live": { "station": "H24.05/LIVE" },
        "planted": { "client": PLANTED_CLIENT, "topic": PLANTED_TOPIC, "payload": PLANTED, "count": 2 },
        "hostile": {
            "station": "H24.05/HOSTILE",
            "name": HOSTILE_NAME,
            "status": HOSTILE,
            "client": HOSTILE,
            "topic": format!("obs/{HOSTILE}/x"),
            "latitude": 20.8581,
            "longitude": 106.6972,
        },
    })
}

/// A gauge whose value rises twice a second.
struct Live {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Live {
    fn start(mqtt: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let options = MqttOptions::new("live", mqtt.ip().to_string(), mqtt.port());
            let (client, mut connection) = Client::new(options, 10);
            let events = thread::spawn(move || while let Some(Ok(_)) = connection.iter().next() {});
            for step in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let value = format!("{}.{:02}", step / 100, step % 100);
                client.publish("obs/H24.05/LIVE/water_level", QoS::AtLeastOnce, false, value).unwrap();
                // A device's own pace, for the live pages.
                thread::sleep(Duration::from_millis(500));
            }
            client.disconnect().unwrap();
            events.join().unwrap();
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

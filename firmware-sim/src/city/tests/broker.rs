//! A2-1 over real connections: a broker of a few lines that acknowledges and remembers, a storm, and the ledger.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use super::*;
use crate::client::ClientOptions;
use crate::ledger::{Line, Reader};

/// A PUBLISH as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Received {
    client: String,
    topic: String,
    payload: Vec<u8>,
    dup: bool,
}

/// Acknowledges every QoS 1 message at once.
struct Broker {
    address: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Broker {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let shared = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let received = Arc::clone(&shared);
                // The end of a connection, whatever it is, is the client's business.
                std::thread::spawn(move || serve(stream, &received));
            }
        });
        Self { address, received }
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().expect("nobody panics").clone()
    }
}

fn serve(mut stream: TcpStream, received: &Mutex<Vec<Received>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut client = String::new();
    loop {
        let (first, body) = packet(&mut reader)?;
        match first >> 4 {
            1 => {
                let length = usize::from(u16::from_be_bytes([body[10], body[11]]));
                client = String::from_utf8_lossy(&body[12..12 + length]).into_owned();
                stream.write_all(&[0x20, 2, 0, 0])?;
            }
            3 => {
                let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = String::from_utf8_lossy(&body[2..2 + length]).into_owned();
                let packet_id = &body[2 + length..4 + length];
                let (payload, dup) = (body[4 + length..].to_vec(), first & 8 != 0);
                let message = Received { client: client.clone(), topic, payload, dup };
                received.lock().expect("nobody panics").push(message);
                stream.write_all(&[0x40, 2, packet_id[0], packet_id[1]])?;
            }
            12 => stream.write_all(&[0xd0, 0])?,
            _ => return Ok(()),
        }
    }
}

fn packet(reader: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    reader.read_exact(&mut byte)?;
    let first = byte[0];
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        reader.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((first, body))
}

/// Waits until something is so, or fails after a long while.
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_storm_over_real_connections_ends_with_everything_acknowledged() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().expect("a directory");
    let ledger = folder.path().join("truth.ndjson");
    let config = CityConfig {
        client: ClientOptions {
            broker: broker.address.clone(),
            client_prefix: "city".to_owned(),
            ..ClientOptions::default()
        },
        stations: 150,
        connections: 4,
        from_us: Some(now_us() - 120 * SECOND_US),
        interval_scale: 0.01,
        format: Some(FormatChoice::Json),
        ledger: ledger.clone(),
        ..config()
    };
    let city = city(config);
    let control = CityControl::new();
    let summary = std::thread::scope(|scope| {
        let running = scope.spawn(|| city.run(&control));
        wait_for("the past is covered", || control.is_live());
        let now_us = now_us();
        let storm = Storm { region: Region::All, from_us: now_us, until_us: now_us + 3600 * SECOND_US };
        let number = control.start_storm(storm).expect("the first");
        wait_for("all connections break off", || control.connections_cut_off() == 4);
        let before = broker.received().len();
        wait_for("something waits", || control.storms()[number].waiting > 80);
        assert_eq!(broker.received().len(), before, "nothing comes through");
        control.end_storm(number);
        wait_for("nothing waits any more", || control.storms()[number].waiting == 0);
        control.stop();
        running.join().expect("no panic").expect("the run ends well")
    });
    assert_eq!(summary.unacked(), 0);
    assert_eq!((summary.connections_lost, summary.clients_gave_up), (4, 0));
    assert!(
        control.ack_latency().count() == summary.messages_acked
            && control.ack_latency().quantile_us(0.5).is_some()
    );

    // Every message of the ledger came, with the bytes that the ledger's readings stand for; nothing else did.
    let mut received: HashMap<(String, String), Vec<Vec<u8>>> = HashMap::new();
    let mut newest: HashMap<String, i64> = HashMap::new();
    let all = broker.received();
    for message in &all {
        let json: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
        let time_us = match &json["time"] {
            serde_json::Value::String(text) => time::parse(text).expect("RFC 3339"),
            number => {
                let number = number.as_i64().expect("a number");
                number * if number < 100_000_000_000 { SECOND_US } else { 1000 }
            }
        };
        if !message.dup {
            // Sending follows measuring within the send delay, so nothing much newer came before.
            let newest = newest.entry(message.client.clone()).or_insert(time_us);
            assert!(time_us > *newest - 120 * SECOND_US, "{}: oldest first", message.topic);
            *newest = time_us.max(*newest);
            received
                .entry((message.client.clone(), message.topic.clone()))
                .or_default()
                .push(message.payload.clone());
        }
    }
    let lines: Vec<Line> = Reader::open(&ledger).expect("there").collect::<Result<_, _>>().expect("good");
    let mut acked = 0;
    for line in &lines {
        match line {
            Line::Sent(sent) => {
                let queue =
                    received.get_mut(&(sent.client.to_string(), sent.topic.clone())).expect("it came");
                let json: serde_json::Value = serde_json::from_slice(&queue.remove(0)).expect("JSON");
                assert_eq!(json["seq"].as_u64(), sent.seq);
                assert_eq!(json["readings"].as_array().map(Vec::len), Some(sent.readings.len()));
            }
            Line::Acked(_) => acked += 1,
            Line::Session(session) => assert_eq!(session.command, "city"),
            Line::Resent(_) | Line::Episode(_) => {}
        }
    }
    assert_eq!(acked, summary.messages_sent);
    assert!(received.values().all(Vec::is_empty));
}

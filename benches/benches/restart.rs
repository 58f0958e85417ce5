//! How long a start takes with a large journal (B1-7): `cargo bench -p gateway-benches --bench restart`.
//!
//! Makes a journal of 10 GiB with the gateway's own log writer (real message records, real bytes, one sync per frame), lets a
//! gateway process it and kills it when it is `ready`: what is left is a full journal, an observation log and a memory of
//! unflushed rows as a crash at full load leaves them. Then it measures, some times, from the start of the process to its
//! `ready` line, killing it each time. Everything is removed afterwards.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use codecs::mqtt::{ProtocolVersion, QoS};
use gateway::disk::OsDisk;
use gateway::log::{AlignedBuf, JOURNAL_DIR, KIND_MESSAGE, LogConfig, LogId, LogKind, Prepared, recover};
use gateway::record::{Door, Message};

const USAGE: &str =
    "restart [--gib 10] [--starts 5] [--gateway target/release/sensor-gateway] [--dir target/restart-bench]";
/// What a frame of a busy gateway holds.
const FRAME_BYTES: usize = 1 << 20;
/// Bytes of a payload; the text beside the reading is what a verbose device sends.
const PAYLOAD_BYTES: usize = 1_024;
const STATIONS: u64 = 1_000;

struct Options {
    gib: f64,
    starts: usize,
    gateway: PathBuf,
    dir: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    if options.dir.exists() {
        return Err(format!(
            "{} exists: remove it, or name another directory with --dir",
            options.dir.display()
        )
        .into());
    }
    let measured = run(&options);
    std::fs::remove_dir_all(&options.dir)?;
    measured
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        gib: 10.0,
        starts: 5,
        gateway: PathBuf::from("target/release/sensor-gateway"),
        dir: PathBuf::from("target/restart-bench"),
    };
    // Cargo runs a bench in its package's directory, and adds `--bench`.
    if let Some(repository) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        std::env::set_current_dir(repository)?;
    }
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match name.as_str() {
            "--gib" => options.gib = value.parse()?,
            "--starts" => options.starts = value.parse()?,
            "--gateway" => options.gateway = value.into(),
            "--dir" => options.dir = value.into(),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let (bytes, messages) = make_journal(options)?;
    println!("journal: {messages} messages, {bytes} bytes written");
    let (first, took) = start(options)?;
    println!("first start (processes the whole journal): {:.1} s", took.as_secs_f64());
    kill(first)?;
    println!("on disk: {}", sizes(&options.dir));
    let mut times = Vec::new();
    for _ in 0..options.starts {
        // Without the rights for it the page cache stays warm, and the line below says which it was.
        let is_cold = std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok();
        let (gateway, took) = start(options)?;
        kill(gateway)?;
        println!(
            "start to ready: {:.2} s ({} page cache)",
            took.as_secs_f64(),
            if is_cold { "cold" } else { "warm" }
        );
        times.push(took);
    }
    times.sort_unstable();
    println!("median {:.2} s; on disk: {}", times[times.len() / 2].as_secs_f64(), sizes(&options.dir));
    Ok(())
}

fn make_journal(options: &Options) -> Result<(u64, u64), Box<dyn Error>> {
    let disk = Arc::new(OsDisk::open(&options.dir)?);
    let config = LogConfig { log_bytes_max: 64 << 30, ..LogConfig::new(LogKind::Journal, LogId::random()?) };
    let (_, mut writer) = recover(disk, JOURNAL_DIR, config)?;
    let bytes_wanted = (options.gib * f64::from(1 << 30)) as u64;
    let begin_us = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros() as i64
        - 3_600 * 1_000_000;
    let (mut bytes, mut message_no) = (0, 0);
    while bytes < bytes_wanted {
        let mut frame = AlignedBuf::new(FRAME_BYTES);
        let first = message_no;
        while push(&mut frame, message_no, begin_us) {
            message_no += 1;
        }
        let count = u32::try_from(message_no - first)?;
        while writer.needs_preparation() && writer.prepare_step()? == Prepared::Progress {}
        let now_us = begin_us + message_no as i64 * 100;
        bytes += u64::from(writer.append(&mut [frame], count, count, now_us)?.len);
    }
    Ok((bytes, message_no))
}

/// False: the frame is full.
fn push(frame: &mut AlignedBuf, message_no: u64, begin_us: i64) -> bool {
    let station = message_no % STATIONS;
    let time_us = begin_us + message_no as i64 * 100;
    let value = message_no % 1_000;
    let mut payload = format!(
        r#"{{"time":{time_us},"seq":{},"readings":[{{"property":"pm2_5","value":{value}.25,"unit":"ug/m3"}}],"firmware":""#,
        message_no / STATIONS
    );
    while payload.len() < PAYLOAD_BYTES - 2 {
        payload.push(char::from(b'a' + (payload.len() as u64 * 7 + message_no) as u8 % 26));
    }
    payload.push_str("\"}");
    let (client, topic) = (format!("box-{}", station % 50), format!("obs/BENCH/S{station}"));
    let message = Message {
        qos: QoS::AtLeastOnce,
        dup: false,
        retain: false,
        version: ProtocolVersion::V3_1_1,
        door: Door::Mqtt,
        first: false,
        packet_id: (message_no % 65_535) as u16 + 1,
        mapping_version: 1,
        agency: b"",
        client: client.as_bytes(),
        topic: topic.as_bytes(),
        properties: b"",
        payload: payload.as_bytes(),
    };
    let (head, parts) = (message.head(), message.parts());
    let body = [&head[..], parts[0], parts[1], parts[2], parts[3], parts[4]];
    frame.push_record(KIND_MESSAGE, message.flags(), message.packet_id, &body).is_ok()
}

fn start(options: &Options) -> Result<(Child, Duration), Box<dyn Error>> {
    let begin = Instant::now();
    let mut gateway = Command::new(&options.gateway)
        .args(["run", "--mqtt-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data-dir"])
        .arg(&options.dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = gateway.stdout.take().ok_or("the gateway has no stdout")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if !line.starts_with("ready ") {
        let status = gateway.wait()?;
        return Err(format!("the gateway did not become ready: {status}; run it by hand to see why").into());
    }
    Ok((gateway, begin.elapsed()))
}

fn kill(mut gateway: Child) -> Result<(), Box<dyn Error>> {
    gateway.kill()?;
    gateway.wait()?;
    Ok(())
}

/// Bytes that the parts of the directory take on the disk.
fn sizes(dir: &Path) -> String {
    let of = |name: &str| -> u64 {
        let mut waiting = vec![dir.join(name)];
        let mut bytes = 0;
        while let Some(path) = waiting.pop() {
            let Ok(entries) = std::fs::read_dir(&path) else { continue };
            for entry in entries.flatten() {
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                    Ok(metadata) => bytes += metadata.len(),
                    Err(_) => {}
                }
            }
        }
        bytes
    };
    let parts = ["journal", "observations", "store"]
        .map(|name| format!("{name} {:.2} GiB", of(name) as f64 / f64::from(1 << 30)));
    parts.join(", ")
}

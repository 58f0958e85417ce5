//! A2-2: the device in C (`firmware-sim/device-c`). Its encoder is compiled as a microcontroller's would be, its messages
//! are published by mosquitto_pub to the real gateway and read back number for number; with sanitizers on it makes
//! messages of all shapes, into buffers of all sizes, which this project's own decoder must read as they were meant.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use codecs::payload::{DecodeError, Format, Reading, ReadingSink, Value, decode};
use codecs::{property_catalogue, time, units};
use e2e_tests::wire::start;
use e2e_tests::{Row, mosquitto_pub, new_data_dir, repository};

/// What the firmware of a small device can spare for it, asserted on the host: its code is larger and its stack deeper than
/// those of a Cortex-M (`firmware-sim/device-c/README.md`).
const CODE_BYTES_MAX: u64 = 3_000;
const STACK_BYTES_MAX: u64 = 600;
/// Of a message of one number with property, time and sequence number.
const SHORT_BYTES_MAX: usize = 64;

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run tests/setup.sh"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    output
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).expect("these programs print UTF-8")
}

/// Compiles C files into `name`, or with `-c` among the options into an object file.
fn compile(dir: &Path, name: &str, options: &[&str], sources: &[&str]) -> PathBuf {
    let target = dir.join(name);
    run(Command::new("cc")
        .current_dir(repository().join("firmware-sim/device-c"))
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror"])
        .args(options)
        .args(sources)
        .arg("-o")
        .arg(&target)
        .arg("-lm"));
    target
}

/// One reading, as C described it or as the decoder gave it.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    property: String,
    kind: String,
    /// Numbers as their bits.
    value: String,
    unit: String,
    status: String,
    period_s: u32,
    time_us: Option<i64>,
}

/// A message as C described it.
#[derive(Debug)]
struct Described {
    seq: Option<u64>,
    bytes: Vec<u8>,
    readings: Vec<Owned>,
}

fn number_text(number: f64) -> String {
    format!("{:016x}", number.to_bits())
}

/// Reads what `describe.c` prints.
fn described(text: &str) -> Vec<Described> {
    let mut messages: Vec<Described> = Vec::new();
    let mut message_time_us = None;
    for line in text.lines() {
        if let Some(message) = line.strip_prefix("message ") {
            let fields: Vec<&str> = message.split(' ').collect();
            let [seq, time_us, _, hex] = fields[..] else { panic!("{line}") };
            message_time_us = time_us.parse().ok();
            let digits = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("digits"));
            let bytes = digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect();
            messages.push(Described { seq: seq.parse().ok(), bytes, readings: Vec::new() });
            continue;
        }
        let fields: Vec<&str> = line.split('|').collect();
        let ["reading", number, name, qualifiers, kind, value, unit, status, period_s, time_us] = fields[..]
        else {
            panic!("{line}")
        };
        let number: u16 = number.parse().expect("a property number");
        let base = match property_catalogue::property_by_number(number) {
            Some(entry) => entry.code,
            None => name,
        };
        let property = if qualifiers.is_empty() { base.to_owned() } else { format!("{base};{qualifiers}") };
        let value = match kind {
            "number" => number_text(value.parse().expect("a number of 17 digits")),
            _ => value.to_owned(),
        };
        let reading = Owned {
            property,
            kind: kind.to_owned(),
            value,
            unit: unit.to_owned(),
            status: status.to_owned(),
            period_s: period_s.parse().expect("seconds"),
            time_us: time_us.parse().ok().or(message_time_us),
        };
        messages.last_mut().expect("a message comes before its readings").readings.push(reading);
    }
    messages
}

#[derive(Default)]
struct Sink {
    readings: Vec<Owned>,
    bad: Vec<String>,
}

impl ReadingSink for Sink {
    fn reading(&mut self, reading: Reading<'_>) {
        let (kind, value) = match reading.value {
            Value::Number(number) => ("number", number_text(number)),
            Value::Boolean(boolean) => ("boolean", boolean.to_string()),
            Value::Text(text) => ("text", text.to_owned()),
            Value::Null => ("null", String::new()),
        };
        self.readings.push(Owned {
            property: reading.property.as_str().to_owned(),
            kind: kind.to_owned(),
            value,
            unit: reading.unit.unwrap_or_default().to_owned(),
            status: reading.status.unwrap_or_default().to_owned(),
            period_s: reading.period_s.unwrap_or(0),
            time_us: reading.time_us,
        });
    }

    fn bad_reading(&mut self, index: usize, _property: Option<&str>, error: DecodeError) {
        self.bad.push(format!("reading {index}: {error}"));
    }

    fn discard(&mut self) {}
}

/// The decoder, whose verifier is the FlatBuffers project's own, reads what C meant.
fn assert_decodes(message: &Described) {
    let mut sink = Sink::default();
    let info = decode(Format::FlatBuffers, None, &message.bytes, &mut sink)
        .unwrap_or_else(|error| panic!("{error}: {message:?}"));
    assert_eq!(sink.bad, [""; 0], "{message:?}");
    assert_eq!(info.seq, message.seq, "{message:?}");
    assert_eq!(sink.readings, message.readings);
}

#[test]
fn what_the_c_device_sends_by_mosquitto_is_stored_number_for_number() {
    let dir = new_data_dir();
    let device = compile(dir.path(), "device", &["-Os"], &["telemetry.c", "describe.c", "device.c"]);
    let out = dir.path().to_str().expect("a path of a test");
    let messages = described(&text(run(Command::new(&device).args(["24", out]))));
    assert_eq!(messages.len(), 24);

    let own = start(&[]);
    let topic = ["-t", "obs/H24.05/C001", "-q", "1"];
    for (count, message) in messages.iter().enumerate() {
        assert_decodes(message);
        let file = format!("{out}/{count:04}.bin");
        assert_eq!(std::fs::read(&file).expect("the device wrote it"), message.bytes);
        mosquitto_pub(own.gateway.mqtt, &[&topic[..], &["-f", &file]].concat(), b"");
    }
    // And the way that its README shows: one message of now, through a pipe.
    let now = run(&mut Command::new(&device)).stdout;
    mosquitto_pub(own.gateway.mqtt, &["-t", "obs/H24.05/C002", "-q", "1", "-s"], &now);

    let readings: usize = messages.iter().map(|message| message.readings.len()).sum();
    let ledger = own.gateway.wait_until_flushed(25);
    assert_eq!(ledger["messages"]["decoded"], 25, "{ledger}");
    let rows = own.gateway.query_csv(&["--datastream", "H24.05/C001"]);
    assert_eq!(rows.len(), readings);
    for message in &messages {
        for reading in &message.readings {
            assert_row(&rows, message, reading);
        }
    }
    assert!(!own.gateway.query_csv(&["--datastream", "H24.05/C002"]).is_empty());
}

/// There is one row of this reading, in the catalogue's unit.
fn assert_row(rows: &[Row], message: &Described, reading: &Owned) {
    let datastream = format!("H24.05/C001/{}", reading.property);
    let is_its = |row: &&Row| {
        row["datastream"] == datastream
            && time::parse_rfc3339(&row["phenomenon_time"]).ok() == reading.time_us
    };
    let found: Vec<&Row> = rows.iter().filter(is_its).collect();
    let [row] = found[..] else { panic!("{reading:?}: {found:?}") };
    assert_eq!(row["kind"], reading.kind, "{row:?}");
    assert_eq!(row["seq"], message.seq.expect("the device numbers its messages").to_string());
    assert_eq!(row["status"], reading.status, "{row:?}");
    assert_eq!(row["period_s"].parse().unwrap_or(0), reading.period_s, "{row:?}");
    if reading.kind != "number" {
        assert_eq!(row["result"], reading.value, "{row:?}");
        return;
    }
    let base = reading.property.split(';').next().unwrap_or_default();
    let unit = property_catalogue::property(base).and_then(|entry| entry.unit).unwrap_or_default();
    let sent = f64::from_bits(u64::from_str_radix(&reading.value, 16).expect("bits"));
    let expected = match &*reading.unit {
        "" => sent,
        sent_unit => units::conversion(sent_unit, unit).expect("the device's units are known").apply(sent),
    };
    assert_eq!(row["unit"], unit, "{row:?}");
    let result: f64 = row["result"].parse().expect("a number");
    assert_eq!(result.to_bits(), expected.to_bits(), "{row:?}");
}

#[test]
fn messages_of_all_shapes_are_well_formed_and_no_buffer_is_overrun() {
    let dir = new_data_dir();
    let options = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let check = compile(dir.path(), "check", &options, &["telemetry.c", "describe.c", "check.c"]);
    for seed in ["1", "2", "20261121"] {
        let messages = described(&text(run(Command::new(&check).args([seed, "700"]))));
        assert_eq!(messages.len(), 700);
        messages.iter().for_each(assert_decodes);
        let is_short = |message: &&Described| message.bytes.len() <= SHORT_BYTES_MAX;
        assert!(messages.iter().filter(is_short).count() > 50, "short forms are among them");
        assert!(messages.iter().any(|message| message.seq.is_some_and(|seq| seq > u64::from(u32::MAX))));
    }
}

/// "A microcontroller can do it in a few hundred bytes of RAM; size of code and message are stated."
#[test]
fn code_stack_and_message_stay_within_what_is_stated() {
    let dir = new_data_dir();
    let object = compile(dir.path(), "telemetry.o", &["-Os", "-fstack-usage", "-c"], &["telemetry.c"]);

    // text data bss dec hex filename
    let size = text(run(Command::new("size").arg(&object)));
    let sizes: Vec<u64> =
        size.lines().nth(1).unwrap_or_default().split_whitespace().map_while(|n| n.parse().ok()).collect();
    assert!(sizes.len() >= 3 && sizes[0] > 0, "{size}");
    assert!(sizes[0] <= CODE_BYTES_MAX, "code: {size}");
    assert_eq!(sizes[1..3], [0, 0], "no static memory: {size}");

    // Every frame on top of every other is more than any chain of calls, since nothing here is recursive; a return
    // address each.
    let usage = std::fs::read_to_string(dir.path().join("telemetry.su")).expect("-fstack-usage writes it");
    let frames: Vec<u64> = usage
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields[2], "static", "a frame of a fixed size: {line}");
            fields[1].parse().expect("bytes")
        })
        .collect();
    assert!(usage.contains("telemetry_encode"), "{usage}");
    let stack: u64 = frames.iter().map(|frame| frame + 8).sum();
    assert!(stack <= STACK_BYTES_MAX, "stack: {stack} bytes\n{usage}");

    // Names of the compiler's own begin with two underscores.
    let undefined = text(run(Command::new("nm").arg("-u").arg(&object)));
    let names: Vec<&str> = undefined.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert!(names.iter().all(|name| *name == "memcpy" || name.starts_with("__")), "{undefined}");

    let device = compile(dir.path(), "device", &["-Os"], &["telemetry.c", "describe.c", "device.c"]);
    let out = dir.path().to_str().expect("a path of a test");
    let messages = described(&text(run(Command::new(&device).args(["2", out]))));
    let lengths: Vec<usize> = messages.iter().map(|message| message.bytes.len()).collect();
    assert_eq!(lengths, [54, 60], "by number, and by a name of 7 bytes, as its README says");
    for message in &messages {
        assert!(message.seq.is_some() && message.readings[0].time_us.is_some());
        assert!(message.bytes.len() <= SHORT_BYTES_MAX);
    }
}

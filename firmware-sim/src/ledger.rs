//! The truth ledger: an append-only file that says what was sent, and what of it the broker acknowledged.
//!
//! One JSON object per line:
//! ```text
//! {"session":"2026-11-21T01:05:00Z","format_version":3,"command":"run","seed":7}
//! {"sent":1,"client":"sim-7-0","packet":1,"topic":"obs/H24.05/KHI001","format":"json","qos":1,"kind":"reading",
//!  "time":"2026-11-21T01:05:00Z","seq":1,"readings":[{"property":"pm2_5","value":38.4,"unit":"ug/m3"}]}   (one line)
//! {"acked":1}
//! {"resent":2}
//! {"fault":"stuck","station":"H24.05/KHI001","from":"2026-11-20T22:17:03Z","until":"2026-11-21T04:17:03Z"}
//! ```
//! - A **session** line starts every run that appends to the file; message numbers start again at 1 after it.
//! - A **sent** line is in the file before the message is given to the MQTT client, so that a gateway never knows more than
//!   the ledger. Messages of one station stand in the order in which they were published. `readings` is what the payload
//!   says, in the units it says it in, and is empty for garbage. Times are UTC; a reading without a time of its own has the
//!   message's, or none at all.
//! - An **acked** line follows when the PUBACK arrived. A message without one may or may not have reached the gateway.
//! - A **resent** line: the message was published again with DUP after a reconnect, with the same packet id and payload.
//! - A **fault** line ([`Episode`]): what goes wrong for a while, at a station or in a region. What a single message has is in
//!   its sent line. A session tells of a station's fault before the first message with it, of missed measurements when that is
//!   over, and of a storm when it is known of; once more if its end changed: then the later line counts. Since version 3.
//!
//! One run at a time appends to a file; it is locked meanwhile.
//! The last line may be cut short (the simulator was killed); the next session cuts it off, a reader ignores it.

mod episode;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::message::{Reading, Text};
use crate::time;

pub use episode::{Episode, Fault};

/// Version of the lines above.
pub const FORMAT_VERSION: u32 = 3;
/// Longest line that a reader takes; the bound on what a file that is no ledger can make it hold.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// How a payload was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Json,
    Bare,
    Flatbuffers,
}

/// Why a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Reading,
    /// The same bytes once more, as a message of its own.
    Duplicate,
    /// The same time with another value.
    Correction,
    /// Undecodable; expected in quarantine and nowhere else.
    Garbage,
    /// Decodable, but years away from now: its readings are expected in quarantine and nowhere else. Since version 2.
    Misdated,
}

/// First line of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// When the run began, RFC 3339.
    pub session: String,
    pub format_version: u32,
    pub command: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Session {
    pub fn new(command: &str, seed: Option<u64>) -> Self {
        let session = time::format_utc(time::now_us());
        Self { session, format_version: FORMAT_VERSION, command: command.to_owned(), seed }
    }
}

/// A message that is about to be published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Number of the message in its session, from 1. Set by [`Writer::sent`].
    pub sent: u64,
    /// MQTT client id.
    pub client: Text,
    /// Count of the client's messages, from 1.
    pub packet: u64,
    pub topic: String,
    pub format: Format,
    pub qos: u8,
    pub kind: Kind,
    #[serde(
        default,
        rename = "time",
        with = "crate::time::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub time_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    pub readings: Vec<Reading>,
}

impl Sent {
    /// `{agency}/{station}` of the topic, or nothing where the topic is none of the gateway's.
    pub fn station(&self) -> Option<&str> {
        let rest = self.topic.strip_prefix("obs/")?;
        let agency_end = rest.find('/')?;
        let station_end = rest[agency_end + 1..].find('/').map_or(rest.len(), |at| agency_end + 1 + at);
        Some(&rest[..station_end])
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    Session(Session),
    Sent(Sent),
    Acked(u64),
    Resent(u64),
    Episode(Episode),
}

/// Why a ledger could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the ledger {} cannot be opened: {error}", path.display())]
    Open { path: PathBuf, error: io::Error },
    #[error("the ledger cannot be written: {0}; is the disk full?")]
    Write(#[source] io::Error),
    #[error("the ledger cannot be read: {0}")]
    Read(#[source] io::Error),
    #[error("line {line} of the ledger is no ledger line: {reason}")]
    BadLine { line: u64, reason: String },
    #[error(
        "the ledger has format version {0}, this firmware-sim reads version {FORMAT_VERSION}: use a newer one"
    )]
    NewerFormat(u32),
}

/// Appends to a ledger file.
#[derive(Debug)]
pub struct Writer {
    file: BufWriter<File>,
    messages: u64,
}

impl Writer {
    /// Opens or makes the file, cuts off a last line that a killed run left incomplete, and begins a session.
    pub fn open(path: &Path, session: &Session) -> Result<Self, LedgerError> {
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
            // Two runs that number their messages into one file would make it worthless.
            file.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => io::Error::other("another run is appending to it"),
                TryLockError::Error(error) => error,
            })?;
            cut_incomplete_line(&mut file)?;
            Ok(file)
        };
        let file = open().map_err(|error| LedgerError::Open { path: path.to_owned(), error })?;
        let mut writer = Self { file: BufWriter::with_capacity(1 << 16, file), messages: 0 };
        writer.line(session)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Appends a message and returns the number that it got. Call [`Self::flush`] before publishing it.
    pub fn sent(&mut self, sent: &mut Sent) -> Result<u64, LedgerError> {
        self.messages += 1;
        sent.sent = self.messages;
        self.line(sent)?;
        Ok(self.messages)
    }

    pub fn acked(&mut self, number: u64) -> Result<(), LedgerError> {
        writeln!(self.file, "{{\"acked\":{number}}}").map_err(LedgerError::Write)
    }

    pub fn resent(&mut self, number: u64) -> Result<(), LedgerError> {
        writeln!(self.file, "{{\"resent\":{number}}}").map_err(LedgerError::Write)
    }

    pub fn episode(&mut self, episode: &Episode) -> Result<(), LedgerError> {
        self.line(episode)
    }

    /// Gives everything so far to the operating system.
    pub fn flush(&mut self) -> Result<(), LedgerError> {
        self.file.flush().map_err(LedgerError::Write)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), LedgerError> {
        serde_json::to_writer(&mut self.file, line).map_err(|error| LedgerError::Write(error.into()))?;
        self.file.write_all(b"\n").map_err(LedgerError::Write)
    }
}

fn cut_incomplete_line(file: &mut File) -> io::Result<()> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = [0_u8; 4096];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        if let Some(newline) = block.iter().rposition(|byte| *byte == b'\n') {
            return file.set_len(start + newline as u64 + 1);
        }
        end = start;
    }
    file.set_len(0)
}

/// Reads a ledger line by line; an incomplete last line is not an error, see [`Reader::was_cut_short`].
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    line: u64,
    cut_short: bool,
}

impl Reader<BufReader<File>> {
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let file = File::open(path).map_err(|error| LedgerError::Open { path: path.to_owned(), error })?;
        Ok(Self::new(BufReader::with_capacity(1 << 16, file)))
    }
}

impl<R: BufRead> Reader<R> {
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), line: 0, cut_short: false }
    }

    /// True when the last line had no end and was left out.
    pub fn was_cut_short(&self) -> bool {
        self.cut_short
    }

    fn next_line(&mut self) -> Result<Option<Line>, LedgerError> {
        self.buffer.clear();
        self.line += 1;
        let limit = LINE_BYTES_MAX as u64 + 1;
        let length =
            self.input.by_ref().take(limit).read_until(b'\n', &mut self.buffer).map_err(LedgerError::Read)?;
        if length == 0 {
            return Ok(None);
        }
        if length > LINE_BYTES_MAX {
            return Err(self.bad_line(format!("it has more than {LINE_BYTES_MAX} bytes")));
        }
        if self.buffer.pop() != Some(b'\n') {
            self.cut_short = true;
            return Ok(None);
        }
        let line = parse_line(&self.buffer).map_err(|reason| self.bad_line(reason))?;
        if let Line::Session(session) = &line
            && session.format_version > FORMAT_VERSION
        {
            return Err(LedgerError::NewerFormat(session.format_version));
        }
        Ok(Some(line))
    }

    fn bad_line(&self, reason: String) -> LedgerError {
        LedgerError::BadLine { line: self.line, reason }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Line, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_line().transpose()
    }
}

fn parse_line(line: &[u8]) -> Result<Line, String> {
    let number_after = |prefix: &[u8]| -> Option<u64> {
        let digits = line.strip_prefix(prefix)?.strip_suffix(b"}")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    if let Some(number) = number_after(b"{\"acked\":") {
        return Ok(Line::Acked(number));
    }
    if let Some(number) = number_after(b"{\"resent\":") {
        return Ok(Line::Resent(number));
    }
    if line.starts_with(b"{\"sent\":") {
        return serde_json::from_slice(line).map(Line::Sent).map_err(|error| error.to_string());
    }
    if line.starts_with(b"{\"session\":") {
        return serde_json::from_slice(line).map(Line::Session).map_err(|error| error.to_string());
    }
    if line.starts_with(b"{\"fault\":") {
        return serde_json::from_slice(line).map(Line::Episode).map_err(|error| error.to_string());
    }
    Err("it starts with none of session, sent, acked, resent, fault".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Value;

    fn sent(topic: &str) -> Sent {
        Sent {
            sent: 0,
            client: "sim-0".into(),
            packet: 1,
            topic: topic.to_owned(),
            format: Format::Json,
            qos: 1,
            kind: Kind::Reading,
            time_us: time::parse("2026-11-21T01:05:00.25Z"),
            seq: Some(3),
            readings: vec![
                Reading::number("pm2_5", 10.357_019_999_999_999, "ug/m3"),
                Reading::new("state", Value::Text("a\nb".to_owned()), None)
                    .with_status(Some("02"))
                    .with_period_s(60),
            ],
        }
    }

    fn lines(path: &Path) -> Vec<Line> {
        Reader::open(path).expect("the file is there").collect::<Result<_, _>>().expect("every line is good")
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("truth.ndjson");
        let session = Session::new("run", Some(7));
        let mut writer = Writer::open(&path, &session).expect("opens");
        let mut message = sent("obs/H24.05/KHI001");
        assert_eq!(writer.sent(&mut message).expect("written"), 1);
        writer.acked(1).expect("written");
        writer.resent(1).expect("written");
        let from_us = time::parse("2026-11-21T01:05:00Z").expect("legal");
        let stuck = Episode::of_station(Fault::Stuck, "H24.05/KHI001".to_owned(), from_us, Some(from_us + 1));
        let storm = Episode::storm("Quận Lê Chân".to_owned(), from_us, None);
        writer.episode(&stuck).expect("written");
        writer.episode(&storm).expect("written");
        writer.flush().expect("flushed");
        assert_eq!(
            lines(&path),
            [
                Line::Session(session),
                Line::Sent(message),
                Line::Acked(1),
                Line::Resent(1),
                Line::Episode(stuck),
                Line::Episode(storm)
            ]
        );
    }

    #[test]
    fn a_cut_last_line_is_left_out_by_the_reader_and_cut_off_by_the_next_session() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("truth.ndjson");
        let mut writer = Writer::open(&path, &Session::new("run", None)).expect("opens");
        writer.sent(&mut sent("obs/a/b")).expect("written");
        writer.acked(1).expect("written");
        writer.flush().expect("flushed");
        let refused = Writer::open(&path, &Session::new("run", None)).expect_err("one run at a time");
        assert!(refused.to_string().contains("another run"), "{refused}");
        drop(writer);
        let whole = std::fs::read(&path).expect("readable");
        for cut in 1..=whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("writable");
            let mut reader = Reader::open(&path).expect("opens");
            let complete = reader.by_ref().collect::<Result<Vec<_>, _>>().expect("never an error");
            let newlines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(complete.len(), newlines, "cut at {cut}");
            assert_eq!(reader.was_cut_short(), whole[cut - 1] != b'\n', "cut at {cut}");
            drop(Writer::open(&path, &Session::new("replay", None)).expect("opens"));
            assert_eq!(lines(&path).len(), newlines + 1, "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error_with_its_number() {
        let input = b"{\"acked\":1}\n{\"ack\n{\"acked\":2}\n";
        let errors: Vec<_> = Reader::new(&input[..]).filter_map(Result::err).collect();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().starts_with("line 2 of the ledger"), "{}", errors[0]);
    }

    #[test]
    fn the_station_is_the_middle_of_the_topic() {
        assert_eq!(sent("obs/H24.05/KHI001").station(), Some("H24.05/KHI001"));
        assert_eq!(sent("obs/H24.05/KHI001/pm2_5").station(), Some("H24.05/KHI001"));
        assert_eq!(sent("obs/H24.05").station(), None);
    }
}

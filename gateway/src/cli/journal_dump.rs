//! `journal dump`: messages as they came. It reads the segments themselves, beside a running gateway, without one, and where
//! the gateway refuses to start; what cannot be given is told on standard error. Exit 1: damage hides messages that were asked
//! for, and everything else was given. What is no longer there because its segment was used again is no damage.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use codecs::mqtt::ProtocolVersion;
use serde_json::json;

use super::arguments::{DumpFormat, JournalDumpArguments};
use super::{Exit, Failure};
use crate::disk::OsDisk;
use crate::log::{
    Flaw, FlawKind, Frame, FrameMeta, FrameVisitor, Gap, JOURNAL_DIR, KIND_MESSAGE, LogError, LogKind,
    LogReport, check,
};
use crate::query::hex;
use crate::record::Message;
use crate::verify::PAGE;

pub(super) fn dump(
    data_dir: &Path,
    arguments: &JournalDumpArguments,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let wanted = Wanted::parse(arguments)?;
    let disk = OsDisk::open_existing(data_dir)
        .map_err(|error| Failure::environment(format!("{}: {error}", data_dir.display())))?;
    if !data_dir.join(JOURNAL_DIR).is_dir() {
        let sentence = format!("{}: there is no journal in this directory", data_dir.display());
        return Err(Failure::environment(sentence));
    }
    let place = match &arguments.output {
        None => Place::Stream(out),
        Some(dir) => Place::of_directory(Path::new(dir), arguments.format)?,
    };
    let mut dump = Dump {
        wanted: &wanted,
        format: arguments.format,
        place,
        given: 0,
        within: 1..=u64::MAX,
        unreadable: 0,
        done: false,
        failed: None,
    };
    // A writer beside it is nothing to worry about: whatever is whole is given.
    let report =
        check(&disk, JOURNAL_DIR, LogKind::Journal, true, &mut dump).map_err(|error| failure_of(&error))?;
    let Dump { given, failed, place, within, unreadable, .. } = dump;
    match failed.map_or_else(|| place.finish(), Err) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Err(error) => return Err(Failure::environment(format!("writing the messages: {error}"))),
        Ok(()) => {}
    }
    tell(&wanted, &report, given);
    if unreadable == 0 && !hides(&report, &within, &wanted) {
        return Ok(());
    }
    let sentence = format!(
        "{JOURNAL_DIR}/: damage hides messages that were asked for; what is whole was given ({PAGE}, \"frames_missing\")"
    );
    Err(Failure::new(Exit::CheckFailed, sentence))
}

/// Whether messages that were asked for may have stood where the journal is damaged, accepted or not. `within`: the messages
/// whose frames may lie in the time that was asked for.
fn hides(report: &LogReport, within: &RangeInclusive<u64>, wanted: &Wanted) -> bool {
    let start = *within.start().max(wanted.positions.start());
    let end = *within.end().min(wanted.positions.end());
    // A gap of control records alone ends before it begins.
    let includes =
        |gap: &Gap| gap.first_message_no <= end && gap.last_message_no >= start.max(gap.first_message_no);
    let is_hidden = |flaw: &Flaw| match &flaw.kind {
        FlawKind::FramesMissing(gap) => includes(gap),
        // Nobody knows what stood there.
        FlawKind::Foreign(_) | FlawKind::Unreadable(_) => true,
        // Nothing is missing in between, frames of a damaged segment are given all the same, and what cannot be read of a frame is counted.
        FlawKind::AcceptedDamage
        | FlawKind::FrameDamaged { .. }
        | FlawKind::FrameTime { .. }
        | FlawKind::Header(_)
        | FlawKind::Length { .. }
        | FlawKind::Records { .. } => false,
    };
    // A segment of which nothing is whole may have held what comes before the first frame, or behind the last.
    let is_whole_between = report.first.is_some_and(|first| first.first_message_no <= start.max(1))
        && report.last.is_some_and(|last| end <= last.last_message_no());
    report.flaws.iter().any(is_hidden)
        || report.accepted.iter().any(includes)
        || (!report.unread.is_empty() && !is_whole_between)
}

fn failure_of(error: &LogError) -> Failure {
    let exit = if matches!(error, LogError::OtherFormat { .. } | LogError::Io { .. }) {
        Exit::Environment
    } else {
        Exit::Journal
    };
    Failure::new(exit, error.to_string())
}

/// What the journal does not have (any more), and where it is damaged.
fn tell(wanted: &Wanted, report: &LogReport, given: u64) {
    let mut lines = vec![format!("messages given: {given}")];
    match &report.first {
        None => lines.push("the journal holds no message".to_owned()),
        Some(first) if wanted.begins_before(first) => lines.push(format!(
            "messages before position {} (received before {}) are no longer in the journal: their segments were used again",
            first.first_message_no,
            time_text(first.stamp.received_us())
        )),
        Some(_) => {}
    }
    let end = *wanted.positions.end();
    if let Some(last) = report.last
        && end != u64::MAX
        && end > last.last_message_no()
    {
        lines.push(format!("the journal ends at position {}", last.last_message_no()));
    }
    for flaw in &report.flaws {
        let place = flaw.offset.map_or(String::new(), |offset| format!(" at byte {offset}"));
        lines.push(format!(
            "{}: damaged{place}: what stood there is not given; see journal verify",
            flaw.path
        ));
    }
    for gap in &report.accepted {
        lines.push(format!(
            "messages {} to {} are missing, which was accepted",
            gap.first_message_no, gap.last_message_no
        ));
    }
    for line in lines {
        // A closed stderr is nobody's loss.
        drop(writeln!(io::stderr(), "{line}"));
    }
}

/// Which messages.
struct Wanted {
    station: Option<(String, String)>,
    from_us: i64,
    to_us: i64,
    positions: RangeInclusive<u64>,
}

impl Wanted {
    fn parse(arguments: &JournalDumpArguments) -> Result<Self, Failure> {
        let station = match &arguments.station {
            None => None,
            Some(text) => {
                let wrong = |why: String| Failure::environment(format!("--station {text}: {why}"));
                let (agency, station) = text
                    .split_once('/')
                    .ok_or_else(|| wrong("expected AGENCY/STATION, as in H24.05/KHI003".to_owned()))?;
                let agency = codecs::name::agency(agency).map_err(|error| wrong(error.to_string()))?;
                let station = codecs::name::station(station).map_err(|error| wrong(error.to_string()))?;
                Some((agency.into_owned(), station.into_owned()))
            }
        };
        let from_us = arguments.from.as_deref().map_or(Ok(i64::MIN), |text| time("--from", text))?;
        let to_us = arguments.to.as_deref().map_or(Ok(i64::MAX), |text| time("--to", text))?;
        if from_us > to_us {
            return Err(Failure::environment("--from: it lies after --to"));
        }
        Ok(Self {
            station,
            from_us,
            to_us,
            positions: arguments.position.as_deref().map_or(Ok(1..=u64::MAX), positions)?,
        })
    }

    fn begins_before(&self, first: &FrameMeta) -> bool {
        first.first_message_no > 1
            && *self.positions.start() < first.first_message_no
            && self.from_us < first.stamp.time_us
    }

    fn includes(&self, position: u64, topic: &[u8]) -> bool {
        self.positions.contains(&position)
            && self.station.as_ref().is_none_or(|station| is_of(topic, station))
    }
}

/// Whether a topic is one of the station, whatever stands behind its name.
fn is_of(topic: &[u8], (agency, station): &(String, String)) -> bool {
    let Ok(topic) = std::str::from_utf8(topic) else { return false };
    let mut levels = topic.split('/');
    let same = |level: Option<&str>, name: &str, normal: fn(&str) -> Option<String>| {
        level.is_some_and(|level| level == name || normal(level).is_some_and(|level| level == name))
    };
    levels.next() == Some("obs")
        && same(levels.next(), agency, |level| codecs::name::agency(level).ok().map(|name| name.into_owned()))
        && same(levels.next(), station, |level| {
            codecs::name::station(level).ok().map(|name| name.into_owned())
        })
}

fn time(option: &str, text: &str) -> Result<i64, Failure> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let parsed = if is_number { codecs::time::parse_epoch(text) } else { codecs::time::parse_rfc3339(text) };
    parsed.map_err(|error| Failure::environment(format!("{option} {text}: {error}")))
}

fn positions(text: &str) -> Result<RangeInclusive<u64>, Failure> {
    let wrong = || {
        Failure::environment(format!(
            "--position {text}: expected A..B, A.., ..B or one number, as in 93112..93120"
        ))
    };
    let number =
        |text: &str, none: u64| if text.is_empty() { Ok(none) } else { text.parse().map_err(|_| wrong()) };
    match text.split_once("..") {
        Some((from, to)) => {
            let (from, to) = (number(from, 1)?, number(to.trim_start_matches('='), u64::MAX)?);
            if to < from {
                let sentence = format!("--position {text}: it ends before it begins; write {to}..{from}");
                return Err(Failure::environment(sentence));
            }
            Ok(from..=to)
        }
        None => {
            let position = text.parse().map_err(|_| wrong())?;
            Ok(position..=position)
        }
    }
}

fn time_text(time_us: i64) -> String {
    jiff::Timestamp::from_microsecond(time_us)
        .map_or_else(|_| format!("{time_us} µs"), |time| time.to_string())
}

/// Where messages go.
enum Place<'a> {
    Stream(&'a mut dyn Write),
    File(BufWriter<File>),
    /// A file per message, with this ending.
    Files(PathBuf, &'static str),
}

impl Place<'_> {
    fn of_directory(dir: &Path, format: DumpFormat) -> Result<Self, Failure> {
        let failed = |path: &Path, error: io::Error| {
            Failure::environment(format!("--output {}: {error}; name an empty directory", path.display()))
        };
        fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
        match format {
            DumpFormat::Raw => Ok(Self::Files(dir.to_owned(), "bin")),
            DumpFormat::Hex => Ok(Self::Files(dir.to_owned(), "hex")),
            DumpFormat::Ndjson => {
                let path = dir.join("messages.ndjson");
                let file = new_file(&path).map_err(|error| failed(&path, error))?;
                Ok(Self::File(BufWriter::new(file)))
            }
        }
    }

    fn put(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(out) => out.write_all(bytes),
            Self::File(file) => file.write_all(bytes),
            Self::Files(dir, ending) => {
                new_file(&dir.join(format!("{position:020}.{ending}")))?.write_all(bytes)
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Stream(out) => out.flush(),
            Self::File(mut file) => file.flush(),
            Self::Files(..) => Ok(()),
        }
    }
}

/// Nothing is written over.
fn new_file(path: &Path) -> io::Result<File> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    OpenOptions::new().write(true).create_new(true).open(path).map_err(named)
}

struct Dump<'a> {
    wanted: &'a Wanted,
    format: DumpFormat,
    place: Place<'a>,
    given: u64,
    /// Messages of frames before are too old, of frames behind too young.
    within: RangeInclusive<u64>,
    /// Messages that were asked for and cannot be read though their frames passed the checksum.
    unreadable: u64,
    done: bool,
    failed: Option<io::Error>,
}

impl Dump<'_> {
    fn give(&mut self, position: u64, receive_time_us: i64, message: &Message<'_>) -> io::Result<()> {
        self.given += 1;
        match self.format {
            DumpFormat::Raw => self.place.put(position, message.payload),
            DumpFormat::Hex => self.place.put(position, format!("{}\n", hex(message.payload)).as_bytes()),
            DumpFormat::Ndjson => {
                let object = object(position, receive_time_us, message);
                self.place.put(position, format!("{object}\n").as_bytes())
            }
        }
    }
}

fn object(position: u64, receive_time_us: i64, message: &Message<'_>) -> serde_json::Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    json!({
        "position": position,
        "receiveTime": time_text(receive_time_us),
        "client": text(message.client),
        "agency": (!message.agency.is_empty()).then(|| text(message.agency)),
        "topic": text(message.topic),
        "protocol": if message.version == ProtocolVersion::V5 { "5" } else { "3.1.1" },
        "qos": message.qos as u8,
        "dup": message.dup,
        "retain": message.retain,
        "packetId": (message.packet_id != 0).then_some(message.packet_id),
        "properties_hex": hex(message.properties),
        "payload_bytes": message.payload.len(),
        "payload_hex": hex(message.payload),
        "payload_text": std::str::from_utf8(message.payload).ok(),
    })
}

impl FrameVisitor for Dump<'_> {
    fn frame(&mut self, frame: &Frame<'_>, _path: &str, _offset: u64) {
        let meta = &frame.meta;
        let before = meta.first_message_no.saturating_sub(1);
        if meta.first_message_no > *self.wanted.positions.end() {
            self.within = *self.within.start()..=before.min(*self.within.end());
            self.done = true;
        }
        if self.done {
            return;
        }
        // No receive time is later than its stamp, and stamps never go back.
        if meta.stamp.time_us < self.wanted.from_us {
            self.within = meta.next_message_no()..=u64::MAX;
            return;
        }
        let received_us = meta.stamp.received_us();
        if received_us >= self.wanted.to_us {
            // A later frame may have been received earlier, once a clock that was ahead was right again.
            self.within = *self.within.start()..=before.min(*self.within.end());
            return;
        }
        self.within = *self.within.start()..=u64::MAX;
        if received_us < self.wanted.from_us {
            return;
        }
        let messages = frame.records().map_while(Result::ok).filter(|record| record.kind == KIND_MESSAGE);
        let mut next = meta.first_message_no;
        for (position, record) in (meta.first_message_no..).zip(messages) {
            next = position + 1;
            let Some(message) = Message::parse(record.flags, record.user, record.body) else {
                self.unreadable += u64::from(self.wanted.positions.contains(&position));
                continue;
            };
            if self.wanted.includes(position, message.topic)
                && let Err(error) = self.give(position, received_us, &message)
            {
                self.failed = Some(error);
                self.done = true;
                return;
            }
        }
        let missing = next.max(*self.wanted.positions.start())..meta.next_message_no();
        self.unreadable += missing.filter(|position| self.wanted.positions.contains(position)).count() as u64;
    }

    fn progress(&mut self, _bytes: u64) {}

    fn wants(&self, first: &FrameMeta, next: Option<&FrameMeta>) -> bool {
        let begins_too_late = first.first_message_no > *self.wanted.positions.end();
        let ends_too_early = next.is_some_and(|next| {
            next.stamp.time_us < self.wanted.from_us
                || next.first_message_no <= *self.wanted.positions.start()
        });
        !begins_too_late && !ends_too_early
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b1_6_positions_are_ranges_with_both_ends() {
        assert_eq!(positions("7").unwrap(), 7..=7);
        assert_eq!(positions("7..9").unwrap(), 7..=9);
        assert_eq!(positions("..9").unwrap(), 1..=9);
        assert_eq!(positions("7..").unwrap(), 7..=u64::MAX);
        assert_eq!(positions("9..9").unwrap(), 9..=9);
        assert!(positions("9..3").unwrap_err().sentence.contains("write 3..9"));
        assert!(positions("a..b").unwrap_err().sentence.contains("expected A..B"));
    }

    #[test]
    fn b1_6_a_station_is_found_in_its_topics_only() {
        let station = ("A".to_owned(), "S1".to_owned());
        for topic in ["obs/A/S1", "obs/A/S1/pm2_5", "obs/A/S1/not a property"] {
            assert!(is_of(topic.as_bytes(), &station), "{topic}");
        }
        for topic in ["obs/A/S10", "obs/B/S1", "feed/A/S1", "obs/A"] {
            assert!(!is_of(topic.as_bytes(), &station), "{topic}");
        }
    }
}

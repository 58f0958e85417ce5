//! One message to rows: decoder by topic and payload, then unit, quality, time and key of each reading.

use std::ops::Range;

use codecs::mqtt::{Properties, PropertyOwner};
use codecs::payload::{self, DecodeError, Format, Reading, ReadingSink, Value};
use codecs::property_catalogue;
use codecs::units;

use super::dictionary::{Dictionary, RegistryLimit, Route};
use super::faults::{FORMAT_UNKNOWN, Faults, REGISTRY_LIMIT, RETENTION, TIME_OUT_OF_RANGE, TOPIC_INVALID};
use super::hot::{Conversion, HotRow};
use super::mapping::is_observation_topic;
use super::resend::{ResendWindow, packet_key, packet_mark, sequence_mark};
use crate::log::Stamp;
use crate::observation::{
    Classification, MessageEntry, MessageOutcome, ObservationFrame, Quality, Quarantined, ResendMark,
    ResultKind, Row, TextSpan,
};
use crate::record::Message;
use crate::retention::RetentionSpans;
use crate::rules::{Ranks, SameTime};

/// The bounds of an event time: so long before its receive time, so long after the time at which it is judged (design §4.2).
#[derive(Clone, Copy, Debug)]
pub struct TimeBounds {
    pub backfill_max_us: i64,
    pub clock_skew_max_us: i64,
    pub retention: RetentionSpans,
}

/// Decodes messages in journal order into a frame. Holds all state that classification needs.
#[derive(Debug)]
pub struct MessageDecoder {
    pub dictionary: Dictionary,
    pub hot: Vec<HotRow>,
    pub resend: ResendWindow,
    bounds: TimeBounds,
    pub(super) ranks: Ranks,
    same_time: SameTime,
}

/// Who reads a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) station: u32,
    pub(super) topic_property: Option<&'a str>,
    pub(super) receive_time_us: i64,
    /// When it is judged: the receive time, or that of a replay. No event time is later, but for the skew.
    pub(super) now_us: i64,
    /// Of its source.
    pub(super) rank: u8,
}

/// What a payload gave beside rows.
#[derive(Debug, Default)]
pub(super) struct PayloadRead {
    pub(super) seq: Option<u64>,
    /// Rows without a time of their own.
    pub(super) undated: u32,
    /// Which reading each row is, in the order of the rows.
    pub(super) readings_of_rows: Vec<u16>,
}

impl MessageDecoder {
    pub fn new(
        dictionary: Dictionary,
        hot: Vec<HotRow>,
        resend: ResendWindow,
        bounds: TimeBounds,
        ranks: Ranks,
        same_time: SameTime,
    ) -> Self {
        Self { dictionary, hot, resend, bounds, ranks, same_time }
    }

    /// Appends what `message` holds to `frame`. Never fails: what cannot be decoded is quarantined in the frame.
    pub fn decode(
        &mut self,
        message: &Message<'_>,
        message_no: u64,
        stamp: impl Into<Stamp>,
        frame: &mut ObservationFrame,
    ) {
        let stamp = stamp.into();
        let receive_time_us = stamp.received_us();
        let client = self.dictionary.client(message.client, &mut frame.definitions);
        let mut entry = MessageEntry {
            message_no,
            receive_time_us,
            client,
            agency: 0,
            station: 0,
            row_count: 0,
            quarantined_readings: 0,
            outcome: MessageOutcome::Ignored as u8,
            unkeyed: 0,
            replayed: 0,
            zero: 0,
            behind_s: stamp.behind_s,
        };
        if message.first
            && let Some(mark) = self.resend.connected(message.client, message_no)
        {
            self.mark(mark, frame);
        }
        if !is_observation_topic(message.topic) {
            self.take_packet_id(message, &entry, frame);
            frame.messages.push(entry);
            return;
        }
        let first_row = frame.rows.len();
        let first_text = frame.texts.len();
        let mut faults = Faults::default();
        // Cheap: the names in a route are shared.
        match self.dictionary.route(message.topic, &mut frame.definitions).clone() {
            Route::Observations { agency, station, property } => {
                entry.agency = agency;
                entry.station = station;
                let rank = self.ranks.of(client, message.client);
                let (topic_property, now_us) = (property.as_deref(), receive_time_us);
                let reader = Reader { station, topic_property, receive_time_us, now_us, rank };
                self.decode_live(message, reader, frame, &mut faults, &mut entry);
            }
            Route::Invalid { agency, sentence } => {
                entry.agency = agency;
                faults.add(0, TOPIC_INVALID, 0, sentence.to_string());
            }
            Route::Limit { agency, limit } => {
                entry.agency = agency;
                faults.add(0, REGISTRY_LIMIT, 0, limit.sentence());
            }
        }
        let rows = first_row..frame.rows.len();
        if rows.is_empty() {
            frame.texts.truncate(first_text);
        }
        entry.row_count = rows.len() as u16;
        entry.quarantined_readings = faults.readings;
        entry.outcome = match (&faults.first, rows.is_empty()) {
            (None, _) => MessageOutcome::Decoded,
            (Some(_), true) => MessageOutcome::Quarantined,
            (Some(_), false) => MessageOutcome::Partial,
        } as u8;
        frame.messages.push(entry);
        if let Some(fault) = &faults.first {
            frame.quarantined.push(Quarantined {
                message_no,
                receive_time_us,
                offset: fault.offset,
                readings: faults.readings,
                reason: fault.reason.to_owned(),
                sentence: faults.sentence(),
                topic: String::from_utf8_lossy(message.topic).into_owned(),
                client: String::from_utf8_lossy(message.client).into_owned(),
                flags: message.flags(),
                packet_id: message.packet_id,
                properties: message.properties.to_vec(),
                // Where nothing was taken, everything is open.
                refused: if rows.is_empty() { Vec::new() } else { faults.refused().to_bytes() },
                payload: message.payload.to_vec(),
            });
        }
    }

    fn decode_live(
        &mut self,
        message: &Message<'_>,
        reader: Reader<'_>,
        frame: &mut ObservationFrame,
        faults: &mut Faults,
        entry: &mut MessageEntry,
    ) {
        let first_row = frame.rows.len();
        let Some(read) = self.read_payload(message, reader, None, frame, faults) else { return };
        let rows = first_row..frame.rows.len();
        let resent = if read.undated > 0 {
            self.is_resend(message, read.seq, frame, entry)
        } else {
            self.take_packet_id(message, entry, frame);
            false
        };
        self.classify(rows, entry.message_no, reader.receive_time_us, resent, frame);
    }

    /// Appends the rows of a payload, not yet classified; `None` where none could be taken. `readings_of_rows`, where given,
    /// gets which reading each row is.
    pub(super) fn read_payload(
        &mut self,
        message: &Message<'_>,
        reader: Reader<'_>,
        readings_of_rows: Option<Vec<u16>>,
        frame: &mut ObservationFrame,
        faults: &mut Faults,
    ) -> Option<PayloadRead> {
        let format = match reader.topic_property {
            Some(_) => Some(Format::Bare),
            None => payload::detect(content_type(message), message.payload),
        };
        let Some(format) = format else {
            let sentence = "the payload is no format of this topic: canonical JSON starts with {, FlatBuffers has the \
                            file identifier SGT1 (docs/format)";
            faults.add(0, FORMAT_UNKNOWN, 0, sentence.to_owned());
            return None;
        };
        let first_row = frame.rows.len();
        let mut sink = Sink {
            decoder: self,
            station: reader.station,
            rank: reader.rank,
            receive_time_us: reader.receive_time_us,
            now_us: reader.now_us,
            message_index: frame.messages.len() as u32,
            first_row,
            first_text: frame.texts.len(),
            frame,
            faults,
            undated: 0,
            reading: 0,
            readings_of_rows,
        };
        let result = payload::decode(format, reader.topic_property, message.payload, &mut sink);
        let Sink { undated, readings_of_rows, .. } = sink;
        match result {
            // One number stands for "none" in a row, so the largest one cannot be kept.
            Ok(info) if info.seq == Some(u64::MAX) => {
                frame.rows.truncate(first_row);
                let readings = (info.readings + info.bad_readings) as u16;
                *faults = Faults::default();
                faults.add(readings, "seq_invalid", 0, format!("seq {} is out of range", u64::MAX));
                None
            }
            Ok(info) => {
                if let Some(seq) = info.seq {
                    frame.rows[first_row..].iter_mut().for_each(|row| row.seq_plus_1 = seq.saturating_add(1));
                }
                let readings_of_rows = readings_of_rows.unwrap_or_default();
                Some(PayloadRead { seq: info.seq, undated, readings_of_rows })
            }
            Err(error) => {
                faults.decode_error(0, &error);
                None
            }
        }
    }

    pub(super) fn mark(&mut self, mark: ResendMark, frame: &mut ObservationFrame) {
        self.resend.insert(mark);
        frame.resend_marks.push(mark);
    }

    /// A dated message is now the last one with its packet identifier: a mark of an older one is void.
    fn take_packet_id(&mut self, message: &Message<'_>, entry: &MessageEntry, frame: &mut ObservationFrame) {
        if message.packet_id == 0 || self.resend.is_empty() {
            return;
        }
        if self.resend.knows(packet_key(message.client, message.packet_id)) {
            self.mark(mark_of(message, entry), frame);
        }
    }

    /// Has this undated message been here before? Marks it in either case.
    fn is_resend(
        &mut self,
        message: &Message<'_>,
        seq: Option<u64>,
        frame: &mut ObservationFrame,
        entry: &mut MessageEntry,
    ) -> bool {
        let by_sequence = seq.map(|seq| sequence_mark(message.topic, seq, message.payload));
        let mut resent = by_sequence.is_some_and(|mark| self.resend.contains(mark));
        if message.packet_id != 0 {
            let mut mark = mark_of(message, entry);
            if message.dup {
                let (is_here, progress) = self.resend.judge(mark);
                if is_here {
                    mark = self.resend.seen_again(mark);
                }
                resent |= is_here;
                progress.into_iter().for_each(|progress| self.mark(progress, frame));
            }
            self.mark(mark, frame);
        }
        if !resent {
            by_sequence.into_iter().for_each(|mark| self.mark(mark, frame));
            entry.unkeyed = u8::from(by_sequence.is_none());
        }
        resent
    }

    /// Time, ordinal and class of the rows of one message, in order.
    fn classify(
        &mut self,
        rows: Range<usize>,
        message_no: u64,
        receive_time_us: i64,
        resent: bool,
        frame: &mut ObservationFrame,
    ) {
        for index in rows.clone() {
            let (before, rest) = frame.rows.split_at_mut(index);
            let row = &mut rest[0];
            let hot = &mut self.hot[row.datastream as usize];
            if row.flags & Row::FLAG_UNDATED != 0 {
                row.time_us = hot.undated_time_us(receive_time_us);
                if resent {
                    row.classification = Classification::Duplicate as u8;
                    hot.fold(row, message_no, false);
                    continue;
                }
            } else if hot.last_message == message_no {
                // This message spoke of this datastream already: another value at the same time is another ordinal.
                match ordinal_in_message(&before[rows.start..], row, &frame.texts) {
                    Some(ordinal) => row.ordinal = ordinal,
                    None => {
                        row.classification = Classification::Duplicate as u8;
                        continue;
                    }
                }
            }
            row.classification = hot.classify(row, message_no) as u8;
            hot.fold(row, message_no, false);
        }
    }
}

fn mark_of(message: &Message<'_>, entry: &MessageEntry) -> ResendMark {
    packet_mark(
        message.client,
        message.packet_id,
        message.topic,
        message.payload,
        entry.message_no,
        entry.stamp_us(),
    )
}

/// The ordinal of a row among the rows of its message before it, or `None` where one of them says the same.
fn ordinal_in_message(before: &[Row], row: &Row, texts: &[u8]) -> Option<u16> {
    let mut ordinal = 0;
    for other in
        before.iter().filter(|other| other.datastream == row.datastream && other.time_us == row.time_us)
    {
        if same_result(other, row, texts) {
            return None;
        }
        ordinal = ordinal.max(other.ordinal + 1);
    }
    Some(ordinal)
}

pub(super) fn same_result(a: &Row, b: &Row, texts: &[u8]) -> bool {
    let same_value = a.kind == b.kind
        && match a.result_kind() {
            ResultKind::Text => text(texts, a) == text(texts, b),
            kind => crate::observation::value_bits_equal(kind, a.value, b.value),
        };
    same_value && a.status == b.status && a.unit == b.unit
}

fn text<'a>(texts: &'a [u8], row: &Row) -> &'a [u8] {
    let span = row.text_span();
    texts.get(span.offset as usize..(span.offset + span.len) as usize).unwrap_or_default()
}

fn content_type<'a>(message: &Message<'a>) -> Option<&'a str> {
    if message.properties.is_empty() {
        return None;
    }
    Properties::parse(PropertyOwner::Publish, message.properties).ok()?.content_type()
}

/// Takes the readings of one message.
struct Sink<'a> {
    decoder: &'a mut MessageDecoder,
    frame: &'a mut ObservationFrame,
    faults: &'a mut Faults,
    station: u32,
    rank: u8,
    receive_time_us: i64,
    now_us: i64,
    message_index: u32,
    first_row: usize,
    first_text: usize,
    undated: u32,
    /// Number of the reading that comes next.
    reading: u16,
    readings_of_rows: Option<Vec<u16>>,
}

impl ReadingSink for Sink<'_> {
    fn reading(&mut self, reading: Reading<'_>) {
        let number = self.reading;
        self.reading = number.saturating_add(1);
        if let Some(time_us) = reading.time_us
            && let Some(sentence) = self.time_fault(time_us)
        {
            self.faults.refuse(number);
            return self.faults.add(1, TIME_OUT_OF_RANGE, 0, format!("{}: {sentence}", reading.property));
        }
        if let Some(time_us) = reading.time_us
            && time_us < self.receive_time_us.saturating_sub(self.decoder.bounds.retention.shortest_us())
            && let Some(sentence) = self.retention_fault(&reading, time_us)
        {
            self.faults.refuse(number);
            return self.faults.add(1, RETENTION, 0, format!("{}: {sentence}", reading.property));
        }
        let rows = self.frame.rows.len();
        if let Err(limit) = self.push(&reading) {
            self.faults.add(1, REGISTRY_LIMIT, 0, format!("{}: {}", reading.property, limit.sentence()));
        }
        if self.frame.rows.len() == rows {
            self.faults.refuse(number);
        } else if let Some(numbers) = &mut self.readings_of_rows {
            numbers.push(number);
        }
    }

    fn bad_reading(&mut self, index: usize, property: Option<&str>, error: DecodeError) {
        debug_assert_eq!(index, usize::from(self.reading), "a reading's number is its place in the payload");
        self.faults.refuse(self.reading);
        self.reading = self.reading.saturating_add(1);
        match property {
            Some(property) => {
                let sentence = format!("{property}: {error}");
                self.faults.add(1, error.kind.as_str(), error.offset, sentence);
            }
            None => self.faults.decode_error(1, &error),
        }
    }

    fn discard(&mut self) {
        self.frame.rows.truncate(self.first_row);
        self.frame.texts.truncate(self.first_text);
        *self.faults = Faults::default();
        self.undated = 0;
        self.reading = 0;
        self.readings_of_rows.iter_mut().for_each(Vec::clear);
    }
}

impl Sink<'_> {
    fn time_fault(&self, time_us: i64) -> Option<String> {
        let bounds = self.decoder.bounds;
        let (word, bound_us) = if time_us < self.receive_time_us.saturating_sub(bounds.backfill_max_us) {
            ("before", self.receive_time_us.saturating_sub(bounds.backfill_max_us))
        } else if time_us > self.now_us.saturating_add(bounds.clock_skew_max_us) {
            ("after", self.now_us.saturating_add(bounds.clock_skew_max_us))
        } else {
            return None;
        };
        Some(format!(
            "its time {} is {word} {}, the bound for a message received now",
            codecs::time::format_rfc3339(time_us),
            codecs::time::format_rfc3339(bound_us)
        ))
    }

    /// A reading that would not be kept: a row of it may have been here and be gone, so nothing could recognise it.
    fn retention_fault(&self, reading: &Reading<'_>, time_us: i64) -> Option<String> {
        let period_s = reading.period_s.unwrap_or(0);
        let domain = self.decoder.dictionary.domain(self.station, reading.property.as_str(), period_s);
        let bound_us = self.receive_time_us.saturating_sub(self.decoder.bounds.retention.of(&domain));
        (time_us < bound_us).then(|| {
            format!(
                "its time {} is before {}: observations of the domain {domain} are not kept so long (retention.{domain}_days)",
                codecs::time::format_rfc3339(time_us),
                codecs::time::format_rfc3339(bound_us)
            )
        })
    }

    fn push(&mut self, reading: &Reading<'_>) -> Result<(), RegistryLimit> {
        let dictionary = &mut self.decoder.dictionary;
        let definitions = &mut self.frame.definitions;
        let property = reading.property.as_str();
        let period_s = reading.period_s.unwrap_or(0);
        let datastream = match dictionary.find_datastream(self.station, property, period_s) {
            Some(id) => id,
            None => {
                let (id, unit) = dictionary.make_datastream(self.station, property, period_s, definitions)?;
                let entry = property_catalogue::property(reading.property.base());
                let plausible = entry.and_then(|entry| entry.plausible);
                let is_kept =
                    dictionary.with_datastream_name(id, |name| self.decoder.same_time.is_kept(name));
                self.decoder.hot.push(HotRow::new(unit, plausible, is_kept));
                id
            }
        };
        let hot = &mut self.decoder.hot[datastream as usize];
        let status = match reading.status {
            Some(status) => dictionary.symbol(status, definitions)?,
            None => 0,
        };
        let (unit, mut flags, number) = match (reading.unit, reading.value) {
            (Some(sent), value) => {
                let number = if let Value::Number(number) = value { number } else { 0.0 };
                convert(hot, dictionary, definitions, sent, number)?
            }
            (None, Value::Number(number)) => (hot.datastream_unit, 0, number),
            (None, _) => (hot.datastream_unit, 0, 0.0),
        };
        if !number.is_finite() {
            let sentence =
                format!("{property}: the value is too large for its unit {}", reading.unit.unwrap_or(""));
            self.faults.add(1, "bad_number", 0, sentence);
            return Ok(());
        }
        let (kind, value) = match reading.value {
            Value::Number(_) => (ResultKind::Number, number.to_bits()),
            Value::Boolean(value) => (ResultKind::Boolean, u64::from(value)),
            Value::Text(text) => {
                let span = TextSpan { offset: self.frame.texts.len() as u32, len: text.len() as u32 };
                self.frame.texts.extend_from_slice(text.as_bytes());
                (ResultKind::Text, span.to_bits())
            }
            Value::Null => (ResultKind::Null, 0),
        };
        if reading.time_us.is_none() {
            flags |= Row::FLAG_UNDATED;
            self.undated += 1;
        } else if hot.keeps_same_time {
            flags |= Row::FLAG_SAME_TIME_KEPT;
        }
        self.frame.rows.push(Row {
            time_us: reading.time_us.unwrap_or(0),
            value,
            seq_plus_1: 0,
            message: self.message_index,
            datastream,
            status,
            unit,
            ordinal: 0,
            kind: kind as u8,
            quality: quality(kind, number, reading.status, unit, hot) as u8,
            classification: Classification::Unresolved as u8,
            flags,
            rank: self.rank,
            zero: 0,
        });
        Ok(())
    }
}

/// The unit symbol, the row flags and the number that a sent unit leads to.
#[inline]
fn convert(
    hot: &mut HotRow,
    dictionary: &mut Dictionary,
    definitions: &mut Vec<crate::observation::Definition>,
    sent: &str,
    number: f64,
) -> Result<(u32, u8, f64), RegistryLimit> {
    let unit = dictionary.unit(sent);
    if hot.conversion_of != unit.id {
        let name = unit.canonical.unwrap_or(sent);
        let datastream_unit = dictionary.symbol_text(hot.datastream_unit);
        hot.conversion = match units::conversion(name, &datastream_unit) {
            Some(linear) => Conversion::To(linear),
            None => Conversion::AsSent {
                unit: dictionary.symbol(name, definitions)?,
                unknown: unit.canonical.is_none(),
            },
        };
        hot.conversion_of = unit.id;
    }
    Ok(match hot.conversion {
        Conversion::To(linear) => (hot.datastream_unit, 0, linear.apply(number)),
        Conversion::AsSent { unit, unknown: true } => (unit, Row::FLAG_UNIT_UNKNOWN, number),
        Conversion::AsSent { unit, unknown: false } => (unit, 0, number),
    })
}

/// QARTOD flag of a reading: missing values, the source's own verdict, then the gross range of the catalogue.
fn quality(kind: ResultKind, number: f64, status: Option<&str>, unit: u32, hot: &HotRow) -> Quality {
    if kind == ResultKind::Null {
        return Quality::Missing;
    }
    // Calibrating, fault, maintenance (circular 10/2021): the value is not one of the place.
    if matches!(status, Some("01" | "02" | "03")) {
        return Quality::Fail;
    }
    match hot.plausible {
        Some((low, high)) if kind == ResultKind::Number && unit == hot.datastream_unit => {
            if (low..=high).contains(&number) { Quality::Pass } else { Quality::Suspect }
        }
        _ => Quality::NotEvaluated,
    }
}

impl RegistryLimit {
    pub fn sentence(self) -> String {
        format!("there are {} {} already; an operator can raise the limit", self.most, self.what)
    }
}

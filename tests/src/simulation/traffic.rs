//! What devices say: readings of every kind that the gateway has to tell apart, and garbage.

use codecs::payload::Value;
use codecs::payload::flatbuffers::{EncodeReading, encode};
use gateway::disk::Random;

use super::model::{Expected, Meaning, MessageId, Model, REFUSABLE_AGENCY};
use super::view::content;

const HOUR_US: i64 = 3_600_000_000;
/// Two values at once are of that time or near it.
const TWOS_US: i64 = 1_790_000_000_000_000;
/// 2019: beyond `pipeline.backfill_max_days` of some lives.
const YEARS_AGO_US: i64 = 1_577_000_000_000_000;
const FAR_FUTURE_S: i64 = 4_086_000_000;

/// Property and unit.
const PROPERTIES: [(&str, Option<&str>); 3] =
    [("pm2_5", Some("ug/m3")), ("noise", Some("dB{A}")), ("x", None)];

#[derive(Debug)]
pub(super) struct Traffic {
    next: u64,
    /// Of the dated messages, so many are large.
    large_percent: u64,
    /// Messages with a time or number for every reading: they may come again from anywhere.
    keyed: Vec<MessageId>,
    /// Numbered and undated, of stations that may be too many.
    refusable: Vec<MessageId>,
    last_undated: Option<(String, Vec<u8>, Meaning)>,
}

/// A message and how it may be sent.
pub(super) struct Said {
    pub(super) id: MessageId,
    pub(super) retain: bool,
    /// Never sent again: nothing would tell its re-send from a new one.
    pub(super) once: bool,
}

struct Reading {
    property: &'static str,
    unit: Option<&'static str>,
    value: u64,
    as_text: bool,
    status: Option<&'static str>,
    time_us: Option<i64>,
}

impl Reading {
    fn json(&self) -> String {
        let value = if self.as_text { format!("\"t{}\"", self.value) } else { self.value.to_string() };
        let mut json = format!("{{\"property\":\"{}\",\"value\":{value}", self.property);
        if let Some(unit) = self.unit {
            json += &format!(",\"unit\":\"{unit}\"");
        }
        if let Some(status) = self.status {
            json += &format!(",\"status\":\"{status}\"");
        }
        if let Some(time_us) = self.time_us {
            json += &format!(",\"time\":{}", time_us / 1_000);
        }
        json + "}"
    }

    fn expected(&self, station: &str) -> Expected {
        let value = if self.as_text { format!("\"t{}\"", self.value) } else { self.value.to_string() };
        // A value without a unit is in the property's own.
        let unit = PROPERTIES.iter().find(|(name, _)| *name == self.property).and_then(|(_, unit)| *unit);
        Expected {
            datastream: format!("{station}/{}", self.property),
            time_us: self.time_us,
            content: content(&value, unit, self.status),
            is_one_of_two: false,
        }
    }
}

impl Traffic {
    pub(super) fn new(large_percent: u64) -> Self {
        Self { next: 0, large_percent, keyed: Vec::new(), refusable: Vec::new(), last_undated: None }
    }

    /// The next thing that a client says.
    pub(super) fn say(&mut self, client: &str, now_us: i64, random: &mut Random, model: &mut Model) -> Said {
        let station = format!("A{}/s{}", random.below(2), random.below(3));
        let said = |id| Said { id, retain: false, once: false };
        match random.below(100) {
            0..30 => said(self.dated(&station, now_us, random, model)),
            30..42 => said(self.backfill(&station, now_us, random, model)),
            number @ 42..58 if let Some(old) = self.some_keyed(random, model) => said(match number {
                0..50 => old,
                50..54 => self.old_content_anew(old, model),
                _ => self.old_value_otherwise(old, model),
            }),
            58..70 => said(self.undated(&station, random, model)),
            70..75 => said(self.numbered(&station, random, model)),
            75..79 => said(self.two_at_once(&station, random, model)),
            79..87 => said(self.garbage(&station, now_us, random, model)),
            87..90 => said(self.partial(&station, now_us, random, model)),
            90..93 => said(self.too_old(&station, random, model)),
            93..95 => self.too_many_stations(random, model),
            _ => self.plain(client, random, model),
        }
    }

    /// One that may be said again, from anywhere.
    fn some_keyed(&self, random: &mut Random, model: &Model) -> Option<MessageId> {
        if self.keyed.is_empty() {
            return None;
        }
        // One that is still the newest of its datastream is another case than the rest.
        let newest = if random.chance(30) { 2 } else { self.keyed.len() as u64 };
        let id =
            self.keyed[self.keyed.len() - 1 - random.below(newest.min(self.keyed.len() as u64)) as usize];
        let Meaning::Readings(readings) = &model.messages[id].meaning else { return None };
        let is_young = |reading: &Expected| {
            reading.time_us.is_none_or(|time_us| time_us >= model.expiry.oldest_said_us(&reading.datastream))
        };
        readings.iter().all(is_young).then_some(id)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn reading(&mut self, random: &mut Random, time_us: Option<i64>) -> Reading {
        let (property, unit) = PROPERTIES[random.below(3) as usize];
        Reading {
            property,
            unit: unit.filter(|_| random.chance(70)),
            value: self.number(),
            as_text: property == "x" && random.chance(40),
            status: random.chance(20).then_some("00"),
            time_us,
        }
    }

    fn message(
        &mut self,
        station: &str,
        seq: Option<u64>,
        readings: &[Reading],
        spaces: usize,
        model: &mut Model,
    ) -> MessageId {
        let json: Vec<String> = readings.iter().map(Reading::json).collect();
        let head = seq.map_or(String::new(), |seq| format!("\"seq\":{seq},"));
        let payload = format!("{{{head}\"readings\":[{}]{:spaces$}}}", json.join(","), "").into_bytes();
        let meaning = Meaning::Readings(readings.iter().map(|reading| reading.expected(station)).collect());
        model.say(format!("obs/{station}"), payload, seq, meaning)
    }

    /// Of now, with one to three readings of different properties; JSON or FlatBuffers.
    fn dated(&mut self, station: &str, now_us: i64, random: &mut Random, model: &mut Model) -> MessageId {
        let time_us = now_us / 1_000_000 * 1_000_000 + random.below(1_000) as i64 * 1_000;
        let time_us = time_us.min(now_us / 1_000 * 1_000);
        let mut readings: Vec<Reading> = Vec::new();
        for _ in 0..=random.below(3) {
            let reading = self.reading(random, Some(time_us));
            if readings.iter().all(|other| other.property != reading.property) {
                readings.push(reading);
            }
        }
        let seq = random.chance(30).then(|| self.number());
        let id = match random.below(100) {
            0..30 => self.flatbuffers(station, seq, &readings, model),
            // Some are so large that a small one finds room where they do not.
            percent if percent < 30 + self.large_percent => {
                self.message(station, seq, &readings, random.below(3_000) as usize, model)
            }
            _ => self.message(station, seq, &readings, 0, model),
        };
        self.keyed.push(id);
        id
    }

    fn flatbuffers(
        &mut self,
        station: &str,
        seq: Option<u64>,
        readings: &[Reading],
        model: &mut Model,
    ) -> MessageId {
        let texts: Vec<String> = readings.iter().map(|reading| format!("t{}", reading.value)).collect();
        let encoded: Vec<EncodeReading<'_>> = readings
            .iter()
            .zip(&texts)
            .map(|(reading, text)| EncodeReading {
                property: reading.property,
                value: if reading.as_text { Value::Text(text) } else { Value::Number(reading.value as f64) },
                unit: reading.unit,
                status: reading.status,
                time_us: reading.time_us,
                period_s: None,
            })
            .collect();
        let payload = encode(None, seq, &encoded);
        let meaning = Meaning::Readings(readings.iter().map(|reading| reading.expected(station)).collect());
        model.say(format!("obs/{station}"), payload, seq, meaning)
    }

    /// Of an hour of the last days: the same few times again and again, so most are corrections.
    fn backfill(&mut self, station: &str, now_us: i64, random: &mut Random, model: &mut Model) -> MessageId {
        let hour = now_us.div_euclid(HOUR_US) - random.below(4) as i64;
        let day = if random.chance(30) { random.below(3) as i64 * 24 } else { 0 };
        let time_us = (hour - day) * HOUR_US + random.below(2) as i64 * 60_000_000;
        // The hour may have begun after the furthest that the clock was set back.
        let mut reading = self.reading(random, Some(time_us.min(now_us / 1_000 * 1_000)));
        let oldest_us = model.expiry.oldest_said_us(&reading.expected(station).datastream);
        if reading.time_us.is_some_and(|time_us| time_us < oldest_us) {
            // The last that may come.
            reading.time_us = Some((oldest_us / 60_000_000 + 1) * 60_000_000);
        }
        let id = self.message(station, None, &[reading], 0, model);
        self.keyed.push(id);
        id
    }

    /// A reading that was said before, in a new message: another `seq` and payload, the same content.
    fn old_content_anew(&mut self, old_id: MessageId, model: &mut Model) -> MessageId {
        self.old_reading(old_id, |_| {}, model).unwrap_or(old_id)
    }

    /// A value that was said before for the same time, with another status: another content.
    fn old_value_otherwise(&mut self, old_id: MessageId, model: &mut Model) -> MessageId {
        let other = |status: &mut Option<&'static str>| {
            *status = match status {
                None => Some("00"),
                Some("00") => Some("01"),
                Some(_) => None,
            }
        };
        self.old_reading(old_id, other, model).unwrap_or(old_id)
    }

    /// The first reading of a dated message with a number, in a message of its own.
    fn old_reading(
        &mut self,
        old_id: MessageId,
        change: impl Fn(&mut Option<&'static str>),
        model: &mut Model,
    ) -> Option<MessageId> {
        let old = &model.messages[old_id];
        let Meaning::Readings(readings) = &old.meaning else { return None };
        let mut first = readings[0].clone();
        let time_us = first.time_us?;
        if first.is_one_of_two || !first.content.as_bytes()[0].is_ascii_digit() {
            return None;
        }
        let mut parts = first.content.split(' ');
        let (value, unit) = (parts.next()?.to_owned(), parts.next().filter(|text| *text != "-"));
        let mut status = match parts.next() {
            Some("00") => Some("00"),
            Some("01") => Some("01"),
            _ => None,
        };
        change(&mut status);
        first.content = content(&value, unit, status);
        let property = first.datastream.rsplit('/').next().unwrap_or_default();
        let status = status.map_or(String::new(), |status| format!(",\"status\":\"{status}\""));
        let seq = self.number();
        let payload = format!(
            "{{\"seq\":{seq},\"time\":{},\"readings\":[{{\"property\":\"{property}\",\"value\":{value}{status}}}]}}",
            time_us / 1_000,
        );
        let topic = old.topic.clone();
        let id = model.say(topic, payload.into_bytes(), Some(seq), Meaning::Readings(vec![first]));
        self.keyed.push(id);
        Some(id)
    }

    /// Without a time: bare or JSON; now and then truly the same again.
    fn undated(&mut self, station: &str, random: &mut Random, model: &mut Model) -> MessageId {
        if random.chance(25)
            && let Some((topic, payload, meaning)) = self.last_undated.clone()
        {
            return model.say(topic, payload, None, meaning);
        }
        let reading = self.reading(random, None);
        let meaning = Meaning::Readings(vec![reading.expected(station)]);
        let is_bare = !reading.as_text && reading.status.is_none() && random.chance(50);
        let (topic, payload) = if is_bare {
            (format!("obs/{station}/{}", reading.property), reading.value.to_string())
        } else {
            (format!("obs/{station}"), format!("{{\"readings\":[{}]}}", reading.json()))
        };
        let payload = payload.into_bytes();
        self.last_undated = Some((topic.clone(), payload.clone(), meaning.clone()));
        model.say(topic, payload, None, meaning)
    }

    /// Without a time, with a number of the sender's.
    fn numbered(&mut self, station: &str, random: &mut Random, model: &mut Model) -> MessageId {
        let reading = self.reading(random, None);
        let seq = self.number();
        let id = self.message(station, Some(seq), &[reading], 0, model);
        self.keyed.push(id);
        id
    }

    /// Two values for one time in one message, on a property of their own.
    fn two_at_once(&mut self, station: &str, random: &mut Random, model: &mut Model) -> MessageId {
        // Nobody else has this time.
        let away_us = self.number() as i64 * 1_000;
        let time_us = TWOS_US + if random.chance(50) { away_us } else { -away_us };
        let reading = |value| Reading {
            property: "two",
            unit: None,
            value,
            as_text: false,
            status: None,
            time_us: Some(time_us),
        };
        let readings = [reading(self.number()), reading(self.number())];
        let id = self.message(station, None, &readings, 0, model);
        model.mark_two(id);
        self.keyed.push(id);
        id
    }

    fn garbage(&mut self, station: &str, now_us: i64, random: &mut Random, model: &mut Model) -> MessageId {
        let number = self.number();
        if let Some(time_us) = model.expiry.refused_us()
            && random.chance(15)
        {
            let reading =
                format!("{{\"property\":\"noise\",\"value\":{number},\"time\":{}}}", time_us / 1_000);
            let payload = format!("{{\"readings\":[{reading}]}}").into_bytes();
            let meaning = Meaning::Garbage { reason: "retention", readings: 1 };
            return model.say(format!("obs/{station}"), payload, None, meaning);
        }
        let (topic, payload, reason, readings) = match random.below(5) {
            0 => (format!("obs/{station}"), format!("#garbage {number}"), "format_unknown", 0),
            1 => (format!("obs/{station}"), format!("{{\"readings\":[ broken {number}"), "not_json", 0),
            2 => (format!("obs/{station}/pm2_5"), format!("{number}?"), "not_json", 0),
            3 => (
                format!("obs/{station}"),
                format!(
                    "{{\"readings\":[{{\"property\":\"x\",\"value\":{number},\"time\":{FAR_FUTURE_S}}}]}}"
                ),
                "time_out_of_range",
                1,
            ),
            _ => (format!("obs/{station}/x/y/{}", now_us % 7), format!("{number}"), "topic_invalid", 0),
        };
        model.say(topic, payload.into_bytes(), None, Meaning::Garbage { reason, readings })
    }

    fn partial(&mut self, station: &str, now_us: i64, random: &mut Random, model: &mut Model) -> MessageId {
        let good = self.reading(random, Some(now_us / 1_000 * 1_000));
        let bad = self.number();
        let payload = format!(
            "{{\"readings\":[{},{{\"property\":\"y\",\"value\":{bad},\"time\":{FAR_FUTURE_S}}}]}}",
            good.json()
        );
        let meaning =
            Meaning::Partial { readings: vec![good.expected(station)], bad: 1, reason: "time_out_of_range" };
        model.say(format!("obs/{station}"), payload.into_bytes(), None, meaning)
    }

    /// Of years ago: quarantined while the settings take less. The same few times again and again.
    fn too_old(&mut self, station: &str, random: &mut Random, model: &mut Model) -> MessageId {
        let time_us = YEARS_AGO_US + random.below(20) as i64 * 60_000_000;
        let mut reading = self.reading(random, Some(time_us));
        while model.expiry.oldest_said_us(&reading.expected(station).datastream) > time_us {
            reading = self.reading(random, Some(time_us));
        }
        let payload = format!("{{\"readings\":[{}]}}", reading.json()).into_bytes();
        let readings = vec![reading.expected(station)];
        let meaning = Meaning::Refusable { readings, reason: "time_out_of_range", counted: 1 };
        model.say(format!("obs/{station}"), payload, None, meaning)
    }

    /// Undated, of an agency with more stations than the settings may take. A numbered one may come again from anywhere, and
    /// lie in quarantine as often.
    fn too_many_stations(&mut self, random: &mut Random, model: &mut Model) -> Said {
        if !self.refusable.is_empty() && random.chance(40) {
            let id = self.refusable[random.below(self.refusable.len() as u64) as usize];
            return Said { id, retain: false, once: false };
        }
        let station = format!("{REFUSABLE_AGENCY}s{}", random.below(5));
        let reading = self.reading(random, None);
        let seq = random.chance(60).then(|| self.number());
        let head = seq.map_or(String::new(), |seq| format!("\"seq\":{seq},"));
        let payload = format!("{{{head}\"readings\":[{}]}}", reading.json()).into_bytes();
        let readings = vec![reading.expected(&station)];
        let meaning = Meaning::Refusable { readings, reason: "registry_limit", counted: 0 };
        let id = model.say(format!("obs/{station}"), payload, seq, meaning);
        if seq.is_some() {
            self.refusable.push(id);
        }
        Said { id, retain: false, once: seq.is_none() }
    }

    fn plain(&mut self, client: &str, random: &mut Random, model: &mut Model) -> Said {
        let retain = random.chance(50);
        let topic = if retain { format!("plain/{client}/kept") } else { format!("plain/{client}") };
        let payload = format!("{client} {}", self.number()).into_bytes();
        Said { id: model.say(topic, payload, None, Meaning::Plain), retain, once: false }
    }

    /// What a client wants to be said when it breaks off.
    pub(super) fn will(&mut self, client: &str, model: &mut Model) -> MessageId {
        let payload = format!("{client} is gone {}", self.number()).into_bytes();
        model.say(format!("plain/{client}/will"), payload, None, Meaning::Plain)
    }
}

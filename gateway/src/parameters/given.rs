//! What a parameter may be, and how it is read.

use codecs::time::{parse_epoch, parse_rfc3339};

use super::selector::DatastreamSelector;

/// Most characters of a text that is searched for or compared.
const TEXT_CHARACTERS_MAX: usize = 256;

/// A parameter that can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {sentence}")]
pub struct BadParameter {
    pub field: String,
    pub sentence: String,
}

impl BadParameter {
    pub fn new(field: &str, sentence: impl Into<String>) -> Self {
        Self { field: field.to_owned(), sentence: sentence.into() }
    }

    /// A cursor whose key is not that of the items asked for.
    pub fn foreign_cursor() -> Self {
        Self::new(super::AFTER.name, "it is the `next` of another question")
    }
}

/// One parameter of a question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    pub name: &'static str,
    /// One sentence for the reference.
    pub meaning: &'static str,
    pub kind: ParameterKind,
    pub required: bool,
    /// A part of the path, not of the query.
    pub in_path: bool,
}

/// What a parameter's text must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParameterKind {
    Text,
    /// May be empty, which means "none".
    TextOrNone,
    Whole {
        min: u64,
        max: u64,
        default: Option<u64>,
    },
    /// Whole numbers, with commas between them.
    Wholes,
    /// RFC 3339, or a number of epoch seconds, ms, µs or ns by magnitude.
    Time,
    /// There without a value, `true` or `1`; `false` or `0`.
    Flag,
    /// The first word is the default.
    Choice(&'static [&'static str]),
    /// `agency/station/property`, `agency/station` or `agency`.
    Datastreams,
    /// `agency/station/property`.
    Datastream,
    /// `agency/station`.
    Station,
    /// `minLon,minLat,maxLon,maxLat` in degrees.
    Bbox,
    /// Where the page before ended: `next` of its answer.
    Cursor,
}

/// Degrees, WGS 84; bounds included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bbox {
    pub longitude_min: f64,
    pub latitude_min: f64,
    pub longitude_max: f64,
    pub latitude_max: f64,
}

impl Bbox {
    pub fn contains(&self, longitude: f64, latitude: f64) -> bool {
        (self.longitude_min..=self.longitude_max).contains(&longitude)
            && (self.latitude_min..=self.latitude_max).contains(&latitude)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let numbers: Vec<f64> = text
            .split(',')
            .map(|part| part.trim().parse().ok().filter(|number: &f64| number.is_finite()))
            .collect::<Option<_>>()
            .unwrap_or_default();
        let [longitude_min, latitude_min, longitude_max, latitude_max] = numbers[..] else {
            return Err(format!("expected four numbers minLon,minLat,maxLon,maxLat, found {text:?}"));
        };
        for (word, degrees, max) in [
            ("longitude", longitude_min, 180.0),
            ("latitude", latitude_min, 90.0),
            ("longitude", longitude_max, 180.0),
            ("latitude", latitude_max, 90.0),
        ] {
            if degrees.abs() > max {
                return Err(format!("a {word} lies between -{max} and {max}, found {degrees}"));
            }
        }
        if longitude_min > longitude_max || latitude_min > latitude_max {
            return Err("the first corner must be the south-west one: minLon,minLat,maxLon,maxLat".to_owned());
        }
        Ok(Self { longitude_min, latitude_min, longitude_max, latitude_max })
    }
}

impl Parameter {
    pub const fn new(name: &'static str, kind: ParameterKind, meaning: &'static str) -> Self {
        Self { name, meaning, kind, required: false, in_path: false }
    }

    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    pub const fn in_path(self) -> Self {
        Self { required: true, in_path: true, ..self }
    }
}

/// Parameters that are all known and there once.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a>(&'a [(String, String)]);

impl<'a> Given<'a> {
    pub fn new(parameters: &'a [(String, String)], allowed: &[&Parameter]) -> Result<Self, BadParameter> {
        for (index, (field, _)) in parameters.iter().enumerate() {
            if !allowed.iter().any(|parameter| parameter.name == field) {
                let names: Vec<&str> = allowed.iter().map(|parameter| parameter.name).collect();
                let sentence = match names[..] {
                    [] => "unknown parameter; there is none here".to_owned(),
                    _ => format!("unknown parameter; there are {}", names.join(", ")),
                };
                return Err(BadParameter::new(field, sentence));
            }
            if parameters[..index].iter().any(|(earlier, _)| earlier == field) {
                return Err(BadParameter::new(field, "it is given twice"));
            }
        }
        for parameter in allowed.iter().filter(|parameter| parameter.required) {
            if !parameters.iter().any(|(field, _)| field == parameter.name) {
                let sentence = format!("it is missing: {}", parameter.meaning);
                return Err(BadParameter::new(parameter.name, sentence));
            }
        }
        Ok(Self(parameters))
    }

    fn raw(&self, parameter: &Parameter) -> Option<&'a str> {
        self.0.iter().find(|(name, _)| name == parameter.name).map(|(_, value)| value.as_str())
    }

    /// Reads what is there with `read`, whose error is a sentence.
    fn read<T>(
        &self,
        parameter: &Parameter,
        read: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Result<Option<T>, BadParameter> {
        self.raw(parameter)
            .map(|text| read(text).map_err(|sentence| BadParameter::new(parameter.name, sentence)))
            .transpose()
    }

    pub fn text(&self, parameter: &Parameter) -> Result<Option<String>, BadParameter> {
        self.read(parameter, |text| {
            if text.is_empty() && parameter.kind != ParameterKind::TextOrNone {
                return Err("it is empty; leave it out where anything will do".to_owned());
            }
            if text.chars().count() > TEXT_CHARACTERS_MAX {
                return Err(format!("it has more than {TEXT_CHARACTERS_MAX} characters"));
            }
            Ok(text.to_owned())
        })
    }

    /// The number, or the parameter's default.
    pub fn whole(&self, parameter: &Parameter) -> Result<Option<u64>, BadParameter> {
        let ParameterKind::Whole { min, max, default } = parameter.kind else { return Ok(None) };
        let number = self.read(parameter, |text| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse::<u64>().ok().filter(|_| digits);
            match number {
                None if digits => Err(format!("at most {max}, found {text}")),
                None => Err(format!("expected a whole number, found {text:?}")),
                Some(number) if number > max => Err(format!("at most {max}, found {number}")),
                Some(number) if number < min => Err(format!("at least {min}, found {number}")),
                Some(number) => Ok(number),
            }
        })?;
        Ok(number.or(default))
    }

    /// Each of the numbers; none where nothing is given.
    pub fn wholes(&self, parameter: &Parameter) -> Result<Vec<u64>, BadParameter> {
        let numbers = self.read(parameter, |text| {
            let whole = |part: &str| {
                part.trim().parse().map_err(|_| format!("expected a whole number, found {part:?}"))
            };
            text.split(',').map(whole).collect::<Result<Vec<u64>, String>>()
        })?;
        Ok(numbers.unwrap_or_default())
    }

    pub fn flag(&self, parameter: &Parameter) -> Result<bool, BadParameter> {
        let flag = self.read(parameter, |text| match text {
            "false" | "0" => Ok(false),
            "" | "true" | "1" => Ok(true),
            _ => Err(format!("expected true or false, found {text:?}")),
        })?;
        Ok(flag.unwrap_or(false))
    }

    /// One of the parameter's words.
    pub fn choice(&self, parameter: &Parameter) -> Result<&'static str, BadParameter> {
        let ParameterKind::Choice(words) = parameter.kind else { return Ok("") };
        let chosen = self.read(parameter, |text| {
            words.iter().find(|word| **word == text).ok_or_else(|| {
                let (last, others) = words.split_last().unwrap_or((&"nothing", &[]));
                format!("expected {} or {last}, found {text:?}", others.join(", "))
            })
        })?;
        Ok(chosen.or(words.first()).copied().unwrap_or_default())
    }

    pub fn bbox(&self, parameter: &Parameter) -> Result<Option<Bbox>, BadParameter> {
        self.read(parameter, Bbox::parse)
    }

    pub fn datastreams(&self, parameter: &Parameter) -> Result<DatastreamSelector, BadParameter> {
        let selector =
            self.read(parameter, |text| DatastreamSelector::parse(text).map_err(|error| error.to_string()))?;
        Ok(selector.unwrap_or_default())
    }

    /// Agency, station and property of exactly one name.
    pub fn datastream(&self, parameter: &Parameter) -> Result<Option<[String; 3]>, BadParameter> {
        self.read(parameter, |text| match DatastreamSelector::parse(text) {
            Ok(DatastreamSelector::Exact { agency, station, property }) => Ok([agency, station, property]),
            Ok(_) => Err(format!("expected agency/station/property, found {text:?}")),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Agency and station.
    pub fn station(&self, parameter: &Parameter) -> Result<Option<[String; 2]>, BadParameter> {
        self.read(parameter, |text| match DatastreamSelector::parse(text) {
            Ok(DatastreamSelector::Station { agency, station }) => Ok([agency, station]),
            Ok(_) => Err(format!("expected agency/station, found {text:?}")),
            Err(error) => Err(error.to_string()),
        })
    }

    /// The key in a cursor that [`cursor`] made.
    pub fn cursor(&self, parameter: &Parameter) -> Result<Option<Vec<String>>, BadParameter> {
        self.read(parameter, |text| {
            key_of_cursor(text).ok_or_else(|| "it is not the `next` of an earlier answer".to_owned())
        })
    }

    pub fn time(&self, parameter: &Parameter) -> Result<Option<i64>, BadParameter> {
        self.read(parameter, |text| time_us(text).map_err(|error| format!("{error}: {text:?}")))
    }

    /// `from` and `to`, in order.
    pub fn period(
        &self,
        from: &Parameter,
        to: &Parameter,
    ) -> Result<(Option<i64>, Option<i64>), BadParameter> {
        match (self.time(from)?, self.time(to)?) {
            (Some(from_us), Some(to_us)) if from_us > to_us => {
                Err(BadParameter::new(from.name, format!("it lies after `{}`", to.name)))
            }
            period => Ok(period),
        }
    }
}

/// The cursor of an item with this key: hexadecimal, so that it needs no escapes.
pub fn cursor(key: &[&str]) -> String {
    key.join("\0").bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn key_of_cursor(text: &str) -> Option<Vec<String>> {
    let digits = text.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect::<Option<_>>()?;
    let key = String::from_utf8(bytes).ok()?;
    Some(key.split('\0').map(str::to_owned).collect())
}

fn time_us(text: &str) -> Result<i64, codecs::time::TimeError> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return parse_epoch(text);
    }
    // A plus sign that nobody escaped in a query string arrives as a space; behind the date no other space can stand.
    match text.split_at_checked("2026-11-21T".len()) {
        Some((date, rest)) if rest.contains(' ') => {
            parse_rfc3339(&format!("{date}{}", rest.replacen(' ', "+", 1)))
        }
        _ => parse_rfc3339(text),
    }
}

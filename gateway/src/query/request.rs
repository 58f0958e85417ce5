//! From parameters (a query string, options of a command) to a checked request.

use codecs::time::{parse_epoch, parse_rfc3339};

use super::ObservationQuery;
use super::selector::DatastreamSelector;
use crate::books::LedgerFilter;
use crate::catalogue::{QUARANTINE_LIST_MAX, QuarantineFilter};

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv,
    /// One array.
    Json,
    /// One object per line.
    Ndjson,
    /// Columns for people.
    Table,
}

/// What is asked, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Datastreams(DatastreamFilter, Format),
    Ledger(LedgerFilter, Format),
    Observations(ObservationQuery, Format),
    QuarantineList(QuarantineFilter, Format),
    QuarantineShow(u64, Format),
}

/// `None` = any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatastreamFilter {
    pub agency: Option<String>,
    pub station: Option<String>,
}

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
}

impl Request {
    /// `name` is `observations`, `ledger`, `datastreams`, `quarantine_list` or `quarantine_show`. Every parameter may stand
    /// once; an unknown one is an error.
    pub fn parse(name: &str, parameters: &[(String, String)]) -> Result<Self, BadParameter> {
        match name {
            "observations" => {
                let given =
                    Given::new(parameters, &["datastream", "from", "to", "limit", "format", "revisions"])?;
                let (from_us, to_us) = given.period()?;
                let datastream = given.text("datastream").map_or(Ok(DatastreamSelector::All), |text| {
                    DatastreamSelector::parse(text)
                        .map_err(|error| BadParameter::new("datastream", error.to_string()))
                })?;
                let limit = given.whole_number("limit")?;
                let query = ObservationQuery {
                    datastream,
                    from_us,
                    to_us,
                    limit,
                    revisions: given.flag("revisions")?,
                };
                Ok(Self::Observations(query, given.format(Format::Json)?))
            }
            "ledger" => {
                let given = Given::new(parameters, &["agency", "client", "station", "from", "to", "format"])?;
                let (from_us, to_us) = given.period()?;
                let filter = LedgerFilter {
                    agency: given.owned("agency"),
                    client: given.owned("client"),
                    station: given.owned("station"),
                    from_us,
                    to_us,
                };
                Ok(Self::Ledger(filter, given.format_of("json or table", &[Format::Json, Format::Table])?))
            }
            "datastreams" => {
                let given = Given::new(parameters, &["agency", "station", "format"])?;
                let filter =
                    DatastreamFilter { agency: given.owned("agency"), station: given.owned("station") };
                Ok(Self::Datastreams(
                    filter,
                    given.format_of("json or table", &[Format::Json, Format::Table])?,
                ))
            }
            "quarantine_list" => {
                let allowed = ["reason", "client", "agency", "topic", "from", "to", "limit", "format"];
                let given = Given::new(parameters, &allowed)?;
                let (from_us, to_us) = given.period()?;
                let limit = match given.whole_number("limit")? {
                    None => QuarantineFilter::default().limit,
                    Some(limit) => usize::try_from(limit)
                        .ok()
                        .filter(|limit| *limit <= QUARANTINE_LIST_MAX)
                        .ok_or_else(|| {
                            BadParameter::new(
                                "limit",
                                format!("at most {QUARANTINE_LIST_MAX}, found {limit}"),
                            )
                        })?,
                };
                let filter = QuarantineFilter {
                    reason: given.owned("reason"),
                    client: given.owned("client"),
                    agency: given.owned("agency"),
                    topic: given.owned("topic"),
                    from_us,
                    to_us,
                    limit,
                };
                Ok(Self::QuarantineList(filter, given.format(Format::Json)?))
            }
            "quarantine_show" => {
                let given = Given::new(parameters, &["position", "format"])?;
                let position = given.whole_number("position")?.ok_or_else(|| {
                    BadParameter::new("position", "it is missing: the position of a message")
                })?;
                let format = given.format_of("json or table", &[Format::Json, Format::Table])?;
                Ok(Self::QuarantineShow(position, format))
            }
            _ => Err(BadParameter::new("command", format!("there is no {name:?}"))),
        }
    }
}

/// Parameters that are all known and there once.
struct Given<'a>(&'a [(String, String)]);

impl<'a> Given<'a> {
    fn new(parameters: &'a [(String, String)], allowed: &[&str]) -> Result<Self, BadParameter> {
        for (index, (field, _)) in parameters.iter().enumerate() {
            if !allowed.contains(&field.as_str()) {
                let sentence = format!("unknown parameter; there are {}", allowed.join(", "));
                return Err(BadParameter::new(field, sentence));
            }
            if parameters[..index].iter().any(|(earlier, _)| earlier == field) {
                return Err(BadParameter::new(field, "it is given twice"));
            }
        }
        Ok(Self(parameters))
    }

    fn text(&self, field: &str) -> Option<&'a str> {
        self.0.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str())
    }

    fn owned(&self, field: &str) -> Option<String> {
        self.text(field).map(str::to_owned)
    }

    fn whole_number(&self, field: &str) -> Result<Option<u64>, BadParameter> {
        self.text(field)
            .map(|text| {
                text.parse()
                    .map_err(|_| BadParameter::new(field, format!("expected a whole number, found {text:?}")))
            })
            .transpose()
    }

    /// There without a value, or `true`.
    fn flag(&self, field: &str) -> Result<bool, BadParameter> {
        match self.text(field) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(text) => Err(BadParameter::new(field, format!("expected true or false, found {text:?}"))),
        }
    }

    fn format(&self, default: Format) -> Result<Format, BadParameter> {
        match self.text("format") {
            None => Ok(default),
            Some("csv") => Ok(Format::Csv),
            Some("json") => Ok(Format::Json),
            Some("ndjson") => Ok(Format::Ndjson),
            Some("table") => Ok(Format::Table),
            Some(text) => Err(BadParameter::new(
                "format",
                format!("expected json, csv, ndjson or table, found {text:?}"),
            )),
        }
    }

    fn format_of(&self, words: &str, allowed: &[Format]) -> Result<Format, BadParameter> {
        let format = self.format(Format::Json)?;
        if allowed.contains(&format) {
            return Ok(format);
        }
        let found = self.text("format").unwrap_or_default();
        Err(BadParameter::new("format", format!("expected {words}, found {found:?}")))
    }

    /// `from` and `to`: RFC 3339, or a number of epoch seconds, ms, µs or ns by magnitude.
    fn period(&self) -> Result<(Option<i64>, Option<i64>), BadParameter> {
        let time = |field: &str| {
            self.text(field)
                .map(|text| {
                    time_us(text).map_err(|error| BadParameter::new(field, format!("{error}: {text:?}")))
                })
                .transpose()
        };
        let (from_us, to_us) = (time("from")?, time("to")?);
        match (from_us, to_us) {
            (Some(from), Some(to)) if from > to => Err(BadParameter::new("from", "it lies after `to`")),
            period => Ok(period),
        }
    }
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

//! From parameters (a query string, options of a command) to a checked request.

use codecs::mqtt::topic::validate_filter;

use super::ObservationQuery;
use crate::books::LedgerFilter;
use crate::cancel::Cancel;
use crate::catalogue::{QUARANTINE_LIST_MAX, QuarantineFilter};
use crate::parameters::{self, BadParameter, Given, Parameter};
use crate::pipeline::reasons;
use crate::settle::{Change, Selection, SettleRequest};

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
    /// With payloads, oldest first; its limit says nothing.
    QuarantineExport(QuarantineFilter, Format),
    QuarantineSettle(SettleRequest, Format),
}

/// `None` = any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatastreamFilter {
    pub agency: Option<String>,
    /// A code, or `agency/station`.
    pub station: Option<String>,
    /// Those behind this name and period only.
    pub after: Option<(String, u32)>,
    pub limit: Option<u64>,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Table => "text/plain; charset=utf-8",
        }
    }

    fn given(given: &Given<'_>, parameter: &Parameter) -> Result<Self, BadParameter> {
        Ok(match given.choice(parameter)? {
            "csv" => Self::Csv,
            "ndjson" => Self::Ndjson,
            "table" => Self::Table,
            _ => Self::Json,
        })
    }
}

impl Request {
    /// How the answer is written.
    pub fn format(&self) -> Format {
        let (Self::Datastreams(_, format)
        | Self::Ledger(_, format)
        | Self::Observations(_, format)
        | Self::QuarantineList(_, format)
        | Self::QuarantineShow(_, format)
        | Self::QuarantineExport(_, format)
        | Self::QuarantineSettle(_, format)) = self;
        *format
    }
}

/// Parameters by question.
pub const OBSERVATIONS: &[&Parameter] = &[
    &parameters::DATASTREAMS,
    &parameters::FROM,
    &parameters::TO,
    &parameters::ROW_LIMIT,
    &parameters::ROW_FORMAT,
    &parameters::REVISIONS,
];
pub const LEDGER: &[&Parameter] = &[
    &parameters::AGENCY,
    &parameters::CLIENT,
    &parameters::STATION,
    &parameters::RECEIVED_FROM,
    &parameters::RECEIVED_TO,
    &parameters::FORMAT,
];
pub const DATASTREAMS: &[&Parameter] = &[
    &parameters::AGENCY,
    &parameters::STATION,
    &parameters::DATASTREAM_LIMIT,
    &parameters::AFTER,
    &parameters::FORMAT,
];
/// What narrows the quarantine, the same at every door.
pub const QUARANTINE_FILTER: [&Parameter; 7] = [
    &parameters::REASON,
    &parameters::CLIENT,
    &parameters::QUARANTINE_AGENCY,
    &parameters::TOPIC,
    &parameters::RECEIVED_FROM,
    &parameters::RECEIVED_TO,
    &parameters::QUARANTINE_OF,
];
const QUARANTINE_SHOW: &[&Parameter] = &[&parameters::QUARANTINE_POSITION, &parameters::FORMAT];

impl Request {
    /// `name` is `observations`, `ledger`, `datastreams`, or `quarantine_list`, `_show`, `_export`, `_replay` or `_erase`. Every
    /// parameter may stand once; an unknown one is an error.
    pub fn parse(name: &str, parameters: &[(String, String)]) -> Result<Self, BadParameter> {
        match name {
            "observations" => {
                let given = Given::new(parameters, OBSERVATIONS)?;
                let (from_us, to_us) = given.period(&parameters::FROM, &parameters::TO)?;
                let query = ObservationQuery {
                    datastream: given.datastreams(&parameters::DATASTREAMS)?,
                    from_us,
                    to_us,
                    limit: given.whole(&parameters::ROW_LIMIT)?,
                    revisions: given.flag(&parameters::REVISIONS)?,
                    cancel: Cancel::default(),
                };
                Ok(Self::Observations(query, Format::given(&given, &parameters::ROW_FORMAT)?))
            }
            "ledger" => {
                let given = Given::new(parameters, LEDGER)?;
                let (from_us, to_us) = given.period(&parameters::RECEIVED_FROM, &parameters::RECEIVED_TO)?;
                let filter = LedgerFilter {
                    agency: given.text(&parameters::AGENCY)?,
                    client: given.text(&parameters::CLIENT)?,
                    station: given.text(&parameters::STATION)?,
                    from_us,
                    to_us,
                };
                Ok(Self::Ledger(filter, Format::given(&given, &parameters::FORMAT)?))
            }
            "datastreams" => {
                let given = Given::new(parameters, DATASTREAMS)?;
                let after = match given.cursor(&parameters::AFTER)?.as_deref() {
                    None => None,
                    Some([name, period_s]) if let Ok(period_s) = period_s.parse() => {
                        Some((name.clone(), period_s))
                    }
                    Some(_) => return Err(BadParameter::foreign_cursor()),
                };
                let filter = DatastreamFilter {
                    agency: given.text(&parameters::AGENCY)?,
                    station: given.text(&parameters::STATION)?,
                    after,
                    limit: given.whole(&parameters::DATASTREAM_LIMIT)?,
                };
                Ok(Self::Datastreams(filter, Format::given(&given, &parameters::FORMAT)?))
            }
            "quarantine_list" => {
                let own = [&parameters::QUARANTINE_LIMIT, &parameters::ROW_FORMAT];
                let given = Given::new(parameters, &[&QUARANTINE_FILTER[..], &own].concat())?;
                let limit = given.whole(&parameters::QUARANTINE_LIMIT)?.unwrap_or_default();
                let limit = usize::try_from(limit).unwrap_or(QUARANTINE_LIST_MAX);
                let filter = quarantine_filter(&given, None, limit)?;
                Ok(Self::QuarantineList(filter, Format::given(&given, &parameters::ROW_FORMAT)?))
            }
            "quarantine_show" => {
                let given = Given::new(parameters, QUARANTINE_SHOW)?;
                let position = given.whole(&parameters::QUARANTINE_POSITION)?.unwrap_or_default();
                Ok(Self::QuarantineShow(position, Format::given(&given, &parameters::FORMAT)?))
            }
            "quarantine_export" => {
                let own = [&parameters::EXPORT_FORMAT];
                let given = Given::new(parameters, &[&QUARANTINE_FILTER[..], &own].concat())?;
                let filter = quarantine_filter(&given, None, usize::MAX)?;
                Ok(Self::QuarantineExport(filter, Format::given(&given, &parameters::EXPORT_FORMAT)?))
            }
            "quarantine_replay" => settle_request(Change::Replay, parameters),
            "quarantine_erase" => settle_request(Change::Erase, parameters),
            _ => Err(BadParameter::new("command", format!("there is no {name:?}"))),
        }
    }
}

fn settle_request(change: Change, parameters: &[(String, String)]) -> Result<Request, BadParameter> {
    let own =
        [&parameters::POSITIONS, &parameters::EVERYTHING, &parameters::DRY_RUN, &parameters::REPORT_FORMAT];
    let filters = &QUARANTINE_FILTER[..QUARANTINE_FILTER.len() - 1];
    let given = Given::new(parameters, &[filters, &own].concat())?;
    let filter = quarantine_filter(&given, None, usize::MAX)?;
    let positions = given.wholes(&parameters::POSITIONS)?;
    let everything = given.flag(&parameters::EVERYTHING)?;
    let narrowed = filter.narrows() || !positions.is_empty();
    if !narrowed && !everything {
        let sentence = "say which: positions, a filter (reason, client, agency, topic, from, to), or all";
        return Err(BadParameter::new(parameters::POSITIONS.name, sentence));
    }
    if narrowed && everything {
        let sentence = "it stands beside positions or a filter: leave one of them out";
        return Err(BadParameter::new(parameters::EVERYTHING.name, sentence));
    }
    let request = SettleRequest {
        change,
        selection: Selection { positions, filter },
        dry_run: given.flag(&parameters::DRY_RUN)?,
    };
    Ok(Request::QuarantineSettle(request, Format::given(&given, &parameters::REPORT_FORMAT)?))
}

/// One of the closed list: a misspelt one would look like an empty quarantine.
fn reason(given: &Given<'_>) -> Result<Option<String>, BadParameter> {
    let reason = given.text(&parameters::REASON)?;
    match &reason {
        Some(name) if !reasons().any(|known| known == name) => {
            let known: Vec<&str> = reasons().collect();
            let sentence = format!("there is no reason {name:?}; there are {}", known.join(", "));
            Err(BadParameter::new(parameters::REASON.name, sentence))
        }
        _ => Ok(reason),
    }
}

/// A filter that MQTT does not allow matches nothing, which would look like an empty quarantine.
fn topic(given: &Given<'_>) -> Result<Option<String>, BadParameter> {
    let topic = given.text(&parameters::TOPIC)?;
    if let Some(filter) = &topic
        && let Err(error) = validate_filter(filter)
    {
        return Err(BadParameter::new(
            parameters::TOPIC.name,
            format!("{filter:?} is no MQTT topic filter: {error}"),
        ));
    }
    Ok(topic)
}

/// What the list on the command line and that of the API have in common; they differ in how they are cut.
pub(crate) fn quarantine_filter(
    given: &Given<'_>,
    before: Option<(u64, u32)>,
    limit: usize,
) -> Result<QuarantineFilter, BadParameter> {
    let (from_us, to_us) = given.period(&parameters::RECEIVED_FROM, &parameters::RECEIVED_TO)?;
    Ok(QuarantineFilter {
        reason: reason(given)?,
        client: given.text(&parameters::CLIENT)?,
        agency: given.text(&parameters::QUARANTINE_AGENCY)?,
        topic: topic(given)?,
        from_us,
        to_us,
        position: given.whole(&parameters::QUARANTINE_OF)?,
        before,
        limit,
        cancel: Cancel::default(),
    })
}

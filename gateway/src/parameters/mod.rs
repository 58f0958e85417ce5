//! Parameters of questions: each is defined once, here, with its limits and its meaning. [`Given`] reads by that
//! definition, and `/openapi.json` is written from it.

mod given;
mod selector;

pub use given::{BadParameter, Bbox, Given, Parameter, ParameterKind, cursor};
pub use selector::{DatastreamSelector, SelectorError};

use crate::catalogue::QUARANTINE_LIST_MAX;

const fn text(name: &'static str, meaning: &'static str) -> Parameter {
    Parameter::new(name, ParameterKind::Text, meaning)
}

const fn limit(default: Option<u64>, max: u64, meaning: &'static str) -> Parameter {
    Parameter::new("limit", ParameterKind::Whole { min: 1, max, default }, meaning)
}

pub const AGENCY: Parameter = text("agency", "code of the agency");
pub const STATION: Parameter = text("station", "code of the station, or `agency/station`");
pub const CLIENT: Parameter = text("client", "MQTT client identifier of the sender");
pub const DOMAIN: Parameter = text("domain", "domain, such as `environment`, `traffic` or `water`");
pub const COMMUNE: Parameter = text("commune", "official code of the commune, five digits");
pub const PROPERTY: Parameter = text("property", "observed property with its qualifiers");
pub const SEARCH: Parameter =
    text("q", "part of a station's name or code; accents and case do not matter, đ is d");
pub const REASON: Parameter = text("reason", "why it was quarantined, such as `not_json`");
pub const TOPIC: Parameter = text("topic", "MQTT topic filter");
pub const BBOX: Parameter =
    Parameter::new("bbox", ParameterKind::Bbox, "stations within these degrees (WGS 84), bounds included");
pub const AFTER: Parameter = Parameter::new(
    "after",
    ParameterKind::Cursor,
    "`next` of the page before; the same filters must be given",
);
pub const FROM: Parameter =
    Parameter::new("from", ParameterKind::Time, "start of the period, included (phenomenonTime)");
pub const TO: Parameter =
    Parameter::new("to", ParameterKind::Time, "end of the period, not included (phenomenonTime)");
pub const RECEIVED_FROM: Parameter =
    Parameter::new("from", ParameterKind::Time, "start of the period, included (time of receipt)");
pub const RECEIVED_TO: Parameter =
    Parameter::new("to", ParameterKind::Time, "end of the period, not included (time of receipt)");
pub const DATASTREAMS: Parameter = Parameter::new(
    "datastream",
    ParameterKind::Datastreams,
    "`agency/station/property`, `agency/station` or `agency`",
);
pub const REVISIONS: Parameter =
    Parameter::new("revisions", ParameterKind::Flag, "all revisions instead of the one in force");
pub const ROW_FORMAT: Parameter = Parameter::new(
    "format",
    ParameterKind::Choice(&["json", "csv", "ndjson", "table"]),
    "how rows are written",
);
pub const FORMAT: Parameter =
    Parameter::new("format", ParameterKind::Choice(&["json", "table"]), "how the answer is written");
pub const ROW_LIMIT: Parameter = limit(
    None,
    u64::MAX,
    "most rows; JSON over HTTP gives 10,000 unless told otherwise, and 100,000 at most",
);
pub const QUARANTINE_LIMIT: Parameter = limit(Some(100), QUARANTINE_LIST_MAX as u64, "most entries");
pub const QUARANTINE_AGENCY: Parameter =
    Parameter::new("agency", ParameterKind::TextOrNone, "code of the agency; empty = none was known");
pub const QUARANTINE_POSITION: Parameter = Parameter::new(
    "position",
    ParameterKind::Whole { min: 0, max: u64::MAX, default: None },
    "the position of a message",
)
.required();
pub const QUARANTINE_OF: Parameter = Parameter::new(
    "position",
    ParameterKind::Whole { min: 0, max: u64::MAX, default: None },
    "of the message at this position",
);
pub const POSITIONS: Parameter =
    Parameter::new("positions", ParameterKind::Wholes, "positions of messages, with commas between them");
pub const EVERYTHING: Parameter =
    Parameter::new("all", ParameterKind::Flag, "everything that is in quarantine");
pub const DRY_RUN: Parameter =
    Parameter::new("dry_run", ParameterKind::Flag, "tell what would become of it, change nothing");
pub const EXPORT_FORMAT: Parameter =
    Parameter::new("format", ParameterKind::Choice(&["ndjson", "csv"]), "how entries are written");
pub const REPORT_FORMAT: Parameter =
    Parameter::new("format", ParameterKind::Choice(&["table", "json"]), "how the answer is written");
pub const STATION_LIMIT: Parameter = limit(Some(1_000), 10_000, "most stations");
pub const LATEST_LIMIT: Parameter = limit(Some(1_000), 10_000, "most observations");
pub const SERIES_DATASTREAM: Parameter =
    Parameter::new("datastream", ParameterKind::Datastream, "`agency/station/property`").required();
pub const PERIOD_S: Parameter = Parameter::new(
    "period_s",
    ParameterKind::Whole { min: 0, max: u32::MAX as u64, default: None },
    "period of the values where a name has several; 0 = instantaneous; the shortest where it is left out",
);
pub const POINTS: Parameter = Parameter::new(
    "points",
    ParameterKind::Whole { min: 2, max: 5_000, default: Some(500) },
    "most buckets, or most points of a line",
);
pub const EVENTS_ONLY: Parameter = Parameter::new(
    "only",
    ParameterKind::Choice(&["all", "books"]),
    "`books`: no observations, and so no filter of them",
);
pub const METHOD: Parameter = Parameter::new(
    "method",
    ParameterKind::Choice(&["buckets", "lttb"]),
    "`buckets`: min, mean, max, last and count per span of time; `lttb`: observations that keep the line's shape",
);
pub const DATASTREAM_LIMIT: Parameter =
    limit(None, 100_000, "most datastreams; over HTTP 10,000 unless told otherwise");
pub const MESSAGE_STATION: Parameter =
    Parameter::new("station", ParameterKind::Station, "`agency/station`").required();
pub const MESSAGE_LIMIT: Parameter = limit(Some(20), 100, "most messages");
pub const QUARANTINE_PAGE_LIMIT: Parameter = limit(Some(100), 1_000, "most entries");
pub const PATH_POSITION: Parameter = Parameter::new(
    "position",
    ParameterKind::Whole { min: 0, max: u64::MAX, default: None },
    "the position of a message",
)
.in_path();

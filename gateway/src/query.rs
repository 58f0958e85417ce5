//! Questions to a gateway, and one way to answer them: HTTP, the control socket and the command line all parse the same
//! parameters ([`Request::parse`]), ask the same [`GatewayView`] and write the same bytes ([`answer()`]).
//!
//! Rows of observations have the columns of the outside contract ([`COLUMNS`]). Times are RFC 3339 in UTC; numbers are the
//! shortest text that reads back as the same `f64`; what is absent is empty in CSV and `null` in JSON.

mod answer;
mod quarantine;
mod render;
mod request;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use codecs::payload::Value;
use serde::{Serialize, Serializer};

pub use crate::parameters::{BadParameter, DatastreamSelector};
pub use answer::{Output, Quiet, answer, write_datastreams};
pub use quarantine::{hex, quarantine_json};
pub use render::{COLUMNS, RowWriter, write_number};
pub use request::QUARANTINE_FILTER;
pub(crate) use request::quarantine_filter;
pub use request::{DATASTREAMS, DatastreamFilter, Format, LEDGER, OBSERVATIONS, Request};

use crate::books::{Ledger, LedgerFilter};
use crate::cancel::Cancel;
use crate::catalogue::{QuarantineEntry, QuarantineFilter, QuarantineItem};
use crate::feeds::ObservationTap;
use crate::health::{Budget, Lag, State};
use crate::metrics::Metrics;
use crate::settle::{SettleReport, SettleRequest};
use crate::things::Things;

/// A gateway as those see it who ask: the running engine, or a data directory that was opened without one.
pub trait GatewayView: Debug + Send + Sync {
    fn ledger(&self, filter: &LedgerFilter) -> Result<Ledger, QueryError>;

    /// Hands over the rows one by one, ordered by phenomenonTime, datastream, ordinal, revision, until all are told, `query.limit` is
    /// reached or `each` breaks off. Memory does not grow with the answer.
    fn observations(
        &self,
        query: &ObservationQuery,
        each: &mut dyn FnMut(&ObservationRow<'_>) -> ControlFlow<()>,
    ) -> Result<(), QueryError>;

    /// Does the query give more than `limit` rows?
    fn has_more_than(&self, query: &ObservationQuery, limit: u64) -> Result<bool, QueryError>;

    /// Hands over times (µs) and values of one datastream (the registry's number) in order: numbers in the datastream's
    /// unit (or, where its property is in no catalogue, in the unit that it was last sent in), and booleans as 0 and 1; the revision
    /// in force. Gives that unit.
    fn numbers(
        &self,
        datastream: u32,
        times_us: Range<i64>,
        cancel: &Cancel,
        each: &mut dyn FnMut(i64, f64),
    ) -> Result<Option<String>, QueryError>;

    /// Ordered by name.
    fn datastreams(&self, filter: &DatastreamFilter) -> Result<Vec<DatastreamInfo>, QueryError>;

    /// Newest first, at most `filter.limit`.
    fn quarantine_list(&self, filter: &QuarantineFilter) -> Result<Vec<QuarantineEntry>, QueryError>;

    /// Everything that was quarantined of the message at `position`; empty if nothing was.
    fn quarantine_show(&self, position: u64) -> Result<Vec<QuarantineItem>, QueryError>;

    /// Everything that the filter means, with payloads, oldest first, in bounded memory.
    fn quarantine_export(
        &self,
        filter: &QuarantineFilter,
        each: &mut dyn FnMut(&QuarantineItem) -> Result<(), QueryError>,
    ) -> Result<(), QueryError>;

    /// Replays or erases entries of the quarantine, one request at a time. `told` hears now and then how far it is, and may
    /// break it off: what was done by then stays done.
    fn settle(
        &self,
        request: &SettleRequest,
        told: &mut dyn FnMut(&SettleReport) -> ControlFlow<()>,
    ) -> Result<SettleReport, QueryError>;

    /// The newest raw messages of a station, newest first, as far as the journal still has them; `None` = there is no
    /// such station.
    fn messages(
        &self,
        agency: &str,
        station: &str,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Option<StationMessages>, QueryError>;

    /// Where observations pass by.
    fn tap(&self) -> &Arc<ObservationTap>;

    fn readiness(&self) -> Readiness;

    /// Agencies, stations, communes and the newest observations.
    fn things(&self) -> &Things;

    /// The gateway's clock, µs since 1970 UTC.
    fn now_us(&self) -> i64;

    /// How far ahead of it an observation may lie, µs.
    fn clock_skew_max_us(&self) -> i64;

    fn metrics(&self) -> &Metrics;

    /// Brings gauges up to date that are only worked out when somebody asks.
    fn refresh_metrics(&self) {}
}

/// Which observations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservationQuery {
    pub datastream: DatastreamSelector,
    /// phenomenonTime, µs since 1970 UTC, `from_us <= time`.
    pub from_us: Option<i64>,
    /// `time < to_us`.
    pub to_us: Option<i64>,
    /// Most rows; `None` = all.
    pub limit: Option<u64>,
    /// All revisions instead of the one in force.
    pub revisions: bool,
    /// Ends the search early.
    pub cancel: Cancel,
}

/// One observation with its names resolved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObservationRow<'a> {
    /// `{agency}/{station}/{property}`.
    pub datastream: &'a str,
    pub phenomenon_time_us: i64,
    /// When the gateway received it.
    pub result_time_us: i64,
    pub result: Value<'a>,
    pub unit: Option<&'a str>,
    /// `None` = instantaneous.
    pub period_s: Option<u32>,
    /// QARTOD flag.
    pub quality: u8,
    /// The source's own.
    pub status: Option<&'a str>,
    /// 0 = as first received, 1 = first correction.
    pub revision: u32,
    pub seq: Option<u64>,
    /// `message_no` of the message that brought it.
    pub position: u64,
}

/// One datastream, as `GET /api/v1/datastreams` tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatastreamInfo {
    /// `{agency}/{station}/{property}`.
    pub datastream: String,
    pub agency: String,
    pub station: String,
    pub property: String,
    /// `None` = instantaneous.
    pub period_s: Option<u32>,
    pub domain: String,
    pub unit: Option<String>,
    /// Greatest phenomenonTime, µs since 1970 UTC; `None` = no observation yet.
    #[serde(rename = "phenomenon_time", serialize_with = "as_rfc3339")]
    pub phenomenon_time_us: Option<i64>,
}

/// The newest messages of a station.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StationMessages {
    /// Newest first.
    pub messages: Vec<RawMessage>,
    /// How many of the newest are gone from the journal.
    pub recycled: usize,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    pub position: u64,
    pub receive_time_us: i64,
    pub client: String,
    pub topic: String,
    pub qos: u8,
    pub dup: bool,
    pub payload: Vec<u8>,
}

/// The answer of `GET /ready`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Readiness {
    pub ready: bool,
    /// Why not; empty if ready.
    pub reasons: Vec<String>,
    pub clock: ClockState,
    /// At the present rate; `None` = nothing is being written, or nobody knows.
    pub disk_hours_left: Option<f64>,
    /// What is not as it should be, the worst first; those that `blocks` make the gateway not ready.
    pub states: Vec<State>,
    pub budgets: Vec<Budget>,
    /// How far behind each destination is.
    pub destinations: Vec<Lag>,
}

/// Does the machine's clock follow a time server?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockState {
    Synchronised,
    NotSynchronised,
    Unknown,
}

/// Why there is no answer, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The one who asked went away, or takes no more.
    #[error("the answer could not be written: {0}")]
    Output(#[from] io::Error),
    #[error("nobody waits for the answer any more")]
    Cancelled,
    /// Asking again later may help.
    #[error("{0}")]
    Unavailable(String),
    /// What is kept is not what was written; the sentence ends with its part of the page on damage.
    #[error("{0}")]
    Damaged(String),
    #[error("{0}")]
    Failed(String),
}

fn as_rfc3339<S: Serializer>(time_us: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    time_us.map(codecs::time::format_rfc3339).serialize(serializer)
}

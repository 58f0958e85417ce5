//! The table of all questions: path, parameters, what it is for, how it is answered.

use crate::parameters::{self, Parameter};
use crate::query;
use crate::things::ThingFilter;

/// Everything that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Health,
    Ready,
    Metrics,
    OpenApi,
    Agencies,
    Communes,
    Stations,
    Latest,
    Series,
    Events,
    Messages,
    Observations,
    Datastreams,
    Ledger,
    Quarantine,
    QuarantineItem,
}

impl Question {
    pub const ALL: [Self; 16] = [
        Self::Health,
        Self::Ready,
        Self::Metrics,
        Self::OpenApi,
        Self::Agencies,
        Self::Communes,
        Self::Stations,
        Self::Latest,
        Self::Series,
        Self::Events,
        Self::Messages,
        Self::Observations,
        Self::Datastreams,
        Self::Ledger,
        Self::Quarantine,
        Self::QuarantineItem,
    ];

    /// A part in braces, which is the last one, is a parameter.
    pub fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Ready => "/ready",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::Agencies => "/api/v1/agencies",
            Self::Communes => "/api/v1/communes",
            Self::Stations => "/api/v1/stations",
            Self::Latest => "/api/v1/latest",
            Self::Series => "/api/v1/series",
            Self::Events => "/api/v1/events",
            Self::Messages => "/api/v1/messages",
            Self::Observations => "/api/v1/observations",
            Self::Datastreams => "/api/v1/datastreams",
            Self::Ledger => "/api/v1/ledger",
            Self::Quarantine => "/api/v1/quarantine",
            Self::QuarantineItem => "/api/v1/quarantine/{position}",
        }
    }

    /// One sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Health => "The process is there.",
            Self::Ready => "Whether the gateway takes messages in, and why not.",
            Self::Metrics => "Counters and gauges.",
            Self::OpenApi => "This description.",
            Self::Agencies => "All agencies with their names and numbers of stations.",
            Self::Communes => "The communes, wards and special zones of the city.",
            Self::Stations => "Stations with place, freshness and domains, ordered by agency and code.",
            Self::Latest => "The newest observation of each datastream, ordered by name.",
            Self::Series => "One datastream over a period, down-sampled; numbers, and booleans as 0 and 1.",
            Self::Events => {
                "Server-sent events: `observation` as it comes, `books` every 2 s, `skipped` for a listener that was too slow."
            }
            Self::Messages => "The newest raw messages of a station, as far as the journal still has them.",
            Self::Observations => "Rows of observations in the order of their times.",
            Self::Datastreams => "Datastreams by name; the next page is in the `Link` header.",
            Self::Ledger => "The books: what became of every message and every reading.",
            Self::Quarantine => "What could not be decoded, newest first.",
            Self::QuarantineItem => "What was quarantined of one message, with its payload.",
        }
    }

    /// What the parser takes, and no other.
    pub fn parameters(self) -> Vec<&'static Parameter> {
        let things = ThingFilter::PARAMETERS;
        match self {
            Self::Health | Self::Ready | Self::Metrics | Self::OpenApi | Self::Agencies | Self::Communes => {
                Vec::new()
            }
            Self::Stations => [&things[..], &[&parameters::STATION_LIMIT, &parameters::AFTER]].concat(),
            Self::Latest => {
                let own = [&parameters::PROPERTY, &parameters::LATEST_LIMIT, &parameters::AFTER];
                [&things[..], &own].concat()
            }
            Self::Series => vec![
                &parameters::SERIES_DATASTREAM,
                &parameters::PERIOD_S,
                &parameters::FROM,
                &parameters::TO,
                &parameters::POINTS,
                &parameters::METHOD,
            ],
            Self::Events => {
                vec![&parameters::AGENCY, &parameters::STATION, &parameters::DOMAIN, &parameters::EVENTS_ONLY]
            }
            Self::Messages => vec![&parameters::MESSAGE_STATION, &parameters::MESSAGE_LIMIT],
            Self::Observations => query::OBSERVATIONS.to_vec(),
            Self::Datastreams => query::DATASTREAMS.to_vec(),
            Self::Ledger => query::LEDGER.to_vec(),
            Self::Quarantine => {
                let own = [&parameters::QUARANTINE_PAGE_LIMIT, &parameters::AFTER];
                [&query::QUARANTINE_FILTER[..], &own].concat()
            }
            Self::QuarantineItem => vec![&parameters::PATH_POSITION],
        }
    }
}

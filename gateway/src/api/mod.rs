//! The questions of the HTTP interface: one table ([`Question`]) of paths, parameters and answers, from which the server
//! makes its routes, the parser its checks and `/openapi.json` its text.
//!
//! What the command line asks too is answered by [`crate::query`]; here are the questions in JSON only.

mod answer;
mod series;

pub use answer::{Answer, ApiError, answer};

use crate::parameters::{self, Parameter};
use crate::query;
use crate::things::ThingFilter;

/// Everything that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Health,
    Ready,
    Metrics,
    Agencies,
    Communes,
    Stations,
    Latest,
    Series,
    Ledger,
    Observations,
    Datastreams,
}

impl Question {
    pub const ALL: [Self; 11] = [
        Self::Health,
        Self::Ready,
        Self::Metrics,
        Self::Agencies,
        Self::Communes,
        Self::Stations,
        Self::Latest,
        Self::Series,
        Self::Ledger,
        Self::Observations,
        Self::Datastreams,
    ];

    /// A part in braces is a parameter.
    pub fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Ready => "/ready",
            Self::Metrics => "/metrics",
            Self::Agencies => "/api/v1/agencies",
            Self::Communes => "/api/v1/communes",
            Self::Stations => "/api/v1/stations",
            Self::Latest => "/api/v1/latest",
            Self::Series => "/api/v1/series",
            Self::Ledger => "/api/v1/ledger",
            Self::Observations => "/api/v1/observations",
            Self::Datastreams => "/api/v1/datastreams",
        }
    }

    pub fn parameters(self) -> Vec<&'static Parameter> {
        let things = ThingFilter::PARAMETERS;
        match self {
            Self::Health | Self::Ready | Self::Metrics | Self::Agencies | Self::Communes => Vec::new(),
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
            Self::Ledger => query::LEDGER.to_vec(),
            Self::Observations => query::OBSERVATIONS.to_vec(),
            Self::Datastreams => query::DATASTREAMS.to_vec(),
        }
    }
}

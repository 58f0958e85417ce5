//! Which datastreams a query means.

use codecs::name::{self, NameError};

/// Written as `agency/station/property` (one datastream, or those that differ only in their period), as
/// `agency/station` or `agency/station/` (all of a station), as `agency` or `agency/` (all of an agency).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DatastreamSelector {
    #[default]
    All,
    Agency(String),
    Station {
        agency: String,
        station: String,
    },
    Exact {
        agency: String,
        station: String,
        property: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("expected agency/station/property, agency/station or agency, found {0:?}")]
    Form(String),
    #[error(transparent)]
    Name(#[from] NameError),
}

impl DatastreamSelector {
    /// Names come into their canonical form, so that a qualifier or an accent may be typed in any order.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts: Vec<&str> = text.split('/').collect();
        if parts.len() > 1 && parts.last() == Some(&"") {
            parts.pop();
        }
        match parts[..] {
            [agency] => Ok(Self::Agency(name::agency(agency)?.into_owned())),
            [agency, station] => Ok(Self::Station {
                agency: name::agency(agency)?.into_owned(),
                station: name::station(station)?.into_owned(),
            }),
            [agency, station, property] if !text.ends_with('/') => Ok(Self::Exact {
                agency: name::agency(agency)?.into_owned(),
                station: name::station(station)?.into_owned(),
                property: name::property(property)?.into_owned(),
            }),
            _ => Err(SelectorError::Form(text.to_owned())),
        }
    }

    /// Does it mean the datastream of that name?
    pub fn includes(&self, of_agency: &str, of_station: &str, of_property: &str) -> bool {
        match self {
            Self::All => true,
            Self::Agency(agency) => agency == of_agency,
            Self::Station { agency, station } => agency == of_agency && station == of_station,
            Self::Exact { agency, station, property } => {
                agency == of_agency && station == of_station && property == of_property
            }
        }
    }
}

//! Which stations and which newest observations.

use super::index::{Entry, Index};
use super::search::folded;
use crate::parameters::{self, BadParameter, Bbox, Given, Parameter};

/// `None` = any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThingFilter {
    pub agency: Option<String>,
    /// A code, or `agency/station`.
    pub station: Option<String>,
    pub domain: Option<String>,
    /// Code.
    pub commune: Option<String>,
    pub bbox: Option<Bbox>,
    /// Part of a name or code.
    pub search: Option<String>,
}

impl ThingFilter {
    /// The parameters of [`ThingFilter::of`].
    pub const PARAMETERS: [&'static Parameter; 6] = [
        &parameters::AGENCY,
        &parameters::STATION,
        &parameters::DOMAIN,
        &parameters::COMMUNE,
        &parameters::BBOX,
        &parameters::SEARCH,
    ];

    pub fn of(given: &Given<'_>) -> Result<Self, BadParameter> {
        Ok(Self {
            agency: given.text(&parameters::AGENCY)?,
            station: given.text(&parameters::STATION)?,
            domain: given.text(&parameters::DOMAIN)?,
            commune: given.text(&parameters::COMMUNE)?,
            bbox: given.bbox(&parameters::BBOX)?,
            search: given.text(&parameters::SEARCH)?,
        })
    }

    pub(super) fn prepare(&self, index: &Index) -> Prepared<'_> {
        Prepared {
            filter: self,
            station: self.station.as_deref().map(|station| match station.split_once('/') {
                Some((agency, code)) => (Some(agency), code),
                None => (None, station),
            }),
            domain: self.domain.as_deref().map(|domain| index.domain_no(domain)),
            search: self.search.as_deref().map(folded),
        }
    }
}

/// A filter with what it needs worked out once.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    filter: &'a ThingFilter,
    station: Option<(Option<&'a str>, &'a str)>,
    /// `Some(None)`: nobody has that domain.
    domain: Option<Option<u16>>,
    search: Option<String>,
}

impl Prepared<'_> {
    pub(super) fn includes(&self, entry: &Entry) -> bool {
        let facts = entry.facts.as_deref();
        let filter = self.filter;
        filter.agency.as_deref().is_none_or(|agency| agency == &*entry.agency)
            && self.station.is_none_or(|(agency, code)| {
                code == &*entry.code && agency.is_none_or(|agency| agency == &*entry.agency)
            })
            && self.domain.is_none_or(|domain| domain.is_some_and(|domain| entry.domains.contains(&domain)))
            && filter.commune.as_deref().is_none_or(|code| {
                facts.and_then(|facts| facts.commune.as_deref()).is_some_and(|commune| commune.code == code)
            })
            && filter.bbox.is_none_or(|bbox| {
                facts
                    .and_then(|facts| facts.place)
                    .is_some_and(|place| bbox.contains(place.longitude, place.latitude))
            })
            && self.search.as_deref().is_none_or(|part| entry.search.contains(part))
    }
}

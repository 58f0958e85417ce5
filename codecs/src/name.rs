//! Names.

use std::borrow::Cow;
use std::fmt;

/// Longest agency, station or property (with its qualifiers), in characters of the normalised form.
pub const NAME_CHARACTERS_MAX: usize = 64;
/// Most qualifiers of one property.
pub const QUALIFIERS_MAX: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

/// A checked property name in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PropertyName<'a>(&'a str);

impl<'a> PropertyName<'a> {
    /// The whole name: `flow;class=motorcycle;lane=1`.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The name without qualifiers: `flow`.
    pub fn base(self) -> &'a str {
        self.0.split_once(';').map_or(self.0, |(base, _)| base)
    }
}

impl fmt::Display for PropertyName<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

/// Checks and normalises an agency code.
pub fn agency(name: &str) -> Result<Cow<'_, str>, NameError> {
    Ok(Cow::Borrowed(name))
}

/// Checks and normalises a station code.
pub fn station(name: &str) -> Result<Cow<'_, str>, NameError> {
    Ok(Cow::Borrowed(name))
}

/// Checks a property name and brings it into canonical form.
pub fn property(name: &str) -> Result<Cow<'_, str>, NameError> {
    Ok(Cow::Borrowed(name))
}

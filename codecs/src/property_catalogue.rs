//! The small property catalogue that ships with the gateway.

/// Which field of the city a property belongs to; the first level of the feed topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    Disaster,
    Environment,
    Greenery,
    Lighting,
    Other,
    Safety,
    Traffic,
    Water,
}

impl Domain {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disaster => "disaster",
            Self::Environment => "environment",
            Self::Greenery => "greenery",
            Self::Lighting => "lighting",
            Self::Other => "other",
            Self::Safety => "safety",
            Self::Traffic => "traffic",
            Self::Water => "water",
        }
    }
}

/// One property of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PropertyEntry {
    /// Base name, without qualifiers.
    pub code: &'static str,
    /// Number that stands for the code in FlatBuffers messages. Append-only, never reused.
    pub number: u16,
    pub name_vi: &'static str,
    pub name_en: &'static str,
    /// Canonical UCUM unit; `None` for states and codes without a unit.
    pub unit: Option<&'static str>,
    pub domain: Domain,
    /// Plausible range in the canonical unit, both ends included; outside is suspect, not wrong.
    pub plausible: Option<(f64, f64)>,
}

/// The entry of a base name (without qualifiers).
pub fn property(code: &str) -> Option<&'static PropertyEntry> {
    let _ = code;
    None
}

/// The entry of a FlatBuffers property number.
pub fn property_by_number(number: u16) -> Option<&'static PropertyEntry> {
    let _ = number;
    None
}

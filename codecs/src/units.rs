//! Units.

/// `canonical = sent × scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    pub scale: f64,
    pub offset: f64,
}

impl Linear {
    pub const IDENTITY: Self = Self { scale: 1.0, offset: 0.0 };

    /// Converts a value; the identity returns it untouched.
    pub fn apply(self, value: f64) -> f64 {
        if self == Self::IDENTITY { value } else { value * self.scale + self.offset }
    }
}

/// The canonical UCUM code of a unit as sent, or `None` where the table does not know it (the caller keeps it as sent).
pub fn normalise(sent: &str) -> Option<&'static str> {
    let _ = sent;
    None
}

/// How values in `from` become values in `to` (both as sent or canonical). `None`: unknown unit or another quantity.
pub fn conversion(from: &str, to: &str) -> Option<Linear> {
    (from == to).then_some(Linear::IDENTITY)
}

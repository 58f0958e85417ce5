//! One inconsistency, with everything that an operator needs to find it.

use std::fmt;

use serde::{Serialize, Serializer};

use super::fault::Fault;

/// Where the page for operators lies.
pub const PAGE: &str = "docs/operations/damage.md";

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    #[serde(rename = "code", serialize_with = "code")]
    pub fault: Fault,
    /// In the data directory.
    pub file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// `frame 12`, `row 4096`, `hour 498585`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// What was found, in one sentence.
    pub what: String,
}

impl Finding {
    pub(super) fn new(fault: Fault, file: impl Into<String>, what: impl Into<String>) -> Self {
        Self { fault, file: file.into(), offset: None, number: None, what: what.into() }
    }

    pub(super) fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    pub(super) fn number(self, number: impl Into<String>) -> Self {
        Self { number: Some(number.into()), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file)?;
        if let Some(offset) = self.offset {
            write!(formatter, ": byte {offset}")?;
        }
        if let Some(number) = &self.number {
            write!(formatter, ": {number}")?;
        }
        write!(formatter, ": {} [{}]", self.what, self.fault.code())?;
        write!(formatter, "\n  this means: {}", self.fault.means())?;
        write!(formatter, "\n  do: {} ({PAGE}, \"{}\")", self.fault.remedy(), self.fault.code())
    }
}

fn code<S: Serializer>(fault: &Fault, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(fault.code())
}

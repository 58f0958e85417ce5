//! What a comparison found.

use std::fmt;

use serde::Serialize;

/// Most examples that are kept of one kind.
pub const EXAMPLES_MAX: usize = 5;

/// One kind of disagreement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub count: u64,
    /// The first [`EXAMPLES_MAX`].
    pub examples: Vec<String>,
}

impl Finding {
    pub(super) fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }
}

/// The ledger against the rows of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub messages_sent: u64,
    pub messages_acked: u64,
    /// Of the sent ones: garbage, expected nowhere among the rows.
    pub messages_garbage: u64,
    pub readings_sent: u64,
    pub readings_acked: u64,
    /// Rows that must be there: acknowledged readings, those that were sent more than once counted once.
    pub rows_required: u64,
    /// Rows of the ledger's stations.
    pub rows_compared: u64,
    /// Of those: rows that were sent and never acknowledged. They may be there.
    pub rows_unacked: u64,
    /// Rows of stations that the ledger does not know.
    pub rows_of_other_stations: u64,
    /// The rows are those in force only; earlier revisions were not looked for.
    pub only_in_force: bool,
    /// Acknowledged, but not among the rows.
    pub lost: Finding,
    /// More rows than sendings that count.
    pub doubled: Finding,
    /// A row whose value, kind, unit, status or sequence number is not what was sent, or an outdated value in force.
    pub altered: Finding,
    /// Rows of the ledger's stations that were never sent.
    pub unexpected: Finding,
}

impl Report {
    /// Nothing lost, doubled, altered or unexpected.
    pub fn is_clean(&self) -> bool {
        [&self.lost, &self.doubled, &self.altered, &self.unexpected].iter().all(|finding| finding.count == 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "sent      {} messages with {} readings; {} messages with {} readings acknowledged; {} messages of garbage",
            self.messages_sent,
            self.readings_sent,
            self.messages_acked,
            self.readings_acked,
            self.messages_garbage
        )?;
        writeln!(
            formatter,
            "rows      {} compared, {} required, {} sent but never acknowledged; {} of other stations left out",
            self.rows_compared, self.rows_required, self.rows_unacked, self.rows_of_other_stations
        )?;
        if self.only_in_force {
            writeln!(
                formatter,
                "          (only the revisions in force are shown, earlier ones were not looked for)"
            )?;
        }
        let findings = [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("altered", &self.altered),
            ("unexpected", &self.unexpected),
        ];
        for (name, finding) in findings {
            writeln!(formatter, "{name:<9} {}", finding.count)?;
            for example in &finding.examples {
                writeln!(formatter, "          {example}")?;
            }
        }
        formatter.write_str(if self.is_clean() { "verify: fine" } else { "verify: NOT fine" })
    }
}

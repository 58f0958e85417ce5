//! What was checked and what was found.

use std::fmt::Write as _;

use serde::Serialize;

use super::finding::Finding;

/// More findings than this are counted and not kept.
pub const FINDINGS_MAX: usize = 1_000;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    pub what: &'static str,
    pub count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub fine: bool,
    /// A gateway ran meanwhile.
    pub beside_gateway: bool,
    pub checked: Vec<Checked>,
    /// What is told and is no inconsistency.
    pub notes: Vec<String>,
    pub findings: Vec<Finding>,
    /// Those that are not listed, beyond [`FINDINGS_MAX`].
    pub findings_not_listed: u64,
}

impl Report {
    pub(super) fn checked(&mut self, what: &'static str, count: u64, bytes: Option<u64>) {
        self.checked.push(Checked { what, count, bytes });
    }

    pub(super) fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    pub(super) fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_not_listed += 1;
        }
    }

    pub fn findings_count(&self) -> u64 {
        self.findings.len() as u64 + self.findings_not_listed
    }

    /// The table, then the notes, then what was found: the first one, or `all`.
    pub fn text(&self, all: bool) -> String {
        let mut text = String::new();
        let width = self.checked.iter().map(|line| line.what.len()).max().unwrap_or(0);
        for line in &self.checked {
            let bytes = line.bytes.map_or(String::new(), |bytes| format!("{bytes:>18} bytes"));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:width$} {:>15}{bytes}", line.what, line.count);
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        match self.findings.first() {
            None => text.push_str("fine: nothing is inconsistent\n"),
            Some(first) if !all => {
                let _ = writeln!(text, "\n{first}");
                if self.findings_count() > 1 {
                    let _ = writeln!(text, "and {} more; --all lists them", self.findings_count() - 1);
                }
            }
            Some(_) => {
                for finding in &self.findings {
                    let _ = writeln!(text, "\n{finding}");
                }
                if self.findings_not_listed > 0 {
                    let _ = writeln!(text, "and {} more that are not listed", self.findings_not_listed);
                }
            }
        }
        text
    }
}

//! `journal verify`; `journal dump` stands in [`super::journal_dump`].

use std::io::Write;

use super::arguments::{JournalArguments, JournalCommand, JournalVerifyArguments, PageFormat};
use super::ask::check_directory;
use super::{CommonArguments, Exit, Failure, journal_dump, output_result};
use crate::catalogue::CatalogueError;
use crate::verify::{Progress, VerifyError, verify};

pub(super) fn journal(
    common: &CommonArguments,
    arguments: &JournalArguments,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let config = common.load()?;
    let data_dir = &config.data_dir;
    check_directory(data_dir)?;
    match &arguments.command {
        JournalCommand::Verify(arguments) => verify_all(data_dir, arguments, out),
        JournalCommand::Dump(arguments) => journal_dump::dump(data_dir, arguments, out),
    }
}

fn verify_all(
    data_dir: &std::path::Path,
    arguments: &JournalVerifyArguments,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let report = verify(data_dir, &Progress::new()).map_err(|error| failure_of(&error))?;
    let text = match arguments.format {
        PageFormat::Table => report.text(arguments.all),
        // Numbers and strings always serialise.
        PageFormat::Json => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
    };
    output_result(out.write_all(text.as_bytes()))?;
    match report.findings.first() {
        None => Ok(()),
        Some(first) => {
            let others = match report.findings_count() - 1 {
                0 => String::new(),
                others => format!(", and {others} more"),
            };
            let sentence = format!("{}: inconsistent [{}]{others}", first.file, first.fault.code());
            Err(Failure::new(Exit::CheckFailed, sentence))
        }
    }
}

pub(super) fn failure_of(error: &VerifyError) -> Failure {
    let sentence = match error {
        VerifyError::Catalogue(CatalogueError::Busy { .. }) => {
            format!("{error} (beside a running gateway, try again)")
        }
        other => other.to_string(),
    };
    Failure::environment(sentence)
}

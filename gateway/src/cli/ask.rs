//! Asks the running gateway, or the data directory where none runs.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::control::{self, Question};
use super::{Access, Backend, CommonArguments, Exit, Failure};
use crate::catalogue::CATALOGUE_FILE;
use crate::log::{JOURNAL_DIR, OBSERVATIONS_DIR};
use crate::query::{Output, QueryError, Request, answer};

/// A request as text, so that it can travel; checked on both sides by [`Request::parse`].
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    name: &'static str,
    pairs: Vec<(String, String)>,
}

impl Parameters {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, pairs: Vec::new() }
    }

    pub(super) fn add(&mut self, field: &str, value: &Option<String>) -> &mut Self {
        match value {
            Some(value) => self.set(field, value),
            None => self,
        }
    }

    pub(super) fn set(&mut self, field: &str, value: &str) -> &mut Self {
        self.pairs.push((field.to_owned(), value.to_owned()));
        self
    }
}

/// The answer goes to `out`, what is told beside it to stderr.
struct Terminal<'a>(&'a mut dyn Write);

impl Write for Terminal<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Output for Terminal<'_> {
    fn note(&mut self, sentence: &str) -> io::Result<()> {
        // Nobody has to read it.
        let _ = writeln!(io::stderr(), "{sentence}");
        Ok(())
    }
}

pub(super) fn ask(
    common: &CommonArguments,
    parameters: &Parameters,
    access: Access,
    backend: &dyn Backend,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let out = &mut Terminal(out);
    let request = Request::parse(parameters.name, &parameters.pairs)
        .map_err(|bad| Failure::environment(bad.to_string()))?;
    let config = common.load()?;
    check_directory(&config.data_dir)?;
    let question = Question { name: parameters.name.to_owned(), parameters: parameters.pairs.clone() };
    if let Some(answered) = control::ask(&config.data_dir, &question, out) {
        return answered;
    }
    // A gateway would begin anew in there; a question to the wrong directory must not.
    if ![CATALOGUE_FILE, JOURNAL_DIR, OBSERVATIONS_DIR].iter().any(|name| config.data_dir.join(name).exists())
    {
        let sentence = format!(
            "{}: there is no gateway's data in this directory; name the right one with --data-dir",
            config.data_dir.display()
        );
        return Err(Failure::environment(sentence));
    }
    let view = backend.open_offline(Arc::new(config), access)?;
    match answer(view.as_ref(), &request, out) {
        Err(QueryError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(failure_of(&error)),
        Ok(()) => Ok(()),
    }
}

/// A directory can be there.
pub(super) fn check_directory(data_dir: &Path) -> Result<(), Failure> {
    if data_dir.is_dir() {
        return Ok(());
    }
    let what = if data_dir.exists() { "this is no directory" } else { "there is no such data directory" };
    let remedy = "name the right one with --data-dir (a demo keeps its data in demo-data)";
    Err(Failure::environment(format!("{}: {what}; {remedy}", data_dir.display())))
}

/// How a question that was not answered ends the command.
pub(crate) fn failure_of(error: &QueryError) -> Failure {
    let exit = if matches!(error, QueryError::Damaged(_)) { Exit::Journal } else { Exit::Environment };
    Failure::new(exit, error.to_string())
}

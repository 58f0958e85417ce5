//! `query`: observations.

use std::io::Write;

use super::arguments::QueryArguments;
use super::ask::{Parameters, ask};
use super::{Access, Backend, CommonArguments, Failure};

pub(super) fn query(
    common: &CommonArguments,
    arguments: &QueryArguments,
    backend: &dyn Backend,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut parameters = Parameters::new("observations");
    parameters
        .add("datastream", &arguments.datastream)
        .add("from", &arguments.from)
        .add("to", &arguments.to)
        .add("limit", &arguments.limit)
        .set("format", arguments.format.as_str());
    if arguments.revisions {
        parameters.set("revisions", "true");
    }
    ask(common, &parameters, Access::Read, backend, out)
}

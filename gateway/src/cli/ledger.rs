//! `ledger`: the books.

use std::io::Write;

use super::arguments::LedgerArguments;
use super::ask::{Parameters, ask};
use super::{Access, Backend, CommonArguments, Failure};

pub(super) fn ledger(
    common: &CommonArguments,
    arguments: &LedgerArguments,
    backend: &dyn Backend,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut parameters = Parameters::new("ledger");
    parameters
        .add("agency", &arguments.agency)
        .add("client", &arguments.client)
        .add("station", &arguments.station)
        .add("from", &arguments.from)
        .add("to", &arguments.to)
        .set("format", arguments.format.as_str());
    ask(common, &parameters, Access::Read, backend, out)
}

//! `quarantine list` and `quarantine show`.

use std::io::Write;

use super::arguments::{QuarantineArguments, QuarantineCommand};
use super::ask::{Parameters, ask};
use super::{Backend, CommonArguments, Failure};

pub(super) fn quarantine(
    common: &CommonArguments,
    arguments: &QuarantineArguments,
    backend: &dyn Backend,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let parameters = match &arguments.command {
        QuarantineCommand::List(list) => {
            let mut parameters = Parameters::new("quarantine_list");
            parameters
                .add("reason", &list.reason)
                .add("client", &list.client)
                .add("agency", &list.agency)
                .add("topic", &list.topic)
                .add("from", &list.from)
                .add("to", &list.to)
                .add("limit", &list.limit)
                .set("format", list.format.as_str());
            parameters
        }
        QuarantineCommand::Show { position, format } => {
            let mut parameters = Parameters::new("quarantine_show");
            parameters.set("position", position).set("format", format.as_str());
            parameters
        }
    };
    ask(common, &parameters, backend, out)
}

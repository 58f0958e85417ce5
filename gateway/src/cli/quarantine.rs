//! `quarantine list`, `show`, `export`, `replay` and `erase`.

use std::fs::File;
use std::io::{BufWriter, Write};

use super::arguments::{
    QuarantineArguments, QuarantineCommand, QuarantineExportArguments, QuarantineFilterArguments,
    QuarantineSettleArguments,
};
use super::ask::{Parameters, ask};
use super::{Access, Backend, CommonArguments, Failure};

pub(super) fn quarantine(
    common: &CommonArguments,
    arguments: &QuarantineArguments,
    backend: &dyn Backend,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (parameters, access) = match &arguments.command {
        QuarantineCommand::List(list) => {
            let mut parameters = filtered("quarantine_list", &list.filter);
            parameters
                .add("position", &list.position)
                .add("limit", &list.limit)
                .set("format", list.format.as_str());
            (parameters, Access::Read)
        }
        QuarantineCommand::Show { position, format } => {
            let mut parameters = Parameters::new("quarantine_show");
            parameters.set("position", position).set("format", format.as_str());
            (parameters, Access::Read)
        }
        QuarantineCommand::Export(export) => return write_export(common, export, backend, out),
        QuarantineCommand::Replay(replay) => (settle("quarantine_replay", replay), Access::Change),
        QuarantineCommand::Erase(erase) => (settle("quarantine_erase", erase), Access::Change),
    };
    ask(common, &parameters, access, backend, out)
}

fn filtered(name: &'static str, filter: &QuarantineFilterArguments) -> Parameters {
    let mut parameters = Parameters::new(name);
    parameters
        .add("reason", &filter.reason)
        .add("client", &filter.client)
        .add("agency", &filter.agency)
        .add("topic", &filter.topic)
        .add("from", &filter.from)
        .add("to", &filter.to);
    parameters
}

fn settle(name: &'static str, arguments: &QuarantineSettleArguments) -> Parameters {
    let mut parameters = filtered(name, &arguments.filter);
    if !arguments.positions.is_empty() {
        parameters.set("positions", &arguments.positions.join(","));
    }
    for (name, given) in [("all", arguments.all), ("dry_run", arguments.dry_run)] {
        if given {
            parameters.set(name, "true");
        }
    }
    parameters.set("format", arguments.format.as_str());
    parameters
}

fn write_export(
    common: &CommonArguments,
    export: &QuarantineExportArguments,
    backend: &dyn Backend,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut parameters = filtered("quarantine_export", &export.filter);
    parameters.add("position", &export.position).set("format", export.format.as_str());
    let Some(name) = &export.output else {
        return ask(common, &parameters, Access::Read, backend, out);
    };
    let failed = |error: std::io::Error| Failure::environment(format!("{name}: can't be written: {error}"));
    let mut file = BufWriter::new(File::create(name).map_err(failed)?);
    ask(common, &parameters, Access::Read, backend, &mut file)?;
    // Somebody may erase what was exported: it must be there first.
    file.flush().and_then(|()| file.get_ref().sync_all()).map_err(failed)
}

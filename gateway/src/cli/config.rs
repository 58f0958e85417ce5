//! `config check`, `config reference`, `config example`.

use std::io::Write;

use super::arguments::{ConfigArguments, ConfigCommand};
use super::{CommonArguments, Failure, output_result};
use crate::config::{example, load, reference};

pub(super) fn config(
    common: &CommonArguments,
    arguments: &ConfigArguments,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let page = match &arguments.command {
        ConfigCommand::Check { file } => {
            let file = file.as_deref().or(common.config.as_deref());
            load(&common.sources(file)?).map_err(|error| Failure::environment(error.to_string()))?;
            format!("{}: fine\n", file.unwrap_or("the configuration"))
        }
        ConfigCommand::Reference => reference(),
        ConfigCommand::Example => example(),
    };
    output_result(out.write_all(page.as_bytes()))
}

//! `load`: see `benches/README.md`.

use std::fs;
use std::process::ExitCode;

use clap::Parser;
use gateway_benches::load::{LoadError, LoadOptions, Outcome, ratio_table, run};

fn main() -> ExitCode {
    let options = LoadOptions::parse();
    match work(&options) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::from(2)
        }
    }
}

fn work(options: &LoadOptions) -> Result<String, LoadError> {
    if let Some(path) = &options.ratios {
        return Ok(ratio_table(&read_outcomes(path)?));
    }
    options.check().map_err(LoadError::Options)?;
    let outcome = run(options)?;
    if options.json {
        return serde_json::to_string(&outcome).map_err(|error| LoadError::Options(error.to_string()));
    }
    Ok(outcome.table())
}

fn read_outcomes(path: &str) -> Result<Vec<Outcome>, LoadError> {
    let text = fs::read_to_string(path).map_err(|error| LoadError::Options(format!("{path}: {error}")))?;
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| LoadError::Options(format!("{path}:{}: {error}", number + 1)))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

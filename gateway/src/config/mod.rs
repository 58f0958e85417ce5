//! The configuration: one definition per setting ([`settings`]) gives the field, its default, its limits, the names
//! `--set section.key=value` and `SENSOR_GATEWAY_SECTION__KEY`, the reference page and the example file.
//!
//! What was typed and what is valid are two types: [`Sources`] holds text with its origin, [`Config`] can't be wrong.
//! Sources in order, later ones win: defaults, file, environment, `--set`, the options of their own (`--mqtt-listen` …).
//! Every layer is checked, also where a later one overrides it; an error names all that is wrong, one line each:
//!
//! ```text
//! gateway.toml:12: mqtt.listen: expected an address like "127.0.0.1:1883", found "localhost"
//! --set mqtt.recieve_max: unknown setting; did you mean mqtt.receive_max?
//! ```

#[macro_use]
mod define;
mod error;
mod kind;
mod load;
mod reference;
pub mod settings;
mod suggest;

#[cfg(test)]
mod tests;

pub use error::{ConfigError, Problem};
pub use load::{ENVIRONMENT_PREFIX, Sources, load};
pub use reference::{example, reference};
pub use settings::{Config, Section, Setting, sections};

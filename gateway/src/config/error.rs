//! What is wrong with a configuration.

use std::fmt;

/// One thing that is wrong: where, and a sentence that says what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `gateway.toml:12: mqtt.listen`, `--set mqtt.listen`, `SENSOR_GATEWAY_MQTT__LISTEN`, `gateway.toml:3`.
    pub origin: String,
    pub sentence: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.origin, self.sentence)
    }
}

/// All that is wrong, one line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

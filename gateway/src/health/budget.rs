//! What a budget and a lag are, and whoever knows them all: the engine, which sees what the stages count.

use serde::Serialize;

/// One budget as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Budget {
    /// A word of a closed list, also the value of the metrics' label `budget`.
    pub budget: &'static str,
    /// What bounds it. `None`: no setting does (the disk, and what each shard has).
    pub setting: Option<&'static str>,
    /// `bytes`, `rows`, `messages` or `buffers`.
    pub unit: &'static str,
    /// `None` where only the rest is known (the disk, which others use too).
    pub used: Option<u64>,
    pub limit: Option<u64>,
    pub left: u64,
    /// At the rate of the last minutes; `None` = never, since it is not filling (or nobody knows yet).
    pub hours_left: Option<f64>,
}

/// How far a destination is behind what is processed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lag {
    pub destination: &'static str,
    pub behind_messages: u64,
}

/// All budgets of a gateway.
pub trait Budgets: std::fmt::Debug + Send + Sync {
    /// Takes a sample of what is left, which the hours left come from, if the last one is old enough.
    fn sample(&self, now_us: u64);

    /// All of them, with the hours that each lasts.
    fn all(&self) -> Vec<Budget>;

    /// How far each destination is behind.
    fn lags(&self) -> Vec<Lag>;

    /// Clients that the quarantine refuses now.
    fn clients_refused(&self) -> u64;

    /// Whether the quarantine refuses everybody.
    fn quarantine_is_exhausted(&self) -> bool;
}

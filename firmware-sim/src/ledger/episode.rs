//! Lines of what goes wrong for a while.

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The station sends nothing.
    Silent,
    /// The same values again and again.
    Stuck,
    /// It has the sensors of the station `with`.
    Swapped,
    /// Numbers in another unit than usual, which the message names, or does not.
    ToldUnit,
    UntoldUnit,
    /// The battery runs down; then its station is silent.
    LowBattery,
    DeadBattery,
    /// The clock: minutes ahead; minutes or hours behind; losing time; counting from the year 2000 on. For the whole session.
    ClockAhead,
    ClockBehind,
    ClockSlow,
    ClockReset,
    /// So many `measurements` are gone: without network, and without a memory.
    Missed,
    /// The `region` has no network; at the latest until the session ends.
    Storm,
}

/// Something that goes wrong for a while: measurements of this station or region from `from_us` until before `until_us`, by a
/// right clock, epoch µs. May begin before its session and outlast it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    pub fault: Fault,
    /// `{agency}/{station}`; none for a storm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(rename = "from", with = "crate::time::required")]
    pub from_us: i64,
    /// None: as long as the session.
    #[serde(
        default,
        rename = "until",
        with = "crate::time::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub until_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurements: Option<u64>,
}

impl Episode {
    pub fn of_station(fault: Fault, station: String, from_us: i64, until_us: Option<i64>) -> Self {
        Self {
            fault,
            station: Some(station),
            with: None,
            region: None,
            from_us,
            until_us,
            measurements: None,
        }
    }

    pub fn storm(region: String, from_us: i64, until_us: Option<i64>) -> Self {
        let region = Some(region);
        Self { fault: Fault::Storm, station: None, with: None, region, from_us, until_us, measurements: None }
    }
}

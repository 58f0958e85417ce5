//! What the devices do just now, in words.

use firmware_sim::city::{CityControl, StormState};

use super::words::{counted, duration, grouped};

/// One phase follows the other in this order; some are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Recorded series are sent.
    Replay,
    /// The stations send what they measured before the demo began.
    Past {
        waiting: u64,
    },
    /// A region has had no network for `since_s`, and will have none for `seconds` more.
    CutOff {
        region: String,
        since_s: u64,
        waiting: u64,
        others_waiting: u64,
        seconds: u64,
    },
    /// It has it again, and sends what it kept.
    Resending {
        region: String,
        waiting: u64,
    },
    Live,
}

impl Phase {
    /// Of a city that runs.
    pub(super) fn of(city: &CityControl, now_us: i64) -> Self {
        Self::told(&city.storms(), city.waiting(), city.is_live(), now_us)
    }

    fn told(storms: &[StormState], waiting: u64, is_live: bool, now_us: i64) -> Self {
        if let Some(storm) = storms.iter().find(|storm| now_us < storm.until_us) {
            return Self::CutOff {
                region: storm.region.clone(),
                since_s: (now_us - storm.from_us).unsigned_abs() / 1_000_000,
                waiting: storm.waiting,
                others_waiting: waiting.saturating_sub(storm.waiting),
                seconds: (storm.until_us - now_us).unsigned_abs().div_ceil(1_000_000),
            };
        }
        if let Some(storm) = storms.iter().find(|storm| storm.waiting > 0) {
            return Self::Resending { region: storm.region.clone(), waiting: storm.waiting };
        }
        if is_live { Self::Live } else { Self::Past { waiting } }
    }

    pub(super) fn is_same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// One line.
    pub(super) fn sentence(&self, stations: u32) -> String {
        match self {
            Self::Replay => "Recorded series are sent.".to_owned(),
            Self::Past { waiting } => {
                format!("The past is sent: {} to go.", counted(*waiting, "measurement"))
            }
            Self::CutOff { region, waiting, others_waiting: 0, seconds, .. } => {
                format!(
                    "STORM: {region} is cut off for {} more; it keeps {}.",
                    duration(*seconds),
                    grouped(*waiting)
                )
            }
            Self::CutOff { region, waiting, others_waiting, seconds, .. } => format!(
                "STORM: {region} is cut off for {} more; it keeps {}. Others to go: {}.",
                duration(*seconds),
                grouped(*waiting),
                grouped(*others_waiting)
            ),
            Self::Resending { region, waiting } => {
                format!("STORM OVER: {region} sends what it kept: {} to go.", grouped(*waiting))
            }
            Self::Live => format!("{} of Hải Phòng send live.", counted(stations.into(), "station")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storm(until_us: i64, waiting: u64) -> StormState {
        StormState { number: 0, region: "Quận Lê Chân".to_owned(), from_us: 0, until_us, waiting }
    }

    #[test]
    fn a_storm_is_told_from_its_beginning_until_all_is_sent() {
        let told = |waiting, is_live, now_us| Phase::told(&[storm(9_500_000, waiting)], 900, is_live, now_us);
        let cut_off = told(700, false, 8_000_000);
        assert_eq!(
            cut_off.sentence(10),
            "STORM: Quận Lê Chân is cut off for 2 s more; it keeps 700. Others to go: 200."
        );
        let resending = told(700, false, 9_500_000);
        assert_eq!(resending.sentence(10), "STORM OVER: Quận Lê Chân sends what it kept: 700 to go.");
        assert!(!cut_off.is_same_kind(&resending));
        assert_eq!(told(0, false, 10_000_000), Phase::Past { waiting: 900 });
        assert_eq!(told(0, true, 10_000_000), Phase::Live);
        assert_eq!(Phase::told(&[], 0, true, 0).sentence(1000), "1,000 stations of Hải Phòng send live.");
    }
}

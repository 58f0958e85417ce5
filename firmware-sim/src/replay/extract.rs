//! The recorded extract of `firmware-sim/data`, carried inside the program: a demo needs no folder beside it.

use std::path::Path;

use super::{Loaded, ReplayError, series_of};

macro_rules! recorded {
    ($($path:literal),* $(,)?) => {
        /// Path below `firmware-sim/data` and text; ordered by path.
        const FILES: &[(&str, &str)] = &[$(($path, include_str!(concat!("../../data/", $path)))),*];
    };
}

recorded![
    "air/beijing_aotizhongxin_2014.csv",
    "air/hanoi_pm25_2018.csv",
    "air/openaq_europe_2019_long.csv",
    "traffic/i94_hourly_2012-10_2014-02.csv",
    "traffic/twincities_occupancy_6005.csv",
    "traffic/twincities_speed_6005.csv",
    "traffic/twincities_traveltime_387.csv",
    "water/kotzebue_sea_level_hourly_2018-2019.csv",
    "water/noaa_8461490_6min_2013-01.csv",
    "water/usgs_01589330_5min_2018-06.csv",
    "water/usgs_iv_mult_flags.json",
    "water/usgs_iv_startdst.json",
    "water/usgs_iv_two_sites_two_params_iv.json",
    "weather/ndbc_41002_10min_2018.txt",
    "weather/ndbc_bdvf1_rain_hourly_2018.txt",
    "weather/nyc_ewr_hourly_2013_h1.csv",
];

/// The series that [`super::load`] finds in `firmware-sim/data`.
pub fn extract() -> Result<Loaded, ReplayError> {
    let mut loaded = Loaded::default();
    for (path, text) in FILES {
        match series_of(Path::new(path), text)? {
            Some(series) => loaded.series.push(series),
            None => loaded.passed_over.push(path.into()),
        }
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_carries_every_recorded_file_of_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        let from_folder = super::super::load(std::slice::from_ref(&folder)).expect("the folder is there");
        let carried = extract().expect("readable");
        assert!(carried.passed_over.is_empty(), "{:?}", carried.passed_over);
        let of = |loaded: &Loaded, base: &Path| -> Vec<_> {
            let path = |path: &Path| path.strip_prefix(base).unwrap_or(path).to_owned();
            loaded.series.iter().map(|series| (path(&series.path), series.messages.clone())).collect()
        };
        assert_eq!(of(&carried, &folder), of(&from_folder, &folder));
    }
}

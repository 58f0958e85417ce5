//! The small property catalogue that ships with the gateway: what a property is called, measured in, and about.
//!
//! Growing it: give the new property the next free number and put its entry where its code sorts. Codes and numbers are
//! in stored data and in devices: neither is ever changed or used again.

/// Which field of the city a property belongs to; the first level of the feed topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    Disaster,
    Environment,
    Greenery,
    Lighting,
    Other,
    Safety,
    Traffic,
    Water,
}

impl Domain {
    pub const ALL: [Self; 8] = [
        Self::Disaster,
        Self::Environment,
        Self::Greenery,
        Self::Lighting,
        Self::Other,
        Self::Safety,
        Self::Traffic,
        Self::Water,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disaster => "disaster",
            Self::Environment => "environment",
            Self::Greenery => "greenery",
            Self::Lighting => "lighting",
            Self::Other => "other",
            Self::Safety => "safety",
            Self::Traffic => "traffic",
            Self::Water => "water",
        }
    }
}

/// One property of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PropertyEntry {
    /// Base name, without qualifiers.
    pub code: &'static str,
    /// Number that stands for the code in FlatBuffers messages. Append-only, never reused.
    pub number: u16,
    pub name_vi: &'static str,
    pub name_en: &'static str,
    /// Canonical UCUM unit; `None` for states and codes without a unit.
    pub unit: Option<&'static str>,
    pub domain: Domain,
    /// Plausible range in the canonical unit, both ends included; outside is suspect, not wrong.
    pub plausible: Option<(f64, f64)>,
}

/// The entry of a base name (without qualifiers).
pub fn property(code: &str) -> Option<&'static PropertyEntry> {
    let index = ENTRIES.binary_search_by(|entry| entry.code.cmp(code)).ok()?;
    Some(&ENTRIES[index])
}

/// The entry of a FlatBuffers property number.
pub fn property_by_number(number: u16) -> Option<&'static PropertyEntry> {
    let index = BY_NUMBER.get(usize::from(number).checked_sub(1)?)?;
    ENTRIES.get(usize::from(*index))
}

/// All entries, sorted by code.
pub fn properties() -> &'static [PropertyEntry] {
    &ENTRIES
}

/// Index in the table of number 1, 2, …
static BY_NUMBER: [u16; ENTRIES.len()] = {
    let mut indexes = [0; ENTRIES.len()];
    let mut index = 0;
    while index < ENTRIES.len() {
        // Numbers run from 1 without a gap; one beyond the array fails the build here.
        indexes[ENTRIES[index].number as usize - 1] = index as u16;
        index += 1;
    }
    indexes
};

/// A measured quantity: (code, number, name_vi, name_en, unit, domain, plausible from, to).
#[expect(clippy::too_many_arguments, reason = "keeps the table at one line per entry")]
const fn quantity(
    code: &'static str,
    number: u16,
    name_vi: &'static str,
    name_en: &'static str,
    unit: &'static str,
    domain: Domain,
    from: f64,
    to: f64,
) -> PropertyEntry {
    PropertyEntry { code, number, name_vi, name_en, unit: Some(unit), domain, plausible: Some((from, to)) }
}

/// A state or code, without unit and range.
const fn state(
    code: &'static str,
    number: u16,
    name_vi: &'static str,
    name_en: &'static str,
    domain: Domain,
) -> PropertyEntry {
    PropertyEntry { code, number, name_vi, name_en, unit: None, domain, plausible: None }
}

/// Sorted by code.
#[rustfmt::skip]
static ENTRIES: [PropertyEntry; 81] = [
    quantity("active_energy", 66, "Điện năng tác dụng", "Active energy", "kW.h", Domain::Lighting, 0.0, 1000000000.0),
    quantity("active_power", 65, "Công suất tác dụng", "Active power", "W", Domain::Lighting, -1000000.0, 10000000.0),
    quantity("air_pressure", 18, "Áp suất không khí", "Air pressure", "hPa", Domain::Environment, 800.0, 1100.0),
    quantity("air_quality_index", 15, "Chỉ số chất lượng không khí", "Air quality index", "1", Domain::Environment, 0.0, 500.0),
    quantity("air_temperature", 16, "Nhiệt độ không khí", "Air temperature", "Cel", Domain::Environment, -40.0, 60.0),
    quantity("battery_level", 78, "Dung lượng pin", "Battery level", "%", Domain::Other, 0.0, 100.0),
    quantity("battery_voltage", 77, "Điện áp pin", "Battery voltage", "V", Domain::Other, 0.0, 60.0),
    quantity("bod", 39, "Nhu cầu oxy sinh hóa", "Biochemical oxygen demand", "mg/L", Domain::Environment, 0.0, 5000.0),
    quantity("cabinet_temperature", 81, "Nhiệt độ tủ thiết bị", "Cabinet temperature", "Cel", Domain::Other, -40.0, 100.0),
    quantity("co", 9, "Cacbon monoxit", "Carbon monoxide", "ug/m3", Domain::Environment, 0.0, 150000.0),
    quantity("co2", 10, "Cacbon đioxit", "Carbon dioxide", "[ppm]", Domain::Environment, 200.0, 50000.0),
    quantity("cod", 38, "Nhu cầu oxy hóa học", "Chemical oxygen demand", "mg/L", Domain::Environment, 0.0, 10000.0),
    quantity("color", 52, "Độ màu", "Colour", "{Pt-Co}", Domain::Environment, 0.0, 10000.0),
    quantity("conductivity", 49, "Độ dẫn điện", "Electrical conductivity", "uS/cm", Domain::Environment, 0.0, 100000.0),
    quantity("dew_point", 19, "Nhiệt độ điểm sương", "Dew point", "Cel", Domain::Environment, -60.0, 40.0),
    quantity("dimming_level", 64, "Mức điều chỉnh sáng", "Dimming level", "%", Domain::Lighting, 0.0, 100.0),
    quantity("discharge", 31, "Lưu lượng dòng chảy", "Discharge", "m3/s", Domain::Water, -20000.0, 50000.0),
    quantity("dissolved_oxygen", 51, "Oxy hòa tan", "Dissolved oxygen", "mg/L", Domain::Environment, 0.0, 30.0),
    state("door_state", 71, "Trạng thái cửa", "Door state", Domain::Safety),
    quantity("flow", 53, "Lưu lượng xe", "Vehicle flow", "{veh}/h", Domain::Traffic, 0.0, 20000.0),
    quantity("flow_velocity", 32, "Vận tốc dòng chảy", "Flow velocity", "m/s", Domain::Water, -10.0, 10.0),
    quantity("gamma_dose_rate", 73, "Suất liều gamma", "Gamma dose rate", "uSv/h", Domain::Safety, 0.0, 1000.0),
    quantity("gate_opening", 75, "Độ mở cửa cống", "Gate opening", "%", Domain::Water, 0.0, 100.0),
    quantity("h2s", 12, "Hiđro sunfua", "Hydrogen sulphide", "ug/m3", Domain::Environment, 0.0, 20000.0),
    quantity("headway", 58, "Giãn cách thời gian", "Time headway", "s", Domain::Traffic, 0.0, 3600.0),
    quantity("illuminance", 62, "Độ rọi", "Illuminance", "lx", Domain::Lighting, 0.0, 200000.0),
    quantity("inundation_depth", 35, "Độ sâu ngập", "Inundation depth", "cm", Domain::Disaster, 0.0, 500.0),
    state("lamp_state", 63, "Trạng thái đèn", "Lamp state", Domain::Lighting),
    quantity("nh3", 13, "Amoniac", "Ammonia", "ug/m3", Domain::Environment, 0.0, 50000.0),
    quantity("nh4", 43, "Amoni", "Ammonium", "mg/L", Domain::Environment, 0.0, 1000.0),
    quantity("no", 7, "Nitơ monoxit", "Nitrogen monoxide", "ug/m3", Domain::Environment, 0.0, 5000.0),
    quantity("no2", 6, "Nitơ đioxit", "Nitrogen dioxide", "ug/m3", Domain::Environment, 0.0, 5000.0),
    quantity("no3", 44, "Nitrat", "Nitrate", "mg/L", Domain::Environment, 0.0, 1000.0),
    quantity("noise", 14, "Mức ồn", "Sound level", "dB{A}", Domain::Environment, 10.0, 150.0),
    quantity("nox", 8, "Các nitơ oxit", "Nitrogen oxides", "ug/m3", Domain::Environment, 0.0, 10000.0),
    quantity("o3", 11, "Ozon", "Ozone", "ug/m3", Domain::Environment, 0.0, 2000.0),
    quantity("occupancy", 56, "Độ chiếm dụng làn đường", "Lane occupancy", "%", Domain::Traffic, 0.0, 100.0),
    quantity("parking_free", 60, "Số chỗ đỗ còn trống", "Free parking spaces", "1", Domain::Traffic, 0.0, 100000.0),
    quantity("people_count", 72, "Số người", "People counted", "1", Domain::Safety, 0.0, 1000000.0),
    quantity("ph", 37, "Độ pH", "Acidity", "[pH]", Domain::Environment, 0.0, 14.0),
    quantity("pipe_pressure", 76, "Áp lực đường ống", "Pipe pressure", "kPa", Domain::Water, 0.0, 5000.0),
    quantity("pm1", 3, "Bụi PM1", "Particulate matter below 1 µm", "ug/m3", Domain::Environment, 0.0, 2000.0),
    quantity("pm10", 2, "Bụi PM10", "Particulate matter below 10 µm", "ug/m3", Domain::Environment, 0.0, 5000.0),
    quantity("pm2_5", 1, "Bụi PM2,5", "Particulate matter below 2.5 µm", "ug/m3", Domain::Environment, 0.0, 2000.0),
    quantity("po4", 45, "Photphat", "Phosphate", "mg/L", Domain::Environment, 0.0, 500.0),
    state("pump_state", 74, "Trạng thái máy bơm", "Pump state", Domain::Water),
    quantity("queue_length", 59, "Chiều dài hàng chờ", "Queue length", "m", Domain::Traffic, 0.0, 20000.0),
    quantity("rain", 23, "Lượng mưa", "Rain", "mm", Domain::Disaster, 0.0, 1000.0),
    quantity("rain_intensity", 24, "Cường độ mưa", "Rain intensity", "mm/h", Domain::Disaster, 0.0, 500.0),
    quantity("relative_humidity", 17, "Độ ẩm tương đối", "Relative humidity", "%", Domain::Environment, 0.0, 100.0),
    quantity("residual_chlorine", 48, "Clo dư", "Residual chlorine", "mg/L", Domain::Environment, 0.0, 100.0),
    quantity("salinity", 34, "Độ mặn", "Salinity", "[ppth]", Domain::Water, 0.0, 50.0),
    state("signal_phase", 61, "Pha đèn tín hiệu", "Signal phase", Domain::Traffic),
    quantity("signal_strength", 79, "Cường độ tín hiệu", "Signal strength", "dB{mW}", Domain::Other, -150.0, 20.0),
    state("smoke", 70, "Khói", "Smoke", Domain::Safety),
    quantity("so2", 5, "Lưu huỳnh đioxit", "Sulphur dioxide", "ug/m3", Domain::Environment, 0.0, 10000.0),
    quantity("soil_moisture", 67, "Độ ẩm đất", "Soil moisture", "%", Domain::Greenery, 0.0, 100.0),
    quantity("soil_temperature", 68, "Nhiệt độ đất", "Soil temperature", "Cel", Domain::Greenery, -20.0, 70.0),
    quantity("solar_radiation", 26, "Bức xạ mặt trời", "Solar radiation", "W/m2", Domain::Environment, 0.0, 1600.0),
    quantity("speed", 55, "Tốc độ xe", "Mean vehicle speed", "km/h", Domain::Traffic, 0.0, 250.0),
    quantity("supply_voltage", 80, "Điện áp nguồn", "Supply voltage", "V", Domain::Other, 0.0, 1000.0),
    quantity("tds", 41, "Tổng chất rắn hòa tan", "Total dissolved solids", "mg/L", Domain::Environment, 0.0, 100000.0),
    quantity("tide_level", 29, "Mực nước triều", "Tide level", "m", Domain::Water, -10.0, 15.0),
    quantity("toc", 42, "Tổng cacbon hữu cơ", "Total organic carbon", "mg/L", Domain::Environment, 0.0, 5000.0),
    quantity("total_nitrogen", 46, "Tổng nitơ", "Total nitrogen", "mg/L", Domain::Environment, 0.0, 1000.0),
    quantity("total_phosphorus", 47, "Tổng photpho", "Total phosphorus", "mg/L", Domain::Environment, 0.0, 500.0),
    quantity("travel_time", 57, "Thời gian hành trình", "Travel time", "s", Domain::Traffic, 0.0, 86400.0),
    quantity("tree_tilt", 69, "Độ nghiêng cây", "Tree tilt", "deg", Domain::Greenery, 0.0, 90.0),
    quantity("tsp", 4, "Tổng bụi lơ lửng", "Total suspended particulates", "ug/m3", Domain::Environment, 0.0, 20000.0),
    quantity("tss", 40, "Tổng chất rắn lơ lửng", "Total suspended solids", "mg/L", Domain::Environment, 0.0, 20000.0),
    quantity("turbidity", 50, "Độ đục", "Turbidity", "{NTU}", Domain::Environment, 0.0, 10000.0),
    quantity("uv_index", 27, "Chỉ số tia cực tím", "Ultraviolet index", "1", Domain::Environment, 0.0, 25.0),
    quantity("vehicle_count", 54, "Số lượng xe", "Vehicles counted in the period", "{veh}", Domain::Traffic, 0.0, 100000.0),
    quantity("visibility", 25, "Tầm nhìn xa", "Visibility", "m", Domain::Disaster, 0.0, 100000.0),
    quantity("wastewater_flow", 36, "Lưu lượng nước thải", "Waste water flow", "m3/h", Domain::Environment, 0.0, 100000.0),
    quantity("water_level", 28, "Mực nước", "Water level", "m", Domain::Water, -20.0, 100.0),
    quantity("water_temperature", 30, "Nhiệt độ nước", "Water temperature", "Cel", Domain::Water, -2.0, 60.0),
    quantity("wave_height", 33, "Độ cao sóng", "Wave height", "m", Domain::Disaster, 0.0, 30.0),
    quantity("wind_direction", 21, "Hướng gió", "Wind direction", "deg", Domain::Disaster, 0.0, 360.0),
    quantity("wind_gust", 22, "Gió giật", "Wind gust", "m/s", Domain::Disaster, 0.0, 120.0),
    quantity("wind_speed", 20, "Tốc độ gió", "Wind speed", "m/s", Domain::Disaster, 0.0, 90.0),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{name, units};

    #[test]
    fn the_table_is_sorted_and_every_entry_is_found() {
        assert!(ENTRIES.is_sorted_by(|left, right| left.code < right.code));
        for entry in &ENTRIES {
            assert_eq!(property(entry.code), Some(entry));
            assert_eq!(property_by_number(entry.number), Some(entry), "number {} stands once", entry.number);
        }
        assert_eq!(property("flow;lane=1"), None);
        assert_eq!(property(""), None);
        assert_eq!(property_by_number(0), None);
        assert_eq!(property_by_number(ENTRIES.len() as u16 + 1), None);
        assert_eq!(property_by_number(u16::MAX), None);
    }

    #[test]
    fn entries_are_sound() {
        for entry in &ENTRIES {
            assert!(name::PropertyName::from_canonical(entry.code).is_some(), "{}", entry.code);
            assert!(entry.unit.is_none_or(|unit| units::normalise(unit) == Some(unit)), "{}", entry.code);
            assert!(entry.plausible.is_none_or(|(from, to)| from < to), "{}", entry.code);
            assert!(!entry.name_vi.is_empty() && !entry.name_en.is_empty());
        }
    }

    /// Numbers are in devices in the field: this list may only grow at its end.
    #[test]
    fn numbers_stay_what_they_are() {
        let mut by_number: Vec<_> = ENTRIES.iter().map(|entry| (entry.number, entry.code)).collect();
        by_number.sort_unstable();
        let codes: Vec<_> = by_number.into_iter().map(|(_, code)| code).collect();
        assert_eq!(codes.join(" "), NUMBERED);
    }

    const NUMBERED: &str = "\
        pm2_5 pm10 pm1 tsp so2 no2 no nox co co2 o3 h2s nh3 noise air_quality_index air_temperature \
        relative_humidity air_pressure dew_point wind_speed wind_direction wind_gust rain rain_intensity \
        visibility solar_radiation uv_index water_level tide_level water_temperature discharge \
        flow_velocity wave_height salinity inundation_depth wastewater_flow ph cod bod tss tds toc nh4 \
        no3 po4 total_nitrogen total_phosphorus residual_chlorine conductivity turbidity \
        dissolved_oxygen color flow vehicle_count speed occupancy travel_time headway queue_length \
        parking_free signal_phase illuminance lamp_state dimming_level active_power active_energy \
        soil_moisture soil_temperature tree_tilt smoke door_state people_count gamma_dose_rate \
        pump_state gate_opening pipe_pressure battery_voltage battery_level signal_strength \
        supply_voltage cabinet_temperature";
}

//! Units: what senders write → UCUM codes, and the conversion between units of one quantity.
//!
//! A unit the table does not know passes through as sent and marked by the caller; nothing is guessed. So spellings that
//! mean two things (`ppt`, `gal`, `ton`) are left out on purpose, and so is every conversion that needs more than the two
//! units (ppm → µg/m³ needs temperature and pressure, Nm³ → m³ too).
//!
//! Where UCUM has no code, an annotation in braces stands: `{NTU}`, `{veh}/h`, `dB{A}`, `mg/m3{normal}` (per cubic metre
//! at the reference conditions of the rule in force, Nm³).
//!
//! Every unit is a ratio of two whole numbers to the base unit of its quantity, so a conversion is one multiplication and
//! one division, each rounded once: 1270 mm is exactly the float nearest to 1.27 m. The factors' sources stand in
//! `docs/format/json.md`.

mod spellings;

use spellings::SPELLINGS;

/// A conversion: `converted = (value + shift) × scale ÷ divisor + offset`.
///
/// `scale` and `divisor` are whole numbers without a common factor; `shift` and `offset` are 0 except for temperatures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    pub shift: f64,
    pub scale: f64,
    pub divisor: f64,
    pub offset: f64,
}

impl Linear {
    pub const IDENTITY: Self = Self { shift: 0.0, scale: 1.0, divisor: 1.0, offset: 0.0 };

    /// Converts a value. The identity returns it untouched, bit for bit.
    pub fn apply(self, value: f64) -> f64 {
        if self.is_identity() {
            return value;
        }
        (value + self.shift) * self.scale / self.divisor + self.offset
    }

    pub fn is_identity(self) -> bool {
        self == Self::IDENTITY
    }
}

/// The canonical UCUM code of a unit as sent, or `None` where the table does not know it (the caller keeps it as sent).
///
/// White space, `µ`/`μ`, `°`, `℃`, `‰` and raised figures are understood; beyond that the spelling must be in the table,
/// capitals included (`mS` is not `MS`).
pub fn normalise(sent: &str) -> Option<&'static str> {
    let mut buffer = [0; FOLDED_BYTES_MAX];
    let folded = fold(sent, &mut buffer)?;
    let index = SPELLINGS.binary_search_by(|(spelling, _)| spelling.as_bytes().cmp(folded)).ok()?;
    Some(SPELLINGS[index].1)
}

/// How values in `from` become values in `to` (both as sent or canonical). The identity where they are equal, known or not.
/// `None`: different units of which one is unknown, or units of different quantities.
pub fn conversion(from: &str, to: &str) -> Option<Linear> {
    if from == to {
        return Some(Linear::IDENTITY);
    }
    let (from, to) = (unit_of(normalise(from)?)?, unit_of(normalise(to)?)?);
    // An acidity is a plain number; loggers send it as `-`.
    if from.code == to.code || (from.code == "1" && to.code == "[pH]") {
        return Some(Linear::IDENTITY);
    }
    if from.quantity != to.quantity {
        return None;
    }
    let scale = u128::from(from.numerator) * u128::from(to.denominator);
    let divisor = u128::from(from.denominator) * u128::from(to.numerator);
    let common = greatest_common_divisor(scale, divisor);
    Some(Linear {
        shift: from.shift,
        scale: (scale / common) as f64,
        divisor: (divisor / common) as f64,
        // Not 0 − shift: that would be −0 and no identity.
        offset: if to.shift == 0.0 { 0.0 } else { -to.shift },
    })
}

/// Longest spelling that is looked up; the longest of the table has 16 bytes.
const FOLDED_BYTES_MAX: usize = 32;

/// Brings typographic characters into ASCII and drops white space.
fn fold<'a>(sent: &str, buffer: &'a mut [u8; FOLDED_BYTES_MAX]) -> Option<&'a [u8]> {
    let mut length = 0;
    for character in sent.chars() {
        let text = match character {
            'µ' | 'μ' => "u",
            '²' => "2",
            '³' => "3",
            '°' | 'º' => "deg",
            '℃' => "Cel",
            '℉' => "[degF]",
            '‰' => "[ppth]",
            '·' | '⋅' => ".",
            '⁻' | '−' => "-",
            '¹' => "1",
            '\u{3a9}' | '\u{2126}' => "Ohm",
            space if space.is_whitespace() => continue,
            ascii if ascii.is_ascii() => {
                *buffer.get_mut(length)? = ascii as u8;
                length += 1;
                continue;
            }
            _ => return None,
        };
        buffer.get_mut(length..length + text.len())?.copy_from_slice(text.as_bytes());
        length += text.len();
    }
    Some(&buffer[..length])
}

fn unit_of(code: &str) -> Option<&'static Unit> {
    let index = UNITS.binary_search_by(|unit| unit.code.cmp(code)).ok()?;
    Some(&UNITS[index])
}

fn greatest_common_divisor(mut left: u128, mut right: u128) -> u128 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    Temperature,
    Fraction,
    Acidity,
    Length,
    Area,
    Volume,
    Speed,
    VolumeFlow,
    NormalVolumeFlow,
    MassConcentration,
    NormalMassConcentration,
    Pressure,
    Conductivity,
    NephelometricTurbidity,
    FormazinTurbidity,
    Colour,
    PracticalSalinity,
    Irradiance,
    Illuminance,
    Level,
    WeightedLevel,
    PowerLevel,
    Angle,
    Time,
    Voltage,
    Current,
    Power,
    Energy,
    Frequency,
    Resistance,
    Mass,
    DoseRate,
    Vehicles,
    VehicleFlow,
    VehicleDensity,
}

/// One unit: `base = (value + shift) × numerator ÷ denominator`.
struct Unit {
    code: &'static str,
    quantity: Quantity,
    shift: f64,
    numerator: u64,
    denominator: u64,
}

const fn unit(code: &'static str, quantity: Quantity, shift: f64, numerator: u64, denominator: u64) -> Unit {
    Unit { code, quantity, shift, numerator, denominator }
}

/// Canonical codes, sorted.
static UNITS: [Unit; 100] = [
    unit("%", Quantity::Fraction, 0.0, 1, 100),
    unit("1", Quantity::Fraction, 0.0, 1, 1),
    unit("A", Quantity::Current, 0.0, 1, 1),
    unit("Cel", Quantity::Temperature, 0.0, 1, 1),
    unit("Hz", Quantity::Frequency, 0.0, 1, 1),
    unit("J", Quantity::Energy, 0.0, 1, 1),
    unit("K", Quantity::Temperature, -273.15, 1, 1),
    unit("L", Quantity::Volume, 0.0, 1, 1_000),
    unit("L/h", Quantity::VolumeFlow, 0.0, 1, 3_600_000),
    unit("L/min", Quantity::VolumeFlow, 0.0, 1, 60_000),
    unit("L/s", Quantity::VolumeFlow, 0.0, 1, 1_000),
    unit("Ohm", Quantity::Resistance, 0.0, 1, 1),
    unit("Pa", Quantity::Pressure, 0.0, 1, 1),
    unit("S/m", Quantity::Conductivity, 0.0, 1, 1),
    unit("V", Quantity::Voltage, 0.0, 1, 1),
    unit("W", Quantity::Power, 0.0, 1, 1),
    unit("W.h", Quantity::Energy, 0.0, 3_600, 1),
    unit("W/m2", Quantity::Irradiance, 0.0, 1, 1),
    unit("[cft_i]/s", Quantity::VolumeFlow, 0.0, 28_316_846_592, 1_000_000_000_000),
    unit("[degF]", Quantity::Temperature, -32.0, 5, 9),
    unit("[ft_i]", Quantity::Length, 0.0, 3_048, 10_000),
    unit("[ft_i]/s", Quantity::Speed, 0.0, 3_048, 10_000),
    unit("[gal_us]", Quantity::Volume, 0.0, 3_785_411_784, 1_000_000_000_000),
    unit("[gal_us]/min", Quantity::VolumeFlow, 0.0, 3_785_411_784, 60_000_000_000_000),
    unit("[in_i'Hg]", Quantity::Pressure, 0.0, 3_386_388_640_341, 1_000_000_000),
    unit("[in_i]", Quantity::Length, 0.0, 254, 10_000),
    unit("[kn_i]", Quantity::Speed, 0.0, 1_852, 3_600),
    unit("[mi_i]", Quantity::Length, 0.0, 1_609_344, 1_000),
    unit("[mi_i]/h", Quantity::Speed, 0.0, 1_609_344, 3_600_000),
    unit("[nmi_i]", Quantity::Length, 0.0, 1_852, 1),
    unit("[pH]", Quantity::Acidity, 0.0, 1, 1),
    unit("[ppb]", Quantity::Fraction, 0.0, 1, 1_000_000_000),
    unit("[ppm]", Quantity::Fraction, 0.0, 1, 1_000_000),
    unit("[ppth]", Quantity::Fraction, 0.0, 1, 1_000),
    unit("[psi]", Quantity::Pressure, 0.0, 6_894_757_293_168, 1_000_000_000),
    unit("atm", Quantity::Pressure, 0.0, 101_325, 1),
    unit("bar", Quantity::Pressure, 0.0, 100_000, 1),
    unit("cm", Quantity::Length, 0.0, 1, 100),
    unit("cm/s", Quantity::Speed, 0.0, 1, 100),
    unit("d", Quantity::Time, 0.0, 86_400, 1),
    unit("dB", Quantity::Level, 0.0, 1, 1),
    unit("dB{A}", Quantity::WeightedLevel, 0.0, 1, 1),
    unit("dB{mW}", Quantity::PowerLevel, 0.0, 1, 1),
    unit("dS/m", Quantity::Conductivity, 0.0, 1, 10),
    unit("deg", Quantity::Angle, 0.0, 1, 1),
    unit("g", Quantity::Mass, 0.0, 1, 1),
    unit("g/L", Quantity::MassConcentration, 0.0, 1_000, 1),
    unit("g/m3", Quantity::MassConcentration, 0.0, 1, 1),
    unit("h", Quantity::Time, 0.0, 3_600, 1),
    unit("hPa", Quantity::Pressure, 0.0, 100, 1),
    unit("kPa", Quantity::Pressure, 0.0, 1_000, 1),
    unit("kV", Quantity::Voltage, 0.0, 1_000, 1),
    unit("kW", Quantity::Power, 0.0, 1_000, 1),
    unit("kW.h", Quantity::Energy, 0.0, 3_600_000, 1),
    unit("kW/m2", Quantity::Irradiance, 0.0, 1_000, 1),
    unit("kg", Quantity::Mass, 0.0, 1_000, 1),
    unit("klx", Quantity::Illuminance, 0.0, 1_000, 1),
    unit("km", Quantity::Length, 0.0, 1_000, 1),
    unit("km/h", Quantity::Speed, 0.0, 10, 36),
    unit("lx", Quantity::Illuminance, 0.0, 1, 1),
    unit("m", Quantity::Length, 0.0, 1, 1),
    unit("m/s", Quantity::Speed, 0.0, 1, 1),
    unit("m2", Quantity::Area, 0.0, 1, 1),
    unit("m3", Quantity::Volume, 0.0, 1, 1),
    unit("m3/d", Quantity::VolumeFlow, 0.0, 1, 86_400),
    unit("m3/h", Quantity::VolumeFlow, 0.0, 1, 3_600),
    unit("m3/h{normal}", Quantity::NormalVolumeFlow, 0.0, 1, 1),
    unit("m3/min", Quantity::VolumeFlow, 0.0, 1, 60),
    unit("m3/s", Quantity::VolumeFlow, 0.0, 1, 1),
    unit("mA", Quantity::Current, 0.0, 1, 1_000),
    unit("mL", Quantity::Volume, 0.0, 1, 1_000_000),
    unit("mS/cm", Quantity::Conductivity, 0.0, 1, 10),
    unit("mS/m", Quantity::Conductivity, 0.0, 1, 1_000),
    unit("mV", Quantity::Voltage, 0.0, 1, 1_000),
    unit("m[H2O]", Quantity::Pressure, 0.0, 980_665, 100),
    unit("mbar", Quantity::Pressure, 0.0, 100, 1),
    unit("mg/L", Quantity::MassConcentration, 0.0, 1, 1),
    unit("mg/m3", Quantity::MassConcentration, 0.0, 1, 1_000),
    unit("mg/m3{normal}", Quantity::NormalMassConcentration, 0.0, 1, 1_000),
    unit("min", Quantity::Time, 0.0, 60, 1),
    unit("mm", Quantity::Length, 0.0, 1, 1_000),
    unit("mm/h", Quantity::Speed, 0.0, 1, 3_600_000),
    unit("mm[Hg]", Quantity::Pressure, 0.0, 133_322_387_415, 1_000_000_000),
    unit("ms", Quantity::Time, 0.0, 1, 1_000),
    unit("ng/m3", Quantity::MassConcentration, 0.0, 1, 1_000_000_000),
    unit("s", Quantity::Time, 0.0, 1, 1),
    unit("t", Quantity::Mass, 0.0, 1_000_000, 1),
    unit("uS/cm", Quantity::Conductivity, 0.0, 1, 10_000),
    unit("uSv/h", Quantity::DoseRate, 0.0, 1, 1),
    unit("ug/L", Quantity::MassConcentration, 0.0, 1, 1_000),
    unit("ug/m3", Quantity::MassConcentration, 0.0, 1, 1_000_000),
    unit("ug/m3{normal}", Quantity::NormalMassConcentration, 0.0, 1, 1_000_000),
    unit("{FNU}", Quantity::FormazinTurbidity, 0.0, 1, 1),
    unit("{NTU}", Quantity::NephelometricTurbidity, 0.0, 1, 1),
    unit("{PSU}", Quantity::PracticalSalinity, 0.0, 1, 1),
    unit("{Pt-Co}", Quantity::Colour, 0.0, 1, 1),
    unit("{veh}", Quantity::Vehicles, 0.0, 1, 1),
    unit("{veh}/h", Quantity::VehicleFlow, 0.0, 1, 1),
    unit("{veh}/km", Quantity::VehicleDensity, 0.0, 1, 1),
    unit("{veh}/min", Quantity::VehicleFlow, 0.0, 60, 1),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tables_are_sorted_and_agree() {
        assert!(UNITS.is_sorted_by(|left, right| left.code < right.code));
        assert!(SPELLINGS.is_sorted_by(|left, right| left.0 < right.0));
        for (spelling, code) in SPELLINGS {
            assert!(unit_of(code).is_some(), "{spelling} stands for {code}, which has no entry");
            assert_eq!(normalise(spelling), Some(code));
        }
        for unit in &UNITS {
            assert_eq!(normalise(unit.code), Some(unit.code), "a canonical code is its own spelling");
            assert!(unit.numerator > 0 && unit.denominator > 0);
        }
    }

    #[test]
    fn spellings_from_the_field() {
        for (sent, code) in [
            ("µg/m³", "ug/m3"),
            ("μg/m3", "ug/m3"),
            ("ug/m3", "ug/m3"),
            ("oC", "Cel"),
            ("C", "Cel"),
            ("°C", "Cel"),
            ("℃", "Cel"),
            ("° C", "Cel"),
            ("degF", "[degF]"),
            ("%RH", "%"),
            ("‰", "[ppth]"),
            ("mbar", "mbar"),
            ("inHg", "[in_i'Hg]"),
            ("ft", "[ft_i]"),
            ("ft3/s", "[cft_i]/s"),
            ("mph", "[mi_i]/h"),
            ("kn", "[kn_i]"),
            ("km/h", "km/h"),
            ("mg/Nm3", "mg/m3{normal}"),
            ("mg/Nm³", "mg/m3{normal}"),
            ("Pt-Co", "{Pt-Co}"),
            ("veh/h", "{veh}/h"),
            ("W/m²", "W/m2"),
            ("µS/cm", "uS/cm"),
            ("m³/s", "m3/s"),
            ("m s⁻¹", "m/s"),
            ("°", "deg"),
            ("-", "1"),
            ("NTU", "{NTU}"),
            ("mg/l", "mg/L"),
        ] {
            assert_eq!(normalise(sent), Some(code), "{sent}");
        }
        for sent in
            ["", "furlong", "ppt", "gal", "MS/cm", "µ", "☃", "a very long text that is no unit at all"]
        {
            assert_eq!(normalise(sent), None, "{sent}");
        }
    }

    #[test]
    fn conversions_are_right_to_the_last_digit_where_that_is_possible() {
        for (value, from, to, converted) in [
            (1270.0, "mm", "m", 1.27),
            (127.0, "cm", "m", 1.27),
            (35.0, "mm", "m", 0.035),
            (0.0384, "mg/m3", "ug/m3", 38.4),
            (38.4, "ug/m³", "ug/m3", 38.4),
            (32.0, "degF", "Cel", 0.0),
            (212.0, "degF", "oC", 100.0),
            (100.0, "Cel", "[degF]", 212.0),
            (36.0, "km/h", "m/s", 10.0),
            (1.0, "kn", "km/h", 1.852),
            (1013.25, "mbar", "hPa", 1013.25),
            (101.325, "kPa", "hPa", 1013.25),
            (1.0, "atm", "hPa", 1013.25),
            (0.5, "1", "%", 50.0),
            (35.0, "‰", "%", 3.5),
            (1.413, "mS/cm", "uS/cm", 1413.0),
            (7.2, "-", "[pH]", 7.2),
            (3600.0, "m3/h", "m3/s", 1.0),
            (2.5, "g/m3", "mg/L", 2.5),
            (20.0, "veh/min", "veh/h", 1200.0),
            (1.0, "ft", "m", 0.3048),
            (1.0, "mph", "m/s", 0.44704),
            (1.0, "L/m2", "mm", 1.0),
        ] {
            let linear = conversion(from, to).expect("known units of one quantity");
            assert_eq!(linear.apply(value), converted, "{value} {from} in {to}");
        }
        let near = |value: f64, from, to, converted: f64| {
            let got = conversion(from, to).map(|linear| linear.apply(value)).unwrap_or(f64::NAN);
            assert!((got - converted).abs() <= converted.abs() * 1e-9, "{value} {from} = {got} {to}");
        };
        near(29.92, "inHg", "hPa", 1_013.207_481_190_027);
        near(760.0, "mmHg", "hPa", 1_013.250_144_354);
        near(300.15, "K", "Cel", 27.0);
        near(1.0, "ft3/s", "m3/s", 0.028_316_846_592);
        near(1.0, "psi", "hPa", 68.947_572_931_68);
        near(1.0, "m[H2O]", "kPa", 9.806_65);
    }

    #[test]
    fn nothing_is_guessed() {
        for (from, to) in [
            ("ppm", "ug/m3"),
            ("mg/Nm3", "mg/m3"),
            ("furlong", "m"),
            ("m", "furlong"),
            ("Cel", "m"),
            ("NTU", "FNU"),
            ("dB", "dB(A)"),
            ("[pH]", "%"),
        ] {
            assert_eq!(conversion(from, to), None, "{from} → {to}");
        }
        assert_eq!(conversion("furlong", "furlong"), Some(Linear::IDENTITY));
    }

    proptest! {
        #[test]
        fn the_same_unit_does_not_touch_the_value(bits in any::<u64>(), index in 0..SPELLINGS.len()) {
            let (sent, code) = SPELLINGS[index];
            let linear = conversion(sent, code).expect("the same unit");
            prop_assert_eq!(linear.apply(f64::from_bits(bits)).to_bits(), bits);
        }

        #[test]
        fn there_and_back(value in -1e6_f64..1e6, from in 0..UNITS.len(), to in 0..UNITS.len()) {
            let (from, to) = (&UNITS[from], &UNITS[to]);
            if let (Some(there), Some(back)) = (conversion(from.code, to.code), conversion(to.code, from.code)) {
                let returned = back.apply(there.apply(value));
                prop_assert!((returned - value).abs() <= value.abs() * 1e-12 + 1e-9, "{} → {}", from.code, to.code);
            }
        }

        #[test]
        fn any_text_is_looked_up(text in "\\PC{0,40}") {
            let _ = normalise(&text);
        }
    }
}

//! The communes of Hải Phòng, and the regions that a storm can cut off.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::sky::Place;
use crate::csv::CsvReader;

/// Cut from the project's list of communes; see `data/geo/README.md`.
const COMMUNES: &str = include_str!("../../data/geo/communes.csv");
/// The two special zones, both islands.
const ISLAND_TYPE: &str = "đặc khu";

/// One commune-level unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Commune {
    /// Official five-digit code.
    pub code: String,
    pub name: String,
    pub full_name: String,
    /// Former district, `Quận Lê Chân`: the region of its stations.
    pub region: String,
    pub is_island: bool,
    pub is_ward: bool,
    pub(super) area_km2: f64,
    pub(super) middle: Place,
    /// Stations are scattered within this distance: a rough one, because a commune is no disc.
    pub(super) radius_km: f64,
}

/// All communes in the order of their codes.
pub(super) fn communes() -> Vec<Commune> {
    let mut reader = CsvReader::new(COMMUNES.as_bytes());
    let records = std::iter::from_fn(|| reader.record().ok().flatten());
    // The file is part of the program; a line that is no commune would be missed by a test.
    records.skip(1).filter_map(|fields| commune(&fields)).collect()
}

fn commune(fields: &[String]) -> Option<Commune> {
    let [code, name, full_name, kind, district, latitude, longitude, area_km2] = fields else { return None };
    let area_km2: f64 = area_km2.parse().ok()?;
    Some(Commune {
        code: code.clone(),
        name: name.clone(),
        full_name: full_name.clone(),
        // Some communes were made from parts of two districts; the larger part stands first.
        region: district.split("; ").next().unwrap_or_default().to_owned(),
        is_island: kind == ISLAND_TYPE,
        is_ward: kind == "phường",
        area_km2,
        middle: Place::new(latitude.parse().ok()?, longitude.parse().ok()?),
        radius_km: (0.7 * (area_km2 / std::f64::consts::PI).sqrt()).min(3.0),
    })
}

/// Text for comparing names: without accents, in lower case, đ as d.
pub fn folded(text: &str) -> String {
    let plain = text.nfd().filter(|character| !is_combining_mark(*character));
    plain
        .map(|character| if "đĐ".contains(character) { 'd' } else { character })
        .collect::<String>()
        .to_lowercase()
}

/// Text in ASCII letters, as an English name has it.
pub(super) fn without_accents(text: &str) -> String {
    let plain = text.nfd().filter(|character| !is_combining_mark(*character));
    plain
        .map(|character| match character {
            'đ' => 'd',
            'Đ' => 'D',
            other => other,
        })
        .collect()
}

/// The part of the city that a storm cuts off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Region {
    All,
    /// Cát Hải with Cát Bà, and Bạch Long Vĩ.
    Islands,
    /// A former district by its full name.
    District(String),
}

impl Region {
    /// `all`, `islands`, or a former district with or without its type and accents: `Lê Chân`, `huyen cat hai`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = folded(text.trim());
        match wanted.as_str() {
            "all" => return Ok(Self::All),
            "islands" => return Ok(Self::Islands),
            _ => {}
        }
        let mut names: Vec<String> = communes().into_iter().map(|commune| commune.region).collect();
        names.sort();
        names.dedup();
        let is_wanted = |name: &&String| {
            let name = folded(name);
            name == wanted
                || ["quan ", "huyen ", "thi xa ", "thanh pho "]
                    .iter()
                    .any(|kind| name.strip_prefix(kind) == Some(wanted.as_str()))
        };
        match names.iter().find(is_wanted) {
            Some(name) => Ok(Self::District(name.clone())),
            None => Err(format!("`{text}` is no region: all, islands, or one of {}", names.join(", "))),
        }
    }

    pub(super) fn holds(&self, region: &str, is_island: bool) -> bool {
        match self {
            Self::All => true,
            Self::Islands => is_island,
            Self::District(name) => name == region,
        }
    }
}

impl std::fmt::Display for Region {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::All => "all",
            Self::Islands => "islands",
            Self::District(name) => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_communes_are_read() {
        let communes = communes();
        assert_eq!(communes.len(), 114);
        assert_eq!(communes.iter().filter(|commune| commune.is_island).count(), 2);
        assert_eq!(communes.iter().filter(|commune| commune.is_ward).count(), 45);
        let (latitude, longitude) = communes[0].middle.coordinates();
        assert!((20.0..21.4).contains(&latitude) && (105.9..107.9).contains(&longitude));
    }

    #[test]
    fn a_region_is_found_however_it_is_typed() {
        assert_eq!(Region::parse("islands"), Ok(Region::Islands));
        for text in ["Quận Lê Chân", "lê chân", "LE CHAN", "quan le chan"] {
            assert_eq!(Region::parse(text), Ok(Region::District("Quận Lê Chân".to_owned())), "{text}");
        }
        assert_eq!(Region::parse("đồ sơn"), Ok(Region::District("Quận Đồ Sơn".to_owned())));
        let refused = Region::parse("Hanoi").expect_err("another city");
        assert!(refused.contains("Huyện Cát Hải"), "{refused}");
    }
}

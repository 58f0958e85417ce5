//! Who owns which kind of station, how often it sends, and how many there are: data, no rules.
//!
//! Intervals are those of domain.md §1.2 and §2.1. **The agency codes are an assumption**: they have the shape of Decision
//! 20/2020 with Hải Phòng's H24, but the table of the city's codes after the merger of 2025 was not at hand.

/// An owner of stations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agency {
    pub code: &'static str,
    pub name: &'static str,
    pub name_en: &'static str,
}

const ENVIRONMENT: Agency = Agency {
    code: "H24.05",
    name: "Sở Nông nghiệp và Môi trường thành phố Hải Phòng",
    name_en: "Hai Phong Department of Agriculture and Environment",
};
const CONSTRUCTION: Agency = Agency {
    code: "H24.06",
    name: "Sở Xây dựng thành phố Hải Phòng",
    name_en: "Hai Phong Department of Construction",
};
const DISASTER: Agency = Agency {
    code: "H24.05.12",
    name: "Chi cục Thủy lợi và Phòng, chống thiên tai Hải Phòng",
    name_en: "Hai Phong Sub-department of Irrigation and Disaster Prevention",
};
const DRAINAGE: Agency =
    Agency {
        code: "H24.61", name: "Công ty Thoát nước Hải Phòng", name_en: "Hai Phong Drainage Company"
    };
const LIGHTING: Agency = Agency {
    code: "H24.62",
    name: "Công ty Điện chiếu sáng Hải Phòng",
    name_en: "Hai Phong Public Lighting Company",
};
const HYDROMET: Agency = Agency {
    code: "G12.08",
    name: "Đài Khí tượng Thủy văn khu vực Đông Bắc",
    name_en: "North-East Regional Hydro-Meteorological Centre",
};

/// All owners.
pub const AGENCIES: [Agency; 6] = [HYDROMET, ENVIRONMENT, DISASTER, CONSTRUCTION, DRAINAGE, LIGHTING];

/// What a station measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StationKind {
    AirReference,
    AirSensor,
    Drain,
    Lighting,
    Pumps,
    RainGauge,
    RiverGauge,
    TideGauge,
    Traffic,
    Weather,
}

/// What there is to know of a kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct KindFacts {
    /// Beginning of the station codes.
    pub(super) code: &'static str,
    pub(super) name: &'static str,
    pub(super) name_en: &'static str,
    pub(super) agency: Agency,
    pub(super) interval_s: u32,
    /// Of 100 stations.
    pub(super) weight: f64,
    /// It lives on a battery and a small solar panel.
    pub(super) has_battery: bool,
}

impl StationKind {
    pub const ALL: [Self; 10] = [
        Self::AirReference,
        Self::AirSensor,
        Self::Drain,
        Self::Lighting,
        Self::Pumps,
        Self::RainGauge,
        Self::RiverGauge,
        Self::TideGauge,
        Self::Traffic,
        Self::Weather,
    ];

    #[rustfmt::skip]
    pub(super) const fn facts(self) -> KindFacts {
        const fn facts(
            code: &'static str, name: &'static str, name_en: &'static str, agency: Agency,
            interval_s: u32, weight: f64, has_battery: bool,
        ) -> KindFacts {
            KindFacts { code, name, name_en, agency, interval_s, weight, has_battery }
        }
        match self {
            Self::AirReference => facts("KHI", "Trạm không khí", "Air quality station", ENVIRONMENT, 3600, 2.0, false),
            Self::AirSensor => facts("BUI", "Cảm biến bụi", "Dust sensor", ENVIRONMENT, 300, 13.0, true),
            Self::Drain => facts("NGA", "Điểm đo ngập", "Flood gauge", DRAINAGE, 300, 13.0, true),
            Self::Lighting => facts("CSA", "Tủ chiếu sáng", "Lighting cabinet", LIGHTING, 600, 18.0, false),
            Self::Pumps => facts("BOM", "Trạm bơm", "Pumping station", DISASTER, 300, 8.0, false),
            Self::RainGauge => facts("MUA", "Trạm mưa", "Rain gauge", DISASTER, 600, 17.0, true),
            Self::RiverGauge => facts("SON", "Trạm thủy văn", "River gauge", HYDROMET, 600, 7.0, true),
            Self::TideGauge => facts("TRI", "Trạm hải văn", "Tide gauge", HYDROMET, 600, 2.0, true),
            Self::Traffic => facts("GTH", "Trạm đếm xe", "Traffic counter", CONSTRUCTION, 60, 14.0, false),
            Self::Weather => facts("KTV", "Trạm khí tượng", "Weather station", HYDROMET, 600, 6.0, false),
        }
    }
}

/// A gauge that exists: its name, river and commune. Lag, damping and place within the commune are the simulator's.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownGauge {
    pub(super) name: &'static str,
    pub(super) river: &'static str,
    pub(super) commune: &'static str,
}

/// The first river gauges, by the city's flood bulletin (domain.md §2.2); the communes were chosen by hand.
#[rustfmt::skip]
pub(super) const RIVER_GAUGES: [KnownGauge; 15] = [
    KnownGauge { name: "Cửa Cấm", river: "Cấm", commune: "11329" },
    KnownGauge { name: "Kiến An", river: "Lạch Tray", commune: "11443" },
    KnownGauge { name: "Do Nghi", river: "Bạch Đằng", commune: "11473" },
    KnownGauge { name: "Trung Trang", river: "Văn Úc", commune: "11647" },
    KnownGauge { name: "Phả Lại", river: "Thái Bình", commune: "10546" },
    KnownGauge { name: "Bến Bình", river: "Kinh Thầy", commune: "10678" },
    KnownGauge { name: "Chanh Chử", river: "Luộc", commune: "11836" },
    KnownGauge { name: "Cát Khê", river: "Thái Bình", commune: "10615" },
    KnownGauge { name: "Bá Nha", river: "Gùa", commune: "10882" },
    KnownGauge { name: "An Phụ", river: "Kinh Môn", commune: "10705" },
    KnownGauge { name: "Quảng Đạt", river: "Rạng", commune: "10816" },
    KnownGauge { name: "Cao Kênh", river: "Kinh Thầy", commune: "11503" },
    KnownGauge { name: "Quang Phục", river: "Văn Úc", commune: "11791" },
    KnownGauge { name: "Đông Xuyên", river: "Thái Bình", commune: "11809" },
    KnownGauge { name: "Tiên Tiến", river: "Mới", commune: "11755" },
];
/// Hòn Dấu belongs to it.
pub(super) const DO_SON: &str = "11455";
/// The islands.
pub(super) const CAT_HAI: &str = "11914";
pub(super) const BACH_LONG_VI: &str = "11948";
/// Communes with a coast.
pub(super) const COASTAL_COMMUNES: [&str; 6] = [DO_SON, CAT_HAI, BACH_LONG_VI, "11411", "11737", "11809"];
/// The reference gauge (UHSLC 6502).
pub(super) const HON_DAU: (&str, f64, f64) = ("Hòn Dấu", 20.667, 106.807);

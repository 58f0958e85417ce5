//! The table of what is built in: names under `/console/` and `/map/`, and their bytes.

/// Names with the bytes of the files below `gateway/console/`.
macro_rules! assets {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../console/", $folder, $name)) as &[u8])),*]
    };
}

pub(super) static ASSETS: &[(&str, &[u8])] = assets! { "":
    "boot.js",
    "css/base.css",
    "css/pages.css",
    "css/parts.css",
    "css/shell.css",
    "css/tokens.css",
    "icon.svg",
    "index.html",
    "js/api.js",
    "js/chart.js",
    "js/dictionary.js",
    "js/dom.js",
    "js/format.js",
    "js/hex.js",
    "js/i18n.js",
    "js/icons.js",
    "js/live.js",
    "js/main.js",
    "js/map/base.js",
    "js/map/cluster.js",
    "js/map/markers.js",
    "js/names.js",
    "js/pages/about.js",
    "js/pages/books.js",
    "js/pages/map.js",
    "js/pages/quarantine.js",
    "js/pages/station.js",
    "js/pages/stations.js",
    "js/parts.js",
    "js/reasons.js",
    "js/series.js",
    "js/stations.js",
    "js/status.js",
    "vendor/README.md",
    "vendor/inter/LICENSE",
    "vendor/inter/inter-latin-wght-normal.woff2",
    "vendor/inter/inter-vietnamese-wght-normal.woff2",
    "vendor/leaflet/LICENSE",
    "vendor/leaflet/leaflet-src.esm.js",
    "vendor/leaflet/leaflet.css",
    "vendor/uplot/LICENSE",
    "vendor/uplot/uPlot.esm.js",
    "vendor/uplot/uPlot.min.css",
};

/// The map's data, which `console.map_dir` replaces.
pub(super) static MAP_ASSETS: &[(&str, &[u8])] = assets! { "map/":
    "README.md",
    "communes.csv",
    "districts.geojson",
    "land.geojson",
    "licences/GPL-3.0.txt",
    "licences/LGPL-3.0.txt",
    "licences/MIT-vietnamese-provinces-database.txt",
    "rivers.geojson",
};

/// By the name's end.
pub(super) fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("css") => "text/css; charset=utf-8",
        Some("csv") => "text/csv; charset=utf-8",
        Some("geojson") => "application/geo+json",
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => "text/plain; charset=utf-8",
    }
}

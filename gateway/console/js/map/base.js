// The ground of the map: water, land, rivers, faint old districts and names. Colours come from the style sheet, so that
// light and dark follow by themselves.

import * as L from "../../vendor/leaflet/leaflet-src.esm.js";
import { get } from "../api.js";
import { h } from "../dom.js";
import { lang } from "../i18n.js";
import { allCommunes } from "../names.js";

/** Everything the map data cover. */
const AREA = L.latLngBounds([20.05, 105.9], [21.3, 107.85]);
/** What is shown first: the city without its far island. */
const CITY = L.latLngBounds([20.56, 106.16], [21.14, 107.12]);
const COMMUNE_ZOOM = 12;
/** Room round a label that no other label may enter. */
const LABEL_GAP_PX = 6;

/** How far a name may step aside for markers and other names. The sea is wide, a commune is not. */
const OFFSETS = {
  city: [[0, 0], [0, -38], [0, 38], [72, 0], [-72, 0], [62, -32], [-62, -32], [62, 32], [-62, 32], [0, -64], [0, 64]],
  sea: [[0, 0], [0, 40], [60, 0], [0, -40]],
  other: [[0, 0], [0, -22], [0, 22], [36, 0], [-36, 0]],
};

/** Names that belong to no asset: both centres and the sea. `from`, `to` = zooms. */
const PLACES = [
  { name: "Hải Phòng", lat: 20.862, lon: 106.683, kind: "city", from: 8, to: 11 },
  { name: "Hải Dương", lat: 20.94, lon: 106.331, kind: "city", from: 8, to: 11 },
  { name: "Đồ Sơn", lat: 20.715, lon: 106.785, kind: "town", from: 10, to: 11 },
  { name: "Vịnh Bắc Bộ", name_en: "Gulf of Tonkin", lat: 20.45, lon: 107.15, kind: "sea", from: 8, to: 12 },
];

/** A Leaflet map with its ground in `place`. The assets follow; what cannot be read is left out. */
export function groundMap(place, labels) {
  const map = L.map(place, {
    attributionControl: false, zoomControl: false, minZoom: 8, maxZoom: 16, maxBounds: AREA.pad(0.01), maxBoundsViscosity: 0.8,
    zoomSnap: 0.5, wheelPxPerZoomLevel: 90,
  });
  L.control.zoom({ position: "topright", zoomInTitle: labels.zoom_in, zoomOutTitle: labels.zoom_out }).addTo(map);
  map.fitBounds(CITY);
  const panes = ["water", "land", "lines", "names"];
  panes.forEach((name, index) => {
    const pane = map.createPane(name);
    pane.style.zIndex = String(200 + 20 * index);
    pane.style.pointerEvents = "none";
  });
  L.rectangle(AREA, { pane: "water", className: "map-water", interactive: false }).addTo(map);
  return map;
}

/** Reads and draws the assets, then the names. Ends quietly when `signal` aborts. */
export async function drawGround(map, markers, signal) {
  const read = (name) => get(`/map/${name}.geojson`, {}, signal).catch(() => ({ features: [] }));
  const [land, rivers, districts] = await Promise.all(["land", "rivers", "districts"].map(read));
  if (signal.aborted) return;
  path(L.polygon(land.features.flatMap(rings), { pane: "land", className: "map-land" }), map);
  path(L.polygon(districts.features.flatMap(rings), { pane: "lines", className: "map-districts" }), map);
  path(L.polyline(rivers.features.flatMap(lines), { pane: "lines", className: "map-rivers" }), map);
  drawNames(map, markers, [...PLACES, ...islandNames(land), ...riverNames(rivers), ...communeNames()]);
}

/** One path for a whole asset: a thousand small ones are slow to move. */
function path(layer, map) {
  layer.options.interactive = false;
  layer.options.smoothFactor = 1.2;
  layer.addTo(map);
}

const flipped = ([lon, lat]) => [lat, lon];

function rings({ geometry }) {
  const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.type === "MultiPolygon" ? geometry.coordinates : [];
  return polygons.map((polygon) => polygon.map((ring) => ring.map(flipped)));
}

function lines({ geometry }) {
  const all = geometry.type === "LineString" ? [geometry.coordinates] : geometry.type === "MultiLineString" ? geometry.coordinates : [];
  return all.map((line) => line.map(flipped));
}

function islandNames(land) {
  return land.features.filter((feature) => feature.properties.name && feature.geometry.type === "Polygon").map((feature) => {
    const centre = L.latLngBounds(feature.geometry.coordinates[0].map(flipped)).getCenter();
    const area = feature.properties.area_km2;
    return { name: feature.properties.name, lat: centre.lat, lon: centre.lng, kind: "island", from: area > 100 ? 9 : area > 1 ? 9.5 : 12, to: 16 };
  });
}

/** One label per name, in the middle of its longest line. */
function riverNames(rivers) {
  const longest = new Map();
  for (const { geometry, properties } of rivers.features) {
    if (!properties.name) continue;
    const points = geometry.type === "Point" ? [geometry.coordinates] : geometry.coordinates;
    if (points.length > (longest.get(properties.name)?.length ?? 0)) longest.set(properties.name, points);
  }
  return [...longest].map(([name, points]) => {
    const [lon, lat] = points[Math.floor(points.length / 2)];
    return { name, lat, lon, kind: "river", from: 11, to: 15 };
  });
}

function communeNames() {
  return allCommunes().map((commune) => ({ name: commune.name, lat: commune.latitude, lon: commune.longitude, kind: "commune", from: COMMUNE_ZOOM, to: 16 }));
}

/** Writes as many names as fit between the markers, in order of the list, again after every move. */
function drawNames(map, markers, names) {
  const pane = map.getPane("names");
  pane.setAttribute("aria-hidden", "true");
  const draw = () => {
    const zoom = map.getZoom();
    const view = map.getBounds().pad(0.05);
    pane.replaceChildren();
    const taken = markers.boxes();
    for (const place of names) {
      if (zoom < place.from || zoom > place.to || !view.contains([place.lat, place.lon])) continue;
      const label = h("span", { class: `map-name is-${place.kind}` }, (lang() === "en" && place.name_en) || place.name);
      pane.append(label);
      const at = map.latLngToLayerPoint([place.lat, place.lon]);
      const box = freeBox(at, label, taken, OFFSETS[place.kind] ?? OFFSETS.other);
      if (!box) {
        label.remove();
        continue;
      }
      taken.push(box);
      L.DomUtil.setPosition(label, L.point(Math.round(box.x + LABEL_GAP_PX), Math.round(box.y + LABEL_GAP_PX / 2)));
    }
  };
  map.on("moveend resize", draw);
  markers.onRegrouped(draw);
  map.on("zoomstart", () => pane.replaceChildren());
  draw();
}

/** The first of the places near `at` where the label covers nothing; null where there is none. */
function freeBox(at, label, taken, offsets) {
  for (const [dx, dy] of offsets) {
    const x = at.x + dx - label.offsetWidth / 2 - LABEL_GAP_PX;
    const y = at.y + dy - label.offsetHeight / 2 - LABEL_GAP_PX / 2;
    const box = { x, y, right: x + label.offsetWidth + 2 * LABEL_GAP_PX, bottom: y + label.offsetHeight + LABEL_GAP_PX };
    if (!taken.some((other) => x < other.right && other.x < box.right && y < other.bottom && other.y < box.bottom)) return box;
  }
  return null;
}

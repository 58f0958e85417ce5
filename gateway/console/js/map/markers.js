// Stations on the map: a marker per station, or one for many where they would overlap. All are elements that take the focus;
// there are never more than fit on the screen.

import * as L from "../../vendor/leaflet/leaflet-src.esm.js";
import { h, s } from "../dom.js";
import { age, integer } from "../format.js";
import { lang, t, tn } from "../i18n.js";
import { stateShape } from "../icons.js";
import { STATES, countStates, keyOf, nameOf, stateOf } from "../stations.js";
import { clusters } from "./cluster.js";

const MARKER_PX = 30;
/** Beyond the edge of the view, so that a small move shows no gap. */
const VIEW_PAD = 0.15;
const MEMBERS_LISTED_MAX = 50;
const PULSES_MAX = 12;
/** Above this zoom a click on a group opens its list instead of going nearer. */
const LIST_ZOOM = 15;

export class StationMarkers {
  #map;
  #open;
  #list = [];
  #groups = [];
  #grouped_zoom = null;
  #drawn = new Map();
  #byStation = new Map();
  #regrouped = () => {};

  /** `open(station, marker)` and `open(stations, marker)` are asked to show a popup. */
  constructor(map, open) {
    this.#map = map;
    this.#open = open;
    map.on("zoomend", () => this.#regroup());
    map.on("moveend resize", () => this.#draw());
  }

  /** Other stations, in their order. */
  setStations(list) {
    this.#list = list.filter((station) => station.latitude !== null && station.longitude !== null);
    this.#grouped_zoom = null;
    this.#regroup();
    this.#regrouped();
  }

  /** Where markers are drawn, in layer pixels. */
  boxes() {
    return [...this.#drawn.values()].map(({ marker, size }) => {
      const at = this.#map.latLngToLayerPoint(marker.getLatLng());
      return { x: at.x - size / 2, y: at.y - size / 2, right: at.x + size / 2, bottom: at.y + size / 2 };
    });
  }

  /** Calls `listener` when other markers are drawn without the map having moved. */
  onRegrouped(listener) {
    this.#regrouped = listener;
  }

  /** The states have changed, the places have not. */
  refresh() {
    for (const entry of this.#drawn.values()) paint(entry);
  }

  /** A ring that runs out from a station that has just spoken. */
  pulse(station) {
    const entry = this.#byStation.get(keyOf(station));
    const element = entry?.marker.getElement();
    if (!element || element.classList.contains("pulse") || document.getElementsByClassName("pulse").length >= PULSES_MAX) return;
    element.classList.add("pulse");
    setTimeout(() => element.classList.remove("pulse"), 1_200);
  }

  #regroup() {
    const zoom = this.#map.getZoom();
    if (this.#grouped_zoom === zoom) return;
    this.#grouped_zoom = zoom;
    const points = this.#list.map((station) => {
      const { x, y } = this.#map.project([station.latitude, station.longitude], zoom);
      return { x, y, station };
    });
    this.#groups = clusters(points).map((group) => ({
      members: group.members,
      place: this.#map.unproject([group.x, group.y], zoom),
      key: `${zoom} ${group.members.length} ${keyOf(group.members[0])}`,
    }));
    this.#draw();
  }

  #draw() {
    const view = this.#map.getBounds().pad(VIEW_PAD);
    const wanted = new Set();
    for (const group of this.#groups) {
      if (!view.contains(group.place)) continue;
      wanted.add(group.key);
      const entry = this.#drawn.get(group.key);
      if (!entry) {
        this.#add(group);
        continue;
      }
      // A group keeps its marker, but its stations may have been read again: what was read before changes no more.
      entry.members = group.members;
      entry.marker.setLatLng(group.place);
      paint(entry);
    }
    for (const [key, entry] of this.#drawn) {
      if (wanted.has(key)) continue;
      entry.marker.remove();
      this.#drawn.delete(key);
      const single = entry.members.length === 1 ? keyOf(entry.members[0]) : null;
      // Another zoom's marker may stand for the station by now.
      if (single !== null && this.#byStation.get(single) === entry) this.#byStation.delete(single);
    }
  }

  #add({ members, place, key }) {
    const size = members.length === 1 ? MARKER_PX : 34 + Math.min(18, 5 * Math.log10(members.length) * 2);
    const face = h("div", { class: members.length === 1 ? "marker" : "marker cluster" });
    const marker = L.marker(place, { icon: L.divIcon({ html: face, className: "marker-holder", iconSize: [size, size] }), keyboard: true, riseOnHover: true });
    const entry = { marker, members, face, size, painted: "" };
    marker.on("click", () => this.#choose(entry));
    marker.addTo(this.#map);
    marker.getElement().addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      this.#choose(entry);
    });
    this.#drawn.set(key, entry);
    if (members.length === 1) this.#byStation.set(keyOf(members[0]), entry);
    paint(entry);
  }

  #choose({ marker, members }) {
    if (members.length === 1) {
      this.#open(members[0], marker);
      return;
    }
    const bounds = L.latLngBounds(members.map((station) => [station.latitude, station.longitude]));
    if (this.#map.getZoom() >= LIST_ZOOM || bounds.getNorthEast().equals(bounds.getSouthWest())) {
      this.#open(members.slice(0, MEMBERS_LISTED_MAX), marker);
    } else {
      this.#map.fitBounds(bounds.pad(0.2), { maxZoom: Math.max(LIST_ZOOM, this.#map.getZoom() + 1) });
    }
  }
}

function paint(entry) {
  const { marker, members, face } = entry;
  if (members.length === 1) {
    const [station] = members;
    const state = stateOf(station);
    marker.getElement().setAttribute("aria-label", `${nameOf(station, lang())}, ${t(`state.${state}`)}, ${station.time_ms === null ? t("value.never") : age(station.time_ms)}`);
    if (entry.painted === state) return;
    entry.painted = state;
    face.replaceChildren(stateShape(state, 18));
    return;
  }
  const counts = countStates(members);
  const painted = STATES.map((state) => counts[state]).join(" ");
  if (entry.painted === painted) return;
  entry.painted = painted;
  const words = STATES.filter((state) => counts[state] > 0).map((state) => `${integer(counts[state])} ${t(`state.${state}`).toLowerCase()}`);
  marker.getElement().setAttribute("aria-label", `${tn("stations.count", members.length, integer(members.length))}: ${words.join(", ")}`);
  face.replaceChildren(ring(counts, members.length), h("span", {}, integer(members.length)));
}

/** A ring whose arcs are the shares of the states. */
function ring(counts, whole) {
  const radius = 15.9155;
  let before = 25;
  const arcs = STATES.filter((state) => counts[state] > 0).map((state) => {
    const share = 100 * counts[state] / whole;
    const arc = s("circle", { class: `arc is-${state}`, cx: 20, cy: 20, r: radius, "stroke-dasharray": `${share} ${100 - share}`, "stroke-dashoffset": before });
    before -= share;
    return arc;
  });
  return s("svg", { viewBox: "0 0 40 40", "aria-hidden": "true", focusable: "false" }, s("circle", { class: "disc", cx: 20, cy: 20, r: 18 }), arcs);
}

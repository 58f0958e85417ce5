// The map: where the stations are and how they do, live.

import * as L from "../../vendor/leaflet/leaflet-src.esm.js";
import { get, langOf } from "../api.js";
import { fill, h, throttled } from "../dom.js";
import { elapsed, integer, qualifiers, result } from "../format.js";
import { lang, t, tn } from "../i18n.js";
import { icon, stateShape } from "../icons.js";
import { listen } from "../live.js";
import { DOMAINS, agencyName, domainName, propertyName } from "../names.js";
import { ageText, emptyState, errorState, field, isRemarkable, loadingState, qualityBadge, searchField, select, stateBadge } from "../parts.js";
import { STATES, countStates, keyOf, loadStations, nameOf, observed, onStations, stateOf, stations } from "../stations.js";
import { drawGround, groundMap } from "../map/base.js";
import { StationMarkers } from "../map/markers.js";
import { matching } from "./stations.js";

const LISTED_MAX = 40;
const VALUES_MAX = 6;
const REDRAW_MS = 1_500;
/** Fixed, since measuring it again would take the focus out of the popup. */
const POPUP_PX = 270;
const MISSED_MS = 15_000;
const ORDER = { suspect: 0, silent: 1, late: 2, fresh: 3 };

export async function show(root, { query, signal, setQuery }) {
  const filter = Object.fromEntries(["q", "domain", "state"].map((name) => [name, query.get(name) ?? ""]));
  const place = h("div", { class: "map", role: "region", "aria-label": t("map.label"), tabindex: "0" });
  const legend = h("div", { class: "state-filter", role: "group", "aria-label": t("stations.by_state") });
  const inView = h("div", { class: "in-view" }, loadingState(6));
  const controls = h("div", {});
  fill(root, h("h1", { class: "visually-hidden" }, t("map.title")),
    h("div", { class: "map-page" },
      h("section", { class: "map-side", "aria-label": t("map.side") }, controls, legend, inView),
      h("div", { class: "map-frame" }, place, h("p", { class: "map-credit" }, t("map.credit"), " ", h("a", { href: "#/about" }, t("map.credit.link"))))));

  const asked = /^(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)$/.exec(query.get("at") ?? "");
  const map = groundMap(place, { zoom_in: t("map.zoom_in"), zoom_out: t("map.zoom_out") }, asked?.slice(1).map(Number));
  signal.addEventListener("abort", () => map.remove());
  const markers = new StationMarkers(map, (chosen, marker) => openPopup(map, marker, chosen, signal));
  // The browser tests move the map.
  place.map = map;

  const shown = () => matching(stations().byKey.values(), filter);
  const drawAll = () => {
    const store = stations();
    if (store.status === "error") {
      fill(inView, errorState(store.error, () => loadStations(true)));
      return;
    }
    if (store.status !== "ready") return;
    markers.setStations(shown().sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)));
    drawSide();
  };
  const drawSide = () => {
    drawLegend(legend, matching(stations().byKey.values(), { ...filter, state: "" }), filter.state, (state) => change({ state: filter.state === state ? "" : state }));
    drawInView(inView, map, shown(), filter, (station) => {
      map.setView([station.latitude, station.longitude], Math.max(map.getZoom(), 14));
    });
  };
  const change = (part) => {
    Object.assign(filter, part);
    setQuery(filter);
    drawAll();
  };
  fill(controls, filters(filter, change));
  drawGround(map, markers, signal);
  await loadStations();
  if (signal.aborted) return t("map.title");
  map.invalidateSize();
  drawAll();

  const refresh = throttled(() => {
    markers.refresh();
    drawSide();
  }, REDRAW_MS, signal);
  map.on("moveend", throttled(drawSide, 150, signal));
  onStations(drawAll, signal);
  // Too much came at once: what was missed is read again.
  const missed = throttled(() => loadStations(true), MISSED_MS, signal);
  listen({}, {
    observation: (observation) => {
      const station = observed(observation);
      if (!station) return;
      markers.pulse(station);
      refresh();
    },
    opened: () => loadStations(),
    skipped: missed,
  }, signal);
  return t("map.title");
}

function filters(filter, change) {
  const domains = [["", t("filter.all_domains")], ...DOMAINS.map((domain) => [domain, domainName(domain)])];
  return h("form", { class: "filters", role: "search", on: { submit: (event) => event.preventDefault() } },
    searchField("q", t("filter.search"), filter.q, (q) => change({ q })),
    field("domain", t("filter.domain"), select(domains, filter.domain, (domain) => change({ domain }))));
}

function drawLegend(legend, list, active, toggle) {
  const counts = countStates(list);
  const focused = legend.contains(document.activeElement) ? document.activeElement.dataset.state : null;
  fill(legend, STATES.map((state) => h("button", {
    type: "button", class: `state-button is-${state}`, "data-state": state, "aria-pressed": String(state === active), title: t(`state.${state}.hint`), on: { click: () => toggle(state) },
  }, stateShape(state, 14), h("b", {}, integer(counts[state])), h("span", {}, t(`state.${state}`)))));
  if (focused) legend.querySelector(`[data-state="${focused}"]`).focus();
}

function drawInView(inView, map, list, filter, go) {
  if (inView.contains(document.activeElement)) return;
  const placed = list.filter((station) => station.latitude !== null && station.longitude !== null);
  const view = map.getBounds();
  const visible = placed.filter((station) => view.contains([station.latitude, station.longitude]));
  const names = new Intl.Collator("vi", { numeric: true });
  visible.sort((a, b) => ORDER[stateOf(a)] - ORDER[stateOf(b)] || names.compare(nameOf(a, lang()), nameOf(b, lang())));
  const unplaced = list.length - placed.length;
  if (list.length === 0) {
    const filtered = Object.values(filter).some(Boolean);
    fill(inView, emptyState(filtered ? t("stations.none_filtered") : t("stations.none"), filtered ? t("filter.loosen") : t("stations.none.hint")));
    return;
  }
  fill(inView,
    h("h2", { class: "side-title" }, t("map.in_view"), h("span", { class: "muted" }, tn("stations.count", visible.length, integer(visible.length)))),
    visible.length === 0 ? h("p", { class: "muted" }, t("map.none_in_view")) : h("ul", { class: "station-links" }, visible.slice(0, LISTED_MAX).map((station) => h("li", {},
      stateShape(stateOf(station), 12),
      h("a", { href: stationAddress(station) }, nameOf(station, lang())),
      h("small", { class: "muted" }, h("span", { class: "visually-hidden" }, `${t(`state.${stateOf(station)}`)}, `), station.time_ms === null ? t("value.never") : elapsed(station.time_ms)),
      h("button", { type: "button", class: "icon-button tiny", "aria-label": t("map.go", { name: nameOf(station, lang()) }), title: t("map.go", { name: nameOf(station, lang()) }), on: { click: () => go(station) } }, icon("target", 16))))),
    visible.length > LISTED_MAX && h("p", { class: "muted" }, h("a", { href: "#/stations" }, t("map.more", { n: integer(visible.length - LISTED_MAX) }))),
    unplaced > 0 && h("p", { class: "muted unplaced" }, tn("map.unplaced", unplaced, integer(unplaced))));
}

function stationAddress(station) {
  return `#/station/${encodeURIComponent(station.agency)}/${encodeURIComponent(station.station)}`;
}

function openPopup(map, marker, chosen, signal) {
  const content = h("div", { class: "popup" });
  if (Array.isArray(chosen)) {
    fill(content, h("h2", {}, tn("stations.count", chosen.length, integer(chosen.length))),
      h("ul", { class: "station-links" }, chosen.map((station) => h("li", {}, stateShape(stateOf(station), 12), h("a", { href: stationAddress(station) }, nameOf(station, lang()))))));
  } else {
    fillPopup(content, chosen, signal);
  }
  const popup = L.popup({ maxWidth: POPUP_PX, minWidth: POPUP_PX, autoPanPadding: [16, 16], closeButton: true, className: "station-popup" })
    .setLatLng(marker.getLatLng()).setContent(content);
  popup.on("remove", () => {
    // Whoever closed it from inside stands on nothing now.
    if (document.activeElement === document.body) marker.getElement()?.focus();
  });
  popup.openOn(map);
  popup.getElement().addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    map.closePopup();
    marker.getElement()?.focus();
  });
  popup.getElement().querySelector(".leaflet-popup-close-button")?.setAttribute("aria-label", t("close"));
  content.querySelector("a")?.focus({ preventScroll: true });
}

async function fillPopup(content, station, signal) {
  const values = h("div", { class: "popup-values" }, loadingState(2));
  fill(content,
    h("h2", {}, h("a", { href: stationAddress(station) }, nameOf(station, lang()))),
    h("p", { class: "muted" }, [station.commune?.name, agencyName(station.agency)].filter(Boolean).join(" · ")),
    h("p", { class: "popup-state" }, stateBadge(stateOf(station)), ageText(station.time_ms)),
    values,
    h("a", { class: "button wide", href: stationAddress(station) }, t("map.open_station")));
  try {
    const answer = await get("/api/v1/latest", { agency: station.agency, station: station.station, limit: 100 }, signal);
    const newest = answer.observations.sort((a, b) => Date.parse(b.phenomenonTime) - Date.parse(a.phenomenonTime) || a.property.localeCompare(b.property));
    fill(values, h("dl", {}, newest.slice(0, VALUES_MAX).map((observation) => {
      const { text, unit } = result(observation.result, observation.unit, observation.property);
      return h("div", {}, h("dt", {}, [propertyName(observation.property), ...qualifiers(observation.property)].join(", ")),
        h("dd", {}, h("b", {}, text), unit && ` ${unit}`, isRemarkable(observation) && qualityBadge(observation.quality)));
    })), newest.length > VALUES_MAX && h("p", { class: "muted" }, t("map.more_values", { n: integer(newest.length - VALUES_MAX) })));
  } catch (error) {
    if (!signal.aborted) fill(values, h("p", { class: "muted", lang: langOf(error) }, error.message));
  }
}

// The list of stations: filters, states, search without accents, sorting over all that match.

import { fill, h, throttled } from "../dom.js";
import { integer } from "../format.js";
import { lang, t, tn } from "../i18n.js";
import { stateShape } from "../icons.js";
import { listen } from "../live.js";
import { DOMAINS, agencyName, allAgencies, allCommunes, domainName } from "../names.js";
import { ageText, domainTag, emptyState, errorState, field, loadingState, pageHead, searchField, select, sortHeader, stateBadge } from "../parts.js";
import { STATES, countStates, folded, keyOf, loadStations, nameOf, observed, onStations, stateOf, stations } from "../stations.js";

/** Rows that are drawn at first and with each "more". */
const PAGE = 100;
const REDRAW_MS = 2_000;
const MISSED_MS = 15_000;
const STATE_ORDER = { suspect: 0, silent: 1, late: 2, fresh: 3 };

export async function show(root, { query, signal, setQuery }) {
  const filter = Object.fromEntries(["q", "domain", "agency", "commune", "state"].map((name) => [name, query.get(name) ?? ""]));
  const view = { sort: { column: query.get("sort") || "name", down: query.get("down") === "1" }, shown: PAGE, rows: new Map() };
  const summary = h("div", { class: "state-filter", role: "group", "aria-label": t("stations.by_state") });
  const count = h("span", { class: "muted", role: "status" });
  const place = h("div", { class: "list-place" }, loadingState(8));
  const filterPlace = h("div", {});

  const draw = () => {
    const store = stations();
    if (store.status === "error") {
      fill(place, errorState(store.error, () => loadStations(true)));
      return;
    }
    if (store.status !== "ready") return;
    const rest = matching(store.byKey.values(), { ...filter, state: "" });
    drawSummary(summary, rest, filter.state, (state) => change({ state: filter.state === state ? "" : state }));
    const found = sorted(filter.state ? rest.filter((station) => stateOf(station) === filter.state) : rest, view.sort);
    count.textContent = store.complete ? tn("stations.count", found.length, integer(found.length)) : t("stations.first", { n: integer(store.byKey.size) });
    drawTable(place, found, view, (sort) => {
      view.sort = sort;
      remember();
      draw();
      place.querySelector(`[aria-sort="${sort.down ? "descending" : "ascending"}"] button`)?.focus();
    }, draw, filter);
  };
  const remember = () => setQuery({ ...filter, sort: view.sort.column === "name" ? "" : view.sort.column, down: view.sort.down ? "1" : "" });
  const change = (part) => {
    Object.assign(filter, part);
    view.shown = PAGE;
    remember();
    draw();
  };

  fill(root, pageHead(t("stations.title"), count), filterPlace, summary, place);
  fill(filterPlace, filters(filter, change));
  await loadStations();
  if (signal.aborted) return t("stations.title");
  draw();
  // Live: states and ages change in place; rows move only when somebody sorts or filters.
  const refresh = throttled(() => {
    if (stations().status !== "ready" || view.rows.size === 0) return draw();
    for (const [key, row] of view.rows) {
      const station = stations().byKey.get(key);
      if (station) row.update(station);
    }
    drawSummary(summary, matching(stations().byKey.values(), { ...filter, state: "" }), filter.state, (state) => change({ state: filter.state === state ? "" : state }));
  }, REDRAW_MS, signal);
  onStations(refresh, signal);
  const missed = throttled(() => loadStations(true), MISSED_MS, signal);
  listen({}, { observation: (observation) => { if (observed(observation)) refresh(); }, opened: () => loadStations(), skipped: missed }, signal);
  return t("stations.title");
}

function filters(filter, change) {
  const agencies = [["", t("filter.all_agencies")], ...allAgencies().map((agency) => [agency.agency, agencyName(agency.agency)])];
  const communes = [["", t("filter.all_communes")], ...allCommunes()
    .map((commune) => [commune.code, lang() === "vi" ? commune.full_name : commune.name])
    .sort(([, a], [, b]) => a.localeCompare(b, "vi"))];
  const domains = [["", t("filter.all_domains")], ...DOMAINS.map((domain) => [domain, domainName(domain)])];
  return h("form", { class: "filters", role: "search", on: { submit: (event) => event.preventDefault() } },
    searchField("q", t("filter.search"), filter.q, (q) => change({ q })),
    field("domain", t("filter.domain"), select(domains, filter.domain, (domain) => change({ domain }))),
    field("agency", t("filter.agency"), select(agencies, filter.agency, (agency) => change({ agency }))),
    field("commune", t("filter.commune"), select(communes, filter.commune, (commune) => change({ commune }))));
}

/** The stations that a filter lets through; every word of `q` must be somewhere in names and codes. */
export function matching(all, filter) {
  const words = folded(filter.q ?? "").split(/\s+/).filter(Boolean);
  return [...all].filter((station) =>
    (!filter.domain || station.domains.includes(filter.domain))
    && (!filter.agency || station.agency === filter.agency)
    && (!filter.commune || station.commune?.code === filter.commune)
    && words.every((word) => station.words.includes(word))
    && (!filter.state || stateOf(station) === filter.state));
}

function sorted(list, { column, down }) {
  const language = lang();
  const collator = new Intl.Collator("vi", { numeric: true });
  const keys = {
    name: (a, b) => collator.compare(nameOf(a, language), nameOf(b, language)),
    state: (a, b) => STATE_ORDER[stateOf(a)] - STATE_ORDER[stateOf(b)],
    agency: (a, b) => collator.compare(agencyName(a.agency), agencyName(b.agency)),
    commune: (a, b) => collator.compare(a.commune?.name ?? "\uffff", b.commune?.name ?? "\uffff"),
    datastreams: (a, b) => a.datastreams - b.datastreams,
    time: (a, b) => (a.time_ms ?? 0) - (b.time_ms ?? 0),
  };
  const compare = keys[column] ?? keys.name;
  const sign = down ? -1 : 1;
  return list.sort((a, b) => sign * compare(a, b) || collator.compare(keyOf(a), keyOf(b)));
}

function drawSummary(summary, list, active, toggle) {
  const counts = countStates(list);
  const focused = summary.contains(document.activeElement) ? document.activeElement.dataset.state : null;
  fill(summary, STATES.map((state) => h("button", {
    type: "button", class: `state-button is-${state}`, "data-state": state, "aria-pressed": String(state === active), title: t(`state.${state}.hint`), on: { click: () => toggle(state) },
  }, stateShape(state, 14), h("b", {}, integer(counts[state])), h("span", {}, t(`state.${state}`)))));
  if (focused) summary.querySelector(`[data-state="${focused}"]`).focus();
}

function drawTable(place, found, view, sortBy, draw, filter) {
  view.rows.clear();
  if (found.length === 0) {
    const filtered = Object.values(filter).some(Boolean);
    fill(place, emptyState(filtered ? t("stations.none_filtered") : t("stations.none"), filtered ? t("filter.loosen") : t("stations.none.hint")));
    return;
  }
  const header = (column, numeric) => sortHeader(column, t(`stations.column.${column}`), view.sort, sortBy, numeric);
  fill(place,
    h("table", { class: "table stations" },
      h("caption", { class: "visually-hidden" }, t("stations.title")),
      h("thead", {}, h("tr", {}, header("state"), header("name"), header("agency"), header("commune"),
        h("th", { scope: "col" }, t("stations.column.domains")), header("datastreams", true), header("time", true))),
      h("tbody", {}, found.slice(0, view.shown).map((station) => row(station, view)))),
    h("p", { class: "list-foot" },
      h("span", { class: "muted" }, t("list.shown", { shown: integer(Math.min(view.shown, found.length)), all: integer(found.length) })),
      view.shown < found.length && h("button", {
        type: "button", class: "button", on: {
          click: () => {
            const first = view.shown;
            view.shown += PAGE;
            draw();
            place.querySelectorAll("tbody a")[first]?.focus();
          },
        },
      }, t("list.more"))));
}

function row(station, view) {
  const state = h("td", { class: "cell-state" }, stateBadge(stateOf(station)));
  const time = h("td", { class: "number cell-time" }, ageText(station.time_ms));
  view.rows.set(keyOf(station), {
    update: (now) => {
      fill(state, stateBadge(stateOf(now)));
      fill(time, ageText(now.time_ms));
    },
  });
  const address = `#/station/${encodeURIComponent(station.agency)}/${encodeURIComponent(station.station)}`;
  return h("tr", {}, state,
    h("th", { scope: "row", class: "cell-name" }, h("a", { href: address }, nameOf(station, lang())), h("small", { class: "mono" }, keyOf(station))),
    h("td", { class: "cell-agency" }, agencyName(station.agency)),
    h("td", { class: "cell-commune" }, station.commune?.name ?? h("span", { class: "muted" }, t("place.unknown"))),
    h("td", { class: "cell-domains" }, h("div", {}, station.domains.map(domainTag))),
    h("td", { class: "number cell-datastreams" }, integer(station.datastreams), h("span", { class: "phone-only" }, ` ${t("stations.datastreams")}`)),
    time);
}

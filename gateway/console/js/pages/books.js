// The books: what became of every message and of every reading, with the equation of each checked before your eyes.

import { get } from "../api.js";
import { every, fill, h } from "../dom.js";
import { date, dateTime, integer, now_ms, parseTyped, percent, startOfDay, typed } from "../format.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";
import { listen } from "../live.js";
import { agencyName, allAgencies } from "../names.js";
import { choices, errorState, fact, field, loadingState, pageHead, select, timeField } from "../parts.js";

const REFRESH_MS = 5_000;
const DAY_MS = 86_400_000;
export const EQUATIONS = {
  messages: ["received", ["decoded", "partial", "quarantined", "ignored", "pending"]],
  observations: ["total", ["inserted", "corrected", "outranked", "duplicate", "unresolved", "quarantined"]],
};

export async function show(root, { query, signal, setQuery }) {
  const filter = {
    period: query.get("period") ?? "all",
    agency: query.get("agency") ?? "",
    station: query.get("station") ?? "",
    client: query.get("client") ?? "",
    from: query.get("from") ?? "",
    to: query.get("to") ?? "",
  };
  const place = h("div", { class: "books" }, loadingState(6));
  const stamp = h("p", { class: "muted stamp" });
  let asked = 0;

  const refresh = async () => {
    const mine = (asked += 1);
    try {
      const ledger = await get("/api/v1/ledger", parameters(filter), signal);
      if (mine === asked) draw(place, stamp, ledger, filter);
    } catch (error) {
      if (!signal.aborted && mine === asked) fill(place, errorState(error, refresh));
    }
  };
  const change = (part) => {
    Object.assign(filter, part);
    setQuery({ ...filter, period: filter.period === "all" ? "" : filter.period });
    refresh();
  };

  fill(root, pageHead(t("books.title"), stamp), h("p", { class: "lead" }, t("books.lead")), filters(filter, change), place);
  await refresh();
  listen({ only: "books" }, {
    books: (ledger) => {
      if (isWhole(filter)) draw(place, stamp, ledger, filter);
    },
  }, signal);
  every(REFRESH_MS, () => {
    if (!isWhole(filter)) refresh();
  }, signal);
  return t("books.title");
}

function isWhole(filter) {
  return filter.period === "all" && !filter.agency && !filter.station && !filter.client;
}

function parameters(filter) {
  const now = now_ms();
  const starts = { all: null, today: startOfDay(now), day: now - DAY_MS, week: now - 7 * DAY_MS, own: parseTyped(filter.from) };
  const from = starts[filter.period];
  const to = filter.period === "own" ? parseTyped(filter.to) : null;
  const time = (ms) => (ms === null ? null : new Date(ms).toISOString());
  return { agency: filter.agency, station: filter.station, client: filter.client, from: time(from), to: time(to) };
}

function filters(filter, change) {
  const own = h("div", { class: "own-period", hidden: filter.period !== "own" },
    ["from", "to"].map((name) => timeField(name, t(`filter.${name}`), filter[name], (text) => change({ [name]: text }))));
  const periods = ["all", "today", "day", "week", "own"].map((name) => [name, t(`period.${name}`)]);
  const text = (name) => field(name, t(`filter.${name}`), h("input", {
    type: "text", value: filter[name], autocomplete: "off", spellcheck: "false", on: { change: (event) => change({ [name]: event.target.value.trim() }) },
  }));
  const agencies = [["", t("filter.all_agencies")], ...allAgencies().map((agency) => [agency.agency, agencyName(agency.agency)])];
  return h("form", { class: "filters", on: { submit: (event) => event.preventDefault() } },
    h("div", { class: "field" }, h("span", { class: "field-label", "aria-hidden": "true" }, t("filter.period")),
      choices(t("filter.period"), periods, filter.period, (period) => {
        own.hidden = period !== "own";
        change(period === "own" && !filter.from ? { period, from: typed(startOfDay(now_ms())) } : { period });
        own.querySelector("input").value = filter.from;
      })),
    own,
    field("agency", t("filter.agency"), select(agencies, filter.agency, (agency) => change({ agency }))),
    text("station"), text("client"));
}

function draw(place, stamp, ledger, filter) {
  stamp.textContent = t("books.stamp", { time: dateTime(now_ms()) });
  fill(place,
    h("dl", { class: "figures" },
      fact(t("books.durable"), integer(ledger.durable)),
      fact(t("books.processed"), integer(ledger.processed)),
      fact(t("books.flushed"), ledger.observations.flushed === null ? t("books.flushed.none") : integer(ledger.observations.flushed))),
    Object.keys(EQUATIONS).map((group) => equation(group, ledger[group])),
    settledCard(ledger.settled),
    filter.period !== "all" && h("p", { class: "muted" }, t("books.hours", { date: date(now_ms()) })));
}

/** What operators settled afterwards; the equations have it in them. */
function settledCard(counts) {
  const names = ["messages", "readings", "erased_messages", "erased_readings"];
  return h("section", { class: "card", "aria-labelledby": "settled-title", "data-group": "settled" },
    h("div", { class: "card-head" }, h("h2", { id: "settled-title" }, t("books.settled"))),
    h("p", { class: "muted" }, t("books.settled.lead")),
    h("dl", { class: "facts wide" }, names.map((name) => fact(t(`books.settled.${name}`), h("span", { "data-count": name }, integer(counts[name]))))));
}

function equation(group, counts) {
  const [whole, parts] = EQUATIONS[group];
  const sum = parts.reduce((total, part) => total + counts[part], 0);
  const holds = sum === counts[whole];
  return h("section", { class: "card equation", "aria-labelledby": `${group}-title`, "data-group": group },
    h("div", { class: "card-head" },
      h("h2", { id: `${group}-title` }, t(`books.${group}`)),
      h("span", { class: ["verdict", holds ? "is-right" : "is-wrong"] }, icon(holds ? "check" : "cross", 16),
        holds ? t("books.balanced") : t("books.off", { n: integer(counts[whole] - sum) }))),
    h("p", { class: "big" }, h("b", { "data-count": whole }, integer(counts[whole])), " ", t(`books.${group}.${whole}`)),
    h("div", { class: "bar", "aria-hidden": "true" }, parts.filter((part) => counts[part] > 0).map((part) =>
      h("span", { class: `part-${part}`, style: { "flex-grow": String(counts[part] / counts[whole]) } }))),
    h("table", { class: "table compact" },
      h("caption", { class: "visually-hidden" }, t(`books.${group}.caption`)),
      h("thead", { class: "visually-hidden" }, h("tr", {}, ["what", "count", "share"].map((name) => h("th", { scope: "col" }, t(`books.column.${name}`))))),
      h("tbody", {}, parts.map((part) => h("tr", {},
        h("th", { scope: "row" }, h("span", { class: `key part-${part}`, "aria-hidden": "true" }),
          h("span", {}, t(`books.${group}.${part}`), h("small", {}, t(`books.${group}.${part}.hint`)))),
        h("td", { class: "number", "data-count": part }, integer(counts[part])),
        h("td", { class: "number muted" }, percent(counts[part], counts[whole]))))),
      h("tfoot", {}, h("tr", {},
        h("th", { scope: "row" }, t("books.sum")),
        h("td", { class: "number", "data-count": "sum" }, integer(sum)),
        h("td", { class: "number" }, holds ? `= ${integer(counts[whole])}` : `≠ ${integer(counts[whole])}`)))));
}

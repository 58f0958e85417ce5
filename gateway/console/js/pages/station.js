// One station: who and where, the newest value of every datastream, a chart of one of them, its raw messages.

import { get } from "../api.js";
import { every, fill, h, throttled } from "../dom.js";
import { age, baseProperty, bytes, dateTime, duration, integer, qualifiers, result } from "../format.js";
import { lang, t, tn } from "../i18n.js";
import { icon } from "../icons.js";
import { listen } from "../live.js";
import { agencyName, domainName, propertyName } from "../names.js";
import { ageText, emptyState, errorState, fact, isRemarkable, loadingState, pageHead, qualityBadge, stateBadge } from "../parts.js";
import { payloadView } from "../hex.js";
import { seriesPanel, streamKey } from "../series.js";
import { keyOf, loadStations, nameOf, observed, onStations, prepared, stateOf, stations } from "../stations.js";

const DATASTREAMS_MAX = 1_000;
const FIRST_ASKED = ["pm2_5", "tide_level", "water_level", "inundation_depth", "air_temperature", "rain", "flow", "active_power"];
const MESSAGES = 20;
const REDRAW_MS = 1_000;
const AGES_MS = 30_000;
const MESSAGES_MS = 30_000;
/** What was missed is read again at most so often. */
const MISSED_MS = 5_000;

export async function show(root, { parameters: [agency, code], query, signal, setQuery }) {
  const key = `${agency}/${code}`;
  const [answer] = await Promise.all([get("/api/v1/latest", { agency, station: code, limit: DATASTREAMS_MAX }, signal), loadStations()]);
  const station = stations().byKey.get(key) ?? (await get("/api/v1/stations", { agency, station: code }, signal)).stations.map(prepared)[0];
  const latest = new Map(answer.observations.map((observation) => [streamKey(observation), observation]));
  const title = station ? nameOf(station, lang()) : code;
  const back = h("a", { class: "back", href: "#/stations" }, icon("back", 16), t("station.back"));
  if (!station && latest.size === 0) {
    fill(root, back, pageHead(t("station.unknown")), emptyState(t("station.unknown.text", { key }), t("station.unknown.hint")));
    return t("station.unknown");
  }

  const badge = h("span", {}, station && stateBadge(stateOf(station)));
  const seen = h("dd", {}, ageText(station?.time_ms ?? null));
  const list = h("div", { class: "datastreams" });
  const chart = h("section", { class: "card chart-card", "aria-labelledby": "chart-title" });
  const messages = h("div", { class: "messages" }, loadingState(3));
  fill(root, back,
    pageHead(title, badge), h("p", { class: "subtitle" }, h("span", { class: "mono" }, key)),
    station && h("dl", { class: "facts wide" },
      fact(t("filter.agency"), agencyName(agency)),
      fact(t("station.place"), station.commune?.name ?? t("place.unknown")),
      fact(t("station.coordinates"), coordinates(station)),
      fact(t("station.domains"), station.domains.map(domainName).join(", ") || "–"),
      h("div", { class: "fact" }, h("dt", {}, t("station.seen")), seen)),
    h("div", { class: "station-columns" },
      h("section", { class: "card", "aria-labelledby": "latest-title" }, h("div", { class: "card-head" }, h("h2", { id: "latest-title" }, t("station.latest")), h("span", { class: "muted" }, tn("station.datastreams", latest.size, integer(latest.size)))), list),
      chart),
    h("section", { class: "card", "aria-labelledby": "messages-title" }, h("h2", { id: "messages-title" }, t("messages.title")), h("p", { class: "muted" }, t("messages.lead")), messages));

  const asked = query.get("property");
  const panel = seriesPanel(chart, { station: key, range: query.get("range") ?? "day", signal, changed: (choice) => setQuery(choice) });
  const choose = (chosen) => {
    drawDatastreams(list, latest, chosen, choose);
    panel.choose(latest.get(chosen));
  };
  if (latest.size === 0) fill(list, emptyState(t("station.no_values"), null));
  else choose(latest.has(asked) ? asked : firstChoice(latest, asked));
  readMessages(messages, key, signal);

  const redraw = throttled(() => updateDatastreams(list, latest), REDRAW_MS, signal);
  const messagesAgain = throttled(() => readMessages(messages, key, signal), MESSAGES_MS, signal);
  const drawStation = () => {
    const now = stations().byKey.get(key);
    if (!now) return;
    fill(badge, stateBadge(stateOf(now)));
    fill(seen, ageText(now.time_ms));
  };
  const take = (observation) => {
    const known = latest.get(streamKey(observation));
    panel.observed(observation);
    if (known && Date.parse(known.phenomenonTime) > Date.parse(observation.phenomenonTime)) return;
    latest.set(streamKey(observation), observation);
    observed(observation);
    drawStation();
    if (known) redraw();
    else choose(panel.chosen() ?? streamKey(observation));
  };
  const missed = throttled(async () => {
    // Without an answer there will be another connection, or the next value.
    const read = await get("/api/v1/latest", { agency, station: code, limit: DATASTREAMS_MAX }, signal).catch(() => null);
    if (read === null) return;
    const isOther = (observation) => {
      const known = latest.get(streamKey(observation));
      return !known || known.phenomenonTime !== observation.phenomenonTime || known.position !== observation.position;
    };
    const others = read.observations.filter(isOther);
    others.forEach(take);
    if (others.length > 0) messagesAgain();
    updateAges(list, latest);
  }, MISSED_MS, signal);
  let isFirst = true;
  onStations(drawStation, signal);
  every(AGES_MS, () => {
    drawStation();
    updateAges(list, latest);
  }, signal);
  listen({ station: key }, {
    observation: (observation) => {
      if (keyOf(observation) !== key) return;
      take(observation);
      messagesAgain();
    },
    opened: () => {
      missed();
      loadStations();
      // The first time the chart has only just been read.
      if (!isFirst) panel.refresh();
      isFirst = false;
    },
    skipped: () => {
      missed();
      panel.refresh();
    },
  }, signal);
  return title;
}

/** What people ask of a station first; else its first number; else whatever it has. */
function firstChoice(latest, asked) {
  const all = [...latest.values()];
  const found = all.find((observation) => observation.property === asked)
    ?? FIRST_ASKED.map((base) => all.find((observation) => baseProperty(observation.property) === base)).find(Boolean)
    ?? all.find((observation) => typeof observation.result === "number") ?? all[0];
  return streamKey(found);
}

function coordinates(station) {
  if (station.latitude === null || station.longitude === null) return t("place.unknown");
  const format = new Intl.NumberFormat(lang() === "vi" ? "vi-VN" : "en-GB", { minimumFractionDigits: 4, maximumFractionDigits: 4 });
  return h("a", { href: `#/?at=${station.latitude},${station.longitude}` }, `${format.format(station.latitude)}° B, ${format.format(station.longitude)}° Đ`
    .replace("° B", t("station.north")).replace("° Đ", t("station.east")));
}

function drawDatastreams(list, latest, chosen, choose) {
  const hadFocus = list.contains(document.activeElement);
  const inOrder = [...latest.values()].sort((a, b) => a.domain.localeCompare(b.domain) || propertyName(a.property).localeCompare(propertyName(b.property), "vi") || a.property.localeCompare(b.property));
  fill(list, inOrder.map((observation) => h("button", {
    type: "button", class: "datastream", "aria-pressed": String(streamKey(observation) === chosen), "data-key": streamKey(observation),
    on: { click: () => choose(streamKey(observation)) },
    "data-drawn": revisionOf(observation),
  }, datastreamContent(observation))));
  if (hadFocus) list.querySelector('[aria-pressed="true"]')?.focus();
}

function updateDatastreams(list, latest) {
  for (const button of list.querySelectorAll(".datastream")) {
    const observation = latest.get(button.dataset.key);
    if (!observation || button.dataset.drawn === revisionOf(observation)) continue;
    fill(button, datastreamContent(observation));
    button.classList.add("is-new");
    button.dataset.drawn = revisionOf(observation);
  }
}

/** A correction has the same time, but comes from another message. */
function revisionOf(observation) {
  return `${observation.phenomenonTime} ${observation.position}`;
}

function updateAges(list, latest) {
  for (const button of list.querySelectorAll(".datastream")) {
    const observation = latest.get(button.dataset.key);
    if (observation) button.querySelector(".datastream-age").textContent = age(observation.phenomenonTime);
  }
}

function datastreamContent(observation) {
  const { text, unit } = result(observation.result, observation.unit, observation.property);
  return [
    h("span", { class: "datastream-name" }, propertyName(observation.property)),
    h("span", { class: "datastream-value" }, h("b", {}, text), unit && h("span", { class: "unit" }, ` ${unit}`)),
    h("span", { class: "datastream-facts" },
      qualifiers(observation.property).map((qualifier) => h("span", { class: "tag" }, qualifier)),
      isRemarkable(observation) && qualityBadge(observation.quality),
      observation.status && h("span", { class: "tag", title: t("station.status") }, observation.status),
      observation.period_s && h("span", { class: "muted" }, t("station.period", { duration: duration(observation.period_s) })),
      h("span", { class: "muted datastream-age", title: dateTime(observation.phenomenonTime) }, age(observation.phenomenonTime))),
  ];
}

async function readMessages(place, key, signal) {
  const open = new Set([...place.querySelectorAll("details[open]")].map((element) => element.dataset.position));
  let answer;
  try {
    answer = await get("/api/v1/messages", { station: key, limit: MESSAGES }, signal);
  } catch (error) {
    if (error.status === 404) fill(place, emptyState(t("messages.none"), t("messages.none.hint")));
    else if (!signal.aborted) fill(place, errorState(error, () => readMessages(place, key, signal)));
    return;
  }
  const recycled = answer.recycled > 0 && h("p", { class: "muted" }, t("messages.recycled", { n: integer(answer.recycled) }));
  if (answer.messages.length === 0) {
    fill(place, recycled || emptyState(t("messages.none"), t("messages.none.hint")));
    return;
  }
  const focused = place.contains(document.activeElement) ? document.activeElement.closest("details")?.dataset.position : null;
  fill(place, answer.messages.map((message) => messageRow(message, open.has(String(message.position)))), recycled);
  if (focused) place.querySelector(`details[data-position="${CSS.escape(focused)}"] summary`)?.focus();
}

function messageRow(message, isOpen) {
  const row = h("details", { class: "message", "data-position": message.position, open: isOpen },
    h("summary", {},
      h("time", { datetime: message.received }, dateTime(message.received)),
      h("span", { class: "mono" }, `#${message.position}`),
      h("span", { class: "tag" }, `QoS ${message.qos}`),
      message.dup && h("span", { class: "tag" }, "DUP"),
      h("span", { class: "muted" }, bytes(message.payload_bytes)),
      h("code", { class: "message-preview" }, message.payload_text?.slice(0, 160) ?? t("messages.binary"))));
  const body = h("div", { class: "message-body" });
  row.append(body);
  const draw = () => {
    if (row.open && body.childElementCount === 0) {
      fill(body, h("dl", { class: "facts" }, fact(t("quarantine.topic"), h("code", {}, message.topic)), fact(t("quarantine.client"), h("code", {}, message.client))), payloadView(message));
    }
  };
  row.addEventListener("toggle", draw);
  draw();
  return row;
}

// The chart of a station's page: one datastream over an hour, a day, a week or a month, read from `/api/v1/series`.

import { get } from "./api.js";
import { drawChart, summary } from "./chart.js";
import { fill, h, throttled } from "./dom.js";
import { date, dateTime, decimal, duration, integer, now_ms, percent, qualifiers, unit as unitText } from "./format.js";
import { has, t } from "./i18n.js";
import { icon } from "./icons.js";
import { newest_ms, propertyName } from "./names.js";
import { choices, emptyState, errorState, fact, loadingState } from "./parts.js";

const RANGES_MS = { hour: 3_600_000, day: 86_400_000, week: 7 * 86_400_000, month: 30 * 86_400_000 };
/** Live observations ask for the series again, at most so often. */
const REFRESH_MS = { hour: 3_000, day: 10_000, week: 60_000, month: 60_000 };
const POINTS_MIN = 120;
const POINTS_MAX = 600;
/** Fewer and the band shows more of the noise than the line. */
const PIXELS_PER_POINT = 3;
const TABLE_ROWS_MAX = 200;

/** What tells the datastreams of a station apart: one property may come in several periods. */
export function streamKey(observation) {
  return observation.period_s ? `${observation.property}@${observation.period_s}` : observation.property;
}

/** Fills `place` with the chart; `choose(observation)` says of which datastream. */
export function seriesPanel(place, { station, range, signal, changed }) {
  const state = { observation: null, range: Object.hasOwn(RANGES_MS, range) ? range : "day", end_ms: null, chart: null, asked: 0, steps: null };
  const head = h("div", { class: "card-head" });
  const canvas = h("div", { class: "chart", "data-state": "empty" });
  const foot = h("div", { class: "chart-foot" });
  const tools = h("div", { class: "chart-tools" });
  fill(head, h("h2", { id: "chart-title" }, t("chart.title")));
  fill(canvas, emptyState(t("station.no_values"), null));
  fill(place, head, tools, canvas, foot);
  signal.addEventListener("abort", () => state.chart?.destroy());

  const window = () => {
    const to_ms = state.end_ms ?? now_ms();
    return { from_ms: to_ms - RANGES_MS[state.range], to_ms };
  };
  const clear = () => {
    state.chart?.destroy();
    state.chart = null;
  };

  const read = async () => {
    const mine = (state.asked += 1);
    const { observation } = state;
    const { from_ms, to_ms } = window();
    const points = Math.round(Math.min(POINTS_MAX, Math.max(POINTS_MIN, (place.clientWidth || 600) / PIXELS_PER_POINT)));
    canvas.dataset.state = "loading";
    if (!state.chart) fill(canvas, loadingState(4));
    try {
      const series = await get("/api/v1/series", {
        datastream: `${station}/${observation.property}`, period_s: observation.period_s, from: new Date(from_ms).toISOString(),
        // A device's clock may be ahead: its newest value is shown too.
        to: new Date(state.end_ms === null ? newest_ms() : to_ms).toISOString(), points,
      }, signal);
      if (mine === state.asked) draw(series, from_ms, Math.max(to_ms, series.time_ms.at(-1) ?? to_ms));
    } catch (error) {
      if (signal.aborted || mine !== state.asked) return;
      clear();
      canvas.dataset.state = "error";
      fill(canvas, errorState(error, read));
      fill(foot);
    }
  };

  const draw = (series, from_ms, to_ms) => {
    if (series.time_ms.length === 0) {
      clear();
      canvas.dataset.state = "empty";
      fill(canvas, emptyChart());
      fill(foot);
      return;
    }
    const unit = unitText(series.unit ?? state.observation.unit);
    if (state.chart) {
      state.chart.update(series, { from_ms, to_ms });
    } else {
      state.chart = drawChart(canvas, series, { unit, from_ms, to_ms, ...stateOptions(state.observation) });
    }
    canvas.dataset.state = "drawn";
    canvas.querySelector("canvas").setAttribute("role", "img");
    canvas.querySelector("canvas").setAttribute("aria-label", t("chart.label", { name: propertyName(state.observation.property), range: t(`range.${state.range}`).toLowerCase() }));
    fill(foot, footer(series, unit, stateOptions(state.observation).states));
  };

  const emptyChart = () => {
    const isText = typeof state.observation.result === "string";
    if (isText) return emptyState(t("chart.text"), t("chart.text.hint"));
    const newest_ms = Date.parse(state.observation.phenomenonTime);
    const jump = newest_ms < window().from_ms && h("button", { type: "button", class: "button", on: { click: () => move(newest_ms + 1000) } }, t("chart.jump", { date: date(newest_ms) }));
    return emptyState(t("chart.none"), t("chart.none.hint"), jump);
  };

  const move = (end_ms) => {
    state.end_ms = end_ms === null || end_ms >= now_ms() ? null : end_ms;
    clear();
    drawTools();
    read();
  };

  const drawTools = () => {
    const { from_ms, to_ms } = window();
    const step = (sign, label, name) => h("button", {
      type: "button", class: "icon-button", "aria-label": label, title: label, disabled: sign > 0 && state.end_ms === null,
      on: { click: () => move(to_ms + sign * RANGES_MS[state.range]) },
    }, icon(name, 16));
    fill(tools,
      choices(t("chart.range"), Object.keys(RANGES_MS).map((name) => [name, t(`range.${name}`)]), state.range, (next) => {
        state.range = next;
        clear();
        drawTools();
        tools.querySelector('[aria-pressed="true"]').focus();
        remember();
        read();
      }),
      h("div", { class: "chart-move" }, step(-1, t("chart.earlier"), "back"),
        h("span", { class: "muted" }, state.end_ms === null ? t("chart.until_now") : `${dateTime(from_ms)} – ${dateTime(to_ms)}`),
        step(1, t("chart.later"), "chevron")));
  };
  const remember = () => changed({ property: streamKey(state.observation), range: state.range === "day" ? "" : state.range });

  const refresh = { };
  for (const [name, interval_ms] of Object.entries(REFRESH_MS)) refresh[name] = throttled(read, interval_ms, signal);

  return {
    chosen: () => (state.observation ? streamKey(state.observation) : null),
    choose: (observation) => {
      const isOther = state.observation === null || streamKey(state.observation) !== streamKey(observation);
      if (!isOther) return;
      const wasNone = state.observation === null;
      state.observation = observation;
      state.end_ms = null;
      clear();
      fill(head, h("h2", { id: "chart-title" }, propertyName(observation.property), qualifiers(observation.property).map((text) => h("span", { class: "tag" }, text))),
        h("span", { class: "muted" }, unitText(observation.unit)));
      drawTools();
      if (!wasNone) remember();
      read();
    },
    observed: (observation) => {
      if (state.observation === null || streamKey(observation) !== streamKey(state.observation)) return;
      if (Date.parse(observation.phenomenonTime) >= Date.parse(state.observation.phenomenonTime)) state.observation = observation;
      if (state.end_ms === null) refresh[state.range]();
    },
    /** Values were missed. */
    refresh: () => {
      if (state.observation !== null) refresh[state.range]();
    },
  };
}

/** Booleans are drawn as steps between their two names. */
function stateOptions(observation) {
  if (typeof observation.result !== "boolean") return {};
  const base = observation.property.split(";", 1)[0];
  const name = (value) => (has(`value.${base}.${value}`) ? t(`value.${base}.${value}`) : t(`value.${value}`));
  return { stepped: true, states: { 0: name(false), 1: name(true) } };
}

function footer(series, unit, states) {
  const figures = summary(series);
  const value = (number) => `${decimal(number, 5)}${unit ? ` ${unit}` : ""}`;
  return [
    h("dl", { class: "figures small" },
      states
        ? fact(t("chart.share", { state: states[1] }), percent(figures.mean * figures.count, figures.count))
        : [fact(t("chart.min"), value(figures.min)), fact(t("chart.mean"), value(figures.mean)), fact(t("chart.max"), value(figures.max))],
      fact(t("chart.count"), integer(figures.count)),
      series.bucket_ms && fact(t("chart.bucket"), duration(Math.max(1, Math.round(series.bucket_ms / 1000))))),
    h("details", { class: "as-table" }, h("summary", {}, t("chart.table")), tableOf(series)),
  ];
}

function tableOf(series) {
  const first = Math.max(0, series.time_ms.length - TABLE_ROWS_MAX);
  const rows = [];
  for (let index = series.time_ms.length - 1; index >= first; index -= 1) {
    rows.push(h("tr", {}, h("th", { scope: "row" }, dateTime(series.time_ms[index])),
      ["min", "mean", "max"].map((column) => h("td", { class: "number" }, decimal(series[column][index], 5))), h("td", { class: "number" }, integer(series.count[index]))));
  }
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("chart.table") }, h("table", { class: "table compact" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("chart.time")), ["min", "mean", "max", "count"].map((column) => h("th", { scope: "col", class: "number" }, t(`chart.${column}`))))),
    h("tbody", {}, rows)));
}

// One line chart over time (uPlot): the mean with the band from least to greatest in each bucket, in UTC+7.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { h } from "./dom.js";
import { axisTime, dateTime, decimal } from "./format.js";
import { t } from "./i18n.js";

const ZONE_S = 7 * 3_600;
const HOUR_S = 3_600;
/** Steps of the time axis. */
const STEPS_S = [60, 300, 600, 900, 1_800, HOUR_S, 2 * HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S, 86_400, 2 * 86_400, 7 * 86_400];
/** Room that a label of the time axis needs. */
const LABEL_PX = 56;
/** A hole of more than so many usual steps is drawn as a hole. */
const GAP_STEPS = 3;

/**
 * The columns of `/api/v1/series` as uPlot wants them: seconds, mean, least, greatest. Where buckets are missing a null
 * breaks the line.
 */
export function columns(series) {
  const data = [[], [], [], []];
  const gap_ms = GAP_STEPS * usualStep(series.time_ms, series.bucket_ms);
  for (let index = 0; index < series.time_ms.length; index += 1) {
    const time_ms = series.time_ms[index];
    const before_ms = series.time_ms[index - 1];
    if (index > 0 && time_ms - before_ms > gap_ms) push(data, (before_ms + time_ms) / 2000, null, null, null);
    push(data, time_ms / 1000, series.mean[index], series.min[index], series.max[index]);
  }
  return data;
}

function push(data, ...values) {
  values.forEach((value, column) => data[column].push(value));
}

/** The median distance of neighbours, at least a bucket. */
function usualStep(time_ms, bucket_ms) {
  const steps = time_ms.slice(1).map((time, index) => time - time_ms[index]).sort((a, b) => a - b);
  return Math.max(bucket_ms ?? 0, steps[Math.floor(steps.length / 2)] ?? 0);
}

function timeSplits(chart, axis, from_s, to_s) {
  const fitting = Math.max(1, chart.bbox.width / devicePixelRatio / LABEL_PX);
  const step = STEPS_S.find((candidate) => (to_s - from_s) / candidate <= fitting) ?? STEPS_S.at(-1);
  const splits = [];
  for (let at = Math.ceil((from_s + ZONE_S) / step) * step - ZONE_S; at <= to_s; at += step) splits.push(at);
  return splits;
}

function timeLabels(chart, splits) {
  const step_ms = splits.length > 1 ? (splits[1] - splits[0]) * 1000 : HOUR_S * 1000;
  return splits.map((at) => axisTime(at * 1000, step_ms));
}

/**
 * Draws into `place`. `options`: `unit`, `from_ms`, `to_ms`, `stepped` (states), `states` (texts of 0 and 1). Gives
 * `{update(series), destroy()}`.
 */
export function drawChart(place, series, options) {
  const readout = h("div", { class: "chart-readout", "aria-hidden": "true" });
  const canvas = h("div", { class: "chart-canvas" });
  place.replaceChildren(readout, canvas);
  let chart = null;
  const build = (data) => {
    chart?.destroy();
    chart = new uPlot(setup(canvas, options, readout), data, canvas);
    // The browser tests read what is drawn.
    canvas.chart = chart;
  };
  build(columns(series));
  const resized = new ResizeObserver(() => {
    if (canvas.clientWidth > 0) chart.setSize({ width: canvas.clientWidth, height: heightFor(canvas) });
  });
  resized.observe(canvas);
  const recolour = () => build(chart.data);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", recolour);
  document.addEventListener("themechange", recolour);
  return {
    update: (next, range) => {
      Object.assign(options, range);
      chart.setData(columns(next), false);
      chart.setScale("x", { min: options.from_ms / 1000, max: options.to_ms / 1000 });
    },
    destroy: () => {
      resized.disconnect();
      dark.removeEventListener("change", recolour);
      document.removeEventListener("themechange", recolour);
      chart.destroy();
    },
  };
}

function heightFor(canvas) {
  return canvas.clientWidth < 480 ? 220 : 300;
}

function setup(canvas, options, readout) {
  const colour = (name) => getComputedStyle(canvas).getPropertyValue(name).trim();
  const font = `12px ${getComputedStyle(canvas).fontFamily}`;
  const grid = { stroke: colour("--line"), width: 1 };
  const stepped = options.stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {};
  const label = (value) => (options.states ? (options.states[value] ?? "") : decimal(value, 5));
  return {
    width: canvas.clientWidth || 600,
    height: heightFor(canvas),
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7, fill: colour("--accent"), stroke: colour("--surface") } },
    scales: {
      x: { time: true, min: options.from_ms / 1000, max: options.to_ms / 1000, range: () => [options.from_ms / 1000, options.to_ms / 1000] },
      y: { range: (chart, least, greatest) => valueRange(least, greatest, options.states) },
    },
    axes: [
      { stroke: colour("--muted"), font, grid, ticks: { ...grid, size: 4 }, splits: timeSplits, values: timeLabels, gap: 6, size: 34 },
      {
        stroke: colour("--muted"), font, grid, ticks: { show: false }, gap: 8,
        size: (chart, values) => Math.max(40, ...(values ?? []).map((value) => 8 * String(value).length + 14)),
        ...(options.states ? { splits: () => [0, 1] } : {}),
        values: (chart, splits) => splits.map(label),
      },
    ],
    series: [
      {},
      { stroke: colour("--accent"), width: 2, points: { show: sparse, size: 5, fill: colour("--accent") }, spanGaps: false, ...stepped },
      { stroke: "transparent", points: { show: false }, ...stepped },
      { stroke: "transparent", points: { show: false }, ...stepped },
    ],
    bands: [{ series: [3, 2], fill: colour("--accent-band") }],
    hooks: { setCursor: [(chart) => readOut(chart, options, readout, label)] },
  };
}

/** Single points are seen only as points. */
function sparse(chart, series, from, to) {
  const pixels = chart.bbox.width / devicePixelRatio;
  return to - from < pixels / 12;
}

function valueRange(least, greatest, states) {
  if (states) return [-0.15, 1.15];
  if (least === null || greatest === null) return [0, 1];
  const room = (greatest - least) * 0.08 || Math.abs(greatest) * 0.05 || 1;
  // Amounts that cannot be negative start at nothing when nothing is near.
  const from = least >= 0 && least - room < (greatest - least) * 0.25 ? 0 : least - room;
  return [from, greatest + room];
}

function readOut(chart, options, readout, label) {
  const index = chart.cursor.idx;
  const mean = index === null || index === undefined ? null : chart.data[1][index];
  if (mean === null || mean === undefined) {
    readout.replaceChildren();
    return;
  }
  const unit = options.unit ? ` ${options.unit}` : "";
  const parts = [h("span", {}, dateTime(chart.data[0][index] * 1000)), h("b", {}, `${label(mean)}${unit}`)];
  const [least, greatest] = [chart.data[2][index], chart.data[3][index]];
  if (least !== greatest && !options.states) parts.push(h("span", {}, t("chart.between", { min: decimal(least, 5), max: decimal(greatest, 5) })));
  readout.replaceChildren(...parts);
}

/** The whole of a series in figures: for the caption and for those who do not see the line. */
export function summary(series) {
  let count = 0;
  let sum = 0;
  for (let index = 0; index < series.count.length; index += 1) {
    count += series.count[index];
    sum += series.mean[index] * series.count[index];
  }
  return {
    count,
    min: series.min.reduce((least, value) => Math.min(least, value), Infinity),
    max: series.max.reduce((greatest, value) => Math.max(greatest, value), -Infinity),
    mean: count > 0 ? sum / count : 0,
    last: series.last.at(-1) ?? null,
  };
}

// All stations, once for every page: read in pages, kept fresh by live observations and read again now and then.

import { get } from "./api.js";
import { throttled } from "./dom.js";
import { now_ms } from "./format.js";
import { limits, readAgencies } from "./names.js";

const PAGE = 1_000;
/** Beyond, the console says that it shows only these. */
export const STATIONS_MAX = 20_000;
const REFRESH_MS = 60_000;
/** Stations that may be suspect no more are asked for one by one, at most so often. */
const DOUBT_MS = 3_000;

export const STATES = ["fresh", "late", "silent", "suspect"];

const listeners = new Set();
const store = { status: "idle", error: null, byKey: new Map(), complete: true, read_ms: 0 };
/** Keys of suspect stations of which something good was heard; at most as many as there are stations. */
const doubtful = new Set();
let reading = null;

export function stations() {
  return store;
}

export function keyOf(station) {
  return `${station.agency}/${station.station}`;
}

/** Calls `listener` at every change until `signal` aborts. */
export function onStations(listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener));
}

function changed() {
  for (const listener of listeners) listener();
}

/** Reads all stations unless that was done a moment ago. */
export function loadStations(force = false) {
  if (reading) return reading;
  if (!force && store.status === "ready" && performance.now() - store.read_ms < REFRESH_MS) return Promise.resolve();
  reading = read().finally(() => {
    reading = null;
    changed();
  });
  return reading;
}

async function read() {
  if (store.status !== "ready") store.status = "loading";
  // A new station may bring a new agency; without it the code is shown.
  readAgencies().catch(() => {});
  try {
    const found = new Map();
    let after = null;
    do {
      const answer = await get("/api/v1/stations", { limit: PAGE, after });
      for (const station of answer.stations) found.set(keyOf(station), prepared(station));
      after = answer.next;
    } while (after && found.size < STATIONS_MAX);
    store.byKey = found;
    doubtful.clear();
    store.complete = !after;
    store.status = "ready";
    store.error = null;
    store.read_ms = performance.now();
  } catch (error) {
    // What was read before is still worth looking at.
    if (store.status !== "ready") store.status = "error";
    store.error = error;
  }
}

/** A station of the API with what the pages work out of it. */
export function prepared(station) {
  const time_ms = station.phenomenon_time ? Date.parse(station.phenomenon_time) : null;
  const words = [station.name, station.name_en, station.station, station.commune?.name, station.agency];
  return { ...station, time_ms, words: folded(words.filter(Boolean).join(" ")) };
}

/** Lower case without accents, and đ as d: what people type in a hurry. */
export function folded(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").replace(/[đĐ]/g, "d").toLowerCase();
}

/** A live observation. Gives the station, or null where it is not known yet. */
export function observed(observation) {
  const station = store.byKey.get(`${observation.agency}/${observation.station}`);
  if (!station) return null;
  const time_ms = Date.parse(observation.phenomenonTime);
  // What comes late says nothing of now.
  if (station.time_ms !== null && time_ms < station.time_ms) return station;
  station.time_ms = time_ms;
  station.phenomenon_time = observation.phenomenonTime;
  if (observation.quality === 3 || observation.quality === 4) {
    station.suspect = true;
  } else if (station.suspect) {
    // Whether all its newest values are good now, the gateway knows.
    doubtful.add(keyOf(station));
    settleDoubt();
  }
  return station;
}

const settleDoubt = throttled(async () => {
  const [key] = doubtful;
  if (key === undefined) return;
  doubtful.delete(key);
  const [agency, station] = key.split("/");
  // Without an answer the next reading of all tells as much.
  const answer = await get("/api/v1/stations", { agency, station }).catch(() => null);
  const known = store.byKey.get(key);
  const [told] = answer?.stations ?? [];
  if (known && told && known.suspect !== told.suspect) {
    known.suspect = told.suspect;
    changed();
  }
  if (doubtful.size > 0) settleDoubt();
}, DOUBT_MS);

/** fresh, late or silent by age; suspect stands above. */
export function stateOf(station, now = now_ms()) {
  if (station.suspect && station.time_ms !== null && now - station.time_ms <= limits.late_ms) return "suspect";
  return freshnessOf(station, now);
}

export function freshnessOf(station, now = now_ms()) {
  if (station.time_ms === null) return "silent";
  const age_ms = now - station.time_ms;
  return age_ms <= limits.fresh_ms ? "fresh" : age_ms <= limits.late_ms ? "late" : "silent";
}

/** The name in the language spoken, else the code. */
export function nameOf(station, lang) {
  return (lang === "en" && station.name_en) || station.name || station.station;
}

/** How many are in each state. */
export function countStates(list, now = now_ms()) {
  const counts = { fresh: 0, late: 0, silent: 0, suspect: 0 };
  for (const station of list) counts[stateOf(station, now)] += 1;
  return counts;
}

setInterval(() => {
  if (listeners.size > 0 && !document.hidden) loadStations();
}, REFRESH_MS + 1_000);

// Names that many pages need: properties (the gateway's catalogue), agencies, communes; and limits of times. Read once;
// agencies again with the stations.

import { get } from "./api.js";
import { baseProperty, now_ms } from "./format.js";
import { has, lang, t } from "./i18n.js";

export const DOMAINS = ["disaster", "environment", "greenery", "lighting", "safety", "traffic", "water", "other"];

/**
 * Settings of the gateway: the ages that part the states (`api.fresh_max_s`, `api.late_max_s`), and how far ahead of its
 * clock an observation may lie (`pipeline.clock_skew_max_s`).
 */
export const limits = { fresh_ms: 900_000, late_ms: 7_200_000, clock_skew_ms: 300_000 };

let properties = {};
let agencies = [];
let communes = [];
let reading = null;

/** Reads all three; what fails stays empty and is asked for again the next time. */
export function loadNames() {
  reading ??= Promise.all([
    get("/console/facts.json").then((facts) => {
      properties = facts.properties;
      limits.fresh_ms = facts.fresh_max_s * 1000;
      limits.late_ms = facts.late_max_s * 1000;
      limits.clock_skew_ms = facts.clock_skew_max_s * 1000;
    }),
    readAgencies(),
    get("/api/v1/communes").then((answer) => { communes = answer.communes; }),
  ]).catch(() => { reading = null; });
  return reading;
}

export async function readAgencies() {
  agencies = (await get("/api/v1/agencies")).agencies;
}

/** The time that no observation of now lies beyond. */
export function newest_ms() {
  return now_ms() + limits.clock_skew_ms;
}

export function allAgencies() {
  return agencies;
}

export function allCommunes() {
  return communes;
}

/** The name of a property without its qualifiers. */
export function propertyName(property) {
  const base = baseProperty(property);
  return properties[base]?.[lang()] ?? base;
}

export function agencyName(code) {
  const agency = agencies.find((found) => found.agency === code);
  return (lang() === "en" && agency?.name_en) || agency?.name || code;
}

export function domainName(domain) {
  return has(`domain.${domain}`) ? t(`domain.${domain}`) : domain;
}

// Names that many pages need: properties (the gateway's catalogue), agencies, communes; and the limits of the states. Read
// once.

import { get } from "./api.js";
import { baseProperty } from "./format.js";
import { has, lang, t } from "./i18n.js";
import { setLimits } from "./stations.js";

export const DOMAINS = ["disaster", "environment", "greenery", "lighting", "safety", "traffic", "water", "other"];

let properties = {};
let agencies = [];
let communes = [];
let reading = null;

/** Reads all three; what fails stays empty and is asked for again the next time. */
export function loadNames() {
  reading ??= Promise.all([
    get("/console/facts.json").then((facts) => {
      properties = facts.properties;
      setLimits(facts);
    }),
    get("/api/v1/agencies").then((answer) => { agencies = answer.agencies; }),
    get("/api/v1/communes").then((answer) => { communes = answer.communes; }),
  ]).catch(() => { reading = null; });
  return reading;
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

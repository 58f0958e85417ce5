// Times, numbers, units and names as people read them. Times are those of Việt Nam (UTC+7), whatever the browser's zone;
// `now_ms` follows the gateway's clock where the browser's is wrong.

import { lang, locale, t, has } from "./i18n.js";

const ZONE_MS = 7 * 3_600_000;
/** A difference of clocks below this is the way of the answer, not a wrong clock. */
const CLOCK_TOLERANCE_MS = 5_000;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

let clock_offset_ms = 0;

/** Learns the gateway's clock from the `Date` header of an answer. */
export function followClock(date_header) {
  const server_ms = Date.parse(date_header ?? "");
  if (Number.isNaN(server_ms)) return;
  const offset = server_ms - Date.now();
  clock_offset_ms = Math.abs(offset) > CLOCK_TOLERANCE_MS ? offset : 0;
}

export function now_ms() {
  return Date.now() + clock_offset_ms;
}

const two = (number) => String(number).padStart(2, "0");

/** The fields of a time in UTC+7. */
export function fields(time) {
  const ms = typeof time === "number" ? time : Date.parse(time);
  if (Number.isNaN(ms)) return null;
  const shifted = new Date(ms + ZONE_MS);
  return {
    year: shifted.getUTCFullYear(),
    month: shifted.getUTCMonth() + 1,
    day: shifted.getUTCDate(),
    hour: shifted.getUTCHours(),
    minute: shifted.getUTCMinutes(),
    second: shifted.getUTCSeconds(),
  };
}

/** dd/MM/yyyy, or "21 Nov 2026". */
export function date(time) {
  const f = fields(time);
  if (!f) return "–";
  return lang() === "vi" ? `${two(f.day)}/${two(f.month)}/${f.year}` : `${f.day} ${MONTHS[f.month - 1]} ${f.year}`;
}

export function clock(time) {
  const f = fields(time);
  return f ? `${two(f.hour)}:${two(f.minute)}:${two(f.second)}` : "–";
}

/** dd/MM/yyyy HH:mm:ss */
export function dateTime(time) {
  return fields(time) ? `${date(time)} ${clock(time)}` : "–";
}

/** Short labels of a time axis. */
export function axisTime(ms, step_ms) {
  const f = fields(ms);
  const day = lang() === "vi" ? `${two(f.day)}/${two(f.month)}` : `${f.day} ${MONTHS[f.month - 1]}`;
  if (step_ms >= 86_400_000) return day;
  const time = `${two(f.hour)}:${two(f.minute)}`;
  return f.hour === 0 && f.minute === 0 ? day : time;
}

/**
 * A time that somebody typed, read as UTC+7: day/month/year with or without a time, or year-month-day. Null where it is no
 * time. (The browser's own field would show its own zone's habits.)
 */
export function parseTyped(text) {
  const day_first = /^(\d{1,2})[/.](\d{1,2})[/.](\d{4})(?:[ ,]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?$/.exec(text.trim());
  const year_first = /^(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?$/.exec(text.trim());
  const found = day_first ?? year_first;
  if (!found) return null;
  const [year, month, day] = day_first ? [found[3], found[2], found[1]] : [found[1], found[2], found[3]];
  const [hour, minute, second] = [found[4] ?? 0, found[5] ?? 0, found[6] ?? 0];
  const utc = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second)));
  // 31/02 would become March.
  if (utc.getUTCMonth() !== Number(month) - 1 || utc.getUTCDate() !== Number(day) || Number(hour) > 23 || Number(minute) > 59) return null;
  return utc.getTime() - ZONE_MS;
}

/** A time as [`parseTyped`] reads it. */
export function typed(ms) {
  const f = fields(ms);
  return `${two(f.day)}/${two(f.month)}/${f.year} ${two(f.hour)}:${two(f.minute)}`;
}

/** Midnight of this day in Việt Nam. */
export function startOfDay(ms) {
  return Math.floor((ms + ZONE_MS) / 86_400_000) * 86_400_000 - ZONE_MS;
}

const AGE_STEPS = [
  ["second", 1_000, 60_000],
  ["minute", 60_000, 3_600_000],
  ["hour", 3_600_000, 86_400_000],
  ["day", 86_400_000, Infinity],
];

/** "3 phút trước", "3 min ago". */
export function age(time) {
  const ms = typeof time === "number" ? time : Date.parse(time);
  if (Number.isNaN(ms)) return "–";
  const difference = ms - now_ms();
  const [unit, unit_ms] = AGE_STEPS.find(([, , until]) => Math.abs(difference) < until);
  const format = new Intl.RelativeTimeFormat(locale(), { style: "short", numeric: "always" });
  return format.format(Math.trunc(difference / unit_ms) || 0, unit);
}

/** "3 phút", "3 min": how long ago, where the column says that it is past. */
export function elapsed(ms) {
  const past_s = Math.max(0, Math.floor((now_ms() - ms) / 1000));
  const unit_s = [86_400, 3_600, 60].find((size) => past_s >= size) ?? 1;
  return duration(Math.floor(past_s / unit_s) * unit_s);
}

export function duration(period_s) {
  if (period_s % 86_400 === 0) return t("duration.days", { n: integer(period_s / 86_400) });
  if (period_s % 3_600 === 0) return t("duration.hours", { n: integer(period_s / 3_600) });
  if (period_s % 60 === 0) return t("duration.minutes", { n: integer(period_s / 60) });
  return t("duration.seconds", { n: integer(period_s) });
}

export function integer(number) {
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: 0 }).format(number);
}

/** A measured value in the language's separators: whole digits always, and decimals up to `significant` digits in all. */
export function decimal(number, significant = 6) {
  const size = Math.abs(number);
  if (size !== 0 && (size >= 1e12 || size < 1e-4)) return number.toExponential(3).replace(".", lang() === "vi" ? "," : ".");
  const whole = size < 1 ? 0 : Math.floor(Math.log10(size)) + 1;
  const digits = Math.max(0, Math.min(size < 1 ? significant : 4, significant - whole));
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(number);
}

export function percent(part, whole) {
  const share = whole > 0 ? part / whole : 0;
  const format = new Intl.NumberFormat(locale(), { style: "percent", maximumFractionDigits: share < 0.01 || share > 0.99 ? 2 : 1 });
  // What is there is never shown as nothing, nor nearly all as all.
  if (part > 0 && share < 0.0001) return `< ${format.format(0.0001)}`;
  return part < whole && share > 0.9999 ? `> ${format.format(0.9999)}` : format.format(share);
}

/** At most this many bytes are worth a decimal. */
export function bytes(count) {
  if (count < 1024) return `${integer(count)} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = count / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${new Intl.NumberFormat(locale(), { maximumFractionDigits: 1 }).format(value)} ${units[unit]}`;
}

const UNITS = {
  1: "", Cel: "°C", deg: "°", "[pH]": "", "[ppm]": "ppm", "[ppth]": "‰", "kW.h": "kWh", "dB{mW}": "dBm", "dB{A}": "dB(A)",
};
const SUPERSCRIPTS = { 2: "²", 3: "³" };

/** A UCUM code as people write it: `ug/m3` → µg/m³, `Cel` → °C. What is no UCUM stays as it was sent. */
export function unit(code) {
  if (code === null || code === undefined) return "";
  if (Object.hasOwn(UNITS, code)) return UNITS[code];
  if (code === "{veh}") return t("unit.vehicles");
  if (code === "{veh}/h") return t("unit.vehicles_per_hour");
  return code
    .replace(/(^|\/)u(?=[a-zA-Z])/g, "$1µ")
    .replace(/([a-zA-Z])([23])(?![0-9])/g, (whole, letter, digit) => letter + SUPERSCRIPTS[digit])
    .replace(/[{}[\]]/g, "");
}

/** A result with its unit, as `{text, unit}`; `property` says how to name a boolean. */
export function result(value, unit_code, property = "") {
  if (value === null || value === undefined) return { text: t("value.missing"), unit: "" };
  if (typeof value === "boolean") {
    const key = `value.${baseProperty(property)}.${value}`;
    return { text: has(key) ? t(key) : t(`value.${value}`), unit: "" };
  }
  if (typeof value === "number") return { text: decimal(value), unit: unit(unit_code) };
  return { text: String(value), unit: unit(unit_code) };
}

export function baseProperty(property) {
  return property.split(";", 1)[0];
}

/** The qualifiers of a property as texts: `flow;class=motorcycle;lane=1` → ["xe máy", "làn 1"]. */
export function qualifiers(property) {
  return property.split(";").slice(1).map((part) => {
    const [name, value = ""] = part.split("=", 2);
    const whole = `qualifier.${name}.${value}`;
    if (has(whole)) return t(whole);
    return has(`qualifier.${name}`) ? t(`qualifier.${name}`, { value }) : `${name} ${value}`;
  });
}

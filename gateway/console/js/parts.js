// What the pages are put together from: badges, empty and error states, selects, headings.

import { langOf } from "./api.js";
import { h, fill } from "./dom.js";
import { icon, stateShape } from "./icons.js";
import { age, dateTime, parseTyped } from "./format.js";
import { has, t } from "./i18n.js";
import { domainName } from "./names.js";

export function stateBadge(state) {
  return h("span", { class: `badge state is-${state}` }, stateShape(state, 12), t(`state.${state}`));
}

const QUALITIES = { 1: "pass", 2: "unknown", 3: "suspect", 4: "fail", 9: "missing" };

/** Whether the quality is worth a word: suspect, failed or missing. */
export function isRemarkable(observation) {
  return observation.quality > 2;
}

/** A QARTOD flag as a word. */
export function qualityBadge(quality) {
  const name = QUALITIES[quality] ?? "unknown";
  return h("span", { class: `badge quality is-${name}` }, t(`quality.${name}`));
}

export function domainTag(domain) {
  return h("span", { class: `tag domain is-${domain}` }, domainName(domain));
}

/** A moment with its age; the whole time is in the title. */
export function ageText(time) {
  if (time === null || time === undefined) return h("span", { class: "muted" }, "–");
  return h("time", { datetime: typeof time === "number" ? new Date(time).toISOString() : time, title: dateTime(time) }, age(time));
}

export function pageHead(title, ...beside) {
  return h("div", { class: "page-head" }, h("h1", {}, title), beside);
}

/** Nothing to show, and what to do about it. */
export function emptyState(title, hint, ...actions) {
  return h("div", { class: "notice empty" }, h("p", { class: "notice-title" }, title), hint && h("p", {}, hint), actions);
}

/** What kind of thing went wrong, the gateway's words about it, and a way to try again. */
export function errorState(error, again) {
  return h("div", { class: "notice error", role: "alert" },
    h("p", { class: "notice-title" }, has(`error.code.${error.code}`) ? t(`error.code.${error.code}`) : t("error.title")),
    error.message ? h("p", { lang: langOf(error) }, error.message) : h("p", {}, t("error.unknown")),
    error.parameter && h("p", { class: "muted" }, t("error.parameter", { parameter: error.parameter })),
    again && h("button", { class: "button", type: "button", on: { click: again } }, t("error.again")));
}

/** Grey bars where rows will be. */
export function loadingState(rows = 5) {
  return h("div", { class: "loading", role: "status" },
    h("span", { class: "visually-hidden" }, t("loading")),
    Array.from({ length: rows }, () => h("span", { class: "loading-row" })));
}

/** A labelled field: `control` gets an id from `name`. */
export function field(name, label, control) {
  control.id = `field-${name}`;
  control.name = name;
  return h("div", { class: `field field-${name}` }, h("label", { for: control.id }, label), control);
}

/** A select of [value, text] pairs. */
export function select(options, value, change) {
  const element = h("select", { on: { change: () => change(element.value) } },
    options.map(([code, text]) => h("option", { value: code, selected: code === value }, text)));
  return element;
}

/** A field for a time in UTC+7; what cannot be read is said at the field, and is not asked for. */
export function timeField(name, label, value, change) {
  const hint = h("small", { class: "field-error", id: `field-${name}-error`, role: "alert" });
  const input = h("input", { type: "text", value, placeholder: t("filter.time_form"), autocomplete: "off", inputmode: "text", "aria-describedby": hint.id });
  input.addEventListener("change", () => {
    const text = input.value.trim();
    const isWrong = text !== "" && parseTyped(text) === null;
    input.setAttribute("aria-invalid", String(isWrong));
    hint.textContent = isWrong ? t("filter.time_wrong") : "";
    if (!isWrong) change(text);
  });
  const whole = field(name, label, input);
  whole.append(hint);
  return whole;
}

/** Choices of which one is taken: buttons in a group. */
export function choices(label, options, value, change) {
  const group = h("div", { class: "choices", role: "group", "aria-label": label });
  const draw = (current) => fill(group, options.map(([code, text]) => h("button", {
    type: "button",
    "aria-pressed": String(code === current),
    on: {
      click: () => {
        draw(code);
        group.querySelector('[aria-pressed="true"]').focus();
        change(code);
      },
    },
  }, text)));
  draw(value);
  return group;
}

export function searchField(name, label, value, change) {
  const input = h("input", { type: "search", value, placeholder: label, autocomplete: "off", spellcheck: "false", on: { input: () => change(input.value) } });
  const whole = field(name, label, input);
  whole.classList.add("search-field");
  whole.querySelector("label").classList.add("visually-hidden");
  whole.append(icon("search", 16));
  return whole;
}

/** A term and its description. */
export function fact(name, ...value) {
  return h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, value));
}

/** Header of a table column that sorts. */
export function sortHeader(column, label, sort, change, numeric = false) {
  const mine = sort.column === column;
  return h("th", { scope: "col", class: numeric && "number", "aria-sort": mine ? (sort.down ? "descending" : "ascending") : "none" },
    h("button", { type: "button", class: "sort", on: { click: () => change({ column, down: mine ? !sort.down : false }) } },
      label, h("span", { class: "sort-mark", "aria-hidden": "true" }, mine ? (sort.down ? "↓" : "↑") : "")));
}

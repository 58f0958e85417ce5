// The two signs in the header: is the gateway ready, is this page live.

import { readiness } from "./api.js";
import { every, fill, h } from "./dom.js";
import { decimal, elapsed, integer, now_ms, percent } from "./format.js";
import { lang, t } from "./i18n.js";
import { watchLive } from "./live.js";
import { fact } from "./parts.js";

const POLL_MS = 10_000;
const DISK_HOURS_LOW = 24;

export function liveStatus(signal) {
  const text = h("span", { class: "sign-text" });
  const sign = h("span", { class: "sign live", role: "img" }, h("span", { class: "dot" }), text);
  watchLive((state) => {
    sign.dataset.state = state;
    text.textContent = t(`live.${state}`);
    sign.title = t(`live.${state}.title`);
    sign.setAttribute("aria-label", t(`live.${state}.title`));
  }, signal);
  return sign;
}

/** A button that opens what `/ready` says. */
export function readinessStatus(signal) {
  const text = h("span", { class: "sign-text" }, t("ready.unknown"));
  const button = h("button", { type: "button", class: "sign ready", "aria-expanded": "false", "aria-controls": "ready-panel" },
    h("span", { class: "dot" }), text);
  const panel = h("div", { class: "panel-float", id: "ready-panel", hidden: true });
  const holder = h("div", { class: "sign-holder" }, button, panel);
  const open = (isOpen) => {
    panel.hidden = !isOpen;
    button.setAttribute("aria-expanded", String(isOpen));
  };
  button.addEventListener("click", () => open(panel.hidden));
  holder.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || panel.hidden) return;
    open(false);
    button.focus();
  });
  document.addEventListener("click", (event) => {
    if (!holder.contains(event.target)) open(false);
  }, { signal });
  const ask = async () => {
    let answer = null;
    try {
      answer = await readiness(signal);
    } catch {
      if (signal.aborted) return;
    }
    draw(button, text, panel, answer);
  };
  ask();
  every(POLL_MS, ask, signal);
  return holder;
}

function draw(button, text, panel, answer) {
  const states = answer?.states ?? [];
  const state = answer === null ? "away" : !answer.ready ? "not_ready" : states.length > 0 ? "warned" : "ready";
  button.dataset.state = state;
  text.textContent = t(`ready.${state}`);
  button.setAttribute("aria-label", `${t("ready.label")}: ${t(`ready.${state}`)}`);
  if (answer === null) {
    fill(panel, h("p", {}, t("ready.away.text")));
    return;
  }
  const hours = answer.disk_hours_left;
  fill(panel,
    states.length === 0 ? h("p", {}, t("ready.ready.text")) : h("ul", { class: "reasons" }, states.map(stateItem)),
    h("dl", { class: "facts" },
      fact(t("ready.clock"), t(`clock.${answer.clock}`)),
      fact(t("ready.disk"), hours === null ? t("ready.disk.unknown") : diskText(hours),
        hours !== null && hours < DISK_HOURS_LOW && h("span", { class: "badge quality is-suspect" }, t("ready.disk.low"))),
      (answer.budgets ?? []).filter(isNoted).map((budget) =>
        fact(t(`budget.${budget.budget}`), percent(budget.used, budget.limit),
          budget.hours_left !== null && ` · ${t("budget.lasts", { time: diskText(budget.hours_left) })}`))),
    h("p", { class: "muted" }, h("a", { href: "#/about" }, t("about.link"))));
}

/** State, since when, cause, remedy, and for how long the rest of its budget lasts. */
function stateItem({ state, for_s, hours_left }) {
  return h("li", {},
    h("b", {}, t(`trouble.${state}`)), ` · ${elapsed(now_ms() - for_s * 1_000)}`,
    h("p", {}, t(`trouble.${state}.cause`)),
    h("p", {}, t(`trouble.${state}.remedy`)),
    hours_left !== null && hours_left > 0 && h("p", { class: "muted" }, t("budget.lasts", { time: diskText(hours_left) })));
}

/** Budgets that somebody should look at: half used, or used up within two days. */
function isNoted({ used, limit, hours_left }) {
  return limit > 0 && (used * 2 >= limit || (hours_left !== null && hours_left < 48));
}

function diskText(hours) {
  if (hours < 48) return t("duration.hours", { n: decimal(Math.round(hours * 10) / 10) });
  const days = hours / 24;
  return days < 3650 ? t("duration.days", { n: integer(Math.floor(days)) }) : t("ready.disk.years", { n: integer(Math.floor(days / 365)), lang: lang() });
}

// The shell round the pages: header, tabs, router.

import { ApiError } from "./api.js";
import { announce, every, fill, h } from "./dom.js";
import { LANGUAGES, lang, setLang, t } from "./i18n.js";
import { icon } from "./icons.js";
import { clock, date, now_ms } from "./format.js";
import { errorState, loadingState } from "./parts.js";
import { liveStatus, readinessStatus } from "./status.js";
import { loadNames } from "./names.js";

const PAGES = {
  "": ["map", () => import("./pages/map.js")],
  stations: ["stations", () => import("./pages/stations.js")],
  station: ["stations", () => import("./pages/station.js")],
  quarantine: ["quarantine", () => import("./pages/quarantine.js")],
  books: ["books", () => import("./pages/books.js")],
  about: ["about", () => import("./pages/about.js")],
};
const TABS = [["map", "#/"], ["stations", "#/stations"], ["quarantine", "#/quarantine"], ["books", "#/books"]];
const THEMES = ["auto", "light", "dark"];

const main = document.getElementById("main");
let page = null;

/** `#/station/a/b?range=day` → the page's name, its parameters and its query. */
function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name, ...parameters] = path.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { name, parameters, query: new URLSearchParams(query) };
}

async function show(focus) {
  page?.abort();
  page = new AbortController();
  const { signal } = page;
  const { name, parameters, query } = route();
  const [tab, load] = PAGES[name] ?? PAGES[""];
  markTab(tab);
  main.className = `page page-${name in PAGES && name !== "" ? name : "map"}`;
  fill(main, loadingState());
  window.scrollTo(0, 0);
  if (focus) main.focus({ preventScroll: true });
  try {
    const [module] = await Promise.all([loaded(load), loadNames()]);
    if (signal.aborted) return;
    const title = await module.show(main, { parameters, query, signal, setQuery: (values) => setQuery(name, parameters, values) });
    if (signal.aborted) return;
    document.title = `${title} · ${t("product")}`;
    if (focus) announce(title);
    fetchOtherPages();
  } catch (error) {
    if (signal.aborted) return;
    fill(main, h("h1", { class: "visually-hidden" }, t("error.title")), errorState(error, () => show(false)));
  }
}

/** A page's module; that it cannot be fetched means that the gateway is away. */
function loaded(load) {
  return load().catch((error) => {
    throw error instanceof TypeError ? new ApiError(0, "unreachable", t("error.unreachable"), null) : error;
  });
}

/** Fetches the other pages' modules, so that a page can be changed, and say what it knows, while the gateway is away. */
function fetchOtherPages() {
  for (const [, load] of Object.values(PAGES)) load().catch(() => {});
}

/** Keeps a page's choices in the address, without a step in the history. */
function setQuery(name, parameters, values) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    if (value !== null && value !== undefined && value !== "") query.set(key, value);
  }
  const path = [name, ...parameters].map(encodeURIComponent).join("/");
  const text = query.toString();
  history.replaceState(history.state, "", `${location.pathname}${location.search}#/${path}${text ? `?${text}` : ""}`);
}

function markTab(tab) {
  for (const link of document.querySelectorAll("[data-tab]")) {
    if (link.dataset.tab === tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function tabLinks() {
  return TABS.map(([name, address]) => h("a", { href: address, "data-tab": name }, icon(name), h("span", {}, t(`nav.${name}`))));
}

function theme() {
  return document.documentElement.dataset.theme ?? "auto";
}

function setTheme(wanted) {
  if (wanted === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = wanted;
  try {
    localStorage.setItem("console.theme", wanted);
  } catch {
    // Storage may be forbidden; the choice holds until the page is closed.
  }
  document.dispatchEvent(new CustomEvent("themechange"));
}

function themeButton() {
  const button = h("button", { type: "button", class: "icon-button" });
  const draw = () => {
    const current = theme();
    fill(button, icon({ auto: "auto", light: "sun", dark: "moon" }[current]));
    const label = t("theme.label", { theme: t(`theme.${current}`) });
    button.setAttribute("aria-label", label);
    button.title = label;
  };
  button.addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
    draw();
  });
  draw();
  return button;
}

function languageButton() {
  const other = LANGUAGES.find((code) => code !== lang());
  return h("button", {
    type: "button", class: "icon-button language", "aria-label": `${other.toUpperCase()}: ${t("language.switch")}`, title: t("language.switch"),
    on: {
      click: () => {
        setLang(other);
        drawShell();
        show(false);
        document.querySelector(".language").focus();
      },
    },
  }, other.toUpperCase());
}

function clockFace(signal) {
  const time = h("b", {});
  const day = h("span", {});
  const face = h("div", { class: "clock", title: t("clock.title") }, time, day);
  const tick = () => {
    time.textContent = clock(now_ms());
    day.textContent = date(now_ms());
  };
  tick();
  every(1_000, tick, signal);
  return face;
}

let shell = null;

function drawShell() {
  shell?.abort();
  shell = new AbortController();
  const { signal } = shell;
  document.getElementById("skip-link").textContent = t("skip");
  fill(document.getElementById("header"),
    h("a", { class: "brand", href: "#/", title: t("brand.label") },
      h("img", { src: "/console/icon.svg", alt: "", width: 28, height: 28 }),
      h("span", {}, h("b", {}, t("product")), h("small", {}, t("product.place")))),
    h("nav", { class: "header-nav", "aria-label": t("nav.label") }, tabLinks()),
    h("div", { class: "header-tools" }, liveStatus(signal), readinessStatus(signal), clockFace(signal), languageButton(), themeButton()));
  const tabs = document.getElementById("tabs");
  tabs.setAttribute("aria-label", t("nav.label_bottom"));
  fill(tabs, tabLinks());
}

document.getElementById("skip-link").addEventListener("click", (event) => {
  // The address's fragment is the page, so the link must not change it.
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", () => show(true));
setLang(lang());
drawShell();
show(false);

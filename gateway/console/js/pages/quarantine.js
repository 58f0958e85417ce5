// What could not be decoded: the list, and one message with its payload, the decoder's sentence and the byte it means.

import { get } from "../api.js";
import { every, fill, h } from "../dom.js";
import { bytes, dateTime, integer, parseTyped } from "../format.js";
import { has, t } from "../i18n.js";
import { icon } from "../icons.js";
import { listen } from "../live.js";
import { agencyName, allAgencies } from "../names.js";
import { ageText, emptyState, errorState, fact, field, loadingState, pageHead, select, timeField } from "../parts.js";
import { payloadView } from "../hex.js";
import { REASONS } from "../reasons.js";

const PAGE = 50;
const REFRESH_MS = 5_000;

export function show(root, context) {
  return context.parameters[0] ? showOne(root, context) : showList(root, context);
}

export function reasonName(reason) {
  return has(`reason.${reason}`) ? t(`reason.${reason}`) : reason;
}

async function showList(root, { query, signal, setQuery }) {
  const filter = Object.fromEntries(["reason", "agency", "client", "from", "to"].map((name) => [name, query.get(name) ?? ""]));
  const list = h("div", { class: "list-place" });
  const state = { entries: [], next: null, asked: 0, quarantined: null };
  const news = h("div", { class: "news", "aria-live": "polite" });
  const remedy = h("div", { class: "remedy" });
  const settled = h("p", { class: "muted" });

  const read = async (after) => {
    const mine = (state.asked += 1);
    if (!after) fill(list, loadingState(6));
    try {
      const answer = await get("/api/v1/quarantine", { ...asParameters(filter), limit: PAGE, after }, signal);
      if (mine !== state.asked) return;
      state.entries = after ? [...state.entries, ...answer.entries] : answer.entries;
      state.next = answer.next;
      news.replaceChildren();
      drawList(list, state, filter, read);
    } catch (error) {
      if (!signal.aborted && mine === state.asked) fill(list, errorState(error, () => read(after)));
    }
  };
  const change = (part) => {
    Object.assign(filter, part);
    setQuery(filter);
    fill(remedy, replayHint(replayCommand(filter)));
    read(null);
  };
  fill(remedy, replayHint(replayCommand(filter)));

  fill(root, pageHead(t("quarantine.title")), h("p", { class: "lead" }, t("quarantine.lead")), filters(filter, change), remedy, settled, news, list);
  await read(null);
  // New entries are offered, not pushed in: a list that moves under the finger is no list.
  const ask = async () => {
    const newest = await get("/api/v1/quarantine", { ...asParameters(filter), limit: 1 }, signal).catch(() => null);
    const position = newest?.entries[0]?.position ?? null;
    if (position === null || position === state.entries[0]?.position || news.childElementCount > 0) return;
    fill(news, h("button", { class: "button", type: "button", on: { click: () => read(null) } }, t("quarantine.news")));
  };
  listen({ only: "books" }, {
    books: (ledger) => {
      const quarantined = ledger.messages.quarantined + ledger.messages.partial;
      const counts = ledger.settled;
      settled.textContent = counts.messages + counts.erased_messages + counts.erased_readings === 0 ? "" : t("quarantine.settled", {
        messages: integer(counts.messages), readings: integer(counts.readings), erased: integer(counts.erased_messages),
      });
      if (state.quarantined !== null && quarantined !== state.quarantined) ask();
      state.quarantined = quarantined;
    },
  }, signal);
  every(12 * REFRESH_MS, ask, signal);
  return t("quarantine.title");
}

function asParameters(filter) {
  const time = (text) => {
    const ms = parseTyped(text);
    return ms === null ? null : new Date(ms).toISOString();
  };
  return { reason: filter.reason, agency: filter.agency, client: filter.client, from: time(filter.from), to: time(filter.to) };
}

/** The command that decodes what is shown once more: first asked, then done. */
function replayCommand(filter) {
  const wanted = asParameters(filter);
  const options = Object.keys(wanted).filter((name) => wanted[name]).map((name) => `--${name} ${quoted(wanted[name])}`);
  return `sensor-gateway quarantine replay ${options.length === 0 ? "--all" : options.join(" ")} --dry-run`;
}

/** As a shell takes it. */
function quoted(text) {
  return /^[A-Za-z0-9._:/+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function replayHint(command) {
  return [h("p", { class: "muted" }, t("quarantine.replay")), h("pre", { class: "command", tabindex: "0" }, h("code", {}, command))];
}

function filters(filter, change) {
  const reasons = [["", t("quarantine.all_reasons")], ...REASONS.map((reason) => [reason, reasonName(reason)])];
  const agencies = [["", t("filter.all_agencies")], ...allAgencies().map((agency) => [agency.agency, agencyName(agency.agency)])];
  const client = h("input", { type: "text", value: filter.client, autocomplete: "off", spellcheck: "false", on: { change: () => change({ client: client.value.trim() }) } });
  const time = (name) => timeField(name, t(`filter.${name}`), filter[name], (text) => change({ [name]: text }));
  return h("form", { class: "filters", on: { submit: (event) => event.preventDefault() } },
    field("reason", t("quarantine.reason"), select(reasons, filter.reason, (reason) => change({ reason }))),
    field("agency", t("filter.agency"), select(agencies, filter.agency, (agency) => change({ agency }))),
    field("client", t("filter.client"), client), time("from"), time("to"));
}

function drawList(list, state, filter, read) {
  if (state.entries.length === 0) {
    const filtered = Object.values(filter).some(Boolean);
    fill(list, emptyState(filtered ? t("quarantine.none_filtered") : t("quarantine.none"), filtered ? t("filter.loosen") : t("quarantine.none.hint")));
    return;
  }
  const focused = state.entries.length > PAGE ? state.entries.length - (state.entries.length % PAGE || PAGE) : -1;
  fill(list,
    h("ul", { class: "entries" }, state.entries.map((entry) => h("li", {}, entryLink(entry)))),
    h("p", { class: "list-foot" },
      h("span", { class: "muted" }, t("quarantine.shown", { n: integer(state.entries.length) })),
      state.next && h("button", { type: "button", class: "button", on: { click: () => read(state.next) } }, t("list.more"))));
  if (focused > 0) list.querySelectorAll(".entry")[focused]?.focus();
}

function entryLink(entry) {
  return h("a", { class: "entry", href: `#/quarantine/${encodeURIComponent(entry.position)}` },
    h("span", { class: "entry-head" },
      h("b", {}, reasonName(entry.reason)),
      ageText(entry.receive_time)),
    h("span", { class: "entry-sentence", lang: "en" }, entry.sentence),
    h("span", { class: "entry-facts" },
      h("code", {}, entry.topic), h("span", {}, entry.client), h("span", {}, bytes(entry.payload_bytes)), h("span", { class: "mono" }, `#${entry.position}`)),
    icon("chevron", 16));
}

async function showOne(root, { parameters, signal }) {
  const position = parameters[0];
  const title = t("quarantine.one", { position });
  const answer = await get(`/api/v1/quarantine/${encodeURIComponent(position)}`, {}, signal).catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });
  const head = [h("a", { class: "back", href: "#/quarantine" }, icon("back", 16), t("quarantine.back")), pageHead(title)];
  if (answer === null) {
    fill(root, head, emptyState(t("quarantine.gone"), t("quarantine.gone.hint")));
    return title;
  }
  fill(root, head, answer.items.map(item));
  return title;
}

function item(entry) {
  const station = stationOf(entry.topic);
  return h("article", { class: "card quarantined" },
    h("div", { class: "verdict-box" },
      h("h2", {}, reasonName(entry.reason)),
      h("p", { class: "sentence", lang: "en" }, entry.sentence),
      h("p", { class: "muted" }, t("quarantine.offset", { offset: integer(entry.offset) }))),
    h("dl", { class: "facts wide" },
      fact(t("quarantine.received"), dateTime(entry.receive_time)),
      fact(t("quarantine.topic"), h("code", {}, entry.topic)),
      fact(t("quarantine.client"), h("code", {}, entry.client)),
      fact(t("quarantine.readings"), integer(entry.readings)),
      fact(t("quarantine.bytes"), bytes(entry.payload_bytes)),
      fact(t("quarantine.code"), h("code", {}, entry.reason)),
      station && fact(t("filter.station"), h("a", { href: `#/station/${station.map(encodeURIComponent).join("/")}` }, station.join("/")))),
    replayHint(`sensor-gateway quarantine replay ${entry.position} --dry-run`),
    h("h3", {}, t("payload.title")),
    payloadView(entry, entry.offset));
}

/** `obs/{agency}/{station}…` → [agency, station]. */
function stationOf(topic) {
  const [root, agency, station] = (topic ?? "").split("/");
  return root === "obs" && agency && station ? [agency, station] : null;
}

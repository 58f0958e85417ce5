// What the pages do: text from devices stays text, the keyboard reaches everything, times are those of Việt Nam, live values
// arrive, what goes wrong is said.

import assert from "node:assert/strict";
import { sound, until } from "./harness.mjs";

export async function checkBehaviour(harness, plan) {
  await harness.check("text from devices is text: names, statuses, clients, topics (A2-4)", () => hostile(harness, plan));
  await harness.check("the keyboard reaches the content, a marker and its popup", () => keyboard(harness));
  await harness.check("language and theme are kept, in the address and over a reload", () => choices(harness));
  await harness.check("times are UTC+7, whatever the browser's zone", () => zone(harness, plan));
  await harness.check("a live value arrives without a reload", () => live(harness, plan));
  await harness.check("a marker follows what is read again; what comes late makes no station suspect", () => markers(harness));
  await harness.check("what a station's page missed is read again, and ages go on", () => missed(harness, plan));
  await harness.check("a fault far into a payload is shown", () => farFault(harness));
  await harness.check("5,000 stations are a bounded number of markers", () => many(harness));
  await harness.check("an error of the API is said in its words, and can be tried again", () => failure(harness));
  await harness.check("nothing is said to be nothing", () => nothing(harness));
  await harness.check("a gateway that is away is said to be away", () => away(harness));
  await harness.check("typed times are read as UTC+7, and wrong ones refused at the field", () => typed(harness, plan));
  await harness.check("sorting and more rows keep the focus", () => list(harness));
}

async function hostile(harness, plan) {
  const pages = {
    "#/stations?q=hostile": plan.hostile.name,
    [`#/station/${plan.hostile.station}`]: plan.hostile.status,
    [`#/quarantine?client=${encodeURIComponent(plan.hostile.client)}`]: plan.hostile.topic,
    [`#/?q=hostile&at=${plan.hostile.latitude},${plan.hostile.longitude}`]: plan.hostile.name,
  };
  for (const [hash, text] of Object.entries(pages)) {
    const page = await harness.open(`/${hash}`);
    await until(page, `${text} at ${hash}`, (wanted) => document.querySelector("main")?.innerText?.includes(wanted), text);
    if (hash.startsWith("#/?")) {
      await page.locator(".marker-holder").first().click();
      await until(page, "the popup", (wanted) => document.querySelector(".popup")?.innerText?.includes(wanted), text);
    }
    await sound(page, "vi");
    await harness.close(page);
  }
}

async function keyboard(harness) {
  const page = await harness.open("/");
  await until(page, "markers", () => document.querySelectorAll(".marker-holder").length > 5);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "skip-link");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  assert.equal(await page.evaluate(() => location.hash), "", "the skip link is no page");
  // On from there, to the first marker of a single station, and into its popup.
  await page.evaluate(() => document.querySelector(".map").map.setZoom(13, { animate: false }));
  let found = false;
  for (let step = 0; step < 400 && !found; step += 1) {
    await page.keyboard.press("Tab");
    found = await page.evaluate(() => document.activeElement.querySelector?.(".marker:not(.cluster)") !== null && document.activeElement.classList.contains("marker-holder"));
  }
  assert.ok(found, "a marker takes the focus");
  const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(ring, "solid", "the focus is seen");
  await page.keyboard.press("Enter");
  await until(page, "a popup with the focus in it", () => document.querySelector(".popup")?.contains(document.activeElement));
  await page.keyboard.press("Escape");
  await until(page, "the popup closed", () => !document.querySelector(".popup"));
  assert.ok(await page.evaluate(() => document.activeElement.classList.contains("marker-holder")), "the focus is back at the marker");
  await harness.close(page);
}

async function choices(harness) {
  const page = await harness.open("/#/books");
  await until(page, "the books", () => document.querySelector(".equation"));
  await page.click(".language");
  await until(page, "English", () => document.querySelector("h1")?.textContent === "Books");
  assert.equal(new URL(page.url()).search, "?lang=en");
  assert.equal(await page.evaluate(() => document.documentElement.lang), "en");
  await page.goto(`${harness.base}/#/books`);
  await until(page, "English again", () => document.querySelector("h1")?.textContent === "Books");
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  const button = page.locator(".header-tools > .icon-button").last();
  await button.click();
  await button.click();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  assert.notEqual(await ground(), light);
  await page.reload();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await harness.close(page);
}

const two = (number) => String(number).padStart(2, "0");

/** dd/MM/yyyy HH:mm:ss in UTC+7, worked out here on its own. */
function inVietnam(time) {
  const at = new Date(Date.parse(time) + 7 * 3_600_000);
  return `${two(at.getUTCDate())}/${two(at.getUTCMonth() + 1)}/${at.getUTCFullYear()} ${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
}

async function zone(harness, plan) {
  const { entries: [entry] } = await harness.api(`/api/v1/quarantine?client=${encodeURIComponent(plan.planted.client)}`);
  const page = await harness.open(`/#/quarantine/${entry.position}`);
  await until(page, "the time of receipt", (text) => document.querySelector("main .facts")?.innerText?.includes(text), inVietnam(entry.receive_time));
  const shown = await page.textContent(".clock b");
  const [hour, minute] = shown.split(":").map(Number);
  const now = new Date(Date.now() + 7 * 3_600_000);
  const difference = Math.abs(hour * 60 + minute - (now.getUTCHours() * 60 + now.getUTCMinutes()));
  assert.ok(Math.min(difference, 1_440 - difference) <= 2, `the clock says ${shown}`);
  await harness.close(page);
}

async function live(harness, plan) {
  const page = await harness.open(`/#/station/${plan.live.station}`);
  const value = () => page.textContent(".datastream-value b");
  await until(page, "the live sign", () => document.querySelector(".sign.live")?.dataset?.state === "live");
  await page.waitForSelector(".datastream-value b");
  const before = await value();
  await until(page, "another value", (old) => (document.querySelector(".datastream-value b")?.textContent ?? old) !== old, before);
  await page.goto(`${harness.base}/#/books`);
  await page.waitForSelector(".equation");
  const received = await page.textContent('[data-group="messages"] [data-count="received"]');
  await until(page, "books that go on", (old) => (document.querySelector(`[data-group="messages"] [data-count="received"]`)?.textContent ?? old) !== old, received);
  assert.deepEqual(page.faults, []);
  await harness.close(page);
}

/** Answers the connections to the events with these bodies in turn, the first as soon as `start` is called; then with silence. */
function eventsInTurn(bodies) {
  let start = null;
  const started = new Promise((resolve) => { start = resolve; });
  const route = (own) => own.route("**/api/v1/events**", async (answer) => {
    await started;
    const body = bodies.shift();
    if (body !== undefined) await answer.fulfill({ contentType: "text/event-stream", body });
  });
  return { start, route };
}

async function markers(harness) {
  const minutesAgo = (minutes) => new Date(Date.now() - 60_000 * minutes).toISOString();
  const event = (name, data) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
  const observation = (number, quality, phenomenonTime) => event("observation", { ...station(number), phenomenonTime, quality, property: "pm2_5", result: 1 });
  const ahead = (seconds) => minutesAgo(-seconds / 60);
  const events = eventsInTurn([
    event("skipped", { skipped: 1 }),
    observation(0, 3, minutesAgo(30)) + observation(1, 3, ahead(30)),
    observation(1, 1, ahead(60)),
  ]);
  let late_min = 60;
  const page = await harness.open("/", {
    prepare: async (own) => {
      await events.route(own);
      await own.route("**/api/v1/stations?**", (route) => {
        const asked = new URL(route.request().url()).searchParams.get("station");
        const both = [{ ...station(0), phenomenon_time: minutesAgo(late_min) }, station(1)];
        return route.fulfill({ json: { stations: both.filter((one) => !asked || one.station === asked), next: null } });
      });
    },
  });
  const shows = (number, state) => page.waitForSelector(`.marker-holder[aria-label^="Trạm ${number},"] .is-${state}`);
  await shows(0, "late");
  late_min = 0;
  events.start();
  await shows(0, "fresh");
  await shows(1, "suspect");
  assert.equal(await page.locator('.marker-holder[aria-label^="Trạm 0,"] .is-fresh').count(), 1, "an old suspicion is no news");
  // A good value, and the gateway says that the station is well.
  await shows(1, "fresh");
  await harness.close(page);
}

async function missed(harness, plan) {
  const events = eventsInTurn([": nothing is told\n\n"]);
  let later_ms = 0;
  const page = await harness.open(`/#/station/${plan.states.station}`, {
    prepare: async (own) => {
      await own.clock.install();
      // Without the gateway's clock the page follows its own, which jumps below.
      await own.route(/\/(ready|api\/v1\/|console\/facts)/, async (route) => {
        const response = await route.fetch();
        const { date, ...headers } = response.headers();
        return route.fulfill({ response, headers });
      });
      await events.route(own);
      await own.route("**/api/v1/latest?**", async (route) => {
        const answer = await (await route.fetch()).json();
        const observations = answer.observations.map((one) => (later_ms === 0 ? one
          : { ...one, result: !one.result, phenomenonTime: new Date(Date.parse(one.phenomenonTime) + later_ms).toISOString() }));
        return route.fulfill({ json: { ...answer, observations } });
      });
    },
  });
  await page.waitForSelector(".datastream-value b");
  const before = await page.textContent(".datastream-value b");
  later_ms = 1_000;
  events.start();
  await until(page, "the value that was missed", (old) => document.querySelector(".datastream-value b").textContent !== old, before);
  const age = await page.textContent(".datastream-age");
  await page.clock.fastForward(20 * 60_000);
  await until(page, "another age", (old) => document.querySelector(".datastream-age").textContent !== old, age);
  await harness.close(page);
}

async function farFault(harness) {
  const text = `${"x".repeat(6_000)}✗${"y".repeat(50)}`;
  const item = {
    position: 7, ordinal: 0, reason: "not_json", sentence: "…", offset: 6_000, receive_time: new Date().toISOString(), topic: "obs/a/b", client: "c", readings: 0,
    payload_bytes: Buffer.byteLength(text), payload_hex: Buffer.from(text).toString("hex"), payload_text: text,
  };
  const page = await harness.open("/#/quarantine/7", { prepare: (own) => own.route("**/api/v1/quarantine/7", (route) => route.fulfill({ json: { items: [item] } })) });
  await page.waitForSelector(".dump mark");
  assert.equal(await page.textContent(".dump mark"), "✗");
  assert.ok((await page.textContent(".dump pre")).length < 4_200, "not the whole");
  await page.click('[data-kind="hex"]');
  await until(page, "the byte", () => document.querySelector(".dump mark")?.textContent === "e2");
  await sound(page, "vi");
  await harness.close(page);
}

async function many(harness) {
  const page = await harness.open("/", {
    prepare: (own) => own.route("**/api/v1/stations?**", (route) => {
      const first = Number(new URL(route.request().url()).searchParams.get("after") ?? 0);
      const stations = Array.from({ length: 1_000 }, (_, index) => station(first + index));
      return route.fulfill({ json: { stations, next: first + 1_000 < 5_000 ? String(first + 1_000) : null } });
    }),
  });
  await until(page, "the legend", () => [...document.querySelectorAll(".state-filter b")].reduce((sum, count) => sum + Number(count.textContent.replace(/\D/g, "")), 0) === 5_000);
  for (const zoom of [8, 10, 12, 14, 16]) {
    await page.evaluate((level) => document.querySelector(".map").map.setView([20.86, 106.68], level, { animate: false }), zoom);
    const markers = await page.locator(".marker-holder").count();
    assert.ok(markers < 600, `${markers} markers at zoom ${zoom}`);
  }
  assert.deepEqual(page.faults, []);
  await harness.close(page);
}

function station(number) {
  // Spread without chance, so that every run sees the same.
  const spread = (factor) => ((number * factor) % 1_000) / 1_000;
  return {
    agency: "H24.05", station: `S${number}`, name: `Trạm ${number}`, name_en: null, commune: null, latitude: 20.6 + 0.5 * spread(617), longitude: 106.2 + 0.8 * spread(379),
    domains: ["environment"], datastreams: 1, phenomenon_time: new Date().toISOString(), state: "fresh", suspect: false,
  };
}

async function failure(harness) {
  let broken = true;
  const sentence = "too many queries are being answered; ask again later";
  const page = await harness.open("/#/quarantine", {
    prepare: (own) => own.route("**/api/v1/quarantine?**", (route) => (broken
      ? route.fulfill({ status: 503, contentType: "application/problem+json", json: { type: "about:blank", status: 503, code: "busy", detail: sentence } })
      : route.continue())),
  });
  await until(page, "the API's sentence", (text) => document.querySelector(".notice.error")?.innerText?.includes(text), sentence);
  assert.equal(await page.textContent('.notice.error [lang="en"]'), sentence, "its language is told");
  assert.equal(await page.textContent(".notice.error .notice-title"), "Cổng cảm biến đang bận");
  broken = false;
  await page.click(".notice.error button");
  await until(page, "the list", () => document.querySelector(".entry"));
  await harness.close(page);
}

async function nothing(harness) {
  const page = await harness.open("/#/stations", { prepare: (own) => own.route("**/api/v1/stations?**", (route) => route.fulfill({ json: { stations: [], next: null } })) });
  await until(page, "the empty state", () => document.querySelector(".notice.empty")?.innerText?.includes("Chưa có trạm nào"));
  await sound(page, "vi");
  await harness.close(page);
}

async function away(harness) {
  let isAway = false;
  const page = await harness.open("/#/stations", { prepare: (own) => own.route("**/*", (route) => (isAway ? route.abort() : route.continue())) });
  await page.waitForSelector("tbody tr");
  // The other pages' modules come after the first page.
  await page.waitForFunction(() => performance.getEntriesByName(`${location.origin}/console/js/pages/books.js`).length > 0);
  isAway = true;
  await page.evaluate(() => { location.hash = "#/books"; });
  await until(page, "the error state", () => document.querySelector(".notice.error")?.innerText?.includes("Không liên lạc được"));
  await until(page, "the readiness sign", () => document.querySelector(".sign.ready")?.dataset?.state === "away");
  await harness.close(page);
}

async function typed(harness, plan) {
  const page = await harness.open("/#/quarantine");
  await page.waitForSelector(".entry");
  let asked = null;
  page.on("request", (request) => {
    if (request.url().includes("/api/v1/quarantine?") && request.url().includes("from=")) asked = new URL(request.url()).searchParams;
  });
  await page.fill("#field-from", "31/02/2026 08:00");
  await page.press("#field-from", "Tab");
  assert.equal(await page.getAttribute("#field-from", "aria-invalid"), "true");
  assert.equal(asked, null, "a wrong time is not asked for");
  await page.fill("#field-from", "21/11/2020 08:30");
  await page.press("#field-from", "Tab");
  await until(page, "the list again", () => document.querySelector(".entry"));
  assert.equal(asked.get("from"), "2020-11-21T01:30:00.000Z");
  assert.ok(plan.planted.count > 0);
  await harness.close(page);
}

async function list(harness) {
  const page = await harness.open("/#/stations");
  await page.waitForSelector("tbody tr");
  await page.click("th:has(.sort) >> nth=3 >> button");
  const heading = await page.evaluate(() => document.activeElement.closest("th")?.getAttribute("aria-sort"));
  assert.equal(heading, "ascending");
  const before = await page.locator("tbody tr").count();
  await page.click(".list-foot .button");
  assert.ok(await page.locator("tbody tr").count() > before);
  const row = await page.evaluate(() => [...document.querySelectorAll("tbody a")].indexOf(document.activeElement));
  assert.equal(row, before, "the first of the new rows has the focus");
  await harness.close(page);
}

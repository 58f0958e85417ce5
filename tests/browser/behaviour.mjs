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

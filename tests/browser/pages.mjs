// Every page in both languages, at desktop and phone width: it shows what the API says, and it is sound.

import assert from "node:assert/strict";
import { sound, until } from "./harness.mjs";

const VIEWS = [
  { name: "desktop", width: 1280, height: 800, scheme: "light" },
  { name: "phone", width: 360, height: 740, scheme: "dark" },
];

export async function checkPages(harness, plan) {
  for (const lang of ["vi", "en"]) {
    for (const view of VIEWS) {
      for (const [name, show] of Object.entries(PAGES)) {
        await harness.check(`${name}, ${lang}, ${view.name}: shows what the API says, no error, no serious fault, no sideways scroll`, async () => {
          const page = await show(harness, plan, (hash, prepare) => harness.open(`/${lang === "en" ? "?lang=en" : ""}${hash}`, { ...view, prepare }), lang);
          await sound(page, lang);
          await harness.close(page);
        });
      }
    }
  }
}

/** All stations, page by page. */
export async function allStations(harness, query = "") {
  const found = [];
  let after = "";
  do {
    const answer = await harness.api(`/api/v1/stations?limit=500${query}${after && `&after=${encodeURIComponent(after)}`}`);
    found.push(...answer.stations);
    after = answer.next ?? "";
  } while (after);
  return found;
}

/** The number in a text, whatever separates its digits. */
export const digits = (text) => Number(text.replace(/\D/g, ""));

const PAGES = { map, stations, station, states, quarantine, quarantined, books, about, unknown };

async function map(harness, plan, open) {
  const page = await open("#/");
  await until(page, "markers", () => document.querySelectorAll(".marker-holder").length > 5);
  const stations = await allStations(harness);
  const shown = await page.evaluate(() => [...document.querySelectorAll(".state-filter b")].map((count) => count.textContent));
  assert.equal(shown.map(digits).reduce((sum, count) => sum + count), stations.length, "the legend counts all stations");
  const placed = stations.filter((one) => one.latitude !== null).length;
  // Zoomed out, everything is in view: the markers stand for all stations that have a place.
  await page.evaluate(() => document.querySelector(".map").map.setView([20.7, 106.85], 8, { animate: false }));
  const labels = await page.evaluate(() => [...document.querySelectorAll(".marker-holder")].map((marker) => [marker.querySelector(".cluster span")?.textContent ?? "1", marker.getAttribute("aria-label")]));
  assert.equal(labels.map(([count]) => digits(count)).reduce((sum, count) => sum + count, 0), placed, "the markers stand for all placed stations");
  for (const [, label] of labels) assert.ok(label?.length > 5, "every marker has a label");
  const ground = await page.evaluate(() => ["map-land", "map-rivers", "map-districts"].map((name) => document.querySelector(`path.${name}`)?.getAttribute("d")?.length ?? 0));
  assert.ok(ground.every((length) => length > 500), `land, rivers and districts are drawn: ${ground}`);
  return page;
}

async function stations(harness, plan, open, lang) {
  const page = await open("#/stations");
  await until(page, "rows", () => document.querySelectorAll("tbody tr").length > 5);
  const all = await allStations(harness);
  assert.equal(digits(await page.textContent(".page-head [role=status]")), all.length);
  assert.equal(await page.locator("tbody tr").count(), Math.min(100, all.length));
  // Search without accents finds what the API finds.
  await page.fill("#field-q", "tram mua");
  const found = await allStations(harness, "&q=tram%20mua");
  assert.ok(found.length > 0 && found.length < all.length);
  await until(page, "the search", (count) => document.querySelectorAll("tbody tr").length === Math.min(100, count), found.length);
  const first = await page.textContent("tbody tr:first-child .cell-name a");
  const names = found.map((one) => (lang === "en" && one.name_en) || one.name);
  assert.ok(names.includes(first), `${first} is one of those found`);
  await page.fill("#field-q", "");
  await page.selectOption("#field-agency", plan.agency);
  const of_agency = await allStations(harness, `&agency=${plan.agency}`);
  await until(page, "the filter", (count) => Number(document.querySelector(".page-head [role=status]")?.textContent.replace(/\D/g, "")) === count, of_agency.length);
  return page;
}

/** The chart draws exactly what `/api/v1/series` says. */
async function station(harness, plan, open) {
  const answers = [];
  const page = await open(`#/station/${plan.charted.station}?property=${encodeURIComponent(plan.charted.property)}`, (own) => {
    own.on("response", (response) => {
      if (response.url().includes("/api/v1/series")) answers.push(response);
    });
  });
  await until(page, "the chart", () => document.querySelector(".chart")?.dataset?.state === "drawn");
  await until(page, "the raw messages", () => document.querySelectorAll(".message").length > 0);
  const drawn = await page.evaluate(() => {
    const { data } = document.querySelector(".chart-canvas").chart;
    const kept = data[0].map((_, index) => index).filter((index) => data[1][index] !== null);
    return data.map((column) => kept.map((index) => column[index]));
  });
  // What was drawn when the page was read: a live value may have asked again meanwhile.
  const bodies = await Promise.all(answers.map(async (response) => ({ url: response.url(), body: await response.json() })));
  const answer = bodies.find(({ body }) => body.time_ms.at(-1) / 1000 === drawn[0].at(-1) && body.mean.at(-1) === drawn[1].at(-1));
  assert.ok(answer, "the chart's last point is that of an answer");
  assert.ok(answer.body.time_ms.length > 20, "there is something to draw");
  assert.deepEqual(drawn[0], answer.body.time_ms.map((time) => time / 1000));
  assert.deepEqual(drawn[1], answer.body.mean);
  assert.deepEqual(drawn[2], answer.body.min);
  assert.deepEqual(drawn[3], answer.body.max);
  const asked = new URL(answer.url).searchParams;
  assert.equal(asked.get("datastream"), `${plan.charted.station}/${plan.charted.property}`);
  const again = await harness.api(`/api/v1/series?${asked}`);
  assert.deepEqual(again.time_ms.slice(0, -2), answer.body.time_ms.slice(0, again.time_ms.length - 2), "the API says the same to others");
  const colours = await page.evaluate(() => {
    const canvas = document.querySelector(".chart-canvas canvas");
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let inked = 0;
    for (let index = 3; index < pixels.length; index += 4) if (pixels[index] > 128) inked += 1;
    return inked;
  });
  assert.ok(colours > 300, "there is ink on the canvas");
  await page.click(".message summary");
  await until(page, "an opened message", () => document.querySelector(".message .dump pre")?.textContent.length > 5);
  return page;
}

/** A datastream of booleans is drawn between its two names. */
async function states(harness, plan, open) {
  const page = await open(`#/station/${plan.states.station}?property=${encodeURIComponent(plan.states.property)}&range=hour`);
  await until(page, "the chart", () => document.querySelector(".chart")?.dataset?.state === "drawn");
  const values = await page.evaluate(() => document.querySelector(".chart-canvas").chart.data[1].filter((value) => value !== null));
  assert.ok(values.length > 0 && values.every((value) => value >= 0 && value <= 1), String(values));
  return page;
}

async function quarantine(harness, plan, open) {
  const page = await open("#/quarantine");
  await until(page, "entries", () => document.querySelectorAll(".entry").length > 0);
  await page.fill("#field-client", plan.planted.client);
  await page.press("#field-client", "Tab");
  await until(page, "the planted payload", (count) => document.querySelectorAll(".entry").length === count, plan.planted.count);
  const { entries } = await harness.api(`/api/v1/quarantine?client=${encodeURIComponent(plan.planted.client)}`);
  assert.equal(entries.length, plan.planted.count);
  const sentences = await page.locator(".entry-sentence").allTextContents();
  assert.deepEqual(sentences, entries.map((entry) => entry.sentence));
  return page;
}

/** The planted payload, byte for byte, with the decoder's sentence and the byte it means. */
async function quarantined(harness, plan, open) {
  const { entries } = await harness.api(`/api/v1/quarantine?client=${encodeURIComponent(plan.planted.client)}`);
  const entry = entries.find((candidate) => candidate.topic === plan.planted.topic);
  const page = await open(`#/quarantine/${entry.position}`);
  await until(page, "the payload", () => document.querySelector(".dump pre"));
  assert.equal(await page.textContent(".sentence"), entry.sentence);
  assert.equal(await page.textContent(".dump pre"), plan.planted.payload);
  assert.equal(await page.textContent(".dump mark"), plan.planted.payload[entry.offset], "the character that the decoder means");
  await page.click('[data-kind="hex"]');
  const hex = await page.evaluate(() => [...document.querySelectorAll(".dump-row")].map((row) => row.textContent.slice(8, 8 + 16 * 3).replace(/\s/g, "")).join(""));
  assert.equal(hex, Buffer.from(plan.planted.payload).toString("hex"));
  return page;
}

async function books(harness, plan, open) {
  const page = await open("#/books");
  await until(page, "both equations", () => document.querySelectorAll(".equation .verdict.is-right").length === 2);
  for (const [group, whole] of [["messages", "received"], ["observations", "total"]]) {
    const counts = await page.evaluate((name) => Object.fromEntries([...document.querySelectorAll(`[data-group="${name}"] [data-count]`)].map((cell) => [cell.dataset.count, cell.textContent])), group);
    const { [whole]: total, sum, ...parts } = Object.fromEntries(Object.entries(counts).map(([name, text]) => [name, digits(text)]));
    assert.ok(total > 0);
    assert.equal(sum, total);
    assert.equal(Object.values(parts).reduce((all, count) => all + count), total, group);
  }
  // One agency, a closed period: exactly the API's figures.
  await page.selectOption("#field-agency", plan.agency);
  const ledger = await harness.api(`/api/v1/ledger?agency=${plan.agency}`);
  await until(page, "the agency's books", (least) => {
    const shown = Number(document.querySelector('[data-group="messages"] [data-count="received"]')?.textContent.replace(/\D/g, ""));
    return shown >= least && shown < least * 2;
  }, ledger.messages.received);
  return page;
}

async function about(harness, plan, open) {
  const page = await open("#/about");
  await until(page, "the sources", () => document.querySelectorAll("main a").length > 8);
  const links = await page.evaluate(() => [...document.querySelectorAll("main a")].map((link) => link.getAttribute("href")));
  for (const link of new Set(links)) {
    const answer = await fetch(`${harness.base}${link}`);
    assert.equal(answer.status, 200, link);
    await answer.body.cancel();
  }
  return page;
}

async function unknown(harness, plan, open) {
  const page = await open("#/station/NOBODY/NOTHING");
  await until(page, "the empty state", () => document.querySelector(".notice.empty"));
  return page;
}

// The pictures of the README and of docs/console.md, taken from a run of the tests.

import { join } from "node:path";
import { until } from "./harness.mjs";
import { openWarned } from "./warned.mjs";

/** Stations that are there to break the console: not for a picture of a city. */
const RUDE = /^(HOSTILE|LIVE|STATES|PLANTED)$/;

async function hideRudeStations(page) {
  await page.route("**/api/v1/stations?**", async (route) => {
    const answer = await route.fetch();
    const { stations, next } = await answer.json();
    await route.fulfill({ json: { stations: stations.filter((one) => !RUDE.test(one.station)), next } });
  });
}

export async function takeScreenshots(harness, plan, dir) {
  const charted = `#/station/${plan.charted.station}?property=${encodeURIComponent(plan.charted.property)}`;
  const { entries } = await harness.api(`/api/v1/quarantine?client=${encodeURIComponent(plan.planted.client)}`);
  const position = entries.find((entry) => entry.topic === plan.planted.topic).position;
  const wide = { width: 1280, height: 800 };
  const shots = [
    ["console-map", "/#/", wide, ".marker-holder"],
    ["console-map-dark", "/?lang=en#/?at=20.845,106.69", { ...wide, scheme: "dark" }, ".marker-holder"],
    ["console-stations", "/#/stations", wide, "tbody tr"],
    ["console-station", `/${charted}`, wide, '.chart[data-state="drawn"]'],
    ["console-books", "/#/books", wide, ".equation"],
    ["console-quarantine", `/#/quarantine/${position}`, wide, ".dump pre"],
    ["console-phone-map", "/#/", { width: 360, height: 740 }, ".marker-holder"],
    ["console-phone-station", `/?lang=en${charted}`, { width: 360, height: 740, scheme: "dark" }, '.chart[data-state="drawn"]'],
  ];
  for (const [name, address, view, ready] of shots) {
    const page = await harness.open(address, { ...view, prepare: hideRudeStations });
    await page.waitForSelector(ready);
    await until(page, "fonts", () => document.fonts.status === "loaded");
    if (name === "console-phone-station") await page.locator(".chart-card").scrollIntoViewIfNeeded();
    // The live sign settles.
    await page.waitForTimeout(1_500);
    // The first one makes Chromium paint what it had put off.
    await page.screenshot();
    await page.screenshot({ path: join(dir, `${name}.png`) });
    await harness.close(page);
  }
  const warned = await openWarned(harness, plan, "vi", wide);
  await warned.screenshot({ path: join(dir, "console-warned.png") });
  await harness.close(warned);
  console.log(`screenshots: ${dir}`);
}

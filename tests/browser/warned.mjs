// B1-3: a gateway in a state that somebody should look at: the header says so, and its panel says what, why and what to do, in
// both languages. And every state and budget that there can be has its words.

import assert from "node:assert/strict";
import { join } from "node:path";
import { sound, until } from "./harness.mjs";

/** A harness for another gateway: the same browser, another address. */
export const at = (harness, base) => Object.assign(Object.create(harness), { base });

export async function openWarned(harness, plan, lang, options) {
  const page = await at(harness, plan.warned.base).open(lang === "en" ? "/?lang=en#/books" : "/#/books", options);
  await until(page, "the warned sign", () => document.querySelector(".sign.ready")?.dataset?.state === "warned");
  await page.click(".sign.ready");
  await until(page, "the panel", () => !document.querySelector("#ready-panel").hidden);
  return page;
}

export async function checkWarned(harness, plan, repository) {
  const { dictionary } = await import(join(repository, "gateway/console/js/dictionary.js"));
  const { state } = plan.warned;
  for (const [lang, texts] of Object.entries(dictionary)) {
    for (const width of [1280, 360]) {
      await harness.check(`a warned gateway says its state, cause and remedy, ${lang}, ${width} px (B1-3)`, async () => {
        const page = await openWarned(harness, plan, lang, { width, height: 740 });
        const sign = page.locator(".sign.ready");
        const label = await sign.getAttribute("aria-label");
        assert.ok(label.includes(texts["ready.warned"]), label);
        const panel = await page.innerText("#ready-panel");
        for (const key of [`trouble.${state}`, `trouble.${state}.cause`, `trouble.${state}.remedy`]) {
          assert.ok(panel.includes(texts[key]), `${key} in ${panel}`);
        }
        await sound(page, lang);
        await page.keyboard.press("Escape");
        assert.ok(await page.evaluate(() => document.querySelector("#ready-panel").hidden), "Escape closes it");
        await harness.close(page);
      });
    }
  }

  await harness.check("every state and budget of the gateway has its words, and no others have (B1-3)", async () => {
    const keys = Object.keys(dictionary.vi);
    const metrics = await (await fetch(`${harness.base}/metrics`)).text();
    const states = [...metrics.matchAll(/^sensor_gateway_state\{state="([^"]+)"\}/gm)].map(([, name]) => name).sort();
    const { budgets } = await (await fetch(`${harness.base}/ready`)).json();
    assert.ok(states.includes(state) && budgets.length > 5, `${states} ${budgets.length}`);
    const named = (prefix, ending = "") => keys.filter((key) => key.startsWith(prefix) && key.endsWith(ending) && key.split(".").length === (ending ? 3 : 2))
      .map((key) => key.slice(prefix.length, key.length - ending.length)).sort();
    for (const ending of ["", ".cause", ".remedy"]) assert.deepEqual(named("trouble.", ending), states);
    // The panel shows budgets with a limit; `budget.lasts` is its sentence.
    const shown = budgets.filter(({ limit }) => limit !== null).map(({ budget }) => budget).sort();
    assert.deepEqual(named("budget.").filter((name) => name !== "lasts"), shown);
  });
}

// One browser, checks by name, and what a page did behind one's back: errors in its log, requests to other hosts.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const axe_source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Generous: a machine of two cores builds and tests at once. */
export const DEADLINE_MS = 60_000;

export class Harness {
  #failures = [];
  #passed = 0;

  constructor(base) {
    this.base = base;
  }

  static async start(base) {
    const harness = new Harness(base);
    harness.profile_dir = mkdtempSync(join(tmpdir(), "console-chromium-"));
    const args = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
    // Chromium's own sandbox refuses to work for root.
    if (process.getuid() === 0) args.push("--no-sandbox");
    harness.browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
    return harness;
  }

  /** A page in a browser that thinks it is in New York, so that a zone of the browser would be seen. */
  async open(address, { width = 1280, height = 800, scheme = "light", prepare } = {}) {
    const context = await this.browser.newContext({ viewport: { width, height }, colorScheme: scheme, timezoneId: "America/New_York", locale: "en-US", reducedMotion: "reduce" });
    const page = await context.newPage();
    page.setDefaultTimeout(DEADLINE_MS);
    page.faults = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) page.faults.push(`${message.type()} in the log: ${message.text()}`);
    });
    page.on("pageerror", (error) => page.faults.push(`uncaught: ${error.message}`));
    page.on("request", (request) => {
      if (!request.url().startsWith(`${this.base}/`) && !request.url().startsWith("data:")) page.faults.push(`asked elsewhere: ${request.url()}`);
    });
    page.on("dialog", (dialog) => {
      page.faults.push(`a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    if (prepare) await prepare(page);
    await page.goto(`${this.base}${address}`);
    return page;
  }

  async close(page) {
    await page.context().close();
  }

  /** Runs one check; a failure is told at the end and stops no other. */
  async check(name, work) {
    const start_ms = performance.now();
    try {
      await work();
      this.#passed += 1;
      console.log(`ok ${((performance.now() - start_ms) / 1_000).toFixed(1).padStart(5)} s  ${name}`);
    } catch (error) {
      this.#failures.push({ name, error });
      console.log(`FAILED  ${name}\n        ${String(error.stack ?? error).split("\n").slice(0, 12).join("\n        ")}`);
    }
  }

  async end() {
    await this.browser.close();
    rmSync(this.profile_dir, { recursive: true, force: true });
    console.log(`browser: ${this.#passed} passed, ${this.#failures.length} failed`);
    return this.#failures.length === 0;
  }

  async api(path) {
    const answer = await fetch(`${this.base}${path}`);
    assert.equal(answer.status, 200, `${path}: ${answer.status}`);
    return answer.json();
  }
}

/** Waits until `ask` gives something true in the page. */
export async function until(page, what, ask, argument) {
  await page.waitForFunction(ask, argument, { timeout: DEADLINE_MS }).catch(() => {
    throw new Error(`waited in vain for: ${what}`);
  });
}

/** What must hold of every page, whatever it shows. */
export async function sound(page, lang) {
  assert.deepEqual(page.faults, [], "the browser's log and requests");
  const found = await page.evaluate(() => ({
    lang: document.documentElement.lang,
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    hostile: window.hostile ?? null,
    images: [...document.querySelectorAll("main img")].length,
    h1: document.querySelectorAll("h1").length,
    text: document.body.innerText,
  }));
  assert.equal(found.lang, lang);
  assert.ok(found.wider <= 0, `${found.wider} px wider than the screen`);
  assert.equal(found.hostile, null, "a script from a device ran");
  assert.equal(found.images, 0, "an element from a device's text stands in the page");
  assert.equal(found.h1, 1, "one first heading");
  for (const wrong of ["undefined", "NaN", "[object", "Invalid Date"]) assert.ok(!found.text.includes(wrong), `the page says "${wrong}"`);
  const keys = (found.text.match(/\b(nav|state|trouble|budget|map|stations|station|chart|messages|quarantine|books|filter|ready|live|error|reason)\.[a-z_.]+\b/g) ?? [])
    // Settings are named in remedies.
    .filter((key) => !key.endsWith("_max"));
  assert.deepEqual(keys, [], "keys without a text");
  await accessible(page);
}

async function accessible(page) {
  // Through the debugger: the page's own policy allows no script from outside it.
  const session = await page.context().newCDPSession(page);
  const expression = `${axe_source};axe.run({resultTypes:["violations"]}).then((result)=>JSON.stringify(result.violations))`;
  const { result, exceptionDetails } = await session.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  assert.equal(exceptionDetails, undefined, "axe ran");
  const grave = JSON.parse(result.value).filter((violation) => ["serious", "critical"].includes(violation.impact));
  const told = grave.map((violation) => `${violation.impact} ${violation.id}: ${violation.nodes.slice(0, 3).map((node) => node.target.join(" ")).join(", ")}`);
  assert.deepEqual(told, [], "axe-core");
}

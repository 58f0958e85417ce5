// node run.mjs BASE PLAN.json [SCREENSHOTS]: checks the console of the gateway at BASE. PLAN says what was published for it;
// tests/tests/console.rs writes it. Exits 0 only if all is well.

import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkBehaviour } from "./behaviour.mjs";
import { checkDictionary } from "./dictionary.mjs";
import { Harness } from "./harness.mjs";
import { checkPages } from "./pages.mjs";
import { takeScreenshots } from "./screenshots.mjs";
import { checkWarned } from "./warned.mjs";

const [base, plan_path, screenshots] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(plan_path, "utf8"));
const repository = join(dirname(fileURLToPath(import.meta.url)), "../..");

const harness = await Harness.start(base);
await checkDictionary(harness, repository);
await checkPages(harness, plan);
await checkBehaviour(harness, plan);
await checkWarned(harness, plan, repository);
if (screenshots) {
  mkdirSync(screenshots, { recursive: true });
  await takeScreenshots(harness, plan, screenshots);
}
process.exitCode = (await harness.end()) ? 0 : 1;

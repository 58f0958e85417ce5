// Both languages have the same keys, every key that a module uses has a text, and every reason of quarantine has a name.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

export async function checkDictionary(harness, repository) {
  const console_dir = join(repository, "gateway/console/js");
  const { dictionary } = await import(join(console_dir, "dictionary.js"));
  const { REASONS } = await import(join(console_dir, "reasons.js"));
  const keys = Object.keys(dictionary.vi);

  await harness.check("both languages have the same keys, none empty", () => {
    assert.deepEqual(Object.keys(dictionary.en).sort(), [...keys].sort());
    for (const texts of Object.values(dictionary)) for (const [key, text] of Object.entries(texts)) assert.ok(text.trim(), key);
  });

  await harness.check("both languages fill in the same values", () => {
    const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort().join();
    for (const key of keys) assert.equal(places(dictionary.en[key]), places(dictionary.vi[key]), key);
  });

  await harness.check("every key that a module uses has a text, and every text is used", () => {
    const sources = readdirSync(console_dir, { recursive: true }).filter((name) => name.endsWith(".js") && name !== "dictionary.js")
      .map((name) => readFileSync(join(console_dir, name), "utf8")).join("\n");
    const whole = [...sources.matchAll(/\b(t|tn|has)\("([^"]+)"/g)].map(([, call, key]) => [call, key]);
    for (const [call, key] of whole) for (const found of call === "tn" ? [`${key}.one`, `${key}.many`] : [key]) assert.ok(keys.includes(found), found);
    // `state.${state}.hint` stands for every key of that form.
    const forms = [...sources.matchAll(/`([a-z_]+\.[^`]*\$\{[^`]*)`/g)].map(([, form]) =>
      new RegExp(`^${form.replace(/\$\{[^}]*\}/g, "\0").replace(/[.*+?^()|[\]\\]/g, "\\$&").replaceAll("\0", "[^ ]+")}$`));
    const literal = new Set([...sources.matchAll(/"([a-z_]+\.[a-z_.]+)"/g)].map(([, key]) => key));
    const unused = keys.filter((key) => !literal.has(key) && !literal.has(key.replace(/\.(one|many)$/, "")) && !forms.some((form) => form.test(key))
      && !whole.some(([, used]) => used === key));
    assert.deepEqual(unused, []);
  });

  await harness.check("every reason of quarantine in the gateway's source has a name", () => {
    const read = (path) => readFileSync(join(repository, path), "utf8");
    const decoder = [...read("codecs/src/payload/error.rs").matchAll(/Self::\w+(?: \{[^}]*\}|\([^)]*\))? => "([a-z0-9_]+)"/g)].map(([, reason]) => reason);
    const pipeline = [...read("gateway/src/pipeline/faults.rs").matchAll(/const [A-Z_]+: &str = "([a-z0-9_]+)"/g)].map(([, reason]) => reason);
    const reasons = [...new Set([...decoder, ...pipeline])].sort();
    assert.ok(reasons.length > 20, reasons.join());
    assert.deepEqual([...REASONS].sort(), reasons);
    for (const reason of reasons) assert.ok(keys.includes(`reason.${reason}`), reason);
  });
}

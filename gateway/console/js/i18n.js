// Which language is spoken, and the texts in it. Vietnamese first; `?lang=en` or the stored choice makes it English.

import { dictionary } from "./dictionary.js";

const STORED = "console.lang";
export const LANGUAGES = ["vi", "en"];

let language = document.documentElement.lang === "en" ? "en" : "vi";

export function lang() {
  return language;
}

/** For `Intl`. */
export function locale() {
  return language === "vi" ? "vi-VN" : "en-GB";
}

export function setLang(wanted) {
  language = LANGUAGES.includes(wanted) ? wanted : "vi";
  document.documentElement.lang = language;
  try {
    localStorage.setItem(STORED, language);
  } catch {
    // Storage may be forbidden; the address keeps the choice.
  }
  const address = new URL(location.href);
  if (language === "vi") address.searchParams.delete("lang");
  else address.searchParams.set("lang", language);
  history.replaceState(history.state, "", address);
}

/** The text of a key, with `{name}` replaced. A key that is missing shows itself. */
export function t(key, values = {}) {
  const text = dictionary[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Whether there is a text: for codes that a newer gateway may bring. */
export function has(key) {
  return Object.hasOwn(dictionary[language], key);
}

/** One or many: `key.one` or `key.many`, with the count as `{n}`. */
export function tn(key, count, shown) {
  return t(count === 1 ? `${key}.one` : `${key}.many`, { n: shown ?? String(count) });
}

// Elements from names, attributes and children. Text always goes through `textContent`: what devices and operators wrote
// (names, topics, statuses, payloads) can never become markup, and no module of the console sets HTML from a string.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. `attributes.on` = listeners by event, `attributes.class` may be an array with false entries. */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** An SVG element. */
export function s(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "class") {
      const names = Array.isArray(value) ? value.filter(Boolean).join(" ") : value;
      if (names) element.setAttribute("class", names);
    } else if (name === "style") {
      // Property by property: a style attribute would be refused by the content security policy.
      for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

/** Adds nodes and texts; passes over null, false and undefined. */
export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** Puts these children in the place of all that were there. */
export function fill(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

/** Calls `work` at most once in `interval_ms`, the last time included. Ends with `signal`. */
export function throttled(work, interval_ms, signal) {
  let timer = null;
  let last = -Infinity;
  const run = () => {
    timer = null;
    last = performance.now();
    work();
  };
  signal?.addEventListener("abort", () => clearTimeout(timer));
  return () => {
    if (timer !== null || signal?.aborted) return;
    timer = setTimeout(run, Math.max(0, last + interval_ms - performance.now()));
  };
}

/** Calls `work` every `interval_ms` while the page is visible, until `signal` aborts. */
export function every(interval_ms, work, signal) {
  const timer = setInterval(() => {
    if (!document.hidden) work();
  }, interval_ms);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** Tells a screen reader, once. */
export function announce(text) {
  const place = document.getElementById("announcer");
  if (place.textContent !== text) place.textContent = text;
}

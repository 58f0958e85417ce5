// The live connection: one server-sent event stream for the page that is shown. A browser opens only six connections to one
// host, so a hidden page gives its stream back and takes a new one when it is looked at again.

import { address } from "./api.js";

const RETRY_MS_MIN = 2_000;
const RETRY_MS_MAX = 30_000;
const EVENTS = ["observation", "books", "skipped"];

let wanted = null;
let source = null;
let retry = null;
let retry_ms = RETRY_MS_MIN;
let state = "off";
const watchers = new Set();

/** Calls `watcher` with "connecting", "live", "lost", "paused" or "off", now and at every change until `signal` aborts. */
export function watchLive(watcher, signal) {
  watchers.add(watcher);
  signal.addEventListener("abort", () => watchers.delete(watcher));
  watcher(state);
}

function setState(next) {
  if (next === state) return;
  state = next;
  for (const watcher of watchers) watcher(state);
}

/**
 * Listens with these filters (`agency`, `station`, `domain`, or `only`) until `signal` aborts. `handlers` by event name get the
 * parsed data; `handlers.opened` is called at every connection, so that what was missed can be read again.
 */
export function listen(filters, handlers, signal) {
  wanted = { filters, handlers };
  retry_ms = RETRY_MS_MIN;
  open();
  const own = wanted;
  signal.addEventListener("abort", () => {
    if (wanted !== own) return;
    wanted = null;
    close();
    setState("off");
  });
}

function open() {
  close();
  if (!wanted) return;
  if (document.hidden) {
    setState("paused");
    return;
  }
  const { filters, handlers } = wanted;
  const opened = new EventSource(address("/api/v1/events", filters));
  source = opened;
  setState("connecting");
  opened.addEventListener("open", () => {
    retry_ms = RETRY_MS_MIN;
    setState("live");
    handlers.opened?.();
  });
  opened.addEventListener("error", () => {
    // The browser's own retry hammers a gateway that is away and gives up on an error answer.
    close();
    setState("lost");
    retry = setTimeout(open, retry_ms);
    retry_ms = Math.min(retry_ms * 2, RETRY_MS_MAX);
  });
  for (const name of EVENTS) {
    const handler = handlers[name];
    if (handler) opened.addEventListener(name, (event) => handler(JSON.parse(event.data)));
  }
}

function close() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

document.addEventListener("visibilitychange", () => {
  if (!wanted) return;
  if (document.hidden) {
    close();
    setState("paused");
  } else if (!source) {
    open();
  }
});

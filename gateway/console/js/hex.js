// Payloads as bytes and as text, with the byte at which the decoder stopped marked.

import { h } from "./dom.js";
import { t } from "./i18n.js";

const ROW = 16;
/** Bytes that are drawn; a payload may have 256 KiB. */
const BYTES_SHOWN_MAX = 4_096;
/** UTF-16 units of text that are drawn, and how many before the marked one where it lies beyond them. */
const TEXT_SHOWN_MAX = 4_096;
const TEXT_BEFORE = 256;

export function bytesOf(hex) {
  const bytes = new Uint8Array(hex.length >> 1);
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = Number.parseInt(hex.substr(2 * index, 2), 16);
  return bytes;
}

/**
 * Offset, bytes, characters, sixteen to a row. `offset` is marked; null marks nothing. `whole` is the length of the payload,
 * of which `bytes` may be the beginning.
 */
export function hexView(bytes, offset = null, whole = bytes.length) {
  const first = firstShown(bytes.length, offset);
  const last = Math.min(bytes.length, first + BYTES_SHOWN_MAX);
  const rows = [];
  for (let start = first; start < last; start += ROW) rows.push(row(bytes, start, Math.min(start + ROW, last), offset));
  return h("div", { class: "dump", tabindex: "0", role: "region", "aria-label": t("payload.hex_label") },
    first > 0 && h("p", { class: "muted" }, t("payload.skipped", { n: String(first) })),
    bytes.length === 0 ? h("p", { class: "muted" }, t("payload.empty")) : h("pre", {}, rows),
    last < whole && h("p", { class: "muted" }, t("payload.more", { n: String(whole - last) })));
}

function firstShown(length, offset) {
  if (offset === null || offset < BYTES_SHOWN_MAX || length <= BYTES_SHOWN_MAX) return 0;
  return Math.floor(Math.min(offset, length) / ROW) * ROW - 4 * ROW;
}

function row(bytes, start, end, offset) {
  const cells = [];
  const characters = [];
  for (let index = start; index < start + ROW; index += 1) {
    const gap = index === start + ROW / 2 ? "  " : " ";
    if (index > start) cells.push(gap);
    if (index >= end) {
      cells.push("  ");
      continue;
    }
    const byte = bytes[index];
    cells.push(marked(byte.toString(16).padStart(2, "0"), index === offset));
    characters.push(marked(byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·", index === offset));
  }
  return h("span", { class: "dump-row" },
    h("span", { class: "dump-offset" }, start.toString(16).padStart(6, "0")), "  ", cells,
    "  ", h("span", { class: "dump-text" }, characters), "\n");
}

function marked(text, isMarked) {
  return isMarked ? h("mark", {}, text) : text;
}

/** The payload as text, with the character at byte `offset` marked. */
export function textView(text, offset = null) {
  const at = offset === null ? -1 : characterAt(text, offset);
  const first = whole(text, at < TEXT_SHOWN_MAX ? 0 : at - TEXT_BEFORE);
  const last = whole(text, Math.min(text.length, first + TEXT_SHOWN_MAX));
  const marked_end = at < 0 ? -1 : at + String.fromCodePoint(text.codePointAt(at)).length;
  const pieces = at < 0 ? [text.slice(first, last)] : [text.slice(first, at), h("mark", {}, text.slice(at, marked_end)), text.slice(marked_end, last)];
  return h("div", { class: "dump", tabindex: "0", role: "region", "aria-label": t("payload.text_label") },
    first > 0 && h("p", { class: "muted" }, t("payload.skipped_text", { n: String(first) })),
    h("pre", { class: "wrap" }, pieces),
    last < text.length && h("p", { class: "muted" }, t("payload.more_text", { n: String(text.length - last) })));
}

/** `index`, or one before it where that is the middle of a character. */
function whole(text, index) {
  const unit = text.charCodeAt(index);
  return index > 0 && unit >= 0xdc00 && unit < 0xe000 ? index - 1 : index;
}

/** Index in UTF-16 units of the character that holds byte `offset` of the UTF-8 text; -1 beyond its end. */
export function characterAt(text, offset) {
  let bytes = 0;
  let index = 0;
  for (const character of text) {
    const code = character.codePointAt(0);
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (bytes > offset) return index;
    index += character.length;
  }
  return -1;
}

/** Switches between hex and text; text first where the payload is text. */
export function payloadView(item, offset = null) {
  const bytes = bytesOf(item.payload_hex ?? "");
  const hasText = typeof item.payload_text === "string" && bytes.length > 0;
  const place = h("div", { class: "payload" });
  const tabs = h("div", { class: "choices small", role: "group", "aria-label": t("payload.view") });
  const show = (kind) => {
    place.replaceChildren(tabs, kind === "text" ? textView(item.payload_text, offset) : hexView(bytes, offset, item.payload_bytes));
    for (const button of tabs.children) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
  };
  for (const kind of hasText ? ["text", "hex"] : ["hex"]) {
    tabs.append(h("button", { type: "button", "data-kind": kind, on: { click: () => show(kind) } }, t(`payload.${kind}`)));
  }
  show(hasText ? "text" : "hex");
  return place;
}

// Questions to the gateway. An error answer (RFC 9457) becomes an `ApiError` with its code, sentence and parameter.

import { followClock } from "./format.js";
import { t } from "./i18n.js";

/** An answer that has not begun by then is given up. */
const TIMEOUT_MS = 20_000;

export class ApiError extends Error {
  /** `lang`: of the sentence `detail`, where it is not that of the page. */
  constructor(status, code, detail, parameter, lang = null) {
    super(detail);
    this.status = status;
    this.code = code;
    this.parameter = parameter;
    this.lang = lang;
  }
}

/** The gateway and the browser speak English. */
export function langOf(error) {
  return error instanceof ApiError ? error.lang : "en";
}

/** `path` with the parameters that have a value. */
export function address(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** The JSON of an answer. `signal` ends the question when its page goes. */
export async function get(path, parameters, signal) {
  const answer = await ask(path, parameters, signal);
  if (!answer.ok) throw await problem(answer);
  return answer.json();
}

/** `/ready`, whose 503 is an answer too. */
export async function readiness(signal) {
  const answer = await ask("/ready", {}, signal);
  if (answer.status !== 200 && answer.status !== 503) throw await problem(answer);
  return answer.json();
}

async function ask(path, parameters, signal) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const signals = signal ? AbortSignal.any([signal, limit]) : limit;
  try {
    const answer = await fetch(address(path, parameters), { signal: signals, headers: { accept: "application/json" } });
    followClock(answer.headers.get("date"));
    return answer;
  } catch (error) {
    if (signal?.aborted) throw error;
    const reason = limit.aborted ? t("error.timeout") : t("error.unreachable");
    throw new ApiError(0, limit.aborted ? "timeout" : "unreachable", reason, null);
  }
}

async function problem(answer) {
  try {
    const body = await answer.json();
    return new ApiError(answer.status, body.code, body.detail ?? body.title, body.parameter ?? null, "en");
  } catch {
    return new ApiError(answer.status, "failed", t("error.status", { status: String(answer.status) }), null);
  }
}

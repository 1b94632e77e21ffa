// Asking the gate. Every answer is JSON; every refusal is an `ApiError` with the gate's own sentence.

/** A refusal: `status` 0 where no answer came. */
export class ApiError extends Error {
  constructor(status, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** How long an answer may take, in milliseconds. */
const PATIENCE = 15_000;

/** When the gate last answered, in milliseconds since 1970. */
export let answered = Date.now();

/** Gives what `GET path?query` answers; `null` and empty parameters are left out. */
export function get(path, query = {}, signal = null, patience = PATIENCE) {
  const set = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
  return ask("GET", `api/${path}${search ? `?${search}` : ""}`, null, signal, patience);
}

/** Gives what `POST path` answers. */
export const post = (path, body = null) => ask("POST", `api/${path}`, body, null, PATIENCE);

async function ask(method, url, body, signal, patience) {
  const timeout = AbortSignal.timeout(patience);
  let response;
  let text;
  try {
    response = await fetch(url, {
      method,
      body: body === null ? null : JSON.stringify(body),
      headers: body === null ? {} : { "Content-Type": "application/json" },
      cache: "no-store",
      credentials: "same-origin",
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The gate does not answer.");
  }
  answered = Date.now();
  let value = null;
  try { value = text === "" ? null : JSON.parse(text); } catch { /* told below by its status */ }
  if (response.ok) return value;
  const wait = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const sentence = value?.error ?? value?.text ?? `The gate answered ${response.status} ${response.statusText}.`;
  throw new ApiError(response.status, sentence, Number.isNaN(wait) ? null : wait);
}

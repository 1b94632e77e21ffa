// The frame: which view is shown, what is always on top (alarms, the lost connection), keys, the zone.
import { ApiError, answered, get, post } from "./api.js";
import { append, el, href, replace, say } from "./dom.js";
import { clock, counted, switchZone, zoneName } from "./format.js";
import * as live from "./live.js";
import * as login from "./login.js";
import * as record from "./record.js";
import * as rule from "./rule.js";
import * as rules from "./rules.js";
import * as story from "./story.js";

/** A view: `title`, and `open(context)`, which fills `context.main` and may give `{ tick(status), close() }`. */
const VIEWS = { live, rules, rule, record, story };
/** Which of the links on top a view belongs to. */
const UNDER = { rule: "rules", story: "record" };
const POLL = 2_000;
/** The status costs the gate nothing, so it is given up sooner than a search. */
const POLL_PATIENCE = 4_000;

const main = document.getElementById("main");
const alarms = document.getElementById("alarms");
let shown = null;
let leave = new AbortController();
let status = null;
let signedIn = true;
let timer = null;

/** Shows the view that the address names. */
async function show({ keepPlace = false } = {}) {
  const [name, search = ""] = location.hash.replace(/^#\/?/u, "").split("?");
  const view = VIEWS[name] ?? live;
  leave.abort();
  leave = new AbortController();
  shown?.close?.();
  shown = null;
  const place = keepPlace ? scrollY : 0;
  replace(main);
  main.setAttribute("aria-busy", "true");
  document.title = `${view.title} · Portcullis`;
  for (const anchor of document.querySelectorAll("nav a[data-view]")) {
    const here = anchor.dataset.view === (UNDER[name] ?? (name in VIEWS ? name : "live"));
    if (here) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  document.body.classList.toggle("signed-out", !signedIn);
  if (!signedIn) {
    showLogin();
    return;
  }
  const signal = leave.signal;
  const context = { main, query: new URLSearchParams(search), signal, status: () => status, report: (error) => report(error, signal) };
  try {
    shown = (await view.open(context)) ?? {};
    if (signal.aborted) return;
    if (status) shown.tick?.(status);
  } catch (error) {
    if (!signal.aborted) report(error, signal);
  }
  if (signal.aborted) return;
  main.removeAttribute("aria-busy");
  scrollTo(0, place);
}

function showLogin() {
  document.title = `${login.title} · Portcullis`;
  document.getElementById("logout").hidden = true;
  replace(alarms);
  main.removeAttribute("aria-busy");
  login.open({ main, done: () => { signedIn = true; again(); } });
}

/** Asks for the status, tells the view, and does so again. */
async function poll() {
  clearTimeout(timer);
  timer = null;
  if (!signedIn || document.hidden) return;
  try {
    status = await get("status", {}, null, POLL_PATIENCE);
    document.getElementById("logout").hidden = false;
    showAlarms();
    await shown?.tick?.(status);
  } catch (error) {
    report(error, null);
  }
  if (signedIn) timer ??= setTimeout(poll, POLL);
}

/** Shows a fault where it belongs: the login, the line on top, or the view. */
function report(error, signal) {
  if (signal?.aborted || error?.name === "AbortError") return;
  if (!(error instanceof ApiError)) throw error;
  if (error.status === 401) {
    if (!signedIn) return;
    signedIn = false;
    show();
  } else if (error.status === 0) {
    showAlarms(true);
  } else if (signal) {
    main.removeAttribute("aria-busy");
    if (!main.querySelector("h1")) append(main, el("h1", {}, document.title.split(" · ")[0]));
    append(main, el("p", { class: "fault", role: "alert" }, error.message));
  }
}

/** What has to be known whatever one looks at. Touched only where it changes, or it would be read out again. */
function showAlarms(lost = false) {
  const texts = [];
  document.body.classList.toggle("lost", lost);
  if (lost) {
    texts.push(["lost", `No answer since ${clock(answered * 1000)}, trying again. What is shown is as of then.`]);
  } else if (status) {
    const { record: kept, rules_loaded: loaded } = status;
    if (kept.state === "failing") {
      const gone = kept.unrecorded > 0 ? ` ${counted(kept.unrecorded, "event is", "events are")} not on the record.` : "";
      texts.push(["failing", `The record cannot be kept: ${kept.error ?? "the reason is not known"}.${gone}`.replace(/\.\.(?= |$)/u, ".")]);
    }
    if (loaded && !loaded.ok) texts.push(["failing", "The rules did not load; those from before decide.", loaded.text]);
  }
  const told = JSON.stringify(texts);
  if (alarms.dataset.told === told && alarms.childElementCount === texts.length) return;
  alarms.dataset.told = told;
  replace(alarms, texts.map(([kind, text, more]) => el("div", { class: `alarm ${kind}` }, text, more ? el("pre", {}, more) : null)));
}

function again() {
  show({ keepPlace: true });
  poll();
}

function showZone() {
  const button = document.getElementById("zone");
  button.textContent = zoneName();
  button.setAttribute("aria-label", `Times in ${zoneName()}; switch`);
}

const keys = document.getElementById("keys");
const keysOn = document.getElementById("keys-on");
try { keysOn.checked = localStorage.getItem("portcullis-keys") !== "off"; } catch { keysOn.checked = true; }
keysOn.addEventListener("change", () => {
  try { localStorage.setItem("portcullis-keys", keysOn.checked ? "on" : "off"); } catch { /* forgotten then */ }
});

const ACTS = {
  1: () => { location.hash = href("live"); },
  2: () => { location.hash = href("rules"); },
  3: () => { location.hash = href("record"); },
  "/": () => main.querySelector("[data-search]")?.focus(),
  j: () => step(1),
  k: () => step(-1),
  u: () => document.getElementById("zone").click(),
  t: () => document.getElementById("theme").click(),
  "?": () => keys.showModal(),
};

/** Moves the focus to the first link of the next row, or of the row before. */
function step(by) {
  const links = [...main.querySelectorAll("tbody tr, li.event")].map((row) => row.querySelector("a, summary")).filter((a) => a?.offsetParent);
  const rows = links.map((anchor) => anchor.closest("tr, li.event"));
  const at = rows.indexOf(document.activeElement?.closest?.("tr, li.event"));
  links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + by, 0), links.length - 1)]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || keys.open || event.isComposing) return;
  if (event.target.closest?.("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (!keysOn.checked && event.key !== "?") return;
  const act = ACTS[event.key];
  if (!act || !signedIn && event.key !== "?" && event.key !== "t") return;
  event.preventDefault();
  act();
});

document.getElementById("skip").addEventListener("click", (event) => {
  // The hash is the view's, so the jump is made by hand.
  event.preventDefault();
  main.focus();
});
document.getElementById("help").addEventListener("click", () => keys.showModal());
document.getElementById("zone").addEventListener("click", () => {
  switchZone();
  showZone();
  say(`Times in ${zoneName()}`);
  show({ keepPlace: true });
});
document.getElementById("logout").addEventListener("click", async () => {
  try {
    await post("logout");
    status = null;
    signedIn = false;
    show();
  } catch (error) {
    report(error, null);
  }
});
addEventListener("hashchange", () => {
  show();
  if (signedIn) main.focus({ preventScroll: true });
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });

showZone();
again();

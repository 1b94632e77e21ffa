// The record: a search whose whole state is in the address, so that it can be kept and sent on.
import { get } from "./api.js";
import { el, href, replace, say } from "./dom.js";
import { KINDS, OUTCOMES, eventTable } from "./events.js";
import { counted, inUtc, zoneName } from "./format.js";

export const title = "Record";

const SPANS = { "": "any time", "1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days", between: "between …" };
const HOURS = { "1h": 1, "24h": 24, "7d": 168, "30d": 720 };
const PAGE = 100;
/** Answers asked for at one press of a button. */
const MAX_ASKS = 20;

/** Fills the view and searches for what the address says. */
export async function open({ main, query, signal, report }) {
  const list = eventTable("Events, newest first");
  const older = el("button", { type: "button", class: "older", hidden: true }, "Older");
  const count = el("p", { class: "hint", role: "status" }, "Searching …");
  const fault = el("p", { class: "fault", role: "alert" });
  replace(main, el("h1", {}, "Record"), form(query), fault, count, list.element, older);
  list.update([], "…");
  let events = [];
  let next = null;
  const asked = parameters(query);

  const more = async () => {
    older.disabled = true;
    try {
      const before = events.length;
      // The gate looks at so many events for one answer; where few fit, an answer may hold none.
      for (let asks = 0; asks < MAX_ASKS && events.length === before; asks += 1) {
        const page = await get("record", { ...asked, before: next, limit: PAGE }, signal);
        events = [...events, ...page.events];
        next = page.next;
        if (next === null) break;
      }
      list.update(events, next === null ? "Nothing on the record fits." : "Nothing fits so far; the search can go on.");
      count.textContent = events.length === 0 ? "" : `${counted(events.length, "event")}${next === null ? ", all that fit" : ", newest first"}`;
      older.hidden = next === null;
      if (before === 0) return;
      const first = events[before];
      if (first) list.rows.get(String(first.seq))?.element.querySelector("a")?.focus();
      say(`${events.length - before} older events`);
    } finally {
      older.disabled = false;
    }
  };
  older.addEventListener("click", () => more().catch(report));
  try {
    await more();
  } catch (error) {
    // What is wrong with the search is said beside it; the rest is the frame's.
    if (error.status !== 400) {
      count.textContent = "";
      list.element.hidden = true;
      throw error;
    }
    fault.textContent = error.message;
    count.textContent = "";
    list.element.hidden = true;
  }
}

function parameters(query) {
  const field = (name) => query.get(name);
  const last = HOURS[field("last")];
  return {
    since: last ? (Date.now() - last * 3_600_000) * 1000 : micros(field("since")),
    until: last ? null : micros(field("until")),
    rule: field("rule"), user: field("user"), client: field("client"), path: field("path"),
    outcome: field("outcome"), kind: field("kind"), flow: field("flow"),
  };
}

/** Times in the address are ISO 8601 in UTC. */
function micros(text) {
  const milliseconds = Date.parse(text ?? "");
  return Number.isNaN(milliseconds) ? null : milliseconds * 1000;
}

function form(query) {
  const now = (name) => query.get(name) ?? "";
  const between = now("since") !== "" || now("until") !== "";
  const text = (name, label, hint, first = false) => el("label", {}, el("span", {}, label),
    el("input", { name, value: now(name), placeholder: hint, autocomplete: "off", spellcheck: "false", autocapitalize: "off", "data-search": first }));
  const select = (name, label, choices) => {
    const current = now(name);
    const all = ["", ...choices, ...(current === "" || choices.includes(current) ? [] : [current])];
    return el("label", {}, el("span", {}, label), el("select", { name }, all.map((choice) => el("option", { value: choice, selected: choice === current }, choice === "" ? "any" : choice))));
  };
  const last = el("select", { name: "last" }, Object.entries(SPANS).map(([value, label]) =>
    el("option", { value, selected: value === (between ? "between" : now("last")) }, label)));
  const bounds = ["since", "until"].map((name) => el("label", {}, el("span", {}, `${name === "since" ? "From" : "To"} (${zoneName()})`),
    el("input", { name, type: "datetime-local", step: "1", value: toField(now(name)) })));
  const showBounds = () => bounds.forEach((bound) => { bound.hidden = last.value !== "between"; });
  last.addEventListener("change", showBounds);
  showBounds();

  const submit = (event) => {
    event.preventDefault();
    const set = Object.fromEntries(new FormData(made));
    if (set.last === "between") {
      delete set.last;
      set.since = fromField(set.since);
      set.until = fromField(set.until);
    } else {
      delete set.since;
      delete set.until;
    }
    for (const name of Object.keys(set)) set[name] = set[name].trim();
    const wanted = href("record", set);
    // The same search again asks again.
    if (location.hash === wanted) dispatchEvent(new HashChangeEvent("hashchange"));
    else location.hash = wanted;
  };
  const made = el("form", { class: "search panel", role: "search", "aria-label": "Search the record", submit },
    text("path", "Path", "/pub/**", true), text("user", "User", "anna, part*"), text("client", "Client", "10.0.0.2, 10.0.0.0/8"), text("rule", "Rule", "its id"),
    select("outcome", "Outcome", OUTCOMES), select("kind", "Kind", KINDS),
    el("label", {}, el("span", {}, "Time"), last), bounds,
    now("flow") === "" ? null : text("flow", "Session's flow", ""),
    el("div", { class: "act" }, el("button", { class: "primary" }, "Search"), " ", el("a", { href: href("record") }, "Clear")));
  return made;
}

/** ISO 8601 to what a field of date and time holds, in the zone shown. */
function toField(text) {
  const milliseconds = Date.parse(text);
  if (Number.isNaN(milliseconds)) return "";
  const shift = inUtc() ? 0 : new Date(milliseconds).getTimezoneOffset() * 60_000;
  return new Date(milliseconds - shift).toISOString().slice(0, 19);
}

function fromField(text) {
  if (!text) return "";
  const milliseconds = Date.parse(inUtc() ? `${text}Z` : text);
  return Number.isNaN(milliseconds) ? "" : new Date(milliseconds).toISOString();
}

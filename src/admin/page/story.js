// One session from its start to its end: each event as a step, in the order it happened.
import { get } from "./api.js";
import { address, dash, el, foreign, href, link, replace } from "./dom.js";
import { counted, bytes, number, span, when } from "./format.js";
import { strip } from "./strip.js";
import { step } from "./steps.js";
import { tone } from "./events.js";

export const title = "Session";

/** A running session is asked again after so many ticks of the frame. */
const EVERY = 2;

const SHOWN = {
  all: ["Everything", () => true],
  files: ["Files", ({ kind, verb }) => kind === "transfer" || kind === "window-transfer" || (kind === "decision" && FILES.has(verb))],
  trouble: ["Denied and amiss", (event) => ["bad", "warn"].includes(tone(event))],
};
const FILES = new Set(["RETR", "STOR", "STOU", "APPE", "DELE", "RNFR", "RNTO", "MKD", "RMD", "LIST", "NLST", "MLSD"]);

/** Fills the view. */
export async function open({ main, query, signal, report }) {
  const flow = query.get("flow");
  const show = query.get("show") in SHOWN ? query.get("show") : "all";
  let story = await get("story", { flow }, signal);
  document.title = `Session #${story.session} · Portcullis`;
  const facts = el("dl", { class: "facts panel" });
  const picture = el("div", { class: "strip" });
  const list = el("ol", { class: "story" });
  const empty = el("p", { class: "empty", hidden: true });
  const more = el("p", { class: "hint" });
  const known = new Map();

  const draw = () => {
    replace(facts, factsOf(story));
    replace(picture, strip(story));
    const fits = SHOWN[show][1];
    for (const event of story.events) {
      const after = afterOf(event, story.events);
      const kept = known.get(event.seq);
      // A step is made again only if something became of it since.
      if (kept && kept.after === after) continue;
      const made = step(event, story.started, after);
      made.hidden = !fits(event);
      if (kept) kept.made.replaceWith(made);
      else list.append(made);
      known.set(event.seq, { made, after });
    }
    const visible = story.events.filter(fits).length;
    empty.hidden = visible > 0;
    empty.textContent = story.events.length === 0 ? "Nothing of this session is on the record." : "Nothing of this kind in this session.";
    more.textContent = story.more ? `Only the first ${number(story.events.length)} events are shown; the record has the others.` : "";
  };

  const choices = Object.entries(SHOWN).map(([name, [label, fits]]) =>
    el("a", { href: href("story", { flow, show: name === "all" ? null : name }), "aria-current": name === show ? "true" : null }, `${label} (${story.events.filter(fits).length})`));
  replace(main,
    el("p", { class: "back" }, link("record", { flow }, "Its events on the record"), " · ", link("record", { client: story.client?.replace(/^\[?(.*?)\]?:\d+$/u, "$1") }, "Everything by this client")),
    el("h1", {}, `Session #${story.session}`, story.user === null ? null : [" of ", foreign(story.user)]),
    facts, picture,
    el("div", { class: "headed" }, el("h2", { id: "events" }, "What happened"), el("p", { class: "choice", role: "group", "aria-label": "What is shown" }, choices)),
    list, empty, more);
  list.setAttribute("aria-labelledby", "events");
  draw();

  const at = query.get("at");
  const target = at === null ? null : known.get(Number(at))?.made;
  if (target) {
    target.classList.add("target");
    setTimeout(() => target.scrollIntoView({ block: "center" }));
  }
  let ticks = 0;
  return {
    async tick() {
      ticks += 1;
      if (story.ended !== null || story.more || ticks % EVERY !== 0) return;
      try {
        story = await get("story", { flow }, signal);
        draw();
      } catch (error) {
        report(error);
      }
    },
  };
}

/** What became of a pinhole: `used`, `unused` with why, or nothing yet. */
function afterOf(event, events) {
  if (event.kind !== "pinhole-opened") return null;
  const id = event.eve?.portcullis?.transfer;
  return events.find(({ kind, eve }) => (kind === "pinhole-used" || kind === "pinhole-unused") && eve?.portcullis?.transfer === id && id !== undefined) ?? null;
}

function factsOf({ client, server, listener, user, started, ended, events }) {
  const transfers = events.filter(({ kind }) => kind === "transfer" || kind === "window-transfer");
  const denied = events.filter(({ kind, outcome }) => kind === "decision" && outcome === "deny").length;
  const violations = events.filter(({ kind }) => kind === "violation").length;
  const seen = events.find(({ eve }) => eve?.portcullis?.seen)?.eve.portcullis.seen;
  const bad = (count) => (count ? el("strong", { class: "bad" }, number(count)) : "0");
  const moved = transfers.reduce((sum, one) => sum + (one.bytes ?? 0), 0);
  return [
    ["Client", address(client)],
    ["Server", address(server)],
    seen ? ["Server sees", address(seen)] : null,
    ["Listener", listener],
    ["User", user === null ? dash() : foreign(user)],
    ["Began", when(started)],
    ["Ended", ended === null ? el("span", { class: "good" }, "still open") : [when(ended), el("small", {}, `after ${span((ended - started) / 1000)}`)]],
    ["Data", [counted(transfers.length, "transfer"), ", ", bytes(moved)]],
    ["Denied", bad(denied)],
    ["Violations", bad(violations)],
  ].filter(Boolean).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
}

// One step of a session's story: an event in words, with what its line on the record adds.
import { address, dash, el, foreign, replace, ruleLink } from "./dom.js";
import { tone } from "./events.js";
import { bytes, number, size, span, when } from "./format.js";

/** Makes the step of an event; `after` is what became of a pinhole. */
export function step(event, started, after) {
  const facts = event.eve?.portcullis ?? {};
  const { head, more } = (WORDS[event.kind] ?? other)(event, facts, after);
  return el("li", { class: `event ${event.kind} ${tone(event)}`.trim(), id: `e${event.seq}` },
    el("div", { class: "at" }, when(event.time, "exact"), el("small", {}, `+${span((event.time - started) / 1000)}`)),
    el("div", { class: "what" }, el("p", { class: "head" }, head), more ?? null, raw(event)));
}

const WORDS = {
  "session-start": (event, { seen }) => ({
    head: [el("b", {}, "Session begins"), " at listener ", event.listener, ", to ", address(event.server), seen ? [", which sees ", address(seen)] : null],
  }),
  decision: (event) => ({
    head: [command(event), " ", el("span", { class: `badge ${tone(event)}` }, event.outcome === "deny" ? "denied" : "allowed"), " by ", ruleLink(event.rule, event.rule_at), place(event)],
    more: event.outcome === "deny" ? answer(event, "Answered") : null,
  }),
  reply: (event) => ({ head: [el("span", { class: "kind" }, "Reply"), " ", replied(event), event.verb ? [" to ", el("code", {}, foreign(event.verb))] : null] }),
  rewrite: (event, { direction, before = "", after = "" }) => ({
    head: [el("b", {}, "Rewrote"), direction === "to_client" ? " for the client" : " for the server", event.rule ? [" under ", ruleLink(event.rule, event.rule_at)] : null],
    more: change(before, after),
  }),
  "pinhole-opened": (event, { mode, pinhole = {} }, after) => ({
    head: [el("b", {}, "Pinhole opened"), mode ? `, ${mode}` : null, event.rule ? [" under ", ruleLink(event.rule, event.rule_at)] : null, " – ", became(after)],
    more: hole(pinhole),
  }),
  "pinhole-used": (event) => ({ head: [el("span", { class: "kind" }, "Pinhole used"), ` after ${span(event.duration_ms)}; it is closed`] }),
  "pinhole-unused": (event) => ({ head: [el("span", { class: "kind" }, "Pinhole closed unused"), `: ${words(event.outcome)}`] }),
  "pinhole-refused": (event, { pinhole, reason }) => ({
    head: [el("b", {}, "Pinhole refused"), reason ? `: ${reason}` : null],
    more: pinhole ? hole(pinhole) : null,
  }),
  transfer: (event, facts) => ({ head: [el("b", {}, "Transfer"), " ", command(event), " ", el("span", { class: `badge ${tone(event)}` }, words(event.outcome)), event.rule ? [" under ", ruleLink(event.rule, event.rule_at)] : null], more: moved(event, facts) }),
  "window-used": (event, { announced }) => ({ head: [el("b", {}, "Window used"), ": the client dialled ", address(announced)] }),
  "window-transfer": (event, facts) => ({ head: [el("b", {}, "Transfer in the window")], more: moved(event, facts) }),
  conversion: (event, { before = "", after = "", reason }) => ({ head: [el("b", {}, "Asked in another form"), reason ? `: ${reason}` : null], more: change(before, after) }),
  "tls-start": (event, { reason }) => ({ head: [el("b", {}, "TLS begins"), ": from here on nothing can be read", reason ? `; ${reason}` : null, event.rule ? [" – allowed by ", ruleLink(event.rule, event.rule_at)] : null] }),
  "tls-end": () => ({ head: [el("b", {}, "TLS ends"), ": both sides are back in plain text"] }),
  violation: (event, { by, reason, line }) => ({
    head: [el("span", { class: "badge bad" }, "violation"), ` by the ${by ?? "peer"}: `, foreign(reason ?? "")],
    more: line === undefined ? null : el("p", { class: "line" }, foreign(line)),
  }),
  "session-end": (event, { reason }) => ({
    head: [el("b", {}, "Session ends"), `: ${words(reason ?? event.outcome)}`, event.duration_ms === null ? null : `, after ${span(event.duration_ms)}`],
    more: flows(event.eve?.flow),
  }),
};

function other(event, { reason }) {
  return { head: [el("b", {}, words(event.kind.replaceAll("-", " "))), reason ? [": ", foreign(reason)] : null] };
}

const words = (text) => String(text ?? "not known").replaceAll("_", " ");

function command({ verb, path, eve }) {
  const argument = path ?? eve?.ftp?.command_data;
  return [el("code", { class: "verb" }, verb ? foreign(verb) : dash()), argument ? [" ", foreign(argument, "path")] : null];
}

function place({ rule_at: at }) {
  return at ? el("small", { class: "place" }, ` ${at}`) : null;
}

function replied({ code, eve }) {
  const text = eve?.ftp?.reply?.[0];
  return [el("span", { class: "code" }, code ?? ""), text ? [" ", foreign(text)] : null];
}

function answer(event, label) {
  return event.code === null ? null : el("p", { class: "line" }, el("span", { class: "hint" }, `${label} `), replied(event));
}

function became(after) {
  if (after === null) return el("span", { class: "hint" }, "not used yet");
  if (after.kind === "pinhole-used") return el("span", { class: "good" }, `used after ${span(after.duration_ms)}`);
  return el("span", { class: "warn" }, `never used: ${words(after.outcome)}`);
}

function hole({ initiator, announced, target, source }) {
  return facts([["From", address(initiator)], ["Dials", address(announced)], ["Reaches", address(target)], source ? ["As", address(source)] : null]);
}

function moved(event, { mode, announced, rewritten, bytes_forth: forth, bytes_back: back }) {
  const seconds = (event.duration_ms ?? 0) / 1000;
  return facts([
    ["Bytes", event.bytes === null ? dash() : [bytes(event.bytes), forth === undefined ? null : el("small", {}, ` ${size(forth)} forth, ${size(back)} back`)]],
    event.packets ? ["Packets", number(event.packets)] : null,
    ["Took", event.duration_ms === null ? dash() : [span(event.duration_ms), event.bytes && seconds >= 0.1 ? el("small", {}, ` ${size(Math.round(event.bytes / seconds))}/s`) : null]],
    event.code === null ? null : ["Reply", el("span", { class: "code" }, event.code)],
    mode ? ["Mode", mode] : null,
    announced ? ["Announced", [address(announced), rewritten && rewritten !== announced ? [" became ", address(rewritten)] : null]] : null,
  ]);
}

function flows(flow) {
  if (!flow) return null;
  return facts([["Control, from client", bytes(flow.bytes_toserver)], ["Control, from server", bytes(flow.bytes_toclient)]]);
}

function facts(pairs) {
  return el("dl", { class: "inline" }, pairs.filter(Boolean).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** Two lines, one above the other, with the part marked in which they differ. */
function change(before, after) {
  const [one, two] = [pieces(before), pieces(after)];
  const shortest = Math.min(one.length, two.length);
  let head = 0;
  while (head < shortest && one[head] === two[head]) head += 1;
  let tail = 0;
  while (tail < shortest - head && one.at(-1 - tail) === two.at(-1 - tail)) tail += 1;
  const marked = (list, tag) => [
    foreign(list.slice(0, head).join("")),
    head + tail < list.length ? el(tag, {}, foreign(list.slice(head, list.length - tail).join(""))) : null,
    foreign(list.slice(list.length - tail).join("")),
  ];
  return el("dl", { class: "change" },
    el("div", {}, el("dt", {}, "before"), el("dd", {}, marked(one, "del"))),
    el("div", {}, el("dt", {}, "after"), el("dd", {}, marked(two, "ins"))));
}

const pieces = (line) => String(line).split(/(?<=[,|() ])|(?=[,|() ])/u);

/** The line of the record, made when it is asked for. */
function raw(event) {
  if (!event.eve) return null;
  const shown = el("pre", { tabindex: "0" });
  return el("details", { class: "raw", toggle: () => replace(shown, JSON.stringify(event.eve, null, 2).split("\n").map((line) => [foreign(line), "\n"])) }, el("summary", {}, "EVE"), shown);
}

// Events of the record as a table, and the words for them.
import { address, dash, el, foreign, href, ruleLink } from "./dom.js";
import { bytes, span, when } from "./format.js";
import { Table } from "./table.js";

/** The kinds of events, as the record has them. */
export const KINDS = [
  "session-start", "decision", "reply", "rewrite", "pinhole-opened", "pinhole-used", "pinhole-unused", "pinhole-refused", "transfer",
  "conversion", "tls-start", "tls-end", "window-used", "window-transfer", "violation", "session-end", "clients-unheard",
  "events-unrecorded",
];

/** The outcomes that one looks for. */
export const OUTCOMES = ["allow", "deny", "completed", "failed", "abandoned", "truncated", "expired", "client_closed", "server_closed", "idle", "violation"];

/** How an outcome or kind is marked: `good`, `bad`, `warn` or nothing. */
export function tone({ kind, outcome, code }) {
  if (kind === "violation" || outcome === "deny" || kind === "pinhole-refused" || kind === "clients-unheard" || kind === "events-unrecorded") return "bad";
  if (outcome === "failed" || outcome === "abandoned" || outcome === "truncated" || outcome === "violation" || outcome === "expired") return "warn";
  if (kind === "reply" && code >= 400) return "warn";
  return outcome === "allow" || outcome === "completed" ? "good" : "";
}

/** A table of events; `without` names columns to leave out. */
export function eventTable(caption, without = []) {
  const columns = [
    { key: "time", label: "Time", cell: (row) => when(row.time) },
    { key: "kind", label: "Kind", cell: (row) => el("span", { class: "kind" }, row.kind) },
    { key: "session", label: "Session", cell: (row) => (row.flow ? el("a", { href: href("story", { flow: row.flow, at: row.seq }) }, `#${row.session}`) : dash()) },
    { key: "client", label: "Client", room: "bare-address", cell: (row) => address(row.client) },
    { key: "user", label: "User", room: "name", cell: (row) => (row.user === null ? dash() : foreign(row.user)) },
    { key: "command", label: "Command", room: "wide", cell: command },
    { key: "outcome", label: "Outcome", room: "outcome", cell: outcome },
    { key: "rule", label: "Rule", room: "outcome", cell: (row) => ruleLink(row.rule, row.rule_at) },
    { key: "bytes", label: "Bytes", number: true, cell: (row) => (row.bytes === null ? dash() : bytes(row.bytes)) },
    { key: "duration", label: "Took", number: true, cell: (row) => (row.duration_ms === null ? dash() : span(row.duration_ms)) },
  ];
  return new Table({
    caption,
    empty: "",
    key: (row) => row.seq,
    mark: (row) => (tone(row) === "bad" ? "has-denied" : ""),
    columns: columns.filter(({ key }) => !without.includes(key)),
  });
}

function command({ verb, path }) {
  if (!verb && !path) return dash();
  return [verb ? el("code", { class: "verb" }, foreign(verb)) : null, path ? [" ", foreign(path, "path")] : null];
}

function outcome(row) {
  const text = row.outcome ?? null;
  if (text === null && row.code === null) return dash();
  return [text === null ? null : el("span", { class: `badge ${tone(row)}` }, text.replaceAll("_", " ")), row.code === null ? null : el("span", { class: "code" }, ` ${row.code}`)];
}

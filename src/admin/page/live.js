// What goes on at this moment: the gate's state, live sessions, open pinholes.
import { get } from "./api.js";
import { address, dash, el, foreign, link, replace, ruleLink, say } from "./dom.js";
import { bytes, counted, number, span, when } from "./format.js";
import { Table } from "./table.js";

export const title = "Live";

/** What the filter holds; kept while other views are looked at. */
let filter = "";

/** Whether there is more than one listener, so that each session has to name its own. */
let several = false;

/** Fills the view; the frame calls `tick` every two seconds. */
export function open({ main, signal, report }) {
  const state = el("dl", { class: "facts status" });
  const listeners = el("ul", { class: "listeners" });
  const input = el("input", { type: "search", id: "filter", "data-search": true, value: filter, placeholder: "client, user, path, rule …", autocomplete: "off", spellcheck: "false" });
  const found = el("span", { class: "hint", id: "found" });
  const sessions = sessionTable();
  const holes = pinholeTable();
  const holesHead = el("h2", {}, "Pinholes");
  const sessionsHead = el("h2", {}, "Sessions");
  let last = { sessions: [], pinholes: [], at: 0 };

  const draw = () => {
    const wanted = filter.trim().toLowerCase();
    const fits = (row) => wanted === "" || wordsOf(row).includes(wanted);
    const at = last.at;
    const [some, open] = [last.sessions.filter(fits), last.pinholes.filter(fits)];
    sessionsHead.textContent = `Sessions (${wanted ? `${some.length} of ` : ""}${last.sessions.length})`;
    holesHead.textContent = `Pinholes (${wanted ? `${open.length} of ` : ""}${last.pinholes.length})`;
    sessions.update(some.map((row) => ({ ...row, at })), last.sessions.length ? "No session fits the filter." : "No session. Clients that connect appear here.");
    holes.update(open.map((row) => ({ ...row, at })), last.pinholes.length ? "No pinhole fits the filter." : "No pinhole is open: no data connection may pass.");
    found.textContent = wanted === "" ? "" : `${counted(some.length, "session")}, ${counted(open.length, "pinhole")}`;
  };
  input.addEventListener("input", () => {
    filter = input.value;
    draw();
    say(found.textContent);
  });

  replace(main,
    el("h1", { class: "visually-hidden" }, "Live"),
    el("section", { "aria-label": "State of the gate", class: "panel" }, state, listeners),
    el("p", { class: "filter" }, el("label", { for: "filter" }, "Filter"), " ", input, " ", found),
    el("section", { "aria-labelledby": "sessions" }, sessionsHead, sessions.element),
    el("section", { "aria-labelledby": "pinholes" }, holesHead, holes.element));
  sessionsHead.id = "sessions";
  holesHead.id = "pinholes";

  return {
    async tick(status) {
      showStatus(state, listeners, status);
      several = status.listeners.length > 1;
      try {
        const [{ sessions: some }, { pinholes }] = await Promise.all([get("sessions", {}, signal), get("pinholes", {}, signal)]);
        last = { sessions: some, pinholes, at: status.at };
        draw();
      } catch (error) {
        report(error);
      }
    },
  };
}

/** Everything in a row that one may look for, in lower case. */
function wordsOf(row) {
  const { session, client, server, seen, listener, user, state, command, path, rule, from, to, target, mode } = row;
  return [`#${session}`, client, server, seen, listener, user, state, command, path, rule, from, to, target, mode].filter(Boolean).join("\n").toLowerCase();
}

function showStatus(list, listeners, status) {
  const { record, rules_loaded: loaded } = status;
  const failing = record.state === "failing";
  const facts = [
    ["Sessions", number(status.sessions)],
    ["Pinholes", number(status.pinholes)],
    ["Transfers", number(status.transfers_running)],
    ["Record", failing ? el("strong", { class: "bad" }, "failing") : el("span", { class: "good" }, "being written"),
      `${number(record.written)} written${record.waiting ? `, ${number(record.waiting)} waiting` : ""}${record.unrecorded ? `, ${number(record.unrecorded)} missing` : ""}`],
    ["Rules", loaded?.ok === false ? el("strong", { class: "bad" }, "not loaded") : el("span", { class: "good" }, "loaded"),
      loaded ? [loaded.ok ? `${loaded.text}, ` : "", when(loaded.at)] : null],
    ["Running for", span((status.at - status.started) / 1000), ["version ", status.version]],
  ];
  const made = facts.map(([name, value, more]) => el("div", {}, el("dt", {}, name), el("dd", {}, value, more ? el("small", {}, more) : null)));
  update(list, made);
  update(listeners, status.listeners.map(({ name, kind, address: at, policy, rules }) =>
    el("li", {}, el("b", {}, name), ` ${kind} on `, address(at), ", ", counted(rules, "rule"), " of ", el("code", {}, policy))));
}

/** Replaces children that differ, so that a selection stays. */
function update(parent, children) {
  const before = [...parent.children];
  children.forEach((child, at) => {
    if (!before[at]) parent.append(child);
    else if (!before[at].isEqualNode(child)) before[at].replaceWith(child);
  });
  before.slice(children.length).forEach((child) => child.remove());
}

const STATES = { login: "logging in", idle: "idle", transfer: "transfer", tls: "TLS, unreadable" };

function sessionTable() {
  return new Table({
    caption: "Live sessions",
    empty: "Asking the gate …",
    key: (row) => row.flow,
    order: { key: "session", down: true },
    mark: (row) => (row.denied > 0 ? "has-denied" : ""),
    columns: [
      { key: "session", label: "Session", sort: (row) => row.session, first: "down", cell: (row) => link("story", { flow: row.flow }, `#${row.session}`) },
      { key: "client", label: "Client", room: "address-cell", sort: (row) => row.client, cell: (row) => address(row.client) },
      { key: "server", label: "Server", room: "address-cell", sort: (row) => row.server, cell: (row) => [address(row.server), several ? el("small", { class: "block" }, `by ${row.listener}`) : null] },
      { key: "user", label: "User", room: "name", sort: (row) => row.user, cell: (row) => (row.user === null ? dash() : foreign(row.user)) },
      { key: "state", label: "Doing", room: "wide", sort: (row) => `${row.state} ${row.command ?? ""} ${row.path ?? ""}`, cell: doing },
      { key: "rule", label: "Rule", room: "outcome", sort: (row) => row.rule, cell: (row) => ruleLink(row.rule, row.rule_at) },
      { key: "transfers", label: "Files", number: true, first: "down", sort: (row) => row.transfers, cell: (row) => number(row.transfers) },
      { key: "bytes", label: "Bytes", number: true, first: "down", sort: (row) => row.bytes, cell: (row) => bytes(row.bytes) },
      { key: "denied", label: "Denied", number: true, first: "down", sort: (row) => row.denied, cell: (row) => (row.denied ? el("strong", { class: "bad" }, number(row.denied)) : "0") },
      { key: "active", label: "Quiet for", number: true, sort: (row) => row.at - row.active, cell: (row) => ago(row) },
      { key: "started", label: "Began", number: true, first: "down", sort: (row) => row.started, cell: (row) => when(row.started, "clock") },
    ],
  });
}

/** How long ago, in whole seconds, so that the cell changes no oftener than it has to. */
function ago({ at, active }) {
  const seconds = Math.max(0, Math.floor((at - active) / 1_000_000));
  return seconds === 0 ? "0 s" : span(seconds * 1000);
}

function doing({ state, command, path }) {
  return [
    el("span", { class: `state ${state}` }, STATES[state] ?? state),
    command ? [" ", el("code", { class: "verb" }, command)] : null,
    path ? [" ", foreign(path, "path")] : null,
  ];
}

function pinholeTable() {
  return new Table({
    caption: "Pinholes: data connections that may pass, each once",
    empty: "Asking the gate …",
    key: (row) => `${row.flow} ${row.pinhole}`,
    order: { key: "opened", down: false },
    columns: [
      { key: "session", label: "Session", sort: (row) => row.session, first: "down", cell: (row) => link("story", { flow: row.flow }, `#${row.session}`) },
      { key: "user", label: "User", room: "name", sort: (row) => row.user, cell: (row) => (row.user === null ? dash() : foreign(row.user)) },
      { key: "mode", label: "Mode", sort: (row) => row.mode, cell: (row) => row.mode },
      { key: "from", label: "From", room: "address-cell", sort: (row) => row.from, cell: (row) => address(row.from) },
      { key: "to", label: "Dials", room: "address-cell", sort: (row) => row.to, cell: (row) => address(row.to) },
      { key: "target", label: "Reaches", room: "address-cell", sort: (row) => row.target, cell: (row) => address(row.target) },
      { key: "state", label: "State", sort: (row) => row.state, cell: (row) => el("span", { class: `state ${row.state}` }, row.state) },
      { key: "command", label: "For", room: "wide", sort: (row) => row.path ?? row.command, cell: (row) => [row.command ? el("code", { class: "verb" }, row.command) : dash(), row.path ? [" ", foreign(row.path, "path")] : null] },
      { key: "rule", label: "Rule", room: "outcome", sort: (row) => row.rule, cell: (row) => ruleLink(row.rule, row.rule_at) },
      { key: "opened", label: "Open for", number: true, sort: (row) => row.at - row.opened, cell: (row) => ago({ at: row.at, active: row.opened }) },
    ],
  });
}

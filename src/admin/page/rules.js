// All rules: how often each decided, over time and in all, and which never did.
import { get } from "./api.js";
import { COLOURS, SPANS, chart, columnsOf, spanChoice, sums } from "./chart.js";
import { address, breakable, el, href, replace, ruleLink, say } from "./dom.js";
import { bytes, counted, number, when } from "./format.js";
import { Table } from "./table.js";

export const title = "Rules";

let filter = "";

/** Fills the view. */
export async function open({ main, query, signal }) {
  const span = query.get("span") in SPANS ? query.get("span") : "24h";
  const columns = columnsOf(span);
  const [hits, { series }] = await Promise.all([
    get("hits", {}, signal),
    get("hits/series", { from: columns[0].start, to: columns.at(-1).end }, signal),
  ]);
  const { rules, begun } = hits;
  const dead = rules.filter(unused).length;
  const input = el("input", { type: "search", id: "filter", "data-search": true, value: filter, placeholder: "rule, file, listener, client …", autocomplete: "off", spellcheck: "false" });
  const deadOnly = el("input", { type: "checkbox" });
  const list = ruleTable();
  const found = el("span", { class: "hint" });
  const draw = () => {
    const wanted = filter.trim().toLowerCase();
    const some = rules.filter((rule) => (!deadOnly.checked || unused(rule)) && wordsOf(rule).includes(wanted));
    list.update(some, rules.length ? "No rule fits." : "No rules are loaded, and none is on the record.");
    found.textContent = some.length === rules.length ? "" : `${number(some.length)} of ${number(rules.length)}`;
  };
  input.addEventListener("input", () => { filter = input.value; draw(); say(found.textContent); });
  deadOnly.addEventListener("change", () => { draw(); say(found.textContent); });
  replace(main,
    el("h1", {}, "Rules"),
    el("p", { class: "lead" }, `${counted(rules.length, "rule")}, `, el("b", { class: dead ? "warn" : null }, `${number(dead)} never used`),
      begun === null ? ". Nothing is on the record yet." : [". Counted since ", when(begun), "."]),
    el("section", { "aria-labelledby": "over-time", class: "panel" },
      el("div", { class: "headed" }, el("h2", { id: "over-time" }, "Hits over time"), spanChoice(span, (name) => href("rules", { span: name }))),
      stacked(span, columns, series)),
    el("p", { class: "filter" }, el("label", { for: "filter" }, "Filter"), " ", input, " ",
      el("label", { class: "check" }, deadOnly, " never used only"), " ", found),
    el("section", { "aria-label": "Counts of each rule" }, list.element));
  draw();
}

const unused = ({ action, first_use: first }) => action !== null && first === null;

const wordsOf = ({ rule, at, file, action, listeners, clients }) =>
  [rule, at, file, action, ...listeners, ...clients.map(({ client }) => client)].filter(Boolean).join("\n").toLowerCase();

/** The rules that decided most in this span have a colour each. */
function stacked(span, columns, series) {
  const sorted = series
    .map(({ rule, file, points }) => ({ rule, file, values: sums(points, columns) }))
    .map((one) => ({ ...one, total: one.values.reduce((sum, value) => sum + value, 0) }))
    .filter(({ total }) => total > 0)
    .sort((one, other) => other.total - one.total);
  if (sorted.length === 0) return el("p", { class: "empty" }, `No rule decided anything in these ${SPANS[span].label}.`);
  // The same id may stand in two files.
  const twice = new Set(sorted.map(({ rule }) => rule).filter((rule, at, all) => all.indexOf(rule) !== at));
  const shown = sorted.slice(0, COLOURS).map(({ rule, file, values }) => ({
    label: [ruleLink(rule, file), twice.has(rule) ? el("small", {}, " ", breakable(file)) : null],
    name: twice.has(rule) ? `${rule} (${file})` : rule,
    values,
  }));
  const others = sorted.slice(COLOURS);
  if (others.length) {
    const name = counted(others.length, "other rule");
    shown.push({ label: name, name, values: columns.map((_, at) => others.reduce((sum, { values }) => sum + values[at], 0)) });
  }
  return chart({ span, columns, series: shown, unit: "hits" });
}

function ruleTable() {
  return new Table({
    caption: "Rules",
    empty: "",
    key: ({ file, rule }) => `${file} ${rule}`,
    order: { key: "hits", down: true },
    mark: (row) => (unused(row) ? "dead" : row.action === null ? "gone" : ""),
    columns: [
      { key: "rule", label: "Rule", sort: (row) => row.rule, cell: (row) => ruleLink(row.rule, row.at) },
      { key: "action", label: "Action", sort: (row) => row.action, cell: (row) => badge(row.action) },
      { key: "at", label: "Where", room: "written", sort: (row) => row.at, cell: (row) => el("span", { class: "place" }, row.at) },
      { key: "listeners", label: "Listeners", sort: (row) => row.listeners.join(" "), cell: (row) => row.listeners.join(", ") || "–" },
      { key: "hits", label: "Hits", number: true, first: "down", sort: (row) => row.hits, cell: (row) => number(row.hits) },
      { key: "bytes", label: "Bytes", number: true, first: "down", sort: (row) => row.bytes, cell: (row) => bytes(row.bytes) },
      { key: "first", label: "First use", sort: (row) => row.first_use, cell: (row) => (unused(row) ? el("span", { class: "badge unused" }, "never used") : when(row.first_use)) },
      { key: "last", label: "Last use", first: "down", sort: (row) => row.last_use, cell: (row) => when(row.last_use) },
      { key: "clients", label: "Top clients", room: "wide", cell: (row) => clientsOf(row.clients.slice(0, 3), row.rule) },
    ],
  });
}

/** `allow`, `deny`, or that the configuration has the rule no more. */
export function badge(action) {
  return action === null ? el("span", { class: "badge" }, "not configured") : el("span", { class: `badge ${action}` }, action);
}

/** Clients with their hits; each leads to its events under the rule. */
export function clientsOf(clients, rule) {
  if (clients.length === 0) return el("span", { class: "none" }, "–");
  return el("ul", { class: "clients" }, clients.map(({ client, hits }) =>
    el("li", {}, el("a", { href: href("record", { client, rule }) }, address(client)), " ", el("small", {}, number(hits)))));
}

// One rule: as it is written, what it counted, whom it decided on, and what it decided last.
import { get } from "./api.js";
import { SPANS, chart, columnsOf, spanChoice, sums } from "./chart.js";
import { breakable, el, href, link, replace } from "./dom.js";
import { bytes, number, when } from "./format.js";
import { eventTable } from "./events.js";
import { badge, clientsOf } from "./rules.js";

export const title = "Rule";

/** Fills the view. */
export async function open({ main, query, signal }) {
  const id = query.get("rule") ?? "";
  const span = query.get("span") in SPANS ? query.get("span") : "24h";
  const { rules } = await get("hits", {}, signal);
  const named = rules.filter(({ rule, file }) => rule === id && (query.get("file") ?? file) === file);
  if (named.length > 1) {
    replace(main, el("h1", {}, "Rule ", id), el("p", {}, "More than one file has a rule of this id:"),
      el("ul", {}, named.map(({ rule, file, at }) => el("li", {}, link("rule", { rule, file }, at)))));
    return;
  }
  const file = query.get("file") ?? named[0]?.file ?? null;
  const columns = columnsOf(span);
  const [rule, { series }] = await Promise.all([
    get("rule", { rule: id, file }, signal),
    get("hits/series", { from: columns[0].start, to: columns.at(-1).end, rule: id, file }, signal),
  ]);
  document.title = `${id} · Rule · Portcullis`;
  const values = sums(series.flatMap(({ points }) => points), columns);
  const never = rule.first_use === null;
  const facts = [
    ["Hits", number(rule.hits)],
    ["Bytes", bytes(rule.bytes)],
    ["First use", never ? el("span", { class: "badge unused" }, "never used") : when(rule.first_use)],
    ["Last use", when(rule.last_use)],
    ["Listeners", named[0]?.listeners.join(", ") || "–"],
  ];
  const recent = eventTable("Recent hits", ["rule"]);
  replace(main,
    el("p", { class: "back" }, link("rules", { span }, "All rules")),
    el("h1", {}, breakable(id), " ", rule.configured ? named[0] && badge(named[0].action) : badge(null)),
    el("p", { class: "lead place" }, breakable(rule.at)),
    el("dl", { class: "facts panel" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    el("section", { "aria-labelledby": "source" }, el("h2", { id: "source" }, "As written"), source(rule)),
    el("section", { "aria-labelledby": "over-time", class: "panel" },
      el("div", { class: "headed" }, el("h2", { id: "over-time" }, "Hits over time"), spanChoice(span, (name) => href("rule", { rule: id, file, span: name }))),
      values.some((value) => value > 0)
        ? chart({ span, columns, series: [{ label: id, name: id, values }], unit: "hits" })
        : el("p", { class: "empty" }, `It decided nothing in these ${SPANS[span].label}.`)),
    el("section", { "aria-labelledby": "clients" }, el("h2", { id: "clients" }, "Top clients"), rule.clients.length ? clientsOf(rule.clients, id) : el("p", { class: "empty" }, "None.")),
    el("section", { "aria-labelledby": "recent" },
      el("div", { class: "headed" }, el("h2", { id: "recent" }, "Recent hits"), el("p", {}, link("record", { rule: id }, "All of them on the record"))),
      recent.element));
  recent.update(rule.recent, never ? "It has never decided on a command." : "None on the record. Events go after a time, their counts stay; a quiet rule leaves none.");
}

function source({ source: text, first_line: first, at }) {
  if (text === null || text === undefined) {
    return el("p", { class: "empty" }, at === "built-in" ? "Built in: what no rule allows is denied." : "The rule is not configured, so there are no lines to show.");
  }
  const lines = text.replace(/\n$/u, "").split("\n");
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The rule's lines" },
    el("table", { class: "source" }, el("tbody", {}, lines.map((line, at) => el("tr", {}, el("th", { scope: "row" }, String(first + at)), el("td", {}, line))))));
}

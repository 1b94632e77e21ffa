// Columns over time, stacked by rule: seen by eye, read by arrow keys, and as a table.
import { el, replace, svg } from "./dom.js";
import { dayAndClock, clock, day, inUtc, number } from "./format.js";

const HOUR = 3_600_000;
const HEIGHT = 220;
const EDGE = { left: 44, right: 6, top: 10, bottom: 22 };
/** So many rules have a colour of their own; the others are one series. */
export const COLOURS = 7;

/** The spans one can look at: their columns begin at whole hours, quarters of days, days of the zone shown. */
export const SPANS = { "24h": { label: "24 hours", columns: 24 }, "7d": { label: "7 days", columns: 28 }, "30d": { label: "30 days", columns: 30 } };

/** The columns of a span up to this moment: `[{ start, end }]`, microseconds. */
export function columnsOf(name, now = Date.now()) {
  const { columns } = SPANS[name];
  const starts = [];
  for (let back = columns - 1; back >= -1; back -= 1) starts.push(startOf(name, now, back) * 1000);
  return starts.slice(0, -1).map((start, at) => ({ start, end: starts[at + 1] }));
}

function startOf(name, now, back) {
  if (name === "24h") return Math.floor(now / HOUR) * HOUR - back * HOUR;
  const date = new Date(now);
  const at = inUtc() ? (...part) => Date.UTC(...part) : (...part) => new Date(...part).getTime();
  const [year, month, monthDay, hour] = inUtc()
    ? [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate(), date.getUTCHours()]
    : [date.getFullYear(), date.getMonth(), date.getDate(), date.getHours()];
  if (name === "30d") return at(year, month, monthDay - back);
  return at(year, month, monthDay, (Math.floor(hour / 6) - back) * 6);
}

/** Sums points `[time, hits, bytes]` into columns; `which` 1 for hits, 2 for bytes. */
export function sums(points, columns, which = 1) {
  const values = columns.map(() => 0);
  for (const point of points) {
    const at = columns.findIndex(({ start, end }) => point[0] >= start && point[0] < end);
    if (at >= 0) values[at] += point[which];
  }
  return values;
}

/** Makes the chart: `series` are `{ label: text or node, name: text, values }`, the greatest first. */
export function chart({ span, columns, series, unit }) {
  const totals = columns.map((_, at) => series.reduce((sum, { values }) => sum + values[at], 0));
  const area = el("div", { class: "plot", tabindex: "0", role: "slider", "aria-label": `${unit} over time`, "aria-valuemin": "1", "aria-valuemax": String(columns.length) });
  const title = el("p", { class: "legend-title" });
  const values = series.map(() => el("span", { class: "value" }));
  const legend = el("ul", { class: "legend" }, series.map(({ label }, at) =>
    el("li", {}, el("span", { class: `swatch s${at}`, "aria-hidden": "true" }), el("span", { class: "label" }, label), values[at])));
  let chosen = null;

  const choose = (at) => {
    chosen = at;
    const of = (list) => (at === null ? list.reduce((sum, value) => sum + value, 0) : list[at]);
    title.textContent = `${at === null ? `All ${SPANS[span].label}` : nameOf(columns[at], span)}: ${number(of(totals))} ${unit}`;
    values.forEach((shown, row) => { shown.textContent = number(of(series[row].values)); });
    area.querySelector(".cursor")?.remove();
    const told = at ?? columns.length - 1;
    area.setAttribute("aria-valuenow", String(told + 1));
    const some = series.filter(({ values: list }) => list[told] > 0).map(({ name, values: list }) => `${name} ${list[told]}`);
    area.setAttribute("aria-valuetext", `${nameOf(columns[told], span)}: ${totals[told]} ${unit}${some.length ? `: ${some.join(", ")}` : ""}`);
    if (at !== null) area.firstChild?.prepend(svg("rect", { class: "cursor", ...place(at, area.clientWidth, columns.length), y: EDGE.top, height: HEIGHT - EDGE.top - EDGE.bottom }));
  };
  const draw = () => {
    if (area.clientWidth === 0) return;
    replace(area, picture(area.clientWidth, span, columns, series, totals));
    choose(chosen);
  };
  area.addEventListener("pointermove", (event) => {
    const inside = event.clientX - area.getBoundingClientRect().left - EDGE.left;
    const at = Math.floor(inside / ((area.clientWidth - EDGE.left - EDGE.right) / columns.length));
    choose(at >= 0 && at < columns.length ? at : null);
  });
  area.addEventListener("pointerleave", () => choose(null));
  area.addEventListener("blur", () => choose(null));
  area.addEventListener("keydown", (event) => {
    const last = columns.length - 1;
    const from = chosen ?? (event.key === "ArrowLeft" ? last + 1 : -1);
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to === null ? null : Math.min(Math.max(to, 0), last));
  });
  new ResizeObserver(draw).observe(area);
  choose(null);
  return el("figure", { class: "chart" }, area, el("figcaption", {}, title, legend), table(span, columns, series, totals, unit));
}

function place(at, width, count) {
  const step = (width - EDGE.left - EDGE.right) / count;
  return { x: (EDGE.left + at * step).toFixed(1), width: step.toFixed(1) };
}

function picture(width, span, columns, series, totals) {
  const inner = HEIGHT - EDGE.top - EDGE.bottom;
  const top = ceiling(Math.max(...totals, 1));
  const y = (value) => EDGE.top + inner * (1 - value / top.value);
  const drawn = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
  for (let value = 0; value <= top.value; value += top.step) {
    drawn.append(
      svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)));
  }
  columns.forEach((_, at) => {
    let base = 0;
    const { x, width: step } = place(at, width, columns.length);
    const gap = Math.min(3, step / 5);
    series.forEach(({ values }, row) => {
      if (values[at] === 0) return;
      const high = Math.max(1, y(base) - y(base + values[at]));
      drawn.append(svg("rect", { class: `column s${row}`, x: Number(x) + gap / 2, width: Math.max(1, step - gap), y: y(base) - high, height: high }));
      base += values[at];
    });
  });
  let free = 0;
  columns.forEach((column, at) => {
    const label = tick(column, span);
    const { x } = place(at, width, columns.length);
    const wide = (label ?? "").length * 7 + 14;
    if (label === null || Number(x) < free || Number(x) + wide > width + 14) return;
    free = Number(x) + wide;
    drawn.append(svg("line", { class: "grid", x1: x, x2: x, y1: HEIGHT - EDGE.bottom, y2: HEIGHT - EDGE.bottom + 4 }),
      svg("text", { class: "tick", x, y: HEIGHT - 5 }, label));
  });
  return drawn;
}

/** The mark under a column; `null` for none. */
function tick({ start }, span) {
  if (span === "24h") return clock(start).slice(0, 5);
  if (span === "30d") return day(start).slice(5);
  return clock(start).startsWith("00") ? day(start).slice(5) : null;
}

function nameOf({ start, end }, span) {
  return span === "30d" ? day(start) : `${dayAndClock(start, false)}–${clock(end).slice(0, 5)}`;
}

/** The least round number of steps that holds the greatest value. */
function ceiling(greatest) {
  let step = 1;
  for (let power = 1; ; power *= 10) {
    const fits = [1, 2, 5].map((digit) => digit * power).find((candidate) => greatest <= candidate * 4);
    if (fits) { step = fits; break; }
  }
  return { step, value: step * Math.ceil(greatest / step) };
}

function short(value) {
  if (value >= 1_000_000) return `${value / 1_000_000}M`;
  return value >= 10_000 ? `${value / 1000}k` : String(value);
}

function table(span, columns, series, totals, unit) {
  const rows = columns.map((column, at) => el("tr", {},
    el("th", { scope: "row" }, nameOf(column, span)), el("td", { class: "number" }, number(totals[at])),
    series.map(({ values }) => el("td", { class: "number" }, number(values[at])))));
  const head = el("tr", {}, el("th", { scope: "col" }, "Time"), el("th", { scope: "col", class: "number" }, "all"),
    series.map(({ name }) => el("th", { scope: "col", class: "number" }, name)));
  return el("details", { class: "values" }, el("summary", {}, "Values as a table"),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Values as a table" },
      el("table", {}, el("caption", {}, `${unit} over time`), el("thead", {}, head), el("tbody", {}, rows.reverse()))));
}

/** The links that choose the span. */
export function spanChoice(current, address) {
  return el("p", { class: "choice", role: "group", "aria-label": "Span of time" }, Object.entries(SPANS).map(([name, { label }]) =>
    el("a", { href: address(name), "aria-current": name === current ? "true" : null }, label)));
}

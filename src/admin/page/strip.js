// The session at a glance: a line from start to end, transfers as bars on it, what was denied as marks.
import { svg } from "./dom.js";
import { clock, span } from "./format.js";
import { tone } from "./events.js";

const WIDTH = 1000;
const HEIGHT = 34;

/** Draws the strip; all that it shows is in the list below it, so it is hidden from readers. */
export function strip({ started, ended, events }) {
  const last = ended ?? events.at(-1)?.time ?? started;
  const length = Math.max(1, last - started);
  const x = (time) => Math.min(WIDTH, Math.max(0, ((time - started) / length) * WIDTH));
  const drawn = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  drawn.append(svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: 17, y2: 17 }));
  for (const event of events) {
    const kind = tone(event);
    if (event.kind === "transfer" || event.kind === "window-transfer") {
      const from = x(event.time - (event.duration_ms ?? 0) * 1000);
      drawn.append(svg("rect", { class: `bar ${kind}`, x: from, width: Math.max(3, x(event.time) - from), y: 8, height: 18, rx: 1 }));
    } else if (kind === "bad") {
      drawn.append(svg("rect", { class: "mark bad", x: Math.max(0, x(event.time) - 1.5), width: 3, y: 0, height: HEIGHT }));
    } else {
      drawn.append(svg("rect", { class: "mark", x: x(event.time), width: 1, y: 13, height: 8 }));
    }
  }
  const ends = document.createElement("p");
  ends.setAttribute("aria-hidden", "true");
  for (const text of [clock(started), span(length / 1000), ended === null ? "still open" : clock(last)]) {
    ends.append(Object.assign(document.createElement("span"), { textContent: text }));
  }
  return [drawn, ends];
}

// Making elements. All text goes in as text nodes: what peers send is never read as markup.

/** Makes an element; `null` properties and children are left out. Functions become listeners. */
export function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Makes an SVG element. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** Appends nodes and texts, lists of them included. */
export function append(element, children) {
  for (const child of [children].flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** Replaces what is in an element. */
export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

// Controls, and what turns or hides text around it: a name could pass for another one.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/u;
const PIECES = new RegExp(`(${UNSEEN.source})`, "u");

/** Shows what a peer sent: unseen characters by their numbers, breaks allowed after `/`, `:`, `,`. */
export function foreign(text, className = "") {
  const shown = el("bdi", { class: `foreign ${className}`.trim() });
  for (const piece of String(text).split(PIECES)) {
    if (piece.length === 1 && UNSEEN.test(piece)) {
      const number = piece.codePointAt(0).toString(16).padStart(4, "0");
      shown.append(el("span", { class: "unseen", title: "a character that cannot be seen" }, `\\u${number}`));
    } else {
      append(shown, breakable(piece));
    }
  }
  return shown;
}

/** Text that may break after `/`, `:` and `,`. */
export function breakable(text) {
  return String(text).split(/(?<=[/:,])(?=[^/:,])/u).flatMap((piece, at) => (at ? [el("wbr"), piece] : [piece]));
}

/** An address, in digits of one width. */
export function address(text) {
  return text === null || text === undefined ? dash() : el("span", { class: "address" }, breakable(text));
}

/** What stands where nothing is known. */
export function dash() {
  return el("span", { class: "none", title: "not known" }, "–");
}

/** Says something to those who listen to the page. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** A link to a view: `link("story", { flow: 1 }, "…")`. */
export function link(view, query, ...children) {
  return el("a", { href: href(view, query) }, ...children);
}

/** The address of a view. */
export function href(view, query = {}) {
  const set = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
  return `#/${view}${search ? `?${search}` : ""}`;
}

/** A rule's id that leads to the rule; `at` is `file:line`, or `built-in`. */
export function ruleLink(rule, at) {
  if (!rule) return dash();
  const file = String(at ?? "").replace(/:\d+$/u, "");
  return el("a", { href: href("rule", { rule, file }), title: at }, breakable(rule));
}

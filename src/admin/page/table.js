// A table that is kept up to date in place: rows keep their elements, so focus, selection and scroll stay.
import { append, el, replace } from "./dom.js";

/**
 * Columns: `{ key, label, cell: row => node or text, sort: row => value, number: true, first: "down", room: "wide" }`.
 * A column without `sort` cannot be sorted by. In narrow windows rows become cards, labels before values.
 */
export class Table {
  constructor({ caption, columns, key, empty, order = null, mark = null }) {
    Object.assign(this, { columns, key, mark });
    this.order = order;
    this.rows = new Map();
    this.shown = [];
    this.body = el("tbody", { role: "rowgroup" });
    this.heads = columns.map((column) => this.head(column));
    this.empty = el("p", { class: "empty" }, empty);
    this.sorting = this.sorter();
    this.table = el("table", { class: "cards", role: "table" }, el("caption", {}, caption),
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, this.heads)), this.body);
    this.element = el("div", { class: "tabled" }, this.sorting, this.table, this.empty);
    this.showOrder();
  }

  /** Shows these rows; `empty` replaces the sentence for none. */
  update(rows, empty = null) {
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    const wanted = new Map(this.sorted(rows).map((row) => [String(this.key(row)), row]));
    for (const [id, kept] of this.rows) {
      if (!wanted.has(id)) {
        kept.element.remove();
        this.rows.delete(id);
      }
    }
    let place = this.body.firstChild;
    for (const [id, row] of wanted) {
      const kept = this.rows.get(id) ?? this.make(id);
      this.fill(kept, row);
      if (kept.element === place) place = place.nextSibling;
      else this.body.insertBefore(kept.element, place);
    }
    // Moving a row takes the focus from it.
    if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    this.shown = rows;
    if (empty !== null) replace(this.empty, empty);
    this.empty.hidden = wanted.size > 0;
    this.table.hidden = wanted.size === 0;
    this.sorting.hidden = wanted.size < 2 || !this.columns.some(({ sort }) => sort);
  }

  make(id) {
    const cells = this.columns.map((column) => el("td", {
      role: "cell", "data-label": column.label, class: [column.number && "number", column.room].filter(Boolean).join(" ") || null,
    }));
    const kept = { element: el("tr", { role: "row" }, cells), cells, said: cells.map(() => null) };
    this.rows.set(id, kept);
    return kept;
  }

  fill(kept, row) {
    this.columns.forEach((column, at) => {
      const cell = el("div", {});
      append(cell, [column.cell(row)]);
      // Only what changed is touched.
      if (kept.said[at]?.isEqualNode(cell)) return;
      kept.said[at] = cell;
      kept.cells[at].replaceChildren(cell);
    });
    kept.element.className = this.mark?.(row) ?? "";
  }

  sorted(rows) {
    const column = this.columns.find(({ key }) => key === this.order?.key);
    if (!column?.sort) return rows;
    const sign = this.order.down ? -1 : 1;
    return [...rows].sort((one, other) => sign * compare(column.sort(one), column.sort(other)));
  }

  orderBy(key, down = null) {
    const column = this.columns.find((candidate) => candidate.key === key);
    const again = this.order?.key === key;
    this.order = { key, down: down ?? (again ? !this.order.down : column.first === "down") };
    this.showOrder();
    this.update(this.shown);
  }

  head(column) {
    const label = column.sort
      ? el("button", { type: "button", class: "sort", click: () => this.orderBy(column.key) }, column.label)
      : column.label;
    return el("th", { role: "columnheader", scope: "col", "data-key": column.key, class: column.number ? "number" : null }, label);
  }

  sorter() {
    const choices = this.columns.filter(({ sort }) => sort);
    this.select = el("select", { change: () => this.orderBy(this.select.value, null) },
      choices.map(({ key, label }) => el("option", { value: key }, label)));
    const turn = el("button", { type: "button", click: () => this.select.value && this.orderBy(this.select.value) }, "Turn round");
    return el("p", { class: "sorter" }, el("label", {}, "Sort by ", this.select), " ", turn);
  }

  showOrder() {
    for (const head of this.heads) {
      const on = head.dataset.key === this.order?.key;
      if (on) head.setAttribute("aria-sort", this.order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    this.select.value = this.order?.key ?? "";
  }
}

/** Compares numbers as numbers, the rest as text with numbers inside; nothing comes last. */
function compare(one, other) {
  const none = (value) => value === null || value === undefined || value === "";
  if (none(one) || none(other)) return none(one) - none(other);
  if (typeof one === "number" && typeof other === "number") return one - other;
  return COLLATOR.compare(String(one), String(other));
}

const COLLATOR = new Intl.Collator("en", { numeric: true });

// A list of any length, of which only what is seen is in the document. Rows come in pages, each found by its cursor.

import { h } from "./dom.js";

const ROW = 36, MARGIN = 8, AHEAD = 50;

export class List {
  // load(cursor) gives {rows, next}; cells(row) gives what a row shows; open(row) is what Enter and a click do.
  constructor({ kind, heads, load, cells, open, label }) {
    this.load = load; this.cells = cells; this.open = open;
    this.rows = []; this.pages = []; this.shown = new Map(); this.height = 0; this.next = null; this.active = 0; this.isLoading = false;
    this.space = h("div", { role: "presentation" });
    this.head = this.line(heads, { class: "row head", role: "row" }, "columnheader");
    this.element = h("div", { class: `list ${kind}`, role: "grid", tabindex: 0, "aria-label": label,
      onscroll: () => this.later(), onkeydown: (event) => this.key(event), onfocus: () => this.draw() });
    this.element.append(this.head, this.space);
    new ResizeObserver(([entry]) => { this.height = entry.contentRect.height; this.later(); }).observe(this.element);
  }

  line(texts, attributes, role) {
    return h("div", { ...attributes, style: { height: `${ROW}px`, ...(attributes.style ?? {}) } },
      texts.map((text) => h("span", { role }, text)));
  }

  async reset() {
    const { rows, next } = await this.load(null);
    this.rows = rows; this.next = next; this.pages = [{ cursor: null, start: 0 }];
    this.active = Math.min(this.active, Math.max(rows.length - 1, 0));
    this.drawAnew();
  }

  // The pages that are seen again, as they are now; what comes after them is asked for when somebody goes there.
  async refresh() {
    if (this.isLoading) return;
    this.isLoading = true;
    try {
      const first = Math.max(Math.floor(this.element.scrollTop / ROW) - MARGIN, 0), last = first + this.height / ROW + 2 * MARGIN;
      let at = this.pages.findLastIndex((page) => page.start <= first);
      if (at < 0) return;
      let { cursor, start } = this.pages[at], rows = this.rows.slice(0, start), next = cursor;
      const pages = this.pages.slice(0, at);
      do {
        pages.push({ cursor: next, start: rows.length });
        const page = await this.load(next);
        rows = rows.concat(page.rows);
        next = page.next;
      } while (next && rows.length <= last);
      this.rows = rows; this.pages = pages; this.next = next;
    } finally {
      this.isLoading = false;
    }
    this.drawAnew();
  }

  async more() {
    if (this.isLoading || !this.next) return;
    this.isLoading = true;
    try {
      const cursor = this.next, page = await this.load(cursor);
      this.pages.push({ cursor, start: this.rows.length });
      this.rows.push(...page.rows);
      this.next = page.next;
    } finally {
      this.isLoading = false;
    }
    this.draw();
  }

  later() {
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(); });
  }

  drawAnew() {
    for (const row of this.shown.values()) row.data = null;
    this.draw();
  }

  // Rows that stay in sight are kept; the others are filled anew. What is read of the layout is read before anything is written.
  draw() {
    const top = this.element.scrollTop, first = Math.max(Math.floor(top / ROW) - MARGIN, 0);
    const last = Math.min(Math.ceil((top + this.height) / ROW) + MARGIN, this.rows.length);
    const spare = [];
    for (const [at, row] of this.shown) {
      if (at >= first && at < last) continue;
      this.shown.delete(at);
      spare.push(row);
    }
    for (let at = first; at < last; at++) {
      let row = this.shown.get(at);
      if (!row) {
        row = spare.pop() ?? this.newRow();
        this.shown.set(at, row);
        row.at = at; row.data = null;
        row.element.id = `row-${at}`;
        row.element.setAttribute("aria-rowindex", at + 2);
        row.element.style.transform = `translateY(${(at + 1) * ROW}px)`;
      }
      this.fill(row);
    }
    for (const row of spare) row.element.remove();
    this.space.style.height = `${this.rows.length * ROW}px`;
    this.element.setAttribute("aria-rowcount", this.next ? -1 : this.rows.length + 1);
    if (this.active >= first && this.active < last) this.element.setAttribute("aria-activedescendant", `row-${this.active}`);
    if (this.next && last > this.rows.length - AHEAD) this.more();
  }

  newRow() {
    const cells = this.head.childElementCount;
    const element = this.line(Array(cells).fill(""), { class: "row", role: "row" }, "gridcell");
    const row = { element, cells: [...element.children], at: 0, data: null };
    element.addEventListener("click", () => { this.active = row.at; this.open(this.rows[row.at]); });
    this.element.append(element);
    return row;
  }

  fill(row) {
    const isActive = row.at === this.active ? "true" : "false", data = this.rows[row.at];
    if (row.element.getAttribute("aria-selected") !== isActive) row.element.setAttribute("aria-selected", isActive);
    if (row.data === data) return;
    row.data = data;
    this.cells(data).forEach((value, at) => {
      const cell = row.cells[at];
      if (typeof value !== "string") cell.replaceChildren(value);
      else if (cell.firstChild?.nodeType === Node.TEXT_NODE) { if (cell.firstChild.data !== value) cell.firstChild.data = value; }
      else cell.textContent = value;
    });
  }

  key(event) {
    const page = Math.max(Math.floor(this.height / ROW) - 2, 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" && this.rows[this.active]) this.open(this.rows[this.active]);
    else if (event.key in moves) {
      this.active = Math.min(Math.max(this.active + moves[event.key], 0), this.rows.length - 1);
      const top = this.active * ROW, height = this.height - 2 * ROW;
      this.element.scrollTop = Math.min(Math.max(this.element.scrollTop, top - height), top);
      this.draw();
    } else return;
    event.preventDefault();
  }
}

// A list of any length, of which only what is seen is in the document. Rows come in pages, each found by its cursor.

import { h } from "./dom.js";

const ROW = 36, MARGIN = 8;

export class List {
  // load(cursor) gives {rows, next}; cells(row) gives what a row shows; open(row) is what Enter and a click do.
  constructor({ kind, heads, load, cells, open, label }) {
    this.load = load; this.cells = cells; this.open = open;
    this.rows = []; this.pages = []; this.next = null; this.active = 0; this.isLoading = false;
    this.space = h("div", { role: "presentation" });
    this.head = this.line(heads, { class: "row head", role: "row" }, "columnheader");
    this.element = h("div", { class: `list ${kind}`, role: "grid", tabindex: 0, "aria-label": label,
      onscroll: () => this.later(), onkeydown: (event) => this.key(event), onfocus: () => this.draw() }, this.head, this.space);
    new ResizeObserver(() => this.later()).observe(this.element);
  }

  line(texts, attributes, role) {
    return h("div", { ...attributes, style: { height: `${ROW}px`, ...(attributes.style ?? {}) } },
      texts.map((text) => h("span", { role }, text)));
  }

  async reset() {
    const { rows, next } = await this.load(null);
    this.rows = rows; this.next = next; this.pages = [{ cursor: null, start: 0 }];
    this.active = Math.min(this.active, Math.max(rows.length - 1, 0));
    this.draw();
  }

  // The pages that are seen again, as they are now; what comes after them is asked for when somebody goes there.
  async refresh() {
    if (this.isLoading) return;
    this.isLoading = true;
    try {
      const first = this.first(), last = this.last();
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
    this.draw();
  }

  async more() {
    if (this.isLoading || !this.next) return;
    this.isLoading = true;
    try {
      const cursor = this.next, page = await this.load(cursor);
      this.pages.push({ cursor, start: this.rows.length });
      this.rows = this.rows.concat(page.rows);
      this.next = page.next;
    } finally {
      this.isLoading = false;
    }
    this.draw();
  }

  first() { return Math.max(Math.floor(this.element.scrollTop / ROW) - MARGIN, 0); }
  last() { return Math.ceil((this.element.scrollTop + this.element.clientHeight) / ROW) + MARGIN; }

  later() {
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(); });
  }

  draw() {
    const first = this.first(), last = Math.min(this.last(), this.rows.length);
    const shown = [];
    for (let at = first; at < last; at++) {
      shown.push(this.line(this.cells(this.rows[at]), {
        class: "row", role: "row", id: `row-${at}`, "aria-rowindex": at + 2,
        "aria-selected": at === this.active ? "true" : "false", style: { top: `${(at + 1) * ROW}px` },
        onclick: () => { this.active = at; this.open(this.rows[at]); },
      }, "gridcell"));
    }
    this.space.style.height = `${this.rows.length * ROW}px`;
    this.element.setAttribute("aria-rowcount", this.next ? -1 : this.rows.length + 1);
    if (this.active >= first && this.active < last) this.element.setAttribute("aria-activedescendant", `row-${this.active}`);
    this.element.replaceChildren(this.head, this.space, ...shown);
    if (this.next && this.last() > this.rows.length - 50) this.more();
  }

  key(event) {
    const page = Math.max(Math.floor(this.element.clientHeight / ROW) - 2, 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" && this.rows[this.active]) this.open(this.rows[this.active]);
    else if (event.key in moves) {
      this.active = Math.min(Math.max(this.active + moves[event.key], 0), this.rows.length - 1);
      const top = this.active * ROW, height = this.element.clientHeight - 2 * ROW;
      this.element.scrollTop = Math.min(Math.max(this.element.scrollTop, top - height), top);
      this.draw();
    } else return;
    event.preventDefault();
  }
}

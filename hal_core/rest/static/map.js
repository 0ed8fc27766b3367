// The cluster as a heat map: every node a square, squares that are near each other in the topology together.

import { colour, h, number } from "./dom.js";

const GAP = 6, LABEL = 15, TALL = 560, SIZES = [30, 24, 20, 16, 13, 11, 9, 8, 7, 6, 5, 4, 3, 2];
export const STATUS = ["up", "suspect", "down", "unknown"];

export function words(map, at) {
  const status = map.drained[at] ? "drained" : STATUS[map.status[at]];
  const gpus = map.gpu_count[at] ? `, ${map.gpu_count[at] - map.gpus_free[at]} of ${map.gpu_count[at]} GPUs` : "";
  const place = map.domains[map.domain[at]].join(" / ");
  const used = map.cpu_count[at] - map.cpus_free[at];
  return `${map.names[at]}${place ? ` (${place})` : ""}: ${status}, ${used} of ${map.cpu_count[at]} CPUs${gpus} in use`;
}

// Domains as a tree: {name, children} or, at the narrowest, {name, nodes}.
function tree(map) {
  const root = { name: "", children: new Map(), nodes: [] };
  const leaves = map.domains.map((path) => path.reduce((domain, name) => {
    if (!domain.children.has(name)) domain.children.set(name, { name, children: new Map(), nodes: [] });
    return domain.children.get(name);
  }, root));
  map.domain.forEach((domain, at) => leaves[domain].nodes.push(at));
  return root;
}

// Places of a domain's squares, from its own corner: {width, height, cells: [[node, x, y]], labels: [[text, x, y, width]]}.
function place(domain, size, width, depth) {
  const own = domain.nodes.length;
  const columns = Math.max(1, Math.min(own, depth ? Math.ceil(Math.sqrt(own * 1.7)) : Math.floor(width / size)));
  const cells = domain.nodes.map((node, at) => [node, (at % columns) * size, Math.floor(at / columns) * size]);
  const labels = [];
  let across = own ? columns * size : 0, down = Math.ceil(own / columns) * size;
  if (!domain.children.size) return { width: across, height: down, cells, labels };
  const head = depth === 0 || (size >= 5 && depth < 3) ? LABEL : 0, gap = depth === 0 ? 2 * GAP : depth === 1 ? GAP : 2;
  const parts = [...domain.children.values()].map((child) => [child, place(child, size, width - gap, depth + 1)]);
  const area = parts.reduce((sum, [, part]) => sum + (part.width + gap) * (part.height + gap + head), 0);
  const widest = Math.max(...parts.map(([, part]) => part.width));
  const limit = depth ? Math.min(Math.max(Math.sqrt(area * 1.7), widest), width) : width;
  let x = 0, y = down ? down + gap : 0, tallest = 0;
  for (const [child, part] of parts) {
    if (x && x + part.width > limit) { x = 0; y += tallest + gap; tallest = 0; }
    if (head) labels.push([child.name, x, y + LABEL - 4, part.width]);
    for (const [node, cx, cy] of part.cells) cells.push([node, x + cx, y + head + cy]);
    for (const [text, lx, ly, lw] of part.labels) labels.push([text, x + lx, y + head + ly, lw]);
    across = Math.max(across, x + part.width);
    tallest = Math.max(tallest, part.height + head);
    x += part.width + gap;
  }
  return { width: across, height: y + tallest, cells, labels };
}

export class ClusterMap {
  constructor(open) {
    this.open = open; this.map = null; this.active = 0;
    this.canvas = h("canvas", { tabindex: 0, role: "application", "aria-roledescription": "map of nodes",
      onmousemove: (event) => this.point(event), onclick: (event) => { if (this.point(event)) this.open(this.name()); },
      onkeydown: (event) => this.key(event), onfocus: () => this.tell(), onblur: () => this.draw() });
    this.output = h("output", { "aria-live": "polite" }, "Point at a node, or use the arrow keys; Enter opens it.");
    this.element = h("div", { class: "map" }, this.canvas, this.output);
    new ResizeObserver(() => this.map && this.show(this.map)).observe(this.element);
  }

  name() { return this.map.names[this.placed.cells[this.active][0]]; }

  show(map) {
    const width = this.element.clientWidth;
    if (!width) return;
    if (map.names !== this.map?.names || width !== this.width) {
      const root = tree(map);
      for (this.size of SIZES) {
        this.placed = place(root, this.size, width, 0);
        if (this.placed.height <= TALL && this.placed.width <= width) break;
      }
      this.width = width;
    }
    this.map = map;
    this.draw();
  }

  draw() {
    const { map, placed, size } = this, ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round((placed.height + 2) * ratio);
    this.canvas.style.height = `${placed.height + 2}px`;
    this.canvas.setAttribute("aria-label", `${number(map.names.length)} nodes; the arrow keys go from one to the next`);
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const shades = [0, 1, 2, 3, 4, 5].map((step) => colour(`u${step}`));
    const bad = { drained: colour("drained"), suspect: colour("drained"), down: colour("down"), unknown: colour("unknown") };
    const side = size - (size > 6 ? 2 : size > 3 ? 1 : 0);
    for (const [node, x, y] of placed.cells) {
      const status = map.drained[node] ? "drained" : STATUS[map.status[node]];
      const use = map.cpu_count[node] ? 1 - map.cpus_free[node] / map.cpu_count[node] : 0;
      pen.fillStyle = status === "up" ? shades[use <= 0 ? 0 : Math.min(1 + Math.floor(use * 4.999), 5)] : bad[status];
      pen.fillRect(x, y, side, side);
    }
    pen.fillStyle = colour("soft");
    pen.font = "11px system-ui, sans-serif";
    for (const [text, x, y, width] of placed.labels) if (pen.measureText(text).width <= width) pen.fillText(text, x, y);
    if (document.activeElement === this.canvas && placed.cells.length) {
      const [, x, y] = placed.cells[this.active];
      pen.strokeStyle = colour("ink");
      pen.lineWidth = 2;
      pen.strokeRect(x - 1, y - 1, side + 2, side + 2);
    }
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect(), left = event.clientX - box.left, top = event.clientY - box.top;
    const at = this.placed.cells.findIndex(([, x, y]) => left >= x && left < x + this.size && top >= y && top < y + this.size);
    this.canvas.style.cursor = at < 0 ? "default" : "pointer";
    if (at < 0) return false;
    this.active = at;
    this.output.textContent = words(this.map, this.placed.cells[at][0]);
    return true;
  }

  tell() {
    this.draw();
    if (this.placed.cells.length) this.output.textContent = words(this.map, this.placed.cells[this.active][0]);
  }

  key(event) {
    const directions = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (event.key === "Enter") this.open(this.name());
    else if (event.key in directions) this.step(...directions[event.key]);
    else return;
    event.preventDefault();
  }

  // The nearest square in that direction; what is off the line counts three times.
  step(right, down) {
    const [, x0, y0] = this.placed.cells[this.active];
    let best = Infinity;
    this.placed.cells.forEach(([, x, y], at) => {
      const along = (x - x0) * right + (y - y0) * down, off = Math.abs((x - x0) * down) + Math.abs((y - y0) * right);
      if (along > 0 && along + 3 * off < best) { best = along + 3 * off; this.active = at; }
    });
    this.tell();
  }
}

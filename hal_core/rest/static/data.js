// Datasets, where their copies are, and what lies between: the cluster as data sees it.

import { get } from "./api.js";
import { bar, bytes, h, instant, number, table, tile } from "./dom.js";

const DATASETS = 200, DOMAINS = 60;

export async function open(root) {
  const body = h("div");
  root.append(h("h1", {}, "Data"), body);

  async function refresh() {
    const [{ datasets, next_cursor: more }, map] = await Promise.all([get("/v1/datasets", { limit: DATASETS }), get("/v1/links")]);
    const copies = map.domains.reduce((sum, each) => sum + each.copy_count, 0);
    body.replaceChildren(
      h("div", { class: "tiles" }, tile(number(map.dataset_count), "datasets"), tile(bytes(map.size_bytes) || "0 B", "in them, once"),
        tile(number(copies), map.is_partial ? "copies on nodes, at least" : "copies on nodes"),
        tile(`${rate(map.origin_bytes_per_s)}`, "from their origins, as seen lately")),
      h("section", { class: "card" }, h("h2", {}, "Links"), map.links.length ? ladder(map.links) :
        h("p", { class: "soft" }, "The configuration describes no topology: all nodes are as far from each other as any two.")),
      h("section", { class: "card" }, h("h2", {}, "Copies by place"), ...places(map.domains)),
      h("section", { class: "card" }, h("h2", {}, "Datasets"), datasets.length ? table(
        ["Name", "Version", "#Size", "#Files", "Owner", "Origin", "Added", ""], datasets.map((each) => [each.name, each.version,
          bytes(each.size_bytes), number(each.file_count), each.owner || "the site", each.replicas[0] ?? "", instant(each.add_time_s),
          each.is_pinned ? "pinned" : ""])) : h("p", { class: "soft" }, "There are none."),
      more ? h("p", { class: "soft" }, "There are more: ", h("code", {}, "hal data ls"), ".") : ""));
  }

  await refresh();
  return { refresh };
}

const rate = (value) => `${bytes(value)}/s`;

// From the widest to the narrowest; the bar is the logarithm of the bandwidth.
function ladder(links) {
  const size = (each) => Math.max(Math.log10(each.bytes_per_s) - 5, 0.2), most = Math.max(...links.map(size));
  return h("ol", { class: "ladder" }, links.map((each, at) => h("li", {},
    h("b", {}, each.level ? `within one ${each.level}` : `between ${links[1]?.level ?? "node"}s`),
    h("i", { "aria-hidden": "true", style: { width: `${100 * size(each) / most}%`, background: `var(--u${Math.min(at + 2, 5)})` } }),
    h("span", { class: "soft" }, [rate(each.bytes_per_s), latency(each.latency_s),
      each.money_per_gb ? `${each.money_per_gb} for a GB` : ""].filter(Boolean).join(", ")))));
}

function latency(seconds) {
  return seconds < 1e-3 ? `${(seconds * 1e6).toFixed(seconds < 1e-5 ? 1 : 0)} µs` : `${(seconds * 1e3).toFixed(seconds < 1e-2 ? 1 : 0)} ms`;
}

function places(domains) {
  const held = domains.filter((each) => each.copy_count).sort((one, other) => other.size_bytes - one.size_bytes);
  if (!held.length) return [h("p", { class: "soft" }, "No node has a copy: what jobs read is brought when they need it.")];
  const most = held[0].size_bytes || 1;
  return [table(["Place", "#Nodes", "#Copies", "#Size", ""], held.slice(0, DOMAINS).map((each) => {
    const place = each.path.join(" / ") || "the cluster", text = bytes(each.size_bytes);
    return [place, number(each.node_count), number(each.copy_count), text, h("div", { class: "wide" }, bar([
      { name: place, amount: each.size_bytes, text, colour: "var(--u4)" },
      { name: "", amount: most - each.size_bytes, text: "", colour: "transparent" }], `${place}: ${text}`))];
  })), held.length > DOMAINS ? h("p", { class: "soft" }, `and ${number(held.length - DOMAINS)} places more`) : ""];
}

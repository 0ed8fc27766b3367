// All nodes as a list that can be searched; and one node, with what runs there.

import { get, post } from "./api.js";
import { ask, bar, bytes, facts, h, link, number, state, table, tell } from "./dom.js";
import { List } from "./list.js";
import { STATUS, words } from "./map.js";

export async function open(root, parameters, context) {
  if (parameters.get("id")) return openOne(root, parameters.get("id"), context);
  let wanted = parameters.get("find") ?? "", map = null;
  const list = new List({
    kind: "nodes", heads: ["Node", "Status", "Place", "CPUs in use", "GPUs in use"], label: "Nodes",
    cells: (at) => [map.names[at], state(map.drained[at] ? "drained" : STATUS[map.status[at]]), map.domains[map.domain[at]].join(" / "),
      `${map.cpu_count[at] - map.cpus_free[at]} of ${map.cpu_count[at]}`,
      map.gpu_count[at] ? `${map.gpu_count[at] - map.gpus_free[at]} of ${map.gpu_count[at]}` : ""],
    open: (at) => { location.hash = `#/node/${map.names[at]}`; },
    load: async () => ({ rows: [...map.names.keys()].filter((at) => words(map, at).includes(wanted)), next: null }),
  });

  async function refresh() {
    map = await get("/v1/map");
    await list.reset();
  }

  const search = h("input", { type: "search", value: wanted, oninput: () => { wanted = search.value.trim(); list.reset(); } });
  root.append(h("h1", {}, "Nodes"), h("form", { class: "filters", onsubmit: (event) => event.preventDefault() },
    h("label", {}, "Name, place or status", search)), list.element);
  await refresh();
  return { refresh };
}

async function openOne(root, name, context) {
  const body = h("div");
  root.append(body);

  async function refresh() {
    const node = await get(`/v1/nodes/${name}`);
    const may = context.status.caller.role !== "user";
    const verb = node.is_drained ? "resume" : "drain", text = node.is_drained ? "Resume" : "Drain";
    const active = document.activeElement?.dataset?.action;
    body.replaceChildren(h("h1", {}, `Node ${name}`),
      may ? h("p", { class: "actions" }, h("button", { type: "button", "data-action": verb, onclick: () => act(verb, text) }, text)) : "",
      h("div", { class: "columns" },
        h("section", { class: "card" }, h("h2", {}, "Node"), facts([
          ["Status", state(node.is_drained ? "drained" : node.status)], ["Reason", node.reason], ["By", node.by],
          ["Place", node.location.join(" / ")], ["Partitions", node.partitions.join(", ")], ["Features", node.features.join(", ")],
          ["Missing", node.missing.join("; ")]])),
        h("section", { class: "card" }, h("h2", {}, "In use"),
          use("CPUs", node.cpu_count, node.cpus_free, number), use("Memory", node.memory_bytes, node.memory_bytes_free, bytes),
          Object.keys(node.gpus).map((kind) => use(kind, node.gpus[kind], node.gpus_free[kind] ?? 0, number)))),
      h("section", { class: "card" }, h("h2", {}, "Runs here"), node.allocations.length ?
        table(["Job", "User", "CPUs", "GPUs", "#Memory"], node.allocations.map((each) => [
          link(`job/${each.job_id}`, `${each.job_id}${each.index ? `_${each.index}` : ""}`), each.user, each.cpus, each.gpus,
          bytes(each.memory_bytes)])) : h("p", { class: "soft" }, "Nothing.")));
    if (active) body.querySelector("[data-action]")?.focus();
  }

  async function act(verb, text) {
    const reason = await ask(`${text} node ${name}?`, text, verb === "drain");
    if (reason === null) return;
    await context.attempt(async () => {
      await post(`/v1/nodes/${name}/${verb}`, verb === "drain" ? { reason } : {});
      tell(verb === "drain" ? `${name} is drained: nothing new starts there` : `${name} can be given work again`);
      await refresh();
    });
  }

  await refresh();
  return { refresh };
}

function use(name, whole, free, shown) {
  const text = `${name}: ${shown(whole - free) || 0} of ${shown(whole) || 0}`;
  return h("div", {}, h("span", { class: "soft" }, text), bar([
    { name: "in use", amount: whole - free, text: shown(whole - free), colour: "var(--u4)" },
    { name: "free", amount: free, text: shown(free), colour: "var(--u0)" }], text));
}

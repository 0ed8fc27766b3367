// How jobs ended, latest first; and what everybody used, as sums of receipts.

import { get } from "./api.js";
import { duration, h, instant, number, state, table } from "./dom.js";
import { List } from "./list.js";

const PAGE = 250;

export async function open(root, parameters) {
  const list = new List({
    kind: "jobs", heads: ["Job", "Name", "User", "Partition", "State", "CPUs", "Ran", "Ended"], label: "Ended jobs",
    cells: (each) => [each.is_array ? `${each.job_id}_${each.elements}` : `${each.job_id}`, each.name, each.user, each.partition,
      state(each.state), `${each.cpus}`, duration(each.ran_s),
      `${instant(each.end_time_s)}${each.kind === "exited" ? "" : `, ${each.kind.replaceAll("_", " ")}`}`],
    open: (each) => { location.hash = `#/job/${each.job_id}`; },
    load: async (cursor) => {
      const page = await get("/v1/history", { user: parameters.get("user"), limit: PAGE, cursor });
      return { rows: page.entries, next: page.next_cursor };
    },
  });
  root.append(h("h1", {}, "Past"), list.element);
  await list.reset();
  return { refresh: () => list.refresh() };
}

export async function openUsage(root, parameters, context) {
  const now = new Date(context.status.time_s * 1000).toISOString().slice(0, 7);
  const asked = { by: parameters.get("by") ?? "user", month: parameters.get("month") ?? now };
  const sums = h("div", { class: "card" });

  async function load() {
    const { receipts } = await get("/v1/receipts", asked);
    const hours = (seconds) => number(Math.round(seconds / 36) / 100);
    sums.replaceChildren(receipts.length ? table(
      [asked.by, "#Jobs", "#Waited", "#Ran", "#Lost", "#Core-hours", "#GPU-hours", "#kWh", "#Cost"],
      receipts.map((each) => [each[asked.by] || "none", number(each.job_count), duration(each.wait_s), duration(each.ran_s),
        each.lost_s ? duration(each.lost_s) : "", hours(each.core_s), each.gpu_s ? hours(each.gpu_s) : "",
        each.energy_j + each.cpu_energy_j ? ((each.energy_j + each.cpu_energy_j) / 3.6e6).toFixed(3) : "", each.money ? each.money.toFixed(2) : ""])) : h("p", { class: "soft" }, "No job has ended in that time."));
  }

  const changed = (event) => {
    asked[event.target.name] = event.target.value;
    return context.attempt(load);
  };
  root.append(h("h1", {}, "Usage"), h("form", { class: "filters", onsubmit: (event) => event.preventDefault() },
    h("label", {}, "By", h("select", { name: "by", onchange: changed },
      ["user", "account", "month"].map((value) => h("option", { value, selected: value === asked.by }, value)))),
    h("label", {}, "Month (empty: all)", h("input", { name: "month", type: "month", value: asked.month, onchange: changed }))), sums);
  await load();
  return { refresh: async () => {} };  // the whole journal is read for it: only when somebody asks
}

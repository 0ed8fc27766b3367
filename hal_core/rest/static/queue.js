// The live queue: every job that runs or waits, with the reason and when it would start.

import { get } from "./api.js";
import { duration, h, instant, localTimes, state } from "./dom.js";
import { List } from "./list.js";

const PAGE = 250;
const HEADS = ["Job", "Name", "User", "Partition", "State", "Size", "Since", "Why it waits, or where it runs"];

export async function open(root, parameters, context) {
  const filters = Object.fromEntries(["user", "name", "partition", "state"].map((name) => [name, parameters.get(name) ?? ""]));
  const field = (name, label) => h("label", {}, label, h("input", { name, value: filters[name], onchange: changed }));
  const list = new List({
    kind: "jobs", heads: HEADS, label: "Jobs", cells: (job) => cells(job, context),
    open: (job) => { location.hash = `#/job/${job.job_id}`; },
    load: async (cursor) => {
      const page = await get("/v1/jobs", { ...filters, limit: PAGE, cursor });
      return { rows: page.jobs, next: page.next_cursor };
    },
  });

  async function changed(event) {
    filters[event.target.name] = event.target.value.trim();
    list.element.scrollTop = 0;
    await context.attempt(() => list.reset());
  }

  root.append(h("h1", {}, "Queue"), h("form", { class: "filters", onsubmit: (event) => event.preventDefault() },
    field("user", "User"), field("name", "Name"), field("partition", "Partition"),
    h("label", {}, "State", h("select", { name: "state", onchange: changed },
      ["", "RUNNING", "SUSPENDED", "PENDING", "STAGING"].map((value) =>
        h("option", { value, selected: value === filters.state }, value || "unfinished"))))), list.element);
  await list.reset();
  return { refresh: () => list.refresh() };
}

function cells(job, context) {
  const runs = job.start_time_s !== null && job.state === "RUNNING";
  const since = (context.status.time_s ?? 0) - (runs ? job.start_time_s : job.submit_time_s);
  const start = job.expected_start_time_s ? `; at the latest at ${instant(job.expected_start_time_s)}` : "";
  const isEven = job.cpu_count % job.node_count === 0;
  const onNodes = isEven ? `${job.node_count} × ${job.cpu_count / job.node_count}` : `${job.cpu_count} on ${job.node_count}`;
  const size = job.node_count > 1 ? onNodes : `${job.cpu_count}`;
  return [job.array ? `${job.job_id} [${job.element_count}]` : `${job.job_id}`, job.name, job.user, job.partition, state(job.state),
    `${size} CPU${job.gpu_count ? ` ${job.gpu_count} GPU` : ""}`, duration(Math.max(since, 0)),
    job.reason ? `${localTimes(job.reason.text)}${start}` : job.nodes];
}

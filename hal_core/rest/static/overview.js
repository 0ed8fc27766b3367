// The cluster at a glance: a few numbers, the heat map, and the head of the queue.

import { get } from "./api.js";
import { h, instant, legend, link, localTimes, number, state, table, tile } from "./dom.js";
import { ClusterMap } from "./map.js";

const HEAD = 8;

const KEYS = [
  { name: "free", colour: "var(--u0)" }, { name: "partly used", colour: "var(--u2)" }, { name: "full", colour: "var(--u5)" },
  { name: "drained or suspect", colour: "var(--drained)" }, { name: "down", colour: "var(--down)" },
  { name: "not seen yet", colour: "var(--unknown)" },
];

export async function open(root, _, context) {
  const tiles = h("div", { class: "tiles" }), waiting = h("div");
  const map = new ClusterMap((name) => { location.hash = `#/node/${name}`; });
  root.append(h("h1", {}, "Cluster"), tiles,
    h("section", { class: "card" }, h("h2", {}, "Nodes by topology"), map.element, legend(KEYS)),
    h("section", { class: "card" }, h("h2", {}, "Next in the queue"), waiting));
  let known = null;

  async function refresh() {
    const [columns, page] = await Promise.all([get("/v1/map"), get("/v1/jobs", { state: "PENDING", limit: HEAD })]);
    const status = context.status, used = status.cpu_count - status.cpus_free, jobs = status.jobs;
    tiles.replaceChildren(
      tile(number(jobs.RUNNING ?? 0), "running"), tile(number(jobs.PENDING ?? 0), "waiting"),
      tile(`${number(status.nodes.up ?? 0)} of ${number(columns.names.length)}`, "nodes up"),
      ...(status.cpus_busy == null ? [] : [tile(status.cpus_busy.toFixed(1), "CPUs busy")]),
      tile(`${Math.round(100 * used / (status.cpu_count || 1))} %`, `of ${number(status.cpu_count)} CPUs taken`),
    );
    if (known && same(known, columns)) { columns.names = known.names; columns.domains = known.domains; }
    known = columns;
    map.show(columns);
    waiting.replaceChildren(page.jobs.length ? table(["Job", "Name", "User", "State", "Why it waits", "Start at the latest"],
      page.jobs.map((job) => [link(`job/${job.job_id}`, job.job_id), job.name, job.user, state(job.state),
        localTimes(job.reason?.text) ?? "", instant(job.expected_start_time_s)])) : h("p", { class: "soft" }, "Nothing waits."));
  }

  await refresh();
  return { refresh };
}

// The squares stay where they are unless nodes come or go.
const same = (old, now) => old.names.length === now.names.length && old.names.every((name, at) => name === now.names[at]);

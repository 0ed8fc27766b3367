// One job: what it is, its timeline and receipt, why it waits, and what its owner or an operator may do to it.

import { get, post, Refused } from "./api.js";
import { ask, bar, bytes, duration, facts, h, instant, legend, link, localTimes, state, table, tell } from "./dom.js";

const CAUSES = {
  held: ["being held", "var(--unknown)"], begin_time: ["its begin time", "var(--unknown)"],
  dependency: ["other jobs it depends on", "var(--u2)"], throttle: ["its array's throttle", "var(--u1)"],
  priority: ["jobs before it, limits", "var(--u3)"], resources: ["resources, at the head", "var(--u5)"],
  staging: ["its inputs", "var(--drained)"], launch: ["the launch", "var(--down)"],
  suspended: ["standing still", "var(--u4)"],
};
const ACTIONS = [
  ["cancel", "Cancel", (job) => !job.end_time_s], ["hold", "Hold", (job) => job.state === "PENDING" && !job.is_held],
  ["release", "Release", (job) => job.is_held], ["requeue", "Run again", (job) => job.state !== "PENDING"],
  ["suspend", "Suspend", (job, role) => role !== "user" && job.state === "RUNNING"],
  ["resume", "Resume", (job, role) => role !== "user" && job.state === "SUSPENDED"],
];
const ELEMENTS = 50;

export async function open(root, parameters, context) {
  const id = parameters.get("id");
  const body = h("div");
  let roomSince = "";  // for its right size, once somebody has asked: the journal is read for it
  root.append(body);

  async function refresh() {
    const [job, receipt] = await Promise.all([get(`/v1/jobs/${id}`).catch(gone), get(`/v1/jobs/${id}/receipt`)]);
    const waits = job?.state === "PENDING" ? await get(`/v1/jobs/${id}/explanation`).catch(gone) : null;
    const elements = job?.array ? await get(`/v1/jobs/${id}/elements`, { limit: ELEMENTS }) : null;
    const active = document.activeElement?.dataset?.action;
    body.replaceChildren(
      h("h1", {}, `Job ${id} `, h("span", { class: "soft" }, receipt.name)),
      job && mayControl(job, context) ? h("p", { class: "actions" }, ACTIONS.filter(
        ([, , isOffered]) => isOffered(job, context.status.caller.role)).map(
        ([verb, text]) => h("button", { type: "button", "data-action": verb, onclick: () => act(verb, text) }, text))) : "",
      h("section", { class: "card" }, h("h2", {}, "Timeline"), timeline(receipt)),
      h("div", { class: "columns" }, h("section", { class: "card" }, h("h2", {}, "Job"), about(job, receipt)),
        h("section", { class: "card" }, h("h2", {}, "Receipt"), costs(receipt, roomSince, lookBack)),
        waits ? h("section", { class: "card" }, h("h2", {}, "Why it waits"), why(waits)) : ""),
      elements ? h("section", { class: "card" }, h("h2", {}, "Elements"), list(elements)) : "",
    );
    if (active) body.querySelector(`[data-action="${active}"]`)?.focus();
  }

  async function lookBack() {
    await context.attempt(async () => {
      const { right_size: right } = await get(`/v1/jobs/${id}/receipt/start`);
      roomSince = right?.start_time_s ? instant(right.start_time_s) : "not known";
      await refresh();
    });
  }

  async function act(verb, text) {
    if (await ask(`${text} job ${id}?`, text) === null) return;
    await context.attempt(async () => {
      const { count } = await post(`/v1/jobs/${id}/${verb}`);
      tell(`${text}: ${count} ${count === 1 ? "element" : "elements"} of job ${id}`);
      await refresh();
    });
  }

  await refresh();
  return { refresh };
}

// Jobs that ended long ago have a receipt and nothing else.
function gone(error) {
  if (error instanceof Refused && error.status === 404) return null;
  throw error;
}

const mayControl = (job, { status: { caller } }) => caller.role !== "user" || caller.user === job.user;

function timeline(receipt) {
  const parts = receipt.waits.map(({ cause, seconds }) =>
    ({ name: `waited for ${CAUSES[cause][0]}`, amount: seconds, text: duration(seconds), colour: CAUSES[cause][1] }));
  if (receipt.ran_s) parts.push({ name: "ran", amount: receipt.ran_s, text: duration(receipt.ran_s), colour: "var(--good)" });
  const of = receipt.element_count > 1 ? `, over ${receipt.element_count} elements together` : "";
  const times = [`submitted ${instant(receipt.submit_time_s)}`, receipt.start_time_s && `started ${instant(receipt.start_time_s)}`,
    receipt.end_time_s && `ended ${instant(receipt.end_time_s)}`].filter(Boolean).join(", ");
  return h("div", {}, bar(parts, `${parts.map((part) => `${part.name} ${part.text}`).join(", ")}${of}`), legend(parts),
    h("p", { class: "soft" }, `${times}${of}`));
}

function about(job, receipt) {
  return facts([
    ["State", state(receipt.state)], ["User", receipt.user], ["Account", receipt.account], ["Partition", receipt.partition],
    ["Asked for", `${job?.node_count > 1 ? `${job.node_count} nodes, ` : ""}${receipt.cpu_count} CPUs` +
      `${job?.gpu_count ? `, ${job.gpu_count} GPUs` : ""}${receipt.memory_bytes_per_node ? `, ${bytes(receipt.memory_bytes_per_node)}` : ""}`],
    ["Time limit", duration(receipt.walltime_s) || "none"], ["Nodes", job?.nodes], ["Array", job?.array],
    ["Uses now", job?.use ? `${job.use.cpus.toFixed(1)} of ${job.use.cpu_count} CPUs (${job.use.cpus_mean.toFixed(1)} on average), ` +
      `${bytes(job.use.memory_bytes)} of memory` : ""], ["Idle since", instant(job?.idle_since_s)],
    ["Start at the latest", instant(job?.expected_start_time_s)], ["Command", job?.command?.join(" ")],
    ["Directory", job?.working_directory], ["Output", job?.output_path],
    ["Ended", job?.end ? `${job.end.kind}${job.end.exit_code === null ? "" : `, exit code ${job.end.exit_code}`}` : ""],
  ]);
}

function costs(receipt, roomSince, lookBack) {
  const hours = (seconds) => (seconds / 3600).toFixed(2), right = receipt.right_size;
  const memory = right?.memory_bytes_per_node ? `, ${bytes(right.memory_bytes_per_node)}` : "";
  return facts([
    ["Waited", duration(receipt.wait_s)], ["Ran", duration(receipt.ran_s)],
    ["Lost", receipt.lost_s ? `${duration(receipt.lost_s)} in attempts that were repeated` : ""],
    ["Held", `${hours(receipt.core_s)} core-hours${receipt.gpu_s ? `, ${hours(receipt.gpu_s)} GPU-hours` : ""}`],
    ["Used", [share(receipt.cpu_s, receipt.core_s, "CPUs"), share(receipt.gpu_busy_s, receipt.gpu_s, "GPUs")].filter(Boolean).join(", ")],
    ["Memory", receipt.peak_memory_bytes ? `at most ${bytes(receipt.peak_memory_bytes)}` : ""],
    ["Energy", energy(receipt)],
    ["Cost", receipt.money ? receipt.money.toFixed(2) : ""],
    ["Data", [receipt.bytes_moved && `${bytes(receipt.bytes_moved)} moved`, receipt.bytes_saved && `${bytes(receipt.bytes_saved)} there already`]
      .filter(Boolean).join(", ")],
    ["Right size", right ? `${right.cpu_count} CPUs${memory}, ${duration(right.walltime_s)}: ${hours(right.core_s)} core-hours` : ""],
    ["Room for that since", right && receipt.start_time_s ?
      roomSince || h("button", { type: "button", "data-action": "look-back", onclick: lookBack }, "Find out") : ""],
  ]);
}

const share = (used, held, of) => used !== null && held ? `${Math.round(100 * used / held)} % of its ${of}` : "";

function why(found) {
  return h("div", {}, facts([
    ["Reason", localTimes(found.text)], ["Short of", found.constraint?.text],
    ["Before it", found.ahead_count ? `${found.ahead_count} ${found.ahead_count > 1 ? "jobs" : "job"}` : ""],
    ["Start", found.start_time_s ? `${instant(found.start_time_s)}${found.nodes.length ? ` on ${found.nodes.join(", ")}` : ""}` :
      `cannot be said: ${found.why_not}`],
  ]), found.suggestions.length ? h("div", {}, h("p", {}, "It would start sooner with"), table(["Option", "What", "Start"],
    found.suggestions.map((each) => [h("code", {}, each.option), each.text, instant(each.start_time_s)]))) : "");
}

function list(page) {
  const rows = page.elements.map((each) => [each.indices, state(each.state), instant(each.start_time_s), instant(each.end_time_s),
    h("span", {}, each.nodes.map((part) => link(`node/${part.node}`, `${part.node} `)))]);
  return h("div", {}, table(["Index", "State", "Started", "Ended", "Nodes"], rows),
    page.next_cursor ? h("p", { class: "soft" }, `These are the first ${rows.length} entries; hal show has the rest.`) : "");
}

function energy(receipt) {
  const told = [[receipt.cpu_energy_j, "CPUs and memory"], [receipt.energy_j, "GPUs"]].filter(([joules]) => joules !== null);
  return told.map(([joules, what]) => `${(joules / 3.6e6).toFixed(3)} kWh by its ${what}`).join(", ");
}

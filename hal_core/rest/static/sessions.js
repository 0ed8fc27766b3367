// Sessions: many short tasks through workers that stay. Their brokers tell the daemon how they do, every few seconds.

import { get } from "./api.js";
import { bar, duration, h, legend, link, number, table, tile } from "./dom.js";

const COLOURS = { done: "var(--good)", failed: "var(--down)", running: "var(--u4)", waiting: "var(--u1)" };

export async function open(root) {
  const body = h("div");
  root.append(h("h1", {}, "Sessions"), body);

  async function refresh() {
    const { sessions } = await get("/v1/sessions");
    const sum = (name) => sessions.reduce((whole, each) => whole + each.figures[name], 0);
    body.replaceChildren(...(sessions.length ? [
      h("div", { class: "tiles" }, tile(number(Math.round(sum("rate_per_s"))), "tasks a second"), tile(number(sessions.length), "sessions"),
        tile(number(sum("worker_count")), "workers"), tile(number(sum("waiting_count") + sum("running_count")), "tasks left")),
      h("section", { class: "card" }, table(
        ["Session", "User", "Progress", "#A second", "#Time left", "#Left", "#Done", "#Failed", "#Workers"], sessions.map(row)),
        legend(Object.entries(COLOURS).map(([name, colour]) => ({ name, colour })))),
    ] : [h("section", { class: "card empty" }, h("h2", {}, "No session reports"),
      h("p", { class: "soft" }, "Sessions whose workers are jobs of this cluster appear here with their rates. Those that run on one machine",
        " only are seen there: ", h("code", {}, "hal sessions"), "."))]));
  }

  await refresh();
  return { refresh, isRestless: true };
}

function row({ session, user, figures }) {
  const left = figures.waiting_count + figures.running_count;
  const parts = Object.keys(COLOURS).map((name) => (
    { name, amount: figures[`${name}_count`], text: number(figures[`${name}_count`]), colour: COLOURS[name] }));
  const label = parts.map((part) => `${part.text} ${part.name}`).join(", ");
  const [job] = figures.job_ids;
  return [job ? link(`job/${job}`, session) : session, user, h("div", { class: "wide" }, bar(parts, label)),
    number(Math.round(figures.rate_per_s)), figures.rate_per_s ? duration(left / figures.rate_per_s) : left ? "not known" : "done",
    number(left), number(figures.done_count),
    figures.failed_count ? h("span", { class: "state FAILED" }, number(figures.failed_count)) : "0", number(figures.worker_count)];
}

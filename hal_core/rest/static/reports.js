// Reports of replays, for administrators: the list, and one of them in a frame that can reach nothing (frame.html).

import { get } from "./api.js";
import { bytes, h, instant, link, table } from "./dom.js";

export async function open(root, parameters) {
  const name = parameters.get("id");
  return name ? openOne(root, name) : openAll(root);
}

async function openAll(root) {
  const body = h("div");
  root.append(h("h1", {}, "Reports"), body);

  async function refresh() {
    const { directory, reports } = await get("/v1/reports");
    body.replaceChildren(reports.length ? h("section", { class: "card" }, table(["Report", "#Size", "Written"],
      reports.map((each) => [link(`reports/${each.name}`, each.name), bytes(each.size_bytes), instant(each.time_s)])),
      h("p", { class: "soft" }, `They lie in ${directory}.`)) : empty(directory));
  }

  await refresh();
  return { refresh };
}

const empty = (directory) => h("section", { class: "card empty" }, h("h2", {}, "No report is here"),
  h("p", { class: "soft" }, "What another policy would have done is told by ", h("code", {}, "hal replay --report FILE.html"), ". ",
    directory ? `Those in ${directory} are shown here.` : ["Name their folder in the configuration: ", h("code", {}, "listen: {reports: /var/lib/hal/reports}"), "."]));

async function openOne(root, name) {
  const { html } = await get(`/v1/reports/${name}`);
  const frame = h("iframe", { class: "report", sandbox: "allow-scripts", title: `Report ${name}`, src: "frame.html" });
  frame.addEventListener("load", () => frame.contentWindow.postMessage(html, "*"), { once: true });  // it has no origin to name
  root.append(h("h1", {}, name), h("p", {}, link("reports", "All reports")), frame);
  return { refresh: async () => {} };
}

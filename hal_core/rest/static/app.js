// The page: which view is open, who is looking, and when to look again.

import { get, takeTokenFromLink, Refused } from "./api.js";
import { h, tell } from "./dom.js";
import * as clouds from "./clouds.js";
import * as data from "./data.js";
import * as job from "./job.js";
import * as nodes from "./nodes.js";
import * as overview from "./overview.js";
import * as past from "./past.js";
import * as queue from "./queue.js";
import * as reports from "./reports.js";
import * as sessions from "./sessions.js";

const VIEWS = {
  overview: overview.open, queue: queue.open, job: job.open, nodes: nodes.open, node: nodes.open, past: past.open, usage: past.openUsage,
  sessions: sessions.open, data: data.open, clouds: clouds.open, reports: reports.open,
};
const NAV = { job: "queue", node: "nodes" };
const POLL_MS = 2000;

const main = document.getElementById("main"), trouble = document.getElementById("trouble");
const context = { status: null, attempt };
let view = null, opening = 0;

// Run it; what the daemon refuses is told, not thrown.
async function attempt(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    tell(error.message);
  }
}

async function look() {
  try {
    const status = await get("/v1/status");
    trouble.hidden = status.is_accepting;
    trouble.textContent = status.problem;
    const isNews = context.status?.sequence !== status.sequence;
    context.status = status;
    document.getElementById("cluster").textContent = status.cluster;
    document.getElementById("caller").textContent = `${status.caller.user} (${status.caller.role})`;
    document.querySelector("nav a[data-view=reports]").hidden = status.caller.role !== "administrator";
    document.title = `HAL: ${status.cluster}`;
    return isNews;
  } catch (error) {
    trouble.hidden = false;
    trouble.textContent = error instanceof Refused ? error.message : "The daemon does not answer; trying again.";
    return false;
  }
}

async function show() {
  const [, name = "", id = "", query = ""] = /^#\/([a-z]*)\/?([^?]*)\??(.*)$/.exec(location.hash) ?? [];
  const chosen = name in VIEWS ? name : "overview", parameters = new URLSearchParams(query), mine = ++opening;
  if (id) parameters.set("id", decodeURIComponent(id));
  for (const each of document.querySelectorAll("nav a")) {
    if (each.dataset.view === (NAV[chosen] ?? chosen)) {
      each.setAttribute("aria-current", "page");
      each.scrollIntoView({ block: "nearest", inline: "nearest" });  // on a phone they are wider than the screen
    } else each.removeAttribute("aria-current");
  }
  view = null;
  const root = h("div");
  main.replaceChildren(root);
  while (!context.status && mine === opening) {
    await look();
    if (!context.status) await pause();
  }
  try {
    const opened = mine === opening ? await VIEWS[chosen](root, parameters, context) : null;
    if (mine === opening) view = opened;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    root.replaceChildren(h("h1", {}, "That did not work"), h("p", {}, error.message));
  }
}

const pause = () => new Promise((resolve) => setTimeout(resolve, POLL_MS));

// Nobody is asked anything while nobody looks.
async function keepLooking() {
  while (true) {
    await pause();
    if (document.hidden || !context.status || document.querySelector("dialog[open]")) continue;
    if ((await look() || view?.isRestless) && view) {
      performance.mark("refresh");
      await view.refresh().catch((error) => { trouble.hidden = false; trouble.textContent = error.message; });
      performance.measure("hal.refresh", "refresh");
    }
  }
}

function chooseTheme(given) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = given ?? localStorage.getItem("hal.theme") ?? dark;
}

document.getElementById("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("hal.theme", theme);
  chooseTheme(theme);
  view?.refresh();
});
addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  show();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});

chooseTheme();
takeTokenFromLink();
show();
keepLooking();

// Elements and how values look. Text only ever becomes text: nothing here takes HTML.

export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(element.style, value);  // a style attribute is not allowed by the policy
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const link = (path, text) => h("a", { href: `#/${path}` }, text);
export const state = (kind, text = kind) => h("span", { class: `state ${kind}` }, text);
export const tile = (amount, what) => h("div", { class: "tile" }, h("b", {}, amount), h("span", {}, what));

export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return h("dl", {}, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

export function table(heads, rows) {
  const cell = (kind) => (value, at) => h(kind, { class: heads[at].startsWith("#") ? "number" : null }, value);
  const named = heads.map((head) => head.replace("#", ""));
  return h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, named.map(cell("th")))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell("td")))))));
}

export function bar(parts, label) {
  const whole = parts.reduce((sum, part) => sum + part.amount, 0) || 1;
  return h("div", { class: "bar", role: "img", "aria-label": label },
    parts.filter((part) => part.amount > 0).map((part) =>
      h("i", { title: `${part.name}: ${part.text}`, style: { background: part.colour, flexGrow: part.amount / whole } })));
}

export const legend = (parts) => h("ul", { class: "legend" }, parts.map((part) =>
  h("li", {}, h("i", { style: { background: part.colour } }), `${part.name} ${part.text ?? ""}`)));

export const number = (value) => value.toLocaleString("en");

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  const two = (value) => String(value).padStart(2, "0");
  if (hours === 0) return `${minutes}:${two(Math.floor(seconds % 60))} min`;
  if (days && seconds % 86400 === 0) return `${days} d`;
  return days ? `${days} d ${hours % 24}:${two(minutes % 60)} h` : `${hours}:${two(minutes % 60)} h`;
}

export function instant(time_s) {
  if (!time_s) return "";
  const at = new Date(time_s * 1000), today = new Date().toDateString() === at.toDateString();
  const clock = at.toLocaleTimeString("en-GB");
  return today ? clock : `${at.toLocaleDateString("sv")} ${clock}`;
}

// A text of the daemon, in which moments are in UTC, with these where the reader is.
export const localTimes = (text) => text?.replace(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, (found) => instant(Date.parse(found) / 1000));

export function bytes(amount) {
  if (!amount) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const at = Math.min(Math.floor(Math.log2(amount) / 10), 4);
  return `${(amount / 1024 ** at).toFixed(amount / 1024 ** at < 10 && at ? 1 : 0)} ${units[at]}`;
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export function tell(text) {
  const told = document.getElementById("told");
  told.textContent = text;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { told.textContent = ""; }, 5000);
}

// Resolves to null if the person leaves it, else to the reason given (or "").
export function ask(question, yes, wantsReason = false) {
  const dialog = document.getElementById("ask"), form = dialog.querySelector("form");
  document.getElementById("ask-title").textContent = question;
  document.getElementById("ask-yes").textContent = yes;
  document.getElementById("ask-reason").hidden = !wantsReason;
  form.reason.required = wantsReason;
  form.reason.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () =>
    resolve(dialog.returnValue === "yes" ? form.reason.value : null), { once: true }));
}

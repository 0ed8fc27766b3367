// The daemon's REST API (docs/reference/rest.md), as whoever the token names. The token lives as long as the tab.

import { localTimes } from "./dom.js";

const KEY = "hal.token";

export class Refused extends Error {
  constructor(status, error) {
    super(error.problems?.length ? error.problems.map((each) => each.text).join("; ") : localTimes(error.text));
    this.status = status;
  }
}

// A link may bring a token behind the hash, where no server sees it: `hal page` makes such links.
export function takeTokenFromLink() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (found) {
    sessionStorage.setItem(KEY, found[1]);
    history.replaceState(null, "", "#/");
  }
}

export async function get(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  return call("GET", query ? `${path}?${query}` : path);
}

export const post = (path, body = {}) => call("POST", path, body);

async function call(method, target, body) {
  while (true) {
    const headers = { authorization: `Bearer ${await token()}` };
    if (body !== undefined) headers["content-type"] = "application/json";
    const answer = await fetch(target, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    const value = await answer.json();
    if (answer.ok) return value;
    if (answer.status !== 401) throw new Refused(answer.status, value.error);
    sessionStorage.removeItem(KEY);
  }
}

let asking = null;

function token() {
  const known = sessionStorage.getItem(KEY);
  asking ??= known ? null : new Promise((resolve) => {
    const dialog = document.getElementById("sign-in");
    dialog.querySelector("form").reset();
    dialog.addEventListener("close", () => {
      const given = document.getElementById("token").value.trim();
      if (given) sessionStorage.setItem(KEY, given);
      asking = null;
      resolve(given ? given : token());
    }, { once: true });
    dialog.showModal();
  });
  return known ?? asking;
}

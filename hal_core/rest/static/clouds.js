// Cloud pools: what each has, owes and has spent against its budget; and the kill switch, for administrators.

import { get, post } from "./api.js";
import { ask, bar, duration, h, instant, legend, link, number, state, table, tell } from "./dom.js";

const KEYS = [{ name: "spent", colour: "var(--u5)" }, { name: "owed until the leases end", colour: "var(--u2)" }, { name: "left", colour: "var(--u0)" }];

const VERBS = {
  stop: { text: "Rent nothing more", path: "stop", body: { does_release: false },
    question: (name) => `Rent nothing more for ${name}? What runs goes on.`, told: (name) => `${name} rents nothing more` },
  release: { text: "Give all back", path: "stop", body: { does_release: true },
    question: (name) => `Give back all nodes of ${name}, and rent nothing more? What runs there ends.`, told: (name) => `${name} gives all back` },
  resume: { text: "Rent again", path: "resume", body: {},
    question: (name) => `Rent again for ${name}?`, told: (name) => `${name} rents again` },
};

export async function open(root, parameters, context) {
  const body = h("div");
  root.append(h("h1", {}, "Clouds"), body);

  async function refresh() {
    const { pools } = await get("/v1/pools"), { pool: active, action } = document.activeElement?.dataset ?? {};
    body.replaceChildren(...(pools.length ? pools.map((pool) => card(pool)) : [h("section", { class: "card empty" },
      h("h2", {}, "No pool rents nodes"), h("p", { class: "soft" }, "A pool lets jobs run on rented nodes while its own are full, within a budget. ",
        "It stands in the configuration, under ", h("code", {}, "pools"), "."))]));
    if (active) (body.querySelector(`[data-pool="${CSS.escape(active)}"][data-action="${action}"]`) ??
      body.querySelector(`[data-pool="${CSS.escape(active)}"]`))?.focus();
  }

  function card(pool) {
    const verbs = context.status.caller.role !== "administrator" ? [] : [pool.is_stopped ? "resume" : "stop", ...(pool.count ? ["release"] : [])];
    const now_s = context.status.time_s;
    return h("section", { class: "card" },
      h("div", { class: "between" }, h("h2", {}, pool.name, " ", pool.is_stopped ? state("down", `stopped by ${pool.stopped_by}`) : ""),
        h("div", { class: "actions" }, verbs.map((verb) => h("button", { type: "button", "data-pool": pool.name, "data-action": verb,
          onclick: () => act(pool.name, verb) }, VERBS[verb].text)))),
      h("p", { class: "soft" }, `${number(pool.count)} of at most ${number(pool.count_max)} nodes from ${pool.cloud}; `,
        `${number(pool.admitted_count)} waiting jobs may start there`),
      money(pool), accounts(pool),
      pool.instances.length ? h("div", {}, h("h3", {}, "Rented now"), table(
        ["Node", "State", "Offer", "Account", "#An hour", "#Spent", "#Jobs", "Lease ends"], pool.instances.map((each) => [
          each.node ? link(`node/${each.node}`, each.node) : each.name, state(each.state), each.offer, each.account, each.price_per_hour.toFixed(2),
          each.spent.toFixed(2), number(each.allocation_count), each.until_s ? instant(each.until_s) : ""]))) : "",
      h("details", {}, h("summary", {}, pool.offers.length === 1 ? "1 offer" : `${pool.offers.length} offers`), table(["Offer", "Market", "#An hour", "#Boots in", "#Has", "Left alone"],
        pool.offers.map((each) => [each.name, each.market, each.price_per_hour.toFixed(2), duration(each.boot_s), `${each.count} of ${each.count_max}`,
          each.closed_until_s ? `for ${duration(Math.max(each.closed_until_s - now_s, 0))}: ${each.closed_why}` : ""]))));
  }

  async function act(name, verb) {
    const { text, question, path, body, told } = VERBS[verb];
    if (await ask(question(name), text) === null) return;
    await context.attempt(async () => {
      await post(`/v1/pools/${name}/${path}`, body);
      tell(told(name));
      await refresh();
    });
  }

  await refresh();
  return { refresh, isRestless: true };
}

// Whose money of the pool's it is: what each account with a budget of its own has spent, owes, and has left.
function accounts(pool) {
  if (!pool.account_budgets.length) return "";
  return h("div", { class: "accounts" }, h("h3", {}, "By account"), table(["Account", "Of its budget", "#Spent", "#Owed", "#Left", "#Budget", "Period"],
    pool.account_budgets.map((each) => [each.account, budget(each, `${each.account}: `), each.spent.toFixed(2), each.committed.toFixed(2), each.left.toFixed(2),
      each.budget.toFixed(2), each.period_s ? duration(each.period_s) : "for ever"])));
}

function money(pool) {
  const spent = pool.spent.toFixed(2), owed = pool.committed.toFixed(2);
  if (pool.budget === null) return h("p", {}, `${spent} spent, ${owed} owed until the leases end; no budget`);
  const period = pool.period_s ? ` in ${duration(pool.period_s)}` : "";
  const text = `${spent} spent and ${owed} owed of ${pool.budget.toFixed(2)}${period}; ${pool.left.toFixed(2)} left`;
  return h("div", {}, h("p", {}, text), budget(pool, ""), legend(KEYS));
}

function budget(of, whose) {
  const spent = of.spent.toFixed(2), owed = of.committed.toFixed(2), left = of.left.toFixed(2);
  return bar([{ ...KEYS[0], amount: of.spent, text: spent }, { ...KEYS[1], amount: of.committed, text: owed },
    { ...KEYS[2], amount: Math.max(of.left, 0), text: left }], `${whose}${spent} spent and ${owed} owed of ${of.budget.toFixed(2)}; ${left} left`);
}

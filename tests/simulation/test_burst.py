"""A replay with rented nodes: who runs where, what it costs, and that nothing is left over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import hal

PRICES = """
on_premises: 0.5
pool: {count_max: 20}
offers:
  - {name: small, cpus: 2, price_per_hour: 3600, boot: 2m}
  - {name: cheap, cpus: 2, price_per_hour: 360, boot: 2m, market: spot, interruptions_per_hour: 1}
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Of 8 processors. A wide job that the half of them cannot hold, then many small ones at once."""
    rows = [(0, 100, 8, 100), *((200, 1000, 2, 2000) for _ in range(12))]
    lines = [
        f"{n} {submit} -1 {run} {width} -1 -1 {width} {limit} -1 1 1 1 1 1 1 -1 -1"
        for n, (submit, run, width, limit) in enumerate(rows, 1)
    ]
    path = tmp_path / "some.swf"
    path.write_text("\n".join(["; MaxProcs: 8", *lines]) + "\n")
    return path


def replayed(trace: Path, prices: str, *policies: str) -> list[dict[str, Any]]:
    file = trace.with_name("prices.yaml")
    file.write_text(prices)
    words = [word for policy in policies for word in ("--policy", policy)]
    done = hal("/nowhere", "replay", str(trace), "--with-cloud", str(file), *words, "--json")
    assert done.code == 0, done
    return list(json.loads(done.out)["runs"])


def test_the_plain_rule_serves_everybody_and_pays_for_boots_and_idleness(trace):
    """Four for the wide job, and ten for who comes while it runs: they wait for whichever is free first."""
    (run,) = replayed(trace, PRICES, "queue-length")

    assert (run["jobs"], run["skipped"], run["leaked"]) == (13, 0, 0)
    assert run["max_wait_s"] == 120.0
    assert run["instances"] == 14
    assert run["spend"] > 3600 / 3600 * (4 * 220 + 10 * 1000)


def test_the_pool_lets_the_dear_jobs_wait_and_leaves_nothing_behind(trace):
    plain, own = replayed(trace, PRICES, "queue-length", "on-demand")

    assert (own["jobs"], own["leaked"]) == (13, 0)
    assert own["spend"] < plain["spend"]


def test_a_budget_is_not_exceeded_and_a_wide_job_that_it_cannot_pay_never_starts(trace):
    (run,) = replayed(trace, PRICES.replace("count_max: 20", "count_max: 20, budget: 500"), "on-demand")

    assert run["spend"] <= 500.0
    assert (run["jobs"], run["skipped"]) == (12, 1)


def test_what_each_account_may_spend_is_not_exceeded(trace):
    """The same jobs, every other one of another account; one of the two may spend next to nothing."""
    lines = trace.read_text().splitlines()
    split = [line.replace(" 1 1 1 1 1 -1 -1", f" 1 {7 + at % 2} 1 1 1 -1 -1") for at, line in enumerate(lines)]
    trace.write_text("\n".join(split) + "\n")
    budgets = "account_budgets: {group7: {budget: 1000000}, group8: {budget: 1000000}}"
    both = PRICES.replace("count_max: 20", f"count_max: 20, value_per_hour: 100000, {budgets}")
    (free,) = replayed(trace, both, "on-demand")
    (bound,) = replayed(trace, both.replace("group8: {budget: 1000000}", "group8: {budget: 10}"), "on-demand")
    assert all(money > 10 for money in free["spend_by_account"].values()), free
    assert sum(free["spend_by_account"].values()) == pytest.approx(free["spend"], rel=0.02)
    assert (bound["spend_by_account"]["group8"], bound["spend_by_account"]["group7"] > 10) == (0.0, True)
    (plain,) = replayed(trace, both, "queue-length")
    assert (plain["jobs"], plain["spend_by_account"]) == (13, {}), "the plain rule knows no budget"


def test_a_budget_of_an_account_that_nobody_has_is_refused(trace):
    file = trace.with_name("prices.yaml")
    words = ("replay", str(trace), "--with-cloud", str(file))
    file.write_text(PRICES.replace("count_max: 20", "account_budgets: {grup1: {budget: 5}}"))
    done = hal("/nowhere", *words)
    text = "pool.account_budgets.grup1: no account named 'grup1' (did you mean 'group1'?); there are: group1"
    assert (done.code, done.err) == (1, f"hal: {text}\n")
    trace.write_text(trace.read_text().replace(" 1 1 1 1 1 -1 -1", " 1 -1 1 1 1 -1 -1"))
    assert "no job of the trace is of an account" in hal("/nowhere", *words).err


def test_what_renting_cost_is_told_to_people_too(trace):
    file = trace.with_name("prices.yaml")
    file.write_text(PRICES.replace("count_max: 20", "count_max: 20, account_budgets: {group1: {budget: 1000000}}"))
    out = hal("/nowhere", "replay", str(trace), "--with-cloud", str(file), "--policy", "on-demand").out
    (told,) = [line for line in out.splitlines() if "spent" in line]
    assert told.startswith("some.swf: on-demand: ")
    assert ", by account: group1 " in told


def test_deadlines_that_the_site_cannot_keep_are_kept_by_the_pool(trace):
    prices = PRICES + "deadlines: {share: 1, slack: 1.5}\ncheckpoint: 5m\n"

    both, lasting, none = (
        *replayed(trace, prices, "hal", "on-demand"),
        *replayed(trace, prices.replace("count_max: 20", "count_max: 0"), "hal"),
    )

    assert both["deadlines_missed"] == lasting["deadlines_missed"] == 0
    assert none["deadlines_missed"] > 0
    assert both["spend"] < lasting["spend"]


def test_what_cannot_be_simulated_together_is_refused(trace):
    file = trace.with_name("prices.yaml")
    file.write_text(PRICES)

    done = hal("/nowhere", "replay", str(trace), "--with-cloud", str(file), "--event-order", "one-by-one")

    assert done.code == 2
    assert "--event-order one-by-one cannot be simulated together" in done.err


def test_a_wrong_file_is_refused_with_its_line(trace):
    file = trace.with_name("prices.yaml")
    file.write_text("offers:\n  - {name: small, cpus: 2, price: 1}\n")

    done = hal("/nowhere", "replay", str(trace), "--with-cloud", str(file))

    assert done.code != 0
    assert "prices.yaml:2" in done.err
    assert "price_per_hour" in done.err

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

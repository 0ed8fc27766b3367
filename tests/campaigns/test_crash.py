"""The short version of the crash campaign and of the walk over the failpoints."""

from __future__ import annotations

import random

from tests.campaigns.crash import Striker, drained, under_load
from tests.campaigns.failpoints import walk

WANTED = {"daemon": 6, "agent": 6, "spawner": 4, "supervisor": 6, "stop": 1}
NAMES = ("journal.after_commit", "kernel.after_append", "agent.order_received", "spawner.claims_durable")
"""Where a mistake would cost most: between what is on disk and what is told or begun."""


def test_nothing_is_lost_or_doubled_by_kills_at_random_moments() -> None:
    seed = random.randrange(1 << 32)
    with under_load(seed) as (hal, load, log):
        Striker(hal, random.Random(seed)).strike(WANTED)
        found = drained(hal, load, log)
    assert not found.problems, f"seed {seed}"
    assert found.acknowledged > 20


def test_nothing_is_lost_or_doubled_by_death_at_a_named_place() -> None:
    seed = random.randrange(1 << 32)
    _, problems = walk(NAMES, [1], seed)
    assert not problems, f"seed {seed}"

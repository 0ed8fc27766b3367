"""The short version of the campaign over the simulated kernel, and that its net catches what is planted."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from tests.campaigns.kernel_sim import ROOT, simulate
from tests.support.kernel_sim.planted import PLANTED

HOURS = 0.5
SOME_PLANTED = (
    "a gang ends with its first part",
    "orphans are left alone",
    "a lease that is over counts as a cancel",
    "the room on a node is not looked at",
)


def test_random_seeds_keep_every_promise() -> None:
    first = random.randrange(1 << 32)
    for seed in range(first, first + 4):
        broken, _, counts = simulate(seed, HOURS)
        assert not broken, f"repeat: python -m tests.campaigns.kernel_sim --seed {seed} --seeds 1 --hours {HOURS}"
        assert counts["begun"] > 0


def test_a_seed_gives_the_same_events_always() -> None:
    seed = random.randrange(1 << 32)
    assert simulate(seed, HOURS)[1] == simulate(seed, HOURS)[1], f"seed {seed}"


@pytest.mark.parametrize("name", SOME_PLANTED)
def test_a_planted_bug_is_caught(name: str) -> None:
    argv = [sys.executable, "-m", "tests.campaigns.kernel_sim", "--json", "--planted", name, "--seeds", "40"]
    done = subprocess.run([*argv, "--seed", "1"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["caught_after"] is not None


def test_every_planted_bug_can_still_be_planted() -> None:
    """If this fails, the code was changed where a bug is planted: give it another piece in planted.py."""
    for planted in PLANTED.values():
        compile(planted.plant(planted.path.read_text()), planted.path, "exec")
    assert len(PLANTED) >= 30

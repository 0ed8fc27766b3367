"""How fast data comes is learned from what came, not too hastily, and is a part of the state like everything else."""

from __future__ import annotations

import attrs
from hypothesis import given, strategies as st

from hal_core.models.dataset import DataFile, Dataset
from hal_core.models.message import AddDataset, StagingDone
from hal_core.rules.pace import TOLERANCE, Pace
from hal_core.rules.stage_in import tiers
from tests.support.core_world import World, make_cluster

GENOME = Dataset("genome", "1", (DataFile("a", 1000, "a" * 64),), ("/data",), "ada", 1000, 1000)


def test_what_was_configured_holds_until_something_was_seen():
    pace = Pace()
    assert pace.rate(100.0) == 100.0
    assert not pace.learn(0, 5.0, 100.0)
    assert not pace.learn(500, 0.0, 100.0)
    assert not pace.learn(105 * 1000, 1000.0, 100.0), "a little faster is the same"
    assert pace.rate(100.0) == 100.0


@given(st.floats(1.0, 1e10), st.floats(1.0, 1e10), st.integers(1, 10**6))
def test_it_comes_to_what_is_seen(configured, real, seconds):
    pace = Pace()
    for _ in range(200):
        pace.learn(int(real * seconds) + 1, float(seconds), configured)
    weight = 10.0 / (10.0 + 19.0 * seconds)  # what the first guess is still worth
    expected = weight * configured + (1 - weight) * real
    assert abs(pace.rate(configured) / expected - 1) < TOLERANCE + 0.02 + 2 / real
    again = Pace(*pace.figures)
    assert again.rate(configured) == pace.rate(configured)


def test_a_staging_corrects_what_engines_are_told_and_other_nodes_bytes_do_not():
    world = World(attrs.evolve(make_cluster(1), stage_bytes_per_s=100.0)).join()
    world.tell(AddDataset(GENOME))
    inputs = ("dataset:genome@1",)
    assert tiers(world.state, inputs)[-1].cost_s == 10.0
    key = world.start(inputs=inputs)
    world.tell(StagingDone(key, 10**6, 0, 0, 0.0))
    assert tiers(world.state, inputs)[-1].cost_s == 10.0, "all of it came from other nodes"
    key = world.start(inputs=inputs)
    world.tell(StagingDone(key, 10**6, 0, 10**6, 990.0))
    assert tiers(world.state, inputs)[-1].cost_s < 1.1, "a thousand bytes a second"

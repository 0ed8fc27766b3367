"""The weight of an elastic job, changed while it runs: who has what follows at the next pass."""

from __future__ import annotations

import pytest

from hal_core.errors import Refused
from hal_core.models.event import WeightChanged
from hal_core.models.message import SetWeight
from hal_core.rules.state import State
from tests.support.core_world import World, make_cluster


@pytest.fixture
def world():
    world = World(make_cluster(2)).join()
    yield world
    world.check_at_end()


def counts(world, *job_ids):
    return tuple(len(world.job(job_id).active) for job_id in job_ids)


def test_what_is_left_is_divided_by_the_new_weight_at_once_and_after_a_restart(world):
    one, other = (world.submit(array="0-19", elastic_weight=1, can_requeue=True) for _ in range(2))
    world.settle()
    assert counts(world, one, other) == (4, 4)
    world.tell(SetWeight(other, 3, "ada"))
    assert State.load(world.state.dump()).jobs[other].elastic_weight == 3
    world.settle()
    assert counts(world, one, other) == (2, 6)
    world.tell(SetWeight(one, 9, "ada"))
    world.settle()
    assert counts(world, one, other) == (6, 2)
    world.tell(SetWeight(one, 9, "ada"))
    assert [event.weight for event in world.of(WeightChanged)] == [3, 9]


def test_only_an_elastic_job_that_goes_on_has_a_weight(world):
    plain = world.submit()
    with pytest.raises(Refused, match=f"job {plain} is not elastic"):
        world.tell(SetWeight(plain, 3, "ada"))
    over = world.submit(elastic_weight=2)
    world.cancel(over)
    with pytest.raises(Refused, match="its weight means nothing any more"):
        world.tell(SetWeight(over, 3, "ada"))

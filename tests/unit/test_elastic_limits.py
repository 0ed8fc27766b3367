"""Elastic jobs in an account whose limit they fill: they stay within it, and make way there as they do on nodes."""

from __future__ import annotations

import attrs
import pytest

from hal_core.models.event import JobCancelRequested, Planned
from hal_core.models.job import JobState
from hal_core.models.policy import Account
from hal_core.models.ranges import count_of
from hal_core.plugins import Plugins
from hal_core.rules.excerpt import excerpt
from hal_core.rules.forecast import forecast
from hal_core.rules.waiting import Waiting
from hal_engine_backfill.easy import Easy
from tests.support.core_world import World, make_cluster

ACCOUNTS = (
    Account("all", limits=(("cpus", 12),)),
    Account("x", parent="all", limits=(("cpus", 4),)),
    Account("y", parent="all", limits=(("running_jobs", 5),)),
)


@pytest.fixture
def world():
    """Sixteen CPUs."""
    world = World(attrs.evolve(make_cluster(4), accounts=ACCOUNTS)).join()
    yield world
    world.check_at_end()


def session(world, account="x", **fields):
    job_id = world.submit(array="0-19", elastic_weight=1, can_requeue=True, account=account, **fields)
    world.settle()
    return job_id


def counts(world, *job_ids):
    return tuple(len(world.job(job_id).active) for job_id in job_ids)


def reason(world, job_id):
    found = Waiting(world.state, world.now_s).reason(world.job(job_id))
    return found.kind, found.text


def left_count(world):
    return sum(count_of(event.elements) for event in world.of(JobCancelRequested))


def test_a_batch_job_waits_only_until_as_many_have_left_as_hold_what_it_needs_of_the_limit(world):
    mine, others = session(world), session(world, "y")
    assert counts(world, mine, others) == (4, 5)
    batch = world.submit(cpus_per_task=3, account="x")
    world.settle()
    assert world.job(batch).state is JobState.RUNNING
    assert counts(world, mine, others) == (1, 5)
    assert left_count(world) == 3, "no more than needed, and nobody of another account"
    assert not world.of(Planned)[-1].grants


@pytest.mark.parametrize("engine", ["easy", "fcfs", "hal", "conservative"])
def test_a_start_that_uses_a_limit_up_is_one_also_beside_elastic_jobs(engine):
    """The engine counted it, and then nobody found what it was about."""
    world = World(attrs.evolve(make_cluster(4), accounts=ACCOUNTS), Plugins.load({}).engine(engine)).join()
    others = world.submit(array="0-3", elastic_weight=1, can_requeue=True, account="y")
    batch = world.submit(cpus_per_task=4, account="x")
    world.settle()
    assert world.job(batch).state is JobState.RUNNING
    assert counts(world, others) == (4,)
    world.check_at_end()


def test_a_limit_that_batch_jobs_fill_makes_no_elastic_job_leave(world):
    held = world.submit(cpus_per_task=3, account="x")
    mine = session(world)
    assert counts(world, mine) == (1,)
    late = world.submit(cpus_per_task=2, account="x")
    world.settle()
    assert world.job(late).state is JobState.PENDING
    assert (counts(world, mine), left_count(world)) == ((1,), 0), "with that one gone it could not start either"
    world.cancel(held)
    world.settle()
    assert world.job(late).state is JobState.RUNNING
    assert counts(world, mine) == (2,)


def test_a_limit_of_the_account_above_is_kept_by_those_below_it_together(world):
    mine, others = session(world), session(world, "y", cpus_per_task=2)
    assert counts(world, mine, others) == (4, 4), "four CPUs and eight are the twelve of the account above"
    batch = world.submit(cpus_per_task=3, account="x")
    world.settle()
    assert world.job(batch).state is JobState.RUNNING
    assert counts(world, mine, others) == (1, 4), "those in its way are of its own account"
    world.cancel(mine)
    world.settle()
    assert counts(world, others) == (4,)
    other = world.submit(cpus_per_task=4, account="y")
    world.settle()
    assert world.job(other).state is JobState.RUNNING
    assert counts(world, others) == (2,), "three and four are seven, which leaves five of the twelve"


def test_elastic_jobs_of_a_full_account_share_it_and_the_one_of_larger_priority_is_first(world):
    first = session(world)
    second = session(world)
    assert counts(world, first, second) == (2, 2)
    urgent = session(world, priority=5)
    assert counts(world, first, second, urgent) == (0, 0, 4)
    world.cancel(urgent)
    world.settle()
    assert counts(world, first, second) == (2, 2)


def test_who_waits_for_the_limit_of_its_account_is_told_so(world):
    mine = session(world)
    assert reason(world, mine) == ("limit", "limit cpus of account x: 4 of 4")
    batch = world.submit(cpus_per_task=2, account="x")
    part = excerpt(world.state, batch, world.now_s)
    assert forecast(part, Easy(), world.now_s).start_time_s == world.now_s, "but for their leaving"
    world.plan()
    assert reason(world, batch) == ("preemption", f"jobs that make room for it are ending: {mine}")

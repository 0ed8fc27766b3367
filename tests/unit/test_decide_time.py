"""What becomes due by itself: begin times and overdue nodes, however the shell's cycles fall."""

from __future__ import annotations

import pytest

from hal_core.models.job import JobState
from hal_core.models.message import ClockSet, NodeLost, NodeSilent, Tick
from hal_core.models.node import NodeName
from hal_core.rules.core import Core
from hal_core.rules.state import State
from hal_core.testing import FakeEngine
from tests.support.core_world import World, make_cluster


@pytest.fixture
def world():
    world = World(make_cluster(2)).join()
    yield world
    world.check_at_end()


def test_a_job_does_not_start_before_its_begin_time(world):
    early, late = world.submit(begin_time_s=1500.0), world.submit(begin_time_s=2000.0)
    world.settle()
    assert not world.state.allocations
    for job_id, begin_s in ((early, 1500.0), (late, 2000.0)):
        assert world.core.next_wake_s() == begin_s
        world.now_s = begin_s
        world.tell(Tick())
        world.settle()
        assert world.job(job_id).state is JobState.RUNNING
    assert world.core.next_wake_s() is None


def test_a_begin_time_that_passes_in_a_cycle_without_a_plan_is_not_forgotten(world):
    job_id = world.submit(begin_time_s=1500.0)
    world.settle()
    world.now_s = 1500.5
    world.tell(NodeSilent(NodeName("unknown")))  # leads to no event, so to no plan
    assert not world.core.needs_plan
    wake_s = world.core.next_wake_s()
    assert wake_s is not None
    assert wake_s <= world.now_s
    world.tell(Tick())
    world.settle()
    assert world.job(job_id).state is JobState.RUNNING
    assert world.core.next_wake_s() is None


def test_a_begin_time_that_passed_while_the_daemon_was_down(world):
    job_id = world.submit(begin_time_s=1500.0)
    world.settle()
    world.now_s = 9000.0
    world.core = Core(FakeEngine(), "test", State.load(world.state.dump()))
    world.join()
    world.settle()
    assert world.job(job_id).state is JobState.RUNNING


def test_a_begin_time_that_was_over_when_the_clock_was_set_back_is_waited_for(world):
    """Nobody was woken for it, and in a quiet cluster the job never began (kernel_sim --seed 8098)."""
    world.witness.is_clock_set = True
    world.now_s = 2000.0
    job_id = world.submit(begin_time_s=1500.0)
    world.now_s = 1000.0
    world.tell(ClockSet())
    world.settle()
    assert world.job(job_id).state is JobState.PENDING
    assert world.core.next_wake_s() == 1500.0
    world.now_s = 1500.0
    world.tell(Tick())
    world.settle()
    assert world.job(job_id).state is JobState.RUNNING


def test_nobody_is_woken_while_a_plan_is_due_anyway(world):
    world.submit(begin_time_s=1500.0)
    world.now_s = 1600.0
    assert world.core.needs_plan
    assert world.core.next_wake_s() is None, "a shell that puts its plan off must not spin"


def test_silent_nodes_are_given_up_one_after_the_other(world):
    world.tell(NodeSilent(NodeName("n0")))
    world.now_s += 100
    world.tell(NodeSilent(NodeName("n1")))
    assert world.core.next_wake_s() == 1300.0
    world.now_s = 1300.0
    world.tell(Tick())
    assert world.core.next_wake_s() == 1400.0
    world.tell(NodeLost(NodeName("n1"), "gone"))
    assert world.core.next_wake_s() is None


@pytest.mark.parametrize("step_s", [86_400.0, -600.0])
def test_nodes_out_of_contact_have_their_time_whoever_sets_the_clock(world, step_s):
    world.witness.is_clock_set = True
    key = world.start(can_requeue=True)
    for name in ("n0", "n1"):
        world.tell(NodeSilent(NodeName(name)))
    world.now_s += 100 + step_s
    world.tell(ClockSet())
    world.now_s += 299
    world.tell(Tick())
    assert world.activity(key.job_id).attempt == 1, "under its lease it may still run"
    assert world.core.next_wake_s() == world.now_s + 1
    world.now_s += 1
    world.tell(Tick())
    assert world.job(key.job_id).attempt_of(0) == 2


def test_a_clock_that_was_set_back_is_looked_at_anew_for_begin_times(world):
    world.witness.is_clock_set = True
    world.now_s = 5000.0
    world.settle()
    job_id = world.submit(begin_time_s=6000.0)
    world.now_s = 7000.0
    world.tell(Tick())
    assert world.core.needs_plan
    world.now_s = 5500.0
    world.tell(ClockSet())
    world.settle()
    assert world.job(job_id).state is JobState.PENDING
    assert world.core.next_wake_s() == 6000.0


def test_a_tick_when_nothing_is_due_changes_nothing(world):
    before = world.state.dump()
    world.tell(Tick())
    assert world.state.dump() == before


def test_a_shell_is_told_when_a_tick_is_due(world):
    assert not world.core.is_tick_due(world.now_s)
    world.tell(NodeSilent(NodeName("n0")))
    assert not world.core.is_tick_due(world.now_s + 299.0)
    assert world.core.is_tick_due(world.now_s + 300.0)

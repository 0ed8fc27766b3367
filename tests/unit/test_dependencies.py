"""Dependencies: every kind, arrays, chains that can never start, jobs queued again, and what a restart keeps."""

from __future__ import annotations

import pytest

from hal_core.errors import InvalidInput
from hal_core.models.event import JobEnded
from hal_core.models.job import End, EndKind, JobState, Owner
from hal_core.models.message import Cancel, Requeue, Submission, Submit
from hal_core.models.ranges import parse_ranges
from hal_core.rules import state as state_module
from hal_core.rules.state import State
from tests.support.core_world import ADA, BAD, OK, World, make_cluster, make_spec, select

NEVER = End(EndKind.DEPENDENCY_NEVER_SATISFIED)
CANCELLED, PENDING, RUNNING = JobState.CANCELLED, JobState.PENDING, JobState.RUNNING


@pytest.fixture
def world():
    world = World(make_cluster(2)).join()
    yield world
    world.check_at_end()


def restart(world):
    world.core.state = State.load(world.state.dump())


@pytest.mark.parametrize("does_restart", [False, True])
@pytest.mark.parametrize(
    ("kind", "end", "state"),
    [
        ("afterok", OK, RUNNING),
        ("afterok", BAD, CANCELLED),
        ("afternotok", OK, CANCELLED),
        ("afternotok", BAD, RUNNING),
        ("afterany", OK, RUNNING),
        ("afterany", BAD, RUNNING),
    ],
)
def test_what_follows_the_end_of_one_job(world, kind, end, state, does_restart):
    key = world.start()
    child = world.submit(after=[(kind, key.job_id)])
    world.settle()
    assert world.job(child).state is PENDING
    if does_restart:
        restart(world)
    world.end(key, end)
    world.settle()
    assert world.job(child).state is state


@pytest.mark.parametrize(
    ("kind", "end", "state"),
    [("afterok", OK, RUNNING), ("afterok", BAD, CANCELLED), ("afternotok", BAD, RUNNING), ("after", BAD, RUNNING)],
)
def test_a_job_that_ended_already(world, kind, end, state):
    key = world.start()
    world.end(key, end)
    child = world.submit(after=[(kind, key.job_id)])
    world.settle()
    assert world.job(child).state is state


def test_after_waits_for_the_start_of_every_element(world):
    parent = world.submit(array="0-9", throttle=8)
    child = world.submit(after=[("after", parent)])
    world.settle()
    assert world.job(child).state is PENDING
    world.end(world.activity(parent, 0).key)
    world.end(world.activity(parent, 1).key)
    for index in list(world.job(parent).active):
        world.end(world.activity(parent, index).key)
    world.settle()
    assert world.job(child).state is RUNNING
    assert not world.job(parent).is_finished


def test_after_is_satisfied_by_a_cancel_too(world):
    parent = world.submit(is_held=True)
    child = world.submit(after=[("after", parent)])
    world.cancel(parent)
    world.settle()
    assert world.job(child).state is RUNNING


def test_an_array_fails_with_its_first_bad_element(world):
    parent = world.submit(array="0-3")
    child = world.submit(after=[("afterok", parent)])
    world.settle()
    world.end(world.activity(parent, 2).key, BAD)
    assert world.ended(child) == NEVER
    assert not world.job(parent).is_finished


def test_all_or_one(world):
    first, second = world.start(), world.start()
    every = world.submit(after=[("afterok", first.job_id), ("afterok", second.job_id)])
    one = world.submit(after=[("afterok", first.job_id), ("afterok", second.job_id)], needs_all_dependencies=False)
    world.end(first, BAD)
    assert world.ended(every) == NEVER
    assert world.job(one).state is PENDING
    world.end(second, OK)
    world.settle()
    assert world.job(one).state is RUNNING


def test_one_of_several_of_which_none_can_be(world):
    first, second = world.start(), world.start()
    one = world.submit(after=[("afterok", first.job_id), ("afterok", second.job_id)], needs_all_dependencies=False)
    world.end(first, BAD)
    world.end(second, BAD)
    assert world.ended(one) == NEVER


def test_a_chain_of_doomed_jobs_ends_in_one_go(world):
    key = world.start()
    last = key.job_id
    chain = [last := world.submit(after=[("afterok", last)]) for _ in range(20)]
    rescue = world.submit(after=[("afternotok", last)])
    before = len(world.events)
    world.end(key, BAD)
    assert [world.ended(job_id) for job_id in chain] == [NEVER] * 20
    assert len(world.events) == before + 21
    world.settle()
    assert world.job(rescue).state is RUNNING


def test_doomed_at_submission(world):
    key = world.start()
    world.end(key, BAD)
    child = world.submit(after=[("afterok", key.job_id)])
    assert world.ended(child) == NEVER


def test_a_held_job_is_doomed_all_the_same(world):
    key = world.start()
    child = world.submit(after=[("afterok", key.job_id)], is_held=True)
    world.end(key, BAD)
    assert world.ended(child) == NEVER


# -- aftercorr ---------------------------------------------------------------------------------------------------------


def test_each_element_follows_its_own(world):
    parent = world.submit(array="0-3")
    child = world.submit(array="0-4", after=[("aftercorr", parent)])
    assert world.job(child).ended[CANCELLED].ranges() == parse_ranges("4"), "there is no element 4 to follow"
    world.settle()
    world.end(world.activity(parent, 1).key)
    world.settle()
    assert set(world.job(child).active) == {1}
    world.end(world.activity(parent, 2).key, BAD)
    assert world.job(child).ended[CANCELLED].ranges() == parse_ranges("2,4")
    restart(world)
    world.end(world.activity(parent, 3).key)
    world.end(world.activity(parent, 0).key)
    world.settle()
    assert set(world.job(child).active) == {0, 1, 3}


def test_blocked_elements_can_be_cancelled(world):
    parent = world.submit(array="0-3")
    child = world.submit(array="0-3", after=[("aftercorr", parent)])
    assert world.cancel(child, "1-2") == 2
    assert world.job(child).blocked.ranges() == parse_ranges("0,3")


def test_a_blocked_element_that_was_cancelled_and_queued_again_is_blocked_again(world):
    parent = world.submit(array="0-1")
    world.settle()
    child = world.submit(array="0-1", after=[("aftercorr", parent)])
    world.cancel(child, "1")
    world.tell(Requeue(select(child, "1"), "ada"))
    world.settle()
    assert world.job(child).blocked.ranges() == parse_ranges("0-1")


def test_aftercorr_links_two_arrays(world):
    key = world.start()
    array = world.submit(array="0-1")
    for fields in ({"array": "0-1", "after": [("aftercorr", key.job_id)]}, {"after": [("aftercorr", array)]}):
        with pytest.raises(InvalidInput, match="links two job arrays"):
            world.submit(**fields)
    with pytest.raises(InvalidInput, match="cannot be one of several"):
        world.submit(array="0-1", after=[("aftercorr", array)], needs_all_dependencies=False)


# -- singleton ---------------------------------------------------------------------------------------------------------


def test_singletons_run_one_after_the_other(world):
    jobs = [world.submit(name="x", after=[("singleton", 0)]) for _ in range(4)]
    other = world.submit(name="y", after=[("singleton", 0)])
    world.settle()
    assert [world.job(each).state for each in jobs] == [RUNNING, PENDING, PENDING, PENDING]
    assert world.job(other).state is RUNNING
    world.cancel(jobs[1])
    restart(world)
    world.end(world.activity(jobs[0]).key, BAD)
    world.settle()
    assert [world.job(each).state for each in jobs[2:]] == [RUNNING, PENDING]


def test_a_singleton_waits_for_earlier_jobs_of_its_user_only(world):
    plain = world.submit(name="x")
    spec = make_spec(name="x", after=[("singleton", 0)])
    (bobs,) = world.tell(Submit((Submission("", Owner("bob", 7, 7), spec),)))
    mine = world.submit(name="x", after=[("singleton", 0)])
    later = world.submit(name="x")
    world.settle()
    assert [world.job(each).state for each in (plain, bobs, mine, later)] == [RUNNING, RUNNING, PENDING, RUNNING]


# -- queued again ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("does_restart", [False, True])
def test_what_was_satisfied_once_stays_so(world, does_restart):
    key = world.start()
    child = world.submit(after=[("afterok", key.job_id)], is_exclusive=True, node_count=2, task_count=2)
    blocker = world.start()
    world.end(key)
    world.tell(Requeue(select(key.job_id), "ada"))
    if does_restart:
        restart(world)
    world.settle()
    world.end(world.activity(key.job_id).key, BAD)
    world.end(blocker)
    world.settle()
    assert world.job(child).state is RUNNING


@pytest.mark.parametrize("does_restart", [False, True])
def test_a_child_that_still_waits_sees_its_parent_again(world, does_restart):
    first, second = world.start(), world.start()
    child = world.submit(after=[("afterok", first.job_id), ("afterok", second.job_id)])
    world.end(first)
    world.tell(Requeue(select(first.job_id), "ada"))
    if does_restart:
        restart(world)
    world.settle()
    world.end(world.activity(first.job_id).key, BAD)
    assert world.ended(child) == NEVER


def test_a_doomed_job_that_is_queued_again_is_doomed_again(world):
    key = world.start()
    child = world.submit(after=[("afterok", key.job_id)])
    world.end(key, BAD)
    world.tell(Requeue(select(child), "ada"))
    assert world.job(child).is_finished
    assert len(world.of(JobEnded)) == 3
    assert world.of(JobEnded)[-1].attempt == 2


def test_a_doomed_job_may_run_once_its_parent_was_put_right(world):
    key = world.start()
    child = world.submit(after=[("afterok", key.job_id)])
    world.end(key, BAD)
    world.tell(Requeue(select(key.job_id), "ada"))
    world.tell(Requeue(select(child), "ada"))
    world.settle()
    assert world.job(child).state is PENDING
    world.end(world.activity(key.job_id).key)
    world.settle()
    assert world.job(child).state is RUNNING


def test_a_cancelled_child_that_is_queued_again_looks_anew(world):
    key = world.start()
    child = world.submit(after=[("afterok", key.job_id)])
    world.tell(Cancel(select(child), "ada"))
    world.end(key)
    world.tell(Requeue(select(child), "ada"))
    world.settle()
    assert world.job(child).state is RUNNING


# -- long ago ----------------------------------------------------------------------------------------------------------


def test_outcomes_are_kept_when_records_are_not():
    world = World(make_cluster(1), is_checked=False).join()
    good, bad = world.start(), world.start()
    world.end(good, OK)
    world.end(bad, BAD)
    fill = tuple(Submission("", ADA, make_spec(is_held=True)) for _ in range(state_module.RECENT_MAX))
    for job_id in world.tell(Submit(fill)):
        world.cancel(job_id)
    assert world.state.find(good.job_id) is world.state.find(bad.job_id) is None
    for kind, key, state in (
        ("afterok", good, PENDING),
        ("afterok", bad, CANCELLED),
        ("afternotok", good, CANCELLED),
        ("afternotok", bad, PENDING),
        ("afterany", bad, PENDING),
        ("after", good, PENDING),
    ):
        assert world.job(world.submit(after=[(kind, key.job_id)])).state is state, kind
    with pytest.raises(InvalidInput, match="there is no job 99999"):
        world.submit(after=[("afterany", 99999)])

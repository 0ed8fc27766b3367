"""What people do to jobs and nodes: cancel, hold, release, requeue, priority, drain, resume."""

from __future__ import annotations

import pytest

from hal_core.errors import NotFound, Refused
from hal_core.models.effect import CancelPart
from hal_core.models.event import JobCancelRequested, JobEnded, JobHeld, JobReleased, JobRequeued, NodeDrained
from hal_core.models.job import End, EndKind, JobId, JobState
from hal_core.models.message import Cancel, DrainNode, Hold, Release, Requeue, ResumeNode, SetPriority
from hal_core.models.node import NodeName
from hal_core.models.ranges import parse_ranges
from tests.support.core_world import BAD, World, make_cluster, select

N0 = NodeName("n0")


@pytest.fixture
def world():
    world = World(make_cluster(1)).join()
    yield world
    world.check_at_end()


# -- cancel ------------------------------------------------------------------------------------------------------------


def test_a_pending_job_ends_at_once(world):
    job_id = world.submit()
    assert world.cancel(job_id) == 1
    assert world.ended(job_id) == End(EndKind.CANCELLED, by="ada")
    assert world.of(JobEnded)[0].start_time_s is None
    assert world.cancel(job_id) == 0


def test_a_running_job_is_asked_once_and_ends_by_its_report(world):
    key = world.start(kill_grace_s=7.0)
    assert world.cancel(key.job_id) == 1
    (effect,) = world.nodes[N0].orders
    assert isinstance(effect, CancelPart)
    assert effect.order.grace_s == 7.0
    assert world.cancel(key.job_id) == 0
    assert world.job(key.job_id).state is JobState.RUNNING
    world.settle()
    assert world.ended(key.job_id).by == "ada"
    assert world.job(key.job_id).state is JobState.CANCELLED


def test_a_job_that_is_being_launched_ends_by_its_report(world):
    job_id = world.submit()
    world.plan()
    assert world.cancel(job_id) == 1
    world.settle()
    assert world.job(job_id).state is JobState.CANCELLED
    assert world.state.table.free_cpus == [4]


def test_an_array_with_elements_in_every_condition(world):
    job_id = world.submit(array="0-7", throttle=3)
    world.settle()
    world.end(world.activity(job_id, 0).key)
    world.end(world.activity(job_id, 1).key, BAD)
    world.settle()
    assert set(world.job(job_id).active) == {2, 3, 4}
    assert world.cancel(job_id, "0-3,6-7") == 4
    assert world.of(JobCancelRequested)[0].elements == parse_ranges("2-3")
    world.settle()
    record = world.job(job_id)
    assert record.ended[JobState.CANCELLED].ranges() == parse_ranges("2-3,6-7")
    assert record.ended[JobState.COMPLETED].ranges() == parse_ranges("0")
    assert set(record.active) == {4, 5}
    assert world.cancel(job_id) == 2
    world.settle()
    assert record.is_finished
    assert record.state is JobState.FAILED


def test_a_million_pending_elements_are_one_event(world):
    world = World(make_cluster(1), is_checked=False).join()
    job_id = world.submit(array="0-999999", throttle=2)
    world.settle()
    assert world.cancel(job_id) == 1_000_000
    (ended,) = world.of(JobEnded)
    assert ended.elements == parse_ranges("2-999999")


def test_elements_of_another_attempt_end_as_that_attempt(world):
    job_id = world.submit(array="0-3")
    world.settle()
    world.tell(Requeue(select(job_id, "1"), "ada"))
    world.settle()
    world.tell(Hold(select(job_id), "ada"))
    world.tell(Requeue(select(job_id, "1-2"), "ada"))
    world.settle()
    world.cancel(job_id, "1-2")
    assert [(event.attempt, event.elements) for event in world.of(JobEnded)] == [(2, ((2, 3),)), (3, ((1, 2),))]


@pytest.mark.parametrize(
    ("indices", "error", "text"),
    [("0", Refused, "not an array"), ("7", Refused, "not an array")],
)
def test_an_index_of_a_job_without_any(world, indices, error, text):
    job_id = world.submit()
    with pytest.raises(error, match=text):
        world.cancel(job_id, indices)


def test_elements_that_are_not_there(world):
    job_id = world.submit(array="0-3")
    with pytest.raises(NotFound, match=r"no such elements.*'0-3'"):
        world.cancel(job_id, "3-4")
    with pytest.raises(NotFound, match="there is no job 99"):
        world.cancel(JobId(99))
    assert world.of(JobEnded) == []


# -- requeue -----------------------------------------------------------------------------------------------------------


def test_a_running_job_is_ended_and_runs_again_as_the_next_attempt(world):
    key = world.start()
    assert world.tell(Requeue(select(key.job_id), "ada")) == 1
    world.settle()
    assert world.activity(key.job_id).attempt == 2
    assert set(world.launch_count.values()) == {1}
    assert len(world.launch_count) == 2
    world.end(world.activity(key.job_id).key)
    assert world.job(key.job_id).state is JobState.COMPLETED


@pytest.mark.parametrize("end", [BAD, End(EndKind.EXITED, exit_code=0)])
def test_an_ended_job_runs_again(world, end):
    key = world.start()
    world.end(key, end)
    assert world.tell(Requeue(select(key.job_id), "ada")) == 1
    assert world.of(JobRequeued)[0].end == end
    world.settle()
    world.end(world.activity(key.job_id).key)
    assert world.job(key.job_id).state is JobState.COMPLETED
    assert world.state.ended_counts[JobState.COMPLETED] == 1


def test_a_cancel_after_a_requeue_counts(world):
    key = world.start()
    world.tell(Requeue(select(key.job_id), "ada"))
    assert world.cancel(key.job_id) == 1
    world.settle()
    assert world.job(key.job_id).state is JobState.CANCELLED


def test_a_requeue_after_a_cancel_does_not(world):
    key = world.start()
    world.cancel(key.job_id)
    assert world.tell(Requeue(select(key.job_id), "ada")) == 0
    world.settle()
    assert world.job(key.job_id).state is JobState.CANCELLED


def test_pending_elements_are_left_alone(world):
    job_id = world.submit(array="0-5", throttle=2)
    world.settle()
    assert world.tell(Requeue(select(job_id), "ada")) == 2
    assert world.tell(Requeue(select(job_id, "4"), "ada")) == 0


def test_what_elements_were_when_they_are_requeued_is_told(world):
    job_id = world.submit(array="0-1", is_held=True)
    world.cancel(job_id)
    world.tell(Requeue(select(job_id, "1"), "ada"))
    assert world.of(JobRequeued)[0].end.kind is EndKind.CANCELLED
    assert world.job(job_id).state is JobState.PENDING


def test_too_many_ended_elements_at_once_are_refused(world):
    world = World(make_cluster(1), is_checked=False).join()
    job_id = world.submit(array="0-20000", is_held=True)
    world.cancel(job_id)
    with pytest.raises(Refused, match="at most 10000"):
        world.tell(Requeue(select(job_id), "ada"))
    assert world.tell(Requeue(select(job_id, "0-9"), "ada")) == 10


# -- hold, release, priority -------------------------------------------------------------------------------------------


def test_a_held_job_waits_until_it_is_released(world):
    job_id = world.submit(is_held=True)
    world.settle()
    assert world.job(job_id).state is JobState.PENDING
    world.tell(Release(select(job_id), "ada"))
    world.tell(Release(select(job_id), "ada"))
    assert len(world.of(JobReleased)) == 1
    world.settle()
    assert world.job(job_id).state is JobState.RUNNING


def test_a_hold_that_comes_between_the_look_at_the_rights_and_the_release_stays(world):
    job_id = world.submit()
    world.tell(Hold(select(job_id), "operator"))
    with pytest.raises(Refused, match="held by operator"):
        world.tell(Release(select(job_id), "ada", may_overrule=False))
    world.tell(Release(select(job_id), "another", may_overrule=True))
    world.tell(Hold(select(job_id), "ada"))
    world.tell(Release(select(job_id), "ada", may_overrule=False))
    assert len(world.of(JobReleased)) == 2


def test_holding_twice_is_one_event_and_what_runs_goes_on(world):
    job_id = world.submit(array="0-3", throttle=2)
    world.settle()
    world.tell(Hold(select(job_id), "ada"))
    world.tell(Hold(select(job_id), "root"))
    assert [event.by for event in world.of(JobHeld)] == ["ada"]
    world.end(world.activity(job_id, 0).key)
    world.settle()
    assert set(world.job(job_id).active) == {1}


@pytest.mark.parametrize("verb", [Hold, Release])
def test_hold_and_release_are_for_whole_unfinished_jobs(world, verb):
    job_id = world.submit(array="0-1", is_held=True)
    with pytest.raises(Refused, match="whole job"):
        world.tell(verb(select(job_id, "0"), "ada"))
    world.cancel(job_id)
    with pytest.raises(Refused, match="has ended"):
        world.tell(verb(select(job_id), "ada"))
    with pytest.raises(Refused, match="has ended"):
        world.tell(SetPriority(job_id, 3, "root"))


def test_priority_is_the_order_of_the_queue(world):
    first, second, third = (world.submit(is_exclusive=True) for _ in range(3))
    world.tell(SetPriority(third, 5, "root"))
    world.tell(SetPriority(first, -5, "ada"))
    before = len(world.events)
    world.tell(SetPriority(first, -5, "ada"))
    assert len(world.events) == before
    assert list(world.state.queue) == [third, second, first]
    world.settle()
    assert world.job(third).state is JobState.RUNNING


# -- nodes -------------------------------------------------------------------------------------------------------------


def test_a_drained_node_finishes_what_runs_and_gets_nothing_new(world):
    key = world.start()
    world.tell(DrainNode(N0, "disk", "root"))
    world.tell(DrainNode(N0, "disk", "root"))
    assert len(world.of(NodeDrained)) == 1
    waiting = world.submit()
    world.settle()
    world.end(key)
    world.settle()
    assert world.job(waiting).state is JobState.PENDING
    world.join()
    world.settle()
    assert world.job(waiting).state is JobState.PENDING, "to report is not to be resumed"
    world.tell(ResumeNode(N0, "root"))
    world.settle()
    assert world.job(waiting).state is JobState.RUNNING


def test_a_node_that_is_not_there(world):
    for message in (DrainNode(NodeName("n9"), "", "root"), ResumeNode(NodeName("n9"), "root")):
        with pytest.raises(NotFound, match="no node named 'n9'"):
            world.tell(message)


def test_the_unknown_has_no_events(world):
    before = len(world.events)
    for message in (Cancel, Hold, Release, Requeue):
        with pytest.raises(NotFound):
            world.tell(message(select(JobId(5)), "ada"))
    assert len(world.events) == before

"""Idle allocations: told once, ended only by rule, forgotten when they have ended."""

from __future__ import annotations

from hal_core.kernel.use_watch import RECLAIMED_BY, IdleRule, UseWatch
from hal_core.models.event import IdleFound, JobCancelRequested, JobResumed, JobSuspended
from hal_core.models.job import JobId, JobState
from hal_core.models.message import AllocationIdle, Cancel, Requeue
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.models.policy import PreemptMode
from hal_core.models.use import PartUse
from tests.support.core_world import World

N0 = NodeName("n0")


class Watched:
    """A world with one node, and a watch on it."""

    def __init__(self, rule: IdleRule) -> None:
        self.world = World().join("n0")
        self.watch = UseWatch(lambda: self.world.state, rule, lambda: self.world.now_s)

    def measure(self, key: AttemptKey, cpus: float, period_s: float = 60.0) -> None:
        self.world.now_s += period_s
        self.watch.tell(N0, period_s, [PartUse(key, cpus, 1 << 20)])

    def look(self) -> None:
        """As the watch's own task does."""
        for message in self.watch.look():
            self.world.tell(message)


def test_an_idle_job_is_told_of_once_until_it_has_worked_again() -> None:
    watched = Watched(IdleRule(warn_s=100.0))
    key = watched.world.start(task_count=4)
    for _ in range(4):
        watched.measure(key, 0.01)
        watched.look()
    (found,) = watched.world.of(IdleFound)
    assert (found.key, found.since_s, found.cpu_count) == (key, 1000.0, 4)
    use = watched.watch.job(key.job_id)
    assert use is not None
    assert use.idle_since_s == 1000.0
    watched.measure(key, 3.9)
    watched.look()
    for _ in range(3):
        watched.measure(key, 0.0)
        watched.look()
    assert len(watched.world.of(IdleFound)) == 2
    watched.world.check_at_end()


def test_who_stands_still_is_not_idle_for_that() -> None:
    watched = Watched(IdleRule(warn_s=100.0))
    key = watched.world.start(task_count=4)
    watched.measure(key, 0.0)
    element = ((key.index, key.index + 1),)
    watched.world.state.apply(JobSuspended(watched.world.now_s, key.job_id, element, "hal", JobId(9)))
    for _ in range(4):
        watched.measure(key, 0.0)
        assert watched.watch.look() == []
    watched.world.state.apply(JobResumed(watched.world.now_s, key.job_id, element, "hal"))
    watched.measure(key, 0.0)
    assert watched.watch.look() == [], "it has done nothing for a minute since it went on"
    watched.measure(key, 0.0)
    assert [type(each) for each in watched.watch.look()] == [AllocationIdle]


def test_nothing_is_ended_for_it_unless_the_site_says_so() -> None:
    watched = Watched(IdleRule(warn_s=0.0))
    key = watched.world.start()
    watched.measure(key, 0.0, 1e7)
    assert watched.watch.look() == []


def test_an_idle_job_is_queued_again_or_cancelled_by_the_rule() -> None:
    for mode, is_requeued in ((PreemptMode.REQUEUE, True), (PreemptMode.CANCEL, False)):
        watched = Watched(IdleRule(warn_s=0.0, reclaim_s=120.0, reclaim_mode=mode))
        key = watched.world.start(can_requeue=True)
        watched.measure(key, 0.0)
        assert watched.watch.look() == []
        watched.measure(key, 0.0)
        watched.look()
        (asked,) = watched.world.of(JobCancelRequested)
        assert (asked.by, asked.does_requeue) == (RECLAIMED_BY, is_requeued)
        assert watched.watch.look() == [], "it is asked once"
        watched.world.settle()
        assert (watched.world.job(key.job_id).state is JobState.CANCELLED) is not is_requeued
        watched.world.check_at_end()


def test_a_job_that_must_not_be_queued_again_is_cancelled() -> None:
    watched = Watched(IdleRule(warn_s=0.0, reclaim_s=10.0))
    key = watched.world.start(can_requeue=False)
    watched.measure(key, 0.0)
    (message,) = watched.watch.look()
    assert isinstance(message, Cancel)


def test_one_element_of_an_array_is_reclaimed_and_not_the_others() -> None:
    watched = Watched(IdleRule(warn_s=0.0, reclaim_s=60.0))
    job_id = watched.world.submit(array="0-1", can_requeue=True)
    watched.world.settle()
    keys = [watched.world.activity(job_id, index).key for index in (0, 1)]
    watched.world.now_s += 60.0
    watched.watch.tell(N0, 60.0, [PartUse(keys[0], 1.0, 0), PartUse(keys[1], 0.0, 0)])
    (message,) = watched.watch.look()
    assert isinstance(message, Requeue)
    assert message.selection.indices == ((1, 2),)


def test_jobs_of_other_partitions_are_told_of_and_left_alone() -> None:
    watched = Watched(IdleRule(warn_s=60.0, reclaim_s=60.0, partitions=frozenset({"interactive"})))
    key = watched.world.start()
    watched.measure(key, 0.0)
    assert watched.watch.look() == [AllocationIdle(key, 1000.0)]


def test_what_has_ended_is_forgotten_and_a_late_word_about_it_is_nothing() -> None:
    watched = Watched(IdleRule(warn_s=60.0))
    key = watched.world.start()
    watched.measure(key, 0.0)
    (message,) = watched.watch.look()
    watched.world.end(key)
    watched.world.tell(message)
    assert watched.world.of(IdleFound) == []
    assert watched.watch.look() == []
    assert watched.watch.job(key.job_id) is None
    watched.measure(key, 0.0)
    assert watched.watch.job(key.job_id) is None

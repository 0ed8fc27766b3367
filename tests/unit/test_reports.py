"""What nodes report: in good order, doubled, late, never; nodes that fall silent, are lost, reboot and come back."""

from __future__ import annotations

import attrs
import pytest

from hal_core.errors import NotFound, Refused
from hal_core.models.effect import CancelPart, Forget, Launch
from hal_core.models.event import (
    InputsStaged,
    JobEnded,
    JobRequeued,
    NodeDrained,
    NodeJoined,
    NodeWentDown,
    OrphanFound,
    PartEnded,
    PartStarted,
)
from hal_core.models.job import End, EndKind, JobId, JobState, Spread
from hal_core.models.message import (
    Cancel,
    DrainNode,
    NodeLost,
    NodeReported,
    NodeSilent,
    PartsChanged,
    PartStatus,
    Requeue,
    StagingDone,
    StagingFailed,
    Tick,
)
from hal_core.models.node import NodeName, NodeStatus
from hal_core.models.placement import AttemptKey
from tests.support.core_world import BAD, OK, World, make_cluster, select
from tests.support.invariants import check_dump

N0, N1 = NodeName("n0"), NodeName("n1")
GANG = {"node_count": 2, "task_count": 2, "spread": Spread.NODE}


@pytest.fixture
def world():
    world = World().join()
    yield world
    world.check_at_end()


def test_a_node_that_another_executor_reports_than_it_has_is_not_taken():
    """A Slurm may have nodes of the same names as those with agents of ours."""
    world = World()
    (first, *_) = world.state.table.nodes
    other = attrs.evolve(first, executor="slurm")
    with pytest.raises(Refused, match=r"n0 is of executor 'metal' .* 'slurm' reports it"):
        world.tell(NodeReported(other, "boot"))
    assert world.state.table.status[0] is NodeStatus.UNKNOWN
    assert not world.of(NodeJoined)


# -- one part ----------------------------------------------------------------------------------------------------------


def test_a_job_starts_and_ends(world):
    key = world.start()
    assert world.job(key.job_id).state is JobState.RUNNING
    world.now_s += 5
    world.end(key)
    assert world.job(key.job_id).state is JobState.COMPLETED
    (ended,) = world.of(JobEnded)
    assert (ended.start_time_s, ended.end_time_s) == (1000.0, 1005.0)


def test_a_report_of_the_end_alone_is_also_the_start(world):
    job_id = world.submit()
    world.plan()
    key = world.activity(job_id).key
    world.tell(PartsChanged(N0, (PartStatus(key, 1001.0, 1002.0, OK),)))
    assert [type(event) for event in world.events[-2:]] == [PartStarted, JobEnded]


def test_a_part_that_never_started_has_no_start(world):
    job_id = world.submit()
    world.plan()
    failed = End(EndKind.LAUNCH_FAILED, detail="no such directory")
    world.tell(PartsChanged(N0, (PartStatus(world.activity(job_id).key, None, 1001.0, failed),)))
    assert world.of(PartStarted) == []
    assert world.of(JobEnded)[0].start_time_s is None
    assert world.ended(job_id) == failed


def test_an_end_before_the_start_by_a_clock_that_jumped_is_put_right(world):
    key = world.start()
    world.tell(PartsChanged(N0, (PartStatus(key, 1000.0, 900.0, OK),)))
    (ended,) = world.of(JobEnded)
    assert ended.start_time_s == ended.end_time_s == 1000.0


@pytest.mark.parametrize("times", [2, 3])
def test_an_end_that_is_doubled_within_one_batch_is_one_end(world, times):
    key = world.start()
    world.finish("n0", key)
    world.report("n0", *[key] * times)
    assert len(world.of(JobEnded)) == 1


def test_a_start_and_an_end_in_one_batch_are_one_start(world):
    job_id = world.submit()
    world.plan()
    key = world.activity(job_id).key
    world.tell(PartsChanged(N0, (PartStatus(key, 1001.0), PartStatus(key, 1001.0, 1002.0, OK))))
    assert len(world.of(PartStarted)) == len(world.of(JobEnded)) == 1


def test_an_end_and_then_its_start_in_one_batch_are_an_end(world):
    job_id = world.submit()
    world.plan()
    key = world.activity(job_id).key
    world.tell(PartsChanged(N0, (PartStatus(key, 1001.0, 1002.0, OK), PartStatus(key, 1001.0))))
    assert len(world.of(PartStarted)) == len(world.of(JobEnded)) == 1


def test_a_late_doubled_end_is_an_orphan_that_may_be_forgotten(world):
    key = world.start()
    world.finish("n0", key)
    world.report("n0")
    again = world.core.receive(PartsChanged(N0, (PartStatus(key, 1000.0, 1000.0, OK),)), world.now_s)
    assert again.events == (OrphanFound(world.now_s, N0, key, is_ended=True),)
    assert again.effects == (Forget(N0, key),)
    world.events += again.events


def test_an_unknown_part_that_runs_is_ended(world):
    key = AttemptKey(77, 0, 1)
    decided = world.core.receive(PartsChanged(N0, (PartStatus(key, 1.0),)), world.now_s)
    world.events += decided.events
    (effect,) = decided.effects
    assert isinstance(effect, CancelPart)
    assert (effect.order.key, effect.order.grace_s) == (key, 0.0)


def test_a_node_gets_no_new_work_before_what_should_not_run_there_has_ended(world):
    """A node that was given up comes back, and its job with it: both would be on the same CPUs."""
    key = world.start(cpus_per_task=4)
    world.tell(NodeLost(N0, "test"))
    world.tell(DrainNode(NodeName("n1"), "test", "root"))
    job_id = world.submit()
    world.join("n0")
    world.plan()
    assert world.job(job_id).state is JobState.PENDING
    check_dump(world.state)
    world.settle()
    assert world.job(job_id).state is JobState.RUNNING
    assert key not in world.nodes[N0].parts


def test_what_a_node_has_no_record_of_any_more_keeps_no_work_from_it(world):
    key = AttemptKey(JobId(77), 0, 1)
    world.tell(PartsChanged(N0, (PartStatus(key, 1.0),)))
    assert not world.state.table.is_available[0]
    world.join("n0")
    assert world.state.table.is_available[0]


def test_an_old_attempt_of_a_job_that_runs_again_is_an_orphan(world):
    key = world.start()
    world.tell(Requeue(select(key.job_id), "ada"))
    world.settle()
    assert world.activity(key.job_id).attempt == 2
    world.tell(PartsChanged(N0, (PartStatus(key, 1000.0, 1001.0, OK),)))
    assert isinstance(world.events[-1], OrphanFound)
    assert world.job(key.job_id).state is JobState.RUNNING


def test_a_part_on_a_node_without_a_share_is_an_orphan(world):
    key = world.start()
    other = N1 if world.activity(key.job_id).shares[0].node == N0 else N0
    world.tell(PartsChanged(other, (PartStatus(key, 1000.0, 1001.0, BAD),)))
    assert world.job(key.job_id).state is JobState.RUNNING


# -- gangs -------------------------------------------------------------------------------------------------------------


def test_a_gang_ends_with_its_last_part(world):
    key = world.start(**GANG)
    world.finish("n0", key)
    world.report("n0", key)
    assert world.job(key.job_id).state is JobState.RUNNING
    assert [event.node for event in world.of(PartEnded)] == [N0]
    world.finish("n1", key)
    world.report("n1", key)
    assert world.job(key.job_id).state is JobState.COMPLETED


@pytest.mark.parametrize(
    "end", [BAD, End(EndKind.TIME_LIMIT, exit_code=0), End(EndKind.OUT_OF_MEMORY, exit_code=0)], ids=lambda e: e.kind
)
def test_a_part_that_ends_badly_ends_the_others_and_is_the_reason(world, end):
    key = world.start(**GANG)
    world.finish("n0", key, end)
    world.report("n0", key)
    world.settle()
    assert world.job(key.job_id).is_finished
    assert world.ended(key.job_id) == end


@pytest.mark.parametrize("first", [OK, BAD])
def test_the_end_of_a_gang_has_what_all_its_parts_used(world, first):
    key = world.start(**GANG)
    used = {"cpu_s": 10.0, "peak_memory_bytes": 7, "gpus_busy": 1.5, "energy_j": 100.0}
    world.finish("n0", key, attrs.evolve(first, **used))
    world.report("n0", key)
    world.finish("n1", key, attrs.evolve(OK, cpu_s=30.0, peak_memory_bytes=5, gpus_busy=0.5))
    world.report("n1", key)
    world.settle()
    whole = {"cpu_s": 40.0, "peak_memory_bytes": 7, "gpus_busy": 2.0, "energy_j": 100.0}
    assert world.ended(key.job_id) == attrs.evolve(first, **whole)


def test_a_bad_end_after_a_good_one_counts(world):
    key = world.start(**GANG)
    world.finish("n0", key, OK)
    world.report("n0", key)
    world.finish("n1", key, BAD)
    world.report("n1", key)
    assert world.ended(key.job_id) == BAD


def test_a_part_whose_order_was_lost_is_launched_again_although_the_other_ended_well(world):
    """Found by killing an agent at the moment that it got the order."""
    job_id = world.submit(**GANG)
    world.plan()
    key = world.activity(job_id).key
    world.nodes[N1].orders.clear()
    world.deliver("n0")
    world.finish("n0", key, OK)
    world.report("n0", key)
    world.join("n1")
    world.settle()
    world.end(key)
    assert world.ended(job_id) == OK
    assert world.launch_count == {(N0, key): 1, (N1, key): 1}


def test_a_command_that_runs_once_has_one_part(world):
    job_id = world.submit(node_count=2, task_count=2)
    world.plan()
    assert [len(node.orders) for node in world.nodes.values()] == [1, 0]
    world.settle()
    world.end(world.activity(job_id).key)
    assert world.job(job_id).state is JobState.COMPLETED


def test_a_gang_loses_a_node_and_ends_whole(world):
    key = world.start(**GANG)
    world.tell(NodeLost(N1, "power"))
    assert not world.job(key.job_id).is_finished, "n0 still runs"
    world.settle()
    assert world.ended(key.job_id).kind is EndKind.NODE_LOST
    assert world.state.table.allocation_count == [0, 0]


def test_a_gang_that_loses_all_its_nodes_at_once_has_ended(world):
    key = world.start(**GANG)
    world.tell(NodeSilent(N0))
    world.tell(NodeSilent(N1))
    world.now_s += 301
    world.tell(Tick())
    assert world.job(key.job_id).is_finished
    assert world.ended(key.job_id).kind is EndKind.NODE_LOST
    assert len(world.of(NodeWentDown)) == 2


def test_a_lost_node_that_comes_back_while_the_gang_ends_is_cleaned_up(world):
    key = world.start(**GANG, kill_grace_s=60.0)
    world.tell(NodeLost(N1, "network"))
    world.join("n1")
    world.deliver("n1")
    assert not world.nodes[N1].running(), "its part still runs, but nobody waits for it"
    world.settle()
    assert world.job(key.job_id).is_finished


def test_parts_of_a_gang_on_a_node_lost_twice_end_once(world):
    key = world.start(**GANG)
    world.tell(NodeLost(N1, "network"))
    world.join("n1")
    world.tell(NodeLost(N1, "network"))
    assert len(world.of(PartEnded)) == 1
    world.join("n1")
    world.settle()
    assert world.job(key.job_id).is_finished


# -- nodes -------------------------------------------------------------------------------------------------------------


def test_a_silent_node_gets_nothing_new_and_keeps_what_runs():
    world = World(make_cluster(1)).join()
    key = world.start()
    world.tell(NodeSilent(N0))
    waiting = world.submit()
    world.settle()
    assert world.job(key.job_id).state is JobState.RUNNING
    assert world.job(waiting).state is JobState.PENDING
    world.join()
    world.settle()
    assert world.job(waiting).state is JobState.RUNNING
    world.check_at_end()


@pytest.mark.parametrize("since_s", [1000.0, 1_700_000_000.1, 1000.1, 12345.678])
def test_an_overdue_node_is_given_up_at_the_time_that_was_asked_for(since_s):
    cluster = attrs.evolve(make_cluster(1), node_timeout_s=0.3)
    world = World(cluster)
    world.now_s = since_s
    world.join()
    world.tell(NodeSilent(N0))
    world.now_s = world.core.next_wake_s()
    world.tell(Tick())
    assert world.state.table.status[0] is NodeStatus.DOWN


def test_a_node_is_lost_once(world):
    world.tell(NodeLost(N0, "power"))
    world.tell(NodeLost(N0, "power"))
    world.tell(NodeSilent(N0))
    assert len(world.of(NodeWentDown)) == 1
    assert world.state.table.status[0] is NodeStatus.DOWN


def test_launches_that_a_node_missed_are_ordered_again(world):
    job_id = world.submit()
    world.plan()
    world.nodes[N0].orders.clear()
    world.join("n0")
    assert [type(effect) for effect in world.nodes[N0].orders] == [Launch]
    world.settle()
    assert world.job(job_id).state is JobState.RUNNING


def test_ends_that_a_node_missed_are_ordered_again(world):
    key = world.start()
    world.cancel(key.job_id)
    world.nodes[N0].orders.clear()
    world.join("n0")
    world.settle()
    assert world.ended(key.job_id).kind is EndKind.CANCELLED


def test_a_cancelled_launch_that_never_reached_its_node_ends_when_the_node_reports(world):
    job_id = world.submit()
    world.plan()
    world.tell(NodeSilent(N0))
    world.cancel(job_id)
    world.nodes[N0].orders.clear()
    world.join("n0")
    assert world.job(job_id).active, "a launch may be on its way: the node has to say that it will never begin"
    world.settle()
    assert world.ended(job_id) == End(EndKind.CANCELLED, by="ada")


def test_after_a_reboot_what_ran_was_lost_with_the_node(world):
    key = world.start()
    world.reboot("n0")
    world.join("n0")
    assert world.ended(key.job_id).kind is EndKind.NODE_LOST


def test_a_node_without_a_record_of_what_ran_may_still_run_it(world):
    key = world.start(can_requeue=True)
    world.nodes[N0].parts.clear()
    world.join("n0")
    assert world.ended(key.job_id).kind is EndKind.SUPERVISOR_LOST, "not queued again: nothing says that it is over"


def test_a_requeued_job_whose_node_is_lost_waits_again_if_nothing_of_it_can_run(world):
    key, other = world.start(can_requeue=True), world.start(name="other")
    for each in (key, other):
        world.tell(Requeue(select(each.job_id), "ada"))
    world.tell(NodeLost(N0, "power"))
    assert world.job(key.job_id).state is JobState.PENDING
    assert world.ended(other.job_id).kind is EndKind.NODE_LOST, "no lease ends it there"


def test_what_may_still_run_on_a_lost_node_is_not_queued_again_by_hand(world):
    """Two attempts would run side by side."""
    key = world.start()
    world.tell(NodeLost(N0, "no contact"))
    with pytest.raises(Refused, match="may still run on n0"):
        world.tell(Requeue(select(key.job_id), "ada"))
    world.join("n0").settle()
    world.report("n0")
    world.tell(Requeue(select(key.job_id), "ada"))
    world.settle()
    assert world.activity(key.job_id).attempt == 2


def test_a_gang_cut_off_after_one_part_has_ended_well_is_lost_not_cancelled(world):
    """The node ended its part when the lease was over; the other part had ended before."""
    key = world.start(**GANG, can_requeue=True)
    world.finish("n0", key)
    world.report("n0")
    world.finish("n1", key, End(EndKind.CANCELLED, signal=15))
    world.report("n1")
    assert world.of(JobRequeued)[-1].end.kind is EndKind.NODE_LOST


def test_a_node_that_offers_less_than_declared_is_drained():
    world = World(make_cluster(1))
    small = attrs.evolve(world.nodes[N0].node, cpu_count=2)
    world.tell(NodeReported(small, "boot"))
    assert [type(event) for event in world.events[-2:]] == [NodeDrained, NodeJoined]
    world.submit()
    world.settle()
    assert not world.state.allocations


def test_a_node_that_nobody_declared_is_named(world):
    stranger = attrs.evolve(world.nodes[N0].node, name=NodeName("n00"))
    with pytest.raises(NotFound, match=r"'n00'.*did you mean"):
        world.tell(NodeReported(stranger, "boot"))


# -- staging -----------------------------------------------------------------------------------------------------------


def test_the_launch_follows_the_staging(world):
    key = world.start(inputs=("data",))
    assert world.job(key.job_id).state is JobState.STAGING
    world.staged(key)
    world.settle()
    assert world.job(key.job_id).state is JobState.RUNNING


def test_staging_is_taken_up_again_when_a_node_reports_until_it_is_over(world):
    key = world.start(inputs=("data",))
    world.join("n0")  # As after a start of the daemon: what it was about is forgotten.
    assert [stage.key for stage in world.staging] == [key, key]
    world.staged(key)
    world.join("n0")
    assert not world.staging
    assert [type(effect) for effect in world.nodes[N0].orders] == [Launch, Launch], "the same launch, twice"


def test_staging_that_fails_ends_the_job(world):
    key = world.start(inputs=("data",))
    world.staged(key, failure="no such file")
    assert world.ended(key.job_id) == End(EndKind.STAGING_FAILED, detail="no such file")
    world.tell(StagingFailed(key, "no such file"))
    world.tell(StagingDone(key))
    assert len(world.of(JobEnded)) == 1


@pytest.mark.parametrize("verb", [Cancel, Requeue])
def test_what_only_stages_ends_at_once_when_asked_to(world, verb):
    key = world.start(inputs=("data",))
    world.tell(verb(select(key.job_id), "ada"))
    assert world.activity_of(key) is None
    world.staged(key)
    assert world.of(InputsStaged) == []
    assert world.job(key.job_id).state is (JobState.CANCELLED if verb is Cancel else JobState.PENDING)


def test_staging_for_a_gang_that_lost_a_node_launches_nothing(world):
    key = world.start(inputs=("data",), **GANG)
    world.tell(NodeLost(N1, "power"))
    world.staged(key)
    world.settle()
    assert world.ended(key.job_id).kind is EndKind.NODE_LOST
    assert world.launch_count == {}

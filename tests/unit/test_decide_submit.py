"""Taking jobs and configurations in: all or none, and the same client id is the same job."""

from __future__ import annotations

from copy import copy

import attrs
import pytest

from hal_core.errors import Conflict, InvalidInput, NotFound
from hal_core.models.event import ClusterDefined, JobSubmitted
from hal_core.models.job import JobId, Owner
from hal_core.models.message import DefineCluster, ObserverFailed, Submission, Submit
from hal_core.models.node import NodeName, Partition, PartitionName
from hal_core.rules.client_ids import CLIENT_ID_KEPT_COUNT, CLIENT_ID_KEPT_S, remember
from hal_core.rules.state import State
from tests.support.core_world import ADA, World, make_cluster, make_spec

BOB = Owner("bob", 7, 7)


@pytest.fixture
def world():
    world = World(make_cluster(1)).join()
    yield world
    world.check_at_end()


def submit(world, *submissions):
    return world.tell(Submit(tuple(Submission(client_id, ADA, spec) for client_id, spec in submissions)))


def test_ids_are_given_in_order(world):
    spec = make_spec()
    assert submit(world, ("", spec), ("", spec)) == (1, 2)
    assert submit(world, ("", spec)) == (3,)


def test_nothing_submitted_is_nothing(world):
    assert submit(world) == ()


def test_sent_twice_is_one_job(world):
    first = submit(world, ("k", make_spec()), ("l", make_spec()))
    assert submit(world, ("k", make_spec()), ("l", make_spec())) == first
    assert len(world.of(JobSubmitted)) == 2


def test_sent_twice_within_one_batch_is_one_job(world):
    assert submit(world, ("k", make_spec()), ("k", make_spec()), ("", make_spec())) == (1, 1, 2)


def test_sent_again_after_it_ended_and_after_a_restart(world):
    (job_id,) = submit(world, ("k", make_spec()))
    world.cancel(job_id)
    world.core.state = State.load(world.state.dump())
    assert submit(world, ("k", make_spec())) == (job_id,)


def test_one_client_id_for_two_requests_is_a_conflict(world):
    one, other = ("k", make_spec()), ("k", make_spec(name="other"))
    with pytest.raises(Conflict, match="'k' was used for job 1"):
        submit(world, one, other)
    assert world.of(JobSubmitted) == []
    submit(world, one)
    with pytest.raises(Conflict, match="'k' was used for job 1"):
        submit(world, other)
    assert len(world.of(JobSubmitted)) == 1


def test_client_ids_are_each_users_own(world):
    submit(world, ("k", make_spec()))
    assert world.tell(Submit((Submission("k", BOB, make_spec(name="other")),))) == (2,)


def test_no_client_id_is_never_the_same(world):
    assert submit(world, ("", make_spec())) != submit(world, ("", make_spec()))


def test_all_or_none_and_every_problem_at_once(world):
    bad = make_spec(partition="al", after=[("afterok", 9)])
    with pytest.raises(InvalidInput) as caught:
        submit(world, ("", make_spec()), ("", bad))
    assert [problem.place for problem in caught.value.problems] == ["partition", "dependency"]
    assert "did you mean 'all'?" in str(caught.value)
    assert world.of(JobSubmitted) == []
    assert submit(world, ("", make_spec())) == (1,)


def test_client_ids_are_forgotten_after_a_while_but_not_those_of_living_jobs(world):
    (first,) = submit(world, ("first", make_spec(is_held=True)))
    (second,) = submit(world, ("second", make_spec()))
    world.cancel(second)
    world.now_s += CLIENT_ID_KEPT_S + 1
    many = {(BOB.uid, f"{number}"): (JobId(99), world.now_s) for number in range(CLIENT_ID_KEPT_COUNT)}
    client_ids = world.state.client_ids | many
    for number in range(5):
        later = copy(world.state.jobs[first])
        later.client_id, later.submit_time_s = f"later{number}", world.now_s
        remember(client_ids, later, {first})
    assert (ADA.uid, "first") in client_ids
    assert (ADA.uid, "second") not in client_ids


def test_a_clock_that_is_set_forward_makes_nobodys_job_another(world):
    """It had made a submission that was sent again within a minute a second job (kernel_sim --seed 8098)."""
    (first,) = submit(world, ("first", make_spec()))
    world.cancel(first)
    world.now_s += 86_400
    submit(world, ("second", make_spec()), ("third", make_spec()))
    assert submit(world, ("first", make_spec())) == (first,)


# -- configuration -----------------------------------------------------------------------------------------------------


def test_the_same_configuration_is_no_event(world):
    world.define(make_cluster(1))
    assert len(world.of(ClusterDefined)) == 1


def test_a_partition_names_nodes_that_are_there(world):
    wrong = Partition(PartitionName("all"), (NodeName("n0"), NodeName("n7")))
    with pytest.raises(NotFound, match="partition all: no node named 'n7'"):
        world.tell(DefineCluster(attrs.evolve(make_cluster(1), partitions=(wrong,))))


def test_a_new_partition_priority_orders_the_queue_anew(world):
    cluster = make_cluster(1)
    fast = Partition(PartitionName("fast"), (NodeName("n0"),))
    world.define(attrs.evolve(cluster, partitions=(*cluster.partitions, fast)))
    slow_job, fast_job = world.submit(priority=9), world.submit(partition="fast")
    assert list(world.state.queue) == [slow_job, fast_job]
    world.define(attrs.evolve(cluster, partitions=(*cluster.partitions, attrs.evolve(fast, priority=1))))
    assert list(world.state.queue) == [fast_job, slow_job]


def test_a_failed_observer_is_remembered(world):
    world.tell(ObserverFailed("prometheus", "late"))
    assert world.state.disabled_observers == {"prometheus": "late"}

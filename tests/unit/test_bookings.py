"""Nodes of other schedulers: their bookings as events, what they say of a job's end, and the choice among sites."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, strategies as st

from hal_core.models.booking import Booking, BookingsChanged, NodeBookings, QueuedStart
from hal_core.models.event import NodeDrained, NodeResumed
from hal_core.models.message import BookingsReported
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.variant import Variant
from hal_core.rules.excerpt import record_of
from hal_core.rules.explain import explain, question, verified
from hal_core.rules.state import State
from hal_engine_backfill.easy import Easy
from tests.support.core_world import ADA, GIB, World, make_spec
from tests.support.invariants import check_dump

OWN, FOREIGN = NodeName("n0"), NodeName("s0")
MAIN, LONG = PartitionName("main"), PartitionName("long")
HOUR_S = 3600.0


def cluster() -> Cluster:
    nodes = (Node(OWN, 4, 8 * GIB), Node(FOREIGN, 4, 8 * GIB, executor="slurm"))
    partitions = (Partition(MAIN, (OWN,), is_default=True), Partition(LONG, (FOREIGN,)))
    return Cluster("test", nodes, partitions, node_timeout_s=300.0)


@pytest.fixture
def world() -> World:
    return World(cluster(), Easy()).join()


def booked(world: World, until_s: float | None, closed: str = "", *starts: QueuedStart) -> None:
    """The foreign node is full until then; None: not at all."""
    bookings = () if until_s is None else (Booking(world.now_s, until_s, 4),)
    world.tell(BookingsReported("slurm", (NodeBookings(FOREIGN, 4, 8 * GIB, 0, bookings, closed),), starts))


def anywhere(limit_s: float = HOUR_S) -> dict[str, object]:
    """A job that fills a node, of either site; first in the foreign one."""
    found = tuple(Variant(1, 1, 4, 0, 0, "", 0, limit_s, partition=name) for name in (LONG, MAIN))
    return {"partition": LONG, "cpus_per_task": 4, "walltime_s": limit_s, "variants": found}


def test_only_what_is_new_is_an_event_and_all_of_it_survives_a_dump(world):
    booked(world, 5000.0)
    booked(world, 5000.0)
    assert len([each for each in world.events if isinstance(each, BookingsChanged)]) == 1
    booked(world, 6000.0)
    assert len([each for each in world.events if isinstance(each, BookingsChanged)]) == 2
    check_dump(world.state)
    assert State.load(world.state.dump()).bookings.by_node == world.state.bookings.by_node


WAITING = st.dictionaries(st.integers(0, 7), st.sampled_from((600.0, 1200.0, 1800.0)))


@given(said=st.lists(WAITING, max_size=6), old=st.booleans())
def test_starts_are_written_as_they_change_and_rebuilt_from_that(said, old):
    """What the journal says of them is as long as what is new; events of old journals say all that wait."""
    world = World(cluster(), Easy()).join()
    job_id = world.submit(partition=LONG, array="0-7", walltime_s=HOUR_S)
    world.plan()
    before: dict[int, float] = {}
    for now in said:
        count = len(world.events)
        booked(world, None, "", *(QueuedStart(job_id, index, start_s) for index, start_s in now.items()))
        written = [each for each in world.events[count:] if isinstance(each, BookingsChanged)]
        changed = {index for index in {*before, *now} if before.get(index) != now.get(index)}
        elements = [
            element
            for each in written
            for element in (*(start.index for start in each.starts or ()), *(index for _, index in each.gone or ()))
        ]
        assert sorted(elements) == sorted(changed)
        assert {start.index: start.start_time_s for start in world.state.bookings.starts.get("slurm", ())} == now
        for index in range(8):
            active = world.state.allocations.get((job_id, index))
            assert active is None or active.queued_start_s == now.get(index)
        before = now
    whole = tuple(QueuedStart(job_id, index, start_s) for index, start_s in sorted(before.items()))
    if old:
        world.state.apply(BookingsChanged(world.now_s, "slurm", (), whole[:1]))
        whole = whole[:1]
        assert world.state.bookings.starts.get("slurm", ()) == whole
        return
    rebuilt = State()
    for event in world.events:
        rebuilt.apply(event)
    assert rebuilt.bookings.starts.get("slurm", ()) == whole
    check_dump(world.state)


def test_another_attempt_is_told_when_it_starts_though_the_same_was_said_of_the_one_before(world):
    job_id = world.submit(partition=LONG, walltime_s=HOUR_S)
    world.plan()
    booked(world, None, "", QueuedStart(job_id, 0, 600.0))
    world.state.allocations[job_id, 0].queued_start_s = None  # as of one that was placed anew
    booked(world, None, "", QueuedStart(job_id, 0, 600.0))
    assert world.state.allocations[job_id, 0].queued_start_s == 600.0


def test_nodes_that_hal_does_not_know_or_has_from_somebody_else_are_passed_over(world):
    world.tell(BookingsReported("slurm", (NodeBookings(NodeName("other"), 4, 0),)))
    world.tell(BookingsReported("other", (NodeBookings(FOREIGN, 4, 0, closed="down"), NodeBookings(OWN, 4, 0))))
    assert world.state.bookings.by_node == {}
    assert not world.of(NodeDrained)


def test_a_node_that_hal_has_taken_over_is_not_booked_any_more(world):
    booked(world, world.now_s + 500.0)
    record = record_of(world.state, ADA, make_spec(partition=LONG, walltime_s=HOUR_S), world.now_s)
    assert world.state.bookings.ready_s(world.state, record, world.now_s) > world.now_s
    before = cluster()
    own, foreign = before.nodes
    world.define(attrs.evolve(before, nodes=(own, attrs.evolve(foreign, executor=own.executor))))
    assert world.state.bookings.ready_s(world.state, record, world.now_s) == world.now_s


def test_what_the_other_scheduler_closes_is_drained_and_given_back_but_not_what_an_operator_drained(world):
    booked(world, None, "drained in Slurm: disk")
    assert world.events[-1] == NodeDrained(world.now_s, FOREIGN, "drained in Slurm: disk", "executor slurm")
    booked(world, None, "drained in Slurm: disk")
    booked(world, None)
    assert world.events[-1] == NodeResumed(world.now_s, FOREIGN, "executor slurm")
    assert len([each for each in world.events if isinstance(each, NodeDrained)]) == 1
    for operator in ("root", "slurm"):
        world.state.apply(NodeDrained(world.now_s, FOREIGN, "mine", operator))
        booked(world, 5000.0)
        assert not isinstance(world.events[-1], NodeResumed)


def test_what_it_drained_under_its_bare_name_as_old_journals_have_it_is_given_back(world):
    booked(world, None, "down in Slurm")
    world.state.apply(NodeDrained(world.now_s, FOREIGN, "down in Slurm", "slurm"))
    booked(world, None)
    assert world.events[-1] == NodeResumed(world.now_s, FOREIGN, "executor slurm")


def test_a_job_goes_to_the_site_where_it_ends_first(world):
    booked(world, None)
    world.start(partition=MAIN, cpus_per_task=4, walltime_s=HOUR_S)
    assert world.start(**anywhere()).job_id in {job_id for job_id, _ in world.state.on_node[FOREIGN]}
    booked(world, world.now_s + 10 * HOUR_S)
    later = world.submit(**anywhere())
    world.settle()
    assert world.job(later).spec.partition == MAIN, "it waits for its own site, where it is promised a start in an hour"
    assert world.job(later).is_queued
    assert world.job(later).payer.partition == MAIN


def test_it_is_handed_over_although_it_waits_there_if_it_ends_sooner_so(world):
    booked(world, world.now_s + HOUR_S)
    world.start(partition=MAIN, cpus_per_task=4, walltime_s=5 * HOUR_S)
    job_id = world.submit(**anywhere())
    world.settle()
    assert world.job(job_id).spec.partition == LONG
    assert not world.job(job_id).is_queued


def test_jobs_handed_over_since_the_other_scheduler_spoke_count(world):
    """Its node is free as far as it said: but one job is on its way there, which it has not seen."""
    world.now_s += 10
    booked(world, None)
    world.now_s += 10
    world.submit(partition=LONG, cpus_per_task=4, walltime_s=HOUR_S)
    world.plan()
    record = world.job(world.submit(**anywhere()))
    assert world.state.bookings.ready_s(world.state, record, world.now_s) == world.now_s + HOUR_S


def test_explain_shows_the_sum_of_each_site(world):
    booked(world, world.now_s + 2 * HOUR_S)
    world.start(partition=MAIN, cpus_per_task=4, walltime_s=HOUR_S)
    job_id = world.submit(**anywhere())
    world.settle()
    record, state = world.job(job_id), world.state
    seen = explain(state, record, world.now_s)
    found = verified(seen, question(state, record, world.now_s), Easy(), world.now_s)
    sums = {each.site: (each.wait_s, each.queue_s, each.run_s, each.end_time_s) for each in found.variants}
    assert sums == {
        "slurm": (0.0, 2 * HOUR_S, HOUR_S, world.now_s + 3 * HOUR_S),
        "metal": (HOUR_S, 0.0, HOUR_S, world.now_s + 2 * HOUR_S),
    }
    assert [each.site for each in found.variants if each.is_chosen] == ["metal"]


def small(**changes: object) -> dict[str, object]:
    """An array of 32 elements of one CPU each, of which either site has four; first in the foreign one."""
    found = tuple(Variant(1, 1, 1, 0, 0, "", 0, HOUR_S, partition=name) for name in (LONG, MAIN))
    return {"partition": LONG, "walltime_s": HOUR_S, "array": "0-31", "variants": found, **changes}


def sums_of(world, job_id):
    record, state = world.job(job_id), world.state
    seen = explain(state, record, world.now_s)
    found = verified(seen, question(state, record, world.now_s), Easy(), world.now_s)
    return {each.site: (each.wait_s, each.queue_s, round(each.run_s)) for each in found.variants}


def test_an_array_goes_as_a_whole_to_the_site_where_its_last_element_ends_first(world):
    """At the own site one CPU is left for long: its first element would start there as soon, but its last end late."""
    booked(world, None)
    world.start(partition=MAIN, cpus_per_task=3, walltime_s=100 * HOUR_S)
    job_id = world.submit(**small(partition=MAIN, variants=small()["variants"][::-1]))
    assert sums_of(world, job_id) == {"slurm": (0.0, 0.0, 8 * HOUR_S), "metal": (0.0, 0.0, 32 * HOUR_S)}
    world.settle()
    record = world.job(job_id)
    assert (record.spec.partition, record.choice.otherwise_s - record.choice.expected_end_s) == (LONG, 24 * HOUR_S)
    assert {key for key in world.state.on_node[FOREIGN] if key[0] == job_id} == {(job_id, index) for index in range(4)}


def test_an_array_of_which_something_began_stays_where_it_is(world):
    booked(world, None)
    key = world.start(**small())
    world.end(key)
    job_id = key.job_id
    booked(world, world.now_s + 99 * HOUR_S)
    world.settle()
    record = world.job(job_id)
    assert (record.spec.partition, record.is_bound) == (LONG, True)
    assert set(sums_of(world, job_id)) <= {"slurm"}


def test_a_job_in_the_foreign_queue_is_expected_to_end_as_late_as_it_starts_there(world):
    booked(world, None)
    job_id = world.submit(partition=LONG, cpus_per_task=4, walltime_s=HOUR_S)
    world.plan()
    start_s = world.now_s + 5 * HOUR_S
    booked(world, start_s, "", QueuedStart(job_id, 0, start_s))
    (row,) = world.state.snapshot(world.now_s).running()
    assert row.expected_end_s == start_s + HOUR_S
    told = explain(world.state, world.job(job_id), world.now_s)
    assert (told.start_time_s, told.text) == (start_s, "it waits in the queue of the scheduler that has its nodes")
    check_dump(world.state)
    booked(world, None)
    (row,) = world.state.snapshot(world.now_s).running()
    assert row.expected_end_s == world.now_s + HOUR_S


def test_a_partition_with_nodes_of_ones_own_waits_for_nobody():
    both = attrs.evolve(cluster(), partitions=(Partition(MAIN, (OWN, FOREIGN), is_default=True),))
    world = World(both, Easy()).join()
    booked(world, world.now_s + HOUR_S)
    record = world.job(world.submit(**attrs.asdict(make_spec(partition=MAIN), recurse=False)))
    assert world.state.bookings.ready_s(world.state, record, world.now_s) == world.now_s

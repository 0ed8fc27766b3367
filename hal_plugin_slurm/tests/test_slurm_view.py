"""How Slurm's queue becomes bookings: what runs until its limit, what waits behind it, and by both ways the same."""

from __future__ import annotations

import pytest
import trio

from hal_core import BookedRoom, BookingsReported, NodeName, QueuedStart, Request
from hal_plugin_slurm.view import MIB, view_of
from hal_plugin_slurm.way import (
    Amounts,
    SlurmJob,
    SlurmNode,
    SlurmReservation,
    Submission,
    Way,
    amounts_of,
    limit_of,
    names_of,
)
from tests.support.slurm import SlurmCluster

HOUR_S = 3600.0
NODES = tuple(SlurmNode(name, "idle", 8, 16000, ("fake",), partitions=("normal",)) for name in ("n1", "n2"))


def job(native_id: int, state: str = "PENDING", **fields: object) -> SlurmJob:
    given = {"partition": "normal", "limit_s": HOUR_S, "tres": "cpu=8,mem=100M,node=1", **fields}
    return SlurmJob(native_id, f"job {native_id}", state, **given)


def running(native_id: int, nodes: str, end_s: float | None, **fields: object) -> SlurmJob:
    return job(native_id, "RUNNING", nodes=nodes, start_time_s=0.0, end_time_s=end_s, **fields)


def room_s(jobs: list[SlurmJob], cpus: int, nodes: int = 1, now_s: float = 60.0) -> float:
    view = view_of(NODES, jobs, now_s)
    found, _ = BookedRoom(view.nodes).earliest(
        Request(nodes, cpus, 0, 0, HOUR_S), now_s, [NodeName("n1"), NodeName("n2")]
    )
    return found


def test_amounts_limits_and_nodes_are_read():
    assert amounts_of("cpu=8,mem=400M,node=2,billing=8,gres/gpu=2,gres/gpu:fake=2") == Amounts(2, 8, 400, 2)
    assert amounts_of("cpu=1,mem=1.50G") == Amounts(1, 1, 1536, 0)
    assert amounts_of("N/A") == Amounts(1, 1, 0, 0)
    assert [limit_of(each) for each in ("5:00", "1:00:00", "2-03:04:05", "UNLIMITED", "INVALID", "")] == [
        *(300.0, 3600.0, 183_845.0),
        *(None, None, None),
    ]
    assert names_of("n[01-02],m1") == ("n01", "n02", "m1")
    assert names_of("(null)") == names_of("") == ()


def test_what_runs_holds_its_nodes_until_its_limit():
    assert room_s([running(1, "n1", 600.0)], 8) == 60.0
    assert room_s([running(1, "n[1-2]", 600.0, tres="cpu=16,node=2")], 8) == 600.0
    assert room_s([running(1, "n[1-2]", 600.0, tres="cpu=8,node=2")], 4, nodes=2) == 60.0
    assert room_s([running(1, "n1", None), running(2, "n2", 600.0)], 8) == 600.0


def test_what_waits_comes_before_a_job_that_is_handed_over_now():
    jobs = [running(1, "n1", 600.0), running(2, "n2", 1200.0), job(3, priority=5), job(4, priority=9)]
    view = view_of(NODES, jobs, 60.0)
    assert view.starts == {(4, None): 600.0, (3, None): 1200.0}, "in the order of priority"
    assert room_s(jobs, 8) == 600.0 + HOUR_S


def test_arrays_wait_as_many_and_what_cannot_begin_by_itself_does_not():
    assert room_s([job(1, is_rest=True, rest=((0, 4),))], 8) == 60.0 + 2 * HOUR_S
    assert room_s([job(1, reason="Dependency"), job(2, reason="JobHeldUser")], 8) == 60.0


def test_slurm_knows_better_when_a_job_of_its_own_begins():
    assert view_of(NODES, [job(1, start_time_s=900.0)], 60.0).starts == {(1, None): 900.0}


def test_nodes_that_take_no_work_are_closed_with_the_reason():
    broken = SlurmNode("n1", "drained", 8, 16000, reason="disk", partitions=("normal",))
    (row,) = view_of([broken], [], 60.0).nodes
    assert (row.closed, row.cpu_count, row.memory_bytes) == ("drained in Slurm: disk", 8, 16000 * MIB)
    assert view_of([SlurmNode("n1", "mixed", 8, 16000)], [], 60.0).nodes[0].closed == ""


def kept(start_s: float, cpus: int = 16, nodes: str = "n[1-2]") -> SlurmReservation:
    return SlurmReservation("course", nodes, start_s, start_s + HOUR_S, cpus)


def room_beside_s(reservation: SlurmReservation, length_s: float, cpus: int = 8, name: str = "") -> float:
    view = view_of(NODES, [], 60.0, [reservation])
    request = Request(1, cpus, 1, 0, length_s, reservation=name)
    return BookedRoom(view.nodes).earliest(request, 60.0, [NodeName("n1"), NodeName("n2")])[0]


def test_what_a_reservation_keeps_is_nobody_elses_in_that_time():
    assert room_beside_s(kept(660.0), 600.0) == 60.0, "over before it begins"
    assert room_beside_s(kept(660.0), 601.0) == 660.0 + HOUR_S
    assert room_beside_s(kept(660.0), 601.0, name="course") == 60.0
    assert room_beside_s(kept(660.0, cpus=8, nodes="n1"), 601.0) == 60.0, "on the other node"
    assert room_beside_s(kept(660.0, cpus=6), 601.0, cpus=5) == 60.0, "three cores of each"
    assert room_beside_s(kept(660.0, cpus=6), 601.0, cpus=6) == 660.0 + HOUR_S
    assert room_beside_s(kept(-HOUR_S), 601.0) == 60.0, "it is over"


def test_of_a_reservation_on_more_nodes_than_are_seen_these_have_their_share():
    assert room_beside_s(kept(660.0, cpus=16, nodes="n[1-8]"), 601.0, cpus=6) == 60.0, "two cores of each"
    assert room_beside_s(kept(660.0, cpus=16, nodes="n[1-8]"), 601.0, cpus=7) == 660.0 + HOUR_S
    assert room_beside_s(kept(660.0, cpus=64, nodes="n[1-8]"), 601.0, cpus=1) == 660.0 + HOUR_S
    assert room_beside_s(kept(660.0, cpus=0, nodes="n[1-8]"), 601.0, cpus=8) == 60.0, "it keeps no cores"


def test_a_job_of_slurms_waits_for_a_reservation_or_begins_in_its_own():
    inside, outside = job(1, reservation="course"), job(2)
    assert view_of(NODES, [outside], 60.0, [kept(660.0)]).starts == {(2, None): 660.0 + HOUR_S}
    assert view_of(NODES, [inside], 60.0, [kept(660.0)]).starts == {(1, None): 60.0}


def test_what_jobs_of_a_reservation_hold_is_its_own_and_comes_back_to_it():
    """Four cores of each node are kept until 3700, and jobs run in them; the others are anybody's all the time."""

    def room_outside_s(jobs: list[SlurmJob], cpus: int, length_s: float = 2 * HOUR_S) -> float:
        view = view_of(NODES, jobs, 60.0, [kept(100.0, cpus=8)])
        return BookedRoom(view.nodes).earliest(Request(1, cpus, 0, 0, length_s), 60.0, [NodeName("n1")])[0]

    inside = {"tres": "cpu=3,node=1", "reservation": "course"}
    one, two = running(1, "n1", 605.0, **inside), running(2, "n1", 1210.0, **inside)
    assert room_outside_s([one], 4) == 60.0
    assert room_outside_s([one], 5) == 3720.0
    assert room_outside_s([one, two], 2) == 60.0, "six cores, of which four are kept"
    assert room_outside_s([one, two], 3) == 660.0
    assert room_outside_s([one, two], 5) == 3720.0
    assert room_outside_s([running(1, "n1", None, **inside)], 4) == 60.0
    assert room_outside_s([running(1, "n1", 605.0, tres="cpu=3,node=1")], 4) == 660.0, "it runs beside the reservation"


def test_a_node_in_maintenance_comes_back_when_its_reservation_ends_and_is_closed_where_nobody_knows_when():
    node = SlurmNode("n1", "maint", 8, 16000, partitions=("normal",))
    (known,) = view_of([node], [], 60.0, [kept(0.0, cpus=8, nodes="n1")]).nodes
    assert (known.closed, [each.stop_s for each in known.bookings]) == ("", [HOUR_S])
    (unknown,) = view_of([node], [], 60.0).nodes
    assert unknown.closed == "maint in Slurm"


async def test_reservations_are_told_by_both_ways_and_bear_on_what_may_begin(ways: dict[str, Way], slurm: SlurmCluster):
    """All nodes in half an hour, one node now for maintenance, and two cores of another day."""
    given = {
        "all": ("starttime=now+30minutes", "duration=60", "nodes=ALL", "users=nobody"),
        "repair": ("starttime=now", "duration=10", "nodes=n04", "users=root", "flags=maint,overlap"),
        "cores": ("starttime=now+2days", "duration=60", "nodecnt=1", "corecnt=2", "users=root"),
    }
    for name, words in given.items():
        slurm.run("scontrol", "create", "reservation", f"reservationname={name}", *words)
    try:
        told = {name: sorted(await way.reservations(), key=lambda each: each.name) for name, way in ways.items()}
        assert told["rest"] == told["commands"]
        whole, cores, repair = told["rest"]
        assert [(each.name, each.cpu_count) for each in told["rest"]] == [("all", 32), ("cores", 2), ("repair", 8)]
        assert (names_of(whole.nodes), repair.nodes) == (tuple(slurm.nodes), "n04")
        assert whole.end_time_s - whole.start_time_s == cores.end_time_s - cores.start_time_s == HOUR_S
        now_s = repair.start_time_s
        for way in ways.values():
            nodes = await way.nodes()
            with trio.fail_after(60):
                while {node.name: node.state for node in nodes}["n04"] != "maint":
                    await trio.sleep(0.2)
                    nodes = await way.nodes()
            view = view_of(nodes, [], now_s, told["rest"])
            room, names = BookedRoom(view.nodes), [NodeName(name) for name in slurm.nodes]
            assert room.earliest(Request(1, 8, 0, 0, 1700.0), now_s, names) == (now_s, ("n01",))
            assert room.earliest(Request(1, 8, 0, 0, HOUR_S), now_s, names)[0] == pytest.approx(
                whole.end_time_s, abs=60
            )
            assert room.earliest(Request(1, 8, 0, 0, 60.0), now_s, names[3:])[0] == pytest.approx(now_s + 600, abs=60)
    finally:
        for name in given:
            slurm.run("scontrol", "delete", f"reservationname={name}")


async def test_the_queue_of_a_real_slurm_is_seen_by_both_ways(way: Way, slurm: SlurmCluster):
    """A job fills all nodes for an hour, and another waits behind it."""
    fields = {"directory": str(slurm.work), "output": "/dev/null", "error": "/dev/null", "partition": "normal"}
    full = Submission(
        "root", "full", "#!/bin/sh\nsleep 1000\n", node_count=4, task_count=32, time_limit_min=60, **fields
    )
    first = await way.submit(full)
    second = await way.submit(full)
    try:
        with trio.fail_after(60):
            while True:
                of_id = {each.native_id: each for each in await way.jobs()}
                if of_id[first].state == "RUNNING":
                    break
                await trio.sleep(0.1)
        nodes = await way.nodes()
        start_s = of_id[first].start_time_s
        assert start_s is not None
        view = view_of(nodes, list(of_id.values()), start_s)
        names = [NodeName(node.name) for node in nodes if "normal" in node.partitions]
        assert names == slurm.nodes
        ready_s, _ = BookedRoom(view.nodes).earliest(Request(1, 1, 0, 0, 60.0), start_s, names)
        assert start_s + 2 * HOUR_S <= ready_s <= start_s + 2 * HOUR_S + 120.0, "rounded up to minutes"
        assert view.starts[second, None] == pytest.approx(start_s + HOUR_S, abs=60.0)
    finally:
        await way.cancel([(first, None), (second, None)])


def test_reports_are_values():
    """What goes into the journal must be equal if it says the same."""
    view = view_of(NODES, [running(1, "n1", 600.0)], 60.0)
    again = view_of(NODES, [running(1, "n1", 600.0)], 70.0)
    starts = (QueuedStart(1, 0, 60.0),)
    assert BookingsReported("slurm", view.nodes, starts) == BookingsReported("slurm", again.nodes, starts)

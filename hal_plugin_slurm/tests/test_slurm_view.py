"""How Slurm's queue becomes bookings: what runs until its limit, what waits behind it, and by both ways the same."""

from __future__ import annotations

import pytest
import trio

from hal_core import BookedRoom, BookingsReported, NodeName, QueuedStart, Request
from hal_plugin_slurm.view import MIB, view_of
from hal_plugin_slurm.way import Amounts, SlurmJob, SlurmNode, Submission, Way, amounts_of, limit_of, names_of
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

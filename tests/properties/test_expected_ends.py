"""When running jobs are taken to end, and the steps of single nodes: against naive readings."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from hal_core.models.job import JobId, Shape
from hal_core.models.node import Node, NodeName, PartitionName
from hal_core.models.packing import Packing
from hal_core.models.plan import RunningJob
from hal_core.models.room import Room
from hal_core.rules.expected_ends import OVERDUE_S, expected_ends
from hal_core.rules.profile import profile_of

NOW_S = 100.0
ALL = PartitionName("all")
times_s = st.one_of(st.floats(90.0, 110.0), st.sampled_from([99.0, 100.0, 100.5, 101.0, 200.0, math.inf]))


def running_job(number: int, end_s: float) -> RunningJob:
    return RunningJob(JobId(number), 0, Shape(ALL, 1, 1, 0), (0,), max(end_s, NOW_S), end_s)


@given(st.lists(times_s, max_size=12).map(sorted))
def test_each_ends_when_it_is_expected_to_or_soon_if_it_is_overdue(ends_s: list[float]) -> None:
    running = [running_job(number, end_s) for number, end_s in enumerate(ends_s)]
    found = list(expected_ends(running, NOW_S))
    naive = [
        (end_s if end_s > NOW_S else NOW_S + OVERDUE_S, job.job_id) for end_s, job in zip(ends_s, running, strict=True)
    ]
    assert sorted((end_s, job.job_id) for end_s, job in found) == sorted(each for each in naive if each[0] < math.inf)
    assert [end_s for end_s, _ in found] == sorted(end_s for end_s, _ in found)


@pytest.mark.parametrize("memory_bytes", [0, 1 << 30], ids=["CPUs only", "with memory"])
@pytest.mark.parametrize("node_count", [1, 2])
@pytest.mark.parametrize("is_one_overdue", [False, True])
def test_what_ends_within_the_second_is_room_from_then_on(
    memory_bytes: int, node_count: int, is_one_overdue: bool
) -> None:
    """A promise may rest on it: put off to a second from now it was lost, and made anew behind others."""
    nodes = [Node(NodeName(f"n{number}"), 4, memory_bytes) for number in range(node_count)]
    packing = Packing(nodes, {ALL: range(node_count)})
    room = Room.of_rows(packing, [packing.idle_row(number) for number in range(node_count)])
    whole, quarter = Shape(ALL, 1, 4, 0), Shape(ALL, 1, 1, 0)
    for number in range(1, node_count):
        room.take((number,), packing.ask(whole))
    ends_s = [99.0, 100.25] if is_one_overdue else [100.25]
    for _ in ends_s:
        room.take((0,), packing.ask(quarter))
    running = [running_job(number, end_s) for number, end_s in enumerate(ends_s)]
    asked = Shape(ALL, 1, 4 - len(ends_s) + 1, 0)
    found = profile_of(room, running, NOW_S).earliest(packing.ask(asked), 50.0)
    assert found == (100.25, (0,))

"""The room that is kept from pass to pass, when a pass is broken off in the middle of it."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from hal_core.models import node_rows, room as room_module
from hal_core.models.event import NodeSuspected
from hal_core.models.job import Shape
from hal_core.models.node import NodeName, PartitionName
from hal_core.models.room import Room
from hal_core.rules import live_room
from hal_core.rules.state import State
from tests.support.core_world import World, make_cluster

FILES = {live_room.__file__, room_module.__file__, node_rows.__file__}


class BrokenOff(BaseException):
    """As the alarm raises it, anywhere."""


def copied_until(state: State, line_count: int) -> bool:
    """Take a copy, broken off before the line of that number. Whether it came to an end."""
    left = line_count

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                raise BrokenOff
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        state.snapshot(0.0).room()
    except BrokenOff:
        return False
    finally:
        sys.settrace(before)
    return True


def test_wherever_it_is_broken_off_the_next_copy_is_what_the_columns_say() -> None:
    line_count, is_over = 0, False
    while not is_over:
        world = World(make_cluster(6)).join()
        state = world.state
        world.start(cpus_per_task=1)
        state.snapshot(0.0).room()
        for name in ("n0", "n1", "n2"):
            state.apply(NodeSuspected(1.0, NodeName(name)))
        assert state.table.touched
        is_over = copied_until(state, line_count)
        assert rows_of(state.snapshot(0.0).room()) == rows_of(made_anew(state)), f"broken off before line {line_count}"
        line_count += 1
    assert line_count > 20, "the lines of the copy were not seen"


def made_anew(state: State) -> Room:
    return Room.of(state.packing, state.table, state.limits.licences.free())


def rows_of(room: Room) -> list[tuple[int, frozenset[int]]]:
    """By number, what a room says of a node in both of its ways."""
    asks = [room.packing.ask(Shape(PartitionName("all"), 1, cpus, 0)) for cpus in range(1, 5)]
    fits = [room.fitting(ask) for ask in asks]
    return [
        (room.row_of(number), frozenset(at for at, found in enumerate(fits) if found >> number & 1))
        for number in range(6)
    ]

"""When an ask will fit, as what runs ends in turn: the shadow time of backfill (rules/timeline.py). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hal_core.models import mixed

if TYPE_CHECKING:
    from hal_core.models.packing import Ask
    from hal_core.models.plan import RunningJob
    from hal_core.models.room import Room


def wait_for(room: Room, ask: Ask, running: Iterable[RunningJob], now_s: float) -> float | None:
    """As Room.wait_for, for a job of one component."""
    packing = room.packing
    ask_of, missing = packing.ask, ask.nodes & ~room.fitting_anyhow(ask)
    near = packing.numbers_beside(ask.shape.partition)
    is_enough = ask.holds(ask.nodes & ~missing)
    time_s = now_s
    for job in running:
        if is_enough and job.expected_end_s > time_s and room.has_licences(ask):
            break
        if near is not None and near.isdisjoint(job.node_numbers):
            continue
        time_s = max(time_s, job.expected_end_s)
        new = 0
        for row, bits in room.given(job.node_numbers, ask_of(job.shape), job.nodes):
            if bits & missing and room.row_fits(row, ask):
                new |= bits & missing
        if new:
            missing ^= new
            is_enough = is_enough or ask.holds_near(ask.nodes & ~missing, new)
    return time_s if is_enough and room.has_licences(ask) else None


def wait_for_parts(room: Room, ask: Ask, running: Iterable[RunningJob], now_s: float) -> float | None:
    """The same for a job of several components."""
    packing, parts = room.packing, ask.parts
    fitting = mixed.fitting(room, ask)
    near = packing.numbers_beside(ask.shape.partition)
    is_enough = mixed.are_enough(ask.parts, fitting)
    time_s = now_s
    for job in running:
        if is_enough and job.expected_end_s > time_s and room.has_licences(ask):
            break
        if near is not None and near.isdisjoint(job.node_numbers):
            continue
        time_s = max(time_s, job.expected_end_s)
        before = tuple(fitting)
        for row, bits in room.given(job.node_numbers, packing.ask(job.shape), job.nodes):
            for at, part in enumerate(parts):
                if bits & part.nodes & ~fitting[at] and room.row_fits(row, part):
                    fitting[at] |= bits & part.nodes
        if before != tuple(fitting):
            is_enough = is_enough or mixed.are_enough(ask.parts, fitting)
    return time_s if is_enough and room.has_licences(ask) else None

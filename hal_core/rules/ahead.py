"""Bringing datasets to nodes ahead, while the jobs that read them wait. Orders only: nothing of it is state. Pure.

A job's datasets are ordered to the node where it is likely to start (rules/likely_starts.py), once that is no farther
off than bringing them takes. They are not ordered to a second node before a job that reads them has been placed: a
wrong guess costs one transfer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from hal_core.models.dataset import REFERENCE, references
from hal_core.models.effect import BringAhead
from hal_core.models.event import Event, JobPlaced
from hal_core.models.placement import AttemptKey
from hal_core.rules.likely_starts import likely_starts

if TYPE_CHECKING:
    from hal_core.models.plan import PendingJob
    from hal_core.rules.state import State

WITHIN_S: Final = 3600.0
"""Starts farther off are no more than fortune-telling. An order that led to no start is given again after so long."""
ORDERS_MAX: Final = 1000
BEFORE_THE_FIRST: Final = 0
"""The number of the attempt for which data is brought ahead."""


class Ahead:
    """What was ordered, and when to look again although nothing happens."""

    def __init__(self) -> None:
        self._ordered_s: dict[tuple[str, ...], float] = {}
        """Inputs -> when they were ordered."""
        self.wake_s = math.inf

    def orders(self, state: State, events: Iterable[Event], now_s: float) -> list[BringAhead]:
        """After a pass of the engine that led to these events."""
        self.wake_s = math.inf
        if not state.catalogue.by_id or not len(state.queue):
            return []
        self._forget(state, events, now_s)
        orders = []
        for job, start_s, number, stage_s in likely_starts(state.snapshot(now_s), WITHIN_S):
            if not stage_s or job.inputs in self._ordered_s:
                continue
            if start_s - now_s > stage_s:
                self.wake_s = min(self.wake_s, start_s - stage_s)
                continue
            self._ordered_s[job.inputs] = now_s
            orders.append(_order(state, job, number))
        return orders

    def _forget(self, state: State, events: Iterable[Event], now_s: float) -> None:
        for event in events:
            if isinstance(event, JobPlaced):
                self._ordered_s.pop(references(state.jobs[event.job_id].spec.inputs), None)
        for inputs, time_s in list(self._ordered_s.items()):
            if time_s + WITHIN_S <= now_s or len(self._ordered_s) > ORDERS_MAX:
                del self._ordered_s[inputs]


def _order(state: State, job: PendingJob, number: int) -> BringAhead:
    found = [state.catalogue.find(text.removeprefix(REFERENCE)) for text in job.inputs]
    datasets = tuple(dataset for dataset in found if dataset is not None)
    return BringAhead(state.table.nodes[number].name, AttemptKey(job.job_id, 0, BEFORE_THE_FIRST), datasets)

"""Bringing datasets to nodes ahead, while the jobs that read them wait. Orders only: nothing of it is state. Pure.

A job's datasets are ordered to the node where it is likely to start (rules/likely_starts.py), once that is no farther
off than twice what bringing them takes; to another node after that only if it takes half as long at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from hal_core.models.dataset import REFERENCE
from hal_core.models.effect import BringAhead
from hal_core.models.event import Event, JobPlaced
from hal_core.models.placement import AttemptKey
from hal_core.rules.likely_starts import FORGOTTEN_S, LEAD, Brought, likely_starts

if TYPE_CHECKING:
    from hal_core.models.plan import PendingJob, Plan
    from hal_core.rules.state import State

WITHIN_S: Final = 3600.0
"""Starts farther off are no more than fortune-telling."""
ORDERS_MAX: Final = 1000
WAITING_MAX: Final = 1000
BEFORE_THE_FIRST: Final = 0
"""The number of the attempt for which data is brought ahead."""


class Ahead:
    """What was ordered, and when to look again although nothing happens."""

    def __init__(self) -> None:
        self._brought = Brought()
        self._ordered_s: dict[tuple[int, tuple[str, ...]], float] = {}
        """Node and inputs -> when they were ordered there."""
        self.wake_s = math.inf

    def orders(self, state: State, plan: Plan, events: Iterable[Event], now_s: float) -> list[BringAhead]:
        """After a pass of the engine that led to these events."""
        self.wake_s = math.inf
        if not state.catalogue.by_id or not len(state.queue):
            return []
        self._forget(events, now_s)
        orders = []
        for guess in likely_starts(state.snapshot(now_s), WITHIN_S, _waiting(state, plan)):
            job, start_s, number, stage_s = guess
            if self._brought.is_due(guess, now_s):
                self._brought.bring(guess, now_s)
                if (number, job.inputs) not in self._ordered_s:
                    self._ordered_s[number, job.inputs] = now_s
                    orders.append(_order(state, job, number))
            elif self._brought.is_due(guess, start_s):
                self.wake_s = min(self.wake_s, start_s - LEAD * stage_s)
        return orders

    def _forget(self, events: Iterable[Event], now_s: float) -> None:
        for event in events:
            if isinstance(event, JobPlaced):
                self._brought.forget(event.job_id)
        if len(self._brought) > ORDERS_MAX:
            self._brought = Brought()
        for ordered, time_s in list(self._ordered_s.items()):
            if time_s + FORGOTTEN_S <= now_s or len(self._ordered_s) > ORDERS_MAX:
                del self._ordered_s[ordered]


def _waiting(state: State, plan: Plan) -> list[PendingJob]:
    """What the engine tries next. Its own rows may say anything: the state's are taken instead."""
    records = (state.jobs.get(row.job_id) for row in plan.waiting[:WAITING_MAX])
    return [record.pending_row() for record in records if record is not None and record.is_queued]


def _order(state: State, job: PendingJob, number: int) -> BringAhead:
    found = [state.catalogue.find(text.removeprefix(REFERENCE)) for text in job.inputs]
    datasets = tuple(dataset for dataset in found if dataset is not None)
    return BringAhead(state.table.nodes[number].name, AttemptKey(job.job_id, 0, BEFORE_THE_FIRST), datasets)

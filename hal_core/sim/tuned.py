"""The policy `tuned` of a replay: HAL's rule of self-tuning around the engines that it may choose from.

The same rule as in the daemon (rules/tuning.py), on the queue as the replay has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

import attrs

from hal_core.models.job import JobId
from hal_core.models.tuning import Bounds, Verdict
from hal_core.rules.excerpt import QUEUE_MAX, Excerpt
from hal_core.rules.tuning import Policies as Policies, Queue, tune

if TYPE_CHECKING:
    from hal_core.models.plan import Plan, Snapshot


@attrs.frozen
class Change:
    """Another policy came into force."""

    time_s: float
    before: str
    verdict: Verdict


class Tuned:
    """Implements planes.Engine: plans with the policy in force, and judges all of them every so often."""

    def __init__(self, policies: Policies, user_of: Callable[[JobId], str], every_s: float, bounds: Bounds) -> None:
        self.policies = policies
        self.changes: list[Change] = []
        self.trial_count = 0
        self._user_of = user_of
        self._every_s = every_s
        self._bounds = bounds
        self._next_s = -math.inf
        self._random = Random(0)  # noqa: S311  repeatable, nothing secret

    def plan(self, snapshot: Snapshot) -> Plan:
        if snapshot.now_s >= self._next_s:
            self._next_s = snapshot.now_s + self._every_s
            self._tune(snapshot)
        return self.policies.engines[self.policies.current].plan(snapshot)

    def _tune(self, snapshot: Snapshot) -> None:
        policies = self.policies
        queue = Queue(excerpt_of(snapshot), self._user_of, snapshot.now_s, self._random)
        verdict = tune(queue, policies, self._bounds)
        self.trial_count += 1
        if verdict.policy != policies.current:
            self.changes.append(Change(snapshot.now_s, policies.current, verdict))
            self.policies = attrs.evolve(policies, current=verdict.policy)


def excerpt_of(snapshot: Snapshot) -> Excerpt:
    """Of a replay, where there are neither limits nor arrays, and everybody may begin at once."""
    queue = list(islice(snapshot.pending(), QUEUE_MAX + 1))
    numbers = {name: snapshot.partition_nodes(name) for name in snapshot.partitions}
    return Excerpt(
        nodes=snapshot.columns.nodes,
        partitions=snapshot.partitions,
        partition_numbers=numbers,
        room=snapshot.room(),
        running=list(snapshot.running()),
        queue=queue[:QUEUE_MAX],
        ranks=[(0, row.submit_time_s, row.job_id) for row in queue[:QUEUE_MAX]],
        is_whole=len(queue) <= QUEUE_MAX,
        begins_s={},
        arrays={},
        claims={},
        standings=None,
        holds=snapshot.holds,
        promises=dict(snapshot.promises),
        has_released=True,
        tiers={row.inputs: snapshot.stage_in(row.inputs) for row in queue if row.inputs},
        asked=None,
        why_not="",
    )

"""Follows what running attempts use, tells it to those who ask, and finds allocations that are idle.

An idle one is told to the core once for each idle stretch, which makes it an event: mail and webhooks carry it. It is
ended only if the configuration says after how long. Nothing here is journalled but that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import attrs
import trio

from hal_core.errors import UserError
from hal_core.models.job import JobId
from hal_core.models.message import AllocationIdle, Cancel, JobSelection, Message, Requeue
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.models.policy import PreemptMode
from hal_core.models.use import JobUse, PartUse
from hal_core.planes import Report
from hal_core.rules.state import State
from hal_core.rules.use_log import UseLog

logger = logging.getLogger("hal.use")

LOOK_S_MIN, LOOK_S_MAX = 0.25, 15.0
LOOKS_WITHIN: Final = 4.0
"""So many looks within the shortest time that the rule names."""
RECLAIMED_BY: Final = "the idle rule"


@attrs.frozen(kw_only=True)
class IdleRule:
    """What a site thinks of allocations that do nothing. Times are in seconds; 0: never."""

    warn_s: float = 1800.0
    reclaim_s: float = 0.0
    reclaim_mode: PreemptMode = PreemptMode.REQUEUE
    partitions: frozenset[str] = frozenset()
    """Where they are reclaimed; empty: everywhere."""


class UseWatch:
    """Implements rest.port.Uses, and `tell` is planes.TellUse. `now_s` gives seconds since the epoch."""

    def __init__(self, state: Callable[[], State], rule: IdleRule, now_s: Callable[[], float]) -> None:
        self._state = state
        self._rule = rule
        self._now_s = now_s
        self._log = UseLog()
        self._told: dict[AttemptKey, float] = {}
        """Of which the core knows, and since when they were idle then."""

    def tell(self, node: NodeName, period_s: float, parts: Sequence[PartUse]) -> None:
        for part in parts:
            activity = self._state().activity(part.key)
            if activity is not None:
                part_count = sum(activity.has_part(share.node) for share in activity.shares)
                self._log.begin(part.key, activity.cpu_count, part_count, activity.gpu_count)
        self._log.note(node, period_s, parts, self._now_s())
        self._excuse(part.key for part in parts)

    def _excuse(self, keys: Iterable[AttemptKey]) -> None:
        """Who stands still because it was suspended is not idle for that."""
        for key in keys:
            activity = self._state().activity(key)
            if activity is not None and activity.suspend_time_s is not None:
                self._log.excuse(key)

    async def run(self, report: Report) -> None:
        """Look again and again, until cancelled."""
        named_s = [limit_s for limit_s in (self._rule.warn_s, self._rule.reclaim_s) if limit_s]
        pause_s = max(LOOK_S_MIN, min(LOOK_S_MAX, min(named_s, default=LOOK_S_MAX) / LOOKS_WITHIN))
        while True:
            await trio.sleep(pause_s)
            for message in self.look():
                try:
                    await report(message)
                except UserError as error:  # it has just ended, or was taken out
                    logger.info("an idle allocation needs nothing any more: %s", error)

    def look(self) -> list[Message]:
        """What is to be said of idle allocations now. Forgets what has ended."""
        for key in [key for key in self._log.keys() if self._state().activity(key) is None]:  # noqa: SIM118 - not a mapping
            self._log.forget(key)
        self._excuse(self._log.keys())
        rule, now_s = self._rule, self._now_s()
        messages: list[Message] = []
        idle = dict(self._log.idle(now_s))
        self._told = {key: since_s for key, since_s in self._told.items() if idle.get(key) == since_s}
        for key, since_s in idle.items():
            idle_s = now_s - since_s
            if rule.warn_s and idle_s >= rule.warn_s and key not in self._told:
                self._told[key] = since_s
                messages.append(AllocationIdle(key, since_s))
            if rule.reclaim_s and idle_s >= rule.reclaim_s and self._is_reclaimed(key):
                logger.info("job %d (%s) has been idle for %.0f s: reclaimed", key.job_id, key, idle_s)
                messages.append(self._reclaim(key))
        return messages

    def _is_reclaimed(self, key: AttemptKey) -> bool:
        """Whether the rule is for its partition, and nobody has asked it to end already."""
        activity = self._state().activity(key)
        if activity is None or activity.cancel is not None:
            return False
        return not self._rule.partitions or activity.record.spec.partition in self._rule.partitions

    def _reclaim(self, key: AttemptKey) -> Message:
        record = self._state().jobs[key.job_id]
        selection = JobSelection(key.job_id, ((key.index, key.index + 1),) if record.is_array else None)
        does_requeue = self._rule.reclaim_mode is PreemptMode.REQUEUE and record.spec.can_requeue
        return (Requeue if does_requeue else Cancel)(selection, RECLAIMED_BY)

    def job(self, job_id: JobId) -> JobUse | None:
        """What its running elements use; None if that was not measured."""
        return self._log.job(job_id)

    def cpus(self) -> float | None:
        """CPUs that are busy in all jobs together; None if that was not measured."""
        return self._log.cpus(self._now_s())

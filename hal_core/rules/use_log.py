"""What running attempts use, from what nodes measure now and then. Kept in memory only: it is measured again.

An allocation is idle while less than a twentieth of its CPUs is busy, over all its nodes together; with GPUs, while
less than a twentieth of those computes as well, or, where nobody can tell, while hardly a CPU is busy. What a node
measured counts for the time since it looked last, and an attempt of which some node has said nothing yet is not idle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs

from hal_core.models.job import JobId
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.models.use import JobUse, PartUse

IDLE_SHARE: Final = 0.05
"""Of the CPUs of an allocation: less than this busy is next to nothing."""
IDLE_CPUS_BESIDE_GPUS: Final = 0.05
"""CPUs, of an allocation with GPUs of which nobody knows what they do: they may compute while hardly a CPU is busy."""
PERIODS_GOOD: Final = 3.0
"""So many periods later what a node said of itself is too old to be counted."""


@attrs.define
class _Part:
    cpus: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    memory_bytes_max: int = 0
    measured_s: float = 0.0
    gpus: float | None = None
    gpu_s: float = 0.0
    gpus_measured_s: float = 0.0


@attrs.frozen
class _NodeUse:
    cpus: float
    good_until_s: float


@attrs.define
class _Attempt:
    cpu_count: int
    part_count: int
    gpu_count: int = 0
    parts: dict[NodeName, _Part] = attrs.Factory(dict)
    idle_since_s: float | None = None


class UseLog:
    """By attempt, as long as it runs. `forget` what has ended."""

    def __init__(self) -> None:
        self._attempts: dict[AttemptKey, _Attempt] = {}
        self._keys: dict[JobId, set[AttemptKey]] = {}
        self._nodes: dict[NodeName, _NodeUse] = {}

    def begin(self, key: AttemptKey, cpu_count: int, part_count: int, gpu_count: int) -> None:
        """The attempt holds so many CPUs and GPUs on all nodes together, and has processes on `part_count` of them."""
        if key not in self._attempts:
            self._attempts[key] = _Attempt(cpu_count, part_count, gpu_count)
            self._keys.setdefault(key.job_id, set()).add(key)

    def note(self, node: NodeName, period_s: float, uses: Sequence[PartUse], now_s: float) -> None:
        """All that the node measured over the last `period_s` seconds. Of what was not begun nothing is kept."""
        self._nodes[node] = _NodeUse(math.fsum(use.cpus for use in uses), now_s + PERIODS_GOOD * period_s)
        for use in uses:
            if use.key in self._attempts:
                _add(self._attempts[use.key], node, period_s, use, now_s)

    def forget(self, key: AttemptKey) -> None:
        if self._attempts.pop(key, None) is not None:
            keys = self._keys[key.job_id]
            keys.discard(key)
            if not keys:
                del self._keys[key.job_id]

    def excuse(self, key: AttemptKey) -> None:
        """It is not idle, whatever it uses."""
        if key in self._attempts:
            self._attempts[key].idle_since_s = None

    def keys(self) -> Iterable[AttemptKey]:
        return self._attempts.keys()

    def idle(self, now_s: float) -> Iterator[tuple[AttemptKey, float]]:
        """Attempts that are idle, and since when."""
        for key, attempt in self._attempts.items():
            if attempt.idle_since_s is not None and attempt.idle_since_s <= now_s:
                yield key, attempt.idle_since_s

    def cpus(self, now_s: float) -> float | None:
        """CPUs that are busy on all nodes of which something was heard lately; None if there is none."""
        fresh = [node.cpus for node in self._nodes.values() if node.good_until_s >= now_s]
        return math.fsum(fresh) if fresh else None

    def job(self, job_id: JobId) -> JobUse | None:
        """What its running elements use; None if none was measured yet."""
        attempts = [self._attempts[key] for key in self._keys.get(job_id, ())]
        attempts = [attempt for attempt in attempts if attempt.parts]
        if not attempts:
            return None
        parts = [part for attempt in attempts for part in attempt.parts.values()]
        idle = [attempt.idle_since_s for attempt in attempts]
        return JobUse(
            cpus=sum(part.cpus for part in parts),
            cpus_mean=sum(part.cpu_s / part.measured_s for part in parts),
            cpu_s=sum(part.cpu_s for part in parts),
            cpu_count=sum(attempt.cpu_count for attempt in attempts),
            memory_bytes=sum(part.memory_bytes for part in parts),
            memory_bytes_max=max(part.memory_bytes_max for part in parts),
            measured_s=max(part.measured_s for part in parts),
            gpus=_sum(part.gpus for part in parts),
            gpus_mean=_sum(part.gpu_s / part.gpus_measured_s for part in parts if part.gpus_measured_s),
            gpu_count=sum(attempt.gpu_count for attempt in attempts),
            idle_since_s=None if None in idle else max(since_s for since_s in idle if since_s is not None),
        )


def _add(attempt: _Attempt, node: NodeName, period_s: float, use: PartUse, now_s: float) -> None:
    part = attempt.parts.setdefault(node, _Part())
    part.cpus, part.memory_bytes = use.cpus, use.memory_bytes
    part.cpu_s += use.cpus * period_s
    part.measured_s += period_s
    part.memory_bytes_max = max(part.memory_bytes_max, use.memory_bytes)
    part.gpus = use.gpus
    if use.gpus is not None:
        part.gpu_s += use.gpus * period_s
        part.gpus_measured_s += period_s
    if _is_busy(attempt) or len(attempt.parts) < attempt.part_count:
        attempt.idle_since_s = None
    elif attempt.idle_since_s is None:
        attempt.idle_since_s = now_s - period_s


def _is_busy(attempt: _Attempt) -> bool:
    cpus, gpus = [part.cpus for part in attempt.parts.values()], [part.gpus for part in attempt.parts.values()]
    if attempt.gpu_count and None in gpus:
        return math.fsum(cpus) >= IDLE_CPUS_BESIDE_GPUS
    computes = attempt.gpu_count > 0 and (_sum(gpus) or 0.0) >= IDLE_SHARE * attempt.gpu_count
    return computes or math.fsum(cpus) >= IDLE_SHARE * attempt.cpu_count


def _sum(amounts: Iterable[float | None]) -> float | None:
    """Of what is known; None if nothing is."""
    known = [amount for amount in amounts if amount is not None]
    return math.fsum(known) if known else None

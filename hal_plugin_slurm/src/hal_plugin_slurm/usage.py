"""What accounting says that jobs used, from the steps that it has of each. Pure.

Slurm keeps the CPU time of a step, and the most memory of any of its tasks, which it looks at every so often
(JobAcctGatherFrequency): a step that was over before tells no memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

NOT_OVER: Final = frozenset({"PENDING", "RUNNING", "SUSPENDED"})


@attrs.frozen
class Used:
    """CPU time on all nodes in seconds; the most memory on one of them, None where nobody knows."""

    cpu_s: float
    peak_memory_bytes: int | None = None


@attrs.frozen
class Step:
    """`task_memory_bytes`: the most that one of its tasks had."""

    state: str
    cpu_s: float
    task_memory_bytes: int | None
    task_count: int
    node_count: int

    @property
    def node_memory_bytes(self) -> int | None:
        """At most so much on a node: its tasks may have had theirs at the same time."""
        if not self.task_memory_bytes:
            return None
        return self.task_memory_bytes * -(-max(self.task_count, 1) // max(self.node_count, 1))


def used_by(steps: Iterable[Step]) -> Used | None:
    """Steps of one job, which mostly follow each other; None while accounting does not have the end of all, or has it
    without any use: it ends the steps of a cancelled job before it hears what they used."""
    found = list(steps)
    if not found or any(step.state in NOT_OVER for step in found):
        return None
    cpu_s = sum(step.cpu_s for step in found)
    peak_memory_bytes = max(filter(None, (step.node_memory_bytes for step in found)), default=None)
    if not cpu_s and not peak_memory_bytes and any(step.state == "CANCELLED" for step in found):
        return None
    return Used(cpu_s, peak_memory_bytes)


def cpu_time_of(text: str) -> float:
    """Seconds of `1-02:03:04`, `02:03:04` or `03:04.567`. Raises ValueError."""
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if found is None:
        raise ValueError(f"no time: {text!r}")
    days, hours, minutes, seconds = found.groups()
    return ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes)) * 60 + float(seconds)


def memory_of(text: str) -> int | None:
    """Bytes of `1654784` or `1616K`; None for nothing. Raises ValueError."""
    if not text:
        return None
    found = re.fullmatch(r"([0-9.]+)([KMGTP]?)", text)
    if found is None:
        raise ValueError(f"no size: {text!r}")
    return int(float(found[1]) * 1024 ** " KMGTP".index(found[2] or " "))

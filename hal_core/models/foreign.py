"""What another scheduler has on its nodes and in its queue, as it says at one moment: only to be looked at."""

from __future__ import annotations

import attrs

from hal_core.models.node import NodeName


@attrs.frozen
class ForeignJob:
    """A job of another scheduler, or one element of an array. Amounts are on all of its nodes together."""

    name: str
    """What it is called there: `17`, `17_3`."""
    user: str
    partition: str
    """As HAL calls it."""
    submit_time_s: float
    node_count: int = 1
    cpu_count: int = 1
    memory_bytes: int = 0
    gpu_count: int = 0
    limit_s: float | None = None
    start_time_s: float | None = None
    """None while it waits, and if it ended before it began."""
    end_time_s: float | None = None
    """None until it is over."""
    nodes: tuple[NodeName, ...] = ()
    reason: str = ""
    """Why it waits, in that scheduler's word."""
    is_ready: bool = True
    """It waits for room: not for a person, for another job or for a time."""

    @property
    def key(self) -> str:
        """Names are used again: with the second of its submission this one is no other's."""
        return f"{self.name}@{self.submit_time_s:.0f}"


@attrs.frozen
class ForeignNode:
    """A node as the other scheduler has it, and why it takes no work (`closed`; empty: it does)."""

    name: NodeName
    cpu_count: int
    memory_bytes: int = 0
    gpu_count: int = 0
    closed: str = ""


@attrs.frozen
class Look:
    """All that the other scheduler says at one moment. What has ended may be in it for a while."""

    time_s: float
    nodes: tuple[ForeignNode, ...]
    jobs: tuple[ForeignJob, ...]

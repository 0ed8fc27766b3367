"""What there was when this run of the daemon began: for observers whose figures are sums over all that exists."""

from __future__ import annotations

import attrs

from hal_core.models.job import JobId
from hal_core.models.node import NodeName, NodeStatus


@attrs.frozen
class Standing:
    """The state at one sequence, as far as an observer can need it. Its first batch begins with the next event."""

    sequence: int
    waiting: tuple[tuple[JobId, int, float], ...]
    """(job, how many of its elements wait, since when in seconds since the epoch) of every unfinished job."""
    active: tuple[tuple[JobId, int, bool], ...]
    """(job, index, whether it has begun to run) of every element that holds an allocation."""
    nodes: tuple[tuple[NodeName, NodeStatus, bool], ...]
    """(name, status, whether it is drained)."""
    cluster: str = ""
    """Its name, which is told by an event only when it changes."""

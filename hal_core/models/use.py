"""What attempts really use of what they hold: as nodes measure it, and as people are told."""

from __future__ import annotations

import attrs

from hal_core.models.placement import AttemptKey


@attrs.frozen
class PartUse:
    """What one node measured of its part of an attempt since it looked last."""

    key: AttemptKey
    cpus: float
    """CPUs that were busy, on average."""
    memory_bytes: int
    """At the end of that time."""
    gpus: float | None = None
    """Of its GPUs, how many computed, on average; None if it has none, or nobody can tell."""


@attrs.frozen(kw_only=True)
class JobUse:
    """What the running elements of a job use, all parts together."""

    cpus: float
    """Busy now: on average since the last look."""
    cpus_mean: float
    """On average for as long as was looked."""
    cpu_s: float
    """CPU time in that time."""
    cpu_count: int
    """Held by the elements that were measured."""
    memory_bytes: int
    """Now."""
    memory_bytes_max: int
    """The most that one part was seen to use."""
    measured_s: float
    """How long they were looked at; of several elements, the longest."""
    gpus: float | None = None
    """GPUs that computed, on average since the last look; None: not known, or there are none."""
    gpus_mean: float | None = None
    """On average for as long as that was known."""
    gpu_count: int = 0
    """Held by the elements that were measured."""
    idle_since_s: float | None
    """Since when all of them have done next to nothing, in seconds since the epoch; None: some do."""

"""Receipts: what a job waited for, ran, used and cost, and their sums by user, account and month."""

from __future__ import annotations

from typing import Final

import attrs

from hal_core.models.job import JobId, JobState

CAUSES: Final = (
    *("held", "begin_time", "dependency", "throttle", "priority", "resources"),
    *("staging", "launch", "suspended"),
)
"""In the order of a job's life. `rules/wait_clock.py` says when each holds."""


@attrs.frozen
class Wait:
    """How long the job's elements waited for one cause, together."""

    cause: str
    seconds: float


@attrs.frozen(kw_only=True)
class RightSize:
    """What would have been enough, with a tenth to spare, and what the same run would have cost then."""

    cpu_count: int
    memory_bytes_per_node: int | None
    """None: nobody measured it, or it was not asked for."""
    walltime_s: float
    core_s: float
    money: float
    start_time_s: float | None = None
    """When there was room for it first (rules/earliest_start.py); None: nobody asked, or it never started."""


@attrs.frozen(kw_only=True)
class Receipt:
    """One job's receipt, as far as it has come. Amounts are of all its elements and attempts together."""

    job_id: JobId
    name: str
    user: str
    account: str
    partition: str
    state: JobState
    element_count: int
    attempt_count: int
    submit_time_s: float
    start_time_s: float | None
    """Of the first element."""
    end_time_s: float | None
    """Of the last element; None until all have ended."""
    waits: tuple[Wait, ...]
    wait_s: float
    """The sum of `waits`."""
    ran_s: float
    lost_s: float
    """Of `ran_s`: in attempts that had to be made again."""
    core_s: float
    """CPUs that were held, from placement to release."""
    gpu_s: float
    cpu_s: float | None
    """CPU time that was used, where nodes measured it."""
    gpu_busy_s: float | None
    """Of `gpu_s`: in which the GPUs computed, where nodes could tell."""
    energy_j: float | None
    """Joules that its GPUs used, where nodes could tell."""
    cpu_energy_j: float | None
    """Joules, its share of what processors and memory used, where nodes could tell."""
    cpu_count: int
    """Asked for, by each element."""
    memory_bytes_per_node: int
    """Asked for."""
    peak_memory_bytes: int | None
    walltime_s: float | None
    money: float
    bytes_moved: int
    bytes_saved: int
    right_size: RightSize | None
    """None as long as nothing has ended that was measured."""


@attrs.frozen(kw_only=True)
class ReceiptSum:
    """Receipts of jobs that have ended, added up."""

    user: str
    account: str
    month: str
    """In which they ended, in UTC: `2026-11`. The empty string, in any of the four: of all."""
    day: str
    """Likewise: `2026-11-26`."""
    job_count: int
    wait_s: float
    ran_s: float
    lost_s: float
    core_s: float
    gpu_s: float
    energy_j: float
    """Of GPUs, as far as nodes could tell."""
    cpu_energy_j: float
    """Of processors and memory, likewise."""
    money: float
    bytes_moved: int
    bytes_saved: int

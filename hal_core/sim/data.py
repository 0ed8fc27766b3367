"""Data in a replay: which stores there are, what the engine is told of them, and the figures of what came of it.

`blind`: the authors' stores, and an engine that knows nothing of them; it plans with a whole transfer for each job.
`authors`: the same stores, and an engine that knows what they hold. `cache`: HAL's cache, which is filled ahead for
jobs that wait and are promised a node.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

import attrs

from hal_core.models.node import Cluster
from hal_core.sim.stores import StoreKind, Stores
from hal_core.sim.trace import Trace, TraceJob

HOUR_S = 3600.0


class DataMode(Enum):
    BLIND = "blind"
    AUTHORS = "authors"
    CACHE = "cache"


@attrs.frozen
class Data:
    """The stores of one run, and who uses them how."""

    stores: Stores
    is_shown: bool
    is_brought_ahead: bool
    ahead_s: float = 0.0
    """No transfer takes longer."""

    @classmethod
    def of(cls, mode: DataMode, cluster: Cluster, trace: Trace) -> Data:
        is_cache = mode is DataMode.CACHE
        stores = Stores(StoreKind.CACHE if is_cache else StoreKind.MEMORY, cluster, trace)
        ahead_s = max((stores.full_s((name,)) for name in trace.sizes), default=0.0)
        return cls(stores, mode is not DataMode.BLIND, is_cache, ahead_s)


@attrs.frozen
class DataFigures:
    """Of one run. Stretch: (end - submission) / (run time + a whole transfer), on average over all jobs that ran."""

    mean_stretch: float
    transfer_hours: float
    """That jobs had nodes for, and waited for a transfer: their own, or that of another job."""
    shared_store_hours: float
    """Transfers from the shared store."""
    remote_bytes: int
    """Brought to a node from anywhere else."""
    hidden_fraction: float
    """Of the seconds in which inputs of submitted jobs were under way: those before the job had its node."""
    hideable_fraction: float
    """What that would have been if each such transfer had begun when its job was submitted."""


def data_figures(
    jobs: Sequence[TraceJob], start_s: Sequence[float], stage_s: Sequence[float], data: Data
) -> DataFigures:
    """`start_s` and `stage_s` in the order of the jobs; NaN for the start of those that never did."""
    stretches = [
        (start + stage + job.run_s - job.submit_s) / (job.run_s + data.stores.full_s(job.inputs))
        for job, start, stage in zip(jobs, start_s, stage_s, strict=True)
        if start == start
    ]
    moved = data.stores.moved
    needed_s = moved.waited_s + moved.hidden_s
    return DataFigures(
        mean_stretch=math.fsum(stretches) / len(stretches) if stretches else 0.0,
        transfer_hours=moved.waited_s / HOUR_S,
        shared_store_hours=moved.store_s / HOUR_S,
        remote_bytes=moved.remote_bytes,
        hidden_fraction=moved.hidden_s / needed_s if needed_s else 0.0,
        hideable_fraction=moved.possible_s / needed_s if needed_s else 0.0,
    )

"""History: what is remembered of ended jobs, and how to ask for it. Written by the journal, shown by REST and CLI."""

from __future__ import annotations

from typing import Final

import attrs

from hal_core.models.job import EndKind, JobId, JobState
from hal_core.models.prediction import Prediction

HISTORY_LIMIT_MAX: Final = 1000


@attrs.frozen
class HistoryFilters:
    """What to look for; a field left empty matches everything. Times are those of the end, `until_s` is exclusive."""

    user: str | None = None
    states: tuple[JobState, ...] = ()
    name: str | None = None
    partition: str | None = None
    since_s: float | None = None
    until_s: float | None = None
    job_id: JobId | None = None
    is_oldest_first: bool = False


@attrs.frozen
class HistoryEntry:
    """One end of a job, or of some elements of an array. `sequence` is that of the JobEnded event."""

    sequence: int
    job_id: JobId
    elements: str
    """Indices as ranges text ("0-3,8"); "0" for a job that is no array."""
    attempt: int
    user: str
    name: str
    partition: str
    account: str
    state: JobState
    kind: EndKind
    exit_code: int | None
    signal: int | None
    ended_by: str
    detail: str
    submit_time_s: float | None
    start_time_s: float | None
    end_time_s: float
    nodes: tuple[str, ...]
    """In rank order; empty if it never had an allocation."""
    node_count: int
    cpus: int
    """Asked for, over all nodes."""
    walltime_s: float | None
    peak_memory_bytes: int | None
    cpu_s: float | None
    is_array: bool = False
    """Whether `elements` are those of an array: the end of element 0 is not that of the job."""
    ran_s: float | None = None
    """Without what it stood still; None: it never ran."""
    money: float | None = None
    """What these elements cost in the attempt that ended so; None: it was not asked for."""
    prediction: Prediction | None = None
    """Of the run time, the last that was said by its start. None: nobody said anything, or it was not asked for."""


@attrs.frozen
class HistoryPage:
    """Some entries, and where to go on (None: that was all)."""

    entries: tuple[HistoryEntry, ...]
    next_cursor: int | None

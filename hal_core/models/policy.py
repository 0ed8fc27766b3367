"""What a site decides about sharing its cluster: accounts and shares, levels of service, limits, the queue's order.

All of it is part of the cluster's definition, so that the journal says under which rules a decision was made.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import attrs

DAY_S: Final = 86_400.0
Limits = tuple[tuple[str, int], ...]
"""(name from LIMIT_NAMES, at most so much), sorted by name."""

COUNTED: Final = ("running_jobs", "pending_jobs", "cpus", "gpus", "cpu_minutes", "gpu_minutes")
PER_USER: Final = "user."
LIMIT_NAMES: Final = (*COUNTED, *(PER_USER + name for name in COUNTED))
"""What can be limited, for all jobs together; or, with `user.` before it, for those of each user."""


class PreemptMode(Enum):
    """What happens to a job that makes room for another."""

    REQUEUE = "requeue"
    CANCEL = "cancel"
    SUSPEND = "suspend"
    """It stands still and lends its CPUs; memory, GPUs and all else it keeps."""


class QueueOrder(Enum):
    """What decides which job stands before another."""

    STRICT = "strict"
    """The partition's priority, then the job's own with that of its quality of service, then age."""
    WEIGHTED = "weighted"
    """A sum of terms, each in seconds of waiting."""
    EXPANSION_FACTOR = "expansion-factor"
    """As strict, but instead of age: how much longer than its limit the job has to be there, wait included."""


@attrs.frozen
class Priorities:
    """How the queue is ordered. Weights are seconds of waiting, so that they can be compared and added."""

    order: QueueOrder = QueueOrder.STRICT
    age_s_max: float = 7 * DAY_S
    """Waiting longer than this adds no more."""
    fair_share_s: float = 7 * DAY_S
    """What separates a user who has used nothing from one who has used far more than the share."""
    half_life_s: float = 7 * DAY_S
    """After so long past usage counts half; 0: it is never forgotten."""
    partition_s: float = 3600.0
    """For each point of the partition's priority; likewise the next two."""
    qos_s: float = 3600.0
    job_s: float = 60.0
    size_s: float = 0.0
    """What a job gets that asks for all CPUs of its partition; smaller ones get their part of it."""
    floor_s: float = 600.0
    """Jobs with a shorter limit are taken for so long ones when expansion factors are compared."""
    starvation_s: float = 30 * DAY_S
    """Who has waited so long comes before all others; 0: nobody does."""


DEFAULT_PRIORITIES: Final = Priorities()


@attrs.frozen
class Account:
    """What jobs are accounted to. Accounts form a tree; `shares` count among those of the same parent.

    `users` are those who may use it, with their shares of it. One that names nobody is open to everybody, unless it has
    accounts below it.
    """

    name: str
    parent: str = ""
    shares: int = 1
    users: tuple[tuple[str, int], ...] = ()
    limits: Limits = ()


@attrs.frozen
class Qos:
    """A level of service: a priority, limits, and which other levels its jobs may preempt."""

    name: str
    priority: int = 0
    is_default: bool = False
    limits: Limits = ()
    preempts: tuple[str, ...] = ()
    """Levels whose running jobs may be displaced by a job of this one, on nodes of its partition."""
    preempt_mode: PreemptMode | None = None
    """What happens to a job of this one that is; None: what its partition says."""
    preempt_exempt_s: float = 0.0
    """A job that started less than so long ago is not, nor before its partition says so; likewise the next."""
    preempt_grace_s: float = 0.0

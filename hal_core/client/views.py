"""What the clients give back: typed views of the daemon's answers. Fields that a newer daemon adds are ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from hal_core.models.job import FINAL, End, JobId, JobState
from hal_core.models.node import NodeName, NodeStatus, PartitionName


@attrs.frozen
class WaitReason:
    """Why a job waits. `kind` is for programs, `text` for people."""

    kind: str
    text: str


@attrs.frozen
class ElementView:
    """One element of an array, or several in the same condition; the only one of a job that is no array."""

    indices: str
    count: int
    state: JobState
    attempt: int
    start_time_s: float | None = None
    end_time_s: float | None = None
    end: End | None = None
    output_path: str | None = None
    error_path: str | None = None


@attrs.frozen
class JobView:
    """A job as the daemon sees it. Paths are known from `Client.job` and `Client.wait`, not from a listing."""

    job_id: JobId
    name: str
    user: str
    partition: PartitionName
    state: JobState
    array: str | None
    element_count: int
    counts: Mapping[str, int]
    priority: int
    submit_time_s: float
    node_count: int
    task_count: int
    nodes: str
    attempt: int
    is_held: bool
    start_time_s: float | None = None
    end_time_s: float | None = None
    walltime_s: float | None = None
    expected_start_time_s: float | None = None
    reason: WaitReason | None = None
    end: End | None = None
    element: ElementView | None = None
    qos: str = ""
    queue_priority: float | None = None
    """What orders the queue, all terms together, while it waits."""
    output_path: str | None = None
    error_path: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in FINAL


@attrs.frozen
class NodeView:
    name: NodeName
    status: NodeStatus
    is_drained: bool
    reason: str
    by: str
    partitions: tuple[PartitionName, ...]
    cpu_count: int
    cpus_free: int
    memory_bytes: int
    memory_bytes_free: int
    gpus: Mapping[str, int]
    gpus_free: Mapping[str, int]
    allocation_count: int
    missing: tuple[str, ...] = ()
    """What the machine cannot do for jobs: "memory limits: no memory cgroup"."""


@attrs.frozen
class HistoryEntry:
    """One end: of a job, or of some elements of an array that ended together."""

    sequence: int
    job_id: JobId
    elements: str
    attempt: int
    user: str
    name: str
    partition: PartitionName
    state: JobState
    kind: str
    detail: str
    end_time_s: float
    start_time_s: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    peak_memory_bytes: int | None = None
    cpu_s: float | None = None
    is_array: bool = False
    ran_s: float | None = None
    """Without what it stood still; None: it never ran."""


@attrs.frozen
class EventRecord:
    """One event of the journal. `fields` are as in the REST reference; `sequence` is where to go on after a break."""

    sequence: int
    kind: str
    fields: Mapping[str, Any]


@attrs.frozen
class JobRequest:
    """What to submit: a command, or the text of a script.

    `options` are those of `hal submit` without dashes; `environment` and `working_directory` None mean the caller's.
    A request with a `client_id` can be sent twice and is one job.
    """

    command: Sequence[str] = ()
    script: str = ""
    script_name: str = ""
    arguments: Sequence[str] = ()
    options: Mapping[str, str | int | float | bool] = attrs.field(factory=dict)
    working_directory: str | None = None
    environment: Sequence[str] | None = None
    client_id: str = ""

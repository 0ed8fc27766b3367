"""What the record of a shadow is made of: facts, one a line, in the order in which they were seen. Times are in seconds
since the epoch; `key` is a job's (models/foreign.py). New fields need defaults: old records must stay readable.
"""

from __future__ import annotations

import msgspec


class _Seen(msgspec.Struct, frozen=True, tag=True, tag_field="fact", forbid_unknown_fields=True):
    """Seen at that time."""

    time_s: float


class Began(_Seen, frozen=True, tag=True):
    """Somebody began to follow; again, after each pause."""

    scheduler: str
    version: int = 1


class NodeSeen(_Seen, frozen=True, tag=True):
    """A node is new, or otherwise than before."""

    name: str
    cpu_count: int
    memory_bytes: int
    gpu_count: int
    closed: str


class Came(_Seen, frozen=True, tag=True):
    """A job is new."""

    key: str
    user: str
    partition: str
    submit_time_s: float
    node_count: int
    cpu_count: int
    memory_bytes: int
    gpu_count: int
    limit_s: float | None


class Waits(_Seen, frozen=True, tag=True):
    """Why it waits, for the first time or otherwise than before."""

    key: str
    reason: str
    is_ready: bool


class Started(_Seen, frozen=True, tag=True):
    key: str
    start_time_s: float
    nodes: tuple[str, ...]


class Ended(_Seen, frozen=True, tag=True):
    """It is over, since `end_time_s`; None: it is not named any more, and nobody saw its end."""

    key: str
    end_time_s: float | None


class Looked(_Seen, frozen=True, tag=True):
    """All that was new then stands before this line."""


Fact = Began | NodeSeen | Came | Waits | Started | Ended | Looked

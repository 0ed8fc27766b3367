"""Placements: which nodes and devices one attempt of one job element is given, and the keys that name it everywhere."""

from __future__ import annotations

from typing import NamedTuple

import attrs

from hal_core.models.job import JobId
from hal_core.models.node import NodeName


class AttemptKey(NamedTuple):
    """Names one attempt of one element. A job that is no array has the single index 0. Attempts count from 1."""

    job_id: JobId
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a key
    attempt: int

    def __str__(self) -> str:
        return f"{self.job_id}.{self.index}.{self.attempt}"


@attrs.frozen
class Share:
    """What a placement takes on one node.

    `cpus` and `gpus` are device indices as ranges text ("0-3,8"). In a JobPlaced event that covers several elements of
    an array, they are the union: element number k (counted from 0 in ascending order of index) has the k-th chunk of
    equal length. The other amounts are for each element.
    """

    node: NodeName
    task_count: int
    cpus: str
    memory_bytes: int = 0
    gpus: str = ""
    generic: tuple[tuple[str, int], ...] = ()
    gpu_milli: int = 0
    """If not 0, `gpus` is one device, and this is the share of it in thousandths."""


@attrs.frozen
class Grant:
    """A start that was decided at that time and waits until elastic jobs have left these nodes."""

    job_id: JobId
    node_numbers: tuple[int, ...]
    element_count: int
    time_s: float

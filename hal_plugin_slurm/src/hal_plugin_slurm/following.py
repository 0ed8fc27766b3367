"""A Slurm that is followed by `hal shadow`: two questions for each look, whatever the number of jobs; no orders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from hal_core import ForeignJob, ForeignNode, Look, NodeName, Options, members, structure_options
from hal_plugin_slurm.ends import ACTIVE, WAITING
from hal_plugin_slurm.options import SlurmOptions
from hal_plugin_slurm.view import CONFIGURING, MIB, waits_for_room, why_closed
from hal_plugin_slurm.way import SlurmJob, SlurmNode, Way, names_of
from hal_plugin_slurm.way_options import open_way

NOTHING_WRITTEN: Final = {"state_directory": "none"}
"""The executor's options ask for a folder; to follow needs none."""


class Following:
    """Implements planes.ForeignScheduler."""

    def __init__(self, way: Way, partitions: Mapping[str, str], now_s: Callable[[], float] = time.time) -> None:
        """`partitions` are HAL's names and Slurm's, where they differ."""
        self._way, self._now_s = way, now_s
        self._partitions = {slurms: hals for hals, slurms in partitions.items()}

    @classmethod
    def from_options(cls, options: Options) -> Following:
        chosen = structure_options(SlurmOptions, {**NOTHING_WRITTEN, **options})
        return cls(open_way(chosen, time.time), chosen.partitions)

    async def look(self) -> Look:
        nodes = await self._way.nodes()
        now_s = self._now_s()
        return look_of(nodes, await self._way.jobs(), self._partitions, now_s)


def look_of(nodes: Iterable[SlurmNode], jobs: Iterable[SlurmJob], partitions: Mapping[str, str], now_s: float) -> Look:
    """`partitions` are Slurm's names and HAL's. What waits as one record of an array becomes its elements, unless Slurm
    shortened the list of them: those are told when they begin."""
    seen = [
        ForeignNode(NodeName(node.name), node.cpu_count, node.memory_mb * MIB, len(node.gpus), why_closed(node))
        for node in nodes
    ]
    found = [each for job in jobs for each in _jobs_of(job, partitions)]
    return Look(now_s, tuple(seen), tuple(found))


def _jobs_of(job: SlurmJob, partitions: Mapping[str, str]) -> Iterable[ForeignJob]:
    if job.is_rest:
        return [_job(job, f"{job.native_id}_{index}", partitions) for index in members(job.rest)]
    return [_job(job, str(job.native_id) if job.index is None else f"{job.native_id}_{job.index}", partitions)]


def _job(job: SlurmJob, name: str, partitions: Mapping[str, str]) -> ForeignJob:
    """What Slurm tells of a start or an end to come is what it expects, and is left out."""
    waits = job.state in WAITING and job.state != CONFIGURING
    is_over = not waits and job.state not in ACTIVE and job.state != CONFIGURING
    nodes = () if waits else names_of(job.nodes)
    _, cpus, memory_mb, gpus = job.amounts
    partition = job.partition.partition(",")[0]
    return ForeignJob(
        name,
        job.user,
        partitions.get(partition, partition),
        job.submit_time_s,
        max(job.amounts.node_count, 1),
        cpus,
        memory_mb * MIB,
        gpus,
        job.limit_s,
        start_time_s=job.start_time_s if nodes else None,
        end_time_s=job.end_time_s if is_over else None,
        nodes=nodes,
        reason=job.reason if waits else "",
        is_ready=not waits or waits_for_room(job),
    )

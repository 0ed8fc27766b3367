"""The engine's question and answer: a snapshot of the cluster at one moment, and the plan made from it.

A snapshot shares its columns with the live state: an engine must not change anything in it, and must not keep it
after `plan` has returned. Node columns are lists indexed by node number (0 .. node_count-1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import attrs

from hal_core.models.job import JobId, Shape
from hal_core.models.masks import mask_of
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.node_rows import WIDE
from hal_core.models.placement import Grant
from hal_core.models.quota import Quota
from hal_core.models.ranges import Ranges, members
from hal_core.models.reservation import Holds
from hal_core.models.room import Room
from hal_core.models.staging import Tiers


@attrs.frozen
class PendingJob:
    """A job that could start now if there were room. `element_count` > 1 only for arrays (throttle already applied)."""

    job_id: JobId
    element_count: int
    shape: Shape
    walltime_s: float
    """The limit, or infinity."""
    priority: int
    submit_time_s: float
    expected_s: float = attrs.field(default=attrs.Factory(lambda self: self.walltime_s, takes_self=True))
    """How long it is expected to run, for planning only: jobs are killed at their limit. The limit if nobody knows."""
    reservation: str = ""
    """The reservation that it wants to run in; empty: outside of all of them."""
    rank: int = 0
    """What comes before age and length in any order: the partition's priority, that of its quality of service and the
    job's own in one number. Larger is earlier."""
    mean_s: float = attrs.field(default=attrs.Factory(lambda self: self.expected_s, takes_self=True))
    """How long such jobs run on average, for orders: the few that run long weigh more than in `expected_s`."""
    inputs: tuple[str, ...] = ()
    """Datasets that must be on its nodes first."""


@attrs.frozen
class RunningJob:
    """An allocation in force: ends at the latest at `end_time_s` (infinity without a limit)."""

    job_id: JobId
    index: int
    shape: Shape
    node_numbers: tuple[int, ...]
    end_time_s: float
    expected_end_s: float = attrs.field(default=attrs.Factory(lambda self: self.end_time_s, takes_self=True))
    """When it is expected to end, never later than at its limit. Corrected when the job outlives it."""
    nodes: int = attrs.field(init=False, eq=False, repr=False)
    """The node numbers of a wide gang as bits, made once; 0 if they are few."""

    @nodes.default
    def _nodes(self) -> int:
        return mask_of(self.node_numbers) if len(self.node_numbers) >= WIDE else 0


@attrs.frozen
class Changes:
    """All that happened since the last plan: nothing but this, and every start of that plan was made.

    No node changed, no job left the queue or changed its place in it, and whatever runs ends after now as expected.
    """

    arrived: Sequence[PendingJob]
    """They stand at the end of the queue."""
    ended: Sequence[RunningJob]


class NodeColumns(Protocol):
    """Columns over all nodes. Free amounts count only what is not allocated; an unavailable node still has a row."""

    @property
    def nodes(self) -> Sequence[Node]: ...

    @property
    def is_available(self) -> Sequence[bool]:
        """Up and not drained: may be given new work."""
        ...

    @property
    def free_cpus(self) -> Sequence[int]: ...

    @property
    def free_memory_bytes(self) -> Sequence[int]: ...

    @property
    def free_gpus(self) -> Sequence[Mapping[str, int]]:
        """By type, for nodes that have any; an empty mapping otherwise."""
        ...

    @property
    def free_gpu_parts(self) -> Sequence[Sequence[tuple[str, int]]]:
        """Devices of which shares are given, and which `free_gpus` does not count: (type, free thousandths) of each."""
        ...

    @property
    def free_generic(self) -> Sequence[Mapping[str, int]]: ...

    @property
    def allocation_count(self) -> Sequence[int]:
        """Allocations on the node; an exclusive job needs 0."""
        ...

    @property
    def aside_count(self) -> Sequence[int]:
        """Of these, those of suspended jobs that hold none of the CPUs, and perhaps nothing else that would show."""
        ...


class Snapshot(Protocol):
    """What an engine sees in one cycle."""

    @property
    def now_s(self) -> float: ...

    @property
    def sequence(self) -> int: ...

    @property
    def columns(self) -> NodeColumns: ...

    @property
    def partitions(self) -> Mapping[PartitionName, Partition]: ...

    def partition_nodes(self, name: PartitionName) -> Sequence[int]:
        """Node numbers of the partition, ascending."""
        ...

    def pending(self) -> Iterator[PendingJob]:
        """Jobs that may start, highest priority first, then oldest. Lazy: stop early at no cost.

        What a limit keeps from starting is left out, as far as `quota` says when the job's turn comes.
        """
        ...

    def running(self) -> Iterable[RunningJob]:
        """Allocations in force, in the order of their expected ends."""
        ...

    def room(self) -> Room:
        """What is free now, to try placements on: a copy."""
        ...

    @property
    def quota(self) -> Quota | None:
        """What limits still let start; None if there are no limits. Count in it what the plan starts."""
        ...

    @property
    def holds(self) -> Holds:
        """What reservations keep from whom. Commit refuses a start against them."""
        ...

    @property
    def has_preemption(self) -> bool:
        """Whether any job may preempt another."""
        ...

    def victims(self, job: PendingJob) -> Sequence[Victim]:
        """What the job may preempt now, in the order of placement."""
        ...

    def ending(self) -> Sequence[RunningJob]:
        """What was preempted already and still runs."""
        ...

    @property
    def promises(self) -> Mapping[JobId, Reserve]:
        """What the last plan promised, in its order, of jobs that still wait."""
        ...

    @property
    def changes(self) -> Changes | None:
        """For engines that can go on where the last plan ended; None: look at everything."""
        ...

    @property
    def memo(self) -> object:
        """What the last plan left to this one, if it can be used with `changes`. The plan must be the same without."""
        ...

    def stage_in(self, inputs: tuple[str, ...]) -> Tiers:
        """What bringing these datasets to the nodes takes, the best nodes first. Empty: nothing is known of it."""
        ...

    @property
    def has_released(self) -> bool:
        """Whether room may be where none was expected: since the last plan something ended before it was expected to,
        or anything at all if that plan was not settled."""
        ...


@attrs.frozen
class Start:
    """Start `element_count` elements of the job now, each on the nodes given.

    More than one element only for single-node shapes; they all go to the same node.
    """

    job_id: JobId
    node_numbers: tuple[int, ...]
    element_count: int = 1
    stage_s: float = 0.0
    """How long its inputs are expected to take until they are there."""


@attrs.frozen
class Reserve:
    """A promise: the job can start at `start_time_s` at the latest, on these nodes, if no job exceeds its limit."""

    job_id: JobId
    start_time_s: float
    node_numbers: tuple[int, ...]


def promised(reserves: Iterable[tuple[JobId, float]], nodes: Iterable[Ranges]) -> dict[JobId, Reserve]:
    """Promises as the journal has them (job and time, and the nodes of each); none of journals that name no nodes."""
    rows = zip(reserves, nodes, strict=False)
    return {job_id: Reserve(job_id, time_s, tuple(members(its))) for (job_id, time_s), its in rows}


@attrs.frozen
class Victim:
    """A running job that may be preempted. `lost` is the work lost by that, in node-seconds: how long it has run since
    its start or its last checkpoint, times the share of its nodes that it has."""

    job: RunningJob
    lost: float
    again: PendingJob | None = None
    """How it will wait again, behind the job that it makes room for; None: it will not."""
    grace_s: float = 0.0
    """How long it may take to end."""
    is_suspended: bool = False
    """It does not end: it stands still. Then `job` is only what it lends, `lost` is 0, and the other may start now."""


@attrs.frozen
class Preempt:
    """End these running elements, so that the job can start when they have ended."""

    job_id: JobId
    victims: tuple[tuple[JobId, int], ...]
    node_numbers: tuple[int, ...] = ()
    """If there are any: the elements are suspended instead, and one element of the job starts there now, in what is
    free and what they lend."""


@attrs.frozen
class Choice:
    """A job that may run with several amounts is planned with these from now on: in this plan already."""

    job_id: JobId
    variant: int
    expected_end_s: float
    """Infinity: nobody knows."""
    otherwise_s: float
    """The same, as it was planned before."""


@attrs.frozen
class Plan:
    """The engine's proposal. Nothing in it is believed: commit checks each start against the state."""

    starts: tuple[Start, ...] = ()
    reserves: tuple[Reserve, ...] = ()
    depth: int = 0
    """How many pending jobs were looked at."""
    wake_s: float = math.inf
    """When to ask again although nothing happens until then: a promised start that no end brings about."""
    is_settled: bool = True
    """False: another pass over the same promises may improve them, though nothing ends before it was expected to."""
    memo: object = attrs.field(default=None, eq=False, repr=False)
    """For the next pass (Snapshot.memo). It may be lost: it only saves work."""
    preempts: tuple[Preempt, ...] = ()
    grants: tuple[Grant, ...] = ()
    """Starts that wait for elastic jobs to leave (rules/elastic.py); no engine needs to know of them."""
    choices: tuple[Choice, ...] = ()
    """Made before anything is started (rules/variants.py); no engine needs to know of them either."""
    waiting: tuple[PendingJob, ...] = attrs.field(default=(), eq=False, repr=False)
    """The first jobs that are left, in the order in which the engine tries them, if that is not the snapshot's: from it
    is guessed where they are likely to start (rules/likely_starts.py)."""


__all__ = [
    "Changes",
    "NodeColumns",
    "NodeName",
    "PendingJob",
    "Plan",
    "Reserve",
    "RunningJob",
    "Snapshot",
    "Start",
]

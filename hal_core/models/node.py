"""Nodes, partitions and reservations: what the cluster consists of, as declared in the YAML or by operators.

What is free at this moment is state (rules/state.py), not here.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import NewType

import attrs

from hal_core.models.cloud_pool import CloudPool
from hal_core.models.dataset import Dataset
from hal_core.models.policy import DEFAULT_PRIORITIES, Account, Limits, PreemptMode, Priorities, Qos
from hal_core.models.topology import Topology

NodeName = NewType("NodeName", str)
PartitionName = NewType("PartitionName", str)


@attrs.frozen
class Node:
    """A machine with resources. `gpus` holds the type of each device in index order: ("a100", "a100")."""

    name: NodeName
    cpu_count: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()
    generic: tuple[tuple[str, int], ...] = ()
    """Countable site-defined resources, sorted by name: (("licence_x", 4),)."""
    features: tuple[str, ...] = ()
    location: tuple[str, ...] = ()
    """Path in the topology from the widest to the narrowest domain: ("site1", "rack3", "switch7")."""
    executor: str = "metal"
    address: str = ""
    """Where other nodes reach it, for the programs of a gang. Empty: its name is its address."""


@attrs.frozen
class Partition:
    """A named set of nodes with limits. `walltime_s_max` None means no limit."""

    name: PartitionName
    nodes: tuple[NodeName, ...]
    is_default: bool = False
    walltime_s_max: float | None = None
    walltime_s_default: float | None = None
    memory_bytes_per_cpu_default: int = 0
    priority: int = 0
    limits: Limits = ()
    preempts: tuple[PartitionName, ...] = ()
    """Partitions whose running jobs may be ended for a job of this one."""
    preempt_mode: PreemptMode = PreemptMode.REQUEUE
    """What happens to a job of this one that is preempted."""
    preempt_exempt_s: float = 0.0
    """A job that started less than so long ago is not preempted."""
    preempt_grace_s: float = 0.0
    """From SIGTERM to SIGKILL when it is, if that is longer than the job's own."""
    money_per_cpu_hour: float = 0.0
    """What a job of this one is charged for each CPU that it holds, in whatever the site counts in."""
    money_per_gpu_hour: float = 0.0


@attrs.frozen
class Reservation:
    """Whole nodes, kept for some users and accounts or for nobody (maintenance), once or again and again."""

    name: str
    nodes: tuple[NodeName, ...]
    start_time_s: float
    """Seconds since the epoch."""
    duration_s: float
    every_s: float = 0.0
    """From start to start, at least `duration_s`; 0: once. Each of these intervals is a window."""
    until_s: float | None = None
    """No window begins at that time or later."""
    users: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    comment: str = ""
    by: str = ""
    """Who made it; empty if it stands in the configuration."""

    @property
    def is_maintenance(self) -> bool:
        """Nobody's: no job may run there then."""
        return not self.users and not self.accounts

    def admits(self, user: str, account: str) -> bool:
        return user in self.users or (account != "" and account in self.accounts)

    def window_at(self, time_s: float) -> tuple[float, float] | None:
        """(start, end) of the window that holds at that time, or else of the next one; None: there is none any more."""
        start_s = self.start_time_s
        if self.every_s and time_s >= start_s + self.duration_s:
            start_s += (math.floor((time_s - self.duration_s - start_s) / self.every_s) + 1) * self.every_s
        is_last_over = self.until_s is not None and start_s > self.start_time_s and start_s >= self.until_s
        is_over = start_s + self.duration_s <= time_s or is_last_over
        return None if is_over else (start_s, start_s + self.duration_s)

    def is_over(self, time_s: float) -> bool:
        return self.window_at(time_s) is None


@attrs.frozen
class Cluster:
    """All that HAL manages, as far as decisions need to know it."""

    name: str
    nodes: tuple[Node, ...]
    partitions: tuple[Partition, ...]
    node_timeout_s: float = 300.0
    """Without contact for so long, a node is given up: it is down, and what ran there has ended (node_lost)."""
    topology: Topology | None = None
    """What the locations of the nodes mean; without it they mean nothing."""
    reservations: tuple[Reservation, ...] = ()
    accounts: tuple[Account, ...] = ()
    qos: tuple[Qos, ...] = ()
    limits: Limits = ()
    licences: tuple[tuple[str, int], ...] = ()
    """Countable things that belong to no node, sorted by name: (("matlab", 10),)."""
    priorities: Priorities = DEFAULT_PRIORITIES
    datasets: tuple[Dataset, ...] = ()
    stage_bytes_per_s: float = float(100 << 20)
    """How fast data is expected to come to a node from elsewhere, for planning."""
    pools: tuple[CloudPool, ...] = ()
    """Which of the nodes are rented when they are needed."""

    @property
    def has_preemption(self) -> bool:
        """Whether any job may preempt another."""
        return any(each.preempts for each in self.partitions) or any(each.preempts for each in self.qos)


class NodeStatus(Enum):
    """Whether a node can be given work. Drained is a flag beside it (an operator's wish, not a fact about the node)."""

    UNKNOWN = "unknown"
    """Declared, but its executor has not reported yet."""
    UP = "up"
    SUSPECT = "suspect"
    """Contact lost a moment ago: nothing new starts, what runs is left alone."""
    DOWN = "down"

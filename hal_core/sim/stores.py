"""Where data is in a simulation: what each node's store holds, what bringing the rest takes, and what was brought.

Two kinds of store. `memory` is the authors' model of the locality workload (Gonthier, Larsson, Marchal, Nettelblad and
Thibault): a file lies in the node's memory until other jobs take the share of the job that loaded it. `cache` is a
budget of bytes on the node's disk, filled from other nodes that have the file, else from the shared store. Both drop
what was used longest ago, never what is in use. A transfer has the whole rate of its node, and a job that finds its
file being loaded there waits for that. Nothing here reads a clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from enum import Enum
from random import Random

import attrs

from hal_core.models.node import Cluster
from hal_core.models.staging import Tier, Tiers, tiers_of
from hal_core.sim.routes import Routes
from hal_core.sim.trace import Trace, TraceJob

ALL = -1
CACHE_BYTES = 10**12
"""Of each node, in the kind `cache`."""


class StoreKind(Enum):
    MEMORY = "memory"
    CACHE = "cache"


@attrs.define
class Moved:
    """What was moved in one run."""

    waited_s: float = 0.0
    """Jobs that had their nodes, and not yet their inputs."""
    hidden_s: float = 0.0
    """Transfers that were over before a job had its nodes, or the part of them that was."""
    store_s: float = 0.0
    """Transfers from the shared store."""
    remote_bytes: int = 0
    """Brought to a node from anywhere else."""
    wide_bytes: int = 0
    """Those that crossed the widest level of the topology."""


class _Node:
    """One node's store."""

    __slots__ = ("budget", "idle", "idle_weight", "used", "users")

    def __init__(self, budget: float) -> None:
        self.budget = budget
        """Bytes, or processors: the shares of memory."""
        self.used = 0.0
        self.users: dict[str, int] = {}
        """Files in use, and by how many jobs."""
        self.idle: OrderedDict[str, float] = OrderedDict()
        """Other files -> weight, the one that was used longest ago first."""
        self.idle_weight = 0.0


class Stores:
    """The stores of all nodes."""

    def __init__(self, kind: StoreKind, cluster: Cluster, trace: Trace) -> None:
        self._is_memory = kind is StoreKind.MEMORY
        self._routes = Routes(cluster)
        self._sizes = trace.sizes
        budgets = [node.cpu_count if self._is_memory else CACHE_BYTES for node in cluster.nodes]
        self._nodes = [_Node(budget) for budget in budgets]
        self._homes = _homes(trace.sizes, trace.replica_count, len(budgets))
        self._ready_s: dict[str, dict[int, float]] = {}
        """File -> node -> when it is, or will be, there."""
        self._ahead: dict[tuple[str, int], float] = {}
        """Files that were brought before a job had the node, by file and node: how long that takes."""
        self.moved = Moved()

    def stage_in(self, inputs: tuple[str, ...], now_s: float) -> Tiers:
        """As models.plan.Snapshot has it. Jobs of a trace read one file each."""
        (name,) = inputs
        homes, holders = self._homes.get(name, ()), self._ready_s.get(name, {})
        costs = {} if self._is_memory else self._routes.near(self._sizes[name], (*homes, *holders))
        for number in homes:
            costs[0.0] = costs.get(0.0, 0) | 1 << number
        for number, ready_s in holders.items():
            left_s = max(0.0, ready_s - now_s)
            costs[left_s] = costs.get(left_s, 0) | 1 << number
        return tiers_of({(cost_s, cost_s): nodes for cost_s, nodes in costs.items()}, Tier(ALL, self.full_s(inputs)))

    def full_s(self, inputs: Sequence[str]) -> float:
        """How long it takes to bring them all from afar."""
        return sum(self._routes.far_s(self._sizes[name]) for name in inputs)

    def start(self, job: TraceJob, number: int, now_s: float) -> float:
        """The job has the node. Returns how long it is there without its inputs."""
        (name,) = job.inputs
        if number in self._homes.get(name, ()):
            return 0.0
        node = self._nodes[number]
        ready_s = self._ready_s.setdefault(name, {}).get(number)
        if ready_s is None:
            ready_s = self._bring(name, number, now_s)
        if name in node.idle:
            node.idle_weight -= node.idle.pop(name)
        user_count = node.users.get(name, 0)
        node.users[name] = user_count + 1
        if self._is_memory or not user_count:
            node.used += self._weight(job)
        self._evict(number)
        stage_s = max(0.0, ready_s - now_s)
        self.moved.waited_s += stage_s
        self._credit(name, number, now_s)
        return stage_s

    def end(self, job: TraceJob, number: int) -> None:
        """The job gives the node back; its file stays as long as there is room."""
        (name,) = job.inputs
        if number in self._homes.get(name, ()):
            return
        node = self._nodes[number]
        node.users[name] -= 1
        is_last = not node.users[name]
        if self._is_memory or is_last:
            node.used -= self._weight(job)
        if is_last:
            del node.users[name]
            self._keep(number, name, self._weight(job))

    def bring_ahead(self, job: TraceJob, number: int, now_s: float) -> None:
        """A job that waits is likely to get the node: its file is brought while it waits, if there is room for it."""
        (name,) = job.inputs
        node, weight = self._nodes[number], self._weight(job)
        if number in self._homes.get(name, ()) or number in self._ready_s.get(name, {}):
            return
        if node.used + weight <= node.budget:
            self._ahead[name, number] = self._bring(name, number, now_s) - now_s
            self._keep(number, name, weight)

    def _bring(self, name: str, number: int, now_s: float) -> float:
        """Begin a transfer. Returns when it will be done: from a node that is still loading, not before that has it."""
        size, moved = self._sizes[name], self.moved
        holders = self._ready_s.setdefault(name, {})
        sources = dict.fromkeys(self._homes.get(name, ()), now_s)
        if not self._is_memory:
            sources |= holders
        moved.remote_bytes += size
        if sources:
            between_s = self._routes.between_s
            ready_s, source = min((max(t, now_s + between_s(size, at, number)), at) for at, t in sources.items())
            moved.wide_bytes += size if self._routes.is_wide(source, number) else 0
            self._credit(name, source, now_s)
        else:
            ready_s = now_s + self._routes.far_s(size)
            moved.store_s += ready_s - now_s
        holders[number] = ready_s
        return ready_s

    def _credit(self, name: str, number: int, now_s: float) -> None:
        """A job uses what was brought ahead: the part of the transfer that is over was hidden."""
        took_s = self._ahead.pop((name, number), None)
        if took_s is not None:
            self.moved.hidden_s += max(0.0, took_s - max(0.0, self._ready_s[name][number] - now_s))

    def _keep(self, number: int, name: str, weight: float) -> None:
        node = self._nodes[number]
        node.idle[name] = weight
        node.idle_weight += weight
        self._evict(number)

    def _evict(self, number: int) -> None:
        node = self._nodes[number]
        while node.idle and node.idle_weight + node.used > node.budget:
            name, weight = node.idle.popitem(last=False)
            node.idle_weight -= weight
            del self._ready_s[name][number]
            self._ahead.pop((name, number), None)

    def _weight(self, job: TraceJob) -> float:
        return job.processors if self._is_memory else self._sizes[job.inputs[0]]


def _homes(sizes: Mapping[str, int], replica_count: int, node_count: int) -> dict[str, tuple[int, ...]]:
    """The nodes that have each file for good, as in a distributed file system: at random, and always the same."""
    if not replica_count:
        return {}
    count = min(replica_count, node_count)
    return {name: tuple(Random(name).sample(range(node_count), count)) for name in sizes}  # noqa: S311  repeatable

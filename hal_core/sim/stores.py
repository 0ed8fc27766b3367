"""Where data is in a simulation: what each node's store holds, what bringing the rest takes, and what was brought.

Two kinds of store. `memory` is the authors' model of the locality workload (Gonthier, Larsson, Marchal, Nettelblad and
Thibault): a file lies in the node's memory until other jobs take the share of the job that loaded it. `cache` is a
budget of bytes on the node's disk, filled from other nodes that have the file, else from the shared store. Both drop
what was used longest ago, never what is in use, and a job that finds its file being loaded there waits for that. In
`memory` a transfer has the whole rate of its node, as the authors have it; in `cache` transfers share the links
(sim/links.py). Nothing here reads a clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from enum import Enum
from random import Random

import attrs

from hal_core.models.masks import mask_of
from hal_core.models.node import Cluster
from hal_core.models.staging import Tier, Tiers, tiers_of
from hal_core.sim.links import Links, Transfer
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
    """Transfers of their inputs, from where those were to where they started, while jobs waited in the queue."""
    possible_s: float = 0.0
    """What that would have been if each of these transfers had begun when its job was submitted."""
    store_s: float = 0.0
    """Transfers from the shared store, as if each had its links for itself."""
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
        self._links = Links()
        self._sizes = trace.sizes
        budgets = [node.cpu_count if self._is_memory else CACHE_BYTES for node in cluster.nodes]
        self._nodes = [_Node(budget) for budget in budgets]
        self._homes = _homes(trace.sizes, trace.replica_count, len(budgets))
        self._brought: dict[str, dict[int, Transfer]] = {}
        """File -> node -> what brings, or brought, it there."""
        self._ahead: dict[Transfer, tuple[str, int]] = {}
        """Under way before a job has the node: which file, and where to."""
        self.moved = Moved()

    # -- what the engine is told ---------------------------------------------------------------------------------------

    def stage_in(self, inputs: tuple[str, ...], now_s: float) -> Tiers:
        """As models.plan.Snapshot has it. Jobs of a trace read one file each."""
        (name,) = inputs
        homes, brought = self._homes.get(name, ()), self._brought.get(name, {})
        here = [*homes, *(number for number, transfer in brought.items() if transfer.has_come)]
        costs = {} if self._is_memory else self._routes.near(self._sizes[name], here)
        if here:
            costs[0.0] = mask_of(here)
        for number, transfer in brought.items() if len(here) < len(homes) + len(brought) else ():
            if not transfer.has_come:
                left_s = transfer.left_s(now_s)
                near = {} if self._is_memory else self._routes.near(self._sizes[name], (number,), left_s)
                for cost_s, nodes in (*near.items(), (left_s, 1 << number)):
                    costs[cost_s] = costs.get(cost_s, 0) | nodes
        wide = {} if self._is_memory else self._routes.wide(self._sizes[name], [*homes, *brought])
        for cost_s, nodes in wide.items():
            costs[cost_s] = costs.get(cost_s, 0) | nodes
        elsewhere = Tier(ALL, max(wide, default=self.full_s(inputs)))
        return tiers_of({(cost_s, cost_s): nodes for cost_s, nodes in costs.items()}, elsewhere)

    def full_s(self, inputs: Sequence[str]) -> float:
        """How long it takes to bring them all from afar, with nothing else under way."""
        return sum(self._routes.far_s(self._sizes[name]) for name in inputs)

    # -- what happens --------------------------------------------------------------------------------------------------

    def start(self, job: TraceJob, number: int, now_s: float) -> Transfer | None:
        """The job has the node. Returns what it waits for there."""
        (name,) = job.inputs
        if number in self._homes.get(name, ()):
            return None
        transfer = self._brought.setdefault(name, {}).get(number) or self._bring(name, number, now_s)
        self._use(number, name, self._weight(job))
        self._evict(number)
        if not transfer.has_come:
            return transfer
        self.count(job, transfer, now_s, now_s)
        return None

    def count(self, job: TraceJob, transfer: Transfer, start_s: float, now_s: float) -> None:
        """A job that got a node has its input there now."""
        hidden_s = transfer.passed_s(job.submit_s, start_s)
        self.moved.hidden_s += hidden_s
        self.moved.waited_s += now_s - start_s
        self.moved.possible_s += min(start_s - job.submit_s, hidden_s + now_s - start_s)

    def end(self, job: TraceJob, number: int) -> None:
        """The job gives the node back; its file stays as long as there is room."""
        (name,) = job.inputs
        if number not in self._homes.get(name, ()):
            self._leave(number, name, self._weight(job))

    def bring_ahead(self, job: TraceJob, number: int, now_s: float) -> None:
        """A job that waits is likely to get the node: its file is brought while it waits, if there is room for it."""
        (name,) = job.inputs
        node, weight = self._nodes[number], self._weight(job)
        if number in self._homes.get(name, ()) or number in self._brought.get(name, {}):
            return
        if node.used + weight <= node.budget:
            self._ahead[self._bring(name, number, now_s)] = name, number
            self._use(number, name, weight)
            self._evict(number)

    def next_s(self) -> float:
        """When the next transfer will be over."""
        return self._links.next_s()

    def over(self, now_s: float) -> Sequence[Transfer]:
        """Transfers that are over by now."""
        found = self._links.over(now_s)
        for transfer in found:
            if transfer in self._ahead:
                name, number = self._ahead.pop(transfer)
                self._leave(number, name, self._sizes[name])
        return found

    def _bring(self, name: str, number: int, now_s: float) -> Transfer:
        """Begin a transfer, from where it is expected to come soonest."""
        size, moved, routes = self._sizes[name], self.moved, self._routes
        brought = self._brought.setdefault(name, {})
        sources = [*self._homes.get(name, ()), *(() if self._is_memory else brought)]
        moved.remote_bytes += size
        if sources:
            source = min(sources, key=lambda at: self._expected_s(name, at, number, now_s))
            moved.wide_bytes += size if routes.is_wide(source, number) else 0
            more = routes.latency_bytes(source, number)
            transfer = Transfer(size + more, routes.ways(source, number), source=brought.get(source))
        else:
            whole_s = routes.far_s(size)
            moved.store_s += whole_s
            transfer = Transfer(size, () if self._is_memory else routes.ways_from_afar(number), size / whole_s)
        brought[number] = transfer
        self._links.begin(transfer, now_s)
        return transfer

    def _expected_s(self, name: str, source: int, target: int, now_s: float) -> float:
        """How long it will take from there, as busy as the ways are now."""
        before = self._brought[name].get(source)
        left_s = 0.0 if before is None else before.left_s(now_s)
        return max(left_s, self._sizes[name] / min(way.share for way in self._routes.ways(source, target)))

    def _use(self, number: int, name: str, weight: float) -> None:
        node = self._nodes[number]
        if name in node.idle:
            node.idle_weight -= node.idle.pop(name)
        user_count = node.users.get(name, 0)
        node.users[name] = user_count + 1
        if self._is_memory or not user_count:
            node.used += weight

    def _leave(self, number: int, name: str, weight: float) -> None:
        node = self._nodes[number]
        node.users[name] -= 1
        is_last = not node.users[name]
        if self._is_memory or is_last:
            node.used -= weight
        if is_last:
            del node.users[name]
            self._keep(number, name, weight)

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
            del self._brought[name][number]

    def _weight(self, job: TraceJob) -> float:
        return job.processors if self._is_memory else self._sizes[job.inputs[0]]


def _homes(sizes: Mapping[str, int], replica_count: int, node_count: int) -> dict[str, tuple[int, ...]]:
    """The nodes that have each file for good, as in a distributed file system: at random, and always the same."""
    if not replica_count:
        return {}
    count = min(replica_count, node_count)
    return {name: tuple(Random(name).sample(range(node_count), count)) for name in sizes}  # noqa: S311  repeatable

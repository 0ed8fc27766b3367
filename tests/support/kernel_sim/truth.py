"""What really runs on the nodes, whatever anybody believes: the witness that knows no event, no record and no state."""

from __future__ import annotations

from collections import Counter

from hal_core.models.effect import LaunchOrder
from hal_core.models.job import End, JobId
from hal_core.models.node import Node, NodeName
from hal_core.models.placement import AttemptKey
from hal_core.models.ranges import members, parse_ranges


class Truth:
    """Told by the machines when processes begin and are gone. Raises AssertionError when a promise is broken."""

    def __init__(self) -> None:
        self.running: dict[tuple[NodeName, AttemptKey], LaunchOrder] = {}
        self.outcome: dict[tuple[NodeName, AttemptKey], End] = {}
        """How processes went, as the machine itself saw it; without those that power took."""
        self.still: set[tuple[NodeName, AttemptKey]] = set()
        """Of those that run, what stands still."""
        self.counts: Counter[str] = Counter()
        self.staged: set[AttemptKey] = set()
        """Attempts of which it is on disk that their inputs are there; the checker fills it in."""
        self._begun: set[tuple[NodeName, AttemptKey]] = set()
        self._latest: dict[tuple[JobId, int], int] = {}
        self._of_element: dict[tuple[JobId, int], set[tuple[NodeName, AttemptKey]]] = {}
        self._of_node: dict[NodeName, dict[AttemptKey, tuple[set[int], set[int], int]]] = {}
        self._closed: dict[AttemptKey, str] = {}

    def begin(self, node: Node, order: LaunchOrder) -> None:
        """Processes of this part are started now."""
        key, name = order.key, node.name
        assert (name, key) not in self._begun, f"{key} was launched twice on {name}"
        assert key not in self._closed, f"{key} begins on {name} after {self._closed[key]}"
        assert not order.spec.inputs or key in self.staged, f"{key} begins on {name} without its inputs"
        element = (key.job_id, key.index)
        latest = self._latest.setdefault(element, key.attempt)
        assert key.attempt >= latest, f"{key} begins on {name} after attempt {latest} of the same element"
        self._latest[element] = key.attempt
        others = self._of_element.setdefault(element, set())
        for other_name, other in others:
            assert other.attempt == key.attempt, f"{key} begins on {name} while {other} runs on {other_name}"
        self._hold(node, order)
        self._begun.add((name, key))
        others.add((name, key))
        self.running[name, key] = order
        self.counts["begun"] += 1

    def _hold(self, node: Node, order: LaunchOrder) -> None:
        """Nobody else may be on these devices, and the memory must be enough for all."""
        share = order.share
        assert share.node == node.name, f"{order.key}: the share of {share.node} was sent to {node.name}"
        cpus, gpus = set(members(parse_ranges(share.cpus))), set(members(parse_ranges(share.gpus)))
        here = self._of_node.setdefault(node.name, {})
        for other, (other_cpus, other_gpus, _) in here.items():
            is_apart = (node.name, other) in self.still or not cpus & other_cpus
            assert is_apart, f"{order.key} and {other} run on the same CPUs of {node.name}"
            assert not gpus & other_gpus, f"{order.key} and {other} run on the same GPUs of {node.name}"
        memory = share.memory_bytes + sum(held for _, _, held in here.values())
        assert memory <= node.memory_bytes, f"{order.key}: {node.name} has not so much memory"
        here[order.key] = (cpus, gpus, share.memory_bytes)

    def suspend(self, node: NodeName, key: AttemptKey) -> None:
        """All processes of this part stand still."""
        self.still.add((node, key))
        self.counts["suspended"] += 1

    def resume(self, node: NodeName, key: AttemptKey) -> None:
        """They go on: nobody else may be on their CPUs."""
        self.still.discard((node, key))
        cpus = self._of_node[node][key][0]
        for other, (other_cpus, _, _) in self._of_node[node].items():
            is_apart = other == key or (node, other) in self.still or not cpus & other_cpus
            assert is_apart, f"{key} goes on at {node} on CPUs where {other} runs"
        self.counts["resumed"] += 1

    def end_suspended(self, node: NodeName, key: AttemptKey) -> None:
        """They go on to end: for as long as that takes they are on the CPUs of others, which is how it should be."""
        self.still.discard((node, key))
        _, gpus, memory_bytes = self._of_node[node][key]
        self._of_node[node][key] = (set(), gpus, memory_bytes)

    def gone(self, node: NodeName, key: AttemptKey, end: End | None) -> None:
        """Nothing of this part runs any more. `end` None: the power failed."""
        del self.running[node, key]
        self.still.discard((node, key))
        del self._of_node[node][key]
        self._of_element[key.job_id, key.index].discard((node, key))
        if end is not None:
            self.outcome[node, key] = end

    def has_begun(self, node: NodeName, key: AttemptKey) -> bool:
        return (node, key) in self._begun

    def runs_on(self, key: AttemptKey) -> list[NodeName]:
        """Where processes of the attempt are."""
        return [name for name, each in self._of_element.get((key.job_id, key.index), ()) if each == key]

    def close(self, key: AttemptKey, why: str) -> None:
        """The attempt is over for HAL: it must never begin anywhere."""
        self._closed[key] = why

"""Which devices are held, by the events alone: a third place beside the state and its columns that can disagree."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from hal_core.models.event import (
    ClusterDefined,
    Event,
    JobEnded,
    JobPlaced,
    JobRequeued,
    JobResumed,
    JobResumeRequested,
    JobSuspended,
)
from hal_core.models.job import JobId
from hal_core.models.node import Node, NodeName
from hal_core.models.placement import Share
from hal_core.models.ranges import count_of, members, parse_ranges
from hal_core.rules.state import State


@attrs.frozen
class Held:
    """What one element holds on one node."""

    cpus: frozenset[int]
    gpus: frozenset[int]
    memory_bytes: int


class Holdings:
    """Give it every event, in order."""

    def __init__(self) -> None:
        self.active: dict[tuple[JobId, int], dict[NodeName, Held]] = {}
        self.suspended: set[tuple[JobId, int]] = set()
        self.aside: set[tuple[JobId, int]] = set()
        """Of those, whose CPUs are free for anybody because a person wants it so."""
        self._nodes: dict[NodeName, Node] = {}

    def see(self, event: Event) -> None:
        match event:
            case ClusterDefined(cluster=cluster):
                self._nodes |= {node.name: node for node in cluster.nodes}
            case JobPlaced():
                self._placed(event)
            case JobSuspended(job_id=job_id, elements=elements, suspended_for=other):
                for index in members(elements):
                    may_be = self.active.keys() - (self.aside if other is None else self.suspended)
                    assert (job_id, index) in may_be, f"{job_id}.{index} does not run"
                    self.suspended.add((job_id, index))
                    if other is None:
                        self.aside.add((job_id, index))
            case JobResumeRequested(job_id=job_id, elements=elements):
                self.aside -= {(job_id, index) for index in members(elements)}
            case JobResumed(job_id=job_id, elements=elements):
                for index in members(elements):
                    self._resumed((job_id, index))
            case JobEnded(job_id=job_id, elements=elements):
                for index in members(elements):
                    self._gone((job_id, index))
            case JobRequeued(key=key):
                self._gone((key.job_id, key.index))
            case _:
                pass

    def _gone(self, element: tuple[JobId, int]) -> None:
        self.active.pop(element, None)
        self.suspended.discard(element)
        self.aside.discard(element)

    def beside(self, element: tuple[JobId, int]) -> Iterator[tuple[JobId, int]]:
        """Who else holds some of its CPUs."""
        for name, held in self.active[element].items():
            for other, shares in self.active.items():
                if other != element and other not in self.aside and name in shares and shares[name].cpus & held.cpus:
                    yield other

    def _resumed(self, element: tuple[JobId, int]) -> None:
        """Nobody may run on its CPUs."""
        assert element not in self.aside, f"{element} goes on, and nobody has asked for that"
        self.suspended.remove(element)
        for name, held in self.active[element].items():
            for other, shares in self.active.items():
                if other != element and other not in self.suspended and name in shares:
                    assert not shares[name].cpus & held.cpus, f"{element} goes on at {name} beside {other}"

    def _placed(self, event: JobPlaced) -> None:
        count = count_of(event.elements)
        for share in event.shares:
            for index, held in zip(members(event.elements), _chunks(share, count), strict=True):
                self._check(share.node, held)
                self.active.setdefault((event.job_id, index), {})[share.node] = held

    def _check(self, name: NodeName, new: Held) -> None:
        node = self._nodes[name]
        memory = new.memory_bytes
        for element, shares in self.active.items():
            if (other := shares.get(name)) is not None:
                is_apart = element in self.suspended or not new.cpus & other.cpus
                assert is_apart, f"CPUs of {name} are given twice, also to {element}"
                assert not new.gpus & other.gpus, f"GPUs of {name} are given twice, also to {element}"
                memory += other.memory_bytes
        assert not new.cpus or max(new.cpus) < node.cpu_count, f"{name} has no such CPU"
        assert not new.gpus or max(new.gpus) < len(node.gpus), f"{name} has no such GPU"
        assert memory <= node.memory_bytes, f"memory of {name} is given twice"

    def compare(self, state: State) -> None:
        """The state's columns say the same."""
        table = state.table
        gpus, memory = (dict.fromkeys(self._nodes, 0) for _ in range(2))
        cpus: dict[NodeName, set[int]] = {name: set() for name in self._nodes}
        for element, shares in self.active.items():
            for name, held in shares.items():
                cpus[name] |= held.cpus if element not in self.aside else frozenset()
                gpus[name] += len(held.gpus)
                memory[name] += held.memory_bytes
        for number, node in enumerate(table.nodes):
            name = node.name
            assert table.free_cpus[number] == node.cpu_count - len(cpus[name]), f"{name}: free CPUs"
            assert sum(table.free_gpus[number].values()) == len(node.gpus) - gpus[name], f"{name}: free GPUs"
            assert table.free_memory_bytes[number] == node.memory_bytes - memory[name], f"{name}: free memory"


def _chunks(share: Share, count: int) -> Iterator[Held]:
    """Element number k has the k-th chunk of the devices (models/placement.py)."""
    cpus, gpus = list(members(parse_ranges(share.cpus))), list(members(parse_ranges(share.gpus)))
    cpu_count, gpu_count = len(cpus) // count, len(gpus) // count
    for number in range(count):
        yield Held(
            frozenset(cpus[number * cpu_count : (number + 1) * cpu_count]),
            frozenset(gpus[number * gpu_count : (number + 1) * gpu_count]),
            share.memory_bytes,
        )

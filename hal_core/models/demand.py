"""What GPUs are asked for lately: the distribution over which fragmentation is expected (models/fragmentation.py).

A request weighs as much as the GPUs that it asks for: one for eight is rarer than one for a single device, and as much
is lost when nothing can hold it. Learned from the events as they come. Old requests fade: when WEIGHT_MAX is reached,
all weights are halved. What is typical is looked at again only now and then, so that what was computed with it stays
good for a while.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs

from hal_core.models.gpu_parts import MILLI
from hal_core.models.job import Shape

WEIGHT_MAX = 16_384 * MILLI
TYPICAL_MAX = 100
"""The most frequent requests that count."""
LOOK_EVERY = 512
FADE_EVERY = 64


class GpuRequest(NamedTuple):
    """One node's part of a request that needs GPUs: so many whole ones, or a share of one."""

    cpus: int
    memory_bytes: int
    gpus: int
    gpu_milli: int
    gpu_type: str


@attrs.define
class Demand:
    """Weights of requests. What it keeps is all that it decides by, so that a copy of its fields goes on alike."""

    weights: dict[GpuRequest, int] = attrs.Factory(dict)
    typical: tuple[tuple[GpuRequest, float], ...] = ()
    """The most frequent requests, each with its share of the demand."""
    seen: int = 0
    """Requests that were added so far."""
    next_look: int = 1
    """How many will have been added when `typical` is made anew."""
    version: int = 0
    """How often it was."""

    def add(self, shape: Shape, element_count: int = 1) -> None:
        """A job was submitted; nothing happens if it asks for no GPUs."""
        if not shape.gpus and not shape.gpu_milli:
            return
        request = GpuRequest(shape.cpus, shape.memory_bytes, shape.gpus, shape.gpu_milli, shape.gpu_type)
        times = min(element_count * shape.node_count, LOOK_EVERY)
        weight = times * (shape.gpus * MILLI + shape.gpu_milli)
        self.weights[request] = self.weights.get(request, 0) + weight
        self.seen += 1
        if not self.seen % FADE_EVERY and sum(self.weights.values()) >= WEIGHT_MAX:
            self.weights = {each: half for each, count in self.weights.items() if (half := count // 2)}
        if self.seen >= self.next_look:
            self._look()

    def _look(self) -> None:
        """After 1, 2, 4 ... requests, later after every so many."""
        self.next_look = self.seen + min(max(self.seen, 1), LOOK_EVERY)
        common = sorted(self.weights.items(), key=_rank)[:TYPICAL_MAX]
        total = sum(count for _, count in common)
        self.typical = tuple((request, count / total) for request, count in common)
        self.version += 1


def _rank(item: tuple[GpuRequest, int]) -> tuple[int, GpuRequest]:
    return -item[1], item[0]

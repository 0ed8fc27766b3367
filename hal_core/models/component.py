"""Components: what further nodes of one job are to have that asks for different things on different nodes."""

from __future__ import annotations

import attrs


@attrs.frozen
class Component:
    """One of them, beside the first, which the fields of JobSpec describe. All fields are as there.

    Its nodes are its own, and have whatever else the spec says of nodes: partition, exclusive, excluded.
    """

    node_count: int = 1
    task_count: int = 1
    cpus_per_task: int = 1
    memory_bytes_per_node: int = 0
    gpus_per_node: int = 0
    gpu_type: str = ""
    gpu_milli: int = 0
    features: tuple[str, ...] = ()
    alternatives: tuple[tuple[str, ...], ...] = ()

"""Variants: the sets of amounts that one job may run with, of which the planning chooses one (rules/variants.py)."""

from __future__ import annotations

import attrs


@attrs.frozen
class Variant:
    """One of them. All but the last are as in JobSpec."""

    node_count: int
    task_count: int
    cpus_per_task: int
    memory_bytes_per_node: int
    gpus_per_node: int
    gpu_type: str
    gpu_milli: int
    walltime_s: float | None
    run_ratio: float = 1.0
    """How long the job is expected to run with this, as a share of what it takes with the first."""
    partition: str = ""
    """Where it runs with this; empty: in the partition that the spec names."""


VARIED = tuple(field.name for field in attrs.fields(Variant) if field.name not in ("run_ratio", "partition"))
"""The fields of JobSpec that a variant decides."""

"""What bringing a job's datasets to each node takes, by what the catalogue knows of copies. Pure.

All that is missing on a node comes at one rate (`data.bandwidth` of the configuration). What is on its way counts as
missing: where it goes, another job with the same inputs is better off than is told here, never worse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hal_core.models.dataset import REFERENCE
from hal_core.models.staging import Tier, Tiers, tiers_of

if TYPE_CHECKING:
    from hal_core.rules.state import State

ALL = -1


def tiers(state: State, inputs: tuple[str, ...]) -> Tiers:
    """As models.plan.Snapshot has it. Kept until anything of the catalogue changes."""
    found = state.catalogue.tiers.get(inputs)
    if found is None:
        found = state.catalogue.tiers[inputs] = _tiers(state, inputs)
    return found


def _tiers(state: State, inputs: tuple[str, ...]) -> Tiers:
    catalogue, number_of = state.catalogue, state.table.number_of
    datasets = [catalogue.find(text.removeprefix(REFERENCE)) for text in inputs]
    sizes = {each.id: each.size_bytes for each in datasets if each is not None}
    total = sum(sizes.values())
    missing: dict[int, int] = {}
    for dataset_id, size_bytes in sizes.items():
        for node in catalogue.copies.get(dataset_id, ()):
            if node in number_of:
                number = number_of[node]
                missing[number] = missing.get(number, total) - size_bytes
    rate = state.cluster.stage_bytes_per_s
    costs: dict[tuple[float, float], int] = {}
    for number, left in missing.items():
        seconds = left / rate
        costs[seconds, seconds] = costs.get((seconds, seconds), 0) | 1 << number
    return tiers_of(costs, Tier(ALL, total / rate)) if total else ()

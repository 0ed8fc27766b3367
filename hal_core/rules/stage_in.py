"""What bringing a job's datasets to each node takes, by what the catalogue knows of copies and the topology. Pure.

What is missing on a node comes from the dataset's own replicas, at the rate that nodes were seen to have, or from
another node's copy by the link that the topology has between them, whichever costs less; without a topology, copies
elsewhere count for nothing, as do those of files without a digest, which are not lent. What is on its way counts as
missing: where it goes, another job with the same inputs is better off than is told here, never worse.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from hal_core.models.dataset import REFERENCE, Dataset
from hal_core.models.staging import Tier, Tiers, tiers_of, together

if TYPE_CHECKING:
    from hal_core.rules.state import State

ALL = -1


def tiers(state: State, inputs: tuple[str, ...]) -> Tiers:
    """As models.plan.Snapshot has it. Kept until anything changes that it was made of."""
    found = state.catalogue.tiers.get(inputs)
    return state.catalogue.tiers.put(inputs, _tiers(state, inputs)) if found is None else found


def _tiers(state: State, inputs: tuple[str, ...]) -> Tiers:
    datasets = [state.catalogue.find(text.removeprefix(REFERENCE)) for text in inputs]
    known = {each.id: each for each in datasets if each is not None and each.size_bytes}
    parts = [_of_dataset(state, each) for each in known.values()]
    return reduce(together, parts) if parts else ()


def _of_dataset(state: State, dataset: Dataset) -> Tiers:
    number_of, domains = state.table.number_of, state.packing.domains
    holders = [number_of[name] for name in state.catalogue.copies.get(dataset.id, ()) if name in number_of]
    far_s = dataset.size_bytes / state.catalogue.pace.rate(state.cluster.stage_bytes_per_s)
    costs: dict[tuple[float, float], int] = {}
    for number in holders:
        costs[0.0, 0.0] = costs.get((0.0, 0.0), 0) | 1 << number
    for depth in range(domains.depth_max, -1, -1) if domains is not None and not dataset.file_version else ():
        assert domains is not None
        seen = 0
        for number in holders:
            if seen >> number & 1:
                continue
            domain = domains.around(number, depth)
            seen |= domain.nodes
            key = domain.link.transfer_cost_s(dataset.size_bytes), domain.link.transfer_s(dataset.size_bytes)
            costs[key] = costs.get(key, 0) | domain.nodes
    return tiers_of(costs, Tier(ALL, far_s))

"""Where the copies of datasets are and what lies between: the cluster as data sees it. Pure.

Copies are counted for each domain of the topology. With very many of them the rest is left out and said to be: this is
for a picture.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from hal_core.models.topology import Link
    from hal_core.rules.state import State

COPIES_MAX: Final = 100_000


@attrs.frozen(kw_only=True)
class LinkFigures:
    """Between two nodes that share a domain of this level and no narrower one; without a name: that share none."""

    level: str
    latency_s: float
    bytes_per_s: float
    money_per_gb: float


@attrs.frozen(kw_only=True)
class DomainCopies:
    """`path` in the topology, from wide to narrow; empty where there is none."""

    path: tuple[str, ...]
    node_count: int
    copy_count: int
    size_bytes: int


@attrs.frozen(kw_only=True)
class LinkMap:
    links: tuple[LinkFigures, ...]
    """From the widest to the narrowest; empty without a topology."""
    domains: tuple[DomainCopies, ...]
    origin_bytes_per_s: float
    """How fast nodes get datasets from their own replicas, as was seen, or as configured."""
    dataset_count: int
    size_bytes: int
    """Of all datasets, each once."""
    is_partial: bool
    """Not all copies are counted."""
    sequence: int


def link_map(state: State) -> LinkMap:
    catalogue, table, topology = state.catalogue, state.table, state.cluster.topology
    place_of = {node.name: node.location for node in table.nodes}
    nodes = Counter(place_of.values())
    counts: Counter[tuple[str, ...]] = Counter()
    sizes: Counter[tuple[str, ...]] = Counter()
    left = COPIES_MAX
    for dataset_id, holders in catalogue.copies.items():
        if left <= 0:
            break
        left -= len(holders)
        dataset = catalogue.by_id.get(dataset_id)
        for node in holders:
            if node in place_of:
                counts[place_of[node]] += 1
                sizes[place_of[node]] += 0 if dataset is None else dataset.size_bytes
    links = [] if topology is None else [_figures("", topology.across)]
    links += [] if topology is None else [_figures(level.name, level.link) for level in topology.levels]
    return LinkMap(
        links=tuple(links),
        domains=tuple(
            DomainCopies(path=path, node_count=count, copy_count=counts[path], size_bytes=sizes[path])
            for path, count in nodes.items()
        ),
        origin_bytes_per_s=catalogue.pace.rate(state.cluster.stage_bytes_per_s),
        dataset_count=catalogue.named_count,
        size_bytes=sum(each.size_bytes for each in catalogue.named),
        is_partial=left <= 0,
        sequence=state.sequence,
    )


def _figures(name: str, link: Link) -> LinkFigures:
    return LinkFigures(
        level=name, latency_s=link.latency_s, bytes_per_s=link.bytes_per_s, money_per_gb=link.money_per_gb
    )

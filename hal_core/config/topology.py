"""The topology in the configuration: what its keys are, and the model that they mean together."""
# ruff: noqa: RUF009 - `setting` is attrs.field with metadata

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from math import prod

import attrs

from hal_core.config.kinds import MapOf, SectionOf, Text, choice, setting
from hal_core.config.scalars import MONEY
from hal_core.models.node import Node
from hal_core.models.topology import Level, LevelKind, Link, Topology
from hal_core.parsing.hosts import parse_hosts
from hal_core.parsing.names import parse_identifier
from hal_core.parsing.quantities import (
    format_bandwidth,
    format_latency,
    parse_bandwidth,
    parse_latency,
)
from hal_core.parsing.text import parse_count, wrong

DIMENSIONS_MAX = 6
LATENCY = Text("latency", parse_latency, format_latency)
BANDWIDTH = Text("bytes in a second", parse_bandwidth, format_bandwidth, {"type": "string"})
SEGMENT = Text("whole number", lambda text: parse_count(text, 1, 65_536), str, {"type": "integer", "minimum": 1})
Report = Callable[[str, str], None]
"""(path, what is wrong there)"""


def _parse_dimensions(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    sides = text.split("x")
    if len(sides) > DIMENSIONS_MAX:
        raise wrong(f"has {len(sides)} dimensions; at most {DIMENSIONS_MAX} are supported")
    return tuple(parse_count(side, 1, 4096) for side in sides)


def _parse_place(text: str) -> tuple[str, ...]:
    """The name of a domain, or a range of names."""
    return parse_hosts(text) if "[" in text else (parse_identifier(text),)


DIMENSIONS = Text("dimensions", _parse_dimensions, lambda sides: "x".join(map(str, sides)), takes_empty=True)
PLACE = Text("name or range", _parse_place, ",".join)


@attrs.frozen
class LevelSection:
    """One level: what lies between two nodes that share a domain of it, and no narrower one."""

    latency: float = setting(LATENCY, "from node to node: 2us", example="2us")
    bandwidth: int = setting(BANDWIDTH, "bytes in a second from node to node: 25G", example="25G")
    money_per_gb: float = setting(MONEY, "what a gigabyte costs on the way", 0.0)
    kind: LevelKind = setting(choice(LevelKind), "how the parts of such a domain are connected", LevelKind.TREE)
    dimensions: tuple[int, ...] = setting(DIMENSIONS, "of a torus: 8x8x4", ())
    segment: int = setting(SEGMENT, "of a block: wider gangs take a multiple of so many nodes from each", 1)


@attrs.frozen
class TopologySection:
    """How near nodes are to each other. The levels give the parts of `location` their meaning, widest first."""

    levels: Mapping[str, LevelSection] = setting(
        MapOf(parse_identifier, SectionOf(LevelSection)),
        "by name, the widest first; without any, all nodes are alike",
        {},
    )
    latency: float = setting(LATENCY, "between nodes that share no domain", 0.001)
    bandwidth: int = setting(BANDWIDTH, "between nodes that share no domain, bytes in a second", 2**30)
    money_per_gb: float = setting(MONEY, "what a gigabyte costs between them", 0.0)


def build_topology(section: TopologySection, report: Report) -> Topology | None:
    """None if no levels are described."""
    if not section.levels:
        return None
    levels = []
    for place, (name, each) in enumerate(section.levels.items(), 1):
        path = f"topology.levels.{name}"
        is_torus = each.kind is LevelKind.TORUS
        if is_torus and place < len(section.levels):
            report(f"{path}.kind", "only the narrowest level can be a torus, for its parts are nodes")
        if is_torus != bool(each.dimensions):
            text = "a torus needs its dimensions, such as 8x8x4" if is_torus else "only a torus has dimensions"
            report(f"{path}.dimensions", text)
        if each.segment > 1 and each.kind is not LevelKind.BLOCK:
            report(f"{path}.segment", "only a block has segments")
        link = Link(each.latency, float(each.bandwidth), each.money_per_gb)
        levels.append(Level(name, link, each.kind, each.dimensions, each.segment))
    return Topology(tuple(levels), Link(section.latency, float(section.bandwidth), section.money_per_gb))


def spread_locations(parts: Iterable[tuple[str, ...]], count: int) -> list[tuple[str, ...]] | None:
    """The location of each of so many nodes: with ranges, as many to each domain. None if they do not divide."""
    paths = list(product(*parts))
    if count % len(paths):
        return None
    each = count // len(paths)
    return [path for path in paths for _ in range(each)]


def check_locations(nodes: Iterable[Node], topology: Topology, report: Report) -> None:
    """Each node has a place at each level, and each torus as many nodes as it needs."""
    names = [level.name for level in topology.levels]
    sizes: dict[tuple[str, ...], int] = {}
    for node in nodes:
        if len(node.location) != len(names):
            text = f"the location of {node.name} has {len(node.location)} parts; the topology has {len(names)} levels"
            report("nodes", f"{text}: {', '.join(names)}")
            return
        sizes[node.location] = sizes.get(node.location, 0) + 1
    wanted = prod(topology.levels[-1].dimensions) if topology.levels[-1].dimensions else 0
    for path, size in sizes.items() if wanted else ():
        if size != wanted:
            text = f"{'/'.join(path)} has {size} nodes; its torus needs {wanted}"
            report(f"topology.levels.{names[-1]}.dimensions", text)

"""Slurm's topology as HAL's: trees of switches and blocks, from topology.conf or topology.yaml. Pure but for reading.

Slurm says which node is behind which switch and nothing about how fast the way is; HAL wants figures for each level.
They are put in by rule, each level four times as slow and half as wide as the one below, and are to be replaced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs

from hal_core.errors import InvalidInput, Problem
from hal_core.migration.findings import Findings
from hal_core.migration.slurm_lines import read_records, read_text
from hal_core.parsing.hosts import parse_hosts

NAMES: Final = {1: ("leaf",), 2: ("spine", "leaf"), 3: ("core", "spine", "leaf")}
LATENCY_NS: Final = 1000
BANDWIDTH_MIB: Final = 16_384
NOTE: Final = "latency and bandwidth of the levels are guesses: put in what you measure"


@attrs.frozen
class SlurmTopology:
    """`levels` as in HAL's YAML, widest first; `location_of` each node."""

    levels: dict[str, dict[str, Any]]
    location_of: dict[str, tuple[str, ...]]


NOWHERE: Final = SlurmTopology({}, {})


def read_topology(directory: Path, findings: Findings) -> SlurmTopology:
    """Of the file that is there; topology.yaml wins, as it does in Slurm."""
    if (path := directory / "topology.yaml").exists():
        return _from_yaml(path, findings)
    if (path := directory / "topology.conf").exists():
        return _from_lines(path, findings)
    return NOWHERE


def _from_lines(path: Path, findings: Findings) -> SlurmTopology:
    parent_of: dict[str, str] = {}
    switch_of: dict[str, str] = {}
    block_of: dict[str, str] = {}
    segment = 1
    for record in read_records(path):
        name, words = record.words.get(record.kind, ""), record.words
        setting = f"{record.written[record.kind]}={name}"
        match record.kind:
            case "switchname":
                parent_of |= dict.fromkeys(parse_hosts(words["switches"]) if "switches" in words else (), name)
                switch_of |= dict.fromkeys(parse_hosts(words["nodes"]) if "nodes" in words else (), name)
                findings.translated(record.place, setting, "a domain of the topology")
                if "linkspeed" in words:
                    findings.unsupported(record.place, f"LinkSpeed={words['linkspeed']}", NOTE)
            case "blockname":
                block_of |= dict.fromkeys(parse_hosts(words.get("nodes", "")), name)
                findings.translated(record.place, setting, "a block of the topology")
            case "blocksizes":
                segment = int(name.split(",")[0])
                findings.approximated(record.place, setting, f"segment: {segment}; HAL has one size of segments")
            case _:
                findings.unsupported(record.place, setting, "no setting of HAL's topology")
    return _blocks(path.name, block_of, segment, findings) or _tree(path.name, parent_of, switch_of, findings)


def _from_yaml(path: Path, findings: Findings) -> SlurmTopology:
    import yaml

    try:
        entries = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InvalidInput([Problem(str(path), f"is not YAML: {error}")]) from None
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise InvalidInput([Problem(str(path), "is not a list of topologies, as Slurm's topology.yaml is")])
    chosen = next((each for each in entries if each.get("cluster_default")), entries[0] if entries else {})
    for other in entries:
        setting = f"topology: {other.get('topology')}"
        if other is chosen:
            findings.translated(path.name, setting, "the topology")
        else:
            findings.unsupported(path.name, setting, "HAL has one topology: the cluster's default was taken")
    if "block" in chosen:
        blocks = chosen["block"]
        block_of = {node: each["block"] for each in blocks["blocks"] for node in parse_hosts(each["nodes"])}
        return _blocks(path.name, block_of, int((blocks.get("block_sizes") or [1])[0]), findings) or NOWHERE
    switches = (chosen.get("tree") or {}).get("switches") or []
    children = [(each["switch"], each["children"]) for each in switches if "children" in each]
    leaves = [(each["switch"], each["nodes"]) for each in switches if "nodes" in each]
    parent_of = {child: name for name, hosts in children for child in parse_hosts(hosts)}
    switch_of = {node: name for name, hosts in leaves for node in parse_hosts(hosts)}
    return _tree(path.name, parent_of, switch_of, findings)


def _blocks(place: str, block_of: dict[str, str], segment: int, findings: Findings) -> SlurmTopology | None:
    if not block_of:
        return None
    findings.approximated(place, "blocks", NOTE)
    level = _figures(1) | {"kind": "block", "segment": segment}
    return SlurmTopology({"block": level}, {node: (name,) for node, name in block_of.items()})


def _tree(place: str, parent_of: dict[str, str], switch_of: dict[str, str], findings: Findings) -> SlurmTopology:
    if not switch_of:
        return NOWHERE
    path_of = {switch: _path(place, switch, parent_of) for switch in set(switch_of.values())}
    depth = max(map(len, path_of.values()))
    if any(len(path) < depth for path in path_of.values()):
        text = "some leaves are fewer switches deep than others: their own name stands for the missing levels"
        findings.approximated(place, "SwitchName", text)
    findings.approximated(place, "switches", NOTE)
    names = NAMES.get(depth, tuple(f"level{number}" for number in range(1, depth + 1)))
    levels = {name: _figures(depth - number) for number, name in enumerate(names)}
    padded = {switch: path + (path[-1],) * (depth - len(path)) for switch, path in path_of.items()}
    return SlurmTopology(levels, {node: padded[switch] for node, switch in switch_of.items()})


def _path(place: str, switch: str, parent_of: dict[str, str]) -> tuple[str, ...]:
    """From the widest switch down to this one."""
    path = [switch]
    while (parent := parent_of.get(path[0])) is not None:
        if parent in path:
            raise InvalidInput([Problem(place, f"switch {parent} is below itself")])
        path.insert(0, parent)
    return tuple(path)


def _figures(width: int) -> dict[str, Any]:
    """Of the narrowest level (1) and those above it."""
    return {"latency": f"{LATENCY_NS * 4 ** (width - 1)}ns", "bandwidth": f"{BANDWIDTH_MIB >> (width - 1)}M"}

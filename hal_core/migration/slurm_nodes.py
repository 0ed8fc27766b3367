"""Slurm's nodes and partitions as HAL's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from hal_core.migration.findings import Findings
from hal_core.migration.slurm_lines import Record, is_yes
from hal_core.models.plural import plural
from hal_core.parsing.hosts import format_hosts, parse_hosts

OWN_DAEMONS: Final = "of Slurm's own daemons: HAL needs nothing for it"
_NODE_NETWORK: Final = ("nodeaddr", "nodehostname", "port", "boards", "state", "reason", "tmpdisk", "procs")
_NODE_READ: Final = ("nodename", "cpus", "sockets", "socketsperboard", "corespersocket", "threadspercore", "realmemory")
_UNLIMITED: Final = ("unlimited", "infinite")


@attrs.frozen
class SlurmNodes:
    """Groups as in HAL's YAML but for names and places; the names of each, and all features."""

    groups: list[tuple[tuple[str, ...], dict[str, Any]]]
    names: tuple[str, ...]
    sets: dict[str, tuple[str, ...]]


def read_nodes(records: Iterable[Record], findings: Findings) -> SlurmNodes:
    defaults: dict[str, str] = {}
    groups: list[tuple[tuple[str, ...], dict[str, Any]]] = []
    sets: dict[str, tuple[str, ...]] = {}
    of_feature: dict[str, list[str]] = {}
    for record in records:
        if record.kind == "nodeset":
            chosen = parse_hosts(record.words["nodes"]) if "nodes" in record.words else ()
            chosen += tuple(of_feature.get(record.words.get("feature", ""), ()))
            sets[record.words["nodeset"]] = tuple(dict.fromkeys(chosen))
            findings.translated(record.place, f"NodeSet={record.words['nodeset']}", "its nodes, where it is named")
            continue
        if record.kind != "nodename":
            continue
        if record.words["nodename"].upper() == "DEFAULT":
            defaults |= record.words
            continue
        words = {**defaults, **record.words}
        names = parse_hosts(words["nodename"])
        group = _node_group(record, words, findings)
        groups.append((names, group))
        for feature in group.get("features", ()):
            of_feature.setdefault(feature, []).extend(names)
        findings.translated(record.place, f"NodeName={words['nodename']}", plural(len(names), "node"))
    everybody = tuple(name for names, _ in groups for name in names)
    return SlurmNodes(groups, everybody, sets)


def _node_group(record: Record, words: Mapping[str, str], findings: Findings) -> dict[str, Any]:
    sockets = int(words.get("sockets", 0)) or int(words.get("boards", 1)) * int(words.get("socketsperboard", 1))
    cores = sockets * int(words.get("corespersocket", 1))
    cpus = int(words.get("cpus", words.get("procs", 0))) or cores * int(words.get("threadspercore", 1))
    memory_mb = int(words.get("realmemory", 1))
    for key, taken in (("corespeccount", "cpus"), ("memspeclimit", "memory")):
        if key in words:
            amount = int(words[key])
            cpus, memory_mb = (cpus - amount, memory_mb) if taken == "cpus" else (cpus, memory_mb - amount)
            findings.approximated(record.place, f"{record.written.get(key, key)}={amount}", f"left out of {taken}")
    group: dict[str, Any] = {"cpus": max(cpus, 1), "memory": f"{max(memory_mb, 1)}M"}
    group |= _gres(record, words.get("gres", ""), findings)
    if features := words.get("features", words.get("feature", "")):
        group["features"] = features.split(",")
    for key in record.words:
        setting = f"{record.written[key]}={record.words[key]}"
        if key == "weight":
            findings.unsupported(record.place, setting, "HAL packs by size and nearness; there are no weights")
        elif key == "state" and record.words[key].upper() not in ("UNKNOWN", "IDLE"):
            findings.approximated(record.place, setting, "after the start: `hal nodes drain`")
        elif key in _NODE_NETWORK:
            findings.unsupported("slurm.conf", record.written[key], OWN_DAEMONS)
        elif key not in (*_NODE_READ, "gres", "features", "feature", "corespeccount", "memspeclimit"):
            findings.unsupported(record.place, setting, "HAL has no such setting of a node")
    return group


def _gres(record: Record, text: str, findings: Findings) -> dict[str, Any]:
    gpus: list[str] = []
    generic: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, *words = part.partition("(")[0].split(":")
        count = int(words[-1]) if words and words[-1].isdecimal() else 1
        kind = words[0] if words and not words[0].isdecimal() else ""
        if name == "gpu":
            gpus.append(f"{kind or 'gpu'}:{count}")
            if not kind:
                findings.approximated(record.place, f"Gres={part}", "HAL's GPUs have a type: these are called `gpu`")
        elif name in ("shard", "mps"):
            findings.unsupported(record.place, f"Gres={part}", "HAL gives out shares of any GPU: nothing to declare")
        else:
            generic[name] = generic.get(name, 0) + count
    found: dict[str, Any] = {"gpus": gpus[0] if len(gpus) == 1 else gpus} if gpus else {}
    return found | ({"generic": generic} if generic else {})


def read_partitions(
    records: Iterable[Record], nodes: SlurmNodes, settings: Mapping[str, str], findings: Findings
) -> list[dict[str, Any]]:
    """As in HAL's YAML. `settings` are the cluster's own, which partitions may change."""
    defaults: dict[str, str] = {}
    modes: dict[str, str] = {}
    partitions: list[dict[str, Any]] = []
    for record in records:
        if record.kind != "partitionname":
            continue
        if record.words["partitionname"].upper() == "DEFAULT":
            defaults |= record.words
            continue
        words = {**defaults, **record.words}
        found: dict[str, Any] = {"name": words["partitionname"], "nodes": _nodes_of(words.get("nodes", ""), nodes)}
        if is_yes(words.get("default", "no")):
            found["default"] = True
        for key, name in (("maxtime", "walltime_max"), ("defaulttime", "walltime_default")):
            if (text := words.get(key, "unlimited")).lower() not in _UNLIMITED:
                found[name] = _walltime(text)
        memory_mb = int(words.get("defmempercpu", settings.get("defmempercpu", 0)))
        if memory_mb:
            found["memory_per_cpu"] = f"{memory_mb}M"
        if priority := int(words.get("prioritytier", words.get("priority", 0))):
            found["priority"] = priority
        if "gracetime" in words:
            found["preempt_grace"] = f"{int(words['gracetime'])}s"
        mode = modes[found["name"]] = preempt_mode(words.get("preemptmode", settings.get("preemptmode", "off")))
        if mode in PREEMPT_MODES and "preempttype" in settings:
            found["preempt_mode"] = mode
        partitions.append(found)
        findings.translated(record.place, f"PartitionName={found['name']}", "a partition")
        _rest_of_partition(record, findings)
    if settings.get("preempttype", "").endswith("partition_prio"):
        for each in partitions:
            lower = [other["name"] for other in partitions if other.get("priority", 0) < each.get("priority", 0)]
            if preempts := [name for name in lower if modes[name] in PREEMPT_MODES]:
                each["preempts"] = preempts
    return partitions


_PARTITION_READ: Final = (
    *("partitionname", "nodes", "default", "maxtime", "defaulttime", "defmempercpu", "prioritytier", "priority"),
    "gracetime",
)
PREEMPT_MODES: Final = ("requeue", "cancel", "suspend")
NO_GANGS: Final = "HAL does not let jobs take turns: set requeue, cancel or suspend"


def preempt_mode(text: str) -> str:
    """Slurm says GANG as well where it suspends, for its own scheduler."""
    mode = text.lower()
    return "suspend" if "suspend" in mode.split(",") else mode


def _rest_of_partition(record: Record, findings: Findings) -> None:
    for key, value in record.words.items():
        setting = f"{record.written[key]}={value}"
        if key == "state" and value.upper() == "UP":
            findings.translated(record.place, setting, "partitions are always up")
        elif key == "preemptmode" and preempt_mode(value) in (*PREEMPT_MODES, "off"):
            findings.translated(record.place, setting, "preempt_mode")
        elif key == "preemptmode":
            findings.unsupported(record.place, setting, NO_GANGS)
        elif key not in _PARTITION_READ:
            findings.unsupported(record.place, setting, "HAL has no such setting of a partition")


def _nodes_of(text: str, nodes: SlurmNodes) -> str:
    """As Slurm has them: hosts, node sets, or ALL."""
    if text.upper() == "ALL":
        return format_hosts(nodes.names)
    if text in nodes.sets:
        return format_hosts(nodes.sets[text])
    chosen = [name for each in parse_hosts(text) for name in nodes.sets.get(each, (each,))] if text else []
    return format_hosts(dict.fromkeys(chosen))


def _walltime(text: str) -> str:
    """Slurm's `30` and `30:00` are minutes; in HAL all has hours, so that nobody has to know."""
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, minutes, seconds = 0, *(*parts, 0)[:2]
    total = (int(days or 0) * 24 + hours) * 3600 + minutes * 60 + seconds
    return f"{total // 86400}-{total // 3600 % 24:02}:{total // 60 % 60:02}:{total % 60:02}"

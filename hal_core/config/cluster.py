"""The cluster that a configuration describes: groups become nodes, partitions find theirs, errors are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from hal_core.config.data import datasets_of
from hal_core.config.kinds import Notes
from hal_core.config.pinning import pins_of
from hal_core.config.pools import pools_of
from hal_core.config.scalars import GPUS_MAX
from hal_core.config.schema import PLANES, ConfigurationFile, PartitionSection
from hal_core.config.sharing import limits_of, sharing_of
from hal_core.config.topology import build_topology, check_locations, spread_locations
from hal_core.config.tuning import TuningSection
from hal_core.errors import did_you_mean
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName, Reservation
from hal_core.models.plugin import Load
from hal_core.parsing.durations import format_time_limit
from hal_core.parsing.hosts import HOSTS_MAX, format_hosts
from hal_core.parsing.text import shown


def build_cluster(file: ConfigurationFile, notes: Notes) -> Cluster:
    """Nodes and partitions in the order of the file. What is wrong is noted; the result is good only if nothing was."""
    nodes = _build_nodes(file, notes)
    if not file.nodes:
        notes.at("nodes", "there are no nodes; describe at least one")
    if not file.partitions:
        notes.at("partitions", "there are no partitions; name at least one")
    names = [partition.name for partition in file.partitions]
    defaults = [index for index, partition in enumerate(file.partitions) if partition.default]
    for index in defaults[1:]:
        notes.at(f"partitions[{index}].default", f"partition {names[defaults[0]]!r} is the default already")
    partitions = []
    for index, section in enumerate(file.partitions):
        if section.name in names[:index]:
            notes.at(f"partitions[{index}].name", f"partition {section.name!r} is named twice")
        partitions.append(_build_partition(section, f"partitions[{index}]", nodes, notes))
    _check_preemption(partitions, notes)
    if len(partitions) == 1 and not defaults:
        partitions = [_as_default(partitions[0])]
    topology = build_topology(file.topology, notes.at)
    if topology is not None:
        check_locations(nodes.values(), topology, notes.at)
    reservations = tuple(_build_reservation(file, index, nodes, notes) for index in range(len(file.reservations)))
    names_of = (file.cluster, tuple(nodes.values()), tuple(partitions))
    datasets = datasets_of(file.data.datasets, notes)
    given = {"reservations": reservations, "datasets": datasets} | sharing_of(file, notes)
    given["stage_bytes_per_s"] = float(file.data.bandwidth)
    given["pools"] = pools_of(file.pools, nodes, partitions, given["accounts"], notes)
    for index, pool in enumerate(file.pools):
        if pool.cloud not in file.clouds:
            hint = did_you_mean(pool.cloud, file.clouds)
            known = f"; there are: {', '.join(file.clouds) or 'none'}{hint}"
            notes.at(f"pools[{index}].cloud", f"no cloud {shown(pool.cloud)} under `clouds`{known}")
    return Cluster(*names_of, file.node_timeout, topology, **given)


def executors_of(sections: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, name of its plugin, its options): there may be several of one plugin, under names of their own."""
    for name, options in sections.items():
        own = {key: value for key, value in options.items() if key != "plugin"}
        yield name, str(options.get("plugin", name)), own


def check_plugins(sections: Mapping[str, Any], load: Load | None, notes: Notes) -> None:
    """Note every plugin that is not what was pinned, and every name chosen that nothing has registered."""
    if len(sections.get("predictors", ())) > 1:
        notes.at("predictors", f"one predictor at most; {' and '.join(sections['predictors'])} are named")
    if load is None or any(problem.text.startswith("plugins") for problem in notes.problems):
        return  # Also for what is to be refused, nothing is loaded of which it is not clear that it may be.
    pins = pins_of(sections.get("plugins", {}))
    installed = load(pins)
    for name in pins:
        why_not = installed.why_not.get(name)
        if why_not is None:
            hint = did_you_mean(name, installed.why_not)
            why_not = f"no plugin named {shown(name)}; installed: {', '.join(installed.why_not) or 'none'}{hint}"
        if why_not:
            notes.at(f"plugins.{name}", why_not)
    chosen = [("engine", "engine.name", sections["engine"].name)] if "engine" in sections else []
    tuning = sections.get("tuning", TuningSection())
    chosen += [("engine", f"tuning.engines.{name}", name) for name in tuning.engines]
    for key, plane in PLANES.items():
        chosen += [(plane, f"{key}.{name}", name) for name in sections.get(key, ()) if key != "executors"]
    chosen += [("executor", f"executors.{name}", each) for name, each, _ in executors_of(sections.get("executors", {}))]
    for plane, path, name in chosen:
        known = sorted(installed.names.get(plane, ()))
        if name not in known:
            hint = did_you_mean(name, known)
            notes.at(path, f"no {plane} named {shown(name)}; installed: {', '.join(known) or 'none'}{hint}")


def _build_nodes(file: ConfigurationFile, notes: Notes) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for index, group in enumerate(file.nodes):
        path = f"nodes[{index}]"
        gpus = tuple(gpu.type for gpu in group.gpus for _ in range(gpu.count))
        if len(gpus) > GPUS_MAX:
            notes.at(f"{path}.gpus", f"{len(gpus)} GPUs on one node; at most {GPUS_MAX} are allowed")
        if group.executor not in file.executors:
            known = f"; there are: {', '.join(file.executors) or 'none'}{did_you_mean(group.executor, file.executors)}"
            notes.at(f"{path}.executor", f"no executor {group.executor!r} under `executors`{known}")
        names = [name for part in group.names for name in part]
        addresses = [address for part in group.address for address in part] or [""] * len(names)
        if len(addresses) != len(names):
            notes.at(f"{path}.address", f"{len(addresses)} addresses for {len(names)} nodes; give one for each")
            return nodes
        if len(nodes) + len(names) > HOSTS_MAX:
            notes.at(f"{path}.names", f"there are more than {HOSTS_MAX} nodes")
            return nodes
        twice = [name for name in names if name in nodes] or ([] if len(set(names)) == len(names) else names[:1])
        if twice:
            notes.at(f"{path}.names", f"named twice: {format_hosts(twice)}; describe every node once")
        locations = spread_locations(group.location, len(names))
        if locations is None:
            notes.at(f"{path}.location", f"{len(names)} nodes cannot be shared out evenly over its ranges")
            return nodes
        for name, address, location in zip(names, addresses, locations, strict=True):
            nodes[name] = Node(
                name=NodeName(name),
                cpu_count=group.cpus,
                memory_bytes=group.memory,
                gpus=gpus,
                generic=tuple(sorted(group.generic.items())),
                features=group.features,
                location=location,
                executor=group.executor,
                address=address,
            )
    return nodes


def _build_partition(section: PartitionSection, path: str, nodes: Mapping[str, Node], notes: Notes) -> Partition:
    names = [name for part in section.nodes for name in part] or list(nodes)
    unknown = [name for name in names if name not in nodes]
    if unknown:
        hint = did_you_mean(unknown[0], list(nodes)[:1000])
        text = f"no such node: {shown(format_hosts(unknown))}{hint}; there are: {shown(format_hosts(nodes))}"
        notes.at(f"{path}.nodes", text)
    if len(set(names)) < len(names):
        notes.at(f"{path}.nodes", "a node is named twice; name every node once")
    most, default = section.walltime_max, section.walltime_default
    if most is not None and default is not None and default > most:
        text = f"{format_time_limit(default)} is more than walltime_max, {format_time_limit(most)}"
        notes.at(f"{path}.walltime_default", text)
    return Partition(
        name=PartitionName(section.name),
        nodes=tuple(NodeName(name) for name in names),
        is_default=section.default,
        walltime_s_max=most,
        walltime_s_default=default,
        memory_bytes_per_cpu_default=section.memory_per_cpu,
        priority=section.priority,
        limits=limits_of(section.limits),
        preempts=tuple(PartitionName(name) for name in section.preempts),
        preempt_mode=section.preempt_mode,
        preempt_exempt_s=section.preempt_exempt,
        preempt_grace_s=section.preempt_grace,
        money_per_cpu_hour=section.money_per_cpu_hour,
        money_per_gpu_hour=section.money_per_gpu_hour,
    )


def _build_reservation(file: ConfigurationFile, index: int, nodes: Mapping[str, Node], notes: Notes) -> Reservation:
    section, path = file.reservations[index], f"reservations[{index}]"
    names = [name for part in section.nodes for name in part]
    unknown = [name for name in names if name not in nodes]
    if unknown:
        notes.at(f"{path}.nodes", f"no such node: {shown(format_hosts(unknown))}{did_you_mean(unknown[0], nodes)}")
    if section.name in [each.name for each in file.reservations[:index]]:
        notes.at(f"{path}.name", f"reservation {section.name!r} is named twice")
    if section.every and section.every < section.duration:
        notes.at(f"{path}.every", "the next one would begin before the last has ended")
    if section.maintenance == bool(section.users or section.accounts):
        notes.at(path, "give users, accounts, or `maintenance: true`; maintenance is for nobody")
    return Reservation(
        name=section.name,
        nodes=tuple(NodeName(name) for name in dict.fromkeys(names)),
        start_time_s=section.start,
        duration_s=section.duration,
        every_s=section.every,
        until_s=section.until,
        users=section.users,
        accounts=section.accounts,
        comment=section.comment,
    )


def _check_preemption(partitions: Sequence[Partition], notes: Notes) -> None:
    """Every name is there and lower: otherwise a job that made room would come first again, and so for ever."""
    known = {partition.name: partition for partition in partitions}
    for index, partition in enumerate(partitions):
        for name in partition.preempts:
            text = ""
            if name not in known:
                text = f"no partition named {shown(name)}{did_you_mean(name, known)}"
            elif known[name].priority >= partition.priority:
                text = (
                    f"partition {name!r} has priority {known[name].priority}, {partition.name!r} {partition.priority}"
                )
                text += "; only lower ones can be preempted"
            if text:
                notes.at(f"partitions[{index}].preempts", text)


def _as_default(partition: Partition) -> Partition:
    return attrs.evolve(partition, is_default=True)

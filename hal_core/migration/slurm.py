"""A directory with Slurm's configuration becomes HAL's YAML, and a table of what each line of it became.

Read are slurm.conf, topology.conf or topology.yaml, gres.conf, cgroup.conf, and what `sacctmgr dump` wrote, if it lies
beside them as sacctmgr.dump. What comes out is checked as every configuration is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs

from hal_core.config.reading import parse_configuration
from hal_core.errors import InvalidInput, Problem
from hal_core.migration.findings import Findings
from hal_core.migration.slurm_accounts import read_accounts
from hal_core.migration.slurm_lines import Record, is_yes, read_records, read_text
from hal_core.migration.slurm_nodes import (
    NO_GANGS,
    OWN_DAEMONS,
    PREEMPT_MODES,
    SlurmNodes,
    preempt_mode,
    read_nodes,
    read_partitions,
)
from hal_core.migration.slurm_topology import SlurmTopology, read_topology
from hal_core.parsing.hosts import format_hosts

DUMP: Final = "sacctmgr.dump"
WEIGHTS: Final = {"priorityweightfairshare": "fair_share", "priorityweightjobsize": "size"}
"""Weights whose factor is between 0 and 1 in Slurm and in HAL."""
NO_SETTING: Final = "HAL has no such setting"
OF_SLURMS_OWN: Final = (
    *("slurm", "auth", "cred", "state", "proctrack", "task", "switch", "mpi", "mail", "jobacct", "jobcomp", "cgroup"),
    *("accountingstorage", "treewidth", "messagetimeout", "returntoservice", "debugflags", "logtime", "inactivelimit"),
)
"""How such settings begin."""
PLACES_READ: Final = ("nodename", "partitionname", "nodeset")


@attrs.frozen
class Imported:
    """`document` is HAL's configuration as plain values, in the order in which it should be written."""

    document: dict[str, Any]
    findings: Findings


def import_slurm(directory: Path, executor: str) -> Imported:
    """`executor` is who runs jobs on the nodes: `metal` where HAL takes over, `slurm` where Slurm stays."""
    findings = Findings()
    try:
        document = _document(directory, executor, findings)
    except (ValueError, KeyError) as error:
        text = f"cannot be understood: {error}" if isinstance(error, ValueError) else f"a line has no {error}"
        raise InvalidInput([Problem(str(directory), text)]) from None
    return Imported(document, findings)


def check_document(text: str, place: str) -> None:
    """That HAL would take it. Raises InvalidInput."""
    parse_configuration(text, place)


def _document(directory: Path, executor: str, findings: Findings) -> dict[str, Any]:
    records = list(read_records(directory / "slurm.conf"))
    own = [record for record in records if record.kind not in PLACES_READ]
    settings = {key: value for record in own for key, value in record.words.items()}
    nodes = read_nodes(records, findings)
    topology = read_topology(directory, findings)
    document: dict[str, Any] = {"cluster": settings.get("clustername", "hal")}
    document["nodes"] = _placed(nodes, topology, executor)
    document["partitions"] = read_partitions(records, nodes, settings, findings)
    if executor != "metal":
        _without_suspending(document["partitions"], findings)
    if topology.levels:
        document["topology"] = {"levels": topology.levels}
    for record in own:
        _setting(record, settings, document, findings)
    if (directory / DUMP).exists() and (accounts := read_accounts(read_text(directory / DUMP), DUMP, findings)):
        document["accounts"] = accounts
    for name in ("gres.conf", "cgroup.conf"):
        if (directory / name).exists():
            _of_machines(directory / name, findings)
    document["executors"] = {executor: {}}
    return document


def _without_suspending(partitions: list[dict[str, Any]], findings: Findings) -> None:
    """What HAL hands to Slurm is Slurm's to suspend."""
    for each in partitions:
        if each.get("preempt_mode") == "suspend":
            del each["preempt_mode"]
            text = "HAL cannot suspend what it hands to Slurm; it is queued again instead"
            findings.unsupported("slurm.conf", f"PreemptMode=SUSPEND of partition {each['name']}", text)


def _placed(nodes: SlurmNodes, topology: SlurmTopology, executor: str) -> list[dict[str, Any]]:
    """Nodes that are alike and in one place are one group, however many lines Slurm has for them."""
    groups: list[tuple[dict[str, Any], list[str]]] = []
    for names, like in nodes.groups:
        for name in names:
            place = topology.location_of.get(name, ())
            whole = like | ({"location": list(place)} if place else {})
            if not groups or groups[-1][0] != whole:
                groups.append((whole, []))
            groups[-1][1].append(name)
    who = {} if executor == "metal" else {"executor": executor}
    return [{"names": format_hosts(some)} | like | who for like, some in groups]


def _setting(record: Record, settings: dict[str, str], document: dict[str, Any], findings: Findings) -> None:
    """One line of the cluster's own settings."""
    for key, value in record.words.items():
        setting, place = f"{record.written[key]}={value}", record.place
        match key:
            case "clustername":
                findings.translated(place, setting, "cluster")
            case "defmempercpu":
                findings.translated(place, setting, "memory_per_cpu of each partition that has none of its own")
            case "licenses":
                counts = (part.partition("@")[0].partition(":")[::2] for part in value.split(","))
                document["licences"] = {name: int(count or 1) for name, count in counts}
                findings.translated(place, setting, "licences")
            case "schedulertype" if value.endswith("builtin"):
                document["engine"] = {"name": "fcfs"}
                findings.translated(place, setting, "engine: fcfs")
            case "schedulertype":
                document["engine"] = {"name": "easy"}
                findings.approximated(
                    place, setting, "engine: easy, which promises a start to the first job that waits"
                )
            case "prolog" | "epilog" if value.startswith("/"):
                document[key] = value
                findings.approximated(place, setting, f"{key}; it finds HAL_* in its environment, not SLURM_*")
            case "prioritytype" if value.endswith("basic"):
                findings.translated(place, setting, "the default order: by age")
            case "prioritytype":
                _priorities(record, settings, document, findings)
            case "priorityweightage" | "prioritymaxage" | "prioritydecayhalflife" | "priorityweightfairshare":
                findings.translated(place, setting, "priority")
            case "priorityweightjobsize":
                findings.translated(place, setting, "priority")
            case "preempttype" | "preemptmode":
                _preemption(record, key, findings)
            case "selecttype" | "selecttypeparameters" if "linear" not in value:
                findings.translated(place, setting, "always so: jobs share nodes; CPUs, memory and GPUs are given out")
            case "topologyplugin" | "grestypes":
                findings.translated(place, setting, "by what the nodes have")
            case _ if key.startswith(OF_SLURMS_OWN):
                findings.unsupported(place, setting, OWN_DAEMONS)
            case _:
                findings.unsupported(place, setting, NO_SETTING)


def _preemption(record: Record, key: str, findings: Findings) -> None:
    value = record.words[key].lower()
    setting, place = f"{record.written[key]}={record.words[key]}", record.place
    if key == "preemptmode" and preempt_mode(value) not in (*PREEMPT_MODES, "off"):
        findings.unsupported(place, setting, NO_GANGS)
    elif value.endswith("qos"):
        findings.unsupported(place, setting, "name those whom it preempts at each quality of service (qos: preempts)")
    else:
        findings.translated(place, setting, "preempts and preempt_mode of the partitions")


def _priorities(record: Record, settings: dict[str, str], document: dict[str, Any], findings: Findings) -> None:
    """A weight in HAL is the time that one would have to wait for the same. In Slurm waiting for PriorityMaxAge gives
    PriorityWeightAge points, so a point is worth their quotient."""
    age_s = _slurm_time_s(settings.get("prioritymaxage", "7-0"))
    weight_age = int(settings.get("priorityweightage", 0))
    weights = {name: int(settings.get(key, 0)) for key, name in WEIGHTS.items()}
    setting = f"PriorityType={record.words['prioritytype']}"
    if not any(weights.values()):
        findings.translated(record.place, setting, "the default order: by age, for no other weight is set")
        return
    half_life_s = _slurm_time_s(settings.get("prioritydecayhalflife", "7-0"))
    document["priority"] = {"order": "weighted", "half_life": f"{half_life_s}s", "age_max": f"{age_s}s"}
    document["priority"] |= {name: f"{each * age_s // (weight_age or 1)}s" for name, each in weights.items() if each}
    if weight_age:
        findings.translated(record.place, setting, "priority: weighted; weights are times that waiting would be worth")
    else:
        findings.approximated(
            record.place, setting, "PriorityWeightAge is 0, but in HAL waiting always counts a little"
        )


def _slurm_time_s(text: str) -> int:
    days, _, clock = text.rpartition("-")
    if not days:  # minutes, or minutes:seconds, or hours:minutes:seconds
        parts = [int(part) for part in clock.split(":")]
        return parts[0] * 60 if len(parts) == 1 else sum(each * 60**place for place, each in enumerate(parts[::-1]))
    hours, minutes, seconds = (*(int(part) for part in clock.split(":")), 0, 0)[:3]
    return int(days) * 86_400 + hours * 3600 + minutes * 60 + seconds


def _of_machines(path: Path, findings: Findings) -> None:
    """What HAL's agents find out on their machines."""
    for record in read_records(path):
        for key, value in record.words.items():
            setting = f"{record.written[key]}={value}"
            if key in ("constrainramspace", "constraincores", "constraindevices") and is_yes(value):
                findings.translated(record.place, setting, "HAL's agents do so wherever the machine can")
            elif key.startswith("constrain"):
                findings.approximated(record.place, setting, "HAL's agents hold jobs to what they asked for anyway")
            elif path.name == "gres.conf" and key in ("file", "autodetect"):
                findings.approximated(record.place, setting, "HAL gives out GPUs by index, 0 and up, on each node")
            elif path.name == "gres.conf" and key in ("name", "type", "nodename", "count"):
                findings.translated(record.place, setting, "by Gres= of the nodes")
            else:
                findings.unsupported(record.place, setting, OWN_DAEMONS)

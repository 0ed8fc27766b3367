"""A configuration without a file: this machine, described as one node or as several emulated ones.

`describe_machine` is pure; `read_machine_facts` is the thin shell that asks the system.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Final

import attrs

from hal_core.config.configuration import Configuration
from hal_core.config.kinds import Notes
from hal_core.config.listening import ListenSection
from hal_core.config.reading import configuration_of
from hal_core.config.scalars import GPU_TYPE_DEFAULT
from hal_core.config.schema import ConfigurationFile, Nodes, PartitionSection
from hal_core.errors import InvalidInput, Problem
from hal_core.parsing.hosts import parse_hosts
from hal_core.parsing.resources import Gpus

MACHINE_NODES_MAX: Final = 1000
_GPU_DEVICE = re.compile("nvidia[0-9]+")


@attrs.frozen
class MachineFacts:
    """What this machine has that HAL may use."""

    host: str
    cpu_count: int
    memory_bytes: int
    gpu_count: int = 0
    gpu_type: str = GPU_TYPE_DEFAULT


def describe_machine(facts: MachineFacts, state_directory: str, listen: str, node_count: int = 1) -> Configuration:
    """One partition `main` with the whole machine; with `node_count` > 1, equal nodes n1, n2 ... that share it.

    An emulated node has at least one CPU and 64 MiB, so many of them may promise more than there is: only for trials.
    """
    if not 1 <= node_count <= MACHINE_NODES_MAX:
        raise InvalidInput([Problem("--nodes", f"{node_count} is out of range; it can be 1 to {MACHINE_NODES_MAX}")])
    names = (_node_name(facts.host),) if node_count == 1 else parse_hosts(f"n[1-{node_count}]")
    gpus_per_node, more = divmod(facts.gpu_count, node_count)
    mebibytes = max(facts.memory_bytes // node_count >> 20, 64)
    groups = []
    for part, gpu_count in ((names[:more], gpus_per_node + 1), (names[more:], gpus_per_node)):
        if part:
            gpus = (Gpus(gpu_count, facts.gpu_type),) if gpu_count else ()
            cpus = max(facts.cpu_count // node_count, 1)
            groups.append(Nodes(names=(part,), cpus=cpus, memory=mebibytes << 20, gpus=gpus))
    file = ConfigurationFile(
        cluster="dev",
        nodes=tuple(groups),
        partitions=(PartitionSection(name="main"),),
        listen=ListenSection(socket=listen, mode=0o600),
        state_directory=state_directory,
    )
    return configuration_of(file, Notes())


def read_machine_facts(devices: str = "/dev") -> MachineFacts:
    """CPUs that this process may use, memory, and NVIDIA devices."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    gpu_count = sum(1 for path in Path(devices).glob("nvidia*") if _GPU_DEVICE.fullmatch(path.name))
    return MachineFacts(socket.gethostname(), len(os.sched_getaffinity(0)), pages, gpu_count)


def _node_name(host: str) -> str:
    """The host name without its domain, as far as it can name a node."""
    short = re.sub("[^A-Za-z0-9-]", "-", host.partition(".")[0]).strip("-")
    return short[:63].rstrip("-") or "localhost"

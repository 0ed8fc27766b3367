"""Where on this machine cgroups can be made: v2, v1, and the hybrid of both. Found out by who starts the launcher.

What the machine does not offer is put into words for people; nothing fails because of it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

LIMITS = {"memory": "memory limits", "cpu": "CPU limits", "pids": "process count limits"}


def this_machine(directory: Path) -> dict[str, str]:
    """The bases that this process may use; their name is derived from the agent's state directory."""
    name = f"hal-{zlib.crc32(os.fsencode(os.path.realpath(directory))):08x}"
    return bases(Path("/proc/self/mounts").read_text(), Path("/proc/self/cgroup").read_text(), name)


def bases(mounts: str, own: str, name: str) -> dict[str, str]:
    """A directory for groups by controller, made if need be. `unified` is that of v2; a controller may be in it too.

    `mounts` and `own` are the texts of /proc/self/mounts and /proc/self/cgroup. `name` keeps agents on one machine
    apart.
    """
    rows = [line.split(":", 2) for line in own.splitlines() if line.count(":") >= 2]
    own_paths = {controller: path.rstrip("/") for _, names, path in rows for controller in names.split(",")}
    found: dict[str, str] = {}
    for _, mount, kind, options, *_ in (line.split() for line in mounts.splitlines()):
        if kind == "cgroup2":
            found |= _unified(mount, name)
        elif kind == "cgroup":
            for controller in {*LIMITS, "freezer"}.intersection(options.split(",")):
                # Below our own group, so that a limit on the agent (a container's) holds for its jobs too.
                directory = f"{mount}{own_paths.get(controller, '')}/{name}"
                if _is_ours(directory):
                    found[controller] = directory
    return found


def remove_bases(found: Mapping[str, str]) -> None:
    """When the last attempt is over for good."""
    for directory in found.values():
        with suppress(OSError):
            os.rmdir(directory)


def missing(found: Mapping[str, str]) -> list[str]:
    """What cannot be limited or killed as a whole here, in words."""
    texts = [
        f"{what}: no cgroup controller '{controller}' that this agent may use"
        for controller, what in LIMITS.items()
        if controller not in found
    ]
    if not found.keys() & {"unified", "freezer"}:
        texts.append("kill by cgroup: processes of a job are found by their parents instead")
    return texts


def _unified(mount: str, name: str) -> dict[str, str]:
    directory = f"{mount}/{name}"
    if not _is_ours(directory) or not os.path.exists(directory + "/cgroup.kill"):
        return {}
    found = {"unified": directory}
    for controller in LIMITS:
        with suppress(OSError):  # This controller belongs to v1 here, or the mount's root is not ours.
            for place in (mount, directory):
                with open(place + "/cgroup.subtree_control", "r+b", buffering=0) as file:
                    file.write(b"+" + controller.encode())
            found[controller] = directory
    return found


def _is_ours(directory: str) -> bool:
    with suppress(OSError):
        os.makedirs(directory, 0o755, exist_ok=True)
        return os.access(directory, os.W_OK)
    return False

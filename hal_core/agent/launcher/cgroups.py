"""Limits and the kill of a whole tree by cgroup: v2, v1, and the hybrid of both (v1 limits, v2 kill).

What the machine does not offer is listed in `missing`, for people to see; nothing here fails because of it. A group is
made for one attempt and removed at its end. Memory is charged from the first page, because a process joins before exec.
"""

from __future__ import annotations

import os
import signal
import time
import zlib
from contextlib import suppress

CPU_PERIOD_US = 100_000
REMOVE_TRIES = 50


class Cgroups:
    """The hierarchies of this machine in which groups can be made. `name` keeps agents on one machine apart."""

    def __init__(self, mounts: str, own: str, name: str) -> None:
        """`mounts` and `own` are the texts of /proc/self/mounts and /proc/self/cgroup."""
        self.directories: dict[str, str] = {}
        """Base directory by v1 controller; `unified` is that of v2."""
        self.unified_controllers: frozenset[str] = frozenset()
        self.missing: list[str] = []
        own_paths = {
            controller: path
            for _, names, path in _split_lines(own)
            for controller in (names.split(",") if names else ())
        }
        for kind, directory, options in _cgroup_mounts(mounts):
            if kind == "cgroup2":
                self._offer_unified(directory, name)
                continue
            for controller in ("memory", "cpu", "pids", "freezer"):
                if controller in options:
                    # Below our own group, so that a limit on the agent (a container's) holds for its jobs too.
                    self._offer(controller, directory + own_paths.get(controller, "/").rstrip("/") + "/" + name)
        for controller, what in (("memory", "memory limits"), ("cpu", "CPU limits"), ("pids", "process count limits")):
            if controller not in self.directories and controller not in self.unified_controllers:
                self.missing.append(f"{what}: no cgroup controller '{controller}' that this agent may use")
        if not self.can_kill:
            self.missing.append("kill by cgroup: processes of a job are found by their parents instead")

    @property
    def can_kill(self) -> bool:
        return "unified" in self.directories or "freezer" in self.directories

    def group(self, key: str) -> Group:
        return Group(self, key)

    def remove(self) -> None:
        """Remove the base groups, when the last attempt is over for good."""
        for directory in self.directories.values():
            with suppress(OSError):
                os.rmdir(directory)

    def _offer(self, controller: str, directory: str) -> None:
        try:
            os.makedirs(directory, 0o755, exist_ok=True)
            if os.access(directory, os.W_OK):
                self.directories[controller] = directory
        except OSError:
            pass  # Not permitted: listed as missing by the caller.

    def _offer_unified(self, mount: str, name: str) -> None:
        directory = f"{mount}/{name}"
        self._offer("unified", directory)
        if self.directories.get("unified") != directory or not os.path.exists(directory + "/cgroup.kill"):
            self.directories.pop("unified", None)
            return
        for controller in ("memory", "cpu", "pids"):
            try:
                _write(mount + "/cgroup.subtree_control", f"+{controller}")
                _write(directory + "/cgroup.subtree_control", f"+{controller}")
                self.unified_controllers |= {controller}
            except OSError:
                pass  # This controller belongs to v1 here, or the mount's root is not ours.


class Group:
    """The groups of one attempt, one in each hierarchy that is needed."""

    def __init__(self, cgroups: Cgroups, key: str) -> None:
        self._cgroups = cgroups
        self._key = key

    def create(self, memory_bytes: int, cpu_quota: int, pids_max: int) -> list[int]:
        """Make the groups and set the limits (0: none). Returns the descriptors by which a child joins.

        A limit for which the machine has no controller is left out: that it is missing was said when the node joined.
        """
        needed: dict[str, list[tuple[str, str]]] = {}
        unified = self._cgroups.unified_controllers
        if "unified" in self._cgroups.directories:
            needed["unified"] = []
        elif "freezer" in self._cgroups.directories:
            needed["freezer"] = []
        if memory_bytes and "memory" in unified:
            needed["unified"] += [("memory.max", str(memory_bytes)), ("?memory.swap.max", "0")]
        elif memory_bytes:
            limit = str(memory_bytes)
            needed["memory"] = [("memory.limit_in_bytes", limit), ("?memory.memsw.limit_in_bytes", limit)]
        if cpu_quota and "cpu" in unified:
            needed["unified"].append(("cpu.max", f"{cpu_quota * CPU_PERIOD_US} {CPU_PERIOD_US}"))
        elif cpu_quota:
            period, quota = str(CPU_PERIOD_US), str(cpu_quota * CPU_PERIOD_US)
            needed["cpu"] = [("cpu.cfs_period_us", period), ("cpu.cfs_quota_us", quota)]
        if pids_max:
            where = "unified" if "pids" in unified else "pids"
            needed.setdefault(where, []).append(("pids.max", str(pids_max)))
        descriptors = []
        for controller, settings in needed.items():
            if (path := self._path(controller)) is None:
                continue
            os.makedirs(path, 0o755)
            for file, value in settings:
                _write(f"{path}/{file.lstrip('?')}", value, is_optional=file.startswith("?"))
            descriptors.append(os.open(path + "/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        return descriptors

    def exists(self) -> bool:
        return any(os.path.isdir(path) for path in self._paths())

    def pids(self) -> list[int]:
        for controller in ("unified", "freezer"):
            if (path := self._path(controller)) is not None:
                return [int(pid) for pid in _read(path + "/cgroup.procs").split()]
        return []

    def kill(self) -> None:
        """SIGKILL to every process, with no race against forks."""
        unified, freezer = self._path("unified"), self._path("freezer")
        if unified is not None:
            _write(unified + "/cgroup.kill", "1", is_optional=True)
        elif freezer is not None:
            _write(freezer + "/freezer.state", "FROZEN", is_optional=True)
            for pid in self.pids():
                # Frozen: it cannot end before the signal, so its id cannot have been given to another process.
                _kill_pid(pid)
            _write(freezer + "/freezer.state", "THAWED", is_optional=True)

    def oom_kill_count(self) -> int:
        for controller, file in (("unified", "memory.events"), ("memory", "memory.oom_control")):
            if (path := self._path(controller)) is not None:
                for line in _read(f"{path}/{file}").splitlines():
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        return 0

    def peak_memory_bytes(self) -> int | None:
        for controller, file in (("unified", "memory.peak"), ("memory", "memory.max_usage_in_bytes")):
            if (path := self._path(controller)) is not None and (text := _read(f"{path}/{file}").strip()):
                return int(text)
        return None

    def remove(self) -> None:
        """Remove the groups; they are empty but for processes that the kernel is still taking down."""
        for path in self._paths():
            for _ in range(REMOVE_TRIES):
                try:
                    os.rmdir(path)
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)
                else:
                    break

    def _path(self, controller: str) -> str | None:
        base = self._cgroups.directories.get(controller)
        return f"{base}/{self._key}" if base is not None else None

    def _paths(self) -> list[str]:
        return [f"{base}/{self._key}" for base in self._cgroups.directories.values()]


def this_machine(directory: str) -> Cgroups:
    """The hierarchies that this process may use; the name is derived from the agent's state directory."""
    name = f"hal-{zlib.crc32(os.fsencode(os.path.realpath(directory))):08x}"
    return Cgroups(_read("/proc/self/mounts"), _read("/proc/self/cgroup"), name)


def _cgroup_mounts(mounts: str) -> list[tuple[str, str, list[str]]]:
    rows = [line.split() for line in mounts.splitlines()]
    return [(row[2], row[1], row[3].split(",")) for row in rows if len(row) > 3 and row[2] in ("cgroup", "cgroup2")]


def _split_lines(own: str) -> list[list[str]]:
    return [line.split(":", 2) for line in own.splitlines() if line.count(":") >= 2]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str, is_optional: bool = False) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError:
        if not is_optional:
            raise


def _kill_pid(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

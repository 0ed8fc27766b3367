"""Limits and the kill of a whole tree by cgroup: v2, v1, and the hybrid of both (v1 limits, v2 kill).

Where groups can be made, the agent found out (agent/hierarchies.py). A group is made for one attempt and removed at its
end. Memory is charged from the first page, because a process joins before exec.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

CPU_PERIOD_US = 100_000
"""The kernel's own default, which is therefore not written."""
REMOVE_TRIES = 50


class Group:
    """The groups of one attempt, one in each hierarchy that is needed.

    `bases` are the directories for groups by controller; `unified` is that of v2, and controllers may be in it too.
    """

    def __init__(self, bases: dict[str, str], key: str) -> None:
        self._paths = {controller: f"{base}/{key}" for controller, base in bases.items()}
        self._unified = self._paths.get("unified")

    def create(self, memory_bytes: int, cpu_quota: int, pids_max: int) -> list[int]:
        """Make the groups and set the limits (0: none). Returns the descriptors by which a child joins.

        A limit for which the machine has no controller is left out: that it is missing was said when the node joined.
        """
        needed: dict[str, list[tuple[str, int]]] = {}
        if (killer := self._unified or self._paths.get("freezer")) is not None:
            needed[killer] = []
        for controller, limit in (("memory", memory_bytes), ("cpu", cpu_quota * CPU_PERIOD_US), ("pids", pids_max)):
            if limit and (path := self._paths.get(controller)) is not None:
                settings = _settings_v2 if path == self._unified else _settings_v1
                needed.setdefault(path, []).extend(settings(controller, limit))
        descriptors = []
        for path, values in needed.items():
            os.makedirs(path, 0o755)
            for file, value in values:
                _write(f"{path}/{file.lstrip('?')}", str(value), is_optional=file.startswith("?"))
            descriptors.append(os.open(path + "/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        return descriptors

    def kill(self) -> None:
        """SIGKILL to every process, with no race against forks. Nothing happens without such a group."""
        freezer = self._paths.get("freezer")
        if self._unified is not None:
            _write(self._unified + "/cgroup.kill", "1", is_optional=True)
        elif freezer is not None:
            _write(freezer + "/freezer.state", "FROZEN", is_optional=True)
            for pid in _read(freezer + "/cgroup.procs").split():
                # Frozen: it cannot end before the signal, so its id cannot have been given to another process.
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _write(freezer + "/freezer.state", "THAWED", is_optional=True)

    def oom_kill_count(self) -> int:
        for line in self._text("memory.events", "memory.oom_control").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def peak_memory_bytes(self) -> int | None:
        text = self._text("memory.peak", "memory.max_usage_in_bytes")
        return int(text) if text else None

    def remove(self) -> None:
        """Remove the groups; they are empty but for processes that the kernel is still taking down."""
        for path in self._paths.values():
            for _ in range(REMOVE_TRIES):
                try:
                    os.rmdir(path)
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)

    def _text(self, v2: str, v1: str) -> str:
        """What the memory controller says in the file of that name; empty without one."""
        path = self._paths.get("memory")
        return _read(f"{path}/{v2 if path == self._unified else v1}").strip() if path is not None else ""


def _settings_v1(controller: str, limit: int) -> list[tuple[str, int]]:
    """Files and what to write into them; `?` marks what not every kernel has."""
    if controller == "memory":
        return [("memory.limit_in_bytes", limit), ("?memory.memsw.limit_in_bytes", limit)]
    return [("cpu.cfs_quota_us" if controller == "cpu" else "pids.max", limit)]


def _settings_v2(controller: str, limit: int) -> list[tuple[str, int]]:
    swap = [("?memory.swap.max", 0)] if controller == "memory" else []
    return [(f"{controller}.max", limit), *swap]


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

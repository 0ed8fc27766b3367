"""What something costs: wall time, and the CPU time of a process tree by name, with everybody else's use beside it.

Wall time alone says little on a machine that others use as well. Read from /proc only; nothing is instrumented.
"""

from __future__ import annotations

import os
import resource
import time
from collections import defaultdict
from types import TracebackType
from typing import Self

from tests.support.processes import TICKS_PER_S, members_of


class Meter:
    """`with Meter(tree.pid) as meter: ...`; afterwards the attributes hold what was used in between.

    `cpu_s` is exact for processes that ended and were waited for within the tree. `client_cpu_s` is that of this
    very process and its ended children, which `cpu_s` leaves out. `others_cores` is the mean number of cores that
    processes outside of both were using.
    """

    elapsed_s: float
    cpu_s: float
    cpu_s_by_name: dict[str, float]
    client_cpu_s: float
    others_cores: float

    def __init__(self, root: int) -> None:
        self._root = root

    def __enter__(self) -> Self:
        self._before = self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.read()

    def read(self) -> None:
        """Set the attributes to what was used up to now. Leaving the context does it too."""
        (time_0, busy_0, client_0, names_0), (time_1, busy_1, client_1, names_1) = self._before, self._read()
        self.elapsed_s = time_1 - time_0
        self.client_cpu_s = client_1 - client_0
        self.cpu_s = sum(names_1.values()) - sum(names_0.values())
        used = {name: round(cpu_s - names_0.get(name, 0.0), 2) for name, cpu_s in names_1.items()}
        self.cpu_s_by_name = dict(sorted(((n, s) for n, s in used.items() if s > 0), key=lambda pair: -pair[1]))
        others_s = busy_1 - busy_0 - self.cpu_s - self.client_cpu_s
        self.others_cores = max(0.0, others_s / max(self.elapsed_s, 1e-9))

    def _read(self) -> tuple[float, float, float, dict[str, float]]:
        names = cpu_s_by_name(self._root)
        return time.perf_counter(), busy_cpu_s(), _own_cpu_s(), names


def cpu_s_by_name(root: int) -> dict[str, float]:
    """CPU seconds of a tree by process name, without the root's own.

    `NAME's ended` are the processes that NAME has waited for; `keeper's ended` had detached from their parents.
    """
    found: defaultdict[str, float] = defaultdict(float)
    for member in members_of(root):
        if member.pid != root:
            found[member.name] += member.cpu_s
        found[f"{member.name}'s ended"] += member.reaped_cpu_s
    return dict(found)


def busy_cpu_s() -> float:
    """CPU seconds that all cores together have been busy since the machine started (not idle, not waiting)."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(field) for field in file.readline().split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:7])) / TICKS_PER_S


def _own_cpu_s() -> float:
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def load_averages() -> list[float]:
    """The machine's load over 1, 5 and 15 minutes."""
    return [round(load, 2) for load in os.getloadavg()]

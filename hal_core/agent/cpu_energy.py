"""What the processors and memory of this machine drew, as their own meters say (RAPL, in Linux's powercap).

The meters are of whole packages, so what one attempt drew is a share of it: that of its CPU time in all the CPU time
that the machine worked meanwhile (`UseMeter`). So what attempts draw adds up to no more than was drawn, and an idle
machine's draw is counted to whoever did the little that was done. The files are root's (CVE-2020-8694); where they
cannot be read, or there are none, nothing is known and nothing is said.
https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

POWERCAP: Final = Path("/sys/class/powercap")
PROC_STAT: Final = Path("/proc/stat")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
ZONES: Final = "intel-rapl:*"
"""AMD's as well. `intel-rapl-mmio:*` are the same packages once more."""
COUNTED: Final = ("package", "dram")
"""Beginnings of the names of zones that do not lie within each other; `core` and `uncore` are parts of a package, and
`psys` has the packages in it."""


class Drawn(NamedTuple):
    """Since the last look."""

    energy_j: float
    busy_s: float
    """CPU time that the machine worked, for whomever."""


class CpuEnergyMeter:
    """`look` gives what was drawn since the last call; a meter turns over after many minutes, so look more often."""

    def __init__(self, powercap: Path = POWERCAP, proc_stat: Path = PROC_STAT) -> None:
        self._zones = [zone for zone in sorted(powercap.glob(ZONES)) if _text(zone / "name").startswith(COUNTED)]
        self._proc_stat = proc_stat
        self._last: tuple[list[int], float] | None = None

    def look(self) -> Drawn | None:
        """None: nobody tells, one of the meters did not, or this is the first look. A few small files are read."""
        now, before = self._read(), self._last
        self._last = now
        if now is None or before is None:
            return None
        drawn_uj = 0
        for zone, after_uj, before_uj in zip(self._zones, now[0], before[0], strict=True):
            if after_uj < before_uj:
                after_uj += int(_text(zone / "max_energy_range_uj") or 0)
            drawn_uj += max(0, after_uj - before_uj)
        return Drawn(drawn_uj / 1e6, max(0.0, now[1] - before[1]))

    def _read(self) -> tuple[list[int], float] | None:
        texts = [_text(zone / "energy_uj") for zone in self._zones]
        if not texts or not all(texts):
            return None
        return list(map(int, texts)), _busy_s(_text(self._proc_stat))


def _busy_s(proc_stat: str) -> float:
    """User, nice, system, irq and softirq of all CPUs (proc_stat(5)); guests are within user."""
    fields = proc_stat.split("\n", 1)[0].split()[1:8]
    if len(fields) < 7:
        return 0.0
    user, nice, system, _, _, irq, softirq = map(int, fields)
    return (user + nice + system + irq + softirq) / TICKS_PER_S


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

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
WATTS_MAX: Final = 1000.0
"""No zone draws more for long: a counter of 65 kJ (AMD) does not turn over within 65 s, one of 262 kJ within 262 s."""


class Drawn(NamedTuple):
    """Since the last look."""

    energy_j: float
    busy_s: float
    """CPU time that the machine worked, for whomever."""


class CpuEnergyMeter:
    """`look` gives what was drawn since the last call. Look often: a meter turns over after minutes, and nobody counts
    how often it did."""

    def __init__(self, powercap: Path = POWERCAP, proc_stat: Path = PROC_STAT) -> None:
        self._zones = [zone for zone in sorted(powercap.glob(ZONES)) if _text(zone / "name").startswith(COUNTED)]
        self._proc_stat = proc_stat
        self._ranges_uj = [int(_text(zone / "max_energy_range_uj") or 0) for zone in self._zones]
        self._last: tuple[list[int], float] | None = None

    def look(self, period_s: float) -> Drawn | None:
        """`period_s`: since the last look. None: nobody tells, one of the meters did not, this is the first look, or
        the last was so long ago that a meter may have turned over more than once. A few small files are read."""
        now, before = self._read(), self._last
        self._last = now
        if now is None or before is None or period_s * WATTS_MAX * 1e6 > min(self._ranges_uj):
            return None
        drawn_uj = 0
        for range_uj, after_uj, before_uj in zip(self._ranges_uj, now[0], before[0], strict=True):
            drawn_uj += after_uj - before_uj + (range_uj if after_uj < before_uj else 0)
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

"""How busy the GPUs of this machine are and what they draw, as nvidia-smi says: one process of it that goes on telling.

Starting it anew for each look would cost a second of CPU on a machine with many devices. Where there is none, or it
does not say, nothing is known, and nothing is said.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from statistics import fmean
from typing import Final, NamedTuple

PROGRAM: Final = "nvidia-smi"
QUERY: Final = ("--query-gpu=index,utilization.gpu,power.draw", "--format=csv,noheader,nounits", "-l")
READ_BYTES: Final = 1 << 16
FAILURES_MAX: Final = 3
"""It ended so often without having said anything: it is not asked any more."""


class DeviceUse(NamedTuple):
    """Means over what was said since the last look."""

    busy: float
    """The share of the time in which it computed."""
    watts: float | None
    """None: the device does not tell."""


class GpuMeter:
    """`look` gives what was said since the last call. `every_s`: how often it is told, in whole seconds."""

    def __init__(self, every_s: float = 5.0) -> None:
        self._every_s = max(1, round(every_s))
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._failure_count = 0

    def look(self) -> Mapping[int, DeviceUse]:
        """By device. Returns at once."""
        shares, watts = dict[int, list[float]](), dict[int, list[float]]()
        for line in self._lines():
            index, percent, drawn = (*line.split(b","), b"")[:3]
            with contextlib.suppress(ValueError):  # "[N/A]": the device does not tell
                shares.setdefault(int(index), []).append(float(percent) / 100)
            with contextlib.suppress(ValueError):
                watts.setdefault(int(index), []).append(float(drawn))
        if shares:
            self._failure_count = 0
        return {
            index: DeviceUse(fmean(said), fmean(watts[index]) if watts.get(index) else None)
            for index, said in shares.items()
            if said
        }

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process, self._rest = None, b""

    def _lines(self) -> list[bytes]:
        if self._process is None and not self._start():
            return []
        assert self._process is not None
        assert self._process.stdout is not None
        has_ended = False
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._process.stdout.fileno(), READ_BYTES):
                self._rest += data
            has_ended = True
        *lines, self._rest = self._rest.split(b"\n")
        if has_ended:
            self._failure_count += 1
            self.close()  # Another one is started when it is asked next.
        return lines

    def _start(self) -> bool:
        program = shutil.which(PROGRAM)
        if program is None or self._failure_count >= FAILURES_MAX:
            return False
        command = [program, *QUERY, str(self._every_s)]
        devnull = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=devnull, stdout=subprocess.PIPE, stderr=devnull)
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        return True

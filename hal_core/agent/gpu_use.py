"""How busy the GPUs of this machine are, as nvidia-smi tells it: one process of it that goes on telling.

Starting it anew for each look would cost a second of CPU on a machine with many devices. Where there is none, or it
does not say, nothing is known, and nothing is said.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final

PROGRAM: Final = "nvidia-smi"
QUERY: Final = ("--query-gpu=index,utilization.gpu", "--format=csv,noheader,nounits", "-l")
READ_BYTES: Final = 1 << 16
FAILURES_MAX: Final = 3
"""It ended so often without having said anything: it is not asked any more."""


class GpuMeter:
    """`busy` gives what was said since the last call. `every_s`: how often it is told, in whole seconds."""

    def __init__(self, every_s: float = 5.0) -> None:
        self._every_s = max(1, round(every_s))
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._failure_count = 0

    def busy(self) -> Mapping[int, float]:
        """By device, the share of the time in which it computed: the mean of what was said. Returns at once."""
        said: dict[int, list[float]] = {}
        for line in self._lines():
            index, _, percent = line.partition(b",")
            with contextlib.suppress(ValueError):  # "[N/A]": the device does not tell
                device, share = int(index), float(percent) / 100
                said.setdefault(device, []).append(share)
        if said:
            self._failure_count = 0
        return {index: sum(shares) / len(shares) for index, shares in said.items()}

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

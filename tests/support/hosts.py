"""Several hosts on one machine: network namespaces on a bridge, whose links can be cut and restored. Needs root.

    with Hosts(3) as hosts:
        hosts.command(1, ["ip", "addr"])     # words to run a program on host 1
        hosts.cut(2), hosts.restore(2)

Host number k has the address 10.97.x.k, where x is chosen so that several of these can exist at a time. Leaving removes
everything. The file system is shared, as a site's is.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Self

SUBNETS = range(1, 250)
NUMBERS = itertools.count()


class Hosts:
    """A context manager. Hosts are numbered from 1."""

    def __init__(self, count: int) -> None:
        self.count = count
        number = next(NUMBERS)
        self.name = f"hal{os.getpid()}-{number}"
        self.subnet = 1 + (os.getpid() + number) % len(SUBNETS)

    def __enter__(self) -> Self:
        self._remove()
        try:
            _ip("netns", "add", self._space(0))
            self._in(0, "link", "add", "bridge", "type", "bridge")
            self._in(0, "link", "set", "bridge", "up")
            for number in range(1, self.count + 1):
                self._add(number)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def address(self, number: int) -> str:
        return f"10.97.{self.subnet}.{number}"

    def command(self, number: int, words: Sequence[str]) -> list[str]:
        """The words that run a program on that host."""
        return ["ip", "netns", "exec", self._space(number), *words]

    def cut(self, number: int) -> None:
        """Take its link down: nobody is told, packets are lost."""
        self._in(0, "link", "set", f"to{number}", "down")

    def limit(self, number: int, bits_per_s: int) -> None:
        """What leaves that host does so at this rate."""
        words = [*("dev", "lan", "root", "tbf", "rate", f"{bits_per_s}bit"), "burst", "128kb", "latency", "200ms"]
        _run(["tc", "-n", self._space(number), "qdisc", "replace", *words])

    def restore(self, number: int) -> None:
        self._in(0, "link", "set", f"to{number}", "up")

    def _add(self, number: int) -> None:
        space = self._space(number)
        _ip("netns", "add", space)
        self._in(0, "link", "add", f"to{number}", "type", "veth", "peer", "name", "lan", "netns", space)
        self._in(0, "link", "set", f"to{number}", "master", "bridge", "up")
        self._in(number, "addr", "add", f"{self.address(number)}/24", "dev", "lan")
        self._in(number, "link", "set", "lan", "up")
        self._in(number, "link", "set", "lo", "up")

    def _in(self, number: int, *words: str) -> None:
        _ip("-n", self._space(number), *words)

    def _space(self, number: int) -> str:
        return f"{self.name}-{number}"

    def _remove(self) -> None:
        for number in range(self.count + 1):
            subprocess.run(["ip", "netns", "del", self._space(number)], capture_output=True, check=False)


def missing() -> str:
    """What this machine lacks for it, in one line."""
    if os.geteuid() != 0:
        return "hosts in network namespaces need root"
    return "" if subprocess.run(["ip", "-V"], capture_output=True, check=False).returncode == 0 else "needs iproute2"


def _ip(*words: str) -> None:
    _run(["ip", *words])


def _run(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")

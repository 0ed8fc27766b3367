"""Somebody at a real terminal, for tests of what is interactive: types, waits for what is shown, leaves, is killed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from typing import Self

from tests.support.hal import CHECKOUT, HalCluster, hal_command

PATIENCE_S = 30.0


class Person:
    """Somebody at a terminal of 40 by 100 who runs a `hal` command."""

    def __init__(self, hal: HalCluster, *words: str, user: str = "") -> None:
        command = [*hal_command(), *words]
        if user:
            command = [sys.executable, "-m", "tests.support.as_user", user, *words]
        self.shown = b""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(CHECKOUT if user else hal.work)
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
                os.execve(command[0], command, dict(hal.environment) | {"TERM": "dumb", "PS1": "READY> "})
            finally:
                os._exit(99)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.terminal)

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def see(self, pattern: str) -> re.Match[bytes]:
        """Wait until the terminal shows it."""
        deadline_s = time.monotonic() + PATIENCE_S
        while (found := re.search(pattern.encode(), self.shown)) is None:
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, f"{pattern!r} is not in {self.shown!r}"
            if select.select([self.terminal], [], [], left_s)[0]:
                self._read()
        self.shown = self.shown[found.end() :]
        return found

    def _read(self) -> bool:
        try:
            data = os.read(self.terminal, 65_536)
        except OSError:  # The other end is closed.
            return False
        self.shown += data
        return bool(data)

    def leave(self) -> int:
        """The exit code, once the command has ended."""
        while self._read():
            pass
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def die(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = 0

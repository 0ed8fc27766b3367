"""A real Redis from Debian, on a port of loopback, that keeps nothing on disk."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.debian_packages import install, why_no_packages
from tests.support.ports import free_port
from tests.support.processes import ProcessTree

PACKAGES = ("redis-server",)
ANSWERS_WITHIN_S = 60.0


def why_impossible() -> str:
    """One line that says what is missing; empty if nothing is."""
    return why_no_packages("a real Redis", PACKAGES)


class RedisServer:
    """A context manager; it can be entered again, and then begins empty on the same port. `events` is what it is told
    to send of its keys."""

    def __init__(self, directory: Path, events: str = "KA", *more: str) -> None:
        install(PACKAGES)
        self.port = free_port()
        self._directory = directory
        self._given = ["--notify-keyspace-events", events, *more]

    def __enter__(self) -> Self:
        self.tree = ProcessTree()
        self.tree.__enter__()
        argv = ["/usr/bin/redis-server", "--bind", "127.0.0.1", "--port", str(self.port)]
        argv += ["--save", "", "--daemonize", "no", "--dir", str(self._directory), *self._given]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self._directory)}
        log = self._directory / "redis.log"
        self._pid = self.tree.start(argv, log, environment, directory=self._directory)
        try:
            self.tree.until("Redis answers", self._answers, ANSWERS_WITHIN_S, [self._pid])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tree.stop([self._pid], grace_s=5)
        self.tree.__exit__(None, None, None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWERS_WITHIN_S) as connection:
                connection.sendall(b"PING\r\n")
                return bool(connection.recv(100))  # "-NOAUTH", too, is an answer.
        except OSError:
            return False

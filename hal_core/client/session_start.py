"""Starting a broker: a program of its own, with one end of a socket to us. What it must know goes through its stdin."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

import hal_core
from hal_core.client.session_directory import OPTIONS, connect, find_directory, make_directory, remove_directory
from hal_core.errors import InvalidInput, Problem, SessionError
from hal_core.wire.private_files import read_private, write_private

JobOptions = Mapping[str, str | int | float | bool]
NO_OPTIONS: Final[JobOptions] = {}
ORDER_VARIABLE: Final = "HAL_SESSION_ORDER"
"""What a worker on a node must know: see sessions/orders.py."""
PATIENCE_VARIABLE: Final = "HAL_SESSION_PATIENCE_S"
"""How many seconds a new session waits for a daemon that is away."""
PATIENCE_S: Final = 900.0
"""If the variable does not say."""
START_S_MAX: Final = 30.0
POLL_S: Final = 0.02

PROGRAM: Final = "import sys; sys.path.insert(0, sys.argv[1]); from hal_core.sessions.__main__ import main; main()"
WORKER_PROGRAM: Final = PROGRAM.replace("__main__", "node_worker")
"""The path is given as a word, because PYTHONPATH would reach the programs that tasks start."""


def patience_s(environ: Mapping[str, str]) -> float:
    """How long a new session waits for a daemon that is away. Raises InvalidInput."""
    given = environ.get(PATIENCE_VARIABLE, "")
    try:
        seconds = float(given or PATIENCE_S)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidInput([Problem(PATIENCE_VARIABLE, f"{given!r} is not a number of seconds from 0 on")])
    return seconds


class BrokerProcess:
    """The broker of one session, which may be started again if the session is recoverable."""

    def __init__(self, session: str, options: dict[str, object], directory: Path) -> None:
        self.session = session
        self.is_recoverable = bool(options["is_recoverable"])
        self.directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def new(
        cls,
        counts: tuple[int, int],
        is_recoverable: bool,
        server: str = "",
        job: Mapping[str, object] = NO_OPTIONS,
        order: tuple[str, int] = ("", 0),
    ) -> BrokerProcess:
        """Workers are a job of the daemon at `server`, with these options; without one, processes of this machine.

        `counts` are those that it has in any case, and those it has more when there is room. `order`: a file that tells
        others how to become workers, and how many will.
        """
        worker_count, elastic_count = counts
        session = secrets.token_hex(6)
        directory = make_directory(os.environ, session)
        options: dict[str, object] = {
            "session": session,
            "local_worker_count": 0 if server else worker_count,
            "node_worker_count": worker_count if server else order[1],
            "order_path": order[0],
            "elastic_worker_count": elastic_count if server else 0,
            "server": server,
            "patience_s": patience_s(os.environ) if server else 0.0,
            "job": {name.replace("_", "-"): value for name, value in job.items()},  # as for Client.submit
            "import_path": [str(Path(each).absolute()) for each in sys.path],
            "directory": str(directory),
            "is_recoverable": is_recoverable,
        }
        if is_recoverable:
            write_private(directory / OPTIONS, msgspec.json.encode(options))
        return cls(session, options, directory)

    @classmethod
    def of(cls, session: str) -> BrokerProcess:
        """Of a recoverable session that there is. Raises NotFound."""
        directory = find_directory(os.environ, session)
        return cls(directory.name, msgspec.json.decode(read_private(directory / OPTIONS)), directory)

    @property
    def pid(self) -> int:
        """0 if it was started by somebody else."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> socket.socket:
        """Our end of the socket. It does not wait for the broker: what is sent waits in the socket."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._start(theirs)
        return ours

    def connect(self) -> socket.socket:
        """To the broker that there is, or to a new one. Raises SessionError if that does not come up."""
        deadline_s = time.monotonic() + START_S_MAX
        while (connection := connect(self.directory)) is None:
            if time.monotonic() > deadline_s:
                raise SessionError(f"the broker of session {self.session} does not come up; see {self.directory}/log")
            if self._process is None or self._process.poll() is not None:
                self._start(None)
            time.sleep(POLL_S)
        return connection

    def wait(self) -> None:
        if self._process is not None:
            self._process.wait()

    def abandon(self) -> None:
        """It goes on without us; whenever it ends, it is waited for."""
        if self._process is not None:
            threading.Thread(target=self._process.wait, name="hal-session-broker", daemon=True).start()

    def forget(self) -> None:
        """The session is over: nothing of it is kept."""
        remove_directory(self.directory)

    def _start(self, client: socket.socket | None) -> None:
        self.wait()
        descriptors = [] if client is None else [client.fileno()]
        options = self._options | ({"client_descriptor": descriptors[0]} if descriptors else {})
        root = str(Path(hal_core.__file__).parents[1])
        words = [sys.executable, "-P", "-c", PROGRAM, root, f"hal-session-{self.session}"]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=descriptors, start_new_session=True)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:  # It died at once: its end tells.
            stdin.write(msgspec.json.encode(options))

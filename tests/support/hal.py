"""A real HAL from this checkout, for as long as a test or benchmark needs it.

    with HalCluster(node_count=2, cpus=4) as hal:
        job_id = hal.submit("/bin/true")
        hal.wait_until_done()

`hal dev` with state, socket and home directory of its own below one temporary directory, and all its processes below
one keeper: leaving the context (or killing the test) leaves nothing behind. The daemon and the agents can be killed
and started again in between. It looks from outside only, and imports nothing of HAL.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from tests.support.hal_connection import HalConnection, HalRefused, Json
from tests.support.processes import Member, ProcessTree, SupportError, command_line

CHECKOUT = Path(__file__).parents[2]
BULK_MAX = 10_000
READY_TIMEOUT_S = 60.0
ACTIVE = ("PENDING", "STAGING", "RUNNING", "CLEANUP")


@attrs.define(kw_only=True)
class HalCluster:
    """A context manager. `base` keeps state from an earlier one and is then left there; else it is temporary."""

    node_count: int = 1
    cpus: int = 8
    """For each node; may be more than the machine has."""
    base: Path | None = None
    startup_s: float = attrs.field(default=0.0, init=False)
    """From the start of the process until it answered and all nodes were up."""
    tree: ProcessTree = attrs.field(factory=ProcessTree, init=False)
    directory: Path = attrs.field(init=False)
    service: int = attrs.field(default=0, init=False)
    """The pid of the daemon."""
    _connection: HalConnection = attrs.field(init=False)

    def __enter__(self) -> Self:
        self.directory = self.base or Path(tempfile.mkdtemp(prefix="hal-"))
        self._connection = HalConnection(self.socket)
        for name in ("home", "work"):
            (self.directory / name).mkdir(exist_ok=True)
        self.tree.__enter__()
        try:
            self.start()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def start(self) -> None:
        """Start everything and wait until it is ready."""
        begin_s = time.perf_counter()
        self.start_processes()
        self.wait_until_ready()
        self.startup_s = time.perf_counter() - begin_s

    def start_processes(self) -> None:
        words = ["dev", "--state", str(self.state), "--socket", str(self.socket)]
        words += ["--nodes", str(self.node_count), "--cpus", str(self.cpus)]
        argv = [*hal_command(), *words]
        self.service = self.tree.start(argv, self.log, self.environment, directory=self.directory / "home")

    def wait_until_ready(self) -> None:
        """Wait until the daemon answers and every node is up."""
        self.tree.until("HAL is ready", self.is_ready, READY_TIMEOUT_S, self.watched, interval_s=0.005)

    def stop(self) -> None:
        """End `hal dev` as Ctrl-C does, and wait for it."""
        self.tree.signal(self.service, signal.SIGINT)
        if not self.tree.wait_for_exits([self.service], 60):
            raise SupportError(f"hal dev did not end by SIGINT within 60 s; see {self.log}")

    def is_ready(self) -> bool:
        try:
            status = self.get("/v1/status")
        except (OSError, http.client.HTTPException, HalRefused):
            return False
        return bool(status["nodes"].get("up", 0) == self.node_count)

    # What a test asks of it

    def get(self, target: str) -> Json:
        """On a connection that is kept. HalRefused for an error status."""
        return self._connection.get(target)

    def post(self, target: str, body: Json) -> Json:
        return self._connection.post(target, body)

    def connect(self) -> HalConnection:
        """A further connection, for another thread."""
        return HalConnection(self.socket)

    def submit(self, *command: str, options: Iterable[tuple[str, str]] = ()) -> int:
        """One job, by one request. Its output goes to /dev/null unless the options say otherwise."""
        body = self.body(options) | {"client_id": str(uuid.uuid4()), "command": list(command)}
        return int(self.post("/v1/jobs", body)["job_id"])

    def submit_bulk(self, commands: Iterable[Iterable[str]], options: Iterable[tuple[str, str]] = ()) -> int:
        """Many jobs in as few requests as may be. Returns how many."""
        jobs = [{"command": list(command)} for command in commands]
        for at in range(0, len(jobs), BULK_MAX):
            common = self.body(options) | {"client_id": str(uuid.uuid4())}
            self.post("/v1/jobs/bulk", {"common": common, "jobs": jobs[at : at + BULK_MAX]})
        return len(jobs)

    def body(self, options: Iterable[tuple[str, str]] = ()) -> Json:
        """What all submissions from here have in common."""
        given = [["output", "/dev/null"], *([name, text] for name, text in options)]
        return {"options": given, "working_directory": str(self.work), "environment": ["PATH=/usr/bin:/bin"]}

    def counts(self) -> dict[str, int]:
        """How many job elements the daemon knows, by state."""
        found: dict[str, int] = self.get("/v1/status")["jobs"]
        return found

    def active_count(self) -> int:
        counts = self.counts()
        return sum(counts.get(state, 0) for state in ACTIVE)

    def wait_until_done(self, timeout_s: float = 120.0, interval_s: float = 0.02) -> None:
        """Wait until no job waits or runs. What the daemon answers is on disk, so every end is then journalled."""
        self.tree.until("all jobs ended", lambda: self.active_count() == 0, timeout_s, [self.service], interval_s)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A `hal` command as a process of its own, with any exit code."""
        return subprocess.run(
            [*hal_command(), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            cwd=self.work,
        )

    def members(self, word: str) -> list[Member]:
        """The live processes whose command line has this word in it (`agent`, `supervisor`, ...)."""
        return [member for member in self.tree.members() if word in " ".join(command_line(member.pid))]

    def daemon(self) -> Member:
        """The process that listens on the socket."""
        [found] = [member for member in self.tree.members() if member.pid == self.service]
        return found

    @property
    def environment(self) -> Mapping[str, str]:
        """What a `hal` command must have in its environment to use this cluster."""
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.directory / "home"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'plugins'}",
            "HAL_SERVER": str(self.socket),
            "HAL_DEBUG": "1",
        }

    @property
    def end_timeout_s(self) -> float:
        """How long what the services have started may take to end after them, before it is killed."""
        return 5.0

    @property
    def watched(self) -> list[int]:
        """Processes whose end, while we wait for something, is a failure."""
        return [self.service]

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def socket(self) -> Path:
        return self.directory / "hal.sock"

    @property
    def work(self) -> Path:
        """Where jobs run."""
        return self.directory / "work"

    @property
    def log(self) -> Path:
        return self.directory / "hal.log"

    def _leave(self) -> None:
        """In good order if that goes in a few seconds; at once otherwise."""
        self._connection.close()
        running = [pid for pid in self.watched if pid and pid not in self.tree.exited]
        self.tree.stop(running, grace_s=10)
        self.tree.wait_until_empty(self.end_timeout_s)
        self.tree.__exit__(None, None, None)
        if self.base is None:
            shutil.rmtree(self.directory)


def hal_command() -> list[str]:
    """How a person starts `hal`: the installed script of this interpreter, if there is one."""
    script = Path(sys.executable).with_name("hal")
    return [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-m", "hal_core.cli"]

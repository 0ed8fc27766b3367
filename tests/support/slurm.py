"""A real Slurm from Debian's packages, for as long as a test or benchmark needs it.

    with SlurmCluster(node_count=4, cpus=8) as slurm:
        job_id = slurm.submit("--wrap", "true")
        slurm.wait_for_ends(1)

Everything is below one temporary directory and every process below one keeper: leaving the context (or killing the
test) leaves no process, mount or file behind, and several clusters can run beside each other. Needs root and apt;
`slurm_packages.why_impossible()` says so. For tests only: it knows nothing of HAL.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from tests.support import slurm_config, slurm_packages, slurm_root
from tests.support.processes import ProcessTree, SupportError
from tests.support.slurm_config import Layout, SlurmOptions, node_names
from tests.support.slurm_daemons import Daemons, free_ports, identity

RECORD = re.compile(r"^(?=JobId=\d+ UserId=)", re.MULTILINE)
"""Here one begins, in the file that slurmctld keeps of jobs that have ended."""


class SlurmCommandFailed(SupportError):
    """A command of Slurm's ended with another code than 0."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.exit_code: int = done.returncode
        self.stderr: str = done.stderr
        super().__init__(f"{' '.join(done.args)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


@attrs.frozen
class SlurmJobEnd:
    """One job, or one task of an array (`array_task_id` None: no array), as slurmctld wrote it down at its end."""

    job_id: int
    array_job_id: int | None
    array_task_id: int | None
    state: str
    exit_code: int
    signal: int
    user: str
    start: str
    """Local time, as Slurm writes it: 2026-11-26T14:27:31."""
    end: str


@attrs.define(kw_only=True)
class SlurmCluster(SlurmOptions):
    """A context manager; the options are those of SlurmOptions."""

    startup_s: float = attrs.field(default=0.0, init=False)
    """How long it took from nothing (packages already there) to all nodes idle."""
    layout: Layout = attrs.field(init=False)
    daemons: Daemons = attrs.field(init=False)
    tree: ProcessTree = attrs.field(factory=ProcessTree, init=False)

    def __enter__(self) -> Self:
        slurm_packages.install(self._packages())
        begin_s = time.perf_counter()
        _progress(f"starting Slurm with {self.node_count} nodes ...")
        base = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.layout = Layout(base, socket.gethostname().partition(".")[0], free_ports(self.node_count))
        if self.root:
            slurm_root.mount(Path(self.root), base)
        self.tree.__enter__()
        self.daemons = Daemons(self.tree, self, self.layout)
        try:
            self.daemons.start_all()
        except BaseException:
            self._leave()
            raise
        self.startup_s = time.perf_counter() - begin_s
        _progress(f"Slurm is up after {self.startup_s:.1f} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    # What a test asks of it

    def run(self, *argv: str, user: str = "root", stdin: str = "") -> str:
        """Run a command of Slurm's (or any other) in the cluster. Returns its output; SlurmCommandFailed otherwise."""
        done = self.try_run(*argv, user=user, stdin=stdin)
        if done.returncode != 0:
            raise SlurmCommandFailed(done)
        return done.stdout

    def try_run(self, *argv: str, user: str = "root", stdin: str = "") -> subprocess.CompletedProcess[str]:
        """The same for any exit code."""
        uid, gid = identity(user)
        environment = self.daemons.environment
        return subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            user=uid,
            group=gid,
            extra_groups=[],
            cwd=self.work,
        )

    def submit(self, *arguments: str, user: str = "root") -> int:
        """`sbatch` with these arguments. Returns the job's number."""
        return int(self.run("sbatch", "--parsable", *arguments, user=user))

    def jobs_ended(self) -> list[SlurmJobEnd]:
        """Every job that has ended so far, in that order. Reads a file of slurmctld's: costs the cluster nothing."""
        return [_parse_end(record) for record in self._records_of_ends()]

    def count_of_ends(self) -> int:
        """How many jobs have ended so far: the cheap form of `jobs_ended`."""
        return len(self._records_of_ends())

    def _records_of_ends(self) -> list[str]:
        """What slurmctld has written in full. A job's name may have several lines."""
        if not self.layout.jobs_ended.exists():
            return []
        records = RECORD.split(self.layout.jobs_ended.read_text())
        return [record for record in records if " ExitCode=" in record and record.endswith("\n")]

    def wait_for_ends(self, count: int, timeout_s: float = 60.0) -> list[SlurmJobEnd]:
        """Wait until `count` jobs have ended since the start of the cluster. Returns all that have."""
        controller = [self.daemons.pids["slurmctld"]]
        self.tree.until(f"{count} jobs ended", lambda: self.count_of_ends() >= count, timeout_s, controller)
        return self.jobs_ended()

    def kill(self, daemon: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal a daemon by its name (`slurmctld`, `slurmd.n01`, ...) and wait for its end."""
        pid = self.daemons.pids.pop(daemon)
        self.tree.signal(pid, number)
        if not self.tree.wait_for_exits([pid], 60):
            raise SupportError(f"{daemon} did not end by {number.name} within 60 s")

    def start(self, daemon: str) -> None:
        """Start a daemon that was killed."""
        self.daemons.start(daemon)

    def token(self, user: str = "root", lifespan_s: int = 3600) -> str:
        """A JSON web token for slurmrestd; needs `has_rest`."""
        answer = self.run("scontrol", "token", f"username={user}", f"lifespan={lifespan_s}")
        return answer.strip().removeprefix("SLURM_JWT=")

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program must have in its environment to use this cluster."""
        found = {"SLURM_CONF": str(self.layout.configuration)}
        return found | ({"PATH": self.daemons.environment["PATH"]} if self.root else {})

    @property
    def programs(self) -> str:
        """Where Slurm's programs are, if they are not the machine's own."""
        return str(self.layout.wrappers) if self.root else ""

    @property
    def nodes(self) -> list[str]:
        return node_names(self)

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.layout.ports.rest}"

    @property
    def rest_socket(self) -> Path:
        return self.layout.rest_socket

    @property
    def work(self) -> Path:
        """Where commands run and jobs leave their output. Everybody may write there."""
        return self.layout.base / "work"

    def log(self, daemon: str) -> str:
        """All that a daemon has written."""
        files = (self.layout.base / "log" / f"{daemon}.{ending}" for ending in ("out", "log"))
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def _packages(self) -> tuple[str, ...]:
        rest = slurm_packages.REST_PACKAGES if self.has_rest else ()
        accounting = slurm_packages.ACCOUNTING_PACKAGES if self.has_accounting else ()
        return slurm_packages.BASE_PACKAGES + rest + accounting

    def _leave(self) -> None:
        """The state is thrown away with the cluster, so nothing needs to end in good order."""
        self.tree.__exit__(None, None, None)
        if self.does_enforce_memory:
            _remove_groups(slurm_config.memory_groups(self))
        if self.root:
            slurm_root.unmount(Path(self.root), self.layout.base)
            shutil.rmtree(self.layout.wrappers)
        shutil.rmtree(self.layout.base)


def _parse_end(line: str) -> SlurmJobEnd:
    fields = dict(word.partition("=")[::2] for word in line.split())
    code, _, number = fields["ExitCode"].partition(":")
    return SlurmJobEnd(
        job_id=int(fields["JobId"]),
        array_job_id=_number(fields.get("ArrayJobId", "")),
        array_task_id=_number(fields.get("ArrayTaskId", "")),
        state=fields["JobState"],
        exit_code=int(code),
        signal=int(number),
        user=fields["UserId"].partition("(")[0],
        start=fields["StartTime"],
        end=fields["EndTime"],
    )


def _remove_groups(groups: Iterable[Path]) -> None:
    """Those of slurmds that were killed. Only directories can be removed there, the innermost first."""
    for group in groups:
        for path, _, _ in os.walk(group, topdown=False):
            os.rmdir(path)


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

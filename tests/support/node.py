"""One real node for tests: an agent with its spawner and supervisors, below a keeper that leaves nothing behind.

The daemon's side is the metal executor inside the test. `Reports` is what its kernel would have heard.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from hal_core.agent import hierarchies
from hal_core.agent.launcher import records
from hal_core.agent.launcher.cgroups import Group
from hal_core.models.effect import LaunchOrder
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.message import Message, NodeReported, NodeSilent, NoteAccess, PartsChanged, PartStatus
from hal_core.models.node import NodeName, PartitionName
from hal_core.models.placement import AttemptKey, Share
from hal_executor_metal.executor import MetalExecutor
from tests.support.processes import ProcessTree

PATIENCE_S = 60.0
"""How long to wait for something that must come. Only a failure takes so long."""
REPOSITORY = Path(__file__).parents[2]
ME = Owner("me", os.geteuid(), os.getegid())


def key_of(job_id: int, attempt: int = 1, index: int = 0) -> AttemptKey:
    return AttemptKey(JobId(job_id), index, attempt)


def order(job_id: int, script: str, *, directory: Path | str, attempt: int = 1, **fields: Any) -> LaunchOrder:
    """An order for node n1: a shell script (or `command=`), output in `directory`; other fields are of the JobSpec."""
    owner = fields.pop("owner", ME)
    share = fields.pop("share", Share(NodeName("n1"), 1, "0"))
    nodes = fields.pop("nodes", ((NodeName("n1"), 1),))
    index = fields.pop("index", 0)
    if "command" not in fields:
        fields["script"] = script if script.startswith("#!") else f"#!/bin/sh\n{script}\n"
    fields.setdefault("environment", (f"PATH={os.environ['PATH']}",))
    spec = JobSpec(name="test", partition=PartitionName("all"), working_directory=str(directory), **fields)
    return LaunchOrder(key_of(job_id, attempt, index), owner, spec, share, nodes, epoch=1)


@attrs.define
class Reports:
    """Everything that the executor reported."""

    nodes: list[NodeReported] = attrs.Factory(list)
    silences: list[NodeSilent] = attrs.Factory(list)
    notes: list[NoteAccess] = attrs.Factory(list)
    parts: dict[AttemptKey, PartStatus] = attrs.Factory(dict)
    _changed: trio.Event = attrs.Factory(trio.Event)

    async def report(self, message: Message) -> None:
        match message:
            case NodeReported(parts=parts):
                self.nodes.append(message)
                self._take(parts)
            case PartsChanged(parts=parts):
                self._take(parts)
            case NodeSilent():
                self.silences.append(message)
            case NoteAccess():
                self.notes.append(message)
        self._changed.set()
        self._changed = trio.Event()

    def _take(self, parts: Sequence[PartStatus]) -> None:
        for part in parts:
            known = self.parts.get(part.key)
            assert known is None or known.end in (None, part.end), f"an end was taken back: {known}, then {part}"
            self.parts[part.key] = part

    async def until(self, holds: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE_S):
            while not holds():
                await self._changed.wait()

    async def start_of(self, key: AttemptKey) -> PartStatus:
        await self.until(lambda: key in self.parts and self.parts[key].start_time_s is not None)
        return self.parts[key]

    async def end_of(self, key: AttemptKey) -> PartStatus:
        await self.until(lambda: key in self.parts and self.parts[key].end is not None)
        return self.parts[key]


class RealNode:
    """`tree` owns every process. The state of the agent is in `directory`/n1."""

    def __init__(self, tree: ProcessTree, directory: Path, arguments: Sequence[str] = ()) -> None:
        self.tree = tree
        self.directory = directory
        self.state = directory / "n1"
        self.reports = Reports()
        self.executor = MetalExecutor.from_options({"socket": str(directory / "agents.sock")})
        self._arguments = arguments
        self.agent_pid = 0
        self.environment: dict[str, str] = {}
        self.before: Sequence[str] = ()
        """For agents that are started from now on: more variables, and words of a command that becomes the agent."""

    def start_agent(self, user: tuple[int, int] | None = None) -> int:
        words = [
            *self.before,
            sys.executable,
            "-m",
            "hal_core.agent",
            "--name",
            "n1",
            "--cpus",
            "2",
            "--memory-bytes",
            str(1 << 30),
        ]
        words += ["--directory", str(self.state), "--socket", str(self.directory / "agents.sock"), *self._arguments]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **self.environment}
        self.agent_pid = self.tree.start(words, self.directory / "agent.log", environment, user=user)
        return self.agent_pid

    async def run(self, given: LaunchOrder) -> PartStatus:
        """Launch and wait for the end."""
        await self.executor.launch(NodeName("n1"), [given])
        return await self.reports.end_of(given.key)

    async def start(self, given: LaunchOrder) -> PartStatus:
        await self.executor.launch(NodeName("n1"), [given])
        return await self.reports.start_of(given.key)

    async def connected(self, count: int) -> None:
        """Until the node has reported so many times."""
        await self.reports.until(lambda: len(self.reports.nodes) >= count)

    def record(self, key: AttemptKey) -> records.Record:
        return records.parse((self.state / records.CLAIMS / str(key)).read_bytes())

    def spawner_pid(self) -> int:
        (pid,) = [member.pid for member in self.tree.members() if _is_spawner(member.pid, member.parent)]
        return pid

    def jobs_left(self) -> list[bytes]:
        """Command lines of all processes but the keeper, the agent, the spawner and supervisors."""
        found = [member for member in self.tree.members() if member.pid not in (self.tree.pid, self.agent_pid)]
        return [_command_line(member.pid) for member in found if not _is_launcher(member.pid)]

    def kill(self, pid: int) -> None:
        """SIGKILL; returns when the process is gone."""
        watch = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(watch, signal.SIGKILL)
            select.select([watch], [], [], PATIENCE_S)
        finally:
            os.close(watch)


@asynccontextmanager
async def real_node(
    directory: Path, *arguments: str, user: tuple[int, int] | None = None, before: Sequence[str] = ()
) -> AsyncIterator[RealNode]:
    """A node whose agent is connected to a running executor."""
    with _swept(directory), ProcessTree() as tree:
        node = RealNode(tree, directory, arguments)
        node.before = before
        async with trio.open_nursery() as nursery:
            await nursery.start(node.executor.run, node.reports.report)
            node.start_agent(user)
            await node.connected(1)
            yield node
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def lone_agent(directory: Path) -> AsyncIterator[RealNode]:
    """A node whose agent looks for an executor that the test will run itself."""
    with _swept(directory), ProcessTree() as tree:
        node = RealNode(tree, directory)
        node.start_agent()
        yield node


@contextmanager
def _swept(directory: Path) -> Iterator[None]:
    """Afterwards, when all processes are dead, remove the cgroups that a killed spawner could not."""
    try:
        yield
    finally:
        bases = hierarchies.this_machine(directory / "n1")
        for name in {path.name for top in bases.values() for path in Path(top).iterdir() if path.is_dir()}:
            Group(bases, name).remove()
        hierarchies.remove_bases(bases)


def _is_spawner(pid: int, parent: int) -> bool:
    """By its arguments; supervisors have the same, but a spawner for a parent."""
    return _is_launcher(pid) and not _is_launcher(parent)


def _is_launcher(pid: int) -> bool:
    return b"launcher/__main__.py" in _command_line(pid)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""

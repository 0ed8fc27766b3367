"""`hal dev`: a whole cluster on this machine, for trying things out. The daemon runs in this process, agents beside it.

Without `--state` all of it lives in a temporary directory. Ctrl-C ends everything: jobs, agents, daemon, in this order,
and nothing is left behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Container, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

import attrs
import trio

import hal_core
from hal_core.client.address import default_socket
from hal_core.config.configuration import Configuration
from hal_core.config.machine import describe_machine, read_machine_facts
from hal_core.configured import AGENT_SOCKET_NAME, check_options, read_with_plugins
from hal_core.daemon import Announce, Daemon, run_service, until_signalled
from hal_core.dev_cloud import HINTS, release_all, write_configuration
from hal_core.errors import Refused, Unavailable
from hal_core.kernel.loop import Kernel
from hal_core.models.node import Node, NodeStatus
from hal_core.models.plural import plural
from hal_core.parsing.addresses import parse_address
from hal_core.plugins import Plugins

NODES_TIMEOUT_S = 20.0
AGENT_END_TIMEOUT_S = 15.0
AGENT_LIFE_S_MIN = 30.0
AGENT_ENDS_MAX = 3
"""So many ends in a row, each sooner than that after its start, and `hal dev` gives up."""
PID_NAME = "agent.pid"
AGENT_LOG_NAME = "agent.log"


def run_dev(arguments: Namespace, announce: Announce) -> int:
    """Serve until SIGINT or SIGTERM."""
    socket = Path(arguments.socket or default_socket(os.environ)).absolute()
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _state_directory(arguments.state) as directory:
        configuration, plugins = _configuration(arguments, directory, socket)
        daemon = Daemon(configuration, plugins, arguments.config)
        hints = HINTS if arguments.cloud else ()
        try:
            # What nobody can take over ends also when we are killed.
            run_service(partial(_serve, daemon, announce, is_leashed=arguments.state is None, hints=hints))
        finally:
            if arguments.cloud:
                trio.run(release_all, configuration, plugins)
    return 0


@contextmanager
def _state_directory(given: str | None) -> Iterator[Path]:
    if given is not None:
        directory = Path(given).absolute()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield directory
        return
    directory = Path(tempfile.mkdtemp(prefix="hal-dev-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _configuration(arguments: Namespace, directory: Path, socket: Path) -> tuple[Configuration, Plugins]:
    if arguments.cloud:
        if arguments.config or arguments.cpus or arguments.nodes != 1:
            raise Refused("--cloud has nodes and a configuration of its own; leave out --config, --nodes and --cpus")
        configuration, plugins = write_configuration(directory, socket)
        return _with_log(configuration, directory, arguments.address), plugins
    if arguments.config:
        configuration, plugins = read_with_plugins(arguments.config)
        check_options(configuration, plugins)
        listen = attrs.evolve(configuration.listen, socket=str(socket))
        if arguments.address:
            listen = attrs.evolve(listen, address=_checked_address(arguments.address))
        return attrs.evolve(configuration, listen=listen, state_directory=str(directory)), plugins
    facts = read_machine_facts()
    if arguments.cpus:
        facts = attrs.evolve(facts, cpu_count=arguments.cpus * arguments.nodes)
    configuration = describe_machine(facts, str(directory), str(socket), arguments.nodes)
    return _with_log(configuration, directory, arguments.address), Plugins.load()


def _with_log(configuration: Configuration, directory: Path, address: str | None) -> Configuration:
    """What happens is written there, and not to the terminal."""
    log = {"path": str(directory / "events.log")}
    listen = attrs.evolve(configuration.listen, address=_checked_address(address))
    return attrs.evolve(configuration, listen=listen, observers={**configuration.observers, "log": log})


def _checked_address(given: str | None) -> str:
    """Raises InvalidInput for what is no host:port; an address beyond this machine is refused when it is opened."""
    return parse_address(given) if given else ""


async def _serve(daemon: Daemon, announce: Announce, is_leashed: bool, hints: Sequence[str] = ()) -> None:
    seats = [
        _Seat.of_node(node, daemon.state_directory, is_leashed)
        for node in _own_nodes(daemon.configuration)
        if node.executor == "metal"
    ]
    async with until_signalled() as nursery:
        # First, because only who has the state directory may end or take over the agents that are there.
        kernel = await nursery.start(daemon.serve)
        async with _agents(seats), trio.open_nursery() as keepers:
            for seat in seats:
                keepers.start_soon(_keep, seat, announce)
            await _all_up(kernel, announce, {node.name for node in _own_nodes(daemon.configuration)})
            _greet(daemon, announce, is_leashed)
            for hint in hints:
                announce(hint)


@asynccontextmanager
async def _agents(seats: Sequence[_Seat]) -> AsyncIterator[None]:
    """One agent process for each node that bare metal serves. At the end they kill their jobs, and go."""
    try:
        for seat in seats:
            await seat.fill()
        yield
    finally:
        agents = [seat.agent for seat in seats if seat.agent is not None]
        for agent in agents:
            agent.ask_to_end()
        with trio.CancelScope(shield=True):
            for agent in agents:
                await agent.wait()


async def _keep(seat: _Seat, announce: Announce) -> None:
    """Start the agent again whenever it ends by itself; its jobs run on meanwhile. Raises Unavailable if that does not
    help."""
    soon_count = 0
    while True:
        assert seat.agent is not None
        begin_s = trio.current_time()
        await trio.lowlevel.wait_readable(seat.agent.pidfd)
        soon_count = soon_count + 1 if trio.current_time() - begin_s < AGENT_LIFE_S_MIN else 1
        await seat.agent.wait()
        if soon_count == AGENT_ENDS_MAX:
            seat.agent = None
            raise Unavailable(f"the agent of node {seat.name} ends again and again; {seat.last_words()}")
        seat.agent = _start_agent(seat.command, seat.directory)
        announce(f"The agent of node {seat.name} ended by itself and was started again; {seat.last_words()}")


@attrs.define
class _Seat:
    """A node that bare metal serves, and the agent that it has, if any."""

    name: str
    directory: Path
    command: list[str]
    agent: _Agent | None = None

    @classmethod
    def of_node(cls, node: Node, state_directory: Path, is_leashed: bool) -> _Seat:
        directory = state_directory / "nodes" / node.name
        command = [sys.executable, "-m", "hal_core.agent", "--name", node.name, "--cpus", str(node.cpu_count)]
        command += ["--memory-bytes", str(node.memory_bytes), "--gpus", ",".join(node.gpus)]
        command += ["--directory", str(directory), "--socket", str(state_directory / AGENT_SOCKET_NAME)]
        command += ["--ephemeral", *["--leashed"] * is_leashed]
        return cls(node.name, directory, command)

    async def fill(self) -> None:
        """With the agent that outlived a killed `hal dev`, and its jobs, if it serves the same node; else a new one."""
        if (earlier := _earlier_agent(self.directory)) is not None:
            agent, its_command = earlier
            if its_command[1:] == self.command[1:]:
                self.agent = agent
                return
            agent.ask_to_end()
            with trio.CancelScope(shield=True):
                await agent.wait()
        self.agent = _start_agent(self.command, self.directory)

    def last_words(self) -> str:
        lines = (self.directory / AGENT_LOG_NAME).read_text(errors="replace").splitlines()
        return f"its log ends with: {lines[-1]}" if lines else "its log is empty"


@attrs.frozen
class _Agent:
    """A running agent. It is held by its pidfd, because it need not be a child of this process."""

    pidfd: int
    child: subprocess.Popen[bytes] | None = None

    def ask_to_end(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)

    async def wait(self) -> None:
        with trio.move_on_after(AGENT_END_TIMEOUT_S) as scope:
            await trio.lowlevel.wait_readable(self.pidfd)
        if scope.cancelled_caught:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            await trio.lowlevel.wait_readable(self.pidfd)
        if self.child is not None:
            assert self.child.stdin is not None
            self.child.stdin.close()
            self.child.wait()
        os.close(self.pidfd)


def _start_agent(command: list[str], directory: Path) -> _Agent:
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / AGENT_LOG_NAME, "ab") as log:
        # A session of its own: Ctrl-C is for this process, which then ends the agents in good order.
        # The other end of its input is ours until we end, in whatever way.
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
    (directory / PID_NAME).write_text(str(child.pid))
    return _Agent(os.pidfd_open(child.pid), child)


def _earlier_agent(directory: Path) -> tuple[_Agent, list[str]] | None:
    """The agent that an earlier `hal dev` left in this directory, with its command line; None without one."""
    try:
        pid = int((directory / PID_NAME).read_text())
        pidfd = os.pidfd_open(pid)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return None
    # Read after the process is pinned: the number may by now be that of somebody else.
    with suppress(FileNotFoundError, ProcessLookupError):
        command = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")[:-1]
        if "hal_core.agent" in command and str(directory) in command:
            return _Agent(pidfd), command
    os.close(pidfd)
    return None


def _own_nodes(configuration: Configuration) -> list[Node]:
    """Those that are not rented: these come when the daemon has them made."""
    offers = (offer for pool in configuration.cluster.pools for offer in pool.offers)
    rented = {name for offer in offers for name in offer.nodes}
    return [node for node in configuration.cluster.nodes if node.name not in rented]


async def _all_up(kernel: Kernel, announce: Callable[[str], None], names: Container[str]) -> None:
    """Wait until every one of these nodes has reported, but not for ever."""

    def late() -> list[str]:
        table = kernel.state.table
        rows = zip(table.nodes, table.status, strict=True)
        return [node.name for node, status in rows if node.name in names and status is not NodeStatus.UP]

    with trio.move_on_after(NODES_TIMEOUT_S) as scope:
        while late():
            await kernel.wait_beyond(kernel.durable_sequence)
    if scope.cancelled_caught:
        announce(f"not all nodes have reported after {NODES_TIMEOUT_S:g} s: {', '.join(late())}; going on without them")


def _greet(daemon: Daemon, announce: Announce, is_passing: bool) -> None:
    nodes = daemon.configuration.cluster.nodes
    memory_gib = sum(node.memory_bytes for node in nodes) / 2**30
    cpu_count = sum(node.cpu_count for node in nodes)
    what = f"{plural(len(nodes), 'node')}, {plural(cpu_count, 'CPU')}, {memory_gib:.1f} GiB"
    announce(f"HAL {hal_core.__version__}: cluster {daemon.configuration.cluster.name} is ready ({what})")
    if str(daemon.socket) != default_socket({**os.environ, "HAL_SERVER": ""}):
        announce(f"In another terminal: export HAL_SERVER={daemon.socket}")
    if daemon.configuration.hooks:
        announce("prolog and epilog are not run by `hal dev`; they are for `hal agent`")
    if daemon.configuration.listen.address:
        announce("The web page: run `hal page` and open what it prints")
    left = "leaves nothing behind" if is_passing else f"keeps the state in {daemon.state_directory}"
    announce(f"Try: hal run -- hostname    Ctrl-C ends the cluster and {left}.")

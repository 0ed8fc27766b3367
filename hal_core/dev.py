"""`hal dev`: a whole cluster on this machine, for trying things out. The daemon runs in this process, agents beside it.

Without `--state` all of it lives in a temporary directory. Ctrl-C ends everything: jobs, agents, daemon, in this order,
and nothing is left behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

import hal_core
from hal_core.client.address import default_socket
from hal_core.config.machine import describe_machine, read_machine_facts
from hal_core.config.reading import read_configuration
from hal_core.config.schema import Configuration
from hal_core.daemon import AGENT_SOCKET_NAME, Announce, Daemon, run_service, until_signalled
from hal_core.kernel.loop import Kernel
from hal_core.models.node import Node, NodeStatus
from hal_core.plugins import Plugins

NODES_TIMEOUT_S = 20.0
AGENT_END_TIMEOUT_S = 15.0


def run_dev(arguments: Namespace, announce: Announce) -> int:
    """Serve until SIGINT or SIGTERM."""
    plugins = Plugins.load()
    socket = Path(arguments.socket or default_socket(os.environ)).absolute()
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _state_directory(arguments.state) as directory:
        configuration = _configuration(arguments, plugins, directory, socket)
        run_service(partial(_serve, Daemon(configuration, plugins, arguments.config), announce))
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


def _configuration(arguments: Namespace, plugins: Plugins, directory: Path, socket: Path) -> Configuration:
    if arguments.config:
        configuration = read_configuration(arguments.config, plugins.installed())
        listen = attrs.evolve(configuration.listen, socket=str(socket))
        return attrs.evolve(configuration, listen=listen, state_directory=str(directory))
    facts = read_machine_facts()
    if arguments.cpus:
        facts = attrs.evolve(facts, cpu_count=arguments.cpus * arguments.nodes)
    configuration = describe_machine(facts, str(directory), str(socket), arguments.nodes)
    log = {"path": str(directory / "events.log")}
    return attrs.evolve(configuration, observers={**configuration.observers, "log": log})


async def _serve(daemon: Daemon, announce: Announce) -> None:
    agent_socket = daemon.state_directory / AGENT_SOCKET_NAME
    agents = _agents(daemon.configuration.cluster.nodes, daemon.state_directory, agent_socket)
    async with until_signalled() as nursery, agents:
        kernel = await nursery.start(daemon.serve)
        await _all_up(kernel, announce)
        _greet(daemon, announce)
        await trio.sleep_forever()


@asynccontextmanager
async def _agents(nodes: tuple[Node, ...], directory: Path, socket: Path) -> AsyncIterator[None]:
    """One agent process for each node that bare metal serves. At the end they kill their jobs, and go."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        metal = [node for node in nodes if node.executor == "metal"]
        processes.extend(_start_agent(node, directory / "nodes" / node.name, socket) for node in metal)
        yield
    finally:
        for process in processes:
            process.terminate()
        with trio.CancelScope(shield=True):
            for process in processes:
                await trio.to_thread.run_sync(partial(_wait_for, process, AGENT_END_TIMEOUT_S))


def _start_agent(node: Node, directory: Path, socket: Path) -> subprocess.Popen[bytes]:
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "hal_core.agent", "--name", node.name, "--cpus", str(node.cpu_count)]
    command += ["--memory-bytes", str(node.memory_bytes), "--gpus", ",".join(node.gpus)]
    command += ["--directory", str(directory), "--socket", str(socket), "--ephemeral"]
    with open(directory / "agent.log", "ab") as log:
        # A session of its own: Ctrl-C is for this process, which then ends the agents in good order.
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _wait_for(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _all_up(kernel: Kernel, announce: Callable[[str], None]) -> None:
    """Wait until every node has reported, but not for ever."""
    with trio.move_on_after(NODES_TIMEOUT_S) as scope:
        while any(status is not NodeStatus.UP for status in kernel.state.table.status):
            await kernel.wait_beyond(kernel.durable_sequence)
    if scope.cancelled_caught:
        late = [
            node.name
            for node, status in zip(kernel.state.table.nodes, kernel.state.table.status, strict=True)
            if status is not NodeStatus.UP
        ]
        announce(f"not all nodes have reported after {NODES_TIMEOUT_S:g} s: {', '.join(late)}; going on without them")


def _greet(daemon: Daemon, announce: Announce) -> None:
    nodes = daemon.configuration.cluster.nodes
    memory_gib = sum(node.memory_bytes for node in nodes) / 2**30
    cpu_count = sum(node.cpu_count for node in nodes)
    what = f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}, {cpu_count} CPUs, {memory_gib:.1f} GiB"
    announce(f"HAL {hal_core.__version__}: cluster {daemon.configuration.cluster.name} is ready ({what})")
    if str(daemon.socket) != default_socket({**os.environ, "HAL_SERVER": ""}):
        announce(f"In another terminal: export HAL_SERVER={daemon.socket}")
    announce("Try: hal run -- hostname    Ctrl-C ends the cluster and leaves nothing behind.")

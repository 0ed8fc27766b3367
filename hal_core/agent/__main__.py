"""`python -m hal_core.agent`: one agent as a process of its own. Reads arguments, runs until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import trio

from hal_core.agent.agent import Agent
from hal_core.agent.identity import Identity
from hal_core.agent.launcher.tree import close_to_others
from hal_core.agent.options import AgentOptions
from hal_core.errors import Refused
from hal_core.models.node import Node, NodeName

STANDARD_INPUT = 0


def main(arguments: Sequence[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    trio.run(serve, read_arguments(arguments))


async def serve(options: AgentOptions) -> None:
    """Run an agent until the process is asked to end. Jobs go on, unless the agent is ephemeral."""
    close_to_others()

    async def dial() -> trio.abc.Stream:
        return await trio.open_unix_socket(str(options.daemon_socket))

    identity = Identity.find(options.state_directory, options.server) if options.server else None
    if options.server and identity is None:
        raise Refused(
            f"{options.state_directory} has no certificate for {options.server}: run `hal agent enroll` first"
        )
    agent = Agent(options, dial if identity is None else identity.dial, random.SystemRandom(), identity)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent.run)
        if options.is_leashed:
            nursery.start_soon(_end_with_input, nursery.cancel_scope)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()
                return


async def _end_with_input(scope: trio.CancelScope) -> None:
    """End when standard input does: its other end is held by who started us, and is gone when they are."""
    while True:
        await trio.lowlevel.wait_readable(STANDARD_INPUT)
        if not os.read(STANDARD_INPUT, 4096):
            scope.cancel()
            return


def read_arguments(arguments: Sequence[str] | None) -> AgentOptions:
    parser = argparse.ArgumentParser(prog="hal agent", description="Runs jobs on this machine as one node of HAL.")
    parser.add_argument("--name", required=True, help="the node's name, as in the cluster's configuration")
    parser.add_argument("--cpus", type=int, required=True, help="number of CPUs that this node offers")
    parser.add_argument("--memory-bytes", type=int, required=True, help="memory that this node offers")
    parser.add_argument("--gpus", default="", help="types of the GPUs in the order of their indices: a100,a100")
    parser.add_argument("--directory", type=Path, required=True, help="state directory of this agent alone")
    parser.add_argument("--socket", type=Path, required=True, help="the daemon's socket for agents (agents.sock)")
    parser.add_argument("--pids-max", type=int, default=0, help="processes per job (0: no limit)")
    parser.add_argument("--limit-cpus", action="store_true", default=None, help="CPU quota for every job, by cgroup")
    parser.add_argument("--ephemeral", action="store_true", help="at the end kill all jobs")
    parser.add_argument("--leashed", action="store_true", help="end when standard input does")
    given = parser.parse_args(arguments)
    gpus = tuple(filter(None, given.gpus.split(",")))
    return AgentOptions(
        node=Node(NodeName(given.name), given.cpus, given.memory_bytes, gpus),
        state_directory=given.directory.absolute(),
        daemon_socket=given.socket.absolute(),
        pids_max=given.pids_max,
        does_limit_cpus=given.limit_cpus,
        is_ephemeral=given.ephemeral,
        is_leashed=given.leashed,
    )


if __name__ == "__main__":
    main()

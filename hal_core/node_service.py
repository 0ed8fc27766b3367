"""`hal agent`: one node's agent, described by the same configuration file that the daemon reads.

Kept apart from daemon.py, because an agent must start without importing what only the daemon needs.
"""

from __future__ import annotations

import logging
import socket
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import trio

from hal_core.agent.__main__ import serve
from hal_core.agent.options import AgentOptions
from hal_core.config.reading import read_configuration
from hal_core.errors import NotFound, did_you_mean

AGENT_SOCKET_NAME = "agents.sock"


def run_agent(arguments: Namespace, announce: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT. Jobs go on meanwhile: the next agent of the node takes them over."""
    configuration = read_configuration(arguments.config)
    name = arguments.node or socket.gethostname().partition(".")[0]
    nodes = {node.name: node for node in configuration.cluster.nodes}
    node = next((node for node in nodes.values() if node.name == name), None)
    if node is None:
        raise NotFound(f"--node: {arguments.config} has no node named {name!r}{did_you_mean(name, nodes)}")
    state_directory = Path(configuration.state_directory)
    options = AgentOptions(
        node=node,
        state_directory=Path(arguments.state or f"{state_directory}-nodes/{name}").absolute(),
        daemon_socket=Path(arguments.server) if arguments.server else state_directory / AGENT_SOCKET_NAME,
    )
    # Beside the daemon's directory, not below it: that one is private, and jobs of all users must reach their scripts.
    options.state_directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    announce(f"agent of {name} dials {options.daemon_socket}")
    trio.run(serve, options)
    return 0

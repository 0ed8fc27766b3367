"""`hal agent`: one node's agent, described by the same configuration file that the daemon reads.

Kept apart from daemon.py, because an agent must start without importing what only the daemon needs.
"""

from __future__ import annotations

import logging
import os
import shlex
import socket
from argparse import Namespace
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import attrs
import trio

from hal_core.agent.__main__ import serve
from hal_core.agent.identity import Identity, enrol
from hal_core.agent.instance import InstanceOptions
from hal_core.agent.launcher.hooks import why_unsafe
from hal_core.agent.options import AgentOptions
from hal_core.agent.reading import Source
from hal_core.agent.terminals import TERMINAL_SOCKET
from hal_core.config.configuration import Configuration
from hal_core.config.pinning import pins_of
from hal_core.config.reading import read_configuration
from hal_core.configured import AGENT_SOCKET_NAME
from hal_core.errors import HalError, InvalidInput, NotFound, Problem, Unavailable, did_you_mean
from hal_core.models.node import NodeName
from hal_core.planes import DataSource, NoticeSource
from hal_core.wire.socket_path import check_socket_path
from hal_core.wire.tls import parse_address


def run_agent(arguments: Namespace, announce: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT. Jobs go on meanwhile: the next agent of the node takes them over."""
    configuration = read_configuration(arguments.config)
    name = arguments.node or socket.gethostname().partition(".")[0]
    nodes = {node.name: node for node in configuration.cluster.nodes}
    node = next((node for node in nodes.values() if node.name == name), None)
    if node is None:
        raise NotFound(f"--node: {arguments.config} has no node named {name!r}{did_you_mean(name, nodes)}")
    state_directory = Path(configuration.state_directory)
    own_directory = Path(arguments.state or f"{state_directory}-nodes/{name}").absolute()
    options = AgentOptions(
        node,
        own_directory,
        state_directory / AGENT_SOCKET_NAME,
        hooks=checked_hooks(configuration, node.name),
        hook_timeout_s=configuration.hook_timeout,
        store_directory=Path(configuration.data.store) if configuration.data.store else None,
        store_budget_bytes=configuration.data.budget,
        store_bytes_per_s=float(configuration.data.limit),
        lending_port=configuration.data.port,
        sources=data_sources(configuration),
        instance=rented(arguments, configuration),
    )
    if "/" in (arguments.server or ""):
        options = attrs.evolve(options, daemon_socket=Path(arguments.server))
    elif arguments.server:
        checked_address(arguments.server)
        options = attrs.evolve(options, server=arguments.server)
    elif (identity := Identity.find(own_directory)) is not None:
        options = attrs.evolve(options, server=identity.server)
    check_socket_path(own_directory / TERMINAL_SOCKET, "--state" if arguments.state else "state_directory")
    if not options.server:
        check_socket_path(options.daemon_socket, "--server" if arguments.server else "state_directory")
    # Beside the daemon's directory, not below it: that one is private, and jobs of all users must reach their scripts.
    options.state_directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    announce(f"agent of {name} dials {options.server or options.daemon_socket}")
    run_to_its_end(partial(serve, options))
    return 0


def data_sources(configuration: Configuration) -> dict[str, Source]:
    """The providers that this node's store reads from. Paths it reads by itself: then nothing is loaded."""
    if not configuration.localities.keys() - {"files"}:
        return {}
    from hal_core.plugins import Plugins

    plugins = Plugins.load(pins=pins_of(configuration.plugins))
    made = {name: plugins.locality(name, options) for name, options in configuration.localities.items()}
    return {name: each for name, each in made.items() if isinstance(each, DataSource)}


def rented(arguments: Namespace, configuration: Configuration) -> InstanceOptions | None:
    """Of a machine that is somebody else's."""
    if arguments.lease is None:
        if arguments.notices:
            raise InvalidInput([Problem("--notices", "is for rented machines: give --lease as well")])
        return None
    from hal_core.config.scalars import INTERVAL

    try:
        lease_s = INTERVAL.parse(arguments.lease)
    except InvalidInput as error:
        raise InvalidInput([Problem("--lease", each.text) for each in error.problems]) from None
    words = tuple(shlex.split(arguments.end_command))
    if not words:
        raise InvalidInput([Problem("--end-command", "expected a program, with its arguments")])
    return InstanceOptions(lease_s, words, notice_source(arguments.notices, configuration))


def notice_source(given: str | None, configuration: Configuration) -> NoticeSource | None:
    if not given:
        return None
    from hal_core.plugins import Plugins

    name, _, endpoint = given.partition("=")
    return Plugins.load(pins=pins_of(configuration.plugins)).notices(name, {"endpoint": endpoint} if endpoint else {})


def checked_hooks(configuration: Configuration, node: NodeName) -> dict[str, tuple[str, str]]:
    """Those of the node's partitions. Refused by name if others than root could change what would run as root."""
    of_node = {partition.name for partition in configuration.cluster.partitions if node in partition.nodes}
    hooks = {name: hooks for name, hooks in configuration.hooks.items() if name in of_node}
    problems = {
        Problem(f"{what} {path}", f"is not run on this node: {wrong}")
        for pair in hooks.values()
        for what, path in zip(("prolog", "epilog"), pair, strict=True)
        if path and (wrong := why_unsafe(os.fsencode(path)))
    }
    if problems:
        raise InvalidInput(sorted(problems, key=lambda problem: problem.place))
    return hooks


def run_enroll(arguments: Namespace, announce: Callable[[str], None]) -> int:
    """`hal agent enroll`: a key and a certificate for this machine."""
    checked_address(arguments.server)
    state_directory = Path(arguments.state or f"/var/lib/hal-nodes/{arguments.node}").absolute()
    state_directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    try:
        trio.run(enrol, arguments.server, arguments.node, arguments.token, state_directory)
    except trio.TooSlowError:
        raise Unavailable(f"{arguments.server} does not answer") from None
    except OSError as error:
        raise Unavailable(f"{arguments.server}: {error.strerror or error}") from None
    announce(f"this machine is node {arguments.node} of the daemon at {arguments.server} ({state_directory})")
    return 0


def checked_address(text: str) -> None:
    try:
        parse_address(text)
    except ValueError as error:
        raise InvalidInput([Problem("--server", str(error))]) from None


def run_to_its_end(serve: Callable[[], Awaitable[None]]) -> None:
    """What is refused on purpose comes out as itself."""
    try:
        trio.run(serve)
    except BaseExceptionGroup as group:
        refused, rest = group.split(HalError)
        if refused is None or rest is not None:
            raise
        error: BaseException = refused
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None

"""`hal agent`: start a node's agent; let a node join (`token`, on the daemon's machine; `enroll`, on the node); revoke.

A join token is a secret, so it comes from a file or standard input, never from the command line, where every user of
the machine could read it.
"""

from __future__ import annotations

import sys
from argparse import Namespace

from hal_core.cli import services
from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.usage import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

SUMMARIES = {
    "token": "Make a join token, with which one node can enroll once",
    "enroll": "Make this machine a node of a cluster, with a join token",
    "revoke": "Void all certificates and tokens of a node, and close its connection",
}
USAGES = {
    "agent": "hal agent CONFIG [--node NAME] [--server HOST:PORT] [--state DIR]\n"
    "       hal agent CONFIG --lease DURATION [--notices NAME[=URL]] [--end-command WORDS]    (on a rented machine)\n"
    "       hal agent token CONFIG NODE [--life DURATION]    (on the daemon's machine)\n"
    "       hal agent enroll --server HOST:PORT --node NAME [--token-file FILE] [--state DIR]\n"
    "       hal agent revoke CONFIG NODE                     (on the daemon's machine)"
}
TOKEN_BYTES_MAX = 16_384


def configure(parser: Parser) -> None:
    services.configure(parser)


def run_words(console: Console, words: list[str]) -> int:
    from hal_core.cli.dispatch import command_parser

    if not words or words[0] not in SUMMARIES:
        return services.run(console, command_parser("agent").parse(words))
    action, *rest = words
    parser = Parser(f"agent {action}", SUMMARIES[action])
    if action == "enroll":
        parser.add_argument("--server", metavar="HOST:PORT", required=True, help="where the daemon listens for agents")
        parser.add_argument("--node", metavar="NAME", required=True, help="the name of this node")
        parser.add_argument(
            "--token-file", metavar="FILE", default="-", help="the join token (default: standard input)"
        )
        parser.add_argument("--state", metavar="DIR", help="the agent's state (default: /var/lib/hal-nodes/NAME)")
        return enroll(console, parser.parse(rest))
    parser.add_argument("config", metavar="CONFIG", help="the cluster's configuration file")
    parser.add_argument("node", metavar="NODE", help="the node's name")
    if action == "token":
        parser.add_argument("--life", metavar="DURATION", default="1h", help="how long it is good (default: 1h)")
        return token(console, parser.parse(rest))
    return revoke(console, parser.parse(rest))


def token(console: Console, arguments: Namespace) -> int:
    import time

    from hal_core.config.scalars import INTERVAL
    from hal_core.wire.authority import Authority

    life_s = INTERVAL.parse(arguments.life)
    made = Authority(_authority_directory(arguments)).make_token(arguments.node, time.time(), life_s, _own_name())
    console.line(made.text())
    if sys.stdout.isatty():
        console.note(f"a secret: give it to node {arguments.node} within {arguments.life}, in a file or a pipe")
    return 0


def revoke(console: Console, arguments: Namespace) -> int:
    from hal_core.wire.authority import Authority

    count = Authority(_authority_directory(arguments)).revoke(arguments.node, _own_name())
    console.line(f"node {arguments.node}: {count} certificate{'' if count == 1 else 's'} or tokens revoked")
    return 0


def enroll(console: Console, arguments: Namespace) -> int:
    import importlib

    try:
        if arguments.token_file == "-":  # noqa: S105 - not a token, but where it is
            text = sys.stdin.read(TOKEN_BYTES_MAX)
        else:
            with open(arguments.token_file, encoding="ascii") as file:
                text = file.read(TOKEN_BYTES_MAX)
    except UnicodeDecodeError:
        raise UsageError("--token-file: holds no join token, but binary data") from None
    arguments.token = text
    return int(importlib.import_module("hal_core.node_service").run_enroll(arguments, console.line))


def _own_name() -> str:
    """Of whom this machine's kernel knows us to be."""
    import os
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _authority_directory(arguments: Namespace) -> Path:
    from pathlib import Path

    from hal_core.config.reading import read_configuration
    from hal_core.errors import NotFound, did_you_mean

    configuration = read_configuration(arguments.config)
    names = [node.name for node in configuration.cluster.nodes]
    if arguments.node not in names:
        hint = did_you_mean(arguments.node, names)
        raise NotFound(f"{arguments.config} has no node named {arguments.node!r}{hint}")
    return Path(configuration.state_directory) / "ca"

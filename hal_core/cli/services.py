"""`hal dev`, `daemon`, `agent` and `demo`: the commands that become a service. Each reads its options and hands over.

The only module of the CLI that knows the composition roots, and it imports them when their command is called. They
print nothing: what a person should see comes back through `announce`.
"""

from __future__ import annotations

import importlib
from argparse import Namespace

from hal_core.cli.arguments import Parser, checked, count
from hal_core.cli.console import Console

CONFIGURATION_REFUSED = 78
"""EX_CONFIG: a service manager need not try again."""
ROOTS = {
    "dev": ("hal_core.dev", "run_dev"),
    "daemon": ("hal_core.daemon", "run_daemon"),
    "demo": ("hal_core.demo", "run_demo"),
    "agent": ("hal_core.node_service", "run_agent"),
}
"""Command -> (module, function). Called as function(arguments, announce) -> exit code."""


def configure(parser: Parser) -> None:
    if parser.command == "dev":
        parser.add_argument("--state", metavar="DIR", help="keep the state here (default: nothing is left behind)")
        parser.add_argument("--nodes", metavar="N", type=checked(count), default=1, help="how many nodes (default: 1)")
        parser.add_argument("--cpus", metavar="N", type=checked(count), help="CPUs of each node (default: all)")
        parser.add_argument("--address", metavar="ADDRESS", help="serve the web page at 127.0.0.1:8817 or so")
        parser.add_argument("--cloud", action="store_true", help="one small node, and a pool of pretended rented ones")
        parser.add_argument("--config", metavar="FILE", help="a configuration instead of describing this machine")
        parser.add_argument("--socket", metavar="PATH", help="where to listen (default: where the commands look)")
    elif parser.command == "daemon":
        parser.add_argument("config", metavar="CONFIG", help="the cluster's configuration file")
        parser.add_argument("--socket", metavar="PATH", help="where to listen (default: as configured)")
    elif parser.command == "agent":
        parser.add_argument("config", metavar="CONFIG", help="the cluster's configuration file")
        parser.add_argument("--node", metavar="NAME", help="the node's name (default: this machine's host name)")
        parser.add_argument("--server", metavar="ADDRESS", help="the daemon: path of its agent socket, or host:port")
        parser.add_argument("--state", metavar="DIR", help="where records of running jobs are kept")
        parser.add_argument("--lease", metavar="DURATION", help="this machine is rented, and ends by itself after it")
        parser.add_argument("--notices", metavar="NAME[=URL]", help="who says that a rented machine is taken back")
        parser.add_argument("--end-command", metavar="WORDS", default="shutdown -h now", help="ends a rented machine")
    else:
        parser.add_argument("--keep", action="store_true", help="leave the cluster running at the end, until Ctrl-C")


def run(console: Console, arguments: Namespace) -> int:
    module, function = ROOTS[arguments.command]

    def announce(text: str) -> None:
        console.line(text)
        console.flush()

    from hal_core.errors import InvalidInput

    try:
        return int(getattr(importlib.import_module(module), function)(arguments, announce))
    except InvalidInput as error:
        console.note(str(error))
        return CONFIGURATION_REFUSED if arguments.command in ("daemon", "agent") else 1

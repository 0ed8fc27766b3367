"""`hal ca init`: make the certificate authority by which agents on other machines and the daemon know each other."""

from __future__ import annotations

from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console

USAGES = {"ca": "hal ca init CONFIG"}


def configure(parser: Parser) -> None:
    parser.add_argument("action", choices=("init",), metavar="init", help="make the authority, once")
    parser.add_argument("config", metavar="CONFIG", help="the cluster's configuration file")


def run(console: Console, arguments: Namespace) -> int:
    import time
    from pathlib import Path

    from hal_core.config.reading import read_configuration
    from hal_core.wire.authority import Authority

    configuration = read_configuration(arguments.config)
    directory = Path(configuration.state_directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Authority.create(directory / "ca", configuration.cluster.name, time.time())
    console.line(f"made {authority.directory}; keep it as safe as the journal beside it")
    if not configuration.executors.get("metal", {}).get("listen"):
        console.line('next: write `executors: {metal: {listen: "0.0.0.0:7444"}}` into the configuration')
    console.line(f"then, for each node: hal agent token {arguments.config} NODE")
    return 0

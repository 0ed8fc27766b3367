"""`hal page`: the address of the daemon's web page, with a token behind the hash, where no server or log sees it."""

from __future__ import annotations

from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console


def configure(parser: Parser) -> None:
    parser.add_argument(
        "-l", "--lifetime", metavar="TIME", help="how long its token is good: 10m, 1h (default: as the site allows)"
    )


def run(console: Console, arguments: Namespace) -> int:
    made = console.post("/v1/tokens", {} if arguments.lifetime is None else {"lifetime": arguments.lifetime}).json()
    listen = console.get("/v1/configuration").json()["configuration"]["listen"]
    scheme = "https" if listen["certificate"] else "http"
    console.line(f"{scheme}://{listen['address']}/#token={made['token']}")
    console.note("whoever has this line is you until the token ends; open it in a browser and clear it from the screen")
    return 0

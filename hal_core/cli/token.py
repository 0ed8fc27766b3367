"""`hal token`: a token for using HAL from another machine. It is shown nowhere but where it is asked for."""

from __future__ import annotations

import os
from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import instant


def configure(parser: Parser) -> None:
    parser.add_argument(
        "-l", "--lifetime", metavar="TIME", help="how long it is good: 10m, 1h (default: as long as the site allows)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write it into FILE, which only you can read")
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    body = {} if arguments.lifetime is None else {"lifetime": arguments.lifetime}
    answer = console.post("/v1/tokens", body)
    made = answer.json()
    if arguments.output:
        write(arguments.output, made["token"])
        console.note(
            f"{arguments.output} is good until {instant(made['end_time_s'])}; whoever has it is {made['user']}"
        )
    elif arguments.json:
        console.body(answer)
    else:
        console.line(made["token"])
    return 0


def write(path: str, token: str) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    fresh = f"{path}.{os.getpid()}.new"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(f"{token}\n")
    os.replace(fresh, path)

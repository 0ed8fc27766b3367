"""`hal man`: the manual pages, made of what the commands say of themselves. There is no other text of them to keep."""

from __future__ import annotations

import importlib
import os
import re
from argparse import Namespace
from collections.abc import Iterator, Sequence

from hal_core import __version__
from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.dispatch import COMMANDS, all_commands, command_parser
from hal_core.cli.usage import UsageError

EXIT_CODES = (
    ("0", "done"),
    ("1", "refused, or failed"),
    ("2", "the command line is wrong"),
    ("130", "ended by Ctrl-C"),
    ("141", "whoever read the output went away"),
)
VARIABLES = (
    ("HAL_SERVER", "where the daemon is: the path of its socket, or https://HOST:PORT"),
    ("HAL_TOKEN_FILE", "the file with the token for a daemon on another machine"),
    ("NO_COLOR", "set to anything: no colours"),
    ("HAL_DEBUG", "set to 1: a bug shows where it is"),
)
_OPTION_LINE = re.compile(r" +(-.*?)(?: {2,}(.*))?")

Entry = tuple[str, str]
"""An option or argument as it is written, and what it means."""


def configure(parser: Parser) -> None:
    parser.add_argument("page", metavar="COMMAND", nargs="?", help="the page of one command (default: of hal itself)")
    parser.add_argument(
        "--output", metavar="DIR", help="write all pages to DIR/man1 instead, such as /usr/local/share/man"
    )


def run(console: Console, arguments: Namespace) -> int:
    if arguments.output is not None:
        if arguments.page is not None:
            raise UsageError("--output writes all pages; leave out the command")
        directory = os.path.join(arguments.output, "man1")
        os.makedirs(directory, exist_ok=True)
        for name, text in pages():
            with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
                file.write(text)
        console.note(f"{len(all_commands()) + 1} pages are in {directory}")
        return 0
    if arguments.page is not None and arguments.page not in all_commands():
        from hal_core.errors import did_you_mean

        raise UsageError(f"{arguments.page!r} is not a command{did_you_mean(arguments.page, all_commands())}")
    console.write(main_page() if arguments.page is None else command_page(arguments.page))
    return 0


def pages() -> Iterator[tuple[str, str]]:
    """(file name, page) of hal and of each of its commands."""
    yield "hal.1", main_page()
    for name in all_commands():
        yield f"hal-{name}.1", command_page(name)


def main_page() -> str:
    lines = [*_head("hal", "submit jobs, see what becomes of them, run a cluster"), ".SH SYNOPSIS"]
    lines += [_plain("hal COMMAND [OPTIONS] [ARGUMENTS]"), ".SH COMMANDS"]
    for group, commands in COMMANDS.items():
        lines.append(f".SS {_plain(group)}")
        lines += _entries([(f"hal-{name}(1)", summary) for name, (_, summary) in commands.items()])
    lines += [".SH ENVIRONMENT", *_entries(VARIABLES), ".SH EXIT STATUS", *_entries(EXIT_CODES)]
    return "\n".join(lines) + "\n"


def command_page(name: str) -> str:
    module_name, summary = all_commands()[name]
    module = importlib.import_module(f"hal_core.cli.{module_name}")
    if hasattr(module, "configure"):
        parser = command_parser(name)
        usage, texts, entries = parser.format_usage().splitlines(), [summary + "."], parser.entries()
    else:
        usage, texts, entries = _read_help(module.HELP)
    lines = [*_head(f"hal-{name}", summary), ".SH SYNOPSIS", ".nf"]
    lines += [_plain(re.sub("^([Uu]sage: | {7})", "", line)) for line in usage]
    lines += [".fi", ".SH DESCRIPTION", *_paragraphs(texts)]
    if entries:
        lines += [".SH OPTIONS", *_entries(entries)]
    if hasattr(module, "print_job_options"):
        from hal_core.cli.option_help import OPTION_HELP

        lines += [".SH OPTIONS OF A JOB", *_entries([(option.strip(), meaning) for option, meaning in OPTION_HELP])]
    others = "hal(1)" if name == "submit" else "hal(1), hal-submit(1)"
    return "\n".join([*lines, ".SH SEE ALSO", _plain(others)]) + "\n"


def _read_help(text: str) -> tuple[list[str], list[str], list[Entry]]:
    """(usage lines, paragraphs, options) of the help of a command that reads its command line itself."""
    usage, *blocks = text.split("\n\n")
    texts: list[str] = []
    entries: list[Entry] = []
    for block in blocks:
        if _OPTION_LINE.fullmatch(block.split("\n")[0]) is None:
            texts.append(block)
            continue
        for line in block.split("\n"):
            if match := _OPTION_LINE.fullmatch(line):
                entries.append((match[1], match[2] or ""))
            else:
                head, before = entries.pop()
                entries.append((head, f"{before} {line.strip()}".strip()))
    return usage.split("\n"), texts, entries


def _paragraphs(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        yield ".PP"
        yield from (".nf", _plain(text), ".fi") if text.startswith(" ") else (_plain(text),)


def _head(name: str, summary: str) -> list[str]:
    title = f'.TH {_plain(name.upper())} 1 "" "HAL {__version__}" "HAL"'
    return [title, ".SH NAME", f"{_plain(name)} \\- {_plain(summary)}"]


def _entries(entries: Sequence[Entry]) -> list[str]:
    return [line for head, text in entries for line in (".TP", f".B {_plain(head)}", _plain(text) or "\\&")]


def _plain(text: str) -> str:
    """Text that roff prints as it is: no line of it is a command, no letter of it an escape."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga").replace("…", "...")
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in text.split("\n"))

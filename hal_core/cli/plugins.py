"""`hal plugins`: what the daemon has loaded, and what is installed here that it has not.

A daemon loads plugins when it starts. With `--here` only this environment is looked at; `--pin` prints that as the
`plugins` section of a configuration.
"""

from __future__ import annotations

import json
from argparse import Namespace
from textwrap import wrap

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import escaped, instant
from hal_core.cli.usage import UsageError
from hal_core.client.transport import NoAnswer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOT_IN_DAEMON = "not in the daemon"
COLUMNS_MAX = 100
TEXT_COLUMNS_MIN = 30
"""However long the names beside it are."""


def configure(parser: Parser) -> None:
    parser.add_json()
    parser.add_argument("--here", action="store_true", help="what is installed here; asks no daemon")
    parser.add_argument(
        "--pin", action="store_true", help="with --here: versions and digests, for `plugins` in the YAML"
    )


def run(console: Console, arguments: Namespace) -> int:
    if arguments.pin and not arguments.here:
        raise UsageError("--pin looks at what is installed here: hal plugins --here --pin")
    if arguments.here:
        return print_here(console, arguments)
    try:
        answer = console.get("/v1/plugins")
    except NoAnswer:
        console.note("hal plugins asks the daemon; for what is installed here: hal plugins --here")
        raise
    if arguments.json:
        console.body(answer)
        return 0
    plugins = answer.json()["plugins"]
    missing = [] if "://" in console.connection.path else installed_here()
    loaded = {each["name"] for each in plugins}
    missing = [each | {"status": NOT_IN_DAEMON} for each in missing if each["name"] not in loaded]
    print_plugins(console, plugins + missing)
    if missing:
        console.note("a daemon loads plugins when it starts: what was installed since then, or elsewhere, is not in it")
    return 0


def print_here(console: Console, arguments: Namespace) -> int:
    plugins = installed_here()
    if arguments.pin:
        print_pins(console, [each["name"] for each in plugins if each["status"] == "loaded"])
    elif arguments.json:
        console.write(json.dumps({"plugins": plugins}))
    else:
        print_plugins(console, plugins)
    return 0


def installed_here() -> list[dict[str, Any]]:
    """As the daemon tells it: the plugins of this environment."""
    import attrs

    from hal_core.plugins import Plugins

    def plain(_: object, __: object, value: Any) -> Any:
        return getattr(value, "value", value)

    return [attrs.asdict(each, value_serializer=plain) for each in Plugins.load().listing()]


def print_conduct(console: Console, provided: list[dict[str, Any]]) -> None:
    """What those in use cost so far, and what each last did wrong. Nothing, if none was called."""
    rows = [
        (
            f"{part['plane']} {part['name']}", str(conduct["call_count"]), f"{conduct['busy_s']:.3f} s",
            str(conduct["failure_count"]), instant(conduct["last_problem_time_s"]),
            escaped(conduct["last_problem"] or "-"),
        )
        for part in provided
        if (conduct := part.get("conduct"))
    ]  # fmt: skip
    if rows:
        console.line()
        right = (False, True, True, True)
        console.table(("IN USE", "CALLS", "BUSY", "FAILURES", "LAST", "WHAT IT WAS"), rows, right)


def print_pins(console: Console, names: list[str]) -> None:
    """Of the plugins of these names, as they are now."""
    from hal_core.plugins import pins_here

    console.line("plugins:")
    for name, pin in pins_here(names).items():
        console.line(f'  {name}: {{version: "{pin.version}", sha256: {pin.sha256}}}')


def print_plugins(console: Console, plugins: list[dict[str, Any]]) -> None:
    heads = ("NAME", "STATUS", "DISTRIBUTION", "VERSION", "WHAT IT PROVIDES")
    fields = ("name", "status", "distribution", "version")
    widths = [
        max(len(head), *(len(each[field]) for each in plugins), 0) for head, field in zip(heads, fields, strict=False)
    ]
    room = max(COLUMNS_MAX - sum(widths) - 2 * len(widths), TEXT_COLUMNS_MIN)
    rows, colours = [], []
    for each in plugins:
        texts = [provides_text(each["provides"]), each["reason"] or each["summary"]]
        first, *more = [line for text in texts for line in wrap(escaped(text), room)] or ["-"]
        rows += [(*(each[field] for field in fields), first), *((*[""] * len(fields), line) for line in more)]
        colours += [{"broken": "red", NOT_IN_DAEMON: "yellow"}.get(each["status"], "")] * (1 + len(more))
    console.table(heads, rows, (), colours)
    print_conduct(console, [part for each in plugins for part in each["provides"]])
    not_yet = [f"{each['name']}: {text}" for each in plugins for text in each["not_yet"]]
    if not_yet:
        console.line()
        console.line("Not yet:", "bold")
        for text in not_yet:
            for line in wrap(escaped(text), COLUMNS_MAX, initial_indent="  ", subsequent_indent="    "):
                console.line(line)


def provides_text(provides: list[dict[str, Any]]) -> str:
    """`engine hal, easy; predictor last-two`."""
    by_plane: dict[str, list[str]] = {}
    for part in provides:
        by_plane.setdefault(part["plane"], []).append(part["name"])
    return "; ".join(f"{plane} {', '.join(names)}" for plane, names in by_plane.items())

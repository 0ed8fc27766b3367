"""`hal plugin`: begin a new plugin, and try one out. Needs no daemon."""

from __future__ import annotations

import importlib
import importlib.util
import json
from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import escaped
from hal_core.cli.usage import UsageError

ACTIONS = ("new", "test")
USAGES = {"plugin": "hal plugin new NAME --plane PLANE [--output DIR]\n       hal plugin test PACKAGE [--json]"}


def configure(parser: Parser) -> None:
    parser.add_argument("action", metavar="ACTION", help="new or test")
    parser.add_argument("name", metavar="NAME", help="of the new plugin; or of the package to test, or its directory")
    parser.add_argument("--plane", metavar="PLANE", help="engine, predictor, executor, locality, observer or cloud")
    parser.add_argument(
        "--output", metavar="DIR", help="where the new package is written (default: a folder NAME here)"
    )
    parser.add_argument("--json", action="store_true", help="print the checks as JSON: name, passed, reason")


def run(console: Console, arguments: Namespace) -> int:
    if arguments.action not in ACTIONS:
        raise UsageError(f"plugin has no action {arguments.action!r}; it has {' and '.join(ACTIONS)}")
    return begin(console, arguments) if arguments.action == "new" else test(console, arguments)


def begin(console: Console, arguments: Namespace) -> int:
    if arguments.plane is None:
        raise UsageError("new needs --plane: engine, predictor, executor, locality, observer or cloud")
    if arguments.json:
        raise UsageError("new takes no --json; it is for `hal plugin test`")
    from pathlib import Path

    output = Path(arguments.output or arguments.name)
    scaffold = importlib.import_module("hal_core.scaffold.package")
    for path in scaffold.write_package(arguments.name, arguments.plane, output):
        console.line(str(path))
    console.note(f"install it with: pip install -e {output}; then try it out: hal plugin test {arguments.name}")
    return 0


def test(console: Console, arguments: Namespace) -> int:
    for option in ("plane", "output"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"test takes no --{option}; it is for `hal plugin new`")
    for needed in ("hypothesis", "pytest"):
        if importlib.util.find_spec(needed) is None:
            way = "pip install 'hal-core[test]'; in a clone of HAL: make .venv/installed-for-tests"
            raise UsageError(f"the checks need {needed}; install it with: {way}")
    check_plugin = importlib.import_module("hal_core.testing.plugin_check").check_plugin
    checks = check_plugin(arguments.name, lambda name: console.progress(f"trying: {name}"))
    console.progress("")
    if arguments.json:
        found = [{"name": each.name, "passed": each.passed, "reason": each.reason} for each in checks]
        console.write(json.dumps({"checks": found}, indent=2))
    else:
        for each in checks:
            console.line(f"{'ok    ' if each.passed else 'FAILED'} {escaped(each.name)}", "" if each.passed else "red")
            for line in each.reason.splitlines():
                console.line(f"       {escaped(line)}")
    return 0 if all(each.passed for each in checks) else 1

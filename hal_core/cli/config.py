"""`hal config`: check a configuration file, show what is in force, print the JSON Schema. Only `show` asks the daemon.

Reading is hal_core.config's; nothing here knows a key of the file.
"""

from __future__ import annotations

import json
from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.usage import UsageError
from hal_core.models.plural import plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


USAGES = {
    "config": "hal config check FILE...\n"
    "       hal config show [--json]         (what the daemon runs with)\n"
    "       hal config show [--json] FILE    (what it would run with)\n"
    "       hal config show --defaults       (a commented file with every key)\n"
    "       hal config schema                (JSON Schema, for editors)"
}


def configure(parser: Parser) -> None:
    parser.add_argument("action", choices=("check", "show", "schema"), metavar="ACTION", help="check, show or schema")
    parser.add_argument("files", nargs="*", metavar="FILE", help="configuration files")
    parser.add_argument("--defaults", action="store_true", help="show every key with its default and meaning")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(console: Console, arguments: Namespace) -> int:
    if arguments.action == "check":
        return check(console, arguments)
    if arguments.action == "schema":
        from hal_core.config.describe import json_schema

        console.write(json.dumps(json_schema(), indent=2))
        return 0
    if len(arguments.files) > 1 or (arguments.defaults and arguments.files):
        raise UsageError("show takes one FILE, or --defaults alone")
    if arguments.defaults:
        from hal_core.config.describe import default_yaml

        console.write(default_yaml())
        return 0
    if arguments.files:
        print_configuration(
            console, {"configuration": in_force(arguments.files[0]), "path": arguments.files[0]}, arguments
        )
        return 0
    answer = console.get("/v1/configuration")
    if arguments.json:
        console.body(answer)
    else:
        print_configuration(console, answer.json(), arguments)
    return 0


def check(console: Console, arguments: Namespace) -> int:
    """Every problem of every file, at its line; a file without any is named too."""
    from hal_core.configured import check_options, read_with_plugins
    from hal_core.errors import InvalidInput

    if not arguments.files:
        raise UsageError("check needs the configuration FILE")
    results = []
    for path in arguments.files:
        try:
            configuration, plugins = read_with_plugins(path)
            check_options(configuration, plugins)
        except InvalidInput as error:
            results.append({"path": path, "problems": [{"place": p.place, "text": p.text} for p in error.problems]})
            if not arguments.json:
                console.note(str(error))
            continue
        results.append({"path": path, "problems": []})
        if not arguments.json:
            cluster = configuration.cluster
            sizes = f"{plural(len(cluster.nodes), 'node')}, {plural(len(cluster.partitions), 'partition')}"
            console.line(f"{path}: good ({cluster.name}: {sizes})")
    if arguments.json:
        console.line(json.dumps({"files": results}))
    return 1 if any(result["problems"] for result in results) else 0


def in_force(path: str) -> dict[str, Any]:
    """The file with all defaults applied, as plain values."""
    import msgspec

    from hal_core.config.reading import read_configuration

    values: dict[str, Any] = msgspec.to_builtins(read_configuration(path), str_keys=True)
    del values["places"]
    return values


def print_configuration(console: Console, body: dict[str, Any], arguments: Namespace) -> None:
    if arguments.json:
        console.line(json.dumps(body))
        return
    import yaml

    if body["path"] is None:
        console.line("# no file: this machine, as HAL describes it")
    else:
        console.line(f"# {body['path']}, with defaults applied")
    console.write(yaml.safe_dump(body["configuration"], sort_keys=False, allow_unicode=True))

"""`hal doctor`: one line for each thing that HAL needs, OK, WARN or FAIL, and for what is not OK the way out.

It changes nothing, unless a history is to be rebuilt. It works without a daemon, as that is when it is needed most.
"""

from __future__ import annotations

import importlib
import json
import os
import stat
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any, NamedTuple

from hal_core import __version__
from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console, temporary_directory
from hal_core.cli.formats import escaped, size
from hal_core.client.address import find_socket
from hal_core.client.transport import NoAnswer, Rejected

OK, WARN, FAIL = "OK", "WARN", "FAIL"
COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}
FREE_BYTES_LOW = 1024**3
FREE_BYTES_MIN = 100 * 1024**2
CONTROLLERS = ("cpu", "memory", "pids")
SQLITE_FIXED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
"""The first versions, newest series first, in which a reset of the write-ahead log cannot lose commits."""


class Finding(NamedTuple):
    status: str
    check: str
    text: str


def configure(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="a list of {status, check, text} as JSON")
    parser.add_argument("--journal", metavar="DIR", help="check every event of the journal in this state directory")
    parser.add_argument("--rebuild-history", action="store_true", help="with --journal, while no daemon runs on it")


def run(console: Console, arguments: Namespace) -> int:
    if arguments.journal:
        findings = list(check_journal(arguments.journal, arguments.rebuild_history))
    else:
        findings = list(examine(console))
    if arguments.json:
        console.line(json.dumps({"findings": [finding._asdict() for finding in findings]}))
    else:
        for status, check, text in findings:
            console.line(f"{status:<4}  {check:<10}  {escaped(text)}", COLOURS[status] if status != OK else "")
    return 1 if any(finding.status == FAIL for finding in findings) else 0


def examine(console: Console) -> Iterator[Finding]:
    yield from check_python()
    yield from check_bytecode()
    server = find_socket(console.environ)
    if "://" not in server:
        yield from check_socket(server)
    status = None
    try:
        status = console.connection.request("GET", "/v1/status").json()
        yield from check_daemon(status)
    except (NoAnswer, Rejected) as error:
        yield Finding(FAIL, "daemon", str(error))
    yield from check_disk([*state_directories(console, status), temporary_directory(console)])
    yield from check_cgroups()
    yield from check_sqlite()
    yield from check_plugins()


def check_python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    is_new_enough = sys.version_info >= (3, 11)
    yield Finding(OK if is_new_enough else FAIL, "python", version if is_new_enough else f"{version}; HAL needs 3.11")


def check_bytecode() -> Iterator[Finding]:
    """Whether starting `hal` has to compile its modules each time."""
    from importlib.util import cache_from_source

    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    missing = [
        name
        for name in ("cli/dispatch.py", "client/transport.py", "errors.py")
        if not os.path.exists(cache_from_source(os.path.join(root, name)))
    ]
    if missing:
        yield Finding(WARN, "bytecode", f"not compiled: commands start slowly; run: python -m compileall {root}")
    else:
        yield Finding(OK, "bytecode", "compiled")


def check_socket(path: str) -> Iterator[Finding]:
    """Whether somebody else could put their own daemon in the place of ours."""
    try:
        found = os.stat(path)
        directory = os.stat(os.path.dirname(path))
    except OSError as error:
        yield Finding(WARN, "socket", f"{path}: {error.strerror}; it appears when a daemon starts")
        return
    trusted = (0, os.getuid())
    if not stat.S_ISSOCK(found.st_mode):
        yield Finding(FAIL, "socket", f"{path} is no socket; remove it, or set HAL_SERVER")
    elif directory.st_mode & 0o022 and not directory.st_mode & stat.S_ISVTX:
        yield Finding(FAIL, "socket", f"others may write to {os.path.dirname(path)}; run: chmod go-w on it")
    elif found.st_uid not in trusted:
        yield Finding(WARN, "socket", f"{path} belongs to user {found.st_uid}; be sure that this is the site's daemon")
    else:
        yield Finding(OK, "socket", path)


def check_daemon(status: dict[str, Any]) -> Iterator[Finding]:
    if status["version"] == __version__:
        yield Finding(OK, "daemon", f"{status['cluster']}, version {status['version']}, event {status['sequence']}")
    else:
        yield Finding(WARN, "daemon", f"version {status['version']}; this command is {__version__}: upgrade the older")
    if not status["is_accepting"]:
        yield Finding(FAIL, "jobs", f"new jobs are refused: {status['problem']}")
    nodes = status["nodes"]
    missing = {kind: number for kind, number in nodes.items() if kind != "up" and number}
    if not nodes.get("up"):
        yield Finding(FAIL, "nodes", "no node is up; start an agent on each: hal agent")
    elif missing or status["drained_count"]:
        text = ", ".join(f"{number} {kind}" for kind, number in (nodes | {"drained": status["drained_count"]}).items())
        yield Finding(WARN, "nodes", f"{text}; `hal nodes` says why")
    else:
        yield Finding(OK, "nodes", f"{nodes['up']} up")


def state_directories(console: Console, status: dict[str, Any] | None) -> list[str]:
    """Where the daemon keeps its state, if it says so; else where it would be."""
    if status is not None:
        try:
            configuration = console.connection.request("GET", "/v1/configuration").json()["configuration"]
            return [str(configuration["state_directory"])]
        except (NoAnswer, Rejected, KeyError):
            pass
    return [console.environ.get("HOME") or "/"]


def check_disk(paths: list[str]) -> Iterator[Finding]:
    for path in dict.fromkeys(paths):
        while not os.path.isdir(path) and path != "/":
            path = os.path.dirname(path)
        try:
            disk = os.statvfs(path)
        except OSError as error:
            yield Finding(WARN, "disk", f"{path}: {error.strerror}")
            continue
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < FREE_BYTES_MIN or not disk.f_favail:
            yield Finding(FAIL, "disk", f"{path}: {size(free_bytes)} free; HAL refuses work on a full disk: make room")
        elif free_bytes < FREE_BYTES_LOW:
            yield Finding(WARN, "disk", f"{path}: only {size(free_bytes)} free; make room")
        else:
            yield Finding(OK, "disk", f"{path}: {size(free_bytes)} free")


def check_cgroups(root: str = "/sys/fs/cgroup") -> Iterator[Finding]:
    """Which kind there is, and whether limits on CPUs, memory and processes can be enforced by this user."""
    homes = controller_homes(root)
    if not homes:
        yield Finding(WARN, "cgroups", "none: limits on CPUs, memory and processes are not enforced; mount cgroup2")
        return
    kinds = {"v2" if home == root or home.endswith("/unified") else "v1" for home in homes.values()}
    has_unified = os.path.isdir(f"{root}/unified")
    kind = "hybrid" if (kinds == {"v1"} and has_unified) or len(kinds) > 1 else next(iter(kinds))
    lacking = [name for name in CONTROLLERS if name not in homes]
    if lacking:
        yield Finding(WARN, "cgroups", f"{kind} without {', '.join(lacking)}: not enforced; enable these controllers")
    elif not all(os.access(home, os.W_OK) for home in homes.values()):
        text = f"{kind}, but this user may not use them: an agent started by you enforces no limits; start it as root"
        yield Finding(WARN, "cgroups", text)
    else:
        yield Finding(OK, "cgroups", f"{kind} with {', '.join(CONTROLLERS)}")


def controller_homes(root: str) -> dict[str, str]:
    """Controller -> the directory of its hierarchy, for those that HAL uses."""
    homes = {name: f"{root}/{name}" for name in CONTROLLERS if os.path.isdir(f"{root}/{name}")}
    for unified in (root, f"{root}/unified"):
        try:
            with open(f"{unified}/cgroup.controllers") as file:
                available = file.read().split()
        except OSError:
            continue
        homes |= {name: unified for name in CONTROLLERS if name in available and name not in homes}
    return homes


def check_sqlite() -> Iterator[Finding]:
    import sqlite3

    version = sqlite3.sqlite_version_info
    is_fixed = any(version >= fixed and (at == 0 or version[:2] == fixed[:2]) for at, fixed in enumerate(SQLITE_FIXED))
    if is_fixed:
        yield Finding(OK, "sqlite", sqlite3.sqlite_version)
    else:
        text = "can lose commits if two programs write; HAL writes from one, so never open its journal with another"
        yield Finding(WARN, "sqlite", f"{sqlite3.sqlite_version} {text} (fixed in 3.51.3)")


def check_journal(directory: str, does_rebuild: bool) -> Iterator[Finding]:
    examine_journal = importlib.import_module("hal_core.journal_service").examine_journal
    for is_well, text in examine_journal(directory, does_rebuild):
        yield Finding(OK if is_well else FAIL, "journal", text)


def check_plugins() -> Iterator[Finding]:
    from hal_core.plugins import Plugins

    listing = Plugins.load().listing()
    for plugin in listing:
        if plugin.reason:
            yield Finding(WARN, "plugins", f"{plugin.name}: {plugin.status.value}: {plugin.reason.splitlines()[0]}")
    loaded = [plugin.name for plugin in listing if plugin.status.value == "loaded"]
    if loaded:
        yield Finding(OK, "plugins", f"{len(loaded)} loaded: {', '.join(loaded)}")
    else:
        yield Finding(FAIL, "plugins", "none is installed; install HAL with pip, so that its entry points are known")

"""`hal data`: the catalogue of datasets.

To add one, its files are read here, as the user, and the daemon is told their digests.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from argparse import Namespace
from collections.abc import Iterator

from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import duration, escaped, instant, pairs, size
from hal_core.cli.nodes import expanded
from hal_core.cli.reserve import nodes_text
from hal_core.cli.usage import UsageError
from hal_core.client.http import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ACTIONS = ("ls", "add", "show", "where", "pin", "unpin", "evict", "rm")
USAGES = {
    "data": "hal data [ls] [--json]\n"
    "       hal data add NAME[@VERSION] PATH [--replica PLACE]... [--pin] [--retention TIME] [--comment TEXT]\n"
    "       hal data add NAME[@VERSION] --manifest FILE --replica PLACE...\n"
    "       hal data show|where NAME[@VERSION]\n"
    "       hal data pin|unpin|rm NAME[@VERSION]...\n"
    "       hal data evict NAME[@VERSION]... [--nodes NODES]"
}
ADD_OPTIONS = ("replica", "manifest", "pin", "retention", "comment")
DONE = {
    "pin": ("pin", "pinned"),
    "unpin": ("unpin", "unpinned"),
    "evict": ("evict", "{node_count} nodes are told to drop their copies"),
    "rm": ("remove", "removed"),
}
"""Action -> the daemon's verb, and what is said when it is done."""
PAGE = 1000
READ_BYTES = 1 << 20


def configure(parser: Parser) -> None:
    parser.add_argument("action", nargs="?", metavar="ACTION", default="ls", help=", ".join(ACTIONS))
    parser.add_argument("names", nargs="*", metavar="NAME", help="the dataset; without a version, its newest")
    parser.add_argument("--replica", action="append", metavar="PLACE", help="another directory or URL with its files")
    parser.add_argument("--manifest", metavar="FILE", help="JSON with path, size_bytes and sha256 of each file")
    parser.add_argument("--pin", action="store_true", help="copies on nodes stay there, whatever else wants the room")
    parser.add_argument("--retention", metavar="TIME", help="it leaves the catalogue after so long: 30d")
    parser.add_argument("--comment", metavar="TEXT", help="what it is")
    parser.add_argument("-N", "--nodes", metavar="NODES", help="evict only there: n[1-4]")
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    action, names = arguments.action, arguments.names
    if action not in ACTIONS:
        from hal_core.errors import did_you_mean

        raise UsageError(f"data has no action {action!r}{did_you_mean(action, ACTIONS)}; it has {', '.join(ACTIONS)}")
    given = [name for name in ADD_OPTIONS if getattr(arguments, name)]
    if action != "add" and given:
        raise UsageError(f"{action} takes no --{given[0]}; it is for `hal data add`")
    if action != "evict" and arguments.nodes:
        raise UsageError(f"{action} takes no --nodes; it is for `hal data evict`")
    if action == "ls":
        if names:
            raise UsageError("ls takes no names; use: hal data show NAME")
        return list_all(console, arguments)
    if not names:
        raise UsageError(f"{action} needs the name of a dataset")
    if action in DONE:
        return change(console, arguments)
    if action in ("show", "where"):
        if len(names) > 1:
            raise UsageError(f"{action} needs the name of one dataset")
        answer = console.get(target(names[0]))
        if action == "where" and not arguments.json:
            return places(console, answer.json())
        found = answer.json()
        shown, files = found["dataset"], found["files"]
    else:
        answer = console.post("/v1/datasets", request(console, arguments))
        shown, files = answer.json(), ()
    if arguments.json:
        console.body(answer)
        return 0
    for line in pairs(rows(shown)):
        console.line(line)
    if files:
        console.line()
        wide = [(each["sha256"], str(each["size_bytes"]), each["path"]) for each in files]
        console.table(("SHA-256", "BYTES", "FILE"), wide, (False, True, False))
    return 0


def target(name: str) -> str:
    """The daemon's path of one dataset. `@` and `+` stand for themselves there."""
    return f"/v1/datasets/{quoted(name).replace('%40', '@').replace('%2B', '+')}"


def change(console: Console, arguments: Namespace) -> int:
    verb, done = DONE[arguments.action]
    body = {"nodes": expanded([arguments.nodes])} if arguments.nodes else {}
    for name in arguments.names:
        answer = console.post(f"{target(name)}/{verb}", body)
        if arguments.json:
            console.body(answer)
        else:
            console.line(f"dataset {answer.json()['id']}: {done.format(**answer.json())}")
    return 0


def places(console: Console, found: dict[str, Any]) -> int:
    """One line for each replica, and one for all nodes with a copy."""
    nodes = found["nodes"]
    for each in found["dataset"]["replicas"]:
        console.line(escaped(each))
    if nodes:
        console.line(f"copies on {nodes_text(nodes)}")
    return 0


def request(console: Console, arguments: Namespace) -> dict[str, Any]:
    """The body of POST /v1/datasets."""
    name, *paths = arguments.names
    replicas = list(arguments.replica or ())
    if bool(paths) == bool(arguments.manifest) or len(paths) > 1:
        raise UsageError("add needs the path of a file or directory, or --manifest FILE with --replica")
    if paths:
        directory, files = measured(console, os.path.abspath(paths[0]))
        replicas.insert(0, directory)
    else:
        files = manifest(arguments.manifest)
    word, _, version = name.partition("@")
    body: dict[str, Any] = {"name": word, "files": files, "replicas": replicas, "is_pinned": arguments.pin}
    if version:
        body["version"] = version
    for option in ("retention", "comment"):
        if getattr(arguments, option):
            body[option] = getattr(arguments, option)
    return body


def manifest(path: str) -> Any:
    """The files that a manifest names; the daemon says what is wrong with them."""
    try:
        with open(path, encoding="utf-8") as opened:
            found = json.load(opened)
    except ValueError as error:
        raise UsageError(f"--manifest: {path} is not JSON: {error}") from None
    return found.get("files") if isinstance(found, dict) else found


def measured(console: Console, path: str) -> tuple[str, list[dict[str, Any]]]:
    """The directory, and path, size and digest of each file in it; or of the one file that the path is."""
    if stat.S_ISDIR(os.stat(path).st_mode):
        directory, names = path, sorted(walk(path, ""))
    else:
        directory, name = os.path.split(path)
        names = [name]
    if not names:
        raise UsageError(f"there are no files in {path}")
    files = []
    for at, name in enumerate(names):
        console.progress(f"reading {name} ({at + 1} of {len(names)})")
        files.append(digest(os.path.join(directory, name), name))
    console.progress("")
    return directory, files


def walk(directory: str, within: str) -> Iterator[str]:
    """The paths of all files below, relative to the first directory."""
    for entry in os.scandir(directory):
        name = f"{within}{entry.name}"
        if entry.is_dir():
            if entry.is_symlink():
                raise UsageError(f"{entry.path} is a link to a directory; give the directory itself")
            yield from walk(entry.path, f"{name}/")
        else:
            yield name


def digest(path: str, name: str) -> dict[str, Any]:
    sha256, size_bytes = hashlib.sha256(), 0
    with open(path, "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise UsageError(f"{path} is not a regular file")
        while piece := opened.read(READ_BYTES):
            sha256.update(piece)
            size_bytes += len(piece)
    return {"path": name, "size_bytes": size_bytes, "sha256": sha256.hexdigest()}


def list_all(console: Console, arguments: Namespace) -> int:
    found: list[dict[str, Any]] = []
    cursor: str | None = "0"
    while cursor is not None:
        answer = console.get(f"/v1/datasets?limit={PAGE}&cursor={cursor}")
        page = answer.json()
        cursor = page["next_cursor"]
        if arguments.json:
            console.body(answer)
        found += page["datasets"]
    if arguments.json:
        return 0
    table = [
        (
            each["id"],
            str(each["file_count"]),
            size(each["size_bytes"]),
            "pinned" if each["is_pinned"] else "-",
            each["owner"] or "(site)",
            each["comment"],
        )
        for each in found
    ]
    console.table(("DATASET", "FILES", "SIZE", "PINNED", "OWNER", "COMMENT"), table, (False, True, True))
    return 0


def rows(dataset: dict[str, Any]) -> list[tuple[str, str]]:
    kept_s = dataset["retention_s"]
    values = [
        ("Dataset", dataset["id"]),
        ("Owner", dataset["owner"] or "(the configuration)"),
        ("Files", str(dataset["file_count"])),
        ("Size", f"{dataset['size_bytes']} bytes"),
        *(("Replica", each) for each in dataset["replicas"]),
        ("Pinned", "yes" if dataset["is_pinned"] else "no"),
        ("Added", instant(dataset["add_time_s"])),
        ("Kept for", duration(kept_s) if kept_s is not None else ""),
        ("Comment", dataset["comment"]),
    ]
    return [(name, value) for name, value in values if value]

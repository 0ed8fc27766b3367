"""`hal nodes`: the table of nodes, one node in detail, and taking nodes out of service and back."""

from __future__ import annotations

import json
from argparse import Namespace

from hal_core.cli.arguments import Parser
from hal_core.cli.console import PAGE_MAX, Console
from hal_core.cli.formats import pairs, size
from hal_core.cli.usage import UsageError
from hal_core.client.http import query, quoted
from hal_core.client.transport import Rejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ACTIONS = ("list", "show", "drain", "resume")
USAGES = {
    "nodes": "hal nodes [--status STATUS] [--partition PARTITION] [--json]\n"
    "       hal nodes show NAME...\n"
    "       hal nodes drain NAME... --reason TEXT\n"
    "       hal nodes resume NAME..."
}
STATUS_COLOURS = {"up": "", "down": "red", "suspect": "yellow", "unknown": "yellow"}


def configure(parser: Parser) -> None:
    parser.add_argument(
        "action", nargs="?", metavar="ACTION", default="list", help="list (default), show, drain or resume"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="nodes to show, drain or resume: n1, n[001-128]")
    parser.add_argument("-r", "--reason", metavar="TEXT", help="why the nodes are drained; everybody sees it")
    parser.add_argument(
        "-t", "--status", metavar="STATUS", help="only nodes that are up, down, suspect, unknown or drained"
    )
    parser.add_argument("-p", "--partition", metavar="PARTITION", help="only nodes of this partition")
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    action = arguments.action
    if action not in ACTIONS:
        raise UsageError(f"nodes has no action {action!r}; it has {', '.join(ACTIONS)}")
    if action == "list":
        if arguments.names:
            raise UsageError("list takes no names; use: hal nodes show NAME")
        return list_nodes(console, arguments)
    if not arguments.names:
        raise UsageError(f"{action} needs the names of nodes")
    if (action == "drain") != bool(arguments.reason):
        raise UsageError("drain needs --reason TEXT" if action == "drain" else f"{action} takes no --reason")
    failed = 0
    for name in expanded(arguments.names):
        try:
            act(console, action, name, arguments)
        except Rejected as rejected:
            failed += 1
            console.note(f"node {name}: {rejected}")
    return 1 if failed else 0


def expanded(words: list[str]) -> list[str]:
    """Names of nodes, with the ranges that the configuration knows too: `n[001-128]`. Raises UsageError."""
    if not any("[" in word or "," in word for word in words):
        return words
    from hal_core.config.scalars import HOSTS
    from hal_core.errors import InvalidInput

    try:
        return [name for word in words for name in HOSTS.parse(word)]
    except InvalidInput as error:
        raise UsageError(f"{' '.join(words)}: {error}") from None


def act(console: Console, action: str, name: str, arguments: Namespace) -> None:
    target = f"/v1/nodes/{quoted(name)}"
    if action == "show":
        answer = console.get(target)
    else:
        body = {"reason": arguments.reason} if action == "drain" else {}
        answer = console.post(f"{target}/{action}", body)
    if arguments.json:
        console.body(answer)
    elif action == "show":
        print_node(console, answer.json())
    else:
        console.line(f"node {name}: {'drained' if action == 'drain' else 'in service'}")


def list_nodes(console: Console, arguments: Namespace) -> int:
    joined: dict[str, Any] = {"nodes": []}
    cursor = None
    while True:
        target = query(
            "/v1/nodes", status=arguments.status, partition=arguments.partition, limit=PAGE_MAX, cursor=cursor
        )
        body = console.get(target).json()
        body["nodes"] = joined["nodes"] + body["nodes"]
        joined, cursor = body, body["next_cursor"]
        if cursor is None:
            break
    if arguments.json:
        console.line(json.dumps(joined))
        return 0
    rows = [
        (
            node["name"], status_text(node), f"{node['cpus_free']}/{node['cpu_count']}",
            f"{size(node['memory_bytes_free'])} / {size(node['memory_bytes'])}", gpus_text(node),
            str(node["allocation_count"]), ",".join(node["partitions"]), reason_text(node),
        )
        for node in joined["nodes"]
    ]  # fmt: skip
    heads = ("NODE", "STATUS", "CPUS FREE", "MEMORY FREE", "GPUS FREE", "JOBS", "PARTITIONS", "REASON")
    colours = ["yellow" if node["is_drained"] else STATUS_COLOURS.get(node["status"], "") for node in joined["nodes"]]
    console.table(heads, rows, (False, False, True, True, True, True), colours)
    return 0


def status_text(node: dict[str, Any]) -> str:
    return f"{node['status']}, drained" if node["is_drained"] else str(node["status"])


def reason_text(node: dict[str, Any]) -> str:
    return f"{node['reason']} (by {node['by']})" if node["by"] else str(node["reason"])


def gpus_text(node: dict[str, Any]) -> str:
    return (
        ", ".join(f"{node['gpus_free'].get(kind, 0)}/{number} {kind}" for kind, number in node["gpus"].items()) or "-"
    )


def print_node(console: Console, node: dict[str, Any]) -> None:
    generic = [f"{node['generic_free'].get(name, 0)}/{number} {name}" for name, number in node["generic"].items()]
    values = [
        ("Node", node["name"]),
        ("Status", status_text(node)),
        ("Reason", reason_text(node)),
        ("CPUs free", f"{node['cpus_free']}/{node['cpu_count']}"),
        ("Memory free", f"{size(node['memory_bytes_free'])} / {size(node['memory_bytes'])}"),
        ("GPUs free", gpus_text(node)),
        ("Other free", ", ".join(generic)),
        ("Cannot do", "; ".join(node["missing"])),
        ("Features", ", ".join(node["features"])),
        ("Location", " / ".join(node["location"])),
        ("Partitions", ", ".join(node["partitions"])),
        ("Executor", node["executor"]),
    ]
    for line in pairs([(label, value) for label, value in values if value not in ("", "-")]):
        console.line(line)
    rows = [
        (
            f"{each['job_id']}_{each['index']}",
            each["user"],
            each["cpus"],
            size(each["memory_bytes"]),
            each["gpus"] or "-",
        )
        for each in node.get("allocations", ())
    ]
    if rows:
        console.line()
        console.table(("JOB", "USER", "CPUS", "MEMORY", "GPUS"), rows)

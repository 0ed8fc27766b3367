"""`hal cloud`: what the clouds of a configuration offer, what they have running, and an end of it. Needs no daemon.

The providers are asked from here, so this also tells whether their options and credentials are right, and ends what
bears the cluster's name when nothing else does any more. What the daemon's pools do is in pools.py.
"""

from __future__ import annotations

from argparse import Namespace

from hal_core.cli import pools
from hal_core.cli.arguments import Parser
from hal_core.cli.console import Console
from hal_core.cli.formats import duration, size
from hal_core.cli.usage import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from hal_core.planes import CloudProvider

    Answers = list[tuple[str, Any]]

ACTIONS = ("offers", "instances", "release")
USAGES = {
    "cloud": "hal cloud offers CONFIG [--json]\n"
    "       hal cloud instances CONFIG [--json]\n"
    "       hal cloud release CONFIG (INSTANCE... | --all)\n"
    "       hal cloud pools [POOL] [--json]\n"
    "       hal cloud plan POOL [--json]\n"
    "       hal cloud stop POOL [--release]\n"
    "       hal cloud resume POOL"
}


def configure(parser: Parser) -> None:
    parser.add_argument("action", metavar="ACTION", help="offers, instances, release; pools, plan, stop, resume")
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="the cluster's configuration file; or a pool")
    parser.add_argument("instances", metavar="INSTANCE", nargs="*", help="what to end: node names or the cloud's ids")
    parser.add_argument("--all", action="store_true", help="release: all that bears this cluster's name")
    parser.add_argument("--release", action="store_true", help="stop: give back at once what the pool has")
    parser.add_json()


def run(console: Console, arguments: Namespace) -> int:
    action, wanted = arguments.action, arguments.instances
    if action in pools.ACTIONS:
        return pools.run(console, arguments)
    if action not in ACTIONS:
        raise UsageError(f"cloud has no action {action!r}; it has {', '.join((*ACTIONS, *pools.ACTIONS))}")
    if arguments.config is None or arguments.release:
        raise UsageError(f"{action} needs the configuration" if arguments.config is None else "--release is for stop")
    if action == "release" and bool(wanted) == arguments.all:
        raise UsageError("release needs the instances to end, or --all")
    if action == "release" and arguments.json:
        raise UsageError("release takes no --json; it is for offers and instances")
    if action != "release" and (wanted or arguments.all):
        raise UsageError(f"{action} takes the configuration only; INSTANCE and --all are for release")
    providers = providers_of(arguments.config)
    if action == "release":
        return release(console, providers, None if arguments.all else wanted)
    asked, shown = (ask_offers, show_offers) if action == "offers" else (ask_instances, show_instances)
    answers, code = ask(console, providers, asked)
    if arguments.json:
        write_json(console, action, answers)
    else:
        shown(console, answers)
    return code


def providers_of(path: str) -> Mapping[str, CloudProvider]:
    """Those of the configuration, made as a daemon makes them. Raises InvalidInput, NotFound, PluginError."""
    from hal_core.configured import read_with_plugins

    configuration, plugins = read_with_plugins(path)
    if not configuration.clouds:
        raise UsageError(f"{path} names no clouds; see `clouds` in docs/reference/cluster.example.yaml")
    return {name: plugins.cloud(name, options) for name, options in configuration.clouds.items()}


async def ask_offers(provider: CloudProvider) -> Any:
    return await provider.offers()


async def ask_instances(provider: CloudProvider) -> Any:
    return await provider.instances()


def ask(
    console: Console, providers: Mapping[str, CloudProvider], question: Callable[[CloudProvider], Awaitable[Any]]
) -> tuple[Answers, int]:
    """(cloud, each part of its answer), and the exit code: 1 if one of the clouds could not say."""
    import trio

    from hal_core.errors import HalError

    answers: Answers = []
    code = 0
    for name, provider in providers.items():
        try:
            answers += [(name, each) for each in trio.run(question, provider)]
        except HalError as error:
            console.note(f"{name}: {error}")
            code = 1
    return answers, code


def release(console: Console, providers: Mapping[str, CloudProvider], wanted: list[str] | None) -> int:
    """End these, or all. Says what was ended; what is not there is an error, but does not keep the others."""
    import trio

    from hal_core.errors import HalError

    there, code = ask(console, providers, ask_instances)
    chosen = [(name, each) for name, each in there if wanted is None or {each.node, each.native_id} & set(wanted)]
    for name, provider in providers.items():
        mine = [each for cloud, each in chosen if cloud == name]
        try:
            if mine:
                trio.run(provider.release, [each.native_id for each in mine])
        except HalError as error:
            console.note(f"{name}: {error}")
            code = 1
            continue
        for each in mine:
            console.line(f"released {each.node} ({name}, {each.native_id})")
    for missing in sorted(set(wanted or ()) - {part for _, each in chosen for part in (each.node, each.native_id)}):
        console.note(f"no cloud has an instance {missing!r}")
        code = 1
    return code


def show_offers(console: Console, answers: Answers) -> None:
    rows = [
        (
            name, each.name, str(each.node.cpu_count), size(each.node.memory_bytes), str(len(each.node.gpus) or "-"),
            f"{each.price_per_hour:.4f}", str(each.count_max), duration(each.boot_s),
        )
        for name, each in answers
    ]  # fmt: skip
    heads = ("CLOUD", "OFFER", "CPUS", "MEMORY", "GPUS", "PRICE/HOUR", "MOST", "BOOT")
    console.table(heads, rows, (False, False, True, True, True, True, True, True))


def show_instances(console: Console, answers: Answers) -> None:
    rows = [
        (name, each.node, each.offer, "ready" if each.is_ready else "not ready", each.native_id)
        for name, each in answers
    ]
    console.table(("CLOUD", "NODE", "OFFER", "STATE", "INSTANCE"), rows)


def write_json(console: Console, action: str, answers: Answers) -> None:
    import json

    import attrs

    console.write(json.dumps({action: [{"cloud": name, **attrs.asdict(each)} for name, each in answers]}))

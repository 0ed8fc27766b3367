"""The child's side of `hal plugin test`: load a plugin, or put one registered name through one check.

A program, run anew for each check. It writes down why the check failed.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import sys
import tempfile
import threading
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs
import trio

from hal_core.errors import did_you_mean
from hal_core.models.effect import LaunchOrder
from hal_core.models.event import NodeDrained
from hal_core.models.job import End, EndKind, JobId, JobSpec, Owner
from hal_core.models.message import Message, NodeReported
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.placement import AttemptKey, Share
from hal_core.models.plugin import PluginStatus
from hal_core.models.prediction import Arrival, Outcome
from hal_core.planes import CloudProvider, Executor, Observer
from hal_core.plugins import ENTRY_POINT_GROUP, Plugins
from hal_core.rules.core import Core
from hal_core.rules.predictions import believable
from hal_core.sim.executor_model import Fault
from hal_core.sim.report import summarise
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Mix, generate
from hal_core.testing.check_cloud import check_cloud
from hal_core.testing.check_engine import check_engine
from hal_core.testing.check_locality import LocalityTrial, check_locality, check_locality_broken_off
from hal_core.testing.check_planes import check_executor, check_observer
from hal_core.testing.check_predictor import check_predictor

PATIENCE_S: Final = 20.0
ALL: Final = PartitionName("all")
Make = Callable[[], Any]
Trial = Mapping[str, Any]
TRIAL_KEYS: Final = {"options", "quick", "endless", *(field.name for field in attrs.fields(LocalityTrial))}


def main(words: list[str]) -> None:
    answer, package, *check = words
    written: dict[str, Any] = {}
    before = surroundings()
    try:
        plugins = Plugins.load({}, entry_points_of(package))
        if check:
            with tempfile.TemporaryDirectory() as directory:
                try_out(plugins, check[0], check[1], check[2], directory)
        else:
            written["trials"] = trials_of(plugins)
        changed = [name for name, value in surroundings().items() if value != before[name]]
        assert not changed, f"it changed what belongs to the whole process: {', '.join(changed)}"
    except BaseException as error:  # noqa: BLE001  whatever a plugin raises is a finding
        written["reason"] = described(error)
    Path(answer).write_text(json.dumps(written))
    os._exit(0)  # Threads that a plugin left behind do not keep us.


def entry_points_of(package: str) -> list[EntryPoint]:
    """Those of the group `hal`, of a directory or of what is installed. Raises AssertionError."""
    directory = Path(package)
    if (directory / "pyproject.toml").is_file():
        project = tomllib.loads((directory / "pyproject.toml").read_text()).get("project", {})
        sys.path[:0] = [str(directory.absolute() / "src"), str(directory.absolute())]
        named = project.get("entry-points", {}).get(ENTRY_POINT_GROUP, {})
        assert named, f"{package}/pyproject.toml has no [project.entry-points.{ENTRY_POINT_GROUP}]"
        return [EntryPoint(name, value, ENTRY_POINT_GROUP) for name, value in named.items()]
    installed = entry_points(group=ENTRY_POINT_GROUP)
    wanted = _normal(package)
    found = [
        each
        for each in installed
        if wanted in (_normal(each.name), _normal(each.value), _normal(each.dist.name if each.dist else ""))
    ]
    assert found or "/" not in package, f"there is no pyproject.toml in {package!r}; give a plugin's folder or its name"
    names = sorted({each.name for each in installed})
    assert found, (
        f"no plugin named {package!r} is installed{did_you_mean(package, names)}; there are {', '.join(names)}"
    )
    return found


def trials_of(plugins: Plugins) -> list[tuple[str, tuple[str, str, str]]]:
    """(name of the check, words for this program) for all that the plugin registered."""
    broken = [each.reason for each in plugins.listing() if each.status is not PluginStatus.LOADED]
    assert not broken, "\n".join(broken)
    provided = [each for listing in plugins.listing() for each in listing.provides]
    return [
        (f"{each.plane} {each.name}: {title}", (each.plane, each.name, key))
        for each in provided
        for key, (title, _) in CHECKS[each.plane].items()
    ]


def try_out(plugins: Plugins, plane: str, name: str, key: str, directory: str) -> None:
    trial = plugins.trial(name, directory)
    unknown = set(trial) - TRIAL_KEYS
    assert not unknown, f"the trial of {name!r} has {', '.join(sorted(unknown))}, which nothing asks for"
    make = partial(getattr(plugins, plane), name, trial.get("options", {}))
    check = CHECKS[plane][key][1]
    if plane in ("engine", "predictor"):
        check(make, trial)
    else:
        trio.run(check, make, trial)


def wanted(trial: Trial, *names: str) -> list[Any]:
    missing = [name for name in names if name not in trial]
    assert not missing, f"its trial does not say {', '.join(missing)}: see the hook hal_register_trials"
    return [trial[name] for name in names]


# -- engines and predictors --------------------------------------------------------------------------------------------


def engine_contract(make: Make, trial: Trial) -> None:
    check_engine(make, does_shrink=False)


def engine_faults(make: Make, trial: Trial) -> None:
    """A workload on nodes that are lost and come back: every job ends, and the core finds nothing to refuse."""
    nodes = tuple(Node(NodeName(f"n{number}"), 4, 8 << 30) for number in range(6))
    partition = Partition(ALL, tuple(node.name for node in nodes), is_default=True)
    random = Random(1)  # noqa: S311  a workload, not a secret
    simulation = Simulation(Core(make(), "trial"), Cluster("trial", nodes, (partition,), node_timeout_s=30.0))
    simulation.add_workload(generate(random, 150, ALL, Mix(arrival_s_mean=8.0, runtime_s_mean=60.0)))
    lost_s = [random.uniform(0, 900) for _ in nodes[:4]]
    simulation.add_faults(Fault(node.name, at_s, at_s + 100) for node, at_s in zip(nodes, lost_s, strict=False))
    simulation.run(until_s=1e6)
    unfinished = summarise(simulation.events).unfinished_count
    assert not unfinished, f"{unfinished} of 150 jobs wait for ever"


def predictor_contract(make: Make, trial: Trial) -> None:
    check_predictor(make, does_shrink=False)


def predictor_faults(make: Make, trial: Trial) -> None:
    """Ends that no model expects: of jobs that it never saw, of no time at all, of a year, of every kind."""
    predictor, owner = make(), Owner("ada", 1000, 1000)
    spec = JobSpec(name="trial", partition=ALL, command=("true",), walltime_s=3600.0)
    jobs = [Arrival(JobId(number + 1), owner, spec, float(number)) for number in range(60)]
    for job, kind in zip(jobs, [*EndKind] * 5, strict=False):
        predictor.learn([Outcome(job, (0.0, 1e-9, 3.15e7)[job.job_id % 3], 1e5, End(kind))])
    answers = list(predictor.predict(jobs))
    assert len(answers) == len(jobs), f"{len(jobs)} questions, {len(answers)} answers"
    wrong = [each for each in answers if each is not None and believable(each, spec.walltime_s) is None]
    assert not wrong, f"{wrong[0]} cannot be true"


# -- the asynchronous planes -------------------------------------------------------------------------------------------


async def observer_contract(make: Make, trial: Trial) -> None:
    await check_observer(make)


async def observer_cancelled(make: Make, trial: Trial) -> None:
    observer: Observer = make()
    await cancelled(lambda: observer.record(1, [NodeDrained(5.0, NodeName("n1"), "trial", "root")]))


async def locality_contract(make: Make, trial: Trial) -> None:
    await check_locality(make, locality_trial(trial))


async def locality_broken_off(make: Make, trial: Trial) -> None:
    await check_locality_broken_off(make, locality_trial(trial))


def locality_trial(trial: Trial) -> LocalityTrial:
    wanted(trial, "present", "absent")
    given = {field.name: trial[field.name] for field in attrs.fields(LocalityTrial) if field.name in trial}
    return LocalityTrial(**given)


async def cloud_contract(make: Make, trial: Trial) -> None:
    await check_cloud(make())


async def cloud_cancelled(make: Make, trial: Trial) -> None:
    """The answer to a provision is lost: asked again with its token, there is one instance, not two."""
    provider: CloudProvider = make()
    offer = next(offer for offer in await provider.offers() if offer.count_max >= 1)
    await cancelled(lambda: provider.provision(offer.name, 1, "trial"))
    made = await provider.provision(offer.name, 1, "trial")
    there = await provider.instances()
    await provider.release([each.native_id for each in there])
    assert len(made) == len(there) == 1, f"one token, {len(there)} instances"


async def executor_contract(make: Make, trial: Trial) -> None:
    node, quick, endless = wanted(trial, "node", "quick", "endless")
    await check_executor(make(), NodeName(node), order(1, node, quick), order(2, node, endless))


async def executor_cancelled(make: Make, trial: Trial) -> None:
    """`run` gives way when it is cancelled, also while something runs."""
    executor: Executor = make()
    node, endless = wanted(trial, "node", "endless")
    has_reported = trio.Event()

    async def report(message: Message) -> None:
        if isinstance(message, NodeReported):
            has_reported.set()

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(executor.run, report)
            await has_reported.wait()
            await executor.launch(NodeName(node), [order(9, node, endless)])
            nursery.cancel_scope.cancel()


def order(job_id: int, node: str, command: list[str]) -> LaunchOrder:
    user = pwd.getpwuid(os.geteuid())
    environment = (f"PATH={os.environ.get('PATH', '/usr/bin:/bin')}",)
    spec = JobSpec(name="trial", partition=ALL, command=tuple(command), working_directory="/", environment=environment)
    name = NodeName(node)
    owner = Owner(user.pw_name, user.pw_uid, user.pw_gid)
    return LaunchOrder(AttemptKey(JobId(job_id), 0, 1), owner, spec, Share(name, 1, "0"), ((name, 1),), epoch=1)


async def cancelled(act: Callable[[], Awaitable[object]]) -> None:
    """Call it in a scope that is cancelled already: it must give way, or be done."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await act()


def surroundings() -> dict[str, object]:
    """What a plugin shares with everybody in the process, and may not change."""
    umask = os.umask(0o077)
    os.umask(umask)
    return {
        "the working directory": os.getcwd(),
        "the umask": umask,
        "the environment": dict(os.environ),
        "handlers of signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "standard output": (sys.stdout, sys.stderr),
        "threads": sum(not thread.daemon for thread in threading.enumerate()),
    }


def described(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error).strip()
    if isinstance(error, AssertionError) and text:
        return text[:2000]
    return f"{type(error).__name__}: {text}"[:2000].rstrip(": ")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


CHECKS: Final[Mapping[str, Mapping[str, tuple[str, Callable[[Make, Trial], Any]]]]] = {
    "engine": {
        "contract": ("keeps the contract on random clusters", engine_contract),
        "faults": ("brings a workload to its end while nodes are lost", engine_faults),
    },
    "predictor": {
        "contract": ("keeps the contract on random pasts", predictor_contract),
        "faults": ("bears ends that nobody expects", predictor_faults),
    },
    "observer": {
        "contract": ("keeps the contract", observer_contract),
        "cancelled": ("gives way when it is cancelled", observer_cancelled),
    },
    "locality": {
        "contract": ("keeps the contract", locality_contract),
        "broken-off": ("leaves nothing of a transfer that was broken off", locality_broken_off),
    },
    "cloud": {
        "contract": ("keeps the contract", cloud_contract),
        "cancelled": ("makes nothing twice when an answer was lost", cloud_cancelled),
    },
    "executor": {
        "contract": ("keeps the contract", executor_contract),
        "cancelled": ("gives way when it is cancelled", executor_cancelled),
    },
}
"""Plane -> key -> (what it shows, the check)."""


if __name__ == "__main__":
    main(sys.argv[1:])

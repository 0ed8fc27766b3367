"""What can be written in the configuration: a class for each section, each field with its kind, help and default.

This is the one source for reading, for the JSON Schema, for `hal config show --defaults` and for the reference page.
Units are written with the value (`5m`, `256G`), so keys carry none.
"""
# ruff: noqa: RUF009 - `setting` is attrs.field with metadata

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from hal_core.config.data import DataSection
from hal_core.config.idle import IdleSection
from hal_core.config.kinds import ListOf, MapOf, Options, SectionOf, Text, choice, setting
from hal_core.config.listening import ListenSection
from hal_core.config.pinning import PinSection
from hal_core.config.pools import CloudPoolSection
from hal_core.config.scalars import (
    CPUS_MAX,
    FLAG,
    GPUS,
    HOSTS,
    INSTANT,
    INSTANT_OR_NEVER,
    INTERVAL,
    KILL_GRACE,
    LIMITS,
    MEMORY,
    MONEY,
    NAME,
    NODE_MEMORY,
    PATH,
    PATH_OR_NOTHING,
    PRIORITY,
    WALLTIME,
    count,
    interval,
)
from hal_core.config.sharing import AccountSection, PrioritySection, QosSection
from hal_core.config.topology import PLACE, TopologySection
from hal_core.config.tuning import TuningSection
from hal_core.models.policy import PreemptMode
from hal_core.models.role import Role
from hal_core.parsing.names import parse_identifier, parse_line
from hal_core.parsing.resources import Gpus


@attrs.frozen
class Nodes:
    """Nodes that are all alike."""

    names: tuple[tuple[str, ...], ...] = setting(
        ListOf(HOSTS), "names of the nodes, with ranges: n[001-128]", example="n[001-128]"
    )
    cpus: int = setting(count(1, CPUS_MAX), "CPUs that HAL may give to jobs, on each node", example="64")
    memory: int = setting(
        NODE_MEMORY, "memory that HAL may give to jobs, on each node; a bare number is MiB", example="256G"
    )
    gpus: tuple[Gpus, ...] = setting(ListOf(GPUS), "GPUs in index order: a100:4, or a list for mixed types", ())
    generic: Mapping[str, int] = setting(
        MapOf(parse_identifier, count(1, 2**31 - 1)), "countable resources of your own: {licence_x: 4}", {}
    )
    features: tuple[str, ...] = setting(ListOf(NAME), "words that jobs can ask for with --constraint", ())
    location: tuple[tuple[str, ...], ...] = setting(
        ListOf(PLACE), "place in the topology, widest first: [site1, rack3]; ranges share the nodes out evenly", ()
    )
    executor: str = setting(NAME, "which of the executors runs jobs there", "metal")
    address: tuple[tuple[str, ...], ...] = setting(
        ListOf(HOSTS), "where other nodes reach them, in the order of the names: 10.0.0.[1-128]; else their names", ()
    )


@attrs.frozen
class PartitionSection:
    """A named set of nodes with limits."""

    name: str = setting(NAME, "name of the partition", example="main")
    nodes: tuple[tuple[str, ...], ...] = setting(ListOf(HOSTS), "its nodes, with ranges; all nodes if left out", ())
    default: bool = setting(FLAG, "where jobs go that name no partition; the only partition is it anyway", False)
    walltime_max: float | None = setting(WALLTIME, "longest time limit a job may ask for: 2-00:00:00, 12h", None)
    walltime_default: float | None = setting(
        WALLTIME, "time limit of jobs that ask for none; if left out, the longest", None
    )
    memory_per_cpu: int = setting(MEMORY, "memory of jobs that ask for none, for each CPU; 0 is no limit", 0)
    priority: int = setting(PRIORITY, "jobs of a partition with more come first", 0)
    limits: Mapping[str, int] = setting(LIMITS, "bounds on its jobs together: {running_jobs: 100, user.cpus: 64}", {})
    preempts: tuple[str, ...] = setting(
        ListOf(NAME), "partitions whose running jobs may be ended to make room for jobs of this one", ()
    )
    preempt_mode: PreemptMode = setting(
        choice(PreemptMode), "what happens to a job of this partition that makes room", PreemptMode.REQUEUE
    )
    preempt_exempt: float = setting(INTERVAL, "a job of this partition is not preempted in its first while", 0.0)
    preempt_grace: float = setting(KILL_GRACE, "time to end for a job of this partition that is preempted", 0.0)
    prolog: str = setting(PATH_OR_NOTHING, "a prolog of its own, instead of the cluster's", "")
    epilog: str = setting(PATH_OR_NOTHING, "an epilog of its own, instead of the cluster's", "")
    money_per_cpu_hour: float = setting(MONEY, "what its jobs pay for a CPU that they hold for an hour", 0.0)
    money_per_gpu_hour: float = setting(MONEY, "what its jobs pay for a GPU that they hold for an hour", 0.0)


@attrs.frozen
class ReservationSection:
    """Nodes that are kept for some users and accounts, or for nobody (maintenance)."""

    name: str = setting(NAME, "name of the reservation", example="course")
    nodes: tuple[tuple[str, ...], ...] = setting(ListOf(HOSTS), "its nodes, with ranges", example="n[001-004]")
    start: float = setting(INSTANT, "when it begins first; UTC unless it says otherwise", example="2030-01-31T16:30Z")
    duration: float = setting(interval(1), "how long it lasts", example="2h")
    every: float = setting(INTERVAL, "again and again, from start to start: 1d, 1w; if left out, once", 0.0)
    until: float | None = setting(INSTANT_OR_NEVER, "it does not begin again from then on", None)
    users: tuple[str, ...] = setting(ListOf(NAME), "whose jobs may run there, if they name it", ())
    accounts: tuple[str, ...] = setting(ListOf(NAME), "jobs of these accounts may, likewise", ())
    maintenance: bool = setting(FLAG, "nobody's jobs may run there then", False)
    comment: str = setting(Text("text", parse_line, takes_empty=True), "what it is for", "")


@attrs.frozen
class EngineSection:
    """Which scheduling engine decides."""

    name: str = setting(NAME, "the engine's name; `hal plugins` lists what is installed", "easy")
    options: Mapping[str, Any] = setting(Options(), "the engine's own options", {})


@attrs.frozen
class LimitsSection:
    """Bounds that keep the daemon answering."""

    inbox_max: int = setting(count(16, 10**6), "messages that may wait; beyond it, clients are told to retry", 10_000)
    connections_max: int = setting(count(4, 10**5), "open connections; a few are kept for operators", 1000)
    reads_per_s: int = setting(count(1, 10**6), "questions that one user may ask in a second, on average", 10)
    reads_burst: int = setting(count(1, 10**6), "questions that one user may ask at once", 30)
    changes_per_s: int = setting(count(1, 10**6), "submissions and other orders of one user in a second", 300)
    changes_burst: int = setting(count(1, 10**6), "submissions and other orders of one user at once", 1000)


def _plugins(plane: str) -> MapOf:
    return MapOf(parse_identifier, Options(f"options of {plane}"))


@attrs.frozen(kw_only=True)
class ConfigurationFile:
    """HAL's configuration, as it is written."""

    cluster: str = setting(NAME, "name of the cluster", "hal")
    nodes: tuple[Nodes, ...] = setting(ListOf(SectionOf(Nodes)), "the nodes, in groups that are alike")
    partitions: tuple[PartitionSection, ...] = setting(ListOf(SectionOf(PartitionSection)), "named sets of nodes")
    topology: TopologySection = setting(
        SectionOf(TopologySection), "how near nodes are to each other", TopologySection()
    )
    reservations: tuple[ReservationSection, ...] = setting(
        ListOf(SectionOf(ReservationSection)), "nodes kept for some, at times", ()
    )
    data: DataSection = setting(SectionOf(DataSection), "what there is for jobs to read", DataSection())
    prolog: str = setting(
        PATH_OR_NOTHING, "program that each node runs as root before the first process of a job; empty: none", ""
    )
    epilog: str = setting(
        PATH_OR_NOTHING, "program that each node runs as root after the last process of a job; empty: none", ""
    )
    hook_timeout: float = setting(interval(1), "how long a prolog or epilog may take before it counts as failed", 300.0)
    node_timeout: float = setting(interval(5), "a node without contact for so long is given up, with its jobs", 300.0)
    plugins: Mapping[str, PinSection] = setting(
        MapOf(parse_identifier, SectionOf(PinSection)), "plugins that may be loaded; empty: all installed", {}
    )
    engine: EngineSection = setting(SectionOf(EngineSection), "the scheduling engine", EngineSection())
    tuning: TuningSection = setting(
        SectionOf(TuningSection), "engines that HAL may change to by itself", TuningSection()
    )
    priority: PrioritySection = setting(SectionOf(PrioritySection), "which job comes first", PrioritySection())
    accounts: tuple[AccountSection, ...] = setting(
        ListOf(SectionOf(AccountSection)), "who shares the cluster, and by how much; empty: every user alike", ()
    )
    qos: tuple[QosSection, ...] = setting(ListOf(SectionOf(QosSection)), "levels of service; empty: there are none", ())
    job_limits: Mapping[str, int] = setting(LIMITS, "bounds on all jobs together: {user.running_jobs: 100}", {})
    licences: Mapping[str, int] = setting(
        MapOf(parse_identifier, count(0, 2**31 - 1)), "countable things that belong to no node: {matlab: 10}", {}
    )
    idle: IdleSection = setting(SectionOf(IdleSection), "jobs that do nothing with what they hold", IdleSection())
    executors: Mapping[str, Mapping[str, Any]] = setting(_plugins("executors"), "what runs jobs", {"metal": {}})
    localities: Mapping[str, Mapping[str, Any]] = setting(_plugins("localities"), "where data is", {"files": {}})
    observers: Mapping[str, Mapping[str, Any]] = setting(
        _plugins("observers"), "who reads the event log", {"log": {}, "prometheus": {}}
    )
    predictors: Mapping[str, Mapping[str, Any]] = setting(_plugins("predictors"), "who predicts run times", {})
    clouds: Mapping[str, Mapping[str, Any]] = setting(_plugins("clouds"), "who supplies nodes for money", {})
    pools: tuple[CloudPoolSection, ...] = setting(
        ListOf(SectionOf(CloudPoolSection)), "nodes that are rented when they are needed", ()
    )
    users: Mapping[str, Role] = setting(
        MapOf(parse_identifier, choice(Role)), "roles of users; root and the daemon's user are administrators", {}
    )
    default_role: Role = setting(choice(Role), "role of every other local user", Role.USER)
    listen: ListenSection = setting(SectionOf(ListenSection), "where the daemon takes requests", ListenSection())
    state_directory: str = setting(PATH, "where the journal and the daemon's keys are kept", "/var/lib/hal")
    limits: LimitsSection = setting(SectionOf(LimitsSection), "bounds that keep the daemon answering", LimitsSection())


PLANES: Final = {
    "executors": "executor",
    "localities": "locality",
    "observers": "observer",
    "predictors": "predictor",
    "clouds": "cloud",
}
"""Key of the configuration -> plane, as the plugin registry names it. The engine is a section of its own."""

"""What can be written in the configuration: a class for each section, each field with its kind, help and default.

This is the one source for reading, for the JSON Schema, for `hal config show --defaults` and for the reference page.
Units are written with the value (`5m`, `256G`), so keys carry none.
"""
# ruff: noqa: RUF009 - `setting` is attrs.field with metadata

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from hal_core.config.data import DataSection
from hal_core.config.idle import IdleSection
from hal_core.config.kinds import ListOf, MapOf, Options, SectionOf, Text, choice, setting
from hal_core.config.pinning import PinSection
from hal_core.config.pools import CloudPoolSection
from hal_core.config.scalars import HOSTS, INTERVAL, NAME, count, interval
from hal_core.config.topology import MONEY, PLACE, TopologySection
from hal_core.config.tuning import TuningSection
from hal_core.errors import InvalidInput, Problem, did_you_mean
from hal_core.models.node import Cluster
from hal_core.models.policy import DEFAULT_PRIORITIES, LIMIT_NAMES, PreemptMode, QueueOrder
from hal_core.models.role import Role
from hal_core.parsing.addresses import parse_address, parse_network_host
from hal_core.parsing.durations import (
    format_interval,
    format_time_limit,
    parse_kill_grace,
    parse_time_limit,
)
from hal_core.parsing.instants import format_instant, parse_date
from hal_core.parsing.memory import format_memory, parse_memory
from hal_core.parsing.names import parse_absolute_path, parse_identifier, parse_line
from hal_core.parsing.resources import Gpus
from hal_core.parsing.text import parse_choice, parse_count, parse_integer, shown, wrong

CPUS_MAX: Final = 65_536
GPUS_MAX: Final = 1024
GPU_TYPE_DEFAULT: Final = "gpu"
_MODE = re.compile("0?[0-7]{3}")
_TEXT_OR_NUMBER: Final = {"type": ["string", "integer"]}


def _parse_flag(text: str) -> bool:
    return parse_choice(text, ("true", "false")) == "true"


def _parse_mode(text: str) -> int:
    if not _MODE.fullmatch(text):
        raise wrong(f'{shown(text)} is not a file mode; write three octal digits, such as "0660"')
    return int(text, 8)


def _parse_gpus(text: str) -> Gpus:
    """`a100:4`, `a100` (one) or `4` (of no named type)."""
    kind, colon, count = text.rpartition(":")
    if colon:
        return Gpus(parse_count(count, 1, GPUS_MAX), parse_identifier(kind))
    if text[:1].isdigit():
        return Gpus(parse_count(text, 0, GPUS_MAX), GPU_TYPE_DEFAULT)
    return Gpus(1, parse_identifier(text))


def _parse_some_memory(text: str) -> int:
    memory_bytes = parse_memory(text)
    if memory_bytes < 2**20:
        raise wrong(f"{shown(text)} is less than 1M")
    return memory_bytes


FLAG = Text("true or false", _parse_flag, lambda flag: str(flag).lower(), {"type": "boolean"})
NODE_MEMORY = Text("memory", _parse_some_memory, format_memory, _TEXT_OR_NUMBER)
MEMORY = Text("memory", parse_memory, format_memory, _TEXT_OR_NUMBER)
WALLTIME = Text("time limit", parse_time_limit, format_time_limit, _TEXT_OR_NUMBER)
KILL_GRACE = Text("duration", parse_kill_grace, format_interval, _TEXT_OR_NUMBER)
INSTANT = Text("date and time", parse_date, format_instant)
INSTANT_OR_NEVER = Text(
    "date and time",
    lambda text: None if text == "never" else parse_date(text),
    lambda instant_s: "never" if instant_s is None else format_instant(instant_s),
)
PATH = Text("absolute path", parse_absolute_path)
MODE = Text("file mode", _parse_mode, lambda mode: f'"{mode:04o}"', _TEXT_OR_NUMBER)
GPUS = Text("GPUs", _parse_gpus, lambda gpus: f"{gpus.type}:{gpus.count}", _TEXT_OR_NUMBER)
PRIORITY_MAX: Final = 1_000_000
PRIORITY = Text(
    "whole number",
    lambda text: parse_integer(text, -PRIORITY_MAX, PRIORITY_MAX),
    str,
    {"type": "integer", "minimum": -PRIORITY_MAX, "maximum": PRIORITY_MAX},
)


LIMIT_MAX: Final = 2**53
SHARES_MAX: Final = 1_000_000
_RULES: Final = DEFAULT_PRIORITIES


def _parse_limit_name(text: str) -> str:
    if text not in LIMIT_NAMES:
        hint = did_you_mean(text[:64], LIMIT_NAMES)
        raise wrong(f"no limit named {shown(text)}{hint}; there are: {', '.join(LIMIT_NAMES)}")
    return text


LIMITS = MapOf(_parse_limit_name, count(0, LIMIT_MAX))


def _or_nothing(parse: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: parse(text) if text else ""


HOST = Text("host name or address", parse_network_host)
ADDRESS = Text("host:port", _or_nothing(parse_address), takes_empty=True)
PATH_OR_NOTHING = Text("absolute path", _or_nothing(parse_absolute_path), takes_empty=True)


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
class AccountSection:
    """What jobs are accounted to; a tree of accounts with shares."""

    name: str = setting(NAME, "name of the account", example="physics")
    parent: str = setting(
        Text("name", _or_nothing(parse_identifier), takes_empty=True), "the account above it; empty for none", ""
    )
    shares: int = setting(count(1, SHARES_MAX), "its shares among the accounts with the same parent", 1)
    users: Mapping[str, int] = setting(
        MapOf(parse_identifier, count(1, SHARES_MAX)),
        "who may use it, with their shares of it: {ada: 1}; nobody named: everybody, if no account is below it",
        {},
    )
    limits: Mapping[str, int] = setting(LIMITS, "bounds on its jobs, and those of the accounts below it, together", {})


@attrs.frozen
class QosSection:
    """A level of service that jobs can ask for."""

    name: str = setting(NAME, "name of the level, for --qos", example="normal")
    priority: int = setting(PRIORITY, "added to the priority of its jobs", 0)
    default: bool = setting(FLAG, "the level of jobs that ask for none", False)
    limits: Mapping[str, int] = setting(LIMITS, "bounds on its jobs together: {running_jobs: 100, user.cpus: 64}", {})
    preempts: tuple[str, ...] = setting(ListOf(NAME), "levels whose running jobs its jobs may displace", ())
    preempt_mode: PreemptMode | None = setting(
        choice(PreemptMode, "partition"),
        "what happens to a job of this level that makes room; or its partition says",
        None,
    )
    preempt_exempt: float = setting(INTERVAL, "a job of this level is not preempted in its first while", 0.0)
    preempt_grace: float = setting(KILL_GRACE, "time to end for a job of this level that is preempted", 0.0)


@attrs.frozen
class PrioritySection:
    """What decides which job comes first. Weights are times: so much longer one would have to wait for the same."""

    order: QueueOrder = setting(
        choice(QueueOrder), "strict (partition, job, age), weighted (a sum of terms) or expansion-factor", _RULES.order
    )
    age_max: float = setting(INTERVAL, "weighted: waiting longer than this adds no more", _RULES.age_s_max)
    fair_share: float = setting(
        INTERVAL, "weighted: between a user who used nothing and one far beyond the share", _RULES.fair_share_s
    )
    half_life: float = setting(INTERVAL, "past usage counts half after so long; 0: for ever", _RULES.half_life_s)
    partition: float = setting(INTERVAL, "weighted: a point of the partition's priority", _RULES.partition_s)
    qos: float = setting(INTERVAL, "weighted: a point of the priority of a quality of service", _RULES.qos_s)
    job: float = setting(INTERVAL, "weighted: a point of the job's own priority, of --nice too", _RULES.job_s)
    size: float = setting(INTERVAL, "weighted: for a job as large as its partition; smaller ones less", _RULES.size_s)
    floor: float = setting(INTERVAL, "expansion-factor: shorter limits are taken for so long", _RULES.floor_s)
    starvation: float = setting(
        INTERVAL, "but for strict: who has waited so long comes first; 0: nobody", _RULES.starvation_s
    )


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
class ListenSection:
    """Where the daemon takes requests. On the socket callers are known by their user id, so anybody may connect."""

    socket: str = setting(PATH, "path of the Unix socket", "/run/hal/hal.sock")
    group: str = setting(Text("group", parse_line, takes_empty=True), "group of the socket; empty for the daemon's", "")
    mode: int = setting(MODE, 'file mode of the socket; "0660" admits only the group', 0o666)
    address: str = setting(
        ADDRESS, "host:port for callers on other machines, who show a token; empty: there are none", ""
    )
    hosts: tuple[str, ...] = setting(
        ListOf(HOST), "names by which they may call the daemon, besides that of `address`", ()
    )
    certificate: str = setting(
        PATH_OR_NOTHING,
        "PEM file with the daemon's certificate; needed unless `address` is this machine only",
        "",
    )
    key: str = setting(PATH_OR_NOTHING, "PEM file with its key, for the daemon only", "")
    token_lifetime_max: float = setting(interval(1), "how long a token of `hal token` lives at most", 3600.0)
    reports: str = setting(
        PATH_OR_NOTHING, "folder of reports (`hal replay --report`) that administrators see on the web page", ""
    )


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


@attrs.frozen
class Configuration:
    """What the daemon is built from. Plugin options are plain values; the plugin checks them."""

    cluster: Cluster
    plugins: Mapping[str, PinSection] = attrs.field(factory=dict)
    engine: EngineSection = EngineSection()
    tuning: TuningSection = TuningSection()
    executors: Mapping[str, Mapping[str, Any]] = attrs.field(factory=lambda: {"metal": {}})
    localities: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    observers: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    predictors: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    clouds: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    users: Mapping[str, Role] = attrs.field(factory=dict)
    default_role: Role = Role.USER
    listen: ListenSection = ListenSection()
    state_directory: str = "/var/lib/hal"
    limits: LimitsSection = LimitsSection()
    idle: IdleSection = IdleSection()
    data: DataSection = DataSection()
    hooks: Mapping[str, tuple[str, str]] = attrs.field(factory=dict)
    """Partition -> prolog and epilog, either may be empty. Partitions with neither are left out."""
    hook_timeout: float = 300.0
    places: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)
    """Path (`executors.metal.port`) -> `file:line:column`."""

    def role_of(self, user: str, uid: int, daemon_uid: int) -> Role:
        """Root and the daemon's own user are administrators, whatever is written."""
        return Role.ADMINISTRATOR if uid in (0, daemon_uid) else self.users.get(user, self.default_role)

    def at_their_lines(self, error: InvalidInput) -> InvalidInput:
        """The same problems, with the line of the file where their place is a path such as `engine.options.depth`."""
        return InvalidInput(
            Problem(f"{self.places[each.place]}: {each.place}" if each.place in self.places else each.place, each.text)
            for each in error.problems
        )

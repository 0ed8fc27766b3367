"""The composition root: puts kernel, planes and REST together. The only place that knows them all.

`Daemon.serve` runs one daemon from a configuration until it is cancelled. What decides anything is in the rooms.
"""

from __future__ import annotations

import ctypes
import logging
import os
import pwd
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import attrs
import trio

import hal_core
from hal_core.agent.launcher.tree import close_to_others
from hal_core.config.configuration import Configuration
from hal_core.config.suspending import check_suspending
from hal_core.configured import (
    AGENT_SOCKET_NAME,
    AUTHORITY_NAME,
    check_options,
    executor_options,
    read_with_plugins,
)
from hal_core.errors import HalError, InvalidInput, JournalDamaged, Unavailable
from hal_core.front import Front
from hal_core.kernel.cluster_meter import ClusterMeter
from hal_core.kernel.collector import settle_collector
from hal_core.kernel.conducts import Conducts
from hal_core.kernel.effects import Effects, having_stores, suspending
from hal_core.kernel.exposition import Together
from hal_core.kernel.journal import SNAPSHOT_EVENT_COUNT, Journal
from hal_core.kernel.journal_files import Disk
from hal_core.kernel.journal_questions import JournalQuestions
from hal_core.kernel.journal_recovery import rebuild
from hal_core.kernel.loop import Kernel
from hal_core.kernel.memory_sizing import MemorySizing
from hal_core.kernel.observers import Observers
from hal_core.kernel.pass_runner import PassRunner
from hal_core.kernel.pool_meter import PoolMeter
from hal_core.kernel.predicting import WARM_EVENT_COUNT, Predicting
from hal_core.kernel.providers import Inputs
from hal_core.kernel.reading import READERS_NAME, JournalLog, read_walled
from hal_core.kernel.shell import Shell
from hal_core.kernel.snapshot_files import newest_sequence
from hal_core.kernel.stalls import StallMeter
from hal_core.kernel.start_forecasts import StartForecasts
from hal_core.kernel.use_watch import IdleRule, UseWatch
from hal_core.kernel.walls import passes
from hal_core.models.job import JobId
from hal_core.models.node import NodeName
from hal_core.models.prediction import Arrival
from hal_core.models.role import Role
from hal_core.parsing.context import ParseContext
from hal_core.planes import (
    Engine,
    Executor,
    JobMailer,
    LocalityProvider,
    Observer,
    ReadingObserver,
    StandingObserver,
    TellUse,
)
from hal_core.plugins import Plugins
from hal_core.port import Port
from hal_core.rentals import make_renting
from hal_core.rest.port import ConfigurationView, Context
from hal_core.rules.core import Core
from hal_core.rules.sources import Sources
from hal_core.rules.standing import standing_of
from hal_core.rules.state import State
from hal_core.rules.trust import fenced
from hal_core.tuning_service import engine_of, tuning_of
from hal_core.wire.socket_path import check_socket_path
from hal_core.wire.terminals import Terminals

logger = logging.getLogger("hal.daemon")

Announce = Callable[[str], None]
"""Says a line to the person who started the service."""

TRACES_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"


def run_daemon(arguments: Namespace, announce: Announce) -> int:
    """`hal daemon CONFIG`: serve the configured cluster until SIGTERM or SIGINT."""
    configuration, plugins = read_with_plugins(arguments.config)
    check_options(configuration, plugins)
    if arguments.socket:
        listen = attrs.evolve(configuration.listen, socket=arguments.socket)
        configuration = attrs.evolve(configuration, listen=listen)
    daemon = Daemon(configuration, plugins, arguments.config)
    keep_memory_private()
    run_service(partial(_serve, daemon, announce))
    return 0


def keep_memory_private() -> None:
    """No debugger, no core file, no /proc/PID/mem for other processes of the same user: the token key is in here."""
    pr_set_dumpable = 4
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_dumpable, 0, 0, 0, 0) != 0:
        raise Unavailable(f"the daemon's memory cannot be kept private: {os.strerror(ctypes.get_errno())}")


def run_service(serve: Callable[[], Awaitable[None]]) -> None:
    """Run until it ends. What was refused on purpose comes out as itself, not wrapped by the nurseries it passed."""
    close_to_others()
    try:
        trio.run(serve)
    except BaseExceptionGroup as group:
        refused = _first_refusal(group)
        if refused is None:
            raise
        raise refused from None


def _first_refusal(group: BaseExceptionGroup[BaseException]) -> HalError | None:
    """The first HAL error in the group, if there is nothing else in it."""
    refusals, rest = group.split(HalError)
    if rest is not None or refusals is None:
        return None
    error: BaseException = refusals
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, HalError) else None


@asynccontextmanager
async def until_signalled() -> AsyncIterator[trio.Nursery]:
    """A nursery that is cancelled by SIGINT or SIGTERM."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            yield nursery


async def _serve(daemon: Daemon, announce: Announce) -> None:
    async with until_signalled() as nursery:
        await nursery.start(daemon.serve)
        announce(f"HAL {hal_core.__version__} serves cluster {daemon.configuration.cluster.name} on {daemon.socket}")


class Daemon:
    """One daemon: built from a configuration, run by `serve`."""

    def __init__(self, configuration: Configuration, plugins: Plugins, path: str | None = None) -> None:
        self.configuration = configuration
        self.socket = Path(configuration.listen.socket)
        self.state_directory = Path(configuration.state_directory)
        self._plugins = plugins
        self._conducts = Conducts(time.time)
        self._path = path
        self._parse_context = ParseContext.of_cluster(configuration.cluster, zone=_local_zone())

    async def serve(self, *, task_status: trio.TaskStatus[Kernel] = trio.TASK_STATUS_IGNORED) -> None:
        """Recover, take orders, listen. Started with the kernel when the first request can be answered."""
        async with AsyncExitStack() as stack:
            journal = Journal.open(self.state_directory)
            stack.callback(journal.close)
            core = Core(self._new_engine(), self.configuration.engine.name, recover_state(journal))
            predicting = self._predicting(core, journal)
            starts = StartForecasts(lambda: kernel.state, lambda: kernel.rested(), time.time)
            tuning = tuning_of(self.configuration, self._plugins, core, journal)
            memory = MemorySizing(lambda: core.state, journal.history)
            uses = UseWatch(lambda: kernel.state, self._idle_rule(), time.time)
            own: dict[str, Observer] = {starts.name: starts, memory.name: memory}
            observers = self._observers() | {each.name: each for each in predicting} | own
            executors = self._executors(journal.epoch)
            try:
                check_suspending(self.configuration.cluster, suspending(executors))
            except InvalidInput as error:
                raise self.configuration.at_their_lines(error) from None
            context_of_jobs = self._parse_context.with_stores(self.configuration.cluster, having_stores(executors))
            domain = next((each.mail_domain for each in observers.values() if isinstance(each, JobMailer)), None)
            self._parse_context = attrs.evolve(context_of_jobs, mail_domain=domain)
            kernel = self._kernel(core, journal, observers, executors)
            authority = self.state_directory / AUTHORITY_NAME
            renting = make_renting(self.configuration, self._plugins, kernel, executors, authority)
            pools = PoolMeter(lambda: kernel.state, time.time)
            begin_observers(observers, core.state, self.configuration.cluster.name)
            settle_collector()
            stalls, figures = StallMeter(), ClusterMeter(lambda: kernel.state, lambda: kernel.problem, time.time)
            of_executors = Together(each.render for each in executors.values() if isinstance(each, MetricsSource))
            parts = (*observers.values(), of_executors, stalls, figures, pools, kernel.meter)
            sources = [each for each in parts if isinstance(each, MetricsSource)]
            context = self._context(Port(kernel, journal, self._parse_context), sources)
            sources.append(context.sessions)
            foretell = predicting[0].foretell if predicting else None
            context = attrs.evolve(context, foretell=foretell, likely_start=starts.likely, memory=memory, uses=uses)
            inputs = Inputs(self._localities, self._conducts, self.configuration.cluster, having_stores(executors))
            context = attrs.evolve(context, inputs=inputs, suspenders=frozenset(suspending(executors)))
            context = attrs.evolve(context, new_engine=lambda: self._new_engine(core.policy))
            for executor in executors.values():
                if isinstance(executor, TerminalSource):
                    executor.terminals = context.terminals
                if isinstance(executor, UseSource):
                    executor.tell_use = uses.tell
            front = Front(self.configuration, context)
            await front.open(stack)
            async with trio.open_nursery() as nursery:
                await nursery.start(kernel.run, self.configuration.cluster)
                nursery.start_soon(self._keep_snapshots, kernel)
                for run in (stalls.run, figures.run, starts.run, memory.run, renting.run):
                    nursery.start_soon(run)
                for run_reporting in (uses.run, *(each.run for each in predicting), *([tuning.run] if tuning else [])):
                    nursery.start_soon(run_reporting, kernel.report)
                readers = self.state_directory / READERS_NAME
                log = JournalLog(readers, Disk(), (journal, kernel), partial(known_job, core))
                for name, observer in observers.items():
                    if isinstance(observer, ReadingObserver):
                        nursery.start_soon(read_walled, name, observer, log, kernel.report)
                await nursery.start(front.serve)
                task_status.started(kernel)

    # -- the parts -----------------------------------------------------------------------------------------------------

    def _kernel(
        self, core: Core, journal: Journal, observers: Mapping[str, Observer], executors: Mapping[str, Executor]
    ) -> Kernel:

        def executor_name_of(node: NodeName) -> str:
            table = core.state.table
            return table.nodes[table.number_of[node]].executor

        routed = Sources(lambda: core.state).routed
        shell = Shell(
            journal=journal,
            effects=Effects(executors, executor_name_of, self._localities, routed, conducts=self._conducts),
            observers=Observers(observers, conducts=self._conducts),
            conducts=self._conducts,
            now_s=time.time,
            steady_s=partial(time.clock_gettime, time.CLOCK_BOOTTIME),
            rebuild=partial(recover_state, journal),
            inbox_max=self.configuration.limits.inbox_max,
            run_pass=PassRunner().run,
        )
        return Kernel(core, shell)

    def _idle_rule(self) -> IdleRule:
        idle = self.configuration.idle
        partitions = frozenset(idle.partitions)
        return IdleRule(warn_s=idle.warn, reclaim_s=idle.reclaim, reclaim_mode=idle.reclaim_mode, partitions=partitions)

    def _new_engine(self, policy: str = "") -> Engine:
        """That of the name; the configured one if none is named."""
        return engine_of(self.configuration, self._plugins, policy or self.configuration.engine.name)

    def _executors(self, epoch: int) -> dict[str, Executor]:
        check_socket_path(self.state_directory / AGENT_SOCKET_NAME, "state_directory")
        chosen = executor_options(self.configuration, self._plugins, epoch)
        return {name: self._plugins.executor(plugin, options) for name, plugin, options in chosen}

    @cached_property
    def _localities(self) -> dict[str, LocalityProvider]:
        return {name: self._plugins.locality(name, options) for name, options in self.configuration.localities.items()}

    def _predicting(self, core: Core, journal: Journal) -> list[Predicting]:
        past = partial(journal.latest, WARM_EVENT_COUNT)
        chosen = self.configuration.predictors.items()
        predictors = [(name, fenced(name, self._plugins.predictor(name, options))) for name, options in chosen]
        return [Predicting(*each, partial(known_job, core), past, self._conducts) for each in predictors]

    def _observers(self) -> dict[str, Observer]:
        """As configured; and the one for traces, if OpenTelemetry's own variable says where to send them."""
        wanted = dict(self.configuration.observers)
        if os.environ.get(TRACES_VARIABLE):
            wanted.setdefault("otlp", {})
        return {name: self._plugins.observer(name, options) for name, options in wanted.items()}

    def _context(self, port: Port, sources: Sequence[MetricsSource]) -> Context:
        questions = JournalQuestions(self.state_directory, port.journal)
        return Context(
            kernel=port,
            user_of=_user_of,
            role_of=self._role_of,
            now_s=time.time,
            plugins=lambda: self._conducts.told(self._plugins.listing()),
            configuration=lambda: ConfigurationView(attrs.asdict(self.configuration), self._path),
            section=lambda name: attrs.asdict(getattr(self.configuration, name)),
            metrics=lambda: "".join(source.render().decode() for source in sources),
            new_engine=self._new_engine,
            sum_receipts=questions.sum_receipts,
            earliest_start=questions.earliest_start,
            version=hal_core.__version__,
            started_time_s=time.time(),
            problem=lambda: port.problem,
        )

    def _role_of(self, user: str) -> Role:
        uid = pwd.getpwnam(user).pw_uid
        return self.configuration.role_of(user, uid, os.getuid())

    async def _keep_snapshots(self, kernel: Kernel) -> None:
        """A snapshot every so many events, by a process of its own, so that recovery stays quick."""
        command = [sys.executable, "-m", "hal_core.kernel.snapshot", str(self.state_directory)]
        last_sequence = newest_sequence(self.state_directory, Disk())
        while True:
            await kernel.wait_beyond(last_sequence + SNAPSHOT_EVENT_COUNT)
            last_sequence = kernel.durable_sequence
            await trio.run_process(command, check=False, stdin=subprocess.DEVNULL)


def known_job(core: Core, job_id: JobId) -> Arrival | None:
    """The job as it came in; None if it is not in memory any more."""
    record = core.state.find(job_id)
    return None if record is None else Arrival(job_id, record.owner, record.spec, record.submit_time_s)


def begin_observers(observers: Mapping[str, Observer], state: State, cluster: str) -> None:
    """Tell what there is to those that want to know. A new state has no `cluster`, which is the name, yet."""
    asking = {name: each for name, each in observers.items() if isinstance(each, StandingObserver)}
    standing = attrs.evolve(standing_of(state), cluster=cluster) if asking else None
    for name, observer in asking.items():
        assert standing is not None
        try:
            observer.begin(standing)
        except BaseException as error:  # the wall around a plugin
            if passes(error):
                raise
            logger.exception("observer %s could not take what there was before it; its figures begin at zero", name)


@runtime_checkable
class MetricsSource(Protocol):
    """A part of the daemon that has something for `GET /metrics`."""

    def render(self) -> bytes:
        """All its metrics in the Prometheus text format."""
        ...


@runtime_checkable
class TerminalSource(Protocol):
    """An executor whose nodes offer terminals of interactive jobs."""

    terminals: Terminals | None


@runtime_checkable
class UseSource(Protocol):
    """An executor whose nodes say what running attempts use."""

    tell_use: TellUse | None


def recover_state(journal: Journal) -> State:
    """The state as the journal has it. What was odd on the way is logged."""
    state, warnings = rebuild(journal.recover, State)
    for warning in warnings:
        logger.warning("%s", warning)
    if state.sequence != journal.sequence:
        raise JournalDamaged(f"the journal ends at event {journal.sequence}, its replay at {state.sequence}", 0)
    return state


def _user_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _local_zone() -> Any:
    from datetime import datetime

    return datetime.now().astimezone().tzinfo

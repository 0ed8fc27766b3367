"""One run: a cluster, its people and its daemon on virtual time, everything from one seed.

First everything goes wrong that the seed's faults say, for so many hours; then the faults stop, and within a bounded
time everything must have ended, with no record left on any node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import attrs

from hal_core.models.job import JobId
from hal_core.models.message import PartsChanged
from hal_core.models.node import Cluster, Node, NodeName, Partition
from hal_core.models.plan import Plan, Preempt, Reserve, Snapshot, Start
from hal_core.models.policy import PreemptMode
from hal_core.planes import Engine
from hal_core.testing import FakeEngine
from hal_core.wire import messages
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from hal_engine_backfill.preempting import Preempting
from tests.support.kernel_sim.agent import Agent
from tests.support.kernel_sim.checker import Checker
from tests.support.kernel_sim.daemon import Daemon
from tests.support.kernel_sim.faults import CALM, draw
from tests.support.kernel_sim.journal import Journal
from tests.support.kernel_sim.network import Network
from tests.support.kernel_sim.people import ALL, GIB, RUNTIME_S_MAX, SOME, URGENT, People
from tests.support.kernel_sim.timeline import Timeline
from tests.support.kernel_sim.truth import Truth

HOUR_S = 3600.0
PROBE_S = 30.0
SETTLE_S = 3600.0
"""What faults leave behind is over so long after the last one: timeouts, boots, begin times, promises."""


@attrs.frozen
class WrongEngine:
    """An engine that is wrong now and then: among its starts are some that make no sense."""

    engine: Engine
    chance: float
    dice: Random

    def plan(self, snapshot: Snapshot) -> Plan:
        plan = self.engine.plan(snapshot)
        if self.dice.random() >= self.chance:
            return plan
        pending = [job.job_id for job in snapshot.pending()]
        newest = max(pending, default=JobId(1))
        ids = [*pending, *(JobId(newest + back) for back in range(-30, 2))]
        numbers = range(-1, len(snapshot.columns.nodes) + 1)
        starts = [
            Start(
                self.dice.choice(ids),
                tuple(self.dice.choices(numbers, k=self.dice.randint(0, 3))),
                self.dice.choice([1, 1, 2, 3, 0]),
            )
            for _ in range(8)
        ]
        # And some on nodes that there are: of jobs that were not shown, for they may not start, nothing else is wrong.
        starts += [Start(self.dice.choice(ids), (self.dice.choice(numbers[1:-1]),), 1) for _ in range(8)]
        running = [(job.job_id, job.index) for job in snapshot.running()] or [(newest, 0)]
        preempts = tuple(
            Preempt(
                self.dice.choice(ids),
                tuple(self.dice.choices(running, k=self.dice.randint(0, 2))),
                tuple(self.dice.choices(numbers, k=self.dice.randint(0, 2))),
            )
            for _ in range(4)
        )
        promises = tuple(Reserve(job_id, snapshot.now_s, (0,)) for job_id in ids[:1])
        return attrs.evolve(
            plan,
            starts=(*starts, *plan.starts),
            reserves=(*promises, *plan.reserves),
            preempts=(*preempts, *plan.preempts),
        )


class World:
    """`run` goes through it all and raises AssertionError where a promise is broken."""

    def __init__(self, seed: int, hours: float) -> None:
        self.seed = seed
        self._hours = hours
        self._dice = self._chance("world")
        self.faults = draw(self._chance("faults"))
        self.counts: Counter[str] = Counter()
        self.timeline = Timeline()
        self.truth = Truth()
        self.cluster = _with_preemption(_cluster(self._dice), self._chance("preemption"))
        self.node_count = len(self.cluster.nodes)
        self._engine = self._dice.choice([Fcfs, Easy, Conservative, FakeEngine])
        self.checker = Checker(self)
        self.journal = Journal(self._chance("journal"), self.checker.see)
        self.network = Network(self, self._chance("network"))
        self.people = People(self, self._chance("people"))
        self.daemon = Daemon(self, self._chance("daemon"))
        self.machines = {node.name: Agent(self, node, self._chance(node.name)) for node in self.cluster.nodes}
        self.is_disk_failing = False
        self.clock_step_s = 0
        """By so much the clock of the daemon's machine was set, in all."""
        self.well_since_s = self.now_s
        self.lost_contact_s: dict[NodeName, float] = {}

    def _chance(self, name: str) -> Random:
        return Random(f"{self.seed} {name}")

    @property
    def now_s(self) -> float:
        return self.timeline.now_s

    @property
    def wall_s(self) -> float:
        """What the clock of the daemon's machine shows."""
        return self.now_s + self.clock_step_s

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def make_engine(self) -> Engine:
        engine = Preempting(self._engine())
        if self.faults.wrong_engine:
            return WrongEngine(engine, self.faults.wrong_engine, self._dice)
        return engine

    # -- the run -------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        end_s = self.now_s + self._hours * HOUR_S
        self.daemon.start()
        for machine in self.machines.values():
            machine.start()
        self.people.start()
        self._plan_faults()
        self._probe()
        self.timeline.run_until(end_s)
        self._stop_faults()
        bound_s = SETTLE_S + sum(len(job.elements) for job in self.checker.unfinished.values()) * RUNTIME_S_MAX
        begins_s = (record.spec.begin_time_s for record in self.daemon.core.state.jobs.values())
        bound_s += max(0.0, max(begins_s, default=0.0) - self.wall_s)  # the daemon's clock may have been set back
        while not self._is_quiet():
            assert self.now_s < end_s + bound_s, f"not over after {bound_s:.0f} s: {self._what_is_left()}"
            self.timeline.run_until(self.now_s + PROBE_S)
        self.counts["events"] = self.journal.sequence
        self.counts["jobs"] = len(self.checker.witness.jobs)
        self.counts |= self.truth.counts
        self.checker.check_all(self.daemon.core.state)

    def _is_quiet(self) -> bool:
        return not (
            self.checker.unfinished
            or self.truth.running
            or any(machine.records for machine in self.machines.values())
            or self.daemon.core.state.sequence != self.journal.sequence
        )

    def _what_is_left(self) -> str:
        records = {name: [str(key) for key in each.records] for name, each in self.machines.items() if each.records}
        jobs = {job_id: dict(job.phases()) for job_id, job in list(self.checker.unfinished.items())[:5]}
        running = [f"{key} on {name}" for name, key in self.truth.running]
        return f"jobs {jobs}, records {records}, running {running}"

    def _probe(self) -> None:
        self.timeline.after(PROBE_S, self._probe)
        if not self.daemon.is_listening or self.is_disk_failing:
            self.well_since_s = self.now_s
        self.checker.probe()

    # -- faults --------------------------------------------------------------------------------------------------------

    def _plan_faults(self) -> None:
        for name, act in {
            "power_cuts": self._power_cut,
            "agent_kills": self._agent_kill,
            "supervisor_kills": lambda: self._some_machine().kill_supervisor(),
            "daemon_kills": self._daemon_kill,
            "cuts": self._cut,
            "resets": self._reset,
            "losses": self._lose_messages,
            "disk_failures": self._disk_failure,
            "clock_steps": self._set_clock,
            "drains": lambda: self.people.drain(self._some_machine().node.name),
        }.items():
            rate = getattr(self.faults, name)
            if rate:
                self._repeat(rate, name, act)

    def _repeat(self, rate: float, name: str, act: Callable[[], None]) -> None:
        def strike() -> None:
            if getattr(self.faults, name):
                self.count(name)
                act()
                self._repeat(rate, name, act)

        self.timeline.after(self._dice.expovariate(rate / HOUR_S), strike)

    def _some_machine(self) -> Agent:
        return self._dice.choice(list(self.machines.values()))

    def _power_cut(self) -> None:
        machine = self._some_machine()
        if machine.is_on:
            machine.power_off()
            boot_s = self._dice.choice([self._dice.uniform(5.0, 60.0), self._dice.uniform(60.0, 1800.0)])
            self.timeline.after(boot_s, lambda: self._boot(machine))

    def _boot(self, machine: Agent) -> None:
        if not machine.is_on:
            machine.power_on()
            machine.start()

    def _agent_kill(self) -> None:
        machine = self._some_machine()
        if machine.is_on and machine.is_alive:
            machine.kill()
            self.timeline.after(self._dice.choice([0.5, 5.0, 120.0, 900.0]), lambda: self._restart_agent(machine))

    def _restart_agent(self, machine: Agent) -> None:
        if machine.is_on and not machine.is_alive:
            machine.start()

    def _daemon_kill(self) -> None:
        self.daemon.kill()
        self.timeline.after(self._dice.choice([0.1, 2.0, 60.0, 600.0]), self._restart_daemon)

    def kill_in_staging(self) -> None:
        self.count("kills_in_staging")
        self._daemon_kill()

    def _restart_daemon(self) -> None:
        if self.daemon.is_alive:
            return
        if self._dice.random() < 0.5:
            self.journal.take_snapshot()
        self.daemon.start()
        if self._dice.random() < self.faults.kills_in_recovery:
            self.count("kills_in_recovery")
            self.timeline.after(self._dice.uniform(0.0, 0.05), self._daemon_kill)

    def _cut(self) -> None:
        machine = self._some_machine()
        directions = self._dice.choice([(True, False), (True, False), (True,), (False,)])
        longest_s = self._dice.choice([10.0, 120.0, 7200.0])
        self.network.cut(machine.node.name, directions, self._dice.uniform(1.0, longest_s))

    def _reset(self) -> None:
        machine = self._some_machine()
        if machine.session is not None and self._dice.random() < 0.5:
            machine._leave()
        elif (link := self.daemon.links.get(machine.node.name)) is not None and not link.is_busy:
            self.daemon._lose(link)

    def _lose_messages(self) -> None:
        session = self._some_machine().session
        if session is not None:
            self._dice.choice([session.up, session.down]).drop()

    def _set_clock(self) -> None:
        """A whole number of seconds, so that times stay exact."""
        furthest_s = self._dice.choice([10, 600, 86_400])
        self.clock_step_s += self._dice.randint(-furthest_s, furthest_s)

    def _disk_failure(self) -> None:
        self.is_disk_failing = True
        self.timeline.after(self._dice.choice([1.0, 30.0, 300.0]), self._mend_disk)

    def _mend_disk(self) -> None:
        self.is_disk_failing = False

    def maybe_repeat(self, message: PartsChanged) -> None:
        """A report that was true once comes again, late."""
        if self._dice.random() < self.faults.report_copies:
            self.count("report_copies")
            delay_s = self._dice.choice([0.0, 1.0, 60.0]) * self._dice.random()
            self.timeline.after(delay_s, lambda: self.daemon.report(message))

    def maybe_remember(self, name: NodeName, order: messages.Launch) -> None:
        """An order comes again when its daemon is dead and a newer one has given orders: nodes must refuse it."""
        if self._dice.random() < self.faults.old_orders:
            self.timeline.after(self._dice.uniform(60.0, 1800.0), lambda: self._repeat_order(name, order))

    def _repeat_order(self, name: NodeName, order: messages.Launch) -> None:
        machine = self.machines[name]
        if machine.is_on and machine.is_alive and machine.epoch > order.epoch:
            self.count("old_orders")
            machine.carry_out(order)

    def _stop_faults(self) -> None:
        """Everything is put right."""
        self.faults = attrs.evolve(CALM, skew_s_max=self.faults.skew_s_max)
        self.network.heal()
        self._mend_disk()
        if not self.daemon.is_alive:
            self._restart_daemon()
        for machine in self.machines.values():
            self._boot(machine)
            self._restart_agent(machine)
        self.people.go_home()


def _cluster(dice: Random) -> Cluster:
    """Two to six nodes, some with GPUs."""
    nodes = []
    for number in range(dice.randint(2, 6)):
        gpus = ("a100", "a100") if number % 3 == 0 else ()
        nodes.append(Node(NodeName(f"n{number}"), dice.choice([2, 4]), 8 * GIB, gpus))
    names = tuple(node.name for node in nodes)
    partitions = (Partition(ALL, names, is_default=True), Partition(SOME, names[:1], priority=dice.randint(0, 1)))
    return Cluster("simulated", tuple(nodes), partitions, node_timeout_s=dice.choice([60.0, 120.0, 300.0]))


def _with_preemption(cluster: Cluster, dice: Random) -> Cluster:
    """Urgent jobs take room from the others, mostly while these stand still."""
    modes = [PreemptMode.SUSPEND, PreemptMode.SUSPEND, PreemptMode.REQUEUE, PreemptMode.CANCEL]
    lower = [attrs.evolve(each, preempt_mode=dice.choice(modes)) for each in cluster.partitions]
    names = tuple(node.name for node in cluster.nodes)
    urgent = Partition(URGENT, names, priority=5, preempts=tuple(each.name for each in lower))
    return attrs.evolve(cluster, partitions=(*lower, urgent))

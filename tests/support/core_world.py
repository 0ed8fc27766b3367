"""A small world around the pure core for its tests: nodes that carry out orders, a journal, and checks after each step.

Nothing happens by itself: a test delivers orders and reports when and in which order it likes, doubled, late or never.
"""

from __future__ import annotations

from typing import Any

import attrs

from hal_core.models.effect import CancelPart, Effect, Forget, Launch, Stage
from hal_core.models.event import Event, decode_event, encode_event
from hal_core.models.job import ArraySpec, Dependency, DependencyKind, End, EndKind, JobId, JobSpec, JobState, Owner
from hal_core.models.message import (
    Answer,
    Cancel,
    DefineCluster,
    JobSelection,
    Message,
    NodeReported,
    PartsChanged,
    PartStatus,
    StagingDone,
    StagingFailed,
    Submission,
    Submit,
)
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.placement import AttemptKey
from hal_core.models.ranges import parse_ranges
from hal_core.planes import Engine
from hal_core.rules.core import Core, Decided
from hal_core.rules.job_record import Activity, JobRecord
from hal_core.rules.state import State
from hal_core.testing import FakeEngine
from tests.support.invariants import check_dump, check_state
from tests.support.witness import Witness

GIB = 1 << 30
ALL = PartitionName("all")
ADA = Owner("ada", 1000, 1000)
OK = End(EndKind.EXITED, exit_code=0)
BAD = End(EndKind.EXITED, exit_code=3)


def make_cluster(node_count: int = 2, **fields: Any) -> Cluster:
    """Nodes n0, n1 ... of 4 CPUs and 8 GiB, in one partition."""
    made = tuple(
        Node(NodeName(f"n{number}"), **{"cpu_count": 4, "memory_bytes": 8 * GIB, **fields})
        for number in range(node_count)
    )
    names = tuple(node.name for node in made)
    return Cluster("test", made, (Partition(ALL, names, is_default=True),), node_timeout_s=300.0)


def make_spec(**fields: Any) -> JobSpec:
    """A job of one CPU. `array` may be ranges text, `after` the dependencies as (kind, job id)."""
    if isinstance(fields.get("array"), str):
        fields["array"] = ArraySpec(parse_ranges(fields["array"]), fields.pop("throttle", None))
    after = fields.pop("after", ())
    if after:
        fields["dependencies"] = tuple(Dependency(DependencyKind(kind), JobId(job_id)) for kind, job_id in after)
    return JobSpec(**{"name": "job", "partition": ALL, "command": ("true",), **fields})


@attrs.define
class WorldNode:
    """A node's side: its records, and orders that have not arrived yet."""

    node: Node
    boot_count: int = 1
    is_in_contact: bool = False
    parts: dict[AttemptKey, PartStatus] = attrs.Factory(dict)
    orders: list[Effect] = attrs.Factory(list)

    def running(self) -> list[AttemptKey]:
        return [key for key, part in self.parts.items() if part.end is None]


class World:
    """One core with nodes. `tell` and `plan` check everything after each event's application."""

    def __init__(self, cluster: Cluster | None = None, engine: Engine | None = None, is_checked: bool = True) -> None:
        self.core = Core(engine or FakeEngine(), "test")
        self.now_s = 1000.0
        self.events: list[Event] = []
        self.witness = Witness()
        self.nodes: dict[NodeName, WorldNode] = {}
        self.staging: list[Stage] = []
        self.launch_count: dict[tuple[NodeName, AttemptKey], int] = {}
        self._is_checked = is_checked
        self.define(cluster or make_cluster())

    @property
    def state(self) -> State:
        return self.core.state

    # -- messages ------------------------------------------------------------------------------------------------------

    def tell(self, message: Message) -> Answer:
        return self._take(self.core.receive(message, self.now_s))

    def plan(self, engine: Engine | None = None) -> Decided:
        if engine is not None:
            self.core.engine = engine
        decided = self.core.plan(self.now_s)
        self._take(decided)
        return decided

    def define(self, cluster: Cluster) -> None:
        self.tell(DefineCluster(cluster))
        for node in cluster.nodes:
            self.nodes.setdefault(node.name, WorldNode(node)).node = node

    def submit(self, **fields: Any) -> JobId:
        answer = self.tell(Submit((Submission("", ADA, make_spec(**fields)),)))
        assert isinstance(answer, tuple)
        return answer[0]

    def cancel(self, job_id: JobId, indices: str | None = None) -> Answer:
        return self.tell(Cancel(select(job_id, indices), "ada"))

    def _take(self, decided: Decided) -> Answer:
        for event in decided.events:
            self.events.append(event)
            if self._is_checked:
                self.witness.see(event)
        for effect in decided.effects:
            if isinstance(effect, Stage):
                self.staging.append(effect)
            elif effect.node in self.nodes:
                self.nodes[effect.node].orders.append(effect)
        if self._is_checked:
            check_state(self.state)
        return decided.answer

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def join(self, *names: str) -> World:
        """These nodes (or all) report with all that they have records of."""
        for name in names or list(self.nodes):
            each = self.nodes[NodeName(name)]
            each.is_in_contact = True
            report = NodeReported(each.node, f"boot-{each.boot_count}", tuple(each.parts.values()))
            self.tell(report)
        return self

    def reboot(self, name: str) -> None:
        """Power is lost: orders on their way and running processes are gone; records of what had started stay."""
        each = self.nodes[NodeName(name)]
        each.is_in_contact = False
        each.boot_count += 1
        each.orders.clear()
        lost = End(EndKind.SUPERVISOR_LOST)
        for key in each.running():
            each.parts[key] = attrs.evolve(each.parts[key], end=lost, end_time_s=self.now_s)

    def deliver(self, name: str, count: int | None = None) -> None:
        """The node gets its next orders (all, if no count is given). Out of contact, they are dropped."""
        each = self.nodes[NodeName(name)]
        taken, each.orders = each.orders[:count], each.orders[len(each.orders[:count]) :]
        for effect in taken if each.is_in_contact else ():
            self._carry_out(each, effect)

    def _carry_out(self, each: WorldNode, effect: Effect) -> None:
        match effect:
            case Launch(node=name, order=order):
                if order.key not in each.parts:
                    self.launch_count[name, order.key] = self.launch_count.get((name, order.key), 0) + 1
                    each.parts[order.key] = PartStatus(order.key, start_time_s=self.now_s)
            case CancelPart(order=order):
                if order.key in each.running():
                    self.finish(each.node.name, order.key, End(EndKind.CANCELLED, signal=15))
                elif order.key not in each.parts:  # it will never begin here
                    each.parts[order.key] = PartStatus(order.key, None, self.now_s, End(EndKind.CANCELLED))
            case Forget(key=key):
                if key not in each.running():
                    each.parts.pop(key, None)
            case _:
                pass

    def finish(self, name: str, key: AttemptKey, end: End = OK) -> None:
        """A part ends on the node; nobody is told yet."""
        parts = self.nodes[NodeName(name)].parts
        parts[key] = attrs.evolve(parts[key], end=end, end_time_s=self.now_s)

    def report(self, name: str, *keys: AttemptKey) -> None:
        """The node reports these (or all) parts in one batch."""
        each = self.nodes[NodeName(name)]
        wanted = keys or tuple(each.parts)
        if each.is_in_contact:
            self.tell(PartsChanged(each.node.name, tuple(each.parts[key] for key in wanted)))

    # -- whole stretches -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Plan, carry out all orders and report, until nothing changes: what can run now runs."""
        for _ in range(1000):
            before = len(self.events)
            if self.core.needs_plan:
                self.plan()
            for name, each in self.nodes.items():
                has_orders = bool(each.orders)
                self.deliver(name)
                if has_orders and each.parts:
                    self.report(name)
            if len(self.events) == before and not self.core.needs_plan:
                return
        raise AssertionError("the core never comes to rest")

    def start(self, **fields: Any) -> AttemptKey:
        """Submit a job and bring it to where it runs (or stages)."""
        job_id = self.submit(**fields)
        self.settle()
        return self.activity(job_id).key

    def end(self, key: AttemptKey, end: End = OK) -> None:
        """All running parts of the attempt end and are reported."""
        for name, each in self.nodes.items():
            if key in each.running():
                self.finish(name, key, end)
                self.report(name, key)

    def staged(self, key: AttemptKey, failure: str = "") -> None:
        self.staging = [stage for stage in self.staging if stage.key != key]
        self.tell(StagingFailed(key, failure) if failure else StagingDone(key, 1))

    # -- questions -----------------------------------------------------------------------------------------------------

    def job(self, job_id: JobId) -> JobRecord:
        record = self.state.find(job_id)
        assert record is not None
        return record

    def activity(self, job_id: JobId, index: int = 0) -> Activity:
        return self.job(job_id).active[index]

    def activity_of(self, key: AttemptKey) -> Activity | None:
        return self.state.activity(key)

    def ended(self, job_id: JobId, index: int = 0) -> End:
        return self.job(job_id).ends[index].end

    def jobs_in(self, state: JobState) -> list[int]:
        return [job_id for job_id in range(1, self.state.next_job_id) if self.job(JobId(job_id)).state is state]

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def check_at_end(self) -> None:
        """Replay gives the same state; a dump too."""
        check_dump(self.state)
        replayed = State()
        for event in self.events:
            replayed.apply(decode_event(*encode_event(event)))
        assert replayed.dump() == self.state.dump(), "replay gives another state"
        assert all(count == 1 for count in self.launch_count.values()), "an attempt was launched twice"


def select(job_id: JobId, indices: str | None = None) -> JobSelection:
    return JobSelection(job_id, None if indices is None else parse_ranges(indices))

"""The planes as a model: it carries out effects in simulated time and answers as real executors and stagers do.

It keeps the contract of planes.Executor: orders are idempotent by key, a repeated launch reports what is known, a
cancel of something unknown is answered with its end, and a node out of contact gets nothing and says nothing. It must
not decide anything that is the core's to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from hal_core.models.effect import (
    BringAhead,
    CancelOrder,
    CancelPart,
    Effect,
    Forget,
    Keep,
    Launch,
    LaunchOrder,
    Stage,
    SuspendOrder,
    SuspendPart,
)
from hal_core.models.job import End, EndKind, JobId
from hal_core.models.message import Message, NodeReported, NodeSilent, PartsChanged, PartStatus, StagingDone
from hal_core.models.node import Node, NodeName
from hal_core.models.placement import AttemptKey
from hal_core.sim.workload import WorkloadJob

SIGTERM = 15


@attrs.frozen
class Fault:
    """A node loses power at one time and boots at another (infinity: never). What ran there is gone."""

    node: NodeName
    lost_time_s: float
    back_time_s: float


@attrs.frozen
class Delays:
    """How long the planes take. `cancel_share` of a job's grace passes until a cancelled part has ended."""

    launch_s: float = 0.0
    stage_s: float = 0.0
    cancel_share: float = 0.0


class Part:
    """One node's part of one attempt, as the node knows it. It waits in the heap until `due_s`."""

    __slots__ = ("due_s", "end", "end_time_s", "key", "left_s", "node", "order", "pending_end", "start_time_s")

    def __init__(self, node: NodeName, key: AttemptKey, order: LaunchOrder | None) -> None:
        self.node = node
        self.key = key
        self.order = order
        self.due_s: float | None = None
        """When something happens next; None once it has ended. An entry of the heap for another time is void."""
        self.left_s: float | None = None
        """How long it will still run when it goes on, if it stands still."""
        self.start_time_s: float | None = None
        self.pending_end: End | None = None
        """How it will end at `due_s`; None while it is launching."""
        self.end: End | None = None
        self.end_time_s: float | None = None

    def status(self) -> PartStatus:
        return PartStatus(self.key, self.start_time_s, self.end_time_s, self.end)


@attrs.frozen
class FaultTurn:
    """An entry of the heap: the node is lost, or is back."""

    node: NodeName
    is_lost: bool


Due = Part | FaultTurn
Post = Callable[[float, "Message | Due"], None]
"""Put something into the heap: it is handled at that time."""


class ExecutorModel:
    """All nodes of the cluster, and the staging between them."""

    def __init__(self, post: Post, delays: Delays | None = None) -> None:
        self._post = post
        self._delays = Delays() if delays is None else delays
        self._truth: dict[JobId, WorkloadJob] = {}
        self._nodes: dict[NodeName, Node] = {}
        self._parts: dict[NodeName, dict[AttemptKey, Part]] = {}
        self._is_off: set[NodeName] = set()
        self._boot_count: dict[NodeName, int] = {}

    def add_nodes(self, nodes: Iterable[Node], now_s: float) -> None:
        """The nodes boot and report."""
        for node in nodes:
            self._nodes[node.name] = node
            self._parts[node.name] = {}
            self._boot_count[node.name] = 1
            self._post(now_s, self._report(node.name))

    def add_faults(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self._post(fault.lost_time_s, FaultTurn(fault.node, is_lost=True))
            if fault.back_time_s < float("inf"):
                self._post(fault.back_time_s, FaultTurn(fault.node, is_lost=False))

    def learn(self, truths: Mapping[JobId, WorkloadJob]) -> None:
        """What these jobs will really do. A job without a truth runs for no time and succeeds."""
        self._truth.update(truths)

    def act(self, effect: Effect, now_s: float) -> None:
        """Carry out one effect."""
        match effect:
            case Launch(node=node, order=order):
                if node not in self._is_off:
                    self._launch(node, order, now_s)
            case CancelPart(node=node, order=order):
                if node not in self._is_off:
                    self._cancel(node, order, now_s)
            case SuspendPart(node=node, order=order):
                if node not in self._is_off:
                    self._suspend(node, order, now_s)
            case Forget(node=node, key=key):
                if node not in self._is_off:
                    self._parts[node].pop(key, None)
            case Stage(key=key):
                self._post(now_s + self._delays.stage_s, StagingDone(key))
            case Keep() | BringAhead():
                pass  # its nodes have no stores

    def due(self, entry: Due, now_s: float) -> Message | None:
        """Something that was put into the heap has come: what the planes report of it, if anything."""
        if isinstance(entry, FaultTurn):
            return self._turn(entry)
        if entry.due_s != now_s:
            return None
        if entry.pending_end is None:
            self._start(entry, now_s)
        else:
            entry.due_s, entry.end, entry.end_time_s = None, entry.pending_end, now_s
        return PartsChanged(entry.node, (entry.status(),))

    def _launch(self, node: NodeName, order: LaunchOrder, now_s: float) -> None:
        known = self._parts[node].get(order.key)
        if known is not None:
            self._post(now_s, PartsChanged(node, (known.status(),)))
            return
        part = self._parts[node][order.key] = Part(node, order.key, order)
        self._schedule(part, now_s + self._delays.launch_s)

    def _start(self, part: Part, now_s: float) -> None:
        assert part.order is not None
        spec, truth = part.order.spec, self._truth.get(part.key.job_id)
        runtime_s, exit_code = (truth.runtime_s, truth.exit_code) if truth else (0.0, 0)
        part.start_time_s = now_s
        runtime_s *= spec.run_ratio
        if spec.walltime_s is not None and runtime_s > spec.walltime_s:
            runtime_s, part.pending_end = spec.walltime_s, End(EndKind.TIME_LIMIT, signal=SIGTERM)
        else:
            part.pending_end = End(EndKind.EXITED, exit_code=exit_code)
        self._schedule(part, now_s + runtime_s)

    def _cancel(self, node: NodeName, order: CancelOrder, now_s: float) -> None:
        part = self._parts[node].get(order.key)
        end = End(EndKind.CANCELLED, signal=SIGTERM)
        if part is None:  # remembered, so that a launch that comes late does not start it
            part = self._parts[node][order.key] = Part(node, order.key, None)
            part.end, part.end_time_s = end, now_s
        if part.end is not None:
            self._post(now_s, PartsChanged(node, (part.status(),)))
            return
        if part.left_s is not None:  # it goes on, to end in good order
            self._schedule(part, now_s + part.left_s)
            part.left_s = None
        delay_s = order.grace_s * self._delays.cancel_share if part.start_time_s is not None else 0.0
        if part.due_s is None or part.pending_end is None or now_s + delay_s < part.due_s:
            part.pending_end = end
            self._schedule(part, now_s + delay_s)

    def _suspend(self, node: NodeName, order: SuspendOrder, now_s: float) -> None:
        """What runs stands still until it is told to go on. Anything else needs neither."""
        part = self._parts[node].get(order.key)
        if part is None or part.end is not None or part.start_time_s is None:
            return
        if order.does_resume and part.left_s is not None:
            left_s, part.left_s = part.left_s, None
            self._schedule(part, now_s + left_s)
        elif not order.does_resume and part.left_s is None and part.due_s is not None:
            part.left_s, part.due_s = part.due_s - now_s, None

    def _schedule(self, part: Part, time_s: float) -> None:
        part.due_s = time_s
        self._post(time_s, part)

    def _turn(self, turn: FaultTurn) -> Message | None:
        node = turn.node
        if turn.is_lost:
            self._is_off.add(node)
            for part in self._parts[node].values():
                part.due_s = part.left_s = None
            return NodeSilent(node)
        self._is_off.discard(node)
        self._boot_count[node] += 1
        return self._report(node)

    def _report(self, node: NodeName) -> NodeReported:
        """What a booted node says: of parts that were cut off only the records are left."""
        for key, part in list(self._parts[node].items()):
            if part.end is None and part.start_time_s is None:
                del self._parts[node][key]  # it was ordered, but nothing of it was on the node's disk yet
            elif part.end is None:
                part.end = End(EndKind.SUPERVISOR_LOST)
        parts = tuple(part.status() for part in self._parts[node].values())
        return NodeReported(self._nodes[node], f"boot-{self._boot_count[node]}", parts)

"""The simulator: the daemon's loop over a heap. The inbox is the heap, the journal a list, the planes are models.

Everything that comes at one instant is received, then the engine plans once, as the daemon's cycles coalesce. The same
workload, engine and faults give the same events, always. Nothing here reads a clock or waits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from heapq import heappop, heappush

import attrs

from hal_core.errors import UserError
from hal_core.models.effect import Effect
from hal_core.models.event import Event
from hal_core.models.message import DefineCluster, Message, Submit, Tick
from hal_core.models.node import Cluster
from hal_core.rules.core import Core
from hal_core.sim.executor_model import Delays, Due, ExecutorModel, Fault, FaultTurn, Part
from hal_core.sim.workload import Workload, WorkloadJob


@attrs.frozen
class RefusedMessage:
    """A message that the core refused, as it refuses a user."""

    time_s: float
    message: Message
    error: UserError


class Simulation:
    """One run of one core. `events` is the journal, `now_s` the simulated time."""

    def __init__(self, core: Core, cluster: Cluster, delays: Delays | None = None, start_time_s: float = 0.0) -> None:
        self.core = core
        self.now_s = start_time_s
        self.events: list[Event] = []
        self.refused: list[RefusedMessage] = []
        self._heap: list[tuple[float, int, Message | Due]] = []
        self._sequence = 0
        self._workload: dict[str, WorkloadJob] = {}
        self.executor = ExecutorModel(self.post, delays)
        self.post(start_time_s, DefineCluster(cluster))
        self.executor.add_nodes(cluster.nodes, start_time_s)

    def post(self, time_s: float, message: Message | Due) -> None:
        """Put a message into the inbox. Messages of one instant keep the order in which they were posted."""
        self._sequence += 1
        heappush(self._heap, (time_s, self._sequence, message))

    def add_workload(self, workload: Workload) -> None:
        """Submit these jobs at their times. One workload for each run."""
        for (time_s, client_id, message), job in zip(workload.submissions(), workload.jobs, strict=True):
            self._workload[client_id] = job
            self.post(time_s, message)

    def add_faults(self, faults: Iterable[Fault]) -> None:
        self.executor.add_faults(faults)

    def run(self, until_s: float = math.inf) -> None:
        """Go on until nothing is left to happen, or up to and including `until_s`."""
        while (time_s := self.next_time_s()) is not None and time_s <= until_s:
            self._cycle(time_s)

    def next_time_s(self) -> float | None:
        """When something happens next; None if never."""
        wake_s = self.core.next_wake_s()
        if wake_s is None:
            return self._heap[0][0] if self._heap else None
        wake_s = max(wake_s, self.now_s)
        return min(wake_s, self._heap[0][0]) if self._heap else wake_s

    def _cycle(self, time_s: float) -> None:
        """One cycle, in the order of the daemon: receive all that has come, plan once, journal; then the effects."""
        self.now_s = time_s
        effects: list[Effect] = []
        heap = self._heap
        while heap and heap[0][0] <= time_s:
            entry = heappop(heap)[2]
            message = self.executor.due(entry, time_s) if isinstance(entry, Part | FaultTurn) else entry
            if message is not None:
                self._receive(message, effects)
        if self.core.is_tick_due(time_s):
            self._receive(Tick(), effects)
        if self.core.needs_plan:
            decided = self.core.plan(time_s)
            self.events += decided.events
            effects += decided.effects
        for effect in effects:
            self.executor.act(effect, time_s)

    def _receive(self, message: Message, effects: list[Effect]) -> None:
        try:
            decided = self.core.receive(message, self.now_s)
        except UserError as error:
            self.refused.append(RefusedMessage(self.now_s, message, error))
            return
        self.events += decided.events
        effects += decided.effects
        if isinstance(message, Submit):
            assert isinstance(decided.answer, tuple)
            ids = zip(message.submissions, decided.answer, strict=True)
            known = self._workload
            self.executor.learn({job_id: known[s.client_id] for s, job_id in ids if s.client_id in known})

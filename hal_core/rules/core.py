"""The core: the one path that both shells call. Messages and the time go in; events, effects and answers come out.

The trio daemon puts the events on disk before it answers anybody or carries out an effect; the simulator keeps them in
a list. Nothing here waits, reads a clock or touches the world.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.models.effect import Effect
from hal_core.models.event import Event, JobEnded, JobRequeued, Planned, SessionChanged
from hal_core.models.job import End, EndKind
from hal_core.models.message import Answer, ClockSet, Tick
from hal_core.models.ranges import RangeSet
from hal_core.rules import dependencies, variants
from hal_core.rules.ahead import Ahead
from hal_core.rules.commit import RefusedStart, commit
from hal_core.rules.decide import decide
from hal_core.rules.effects import effects_of, forgets_of
from hal_core.rules.plan_check import checked_plan
from hal_core.rules.policy_changes import policy_in_force
from hal_core.rules.state import State
from hal_core.rules.suspension import resumes

if TYPE_CHECKING:
    from hal_core.models.message import Message
    from hal_core.models.plan import Plan
    from hal_core.planes import Engine
    from hal_core.rules.snapshot import StateSnapshot


SLICE: Final = 250
"""Events that are applied in one go: about 10 ms."""


@attrs.frozen
class Decided:
    """What one message, or one pass of the engine, led to."""

    events: tuple[Event, ...]
    effects: tuple[Effect, ...]
    answer: Answer = None
    refused: tuple[RefusedStart, ...] = ()


class Core:
    """State and engine. `needs_plan` says that something changed since the last pass."""

    def __init__(self, engine: Engine, engine_name: str, state: State | None = None) -> None:
        self.state = State() if state is None else state
        self.engine = engine
        self.engine_name = engine_name
        self.others: Mapping[str, Engine] = {}
        """Engines that HAL may change to by itself."""
        self.needs_plan = True
        self._planned_time_s = 0.0
        """When the engine planned last: a begin time after that is still to be looked at, even if it has passed."""
        self._plan_wake_s = math.inf
        """When the engine wants to be asked again, whatever happens."""
        self._ahead = Ahead()

    def receive(self, message: Message, now_s: float) -> Decided:
        """Decide one message and apply its events. Raises errors.UserError; then nothing has changed."""
        steps = self.receiving(message, now_s)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                decided: Decided = done.value
                return decided

    def receiving(self, message: Message, now_s: float) -> Generator[None, None, Decided]:
        """The same, with pauses while it is decided and after every SLICE events, so that ten thousand jobs do not hold
        up a shell.

        During a pause the state may be read; but it is ahead of every journal, and nothing else may be decided.
        """
        events, answer = yield from decide(self.state, message, now_s)
        self.needs_plan = self.needs_plan or isinstance(message, Tick | ClockSet)
        applied: list[Event] = []
        effects: list[Effect] = []
        for start in range(0, len(events), SLICE):
            if start:
                yield
            self._apply(events[start : start + SLICE], applied, effects)
        while self.state.doomed:
            self._apply(self._doom(now_s), applied, effects)
        return Decided(tuple(applied), tuple(effects), answer)

    def plan(self, now_s: float) -> Decided:
        """One pass of the engine, and what holds of its plan."""
        return self.accept(self.propose(self.look(now_s)), now_s)

    def look(self, now_s: float) -> StateSnapshot:
        """What the engine is to plan with, valid until something is decided."""
        return self.state.snapshot(now_s)

    def propose(self, snapshot: StateSnapshot) -> Plan:
        """One pass of the engine, which may raise anything. Changes nothing, so that it may be computed in another
        thread, as long as nothing is decided meanwhile."""
        engine = self.others.get(self.policy, self.engine)
        plan = checked_plan(variants.plan(engine, self.state, snapshot), self.policy)
        times = [each for each in (plan.wake_s, snapshot.wake_s) if each > snapshot.now_s]
        return attrs.evolve(plan, wake_s=min(times, default=math.inf))

    def accept(self, plan: Plan, now_s: float) -> Decided:
        """What holds of a plan that was proposed a moment ago; nothing has happened since."""
        self.needs_plan = False
        self._planned_time_s = now_s
        events, refused = commit(self.state, plan, self.policy, now_s)
        effects = [effect for event in events for effect in effects_of(self.state, event)]
        effects += self._ahead.orders(self.state, plan, events, now_s)
        self._plan_wake_s = min(plan.wake_s, self._ahead.wake_s)
        return Decided(tuple(events), tuple(effects), refused=tuple(refused))

    def resume(self, now_s: float) -> Decided:
        """What goes on without an engine: suspended elements that have their CPUs back."""
        events: list[Event] = []
        effects: list[Effect] = []
        self._apply(list(resumes(self.state, now_s)), events, effects)
        return Decided(tuple(events), tuple(effects))

    @property
    def policy(self) -> str:
        """The engine in force: the one that HAL changed to last, if it still may, else the configured one."""
        return policy_in_force(self.state.policy_changes, self.engine_name, self.others)

    def next_wake_s(self) -> float | None:
        """When a Tick is due although nothing comes in, perhaps in the past; None if never."""
        state = self.state
        table, timeout_s = state.table, state.cluster.node_timeout_s
        times = [table.status_time_s[number] + timeout_s for number in table.suspects]
        times.append(state.catalogue.next_expiry_s)
        begin_s = None if self.needs_plan else state.begins.next_after(self._planned_time_s)
        if begin_s is not None:
            times.append(begin_s)
        if state.reservations.holds and len(state.queue) and not self.needs_plan:
            times.append(state.reservations.holds.next_edge_s(self._planned_time_s))
        if self._plan_wake_s < math.inf and not self.needs_plan:
            times.append(self._plan_wake_s)
        wake_s = min(times, default=math.inf)
        return wake_s if wake_s < math.inf else None

    def is_tick_due(self, now_s: float) -> bool:
        """Whether a shell must follow the messages of its cycle with a Tick, however many there are."""
        wake_s = self.next_wake_s()
        return wake_s is not None and wake_s <= now_s

    def _apply(self, events: list[Event], applied: list[Event], effects: list[Effect]) -> None:
        for event in events:
            if isinstance(event, JobEnded | JobRequeued):
                effects += forgets_of(self.state, event)
                self.state.apply(event)
            else:
                self.state.apply(event)
                effects += effects_of(self.state, event)
            applied.append(event)
            self.needs_plan = self.needs_plan or not isinstance(event, Planned | SessionChanged)

    def _doom(self, now_s: float) -> list[Event]:
        """End the jobs (or array elements) whose dependencies can never be satisfied any more."""
        events: list[Event] = []
        end = End(EndKind.DEPENDENCY_NEVER_SATISFIED)
        for job_id in sorted(self.state.doomed):
            record = self.state.jobs[job_id]
            is_whole = not record.is_met and dependencies.answer(self.state, record) is dependencies.Answer.NEVER
            never = (
                RangeSet((*record.ready.ranges(), *record.blocked.ranges()))
                if is_whole
                else RangeSet(dependencies.corresponding(self.state, record)[2])
            )
            for attempt, ranges in record.by_attempt(never):
                events.append(JobEnded(now_s, job_id, ranges, attempt, end, None, now_s))
        self.state.doomed.clear()
        return events

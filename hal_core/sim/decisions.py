"""Was every decision of a journal what the engine decides today? Each pass is repeated on the state that it saw.

A pass is in the journal as the variants it chose and the placements it led to, followed by `Planned`, which names the
sequence of the state that the engine saw, and the time, and by what it asked to make room. The events before it are
folded into that very state; the engine plans, the plan is committed, and what comes of it must be the same events:
variants, starts, devices by number, promises, depth. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from hal_core.models.event import Event, JobCancelRequested, JobPlaced, JobResumed, JobSuspended, Planned, VariantChosen
from hal_core.models.plural import plural
from hal_core.planes import Engine
from hal_core.rules import variants
from hal_core.rules.commit import commit
from hal_core.rules.state import State

DIFFERENCES_MAX = 10
"""More are not looked for."""


@attrs.frozen
class Difference:
    """A pass that led to something else than the journal says."""

    sequence: int
    time_s: float
    expected: tuple[Event, ...]
    """As in the journal."""
    found: tuple[Event, ...]

    def __str__(self) -> str:
        for number, (expected, found) in enumerate(zip(self.expected, self.found, strict=False)):
            if expected != found:
                return f"event {self.sequence + 1 + number}: decided {expected}, now {found}"
        return f"event {self.sequence + 1}: decided {plural(len(self.expected), 'event')}, now {len(self.found)}"


@attrs.frozen
class Verdict:
    """What was compared. Without differences, the journal was reproduced exactly."""

    event_count: int
    pass_count: int
    start_count: int
    promise_count: int
    differences: tuple[Difference, ...]


def repeat_decisions(read: Callable[[], Iterable[Event]], engine_of: Callable[[str], Engine]) -> Verdict:
    """`read` gives the events from the first one on (again, where something differs); `engine_of` knows engines by
    the names that the journal uses."""
    differences: list[Difference] = []
    pass_count = start_count = promise_count = 0
    engines: dict[str, Engine] = {}
    state = State()
    for events in _passes(read()):
        planned = next((event for event in events if isinstance(event, Planned)), None)
        if planned is None:
            state.apply(events[0])
            continue
        engine = engines.get(planned.engine) or engines.setdefault(planned.engine, engine_of(planned.engine))
        before = state.sequence
        if planned.sequence == before:
            plan = variants.plan(engine, state, state.snapshot(planned.time_s))
            found, _ = commit(state, plan, planned.engine, planned.time_s)
        else:
            found = []
        pass_count += 1
        start_count += planned.start_count
        promise_count += len(planned.reserves)
        if tuple(found) != events:
            differences.append(Difference(before, planned.time_s, events, tuple(found)))
            if len(differences) == DIFFERENCES_MAX:
                break
            state = _fold(read(), before + len(events))
    return Verdict(state.sequence, pass_count, start_count, promise_count, tuple(differences))


def _passes(events: Iterable[Event]) -> Iterator[tuple[Event, ...]]:
    """Each event alone; but choices, suspensions and placements together with the pass that made them, and whom it
    asked to end or to go on."""
    placed: list[Event] = []
    planned: list[Event] = []
    for event in events:
        makes_room = isinstance(event, JobCancelRequested) and event.preempted_for is not None
        if planned and (makes_room or isinstance(event, JobResumed)):
            planned.append(event)
            continue
        if planned:
            yield tuple(planned)
            planned = []
        is_by_person = isinstance(event, JobSuspended) and event.suspended_for is None
        if isinstance(event, VariantChosen | JobSuspended | JobPlaced) and not is_by_person:
            placed.append(event)
        elif isinstance(event, Planned):
            planned, placed = [*placed, event], []
        else:
            yield from _alone(placed)
            placed = []
            yield (event,)
    if planned:
        yield tuple(planned)
    yield from _alone(placed)


def _alone(events: Sequence[Event]) -> Iterator[tuple[Event, ...]]:
    """Placements that no pass follows: the journal ends in the middle of one."""
    for event in events:
        yield (event,)


def _fold(events: Iterable[Event], count: int) -> State:
    state = State()
    for event in events:
        if state.sequence == count:
            break
        state.apply(event)
    return state

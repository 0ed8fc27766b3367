"""Whether waiting for nearer nodes is worth it: seconds of waiting against seconds of a slower run.

The slow-down of a placement is predicted from its span: the share of the run time in which the job's nodes exchange
data grows as an exchange between them does, against the nearest nodes that the cluster has for it. A job that prefers a
level, or a domain, waits for it while it is expected to end sooner that way, and goes wherever there is room otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from hal_core.models import placing
from hal_core.models.masks import mask_of
from hal_core.rules.timeline import Promise, earliest_start

if TYPE_CHECKING:
    from hal_core.models.packing import Ask
    from hal_core.models.plan import RunningJob
    from hal_core.models.room import Room
    from hal_core.rules.permit import Permit

SHAPES_MAX: Final = 50
"""Of so many different asks the better place is looked for in one pass; others take what is there."""
RUN_S_MAX: Final = 365.0 * 86_400
"""What is taken for a run time that nobody knows."""


def slow_down(ask: Ask, nodes: int) -> float:
    """How many times as long the job is expected to run on these nodes as on the nearest that the cluster has."""
    domains, share = ask.domains, ask.shape.communication
    if domains is None or not share or not nodes:
        return 1.0
    found_s, ideal_s = domains.exchange_s(nodes), _ideal_s(ask)
    if ask.home and nodes & ~ask.home:  # it exchanges data with the domain that it names
        ideal_s = ideal_s or domains.span(ask.home).link.exchange_s
        found_s = max(found_s, domains.span(nodes | ask.home).link.exchange_s)
    return 1.0 + share * max(0.0, found_s / ideal_s - 1.0) if ideal_s else 1.0


def _ideal_s(ask: Ask) -> float:
    """An exchange between the nearest nodes that may serve the ask, if all were idle."""
    assert ask.domains is not None
    if ask.ideal_s is None:
        nearest = placing.gang(ask.domains, [ask.nodes], ask.wish) if ask.node_count > 1 else 0
        ask.ideal_s = ask.domains.exchange_s(nearest)
    return ask.ideal_s


def is_later_better(ask: Ask, run_s: float, wait_s: float, nodes_then: int, nodes_now: int) -> bool:
    """Whether the job is expected to end sooner if it waits so long for those nodes."""
    run_s = min(run_s, RUN_S_MAX)
    return wait_s + run_s * slow_down(ask, nodes_then) < run_s * slow_down(ask, nodes_now)


class Patience:
    """One pass: for which jobs that could start something nearer comes soon enough."""

    def __init__(self, room: Room, now_s: float, running: Callable[[], Iterable[RunningJob]]) -> None:
        self._room = room
        self._now_s = now_s
        self._running = running
        self._found: dict[Ask, Promise | None] = {}

    def better(self, ask: Ask, run_s: float, permit: Permit | None, chosen: Sequence[int]) -> Promise | None:
        """When and where the job, which could start now on those nodes, is better off; None: it should start, or
        cannot."""
        strict = ask.strict
        if strict is None:
            return None
        now = mask_of(chosen)
        if not now or strict.is_allowed(now):
            return None
        if strict not in self._found:
            if len(self._found) >= SHAPES_MAX:
                return None
            self._found[strict] = earliest_start(self._room, self._running(), strict, self._now_s, permit)
        promise = self._found[strict]
        if promise is None:
            return None
        then, wait_s = mask_of(promise.node_numbers), promise.time_s - self._now_s
        return promise if is_later_better(ask, run_s, wait_s, then, now) else None

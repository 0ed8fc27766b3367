"""What the plugins of a running daemon cost, and what each last did wrong: told by the walls around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from hal_core.models.plugin import Conduct, PluginListing, Provided

PROBLEM_CHARACTERS_MAX = 300


class Conducts:
    """One for each plugin by plane and name. Of the loop's thread only."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._found: dict[tuple[str, str], Conduct] = {}

    def spent(self, plane: str, name: str, busy_s: float, call_count: int = 1) -> None:
        """A call, or several, that took so long in all."""
        before = self.of(plane, name)
        count, busy = before.call_count + call_count, before.busy_s + busy_s
        self._found[plane, name] = attrs.evolve(before, call_count=count, busy_s=busy)

    def wrong(self, plane: str, name: str, problem: str) -> None:
        """A call failed, or its answer was of no use."""
        before = self.of(plane, name)
        self._found[plane, name] = attrs.evolve(
            before,
            failure_count=before.failure_count + 1,
            last_problem=problem[:PROBLEM_CHARACTERS_MAX],
            last_problem_time_s=self._now_s(),
        )

    def of(self, plane: str, name: str) -> Conduct:
        return self._found.get((plane, name), Conduct())

    def told(self, listings: Sequence[PluginListing]) -> tuple[PluginListing, ...]:
        """The listings, with the conduct of all that was called."""

        def with_conduct(each: Provided) -> Provided:
            return attrs.evolve(each, conduct=self._found.get((each.plane, each.name)))

        return tuple(attrs.evolve(each, provides=tuple(map(with_conduct, each.provides))) for each in listings)

"""Answers that many get: a page of the queue is rendered once and sent to everybody who asks until something happens.

Two hundred people who watch a long queue cost one page for each change, not two hundred. An answer is kept for the
state it was made from, and not for long, because why a job waits depends on the time as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from hal_core.rest.answers import Answer
from hal_core.rest.port import Context

KEPT_S = 1.0
BYTES_MAX = 8 << 20
"""Of all answers that are kept."""


class SharedAnswers:
    """The answers to some questions at one sequence of the state. A question says all that its answer depends on."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: dict[Hashable, Answer] = {}
        self._bytes = 0
        self._moment = self._now()
        self._time_s = 0.0

    async def of(self, question: Hashable, make: Callable[[], Awaitable[Any]]) -> Answer:
        """What `make` answered when the question was asked before, at this moment; else what it answers now."""
        moment, now_s = self._now(), self._context.monotonic_s()
        if moment != self._moment or now_s >= self._time_s + KEPT_S:
            self._kept.clear()
            self._bytes, self._moment, self._time_s = 0, moment, now_s
        found = self._kept.get(question)
        if found is None:
            found = await make()
            assert isinstance(found, Answer), "a stream cannot be shared"
            size = len(found.body)
            if self._now() == moment == self._moment and self._bytes + size <= BYTES_MAX:
                self._kept[question] = found
                self._bytes += size
        return found

    def _now(self) -> tuple[object, int]:
        """The state and how far it is. After a failed write another state may reach the same sequence."""
        state = self._context.kernel.state
        return state, state.sequence

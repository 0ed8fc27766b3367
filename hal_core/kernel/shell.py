"""What the kernel is given: the journal, the planes, the clocks, and where passes of the engine run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import attrs

from hal_core.kernel.conducts import Conducts
from hal_core.kernel.effects import Effects
from hal_core.kernel.observers import Observers
from hal_core.kernel.pass_runner import RunPass, run_here
from hal_core.models.event import Event
from hal_core.rules.state import State

INBOX_MAX: Final = 10_000


class Journal(Protocol):
    """What the kernel needs of the journal (kernel/journal.py; tests have one in memory)."""

    @property
    def epoch(self) -> int: ...

    @property
    def sequence(self) -> int: ...

    @property
    def failure(self) -> str | None: ...

    def append(self, events: Sequence[Event]) -> int: ...


@attrs.frozen(kw_only=True)
class Shell:
    """Everything outside of the core that the kernel uses."""

    journal: Journal
    effects: Effects
    observers: Observers
    now_s: Callable[[], float]
    """Seconds since the epoch; what events carry."""
    rebuild: Callable[[], State]
    """The state as the journal has it. Called in a thread after a failed append."""
    steady_s: Callable[[], float] = attrs.field()
    """Seconds that only pass, whoever sets the clock of `now_s`."""
    inbox_max: int = INBOX_MAX
    run_pass: RunPass = run_here
    conducts: Conducts = attrs.field()

    @conducts.default
    def _unseen(self) -> Conducts:
        return Conducts(self.now_s)

    @steady_s.default
    def _the_same(self) -> Callable[[], float]:
        """For a clock that nobody sets."""
        return self.now_s

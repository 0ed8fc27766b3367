"""The journal of a simulated daemon: what is on disk, in its encoded form, and a fold of it beside the daemon's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from random import Random

from hal_core.models.event import Event, decode_event, encode_event
from hal_core.rules.state import State

SNAPSHOT_EVENTS_MIN = 200


class Journal:
    """Outlives every daemon. `see` is told each event when it is on disk, decoded again."""

    def __init__(self, dice: Random, see: Callable[[Event], None]) -> None:
        self._dice = dice
        self._see = see
        self._rows: list[tuple[str, int, bytes]] = []
        self._snapshot: tuple[int, bytes] | None = None
        self._digest = hashlib.sha256()
        self.epoch = 0
        self.folded = State()

    @property
    def sequence(self) -> int:
        return len(self._rows)

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()[:16]

    def append(self, events: Sequence[Event]) -> None:
        for event in events:
            row = encode_event(event)
            self._rows.append(row)
            self._digest.update(row[2])
            decoded = decode_event(*row)
            self.folded.apply(decoded)
            self._see(decoded)

    def take_snapshot(self) -> None:
        if self._snapshot is None or self.sequence >= self._snapshot[0] + SNAPSHOT_EVENTS_MIN:
            self._snapshot = (self.sequence, self.folded.dump())

    def recover(self) -> State:
        """From the latest snapshot and what came after it, or from the beginning; both give the same."""
        first, state = 0, State()
        if self._snapshot is not None and self._dice.random() < 0.7:
            first, content = self._snapshot
            state = State.load(content)
        for row in self._rows[first:]:
            state.apply(decode_event(*row))
        assert state.dump() == self.folded.dump(), f"recovery from event {first} gives another state"
        return state

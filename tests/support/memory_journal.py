"""A journal in memory with the kernel's view of it: keeps what it was given, and fails when told to."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hal_core.errors import Unavailable
from hal_core.models.event import Event, decode_event, encode_event
from hal_core.rules.state import State


class MemoryJournal:
    """`refuses` makes appends fail until it is None again. `gate` closed holds appends up, as a slow disk would."""

    def __init__(self) -> None:
        self.epoch = 1
        self.failure: str | None = None
        self.events: list[Event] = []
        self.batch_sizes: list[int] = []
        self.refuses: str | None = None
        self.retry_after_s = 5.0
        self.refused_count = 0
        self.refused_thrice = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.append_started = threading.Event()

    @property
    def sequence(self) -> int:
        return len(self.events)

    def append(self, events: Sequence[Event]) -> int:
        self.append_started.set()
        assert self.gate.wait(10), "the test never opened the gate"
        if self.refuses is not None:
            self.refused_count += 1
            if self.refused_count == 3:
                self.refused_thrice.set()
            raise Unavailable(self.refuses, self.retry_after_s)
        self.events += [decode_event(*encode_event(event)) for event in events]
        self.batch_sizes.append(len(events))
        return len(self.events)

    def rebuild(self) -> State:
        state = State()
        for event in self.events:
            state.apply(event)
        return state

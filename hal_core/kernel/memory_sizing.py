"""Remembers how much memory jobs used and how they ended: for advice at the submission, and for the size of jobs that
leave it to HAL.

It reads the log like an observer, and at the start the latest ends of the history. The size is part of the submission
from then on, so that what is decided from the journal later is decided from the journal alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio

from hal_core.errors import HalError
from hal_core.models.event import Event, JobEnded, JobSubmitted
from hal_core.models.history import HISTORY_LIMIT_MAX, HistoryEntry, HistoryFilters, HistoryPage
from hal_core.models.job import JobSpec, Owner
from hal_core.rules.bad_ends import BadEnds, EndsPast
from hal_core.rules.experience import NO_DIGITS
from hal_core.rules.memory_sizes import GRAIN_BYTES, Kind, MemoryPast, UsedMemory, kind_of
from hal_core.rules.predictions import TELLING
from hal_core.rules.state import State

logger = logging.getLogger("hal.memory")

PAST_MAX: Final = 10_000
"""So many of the latest ends are read at the start."""
SLICE: Final = 500
"""Of those, so many are taken in before others get a turn."""
ADVICE_RUNS_MIN: Final = 5
ADVICE_SHARE_MAX: Final = 0.5
"""Nobody is told of less than half that was left unused: some room is what one asks for."""


History = Callable[[HistoryFilters, int, int | None], HistoryPage]
"""Ends of jobs, the latest first: filters, how many at most, where to go on. Blocks; Journal.history is one."""


class MemorySizing:
    """Implements planes.Observer and rest.port.MemorySizing."""

    def __init__(self, state: Callable[[], State], history: History) -> None:
        """Made before the first event is told."""
        self.name = "memory sizing"
        self._state = state
        self._history = history
        self._past = MemoryPast()
        self._ends = EndsPast()
        jobs = state().jobs.values()
        self._under_way = Counter(record.owner.user for record in jobs if record.spec.first_memory_bytes)
        """By user: jobs with less than they asked for."""

    async def run(self) -> None:
        """Returns when what the history has is known, or cannot be."""
        try:
            entries = await trio.to_thread.run_sync(self._read_history, abandon_on_cancel=True)
        except HalError as error:
            logger.warning("how much memory jobs used before is not known: %s", error)
            return
        for at, entry in enumerate(reversed(entries), 1):
            if entry.kind in TELLING:
                self._ends.ended(entry.user, _kind_of_entry(entry), entry.state)
                if entry.peak_memory_bytes:
                    self._past.ended(entry.user, _kind_of_entry(entry), entry.peak_memory_bytes)
            if at % SLICE == 0:
                await trio.lowlevel.checkpoint()

    def _read_history(self) -> list[HistoryEntry]:
        entries: list[HistoryEntry] = []
        cursor: int | None = None
        while len(entries) < PAST_MAX:
            page = self._history(HistoryFilters(), HISTORY_LIMIT_MAX, cursor)
            entries += page.entries
            cursor = page.next_cursor
            if cursor is None:
                break
        return entries

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        counts = self._under_way
        for event in events:
            if isinstance(event, JobSubmitted):
                counts[event.owner.user] += bool(event.spec.first_memory_bytes)
            elif isinstance(event, JobEnded) and (record := self._state().find(event.job_id)) is not None:
                user, spec = record.owner.user, record.spec
                if spec.first_memory_bytes:
                    counts[user] = max(0, counts[user] - 1)
                if event.end.kind in TELLING:
                    self._ends.ended(user, kind_of(spec), event.end.state)
                    if event.end.peak_memory_bytes and not spec.components:  # of which of them it is, nobody can say
                        self._past.ended(user, kind_of(spec), event.end.peak_memory_bytes)

    def sized(self, owner: Owner, specs: Sequence[JobSpec]) -> list[JobSpec]:
        """Those that leave it to HAL with the size of their first attempt."""
        count = self._under_way[owner.user]
        found = []
        for spec in specs:
            asked_bytes = spec.memory_bytes_per_node
            if spec.has_auto_memory:
                size_bytes = self._past.size(owner.user, kind_of(spec), asked_bytes, count)
                if size_bytes < asked_bytes:
                    count += 1
                    spec = attrs.evolve(spec, first_memory_bytes=size_bytes)
            found.append(spec)
        return found

    def unused(self, owner: Owner, spec: JobSpec) -> UsedMemory | None:
        """What such jobs used, if this one asks for so much more that its owner should know."""
        used, asked_bytes = self._past.used(owner.user, kind_of(spec)), spec.memory_bytes_per_node
        if used is None or used.job_count < ADVICE_RUNS_MIN or spec.first_memory_bytes or spec.components:
            return None
        return used if max(used.peak_bytes, GRAIN_BYTES) <= asked_bytes * ADVICE_SHARE_MAX else None

    def bad_ends(self, owner: Owner, spec: JobSpec) -> BadEnds | None:
        """How such jobs ended, if most of them did not end well."""
        return self._ends.told(owner.user, kind_of(spec))


def _kind_of_entry(entry: HistoryEntry) -> Kind:
    """As kind_of its spec."""
    return entry.name.translate(NO_DIGITS), entry.cpus, entry.walltime_s

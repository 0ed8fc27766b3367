"""What owners of jobs are mailed: a fold of the events of those jobs that ask for it (`--mail-type`).

An array is told of as a whole (it begins, it has ended), unless ARRAY_TASKS asks for each element. That a job nears its
time limit is no event: it follows from its start, and is asked for with the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from hal_core import (
    Arrival,
    EndKind,
    Event,
    JobEnded,
    JobId,
    JobPlaced,
    JobRequeued,
    JobState,
    PartStarted,
    VariantChosen,
    count_of,
    end_text,
    event_view,
    members,
)

SHARES: Final = {"TIME_LIMIT_50": 50, "TIME_LIMIT_80": 80, "TIME_LIMIT_90": 90}


class Told(NamedTuple):
    """One line of a mail."""

    job_id: JobId
    text: str


class MailedJob:
    """One job whose owner wants mail."""

    def __init__(self, arrival: Arrival) -> None:
        spec = arrival.spec
        self.arrival = arrival
        self.wants = frozenset(spec.mail_types)
        self.left = count_of(spec.array.indices) if spec.array else 1
        self._each = spec.array is None or "ARRAY_TASKS" in self.wants
        self._limit_s = spec.walltime_s
        self._percents = [percent for name, percent in SHARES.items() if name in self.wants]
        self._has_begun = False
        self._bad_count = 0
        self._placed: set[int] = set()
        self._starts_s: dict[int, float] = {}
        self._told: set[tuple[int, int]] = set()
        """(index, percent of the time limit) of what was told already."""

    def follow(self, event: Event) -> Iterator[Told]:
        match event:
            case JobPlaced(elements=elements):
                self._placed.update(members(elements))
            case VariantChosen(variant=variant):
                self._limit_s = variant.walltime_s
            case PartStarted(key=key, time_s=time_s):
                yield from self._start(key.index, time_s)
            case JobRequeued(key=key):
                self._starts_s.pop(key.index, None)
                if key.index not in self._placed:  # it had ended
                    self.left += 1
                self._placed.discard(key.index)
                if "REQUEUE" in self.wants:
                    yield self._line(key.index, f"waits again, after {end_text(event_view(event)['end'])}")
            case JobEnded():
                yield from self._end(event)
            case _:
                pass

    def nears(self, now_s: float) -> Iterator[Told]:
        """What is told of time limits by then, once."""
        for index, start_s in self._starts_s.items():
            for percent, at_s in self._moments(start_s):
                if at_s <= now_s and (index, percent) not in self._told:
                    self._told.add((index, percent))
                    if self._each or not any(other == percent for at, other in self._told if at != index):
                        yield self._line(index, f"has used {percent} % of its time limit")

    def next_s(self) -> float | None:
        """When `nears` has something to tell next."""
        if not self._percents:
            return None  # Asked after each event: of an array of thousands, most want no such mail.
        found = (
            at_s
            for index, start_s in self._starts_s.items()
            for percent, at_s in self._moments(start_s)
            if (index, percent) not in self._told
        )
        return min(found, default=None)

    def _moments(self, start_s: float) -> Iterator[tuple[int, float]]:
        if self._limit_s is not None:
            for percent in self._percents:
                yield percent, start_s + self._limit_s * percent / 100

    def _start(self, index: int, time_s: float) -> Iterator[Told]:
        if index in self._starts_s:
            return  # another part of a gang
        self._starts_s[index] = time_s
        self._told = {each for each in self._told if each[0] != index}
        is_first, self._has_begun = not self._has_begun, True
        if "BEGIN" in self.wants and (is_first or self._each):
            yield self._line(index, "has begun")

    def _end(self, event: JobEnded) -> Iterator[Told]:
        end, count = event.end, count_of(event.elements)
        for index in members(event.elements) if self._placed else ():
            self._placed.discard(index)
            self._starts_s.pop(index, None)
        self.left -= count
        is_bad = end.state in (JobState.FAILED, JobState.TIMEOUT)
        self._bad_count += count if is_bad else 0
        wanted = {"END"} | ({"FAIL"} if is_bad else set())
        wanted |= {"TIME_LIMIT"} if end.kind is EndKind.TIME_LIMIT else set()
        wanted |= {"INVALID_DEPEND"} if end.kind is EndKind.DEPENDENCY_NEVER_SATISFIED else set()
        how = f"{end.state.value.lower()}, {end_text(event_view(event)['end'])}"
        if self._each and wanted & self.wants:
            yield self._line(event.elements[0][0], f"has ended: {how}", count)
        elif not self._each and self.left == 0:
            whole = {"END"} | ({"FAIL"} if self._bad_count else set()) | wanted - {"END", "FAIL"}
            if whole & self.wants:
                yield self._line(0, f"has ended, {self._bad_count} of its elements not well")

    def _line(self, index: int, text: str, count: int = 1) -> Told:
        job_id, spec = self.arrival.job_id, self.arrival.spec
        element = f"_{index}" if spec.array is not None and self._each and count == 1 else ""
        return Told(job_id, f"job {job_id}{element} ({spec.name}) {text}")

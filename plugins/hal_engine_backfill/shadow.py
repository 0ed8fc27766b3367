"""The promise to a first blocked job, kept from one plan to the next while nothing can have made it earlier.

A gang of hundreds of nodes waits for hours, and jobs end every few seconds. Most were expected to end before its start:
then just as much is free at that time as before. Who ended sooner than expected, or was started beside the promise for
longer than until then, changes what is free then, and perhaps which nodes are chosen, and nothing else. The start is
earlier only if more is free before it, by what was to end at that time or later: while those nodes, together with all
that the job fits on just before its time, are too few, it is not.
That plans made so are those made anew, node by node, is a property test (tests/properties/test_plans_go_on.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hal_core import Ask, JobId, Promise, RunningJob


def can_be_kept(ask: Ask, promise: Promise) -> bool:
    """Whether nothing but nodes has a say in it, and what is taken and given back there leaves what was before."""
    packing = promise.spare.packing
    if packing.licence_guards or not packing.is_reversible or len(packing.class_of) == 1:
        return False
    return ask.strict is None and not ask.parts and promise.time_s < math.inf


class Shadow:
    """One job's promise, and what is free when it is due."""

    __slots__ = ("_ask", "_before", "_chosen", "_later", "job_id", "time_s")

    def __init__(self, job_id: JobId, ask: Ask, promise: Promise, running: Iterable[RunningJob]) -> None:
        """As it was made when these were running, before anything is taken beside it."""
        self.job_id = job_id
        self.time_s = promise.time_s
        self._ask = ask
        self._chosen: tuple[int, ...] | None = promise.node_numbers
        """None: to be chosen anew."""
        self._later = promise.spare.kept()
        """What is free at its time, its own nodes too."""
        self._later.give(promise.node_numbers, ask)
        self._before = self._fits_before(running)
        """The nodes where it fits just before its time; some may not be left."""

    def _fits_before(self, running: Iterable[RunningJob]) -> int:
        before, packing = self._later.copy(), self._later.packing
        near = packing.numbers_beside(self._ask.shape.partition)
        for job in running:
            if job.expected_end_s == self.time_s and (near is None or not near.isdisjoint(job.node_numbers)):
                for ask, numbers in packing.ask(job.shape).assigned(job.node_numbers):
                    before.take([number for number in numbers if before.is_available(number)], ask)
        return before.fitting(self._ask)

    def start(self, numbers: Sequence[int], ask: Ask, count: int, end_s: float) -> None:
        """So many elements were started beside the promise, and are expected to end then."""
        if end_s > self.time_s:
            self._later.take(numbers, ask, count)
            self._chosen = None

    def go_on(self, now_s: float, ended: Iterable[RunningJob]) -> Promise | None:
        """The promise, now that these have ended. None: it must be made anew."""
        later, time_s, ask_of = self._later, self.time_s, self._later.packing.ask
        late = [job for job in ended if job.expected_end_s >= time_s]
        for job in late:
            if job.expected_end_s > time_s:
                later.give(job.node_numbers, ask_of(job.shape))
                self._chosen = None
        for job in late:
            self._before |= later.fitting_on(job.node_numbers, self._ask)
        if now_s >= time_s or self._ask.holds(self._before):
            return None
        if self._chosen is None:
            self._chosen = later.choose(self._ask)
        spare = later.copy()
        spare.take(self._chosen, self._ask)
        return Promise(time_s, self._chosen, spare)

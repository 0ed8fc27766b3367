"""Workers of a session in virtual time around the real ledger: how well uneven tasks are balanced. No processes.

A worker does its batches in order, tells what is done when a batch is, or when `HELD_NS` have passed, and gives back
what it has not begun when a task takes too long, as `hal_core/sessions/worker.py` does. A message takes `TRIP_NS`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from itertools import count

import attrs

from hal_core.sessions.ledger import Ledger
from hal_core.sessions.slices import Policy, Slice
from hal_core.sessions.worker import HELD_NS, LATE_NS
from hal_core.wire.packed import pack
from hal_core.wire.sessions import Results

TRIP_NS = 200_000


@attrs.frozen
class Ran:
    """`own_share`: of the workers' time until the last task's end, that in which they did tasks."""

    own_share: float
    message_count: int
    end_ns: int


class Run:
    """`run` is all of it."""

    def __init__(self, lengths_ns: Sequence[int], worker_count: int) -> None:
        self._lengths_ns = lengths_ns
        self._ledger = Ledger()
        self._ledger.define(0, Policy())
        self._ledger.submit(0, 0, pack([b""] * len(lengths_ns)))
        self._queues: list[deque[int]] = [deque() for _ in range(worker_count)]
        self._batches: list[deque[int]] = [deque() for _ in range(worker_count)]
        self._is_busy = [False] * worker_count
        self._done: list[list[int]] = [[] for _ in range(worker_count)]
        self._told_ns = [0] * worker_count
        self._turns, self._heard_turns = [0] * worker_count, [0] * worker_count
        self._begun, self._running = [0] * worker_count, [-1] * worker_count
        self._heap: list[tuple[int, int, str, int, object]] = []
        self._order = count()
        self._message_count = 0
        for worker in range(worker_count):
            self._ledger.add_worker(worker)

    def run(self) -> Ran:
        now_ns = end_ns = 0
        self._pump(now_ns)
        while self._heap:
            now_ns, _, what, worker, thing = heapq.heappop(self._heap)
            if what == "batch":
                assert isinstance(thing, tuple)
                self._take(worker, *thing, now_ns)
            elif what == "done":
                assert isinstance(thing, int)
                end_ns = max(end_ns, now_ns)
                self._end(worker, thing, now_ns)
            elif what == "held":
                if self._done[worker] and self._told_ns[worker] == thing:
                    self._tell(worker, now_ns)
            elif what == "late":
                if self._begun[worker] == thing:
                    self._give_back(worker, now_ns)
            elif what == "given back":
                assert isinstance(thing, int)
                self._ledger.give_back(worker, thing)
                self._heard_turns[worker] += 1
                self._pump(now_ns)
            else:
                assert isinstance(thing, Results)
                self._ledger.results(worker, thing)
                self._pump(now_ns)
        assert self._ledger.is_settled()
        return Ran(sum(self._lengths_ns) / (len(self._queues) * end_ns), self._message_count, end_ns)

    def _post(self, at_ns: int, what: str, worker: int, thing: object) -> None:
        heapq.heappush(self._heap, (at_ns, next(self._order), what, worker, thing))

    def _pump(self, now_ns: int) -> None:
        for worker, tasks in self._ledger.batches():
            assert isinstance(worker, int)
            self._message_count += 1
            batch = Slice(tasks.first, tasks.function, tasks.items)
            self._post(now_ns + TRIP_NS, "batch", worker, (self._heard_turns[worker], batch))

    def _take(self, worker: int, turn: int, tasks: Slice, now_ns: int) -> None:
        if turn != self._turns[worker]:
            return
        self._queues[worker] += range(tasks.first, tasks.stop)
        self._batches[worker].append(tasks.stop - 1)
        if not self._is_busy[worker]:
            self._told_ns[worker] = now_ns
            self._begin(worker, now_ns)

    def _begin(self, worker: int, now_ns: int) -> None:
        task = self._queues[worker].popleft()
        self._is_busy[worker] = True
        self._running[worker] = task
        self._begun[worker] += 1
        self._post(now_ns + self._lengths_ns[task], "done", worker, task)
        self._post(now_ns + LATE_NS, "late", worker, self._begun[worker])
        self._post(now_ns + HELD_NS, "held", worker, self._told_ns[worker])

    def _end(self, worker: int, task: int, now_ns: int) -> None:
        self._done[worker].append(task)
        self._is_busy[worker] = False
        self._begun[worker] += 1
        if task == self._batches[worker][0]:
            self._batches[worker].popleft()
            self._tell(worker, now_ns)
        elif now_ns - self._told_ns[worker] > HELD_NS:
            self._tell(worker, now_ns)
        if self._queues[worker]:
            self._begin(worker, now_ns)

    def _give_back(self, worker: int, now_ns: int) -> None:
        self._queues[worker].clear()
        self._batches[worker] = deque([self._running[worker]])
        self._turns[worker] += 1
        self._message_count += 1
        self._post(now_ns + TRIP_NS, "given back", worker, len(self._done[worker]) + 1)

    def _tell(self, worker: int, now_ns: int) -> None:
        done, self._done[worker] = self._done[worker], []
        self._message_count += 1
        busy_ns, self._told_ns[worker] = now_ns - self._told_ns[worker], now_ns
        self._post(now_ns + TRIP_NS, "results", worker, Results(done[0], (), pack([b""] * len(done)), busy_ns))

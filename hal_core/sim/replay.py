"""The quick replay: the production engine over the rigid jobs of a trace, a million of them in minutes.

The engine sees a snapshot as the daemon makes it; instead of a state with a journal, rows that say just what rigid jobs
need. That it starts the same jobs at the same times as the whole core is tested (tests/simulation). Faults, arrays,
dependencies and everything else that is more than a rigid job are for sim/simulation.py. Nothing here reads a clock.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from enum import Enum
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import attrs

from hal_core.errors import PluginError
from hal_core.models.job import JobId, Shape
from hal_core.models.plan import Changes, PendingJob, Plan, RunningJob, Start
from hal_core.rules.likely_starts import LEAD, Brought, likely_starts
from hal_core.sim.data import Data
from hal_core.sim.expectations import Correct, Expectations
from hal_core.sim.machine import Machine
from hal_core.sim.replay_view import View
from hal_core.sim.trace import TraceJob

if TYPE_CHECKING:
    from hal_core.planes import Engine
    from hal_core.sim.links import Transfer
    from hal_core.sim.start_watch import StartWatch

SAME_S = 1e-6
"""Times of transfers are sums of floating point numbers."""
LONGER_S = 60.0
"""So long it is expected to go on if a job outlived all expectations, because a transfer took longer."""


class EventOrder(Enum):
    """What is planned at one instant: everything that comes then together, or after each event."""

    TOGETHER = "together"
    ONE_BY_ONE = "one-by-one"


@attrs.frozen
class Foresight:
    """What is expected of jobs, and what when they outlive it."""

    expectations: Expectations
    correct: Correct
    starts: StartWatch | None = None
    """Who is asked when jobs will start."""


class _Running:
    """One job that runs: the truth, and what the engine is told."""

    __slots__ = (
        *("begin_s", "end_s", "first_s", "has_released", "job", "job_id", "outlived_count", "row", "sequence"),
        *("start_s", "transfer"),
    )

    def __init__(self, job: TraceJob, row: RunningJob, sequence: int, start_s: float, expected_s: float) -> None:
        self.job = job
        self.row = row
        self.sequence = sequence
        self.start_s = self.begin_s = start_s
        """`begin_s`: from then on it is expected to run as long as was said."""
        self.end_s = math.inf
        """Not known while it waits for its inputs."""
        self.first_s = expected_s
        self.transfer: Transfer | None = None
        """What it waits for, if it has its nodes but not yet its inputs."""
        self.outlived_count = 0
        self.has_released = False


class Replay:
    """One run over one trace. `start_s` has the start of each job, in the order of the trace; NaN if it never could."""

    def __init__(
        self, engine: Engine, machine: Machine, jobs: Sequence[TraceJob], foresight: Foresight, data: Data | None = None
    ) -> None:
        self._engine = engine
        self._machine = machine
        self._jobs = jobs
        self._expectations, self._correct = foresight.expectations, foresight.correct
        self._starts = foresight.starts
        self._room, self._idle = machine.idle_room(), machine.idle_room()
        self._data = data
        self._brought = Brought()
        self._staging: dict[Transfer, list[_Running]] = {}
        self._view = View(machine, self._room, data)
        self._pending, self._ends = self._view.rows, self._view.ends
        self._next = 0
        self._end_heap: list[tuple[float, int, _Running]] = []
        self._outlived_heap: list[tuple[float, int, _Running]] = []
        self._sequence = 0
        self._wake_s = math.inf
        self._is_settled = True
        self._arrived: list[PendingJob] = []
        self._ended: list[RunningJob] = []
        self._is_otherwise = True
        """Since the last plan something happened that is neither an arrival nor an end."""
        self._can_start: dict[Shape, bool] = {}
        self.start_s = [math.nan] * len(jobs)
        self.stage_s = [0.0] * (0 if data is None else len(jobs))
        """How long each job had its nodes, but not its inputs."""
        self.pass_count = 0

    def run(self, order: EventOrder) -> Iterator[int]:
        """Yields now and then how many jobs were submitted, for a progress bar, until all has happened."""
        cycle = self._together if order is EventOrder.TOGETHER else self._one_by_one
        for cycle_count in range(1, 1 << 62):
            now_s = self._next_time_s()
            if now_s == math.inf:
                return
            self._view.now_s = now_s
            self._settle_transfers(now_s)
            cycle(now_s)
            if not cycle_count & 0xFFF:
                yield self._next

    def _next_time_s(self) -> float:
        time_s = self._wake_s
        if self._next < len(self._jobs):
            time_s = min(time_s, self._jobs[self._next].submit_s)
        if self._end_heap:
            time_s = min(time_s, self._end_heap[0][0])
        if self._outlived_heap:
            time_s = min(time_s, self._outlived_heap[0][0])
        return time_s if self._data is None else min(time_s, self._data.stores.next_s())

    # -- the two orders ------------------------------------------------------------------------------------------------

    def _together(self, now_s: float) -> None:
        """All that comes at this instant, then one pass, as the daemon's cycles coalesce.

        That a job outlives what was expected of it is no reason for a pass: nobody got room by it.
        """
        heap, jobs = self._end_heap, self._jobs
        has_happened = self._wake_s <= now_s or bool(heap and heap[0][0] <= now_s)
        has_happened |= self._next < len(jobs) and jobs[self._next].submit_s <= now_s
        while heap and heap[0][0] <= now_s:
            running = heappop(heap)[2]
            self._release(running)
            self._learn(running, now_s)
        for running in self._outlived(now_s):
            self._expect_longer(running)
        while self._next < len(jobs) and jobs[self._next].submit_s <= now_s:
            self._submit()
        if has_happened:
            self._plan(now_s)

    def _one_by_one(self, now_s: float) -> None:
        """A pass after each submission, then after each end, as the simulator of the SC'15 study has them.

        A job that ends just when it was expected to has no room any more in any of these passes. What is expected of
        jobs that outlived it is corrected before all of them.
        """
        ended: list[_Running] = []
        while self._end_heap and self._end_heap[0][0] <= now_s:
            running = heappop(self._end_heap)[2]
            ended.append(running)
            if running.row.expected_end_s <= now_s:
                self._release(running)
        if self._wake_s <= now_s:
            self._plan(now_s)
        for running in self._outlived(now_s):
            self._expect_longer(running)
        while self._next < len(self._jobs) and self._jobs[self._next].submit_s <= now_s:
            self._submit()
            self._plan(now_s)
        for running in ended:
            self._release(running)
            self._learn(running, now_s)
            self._plan(now_s)

    # -- what happens --------------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        at = self._next
        job = self._jobs[at]
        self._next = at + 1
        shape = self._machine.shape_of(job)
        can_start = self._can_start.get(shape)
        if can_start is None:
            can_start = bool(self._idle.choose(self._machine.packing.ask(shape)))
            self._can_start[shape] = can_start
        if can_start:
            job_id = JobId(at)
            said, hidden_s = self._expectations.expect(job_id, job), self._hidden_s(job)
            times_s = (job.limit_s, 0, job.submit_s, said.expected_s + hidden_s)
            inputs = job.inputs if self._data is not None and self._data.is_shown else ()
            pending = PendingJob(job_id, 1, shape, *times_s, mean_s=said.average_s + hidden_s, inputs=inputs)
            self._pending[job_id] = pending
            self._arrived.append(pending)
            if self._starts is not None:
                self._starts.submitted(job_id)

    def _learn(self, running: _Running, now_s: float) -> None:
        """What ended says something about jobs that wait, perhaps."""
        for job_id in self._expectations.learn(running.row.job_id, running.job, now_s):
            pending = self._pending.get(job_id)
            if pending is not None:
                job = self._jobs[int(job_id)]
                said, hidden_s = self._expectations.expect(job_id, job), self._hidden_s(job)
                expected_s, mean_s = said.expected_s + hidden_s, said.average_s + hidden_s
                if (expected_s, mean_s) != (pending.expected_s, pending.mean_s):
                    self._pending[job_id] = attrs.evolve(pending, expected_s=expected_s, mean_s=mean_s)
                    self._is_otherwise = True

    def _hidden_s(self, job: TraceJob) -> float:
        """What is added to the run time of a job whose inputs the engine is not told: a whole transfer."""
        return 0.0 if self._data is None or self._data.is_shown else self._data.stores.full_s(job.inputs)

    def _plan(self, now_s: float) -> None:
        view = self._view
        if not self._pending:
            view.has_released = False
            self._wake_s = math.inf
            return
        view.sequence += 1
        self._room.settle()
        view.changes = None if self._is_otherwise else Changes(self._arrived, self._ended)
        try:
            plan = self._engine.plan(view)
        except Exception as error:  # the wall around a plugin
            raise PluginError(
                f"engine {type(self._engine).__name__} failed: {type(error).__name__}: {error}"
            ) from error
        self.pass_count += 1
        for start in plan.starts:
            self._start(start, now_s)
            if self._starts is not None:
                self._starts.started(start.job_id, now_s)
        if self._starts is not None:
            self._starts.planned(view)
        self._keep_promises(plan)

    def _keep_promises(self, plan: Plan) -> None:
        view = self._view
        if view.has_released or not plan.is_settled:  # a pass over what nothing was released of settles nothing
            self._is_settled = plan.is_settled
        view.has_released = False
        view.reserves, view.memo = plan.reserves, plan.memo
        self._arrived, self._ended, self._is_otherwise = [], [], False
        self._wake_s = plan.wake_s if plan.wake_s > view.now_s else math.inf
        if self._data is not None and self._data.is_brought_ahead:
            self._bring_ahead(self._data, plan)

    def _start(self, start: Start, now_s: float) -> None:
        pending = self._pending.pop(start.job_id, None)
        ask = self._machine.packing.ask(pending.shape) if pending is not None else None
        if pending is None or ask is None or len(start.node_numbers) != ask.node_count:
            raise PluginError(f"the engine started job {start.job_id}, which does not wait, or not as a whole")
        if not self._room.fits_on(start.node_numbers, ask):
            raise PluginError(f"the engine started job {start.job_id} where there is no room for it")
        self._room.take(start.node_numbers, ask)
        self._brought.forget(start.job_id)
        at = int(start.job_id)
        job = self._jobs[at]
        self.start_s[at] = now_s
        self._sequence = sequence = self._sequence + 1
        transfer = self._stage(job, start, now_s)
        stage_s = 0.0 if transfer is None else transfer.left_s(now_s)
        expected_end_s = now_s + (stage_s if pending.inputs else 0.0) + pending.expected_s
        row = RunningJob(
            start.job_id, 0, pending.shape, start.node_numbers, now_s + stage_s + job.limit_s, expected_end_s
        )
        running = _Running(job, row, sequence, now_s, pending.expected_s)
        insort(self._ends, (expected_end_s, sequence, row))
        if transfer is None:
            self._compute(running, now_s)
        else:
            running.transfer = transfer
            self._staging.setdefault(transfer, []).append(running)
            heappush(self._outlived_heap, (expected_end_s, sequence, running))

    def _compute(self, running: _Running, now_s: float) -> None:
        """The job has its nodes and its inputs."""
        running.end_s = end_s = now_s + running.job.run_s
        heappush(self._end_heap, (end_s, running.sequence, running))
        if running.row.expected_end_s < end_s:
            heappush(self._outlived_heap, (running.row.expected_end_s, running.sequence, running))

    def _stage(self, job: TraceJob, start: Start, now_s: float) -> Transfer | None:
        if self._data is None or not job.inputs:
            return None
        return self._data.stores.start(job, start.node_numbers[0], now_s)

    def _settle_transfers(self, now_s: float) -> None:
        """Jobs whose inputs have come begin to compute."""
        data = self._data
        for transfer in data.stores.over(now_s) if data is not None else ():
            for running in self._staging.pop(transfer, ()):
                assert data is not None
                data.stores.count(running.job, transfer, running.start_s, now_s)
                running.transfer = None
                self.stage_s[int(running.row.job_id)] = now_s - running.start_s
                if data.is_shown:
                    running.begin_s = now_s
                    self._expect(running, now_s + running.first_s)
                self._compute(running, now_s)

    def _bring_ahead(self, data: Data, plan: Plan) -> None:
        """The inputs of jobs that are likely to start about as soon as a transfer takes."""
        now_s = self._view.now_s
        for guess in likely_starts(self._view, LEAD * data.ahead_s, plan.waiting):
            if self._brought.is_due(guess, now_s):
                self._brought.bring(guess, now_s)
                data.stores.bring_ahead(self._jobs[int(guess[0].job_id)], guess[2], now_s)

    def _release(self, running: _Running) -> None:
        if running.has_released:
            return
        running.has_released = True
        self._forget_row(running)
        row = running.row
        if not self._is_settled or row.expected_end_s > self._view.now_s:
            self._view.has_released = True
        self._room.give(row.node_numbers, self._machine.packing.ask(row.shape))
        if self._data is not None and running.job.inputs:
            self._data.stores.end(running.job, row.node_numbers[0])
        self._ended.append(row)

    def _forget_row(self, running: _Running) -> None:
        at = bisect_left(self._ends, (running.row.expected_end_s, running.sequence))
        del self._ends[at]

    def _outlived(self, now_s: float) -> Iterator[_Running]:
        heap = self._outlived_heap
        while heap and heap[0][0] <= now_s:
            running = heappop(heap)[2]
            if not running.has_released and running.row.expected_end_s <= now_s:
                yield running

    def _expect_longer(self, running: _Running) -> None:
        now_s, transfer = self._view.now_s, running.transfer
        if transfer is not None:
            end_s = now_s + transfer.left_s(now_s) + running.first_s
        else:
            end_s = running.begin_s + self._correct(running.first_s, running.outlived_count, running.job.limit_s)
            running.outlived_count += 1
        self._expect(running, end_s if end_s > now_s + SAME_S else now_s + LONGER_S)
        if running.row.expected_end_s < running.end_s:
            heappush(self._outlived_heap, (running.row.expected_end_s, running.sequence, running))

    def _expect(self, running: _Running, end_s: float) -> None:
        """The job is expected to end then."""
        row = running.row
        if abs(end_s - row.expected_end_s) < SAME_S:
            return
        self._is_otherwise = True
        self._forget_row(running)
        running.row = RunningJob(row.job_id, row.index, row.shape, row.node_numbers, row.end_time_s, end_s)
        insort(self._ends, (end_s, running.sequence, running.row))

"""A job's receipt: a fold of the events about it. Pure, and the only place that says what a job waited, used and cost.

An element's time is cut once: waiting by cause (`wait_clock.py`), then staging and launch, then the run, which waits
while it is suspended. So what it waited by cause adds up to its wait, and that is exactly from its submission (or being
queued again) to its start, and what it stood still. CPUs are charged from placement to release, as usage is, but for
when they are lent; money by the prices that were in force at the placement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from hal_core.models.event import (
    ClusterDefined,
    Event,
    InputsStaged,
    JobEnded,
    JobHeld,
    JobPlaced,
    JobReleased,
    JobRequeued,
    JobResumed,
    JobSubmitted,
    JobSuspended,
    PartStarted,
)
from hal_core.models.job import End, JobState
from hal_core.models.ranges import RangeSet, count_of
from hal_core.models.receipt import CAUSES, Receipt, RightSize, Wait
from hal_core.rules.job_record import SINGLE
from hal_core.rules.usage import held_by
from hal_core.rules.wait_clock import Gates, WaitClock, seconds_of, ticks_of

MILLIONTHS: Final = 1_000_000
"""Money is counted in these, so that sums are exact."""
SPARE: Final = 1.1
"""What would have been enough, times this, is a right size: the next run is never quite like the last."""
WALLTIME_STEP_S: Final = 60.0
MEMORY_STEP_BYTES: Final = 1 << 20
WORST: Final = (JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED, JobState.COMPLETED)

Prices = Mapping[str, tuple[float, float]]
"""Money for an hour of a CPU and of a GPU: by partition, and by rented node as `node NAME`."""


def prices_of(event: ClusterDefined) -> Prices:
    """A rented node is paid for by who has its CPUs, whatever its partition costs otherwise."""
    cluster = event.cluster
    prices = {str(each.name): (each.money_per_cpu_hour, each.money_per_gpu_hour) for each in cluster.partitions}
    cpus_of = {str(node.name): node.cpu_count for node in cluster.nodes} if cluster.pools else {}
    offers = (offer for pool in cluster.pools for offer in pool.offers)
    rented = ((name, offer.price_per_hour / cpus_of[name]) for offer in offers for name in offer.nodes)
    return prices | {f"node {name}": (per_cpu, 0.0) for name, per_cpu in rented}


class Held(NamedTuple):
    """What one attempt holds, and at which price."""

    cpus: int
    gpu_milli: int
    price: tuple[float, float]

    def money(self, ticks: int, cpus: int | None = None) -> int:
        """In millionths."""
        per_hour = self.price[0] * (self.cpus if cpus is None else cpus) + self.price[1] * self.gpu_milli / 1000
        return round(per_hour * MILLIONTHS * seconds_of(ticks) / 3600)

    def lent(self, ticks: int) -> int:
        """What it does not pay while its CPUs are lent, in millionths."""
        return round(self.price[0] * self.cpus * MILLIONTHS * seconds_of(ticks) / 3600)


class _Attempt:
    """One element that holds an allocation."""

    def __init__(self, placed: int, held: Held) -> None:
        self.placed = placed
        self.held = held
        self.staged: int | None = None
        self.start: int | None = None
        self.still = 0
        self.still_since: int | None = None

    def still_at(self, now: int) -> int:
        """How long it stood still."""
        return self.still + (0 if self.still_since is None else now - self.still_since)

    def waits(self, until: int, has_inputs: bool) -> dict[str, int]:
        """Staging and launch, up to its start or until it was over without one."""
        until = until if self.start is None else self.start
        staged = self.placed if not has_inputs else until if self.staged is None else self.staged
        return {"staging": staged - self.placed, "launch": until - staged}


class Totals:
    """What has been counted, in ticks, bytes and millionths."""

    def __init__(self) -> None:
        self.waits: dict[str, int] = {}
        self.ran = self.lost = self.core = self.gpu_milli = self.money = 0
        self.bytes_moved = self.bytes_saved = 0

    def add_waits(self, more: Mapping[str, int], since: Mapping[str, int], count: int = 1) -> None:
        for cause, ticks in more.items():
            self.waits[cause] = self.waits.get(cause, 0) + (ticks - since.get(cause, 0)) * count

    def add_use(self, held: Held, ticks: int, still: int) -> None:
        """So long it held that, and so much of it without its CPUs."""
        self.core += held.cpus * (ticks - still)
        self.gpu_milli += held.gpu_milli * ticks
        self.money += held.money(ticks) - held.lent(still)

    def copy(self) -> Totals:
        twin = Totals()
        twin.__dict__.update(self.__dict__, waits=dict(self.waits))
        return twin


class Measured:
    """What nodes measured of attempts that have ended: sums, and the most of any."""

    def __init__(self) -> None:
        self.cpu_s: float | None = None
        self.peak_memory_bytes: int | None = None
        self.gpu_busy_s: float | None = None
        self.energy_j: float | None = None
        self.cpu_energy_j: float | None = None
        self.longest = 0
        self.cpus_busy = 0.0

    def add(self, end: End, ran: int) -> None:
        self.longest = max(self.longest, ran)
        if end.cpu_s is not None:
            self.cpu_s = (self.cpu_s or 0.0) + end.cpu_s
            self.cpus_busy = max(self.cpus_busy, end.cpu_s / seconds_of(ran) if ran else 0.0)
        if end.peak_memory_bytes is not None:
            self.peak_memory_bytes = max(self.peak_memory_bytes or 0, end.peak_memory_bytes)
        if end.gpus_busy is not None:
            self.gpu_busy_s = (self.gpu_busy_s or 0.0) + end.gpus_busy * seconds_of(ran)
        if end.energy_j is not None:
            self.energy_j = (self.energy_j or 0.0) + end.energy_j
        if end.cpu_energy_j is not None:
            self.cpu_energy_j = (self.cpu_energy_j or 0.0) + end.cpu_energy_j


class ReceiptFold:
    """The receipt of one job, from its submission on: `apply` the events about it in order."""

    def __init__(self, submitted: JobSubmitted, prices: Prices, gates: Gates | None = None) -> None:
        self.submitted = submitted
        self.prices = prices
        self.totals = Totals()
        self.measured = Measured()
        spec = submitted.spec
        self._clock = WaitClock(submitted.time_s, spec.begin_time_s, gates or Gates())
        self._clock.is_held = spec.is_held
        self._element_count = count_of(spec.array.indices if spec.array else SINGLE)
        self._active: dict[int, _Attempt] = {}
        self._queued_again: dict[int, dict[str, int]] = {}
        """Readings of the clock when they were, by element."""
        self._ended: dict[JobState, int] = {}
        self._attempt_count = 0
        self._first_start: int | None = None
        self._last_end = 0
        self._last_held: Held | None = None

    @property
    def pending_count(self) -> int:
        return self._element_count - len(self._active) - sum(self._ended.values())

    @property
    def is_finished(self) -> bool:
        return sum(self._ended.values()) == self._element_count

    @property
    def end_time_s(self) -> float:
        """Of the last element that has ended."""
        return seconds_of(self._last_end)

    def apply(self, event: Event) -> None:
        """Count what the event says. Those about other jobs must not come here; others that say nothing may."""
        now = self._clock.advance(event.time_s)
        match event:
            case ClusterDefined():
                self.prices = prices_of(event)
            case JobHeld():
                self._clock.is_held = True
            case JobReleased():
                self._clock.is_held = False
            case JobPlaced():
                self._place(event, now)
            case InputsStaged(key=key):
                if key.index in self._active:
                    self._active[key.index].staged = now
                self.totals.bytes_moved += event.bytes_moved
                self.totals.bytes_saved += event.bytes_saved
            case PartStarted(key=key):
                if key.index in self._active:
                    self._start(self._active[key.index], event.start_time_s)
            case JobSuspended() | JobResumed():
                self._hold_still(event, now)
            case JobRequeued():
                self._requeue(event, now)
            case JobEnded():
                self._end(event, now)
            case _:
                pass
        throttle = self.submitted.spec.array.throttle if self.submitted.spec.array else None
        self._clock.is_throttled = throttle is not None and len(self._active) >= throttle

    def _place(self, event: JobPlaced, now: int) -> None:
        count = count_of(event.elements)
        cpus, gpus = held_by(event.shares)
        milli = sum(share.gpu_milli for share in event.shares)
        price = self.prices.get(f"node {event.shares[0].node}")
        price = price or self.prices.get(self.submitted.spec.partition, (0.0, 0.0))
        held = self._last_held = Held(cpus // count, milli or 1000 * gpus // count, price)
        reading = self._clock.reading()
        for start, stop in event.elements:
            for index in range(start, stop):
                self.totals.add_waits(reading, self._queued_again.pop(index, {}))
                self._active[index] = _Attempt(now, held)
        self._attempt_count += count

    def _start(self, attempt: _Attempt, start_time_s: float) -> None:
        """By the node's clock; where that is behind ours, at once."""
        if attempt.start is None:
            attempt.start = max(ticks_of(start_time_s), attempt.staged or attempt.placed)
            if self._first_start is None or attempt.start < self._first_start:
                self._first_start = attempt.start

    def _hold_still(self, event: JobSuspended | JobResumed, now: int) -> None:
        for start, stop in event.elements:
            for attempt in (self._active[index] for index in range(start, stop) if index in self._active):
                attempt.still = attempt.still_at(now)
                attempt.still_since = now if isinstance(event, JobSuspended) else None

    def _release(self, attempt: _Attempt, over: int, now: int, end: End | None, is_lost: bool = True) -> None:
        """The attempt is over: its processes since `over`, its allocation `now`."""
        ran = 0 if attempt.start is None else max(over - attempt.start, 0)
        still = min(attempt.still_at(now), ran)  # by the node's clock it may have ended before it was suspended
        ran -= still
        self.totals.add_waits(attempt.waits(max(over, attempt.placed), bool(self.submitted.spec.inputs)), {})
        self.totals.add_waits({"suspended": still} if still else {}, {})
        self.totals.ran += ran
        self.totals.lost += ran if is_lost else 0
        self.totals.add_use(attempt.held, now - attempt.placed, attempt.still_at(now))
        if end is not None:
            self.measured.add(end, ran)

    def _end(self, event: JobEnded, now: int) -> None:
        state, over = event.end.state, now
        count = count_of(event.elements)
        elements = RangeSet(event.elements)
        for index in [index for index in self._among(elements) if index in self._active]:
            attempt = self._active.pop(index)
            if event.start_time_s is not None:
                self._start(attempt, event.start_time_s)
            over = ticks_of(event.end_time_s)
            self._release(attempt, over, now, event.end, is_lost=False)
            count -= 1
        reading = self._clock.reading()
        for index in [index for index in self._among(elements) if index in self._queued_again]:
            self.totals.add_waits(reading, self._queued_again.pop(index))
            count -= 1
        self.totals.add_waits(reading, {}, count)
        self._ended[state] = self._ended.get(state, 0) + count_of(event.elements)
        self._last_end = max(self._last_end, over)

    def _requeue(self, event: JobRequeued, now: int) -> None:
        """An attempt is lost, or an element that had ended is run again: in between it did not wait."""
        index = event.key.index
        if index in self._active:
            self._release(self._active.pop(index), now, now, event.end)
        else:
            self._ended[event.end.state] -= 1
        self._queued_again[index] = self._clock.reading()

    def _among(self, elements: RangeSet) -> list[int]:
        """Those of the elements of which something is known; never walks through a million that only wait."""
        if len(elements) == 1:
            return list(elements)
        return [index for index in (*self._active, *self._queued_again) if index in elements]

    def totals_at(self, now_s: float) -> Totals:
        """What has been counted, with what still waits and runs."""
        now = self._clock.advance(now_s)
        totals, reading = self.totals.copy(), self._clock.reading()
        has_inputs = bool(self.submitted.spec.inputs)
        for attempt in self._active.values():
            totals.add_waits(attempt.waits(now, has_inputs), {})
            ran = 0 if attempt.start is None else max(now - attempt.start, 0)
            still = min(attempt.still_at(now), ran)
            totals.add_waits({"suspended": still} if still else {}, {})
            totals.ran += ran - still
            totals.add_use(attempt.held, now - attempt.placed, attempt.still_at(now))
        for since in self._queued_again.values():
            totals.add_waits(reading, since)
        totals.add_waits(reading, {}, self.pending_count - len(self._queued_again))
        return totals

    def receipt(self, now_s: float) -> Receipt:
        """As it stands then; for a job that has ended, that is all."""
        spec, owner, measured = self.submitted.spec, self.submitted.owner, self.measured
        totals = self.totals if self.is_finished else self.totals_at(now_s)
        waits = tuple(Wait(cause, seconds_of(totals.waits[cause])) for cause in CAUSES if totals.waits.get(cause))
        return Receipt(
            job_id=self.submitted.job_id,
            name=spec.name,
            user=owner.user,
            account=spec.account,
            partition=spec.partition,
            state=self._state(),
            element_count=self._element_count,
            attempt_count=self._attempt_count,
            submit_time_s=self.submitted.time_s,
            start_time_s=None if self._first_start is None else seconds_of(self._first_start),
            end_time_s=self.end_time_s if self.is_finished else None,
            waits=waits,
            wait_s=seconds_of(sum(totals.waits.values())),
            ran_s=seconds_of(totals.ran),
            lost_s=seconds_of(totals.lost),
            core_s=seconds_of(totals.core),
            gpu_s=seconds_of(totals.gpu_milli) / 1000,
            cpu_s=measured.cpu_s,
            gpu_busy_s=measured.gpu_busy_s,
            energy_j=measured.energy_j,
            cpu_energy_j=measured.cpu_energy_j,
            cpu_count=spec.total_cpus,
            memory_bytes_per_node=spec.most_memory_bytes,
            peak_memory_bytes=measured.peak_memory_bytes,
            walltime_s=spec.walltime_s if spec.walltime_s is None or math.isfinite(spec.walltime_s) else None,
            money=totals.money / MILLIONTHS,
            bytes_moved=totals.bytes_moved,
            bytes_saved=totals.bytes_saved,
            right_size=self._right_size(totals),
        )

    def _state(self) -> JobState:
        if self._active:
            started = [attempt for attempt in self._active.values() if attempt.start is not None]
            if started and all(attempt.still_since is not None for attempt in started):
                return JobState.SUSPENDED
            return JobState.RUNNING if started else JobState.STAGING
        if not self.is_finished:
            return JobState.PENDING
        return next(state for state in WORST if self._ended.get(state))

    def _right_size(self, totals: Totals) -> RightSize | None:
        """One size for all elements: what the hungriest of them needed. None for a job that has no one size."""
        measured, spec, held = self.measured, self.submitted.spec, self._last_held
        if held is None or not measured.longest or measured.cpu_s is None or spec.components:
            return None
        cpu_count = min(max(math.ceil(measured.cpus_busy - 0.05), 1), held.cpus)
        memory_bytes = None
        if spec.memory_bytes_per_node and measured.peak_memory_bytes is not None:
            memory_bytes = _step_up(measured.peak_memory_bytes * SPARE, MEMORY_STEP_BYTES)
        held_ticks = totals.core // held.cpus if held.cpus else 0
        return RightSize(
            cpu_count=cpu_count,
            memory_bytes_per_node=memory_bytes,
            walltime_s=float(_step_up(seconds_of(measured.longest) * SPARE, WALLTIME_STEP_S)),
            core_s=seconds_of(held_ticks * cpu_count),
            money=held.money(held_ticks, cpu_count) / MILLIONTHS,
        )


def _step_up(amount: float, step: float) -> int:
    return int(math.ceil(amount / step) * step)

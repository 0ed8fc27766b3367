"""What the state keeps about each job: plain mutable records, changed only by State.apply.

An array is one record: its pending elements are ranges, and only elements that hold an allocation have an object.
"""

from __future__ import annotations

import math

import attrs

from hal_core.models.dataset import references
from hal_core.models.event import JobEnded, VariantChosen
from hal_core.models.job import FINAL, DependencyKind, End, EndKind, JobId, JobSpec, JobState, Owner, Shape
from hal_core.models.node import NodeName
from hal_core.models.plan import PendingJob
from hal_core.models.prediction import Prediction
from hal_core.models.ranges import Ranges, RangeSet, count_of
from hal_core.rules.activity import Activity as Activity
from hal_core.rules.queue_order import Place
from hal_core.rules.usage import payer_of

ENDS_KEPT = 1000
"""Of one array, so many elements' ends stay in memory; the journal's history has all."""

SINGLE: Ranges = ((0, 1),)
"""The elements of a job that is no array."""


class ElementEnd:
    """How and when one element ended."""

    __slots__ = ("attempt", "end", "end_time_s", "node_names", "start_time_s")

    def __init__(
        self, attempt: int, end: End, times_s: tuple[float | None, float], node_names: tuple[NodeName, ...]
    ) -> None:
        self.attempt = attempt
        self.end = end
        self.start_time_s, self.end_time_s = times_s
        self.node_names = node_names


class JobRecord:
    """A job as the state knows it. `ready` and `blocked` are the pending elements."""

    __slots__ = (
        "active",
        "attempts",
        "blocked",
        "choice",
        "client_id",
        "elastic_weight",
        "ended",
        "ends",
        "finish_time_s",
        "has_outgrown",
        "held_by",
        "is_met",
        "job_id",
        "owner",
        "payer",
        "place",
        "prediction",
        "preempted_by",
        "priority",
        "rank",
        "ready",
        "row",
        "shape",
        "spec",
        "submit_time_s",
    )

    def __init__(self, job_id: JobId, client_id: str, owner: Owner, spec: JobSpec, submit_time_s: float) -> None:
        self.job_id = job_id
        self.client_id = client_id
        self.owner = owner
        self.spec = spec
        self.shape: Shape = spec.shape()
        self.submit_time_s = submit_time_s
        self.finish_time_s: float | None = None
        self.has_outgrown = False
        """Its first attempt ran out of the memory that it was expected to need; now it has what it asked for."""
        self.priority = spec.priority
        self.elastic_weight = spec.elastic_weight
        self.payer = payer_of(owner, spec)
        self.held_by = owner.user if spec.is_held else ""
        self.is_met = not spec.dependencies
        """Dependencies were satisfied once (but for the elements in `blocked`); then they stay so."""
        self.rank = 0
        """As in its row; set when it is put into the queue."""
        self.place: Place | None = None
        """Where it stands in the queue; None if it does not."""
        self.prediction: Prediction | None = None
        """What a predictor says of the run time of each element."""
        self.choice: VariantChosen | None = None
        """Why it waits for, or runs with, the amounts that its spec says now; None: they are the first asked."""
        self.preempted_by: JobId | None = None
        """For which job it had to make room last."""
        self.row: PendingJob | None = None
        """The engine's view of it, made once and used pass after pass."""
        self.ready = RangeSet() if self.does_follow_elements else RangeSet(self.elements)
        self.blocked = RangeSet(self.elements) if self.does_follow_elements else RangeSet()
        """Elements that wait for the same element of another array (aftercorr)."""
        self.active: dict[int, Activity] = {}
        self.attempts: dict[int, int] = {}
        """The number of the latest attempt, for elements that were requeued."""
        self.ended: dict[JobState, RangeSet] = {}
        self.ends: dict[int, ElementEnd] = {}

    @property
    def is_queued(self) -> bool:
        return self.place is not None

    @property
    def is_array(self) -> bool:
        return self.spec.array is not None

    @property
    def is_bound(self) -> bool:
        """Of an array the first element that is placed, or ends, decides for all: they run with one set of amounts."""
        return self.is_array and bool(self.active or self.attempts or any(self.ended.values()))

    @property
    def does_follow_elements(self) -> bool:
        """Each of its elements waits for the same element of another array."""
        return any(dependency.kind is DependencyKind.AFTERCORR for dependency in self.spec.dependencies)

    @property
    def is_finished(self) -> bool:
        """Every element is in a final state."""
        return not (self.ready or self.blocked or self.active)

    @property
    def elements(self) -> Ranges:
        return self.spec.array.indices if self.spec.array else SINGLE

    @property
    def element_count(self) -> int:
        return count_of(self.elements)

    @property
    def pending_count(self) -> int:
        return len(self.ready) + len(self.blocked)

    @property
    def has_failed(self) -> bool:
        """Whether any element ended in another state than COMPLETED."""
        return any(indices and state is not JobState.COMPLETED for state, indices in self.ended.items())

    @property
    def startable_count(self) -> int:
        """Elements that may start now as far as the job itself is concerned: held, dependencies, throttle."""
        if self.held_by or not self.is_met:
            return 0
        throttle = self.spec.array.throttle if self.spec.array else None
        room = len(self.ready) if throttle is None else max(0, throttle - len(self.active))
        return min(len(self.ready), room)

    @property
    def state(self) -> JobState:
        """One word for the whole job; an array is RUNNING while any element is, FAILED if any element failed."""
        if self.active:
            states = {activity.state for activity in self.active.values()}
            return next(each for each in (JobState.RUNNING, JobState.SUSPENDED, JobState.STAGING) if each in states)
        if self.ready or self.blocked:
            return JobState.PENDING
        worst = (JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED, JobState.COMPLETED)
        return next(state for state in worst if self.ended.get(state))

    def pending_row(self) -> PendingJob:
        """The engine's view of a queued job. Made anew only if the count or the priority changed: somebody may have
        asked while nothing of the job could start."""
        row = self.row
        if row is None or not row.element_count or (self.is_array and row.element_count != self.startable_count):
            spec = self.spec
            walltime_s = math.inf if spec.walltime_s is None else spec.walltime_s
            row = self.row = PendingJob(
                self.job_id,
                self.startable_count,
                self.shape,
                walltime_s,
                self.priority,
                self.submit_time_s,
                self.expected_s,
                reservation=spec.reservation,
                rank=self.rank,
                mean_s=self.mean_s,
                inputs=references(spec.inputs),
            )
        return row

    def with_spec(self, spec: JobSpec) -> JobRecord:
        """The same job as it would be if it asked for something else. What it may start is shared."""
        changed = JobRecord(self.job_id, self.client_id, self.owner, spec, self.submit_time_s)
        changed.priority, changed.prediction, changed.attempts = self.priority, self.prediction, self.attempts
        changed.elastic_weight = self.elastic_weight
        changed.ready, changed.active, changed.is_met, changed.rank = self.ready, self.active, self.is_met, self.rank
        if self.has_outgrown:
            changed.outgrow()
        return changed

    def choose(self, event: VariantChosen) -> None:
        """It is planned with these amounts from now on. Nothing of it may run."""
        assert not self.active, f"{self.job_id} runs: its amounts cannot change"
        self.spec, self.choice, self.row = self.spec.in_variant(event.number), event, None
        self.shape, self.payer = self.spec.shape(), payer_of(self.owner, self.spec)

    def expect(self, prediction: Prediction) -> None:
        self.prediction, self.row = prediction, None
        for activity in self.active.values():
            activity.row = None

    @property
    def expected_s(self) -> float:
        """How long an element is expected to run: at most its limit, which is infinity if there is none."""
        return self._run_s(None if self.prediction is None else self.prediction.expected_s)

    @property
    def mean_s(self) -> float:
        return self._run_s(None if self.prediction is None else self.prediction.average_s)

    def _run_s(self, predicted_s: float | None) -> float:
        """A prediction, else the limit; both are of the job's first variant."""
        spec = self.spec
        walltime_s = math.inf if spec.walltime_s is None else spec.walltime_s
        if spec.variants:
            first_s = spec.variants[0].walltime_s if predicted_s is None else predicted_s
            return min(math.inf if first_s is None else first_s * spec.run_ratio, walltime_s)
        return walltime_s if predicted_s is None else min(predicted_s, walltime_s)

    def attempt_of(self, index: int) -> int:
        """The number of the element's latest (or coming) attempt."""
        return self.attempts.get(index, 1)

    def active_among(self, elements: Ranges) -> list[int]:
        """Those of the elements that hold an allocation, ascending. Never walks through a million that do not."""
        if len(elements) == 1 and elements[0][1] == elements[0][0] + 1:
            return [elements[0][0]] if elements[0][0] in self.active else []
        chosen = RangeSet(elements)
        return sorted(index for index in self.active if index in chosen)

    def by_attempt(self, elements: RangeSet) -> list[tuple[int, Ranges]]:
        """Pending elements grouped by the attempt that they wait for: almost always one group."""
        groups: dict[int, RangeSet] = {}
        plain = elements.copy()
        for index, attempt in self.attempts.items():
            if index in elements:
                plain.discard(index)
                groups.setdefault(attempt, RangeSet()).add(index)
        if plain:
            groups[1] = plain
        return [(attempt, group.ranges()) for attempt, group in sorted(groups.items())]

    def keep_end(self, index: int, event: JobEnded, activity: Activity | None) -> None:
        """Keep how an element ended, if that is worth the memory: single jobs, and an array's first bad ends."""
        is_worth = not self.is_array or (event.end.state is not JobState.COMPLETED and len(self.ends) < ENDS_KEPT)
        if is_worth:
            names = tuple(share.node for share in activity.shares) if activity else ()
            times_s = (event.start_time_s, event.end_time_s)
            self.ends[index] = ElementEnd(event.attempt, event.end, times_s, names)

    def queue_again(self, index: int, attempt: int, end: End) -> None:
        """The element waits again; that attempt is over."""
        if end.kind is EndKind.OUT_OF_MEMORY and self.can_outgrow:
            self.outgrow()
        self.ends.pop(index, None)
        self.attempts[index] = attempt + 1
        (self.blocked if self.does_follow_elements else self.ready).add(index)

    @property
    def can_outgrow(self) -> bool:
        """It has less memory than it asked for."""
        return bool(self.spec.first_memory_bytes) and not self.has_outgrown

    def outgrow(self) -> None:
        """From now on it has the memory that it asked for."""
        self.has_outgrown, self.row = True, None
        self.shape = attrs.evolve(self.shape, memory_bytes=self.spec.memory_bytes_per_node)

    def mark_ended(self, state: JobState, elements: Ranges) -> None:
        assert state in FINAL
        for start, stop in elements:
            self.ready.discard(start, stop)
            self.blocked.discard(start, stop)
        self.ended.setdefault(state, RangeSet()).update(elements)

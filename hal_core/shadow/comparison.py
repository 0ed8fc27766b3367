"""The waits of both: what the other scheduler did, and what HAL would have done. Pure.

Every job counts that was ready, with how long it had waited by the last look, whether it had started by then or not: so
neither looks better for what it has not started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs

from hal_core.shadow.decisions import Decision, Decisions
from hal_core.shadow.history import History
from hal_core.sim.report import Spread

SAME_S: Final = 30.0
"""Two waits that differ by less are the same: the other scheduler's own passes and looks are not closer."""
LARGEST: Final = 20
STARTED_AT_ONCE: Final = "(it began at once)"


@attrs.frozen
class Waited:
    """One job. Waits in seconds, by the last look."""

    job: str
    user: str
    partition: str
    reason: str
    """Why it waited in the other scheduler, as that said last."""
    foreign_s: float
    hal_s: float
    has_foreign_started: bool
    has_hal_started: bool
    is_settled: bool

    @property
    def difference_s(self) -> float:
        """Below 0: HAL would have started it sooner."""
        return self.hal_s - self.foreign_s

    @property
    def is_same(self) -> bool:
        return abs(self.difference_s) < SAME_S


@attrs.frozen
class Group:
    """Some jobs: all of a user, a partition, a reason."""

    name: str
    foreign: Spread
    hal: Spread
    sooner: int
    """HAL would have started so many sooner."""
    later: int

    @property
    def count(self) -> int:
        return self.hal.count

    @classmethod
    def of(cls, name: str, jobs: Sequence[Waited]) -> Group:
        differing = [job.difference_s for job in jobs if not job.is_same]
        sooner = sum(each < 0 for each in differing)
        waits = Spread.of([job.foreign_s for job in jobs]), Spread.of([job.hal_s for job in jobs])
        return cls(name, *waits, sooner, len(differing) - sooner)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "jobs": self.count,
            "foreign_wait_s": _waits(self.foreign),
            "hal_wait_s": _waits(self.hal),
            "sooner": self.sooner,
            "later": self.later,
            "same": self.count - self.sooner - self.later,
        }


@attrs.frozen
class Comparison:
    """`settled`: of how many jobs nothing that is still to be seen changes what HAL would have done."""

    scheduler: str
    begin_s: float
    end_s: float
    gaps: tuple[tuple[float, float], ...]
    total: Group
    settled: int
    by_user: tuple[Group, ...]
    by_partition: tuple[Group, ...]
    by_reason: tuple[Group, ...]
    largest: tuple[Waited, ...]
    """The largest differences, either way."""
    left_out: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        groups = {name: [each.as_dict() for each in getattr(self, name)] for name in GROUPINGS}
        jobs = [{**attrs.asdict(each), "difference_s": each.difference_s} for each in self.largest]
        return {
            "scheduler": self.scheduler,
            "begin_time_s": self.begin_s,
            "end_time_s": self.end_s,
            "gaps": [list(gap) for gap in self.gaps],
            **{key: value for key, value in self.total.as_dict().items() if key != "name"},
            "settled": self.settled,
            "left_out": self.left_out,
            **groups,
            "largest": jobs,
        }


GROUPINGS: Final = ("by_user", "by_partition", "by_reason")


def compare(history: History, decisions: Decisions) -> Comparison:
    assert history.begin_s is not None, "nothing was seen yet"
    jobs = [_waited(decision, history.last_s) for decision in decisions.jobs]
    differing = sorted((job for job in jobs if not job.is_same), key=lambda job: -abs(job.difference_s))
    return Comparison(
        history.scheduler,
        history.begin_s,
        history.last_s,
        tuple(history.gaps),
        Group.of("all", jobs),
        sum(job.is_settled for job in jobs),
        _grouped(jobs, lambda job: job.user),
        _grouped(jobs, lambda job: job.partition),
        _grouped(jobs, lambda job: job.reason),
        tuple(differing[:LARGEST]),
        decisions.left_out,
    )


def _waited(decision: Decision, last_s: float) -> Waited:
    job = decision.job
    assert job.ready_time_s is not None
    foreign_s = last_s if job.start_time_s is None else job.start_time_s
    hal_s = last_s if decision.start_s is None else decision.start_s
    return Waited(
        job.came.key.partition("@")[0],
        job.came.user,
        job.came.partition,
        job.reason or STARTED_AT_ONCE,
        max(foreign_s - job.ready_time_s, 0.0),
        max(hal_s - job.ready_time_s, 0.0),
        job.start_time_s is not None,
        decision.start_s is not None,
        decision.is_settled,
    )


def _grouped(jobs: Iterable[Waited], key: Callable[[Waited], str]) -> tuple[Group, ...]:
    """The largest first."""
    found: dict[str, list[Waited]] = {}
    for job in jobs:
        found.setdefault(key(job), []).append(job)
    groups = [Group.of(name, some) for name, some in found.items()]
    return tuple(sorted(groups, key=lambda group: (-group.count, group.name)))


def _waits(spread: Spread) -> dict[str, float]:
    return {"mean": spread.mean, "p50": spread.p50, "p95": spread.p95, "max": spread.largest}

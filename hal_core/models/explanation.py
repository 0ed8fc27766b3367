"""Why a job waits, as data: what holds it, what stands before it, when it would start, and what would help."""

from __future__ import annotations

import attrs

from hal_core.models.job import JobId
from hal_core.models.node import NodeName


@attrs.frozen
class PriorityTerm:
    """One part of the number that orders the queue. The terms add up to it."""

    name: str
    value: float
    text: str = ""
    """How it comes about: a factor and what it is of."""


@attrs.frozen
class Constraint:
    """What is short, by name and amount: `fitting` of the partition's nodes have enough of it now, `needed` must."""

    resource: str
    asked: str
    fitting: int
    needed: int
    text: str


@attrs.frozen
class Suggestion:
    """A change that starts the job sooner. Not a guess: the engine was run on a copy of the state with it."""

    option: str
    """As it would be given to `hal submit`: `--time=30m`."""
    text: str
    start_time_s: float


@attrs.frozen
class LikelyStart:
    """By when half of such jobs start, and nine in ten; times since the epoch."""

    p50_time_s: float
    p90_time_s: float
    checked_count: int
    """So many starts were seen from which it was learned how far off such plans are. 0: it is the plan alone."""


@attrs.frozen
class VariantOutlook:
    """What would become of a job with one of the sets of amounts that it may run with."""

    text: str
    is_chosen: bool
    """It is planned with these now."""
    start_time_s: float | None
    end_time_s: float | None
    """Both None if it cannot be said."""
    nodes: tuple[NodeName, ...] = ()
    site: str = ""
    """Where, of a job that may run at several sites (`--where`)."""
    wait_s: float | None = None
    """Until HAL starts it, or hands it over; None if that cannot be said. With the next two it adds up to its end."""
    queue_s: float = 0.0
    """Then it waits in the queue of the site."""
    run_s: float | None = None
    """None: nobody knows how long it runs."""


@attrs.frozen
class Explanation:
    """The answer to `hal explain`. Times hold if nothing else comes in and jobs run as long as expected."""

    job_id: JobId
    state: str
    reason: str
    text: str
    priority: tuple[PriorityTerm, ...]
    ahead_count: int
    ahead: tuple[JobId, ...]
    """The first few that stand before it in the queue."""
    constraint: Constraint | None = None
    start_time_s: float | None = None
    nodes: tuple[NodeName, ...] = ()
    why_not: str = ""
    """Why no start time can be given."""
    suggestions: tuple[Suggestion, ...] = ()
    likely: LikelyStart | None = None
    """When it is likely to start, with all that may come between. None: that cannot be said."""
    choice: str = ""
    """With which of several sets of amounts it is planned, and why; empty if it may run with one only."""
    variants: tuple[VariantOutlook, ...] = ()
    """What would become of it with each, or of many with some of them."""
    queue_s: float = 0.0
    """So much of the time until its start it waits in the queue of another scheduler."""
    pools: tuple[str, ...] = ()
    """What each cloud pool says of it: `burst: 0.83 on small to start 2.0 h sooner: worth only 0.10`."""

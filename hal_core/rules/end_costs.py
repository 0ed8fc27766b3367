"""What each end of a job's elements cost, by the prices that were in force at their placement: a fold. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hal_core.models.event import Event, JobEnded, JobSubmitted
from hal_core.models.ranges import format_ranges
from hal_core.rules.receipt import MILLIONTHS, ReceiptFold


def costs_of_ends(events: Iterable[Event]) -> dict[str, float]:
    """By the elements that ended together, as text; each element ends once. `events` are all about one job, after the
    ClusterDefined that was in force when it came."""
    found: dict[str, float] = {}
    fold: ReceiptFold | None = None
    before: list[Event] = []
    for event in events:
        if isinstance(event, JobSubmitted):
            fold = ReceiptFold(event, {})
            for earlier in before:
                fold.apply(earlier)
        elif fold is None:
            before.append(event)
        else:
            money = fold.totals.money
            fold.apply(event)
            if isinstance(event, JobEnded):
                found[format_ranges(event.elements)] = (fold.totals.money - money) / MILLIONTHS
    return found

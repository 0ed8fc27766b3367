"""By when a job is to have ended: what stands in the way of keeping that. That it is over already is for admission to
say (rules/admission.py), which knows whether the job was taken in before it was."""

from __future__ import annotations

from collections.abc import Iterator


def doubts_of(deadline_s: float, walltime_s: float | None, now_s: float) -> Iterator[str]:
    """What stands in the way of keeping it."""
    if walltime_s is None:
        yield "no nodes are rented for it without a time limit; give --time"
    elif now_s + walltime_s > deadline_s:
        yield "is earlier than the time limit lets the job run"

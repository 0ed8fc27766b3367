"""What a change of policy must be worth, what it must not cost, and what came of a trial."""

from __future__ import annotations

import attrs


@attrs.frozen
class Bounds:
    """What a policy must be worth, and what it must not cost."""

    gain_min: float = 0.05
    """Of the waiting that the policy in force leaves, the least share worth a change."""
    worse_max: float = 0.2
    """By such a share a user's mean wait, and the wait that one job in a hundred exceeds, may grow."""
    grace_s: float = 3600.0
    """And by so many seconds, so that a wait of a minute may become two."""
    horizon_s: float = 12 * 3600.0
    """How far a trial looks."""
    sample_count: int = 5
    queue_min: int = 5
    """With fewer jobs waiting nothing is tried: there is nothing to order."""


@attrs.frozen
class Verdict:
    """The policy that should be in force from now on, and why."""

    policy: str
    reason: str
    gain: float = 0.0
    """The share of the waiting that it is expected to save, against the policy that was in force."""

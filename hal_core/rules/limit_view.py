"""Limits and how much of each is in force, as plain values for JSON. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from hal_core.models.policy import PER_USER
from hal_core.rules.usage import Used

if TYPE_CHECKING:
    from hal_core.rules.state import State


@attrs.frozen
class LimitView:
    """One limit. `user` is empty for one on all jobs of the scope together; `current` is None if it has no end."""

    name: str
    scope: str
    user: str
    current: float | None
    most: int


def limit_views(state: State, now_s: float) -> list[LimitView]:
    """All that something is counted for: those of users appear with their first job."""
    used = state.limits.used(state.ledger, now_s)
    free = dict(state.limits.licences.free())
    found = [
        LimitView(f"licence {name}", "the cluster", "", most - free[name], most)
        for name, most in state.limits.licences.declared.items()
    ]
    for tally in state.limits.tallies():
        for what, most in tally.limits.items():
            current = tally.current(what, used.get(tally, Used()), now_s)
            name = f"{PER_USER if tally.user else ''}{what}"
            found.append(LimitView(name, tally.scope, tally.user, current if math.isfinite(current) else None, most))
    return sorted(found, key=lambda each: (each.scope, each.user, each.name))

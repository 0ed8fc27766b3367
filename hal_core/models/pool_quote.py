"""What renting would cost, before it does: one way to run a job, and one thing that a pool would do."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class PoolQuote:
    """One way to run a job. Money is of all its elements; None: nobody knows, or never."""

    pool: str = ""
    """Empty: on the site's own nodes."""
    offer: str = ""
    """Empty: none of the pool's would do."""
    market: str = ""
    wait_s: float | None = None
    """Until it would start, boot included."""
    boot_s: float = 0.0
    run_s: float | None = None
    """As it is expected, interruptions included."""
    cost: float | None = None
    committed: float = 0.0
    """So much more of the budget would be taken until the leases end."""
    says: str = ""
    """What the pool's rule says to it."""
    is_chosen: bool = False
    """This is what would be rented now."""


@attrs.frozen
class PlannedAction:
    """One thing that a pool would do if it decided now."""

    action: str
    what: str
    reason: str

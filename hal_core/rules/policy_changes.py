"""Which engine plans: the configured one, unless HAL changed to another by itself. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hal_core.models.event import PolicyChanged


def policy_in_force(changes: Sequence[PolicyChanged], configured: str, others: Collection[str]) -> str:
    """The engine that HAL changed to last, if it is still one of the others that it may change to."""
    return changes[-1].policy if changes and changes[-1].policy in others else configured

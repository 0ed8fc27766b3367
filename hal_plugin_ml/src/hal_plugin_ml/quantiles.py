"""Quantiles by linear regression: pinball loss (Koenker and Bassett, Econometrica 46(1), 1978)."""

from __future__ import annotations

from collections.abc import Sequence


def slopes(taus: Sequence[float], said: Sequence[float], target: float) -> list[float]:
    """Of the loss of what was said of each quantile, when `target` came."""
    return [-tau if target > each else 1.0 - tau for tau, each in zip(taus, said, strict=True)]

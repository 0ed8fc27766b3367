"""Several quantiles at once by linear regression that learns from one example after the other.

Pinball loss (Koenker and Bassett, Econometrica 46(1), 1978), steps by AdaGrad (Duchi, Hazan and Singer, JMLR 12, 2011),
inputs scaled by the largest value seen. All quantiles share one matrix, so that an example costs a few numpy calls.
Beside the inputs each group that an example is in (its user, its kind) has an intercept of its own, which is 0 until
the group was seen: what all have in common is learned from all, and how a group differs from its own jobs.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hal_plugin_ml.storing import key_of, rows

Vector = NDArray[np.float64]
Groups = tuple[Hashable, ...]

STEP = 0.1
SQUARES_MIN = 0.01
"""Of an intercept: the first steps of a group are not larger than those that follow."""
GROUPS_MAX = 100_000
"""The longest known are forgotten first."""


class Quantiles:
    """Weights for each quantile in `taus`; 0 is predicted until something was learned."""

    def __init__(self, taus: Sequence[float], size: int) -> None:
        self._taus = np.array(taus)
        self._weights = np.zeros((len(taus), size))
        self._squares = np.full((len(taus), size), 1e-8)
        self._scale = np.full(size, 1e-8)
        self._intercepts: dict[Hashable, Vector] = {}
        """Of each group two rows: the intercepts, and the sums of the squares of their slopes."""

    def predict(self, vector: Vector, groups: Groups = ()) -> Vector:
        """One number for each quantile, as they come: they may cross."""
        return self._of(vector / self._scale, groups)

    def _of(self, scaled: Vector, groups: Groups) -> Vector:
        found: Vector = self._weights @ scaled
        for group in groups:
            intercepts = self._intercepts.get(group)
            if intercepts is not None:
                found += intercepts[0]
        return found

    def learn(self, vector: Vector, target: float, groups: Groups = ()) -> None:
        """One step along the slope of the pinball loss, for each quantile."""
        np.maximum(self._scale, np.abs(vector), out=self._scale)
        scaled = vector / self._scale
        is_below = target > self._of(scaled, groups)
        slopes = np.where(is_below, -self._taus, 1.0 - self._taus)
        for group in groups:
            intercepts = self._intercepts.get(group)
            if intercepts is None:
                intercepts = self._add(group)
            intercepts[1] += slopes * slopes
            intercepts[0] -= STEP * slopes / np.sqrt(intercepts[1])
        slope = slopes[:, None] * scaled
        self._squares += slope * slope
        self._weights -= STEP * slope / np.sqrt(self._squares)

    def stored(self) -> dict[str, Any]:
        """All of it, as JSON knows it."""
        arrays = {"taus": self._taus, "weights": self._weights, "squares": self._squares, "scale": self._scale}
        groups = {group: each.tolist() for group, each in self._intercepts.items()}
        return {**{name: each.tolist() for name, each in arrays.items()}, "groups": rows(groups)}

    def restore(self, stored: dict[str, Any]) -> None:
        """The inverse. Raises ValueError if that was stored of another shape of model."""
        before = {"taus": self._taus, "weights": self._weights, "squares": self._squares, "scale": self._scale}
        arrays = {name: np.array(stored[name], dtype=float) for name in before}
        for name, each in arrays.items():
            if each.shape != before[name].shape or not np.isfinite(each).all():
                raise ValueError(f"{name} has another shape")
        groups = {key_of(group): np.array(each, dtype=float) for group, each in stored["groups"]}
        if any(each.shape != (2, len(self._taus)) for each in groups.values()):
            raise ValueError("groups have another shape")
        self._weights, self._squares, self._scale = arrays["weights"], arrays["squares"], arrays["scale"]
        self._intercepts = groups

    def _add(self, group: Hashable) -> Vector:
        intercepts = np.zeros((2, len(self._taus)))
        intercepts[1] = SQUARES_MIN
        self._intercepts[group] = intercepts
        if len(self._intercepts) > GROUPS_MAX:
            del self._intercepts[next(iter(self._intercepts))]
        return intercepts

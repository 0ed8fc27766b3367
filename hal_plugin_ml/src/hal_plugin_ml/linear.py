"""Several numbers at once by linear models that learn from one example after the other.

Steps by AdaGrad (Duchi, Hazan and Singer, JMLR 12, 2011), inputs scaled by the largest value seen. All numbers share
one matrix, so that an example costs a few numpy calls. Beside the inputs each group that an example is in (its user,
its kind) has an intercept of its own, which is 0 until the group was seen: what all have in common is learned from all,
and how a group differs from its own jobs. Which loss the slopes are of is said by others (quantiles.py, chances.py).
"""

from __future__ import annotations

from collections.abc import Hashable
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


class Linear:
    """Weights for each of `count` numbers; 0 is said until something was learned."""

    def __init__(self, count: int, size: int) -> None:
        self._weights = np.zeros((count, size))
        self._squares = np.full((count, size), 1e-8)
        self._scale = np.full(size, 1e-8)
        self._intercepts: dict[Hashable, Vector] = {}
        """Of each group two rows: the intercepts, and the sums of the squares of their slopes."""

    def say(self, vector: Vector, groups: Groups = ()) -> Vector:
        return self._of(vector / self._scale, groups)

    def look(self, vector: Vector, groups: Groups = ()) -> tuple[Vector, Vector]:
        """What would be said, and the inputs in a scale that knows them too: for a step."""
        np.maximum(self._scale, np.abs(vector), out=self._scale)
        scaled = vector / self._scale
        return self._of(scaled, groups), scaled

    def step(self, scaled: Vector, slopes: Vector, groups: Groups = ()) -> None:
        """Against these slopes of the loss, one for each number, at an example that was looked at."""
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
        arrays = {"weights": self._weights, "squares": self._squares, "scale": self._scale}
        groups = {group: each.tolist() for group, each in self._intercepts.items()}
        return {**{name: each.tolist() for name, each in arrays.items()}, "groups": rows(groups)}

    def restore(self, stored: dict[str, Any]) -> None:
        """The inverse. Raises ValueError if that was stored of another shape of model."""
        before = {"weights": self._weights, "squares": self._squares, "scale": self._scale}
        arrays = {name: np.array(stored[name], dtype=float) for name in before}
        for name, each in arrays.items():
            if each.shape != before[name].shape or not np.isfinite(each).all():
                raise ValueError(f"{name} has another shape")
        groups = {key_of(group): np.array(each, dtype=float) for group, each in stored["groups"]}
        if any(each.shape != (2, len(self._weights)) for each in groups.values()):
            raise ValueError("groups have another shape")
        self._weights, self._squares, self._scale = arrays["weights"], arrays["squares"], arrays["scale"]
        self._intercepts = groups

    def _of(self, scaled: Vector, groups: Groups) -> Vector:
        found: Vector = self._weights @ scaled
        for group in groups:
            intercepts = self._intercepts.get(group)
            if intercepts is not None:
                found += intercepts[0]
        return found

    def _add(self, group: Hashable) -> Vector:
        intercepts = np.zeros((2, len(self._weights)))
        intercepts[1] = SQUARES_MIN
        self._intercepts[group] = intercepts
        if len(self._intercepts) > GROUPS_MAX:
            del self._intercepts[next(iter(self._intercepts))]
        return intercepts

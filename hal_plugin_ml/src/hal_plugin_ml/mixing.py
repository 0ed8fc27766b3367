"""Several models of the same quantiles as one: each counts as much as it was right lately, for all and for the user.

Weights fall exponentially with what a model lost more than the mixture (Vovk, COLT 1990; quantiles have each their own
weights, by pinball loss, as in Gaillard, Goude and Nedellec, International Journal of Forecasting 32(3), 2016). Losses
are in shares of the limit, for that is what a plan loses, and are forgotten slowly: a model that became better is soon
heard again. The mixture is then moved by a little with each job that it did not cover as it should, so that in the
long run it does, whatever happens (Gibbs and Candès, NeurIPS 2021).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hal_plugin_ml.linear import GROUPS_MAX, Vector
from hal_plugin_ml.storing import key_of, rows

Matrix = NDArray[np.float64]

RATE: Final = 0.1
"""Of the fall of a weight, for a loss as large as the mixture's usual one. Ends come late and together: not more."""
KEPT_OF_ALL: Final = 0.998
KEPT_OF_GROUP: Final = 0.97
"""Of what was lost so far, with each job."""
HEAD_START: Final = 2.0
"""Of the first model, in such losses: the others have to earn their weights."""
SCALE_STEP: Final = 0.002
SCALE_START: Final = 0.1
SCALE_MIN: Final = 1e-4
MORE_MAX: Final = 5.0
"""Of such losses, that one job counts for."""
SHIFT_STEP: Final = 0.01
"""Of the logarithm of a quantile, for one job."""


class Mixing:
    """Of `count` models, each with the quantiles in `taus`; the first is the one to beat."""

    def __init__(self, taus: Sequence[float], count: int) -> None:
        self._taus = np.array(taus)
        self._all = np.zeros((count, len(taus)))
        self._all[1:] = HEAD_START / RATE
        self._head = (1.0 - KEPT_OF_ALL) * self._all
        """What keeps the head start as it is while losses are forgotten."""
        self._of_group: dict[Hashable, Matrix] = {}
        self._scale = np.full(len(taus), SCALE_START)
        self._shift = np.zeros(len(taus))

    def mixed(self, said: Matrix, group: Hashable) -> Vector:
        """One number for each quantile, from a row of each model, in logarithms of shares of the limit."""
        return self._mean(said, group) + self._shift

    def learn(self, said: Matrix, target: float, group: Hashable) -> Vector:
        """What was said of a job, and what came. Returns what the mixture said."""
        mean = self._mean(said, group)
        come = math.exp(target)
        lost, lost_mean = self._loss(come - np.exp(said)), self._loss(come - np.exp(mean))
        self._scale += SCALE_STEP * (lost_mean - self._scale)
        more = (lost - lost_mean) / np.maximum(self._scale, SCALE_MIN)
        np.maximum(np.minimum(more, MORE_MAX, out=more), -MORE_MAX, out=more)
        self._all = KEPT_OF_ALL * self._all + self._head + more
        of_group = self._of_group.pop(group, None)
        self._of_group[group] = more if of_group is None else KEPT_OF_GROUP * of_group + more
        if len(self._of_group) > GROUPS_MAX:
            del self._of_group[next(iter(self._of_group))]
        together: Vector = mean + self._shift
        self._shift += SHIFT_STEP * (self._taus - (target <= together))
        return together

    def stored(self) -> dict[str, Any]:
        """All of it, as JSON knows it."""
        arrays = {"all": self._all, "scale": self._scale, "shift": self._shift}
        groups = {group: each.tolist() for group, each in self._of_group.items()}
        return {**{name: each.tolist() for name, each in arrays.items()}, "groups": rows(groups)}

    def restore(self, stored: dict[str, Any]) -> None:
        """The inverse. Raises ValueError if that was stored of another number of models."""
        before = {"all": self._all, "scale": self._scale, "shift": self._shift}
        arrays = {name: np.array(stored[name], dtype=float) for name in before}
        of_group = {key_of(group): np.array(each, dtype=float) for group, each in stored["groups"]}
        shapes = [(each, before[name]) for name, each in arrays.items()]
        shapes += [(each, self._all) for each in of_group.values()]
        if any(each.shape != known.shape or not np.isfinite(each).all() for each, known in shapes):
            raise ValueError("the mixture has another shape")
        self._all, self._scale, self._shift = arrays["all"], arrays["scale"], arrays["shift"]
        self._of_group = of_group

    def _mean(self, said: Matrix, group: Hashable) -> Vector:
        of_group = self._of_group.get(group)
        lost = self._all if of_group is None else self._all + of_group
        weights = np.exp(RATE * (np.minimum.reduce(lost) - lost))
        found: Vector = np.add.reduce(weights * said) / np.add.reduce(weights)
        return found

    def _loss(self, off: Matrix) -> Matrix:
        found: Matrix = np.maximum(self._taus * off, (self._taus - 1.0) * off)
        return found

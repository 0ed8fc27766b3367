"""Several quantiles at once by linear regression that learns from one example after the other.

Pinball loss (Koenker and Bassett, Econometrica 46(1), 1978), steps by AdaGrad (Duchi, Hazan and Singer, JMLR 12, 2011),
inputs scaled by the largest value seen. All quantiles share one matrix, so that an example costs a few numpy calls.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

STEP = 0.1


class Quantiles:
    """Weights for each quantile in `taus`; 0 is predicted until something was learned."""

    def __init__(self, taus: Sequence[float], size: int) -> None:
        self._taus = np.array(taus)
        self._weights = np.zeros((len(taus), size))
        self._squares = np.full((len(taus), size), 1e-8)
        self._scale = np.full(size, 1e-8)

    def predict(self, vector: Vector) -> Vector:
        """One number for each quantile, as they come: they may cross."""
        found: Vector = self._weights @ (vector / self._scale)
        return found

    def learn(self, vector: Vector, target: float) -> None:
        """One step along the slope of the pinball loss, for each quantile."""
        np.maximum(self._scale, np.abs(vector), out=self._scale)
        scaled = vector / self._scale
        is_below = target > self._weights @ scaled
        slope = np.where(is_below, -self._taus, 1.0 - self._taus)[:, None] * scaled
        self._squares += slope * slope
        self._weights -= STEP * slope / np.sqrt(self._squares)

"""Several quantiles at once by linear regression: pinball loss (Koenker and Bassett, Econometrica 46(1), 1978)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hal_plugin_ml.linear import Groups, Linear, Vector


class Quantiles(Linear):
    """One number for each quantile in `taus`, as they come: they may cross."""

    def __init__(self, taus: Sequence[float], size: int) -> None:
        super().__init__(len(taus), size)
        self._taus = np.array(taus)

    def learn(self, vector: Vector, target: float, groups: Groups = ()) -> None:
        """One step along the slope of the pinball loss, for each quantile."""
        found, scaled = self.look(vector, groups)
        self.step(scaled, np.where(target > found, -self._taus, 1.0 - self._taus), groups)

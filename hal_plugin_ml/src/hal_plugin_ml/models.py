"""The models of run times, and what they say together: regression over all that is known, and the rules of thumb.

The rules are the user's own request, the mean of his last two jobs (EASY++: Tsafrir, Etsion and Feitelson, IEEE TPDS
18(6), 2007), and the latest jobs of his, and of this kind, as they were. None of them is ever left out, so that what is
said is not worse than any of them for long (mixing.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from hal_plugin_ml.history import LIMIT_PLACE, SIZE, USUAL_PLACE
from hal_plugin_ml.linear import Groups, Vector
from hal_plugin_ml.mixing import Matrix, Mixing
from hal_plugin_ml.quantiles import Quantiles
from hal_plugin_ml.recent import Recent

REGRESSION, LIMIT, USUAL, OF_USER, OF_KIND = range(5)
LOG_MAX: Final = 50.0
"""Of a time: without a limit a line may lead anywhere."""


class Models:
    """All quantiles in `taus`, in logarithms relative to the limit. Of the groups of a job the last two are its user
    and its kind."""

    def __init__(self, taus: Sequence[float]) -> None:
        self._quantiles = Quantiles(taus, SIZE)
        self._recent = Recent(taus)
        self._mixing = Mixing(taus, OF_KIND + 1)
        self._shape = (OF_KIND + 1, len(taus))

    def said(self, vector: Vector, groups: Groups, is_limited: bool) -> Matrix:
        """A row of quantiles in order from each model."""
        said = np.zeros(self._shape)
        said[REGRESSION] = np.sort(self._quantiles.say(vector, groups))
        said[USUAL] = vector[USUAL_PLACE]
        of_user = self._recent.quantiles(groups[-2])
        if of_user is not None:
            said[OF_USER] = of_user - vector[LIMIT_PLACE]
            of_kind = self._recent.quantiles(groups[-1])
            said[OF_KIND] = said[OF_USER] if of_kind is None else of_kind - vector[LIMIT_PLACE]
        np.maximum(said, -LOG_MAX, out=said)
        return np.minimum(said, 0.0 if is_limited else LOG_MAX, out=said)

    def together(self, said: Matrix, groups: Groups) -> list[float]:
        """The quantiles of the mixture, in order."""
        return sorted(self._mixing.mixed(said, groups[-2]).tolist())

    def learn(self, vector: Vector, said: Matrix, target: float, groups: Groups) -> Vector:
        """Of a job all this was known, this was said, and so long it ran. Returns what was said together."""
        together = self._mixing.learn(said, target, groups[-2])
        self._quantiles.learn(vector, target, groups)
        log_s = target + float(vector[LIMIT_PLACE])
        self._recent.learn(groups[-2], log_s)
        self._recent.learn(groups[-1], log_s)
        return together

    def stored(self) -> dict[str, Any]:
        """All of it, as JSON knows it."""
        return {
            "quantiles": self._quantiles.stored(),
            "recent": self._recent.stored(),
            "mixing": self._mixing.stored(),
        }

    def restore(self, stored: dict[str, Any]) -> None:
        """The inverse. Raises ValueError, TypeError or KeyError if it is not."""
        self._quantiles.restore(stored["quantiles"])
        self._recent.restore(stored["recent"])
        self._mixing.restore(stored["mixing"])

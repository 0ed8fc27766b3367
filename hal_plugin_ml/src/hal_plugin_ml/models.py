"""The models of run times, and what they say together: regression over all that is known, and the rules of thumb.

The rules are the user's own request, the mean of his last two jobs (EASY++: Tsafrir, Etsion and Feitelson, IEEE TPDS
18(6), 2007), and the latest jobs of his, and of this kind, as they were. None of them is ever left out, so that what is
said is not worse than any of them for long (mixing.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from hal_plugin_ml import chances, quantiles
from hal_plugin_ml.history import LIMIT_PLACE, SIZE, USUAL_PLACE
from hal_plugin_ml.linear import Groups, Linear, Vector
from hal_plugin_ml.mixing import Matrix, Mixing
from hal_plugin_ml.recent import Recent

REGRESSION, LIMIT, USUAL, OF_USER, OF_KIND = range(5)
LOG_MAX: Final = 50.0
"""Of a time: without a limit a line may lead anywhere."""


class Said(NamedTuple):
    """What all models say of a job."""

    times: Matrix
    """A row of quantiles in order from each model, in logarithms relative to the limit."""
    logits: list[float]
    """How likely it is to end badly, in each of the ways."""


class Models:
    """All quantiles in `taus`, in logarithms relative to the limit, and the chances of `way_count` bad ends. One
    regression says all of them. Of the groups of a job the last two are its user and its kind."""

    def __init__(self, taus: Sequence[float], way_count: int) -> None:
        self._taus = tuple(taus)
        self._regression = Linear(len(taus) + way_count, SIZE)
        self._recent = Recent(taus)
        self._mixing = Mixing(taus, OF_KIND + 1)
        self._shape = (OF_KIND + 1, len(taus))

    def said(self, vector: Vector, groups: Groups, is_limited: bool) -> Said:
        """Changes nothing."""
        count = len(self._taus)
        regression = self._regression.say(vector, groups).tolist()
        times = np.zeros(self._shape)
        times[REGRESSION] = sorted(regression[:count])
        times[USUAL] = vector[USUAL_PLACE]
        of_user = self._recent.quantiles(groups[-2])
        if of_user is not None:
            times[OF_USER] = of_user - vector[LIMIT_PLACE]
            of_kind = self._recent.quantiles(groups[-1])
            times[OF_KIND] = times[OF_USER] if of_kind is None else of_kind - vector[LIMIT_PLACE]
        np.maximum(times, -LOG_MAX, out=times)
        return Said(np.minimum(times, 0.0 if is_limited else LOG_MAX, out=times), regression[count:])

    def together(self, said: Said, groups: Groups) -> list[float]:
        """The quantiles of the mixture, in order."""
        return sorted(self._mixing.mixed(said.times, groups[-2]).tolist())

    def learn(self, vector: Vector, said: Said, ended: tuple[float, Sequence[bool]], groups: Groups) -> Vector:
        """Of a job all this was known, this was said, and so long it ran, and ended so. Returns what was said
        together."""
        target, happened = ended
        together = self._mixing.learn(said.times, target, groups[-2])
        found, scaled = self._regression.look(vector, groups)
        count, values = len(self._taus), found.tolist()
        steps = quantiles.slopes(self._taus, values[:count], target) + chances.slopes(values[count:], happened)
        self._regression.step(scaled, np.array(steps), groups)
        log_s = target + float(vector[LIMIT_PLACE])
        self._recent.learn(groups[-2], log_s)
        self._recent.learn(groups[-1], log_s)
        return together

    def stored(self) -> dict[str, Any]:
        """All of it, as JSON knows it."""
        return {
            "regression": self._regression.stored(),
            "recent": self._recent.stored(),
            "mixing": self._mixing.stored(),
        }

    def restore(self, stored: dict[str, Any]) -> None:
        """The inverse. Raises ValueError, TypeError or KeyError if it is not."""
        self._regression.restore(stored["regression"])
        self._recent.restore(stored["recent"])
        self._mixing.restore(stored["mixing"])

"""The latest run times of groups of jobs (a user's, a kind's), as quantiles: the model that knows nothing but them."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np

from hal_plugin_ml.linear import GROUPS_MAX, Vector
from hal_plugin_ml.storing import key_of, rows

LATEST: Final = 20


class Recent:
    """Of each group the latest run times, in logarithms of seconds, and their quantiles."""

    def __init__(self, taus: Sequence[float]) -> None:
        self._places = [_places(taus, count) for count in range(LATEST + 1)]
        self._times: dict[Hashable, deque[float]] = {}
        self._quantiles: dict[Hashable, Vector] = {}

    def quantiles(self, group: Hashable) -> Vector | None:
        """One for each tau, in logarithms of seconds; None if no job of the group has ended."""
        return self._quantiles.get(group)

    def learn(self, group: Hashable, log_s: float) -> None:
        times = self._times.pop(group, None)
        self._times[group] = times = deque(maxlen=LATEST) if times is None else times  # at the end: heard of just now
        times.append(log_s)
        self._quantiles[group] = self._of(times)
        if len(self._times) > GROUPS_MAX:
            oldest = next(iter(self._times))
            del self._times[oldest], self._quantiles[oldest]

    def stored(self) -> list[list[Any]]:
        """As JSON knows it."""
        return rows({group: list(times) for group, times in self._times.items()})

    def restore(self, stored: list[list[Any]]) -> None:
        """The inverse. Raises ValueError or TypeError if it is not."""
        self._times = {key_of(group): deque(map(float, times), maxlen=LATEST) for group, times in stored}
        self._quantiles = {group: self._of(times) for group, times in self._times.items()}

    def _of(self, times: deque[float]) -> Vector:
        """Between neighbours by their distance; beyond the first and the last, these (Hyndman and Fan, The American
        Statistician 50(4), 1996, definition 6)."""
        inner = sorted(times)
        places = self._places[len(inner)]
        return np.array([inner[low] + share * (inner[above] - inner[low]) for low, above, share in places])


def _places(taus: Sequence[float], count: int) -> list[tuple[int, int, float]]:
    """Of each quantile of so many sorted numbers: between which two it is, and by what share of their distance."""
    at = [min(max(tau * (count + 1) - 1.0, 0.0), count - 1.0) for tau in taus]
    return [(int(place), min(int(place) + 1, count - 1), place - int(place)) for place in at]
